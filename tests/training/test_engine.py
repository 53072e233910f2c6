import math

import pytest
import torch
from torch import nn

from i2i_unlearn.method.objectives.base import Batch, Phase
from i2i_unlearn.models.randomness import generator_for
from i2i_unlearn.support.device import num_threads, pick_device
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.training.checkpoints import Checkpoints
from i2i_unlearn.training.engine import NUM_LOG_ROWS, Schedule, train
from i2i_unlearn.training.precision import check_precision, short_sums_told
from tests.support.says import says
from tests.support.stores import Kept, resumed_alike


class Student(nn.Module):
    """E(x) = w . x, D(e) = v e, on images of two pixels."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.encoder = nn.Linear(2, 1, bias=False)
        self.decoder = nn.Linear(1, 1, bias=False)
        self.dropout = nn.Dropout(dropout)
        with torch.no_grad():
            self.encoder.weight.copy_(torch.tensor([[1.0, 2.0]]))
            self.decoder.weight.fill_(1.0)

    def forward(self, x):
        return self.decoder(self.encoder(self.dropout(x)))

    def encoder_parameters(self):
        yield "encoder.weight", self.encoder.weight


class Squared:
    """mean (D(E(x)) - aim)^2; remembers in its memory how often it was called."""

    needs = frozenset({"train"})

    def __init__(self, scope="all", aim=0.0, phases=None):
        self.scope, self.aim, self._phases = scope, aim, phases
        self.seen = []

    def phases(self, num_steps):
        return self._phases or [Phase("train", num_steps)]

    def terms(self, batches, student, targets, state):
        self.seen.append((state.step, state.phase.name))
        state.memory["calls"] = state.memory.get("calls", 0.0) + 1
        output = student(batches["train"].images_BCHW.flatten(1))
        return {"distance": (output - self.aim).square().mean(), "calls": torch.tensor(state.memory["calls"])}

    def backward(self, terms, parameters, state):
        terms["distance"].backward()
        return terms["distance"]


class Random:
    """A batch that is a function of the step."""

    def batches(self, step):
        images = torch.randn(4, 1, 1, 2, generator=generator_for(0, step))
        return {"train": Batch(images, torch.ones(4, 1, 2, dtype=torch.bool), torch.arange(4), step)}


class Constant:
    """The image (3, 4) at every step."""

    def batches(self, step):
        images = torch.tensor([3.0, 4.0]).view(1, 1, 1, 2)
        return {"train": Batch(images, torch.ones(1, 1, 2, dtype=torch.bool), torch.arange(1), step)}


class Watcher:
    def __init__(self):
        self.begun, self.steps, self.rows = None, 0, []

    def begin(self, done, seconds):
        self.begun = (done, seconds)

    def step(self, total):
        self.steps += 1

    def row(self, row):
        self.rows.append(row)


def schedule(num_steps=6, **changes):
    base = {"learning_rate": 0.1, "weight_decay": 0.0, "warmup_steps": 0, "clip_norm": 0.0, "precision": "fp32"}
    return Schedule(num_steps=num_steps, **{**base, **changes})


def trained(store=None, *, objective=None, batches=None, student=None, watcher=None, **changes):
    student = student or Student()
    log = train(
        student,
        objective or Squared(),
        batches or Random(),
        None,
        schedule(**changes),
        store or Kept(),
        watcher or Watcher(),
    )
    return student, log


def weights(student):
    return [parameter.detach().clone() for parameter in student.parameters()]


# --- schedule and step ---


@pytest.mark.parametrize(
    ("num_steps", "warmup_steps", "expected"),
    [
        # Warm-up over 2 of 6 steps, then a cosine over the other 4: cos(0), cos(pi/4), cos(pi/2), cos(3 pi/4).
        (6, 2, [1.0, 2.0, 2.0, 1 + math.sqrt(0.5), 1.0, 1 - math.sqrt(0.5)]),
        (2, 0, [2.0, 1.0]),
        (2, 2, [1.0, 2.0]),
    ],
)
def test_the_learning_rate_by_hand(num_steps, warmup_steps, expected):
    chosen = schedule(num_steps, learning_rate=2.0, warmup_steps=warmup_steps)
    assert [chosen.rate(step) for step in range(num_steps)] == pytest.approx(expected)
    trained(num_steps=2, warmup_steps=5)  # longer than the run is allowed, too


def test_one_step_of_adamw_by_hand():
    # Adam's first step is lr * sign(gradient) whatever its size; decay first shrinks the weight by lr * decay.
    student, log = trained(num_steps=1, weight_decay=0.5, batches=Constant())
    # E = 3 + 8 = 11 = output, aim 0: all gradients are positive.
    assert torch.allclose(student.encoder.weight, torch.tensor([[0.95 * 1 - 0.1, 0.95 * 2 - 0.1]]))
    assert student.decoder.weight.item() == pytest.approx(0.95 - 0.1)
    # d/dv = 2 * 11 * 11 = 242; d/dw = 2 * 11 * (3, 4) = (66, 88); norm sqrt(242^2 + 110^2).
    assert log[0]["total"] == log[0]["distance"] == 121.0
    assert log[0]["grad_norm"] == pytest.approx(math.hypot(242, 110))
    assert (log[0]["step"], log[0]["phase"], log[0]["learning_rate"]) == (1, "train", 0.1)


def test_the_gradient_is_clipped_to_its_norm():
    # After the step, Adam's second moment is (1 - 0.95) * gradient^2, of the clipped gradient of norm 5.
    store = Kept()
    trained(store, num_steps=1, clip_norm=5.0, batches=Constant(), checkpoint_every_steps=1)
    squares = [tensor for name, tensor in store.last.tensors.items() if name.startswith("optimizer/exp_avg_sq/")]
    assert sum(float(square.sum()) for square in squares) == pytest.approx(0.05 * 25, rel=1e-3)


def test_only_the_encoder_is_touched_where_that_is_the_scope():
    student, _ = trained(objective=Squared("encoder"), weight_decay=0.1)
    assert student.decoder.weight.item() == 1.0
    assert student.decoder.weight.grad is None
    assert not student.decoder.weight.requires_grad
    assert not student.encoder.weight.equal(torch.tensor([[1.0, 2.0]]))


def test_a_parameter_that_was_frozen_stays_frozen():
    student = Student()
    student.decoder.weight.requires_grad_(False)
    trained(student=student)
    assert student.decoder.weight.item() == 1.0


def test_phases_come_one_after_the_other():
    objective = Squared(phases=[Phase("ascent", 2), Phase("repair", 3)])
    trained(objective=objective, num_steps=5)
    assert objective.seen == [(0, "ascent"), (1, "ascent"), (2, "repair"), (3, "repair"), (4, "repair")]


def test_a_phase_with_a_schedule_of_its_own_is_a_run_of_its_own():
    # Both phases warm up over one step, then decay over two: cos(0), cos(pi/2).
    two = Squared(phases=[Phase("first", 3, own_schedule=True), Phase("second", 3, own_schedule=True)])
    _, log = trained(objective=two, num_steps=6, warmup_steps=1, learning_rate=2.0)
    assert [row["learning_rate"] for row in log] == pytest.approx([2.0, 2.0, 1.0] * 2)
    _, log = trained(objective=Squared(phases=[Phase("first", 3), Phase("second", 3)]), num_steps=6, warmup_steps=1)
    assert [row["learning_rate"] for row in log] == [schedule(6, warmup_steps=1).rate(step) for step in range(6)]


def test_such_a_phase_starts_from_the_averaged_weights_and_averages_anew():
    # Its first step: weight 9/11 of the new weights, as at the start of a run, from the average of the first phase.
    store = Kept()
    two = Squared(phases=[Phase("first", 2, own_schedule=True), Phase("second", 1, own_schedule=True)])
    trained(store, objective=two, num_steps=3, average_decay=0.9, learning_rate=1e-9, checkpoint_every_steps=1)
    before, after = (checkpoint.tensors for checkpoint in store.all[1:])
    for name, _ in Student().named_parameters():
        assert torch.allclose(after[f"weight/{name}"], before[f"average/{name}"], atol=1e-7)
    store = Kept()
    trained(store, objective=two, num_steps=3, average_decay=0.9, checkpoint_every_steps=1)
    before, after = (checkpoint.tensors for checkpoint in store.all[1:])
    for name, _ in Student().named_parameters():
        average = before[f"average/{name}"].lerp(after[f"weight/{name}"], 9 / 11)
        assert torch.allclose(after[f"average/{name}"], average)


def test_the_average_by_hand():
    # Weight 1 - min(0.9, (1 + n) / (10 + n)) of the n-th weights: 9/11, then 9/12.
    store = Kept()
    student, _ = trained(store, num_steps=2, average_decay=0.9, checkpoint_every_steps=1)
    start, (first, second) = Student(), (checkpoint.tensors for checkpoint in store.all)
    for name, parameter in student.named_parameters():
        average = start.get_parameter(name).lerp(first[f"weight/{name}"], 9 / 11)
        average = average.lerp(second[f"weight/{name}"], 9 / 12)
        assert torch.allclose(parameter, average)


def test_bfloat16_keeps_weights_in_float32():
    student, log = trained(precision="bf16", num_steps=20)
    assert {parameter.dtype for parameter in student.parameters()} == {torch.float32}
    exact, _ = trained(num_steps=20)
    assert not student.encoder.weight.equal(exact.encoder.weight)
    assert torch.allclose(student.encoder.weight, exact.encoder.weight, atol=0.05)
    assert math.isfinite(log[-1]["total"])


# --- log ---


@pytest.mark.parametrize("num_steps", [1, 7, NUM_LOG_ROWS, 450])
def test_the_log_is_even_and_holds_the_last_step(num_steps):
    watcher = Watcher()
    _, log = trained(num_steps=num_steps, watcher=watcher)
    steps = [row["step"] for row in log]
    assert steps[-1] == num_steps
    assert len(steps) <= 1.5 * NUM_LOG_ROWS
    assert len(set(steps)) == len(steps)
    assert watcher.rows == log
    assert watcher.steps == num_steps
    assert watcher.begun == (0, 0.0)


# --- interruption ---


@pytest.mark.parametrize("changes", [{}, {"precision": "bf16"}, {"average_decay": 0.9}, {"clip_norm": 0.1}])
def test_a_run_that_goes_on_from_any_checkpoint_ends_with_the_same_bits(changes):
    def run(store):  # what a method remembers is in the log, too
        student, log = trained(store, objective=Squared(), checkpoint_every_steps=1, **changes)
        return student.state_dict(), log

    resumed_alike(run)


@pytest.mark.parametrize("average_decay", [0.0, 0.9])
def test_a_run_of_two_schedules_goes_on_from_any_checkpoint(average_decay):
    def run(store):
        two = Squared(phases=[Phase("first", 3, own_schedule=True), Phase("second", 3, own_schedule=True)])
        student, log = trained(store, objective=two, average_decay=average_decay, checkpoint_every_steps=1)
        return student.state_dict(), log

    resumed_alike(run)


class Counting(Student):
    """Scales its output by how often it was called: it learns nothing if the count is lost."""

    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.tensor(0), persistent=False)

    def forward(self, x):
        self.count += 1
        return super().forward(x) * self.count


def test_what_a_model_remembers_in_buffers_is_in_the_checkpoint():
    store = Kept()
    student, _ = trained(store, student=Counting(), checkpoint_every_steps=2)
    again, _ = trained(Kept(store.all[1]), student=Counting())
    assert int(student.count) == int(again.count) == 6
    assert all(one.equal(other) for one, other in zip(weights(student), weights(again), strict=True))


def test_a_parameter_that_no_step_has_reached_goes_on_without_optimizer_state():
    class EncoderFirst(Squared):
        def terms(self, batches, student, targets, state):
            terms = super().terms(batches, student, targets, state)
            if state.phase.name == "first":
                terms["distance"] = student.encoder(batches["train"].images_BCHW.flatten(1)).square().mean()
            return terms

    def run(store):
        objective = EncoderFirst(phases=[Phase("first", 3), Phase("second", 3)])
        student, log = trained(store, objective=objective, checkpoint_every_steps=1)
        return student.state_dict(), log

    whole = resumed_alike(run)
    assert "optimizer/step/decoder.weight" not in whole.all[0].tensors
    assert whole.all[0].tensors["weight/decoder.weight"].item() == 1.0


def test_a_checkpoint_goes_through_a_file_unchanged(tmp_path):
    student, log = trained(num_steps=6)
    store = Checkpoints(str(tmp_path), "digest")
    trained(store, num_steps=6, checkpoint_every_steps=4)
    assert store.load().step == 4
    again, again_log = trained(store, num_steps=6)
    assert all(one.equal(other) for one, other in zip(weights(student), weights(again), strict=True))
    assert again_log == log


def test_a_run_that_goes_on_says_so():
    store, watcher = Kept(), Watcher()
    trained(store, num_steps=6, checkpoint_every_steps=4)
    trained(store, num_steps=6, watcher=watcher)
    assert watcher.begun == (4, store.last.seconds)
    assert watcher.steps == 2


def test_the_time_of_interrupted_runs_adds_up():
    store = Kept()
    trained(store, num_steps=2, checkpoint_every_steps=2)
    store.last = type(store.last)(**{**vars(store.last), "seconds": 1000.0})
    trained(store, num_steps=4, checkpoint_every_steps=2)
    assert 1000.0 < store.last.seconds < 1060.0


def test_a_complete_checkpoint_needs_no_step():
    store = Kept()
    student, log = trained(store, num_steps=4, checkpoint_every_steps=2)
    watcher = Watcher()
    again, again_log = trained(store, num_steps=4, watcher=watcher)
    assert (watcher.steps, again_log) == (0, log)
    assert all(one.equal(other) for one, other in zip(weights(student), weights(again), strict=True))


# --- randomness ---


def test_layers_that_draw_do_so_from_a_stream_of_their_own():
    # Dropout reads torch's global stream; a run must neither depend on it nor move it.
    def run(seed, state, store=None):
        student = Student(dropout=0.5)
        torch.manual_seed(state)
        before = torch.random.get_rng_state()
        trained(store, student=student, seed=seed, checkpoint_every_steps=3)
        assert before.equal(torch.random.get_rng_state())
        return student.encoder.weight

    store = Kept()
    one = run(0, 1, store)
    assert one.equal(run(0, 2))
    assert one.equal(run(0, 3, Kept(store.all[0])))
    assert not one.equal(run(1, 1))


# --- refusals ---


class Poisoned(Random):
    """Random batches; from step 3 on they hold what is no number."""

    def batches(self, step):
        drawn = super().batches(step)
        if step >= 3:
            drawn["train"].images_BCHW.fill_(math.nan)
        return drawn


def test_a_loss_that_is_no_number_stops_the_run_with_the_last_good_weights():
    student, store = Student(), Kept()
    with pytest.raises(UserError) as error:
        trained(store, student=student, batches=Poisoned(), checkpoint_every_steps=3)
    message = str(error.value)
    assert message.startswith("step 4: the loss is not finite (total=nan, distance=nan, calls=4, grad_norm=nan)")
    assert "lower learning_rate" in message
    assert "\n" not in message
    good = store.last.tensors
    assert all(parameter.equal(good[f"weight/{name}"]) for name, parameter in student.named_parameters())


def test_a_learning_rate_that_is_far_too_large_is_told():
    with pytest.raises(UserError, match=r"^step \d+: the loss is not finite .*inf"):
        trained(learning_rate=1e30, num_steps=50)


def test_cuda_without_a_gpu_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # also on a machine that has one
    with pytest.raises(UserError, match="device='cuda', but torch sees no GPU; set device to cpu or auto"):
        pick_device("cuda")
    assert pick_device("auto") == pick_device("cpu") == torch.device("cpu")


def test_the_number_of_threads_is_put_back():
    before = torch.get_num_threads()

    def fail():
        with num_threads(before + 1):
            assert torch.get_num_threads() == before + 1
            raise UserError("wrong")

    with pytest.raises(UserError):
        fail()
    assert torch.get_num_threads() == before


# --- numbers that are too short ---


def test_weights_of_sixteen_bits_are_not_trained():
    # 1 + .001 is 1 in bf16: the run would end with the weights it began with.
    assert torch.tensor(1.0).bfloat16() + 0.001 == 1
    for kind in (torch.bfloat16, torch.float16):
        with says(UserError, "1 of 1", str(kind).removeprefix("torch."), "encoder.weight", "float32", "precision"):
            check_precision([("encoder.weight", nn.Parameter(torch.ones(2, dtype=kind)))])
    check_precision([("a", nn.Parameter(torch.ones(2))), ("b", nn.Parameter(torch.ones(2).double()))])


@pytest.mark.parametrize(("num_rows", "told"), [(256, False), (257, True), (4096, True)])
def test_norms_that_lose_digits_in_bf16_are_told_once_they_do(num_rows, told, capsys):
    norm = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    with num_threads(1), short_sums_told(norm), torch.autocast("cpu", dtype=torch.bfloat16):
        output = norm(torch.ones(num_rows, 4))
        output.float().sum().backward()
    lost = norm[1].bias.grad[0] != num_rows  # each row adds one
    assert (bool(lost), "precision: bf16" in capsys.readouterr().err) == (told, told)


def test_norms_in_float32_lose_nothing_and_say_nothing(capsys):
    norm = nn.LayerNorm(4)
    with num_threads(1), short_sums_told(norm), torch.autocast("cpu", dtype=torch.bfloat16):
        norm(torch.ones(4096, 4)).sum().backward()
    assert (norm.bias.grad[0].item(), capsys.readouterr().err) == (4096, "")
