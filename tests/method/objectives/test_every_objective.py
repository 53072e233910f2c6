"""Laws that hold for all objectives on a real model, and which images each of them uses."""

import copy

import pytest
import torch

from i2i_unlearn.method.objectives import OBJECTIVES, make_objective
from i2i_unlearn.method.objectives.base import Settings
from i2i_unlearn.models.operators import make_operator
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.training.engine import Schedule, Silent, train
from i2i_unlearn.training.sampling import Sampler, single_pool
from tests.support.stores import resumed_alike

NAMES = tuple(OBJECTIVES)
ENCODER_ONLY = ("encoder_l2", "random_encoder", "epsilon_constraint", "heldout_like")
TWO_PHASES = ("epsilon_constraint", "ascent_repair", "surrogate_difference")
WITHOUT_TARGETS = ("max_loss", "retain_label", "retain_finetune")
REMEMBER = ("epsilon_constraint", "ascent_repair")
SETTINGS = Settings(alpha=0.5, first_phase=0.5)
FAR = Settings(alpha=100.0, first_phase=0.5)  # the ascent does not end before its phase does


@pytest.fixture(scope="module")
def models(tiny_model):
    """A teacher, a student that starts from it, and one of other weights: its retain terms are not at their minimum."""
    start = tiny_model(2)
    return copy.deepcopy(start).requires_grad_(False), start, tiny_model(1)


@pytest.fixture
def gradients(models, batches_of, targets_of, state_of):
    """`gradients(name, operator, phase, forget_seed)`: the combined gradient by parameter's name."""

    def compute(name, *, operator="center_hole", phase=0, forget_seed=0, precision=torch.float32, memory=None):
        teacher, student = models[0], copy.deepcopy(models[2])
        objective = make_objective(name, FAR if name == "ascent_repair" else SETTINGS)
        batches = batches_of(operator, forget_seed=forget_seed)
        state = state_of(0, objective.phases(10)[phase].name, dict(memory or {}))
        given = {name: batch for name, batch in batches.items() if name in objective.needs}
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            terms = objective.terms(given, student, targets_of(teacher, operator), state)
        parameters = student.encoder_parameters() if objective.scope == "encoder" else student.named_parameters()
        total = objective.backward(terms, [p for _, p in parameters if p.requires_grad], state)
        assert torch.isfinite(total)
        return {name: p.grad for name, p in student.named_parameters() if p.grad is not None}

    return compute


def alike(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


# --- which images it uses ---


@pytest.mark.parametrize("name", [name for name in NAMES if name != "retain_finetune"])
def test_other_forget_images_give_another_gradient(gradients, name):
    # In the code released with the paper, two baselines never saw a forget image.
    before, after = gradients(name), gradients(name, forget_seed=1)
    assert not alike(before, after)
    assert alike(before, gradients(name))  # it is the images, not chance


def test_the_second_phase_of_the_constraint_uses_forget_images_and_the_repair_does_not(gradients):
    broken = {"start": 1.0, "boundary": 0.0, "running": 0.9}
    one, other = (gradients("epsilon_constraint", phase=1, forget_seed=seed, memory=broken) for seed in (0, 1))
    assert not alike(one, other)
    assert alike(gradients("ascent_repair", phase=1), gradients("ascent_repair", phase=1, forget_seed=1))


def test_finetuning_needs_no_forget_image(gradients):
    assert make_objective("retain_finetune", SETTINGS).needs == {"retain"}
    assert alike(gradients("retain_finetune"), gradients("retain_finetune", forget_seed=1))


@pytest.mark.parametrize("name", NAMES)
def test_it_says_which_sets_it_needs(name):
    needs = make_objective(name, SETTINGS).needs
    everything = {"retain", "forget", "unseen_target"}
    others = {"heldout_like": everything, "surrogate_difference": everything, "retain_finetune": {"retain"}}
    assert needs == others.get(name, {"retain", "forget"})


# --- what it changes ---


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_of_its_scope_gets_a_gradient_and_no_other(gradients, tiny_model, name):
    model = tiny_model()
    scope = model.encoder_parameters() if name in ENCODER_ONLY else model.named_parameters()
    assert set(gradients(name)) == {name for name, parameter in scope if parameter.requires_grad}


@pytest.mark.parametrize("name", NAMES)
def test_the_scope_can_be_chosen_where_it_has_a_meaning(name):
    assert make_objective(name, Settings(alpha=1.0, scope="encoder")).scope == "encoder"
    if name in ENCODER_ONLY:
        with pytest.raises(UserError, match=f"scope=all.*{name}.*set unlearn.scope to auto or encoder"):
            make_objective(name, Settings(alpha=1.0, scope="all"))
    else:
        assert make_objective(name, Settings(alpha=1.0, scope="all")).scope == "all"
        assert make_objective(name, SETTINGS).scope == "all"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("operator", ["center_hole", "free_form"])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_it_works_with_masks_of_any_kind_and_reduced_precision(gradients, name, operator, precision):
    exact = gradients(name, operator=operator)
    found = gradients(name, operator=operator, precision=precision)
    one, other = (torch.cat([grads[key].flatten().float() for key in exact]) for grads in (exact, found))
    assert torch.nn.functional.cosine_similarity(one, other, dim=0) > 0.98


# --- phases ---


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("num_steps", [1, 2, 7, 150])
def test_the_phases_take_all_steps(name, num_steps):
    phases = make_objective(name, SETTINGS).phases(num_steps)
    assert sum(phase.num_steps for phase in phases) == num_steps
    assert len(phases) == (2 if name in TWO_PHASES else 1)


@pytest.mark.parametrize("name", TWO_PHASES)
def test_the_first_phase_takes_the_share_that_is_asked_for(name):
    assert [p.num_steps for p in make_objective(name, Settings(alpha=1.0, first_phase=0.2)).phases(150)] == [30, 120]
    assert make_objective(name, Settings(alpha=1.0, first_phase=0.01)).phases(10)[0].num_steps == 1


# --- interruption ---


@pytest.mark.parametrize("name", NAMES)
def test_a_run_that_goes_on_from_any_checkpoint_ends_with_the_same_bits(models, sets, targets_of, name):
    settings = Settings(alpha=0.05, first_phase=0.5, epsilon=0.3)  # the ascent hands over before its phase ends
    schedule = Schedule(
        num_steps=6,
        learning_rate=3e-3,
        weight_decay=0.0,
        warmup_steps=1,
        clip_norm=1.0,
        precision="fp32",
        checkpoint_every_steps=2,  # in the first phase, and in the second
    )

    def run(store):
        student, objective = copy.deepcopy(models[1]), make_objective(name, settings)
        pools = {set_name: single_pool(sets[set_name], 4) for set_name in objective.needs}
        batches = Sampler(pools, make_operator("free_form", 0.75, 4), 0)
        log = train(student, objective, batches, targets_of(models[0], "free_form"), schedule, store, Silent())
        return student.state_dict(), log

    assert bool(resumed_alike(run).last.memory) == (name in REMEMBER)


# --- the table ---


@pytest.mark.parametrize("name", [name for name in NAMES if name not in WITHOUT_TARGETS])
def test_without_the_targets_it_needs_it_is_a_bug(batches_of, state_of, name):
    objective = make_objective(name, SETTINGS)
    with pytest.raises(TypeError, match=f"{name} needs the teacher's targets"):
        objective.terms(batches_of(), None, None, state_of(0, objective.phases(10)[0].name))


def test_all_are_named_in_the_refusal_of_an_unknown_one():
    with pytest.raises(UserError) as error:
        make_objective("l2", SETTINGS)
    assert all(name in str(error.value) for name in OBJECTIVES)
