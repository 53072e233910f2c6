import pytest
import torch

from i2i_unlearn.models.vqgan.tokenizer import BETA, LEAST_USAGE, PIXEL_VARIANCE, USAGE_DECAY, VqTokenizer
from tests.models.samples import generator


def tokenizer(num_codes=16, seed=0, **changes):
    torch.manual_seed(seed)
    sizes = {"num_channels": 1, "code_size": 4, "width": 8, "multipliers": [1, 2], "num_blocks": 1, "groups": 4}
    return VqTokenizer(num_codes=num_codes, **{**sizes, **changes})


def images(num=8, size=8, seed=1):
    return torch.rand(num, 1, size, size, generator=generator(seed))


def started(seed=0, **changes):
    model = tokenizer(seed=seed, **changes)
    model.train().loss(images(), generator())
    return model.eval()


def test_each_position_gets_the_code_nearest_by_brute_force():
    model = started()
    with torch.no_grad():
        z = model.encoder(images())
        ids = model.tokenize(images())
        for image in range(8):
            for place in range(16):
                vector = z[image, :, place // 4, place % 4]
                distances = [float((vector - code).square().sum()) for code in model.codebook_KD]
                assert distances[ids[image, place]] == pytest.approx(min(distances), abs=1e-5)


def test_each_further_level_halves_the_grid():
    model = tokenizer(multipliers=[1, 2, 2])
    assert model.encoder(images(2, 16)).shape == (2, 4, 4, 4)
    assert model.paint(torch.zeros(2, 16, 4), (4, 4)).shape == (2, 1, 16, 16)


def test_the_loss_is_reconstruction_over_variance_plus_commitment():
    model = started()
    with torch.no_grad():
        loss = model.loss(images(), generator())
        z = model.encoder(images()).flatten(2).transpose(1, 2)
        rows = model.codebook_KD[model.tokenize(images())]
        painted = model.paint(rows, (4, 4))
    reconstruction = (painted - images()).square().mean((1, 2, 3)) / PIXEL_VARIANCE
    assert torch.allclose(loss, reconstruction + BETA * (z - rows).square().mean((1, 2)), atol=1e-5)


def test_the_gradient_passes_the_choice_of_codes_to_the_encoder_and_never_to_the_codebook():
    model = started()
    model.loss(images(), generator()).mean().backward()
    assert all(float(parameter.grad.abs().sum()) > 0 for parameter in model.encoder.parameters())
    assert all(float(parameter.grad.abs().sum()) > 0 for parameter in model.decoder.parameters())
    assert not model.codebook_KD.requires_grad


def test_a_step_of_the_codebook_by_hand():
    # Two codes at 0 and 10, usage 2 each; outputs 1, 2 and 3 choose the first. usage = .99 * 2 + .01 * 3 = 2.01, and
    # the code moves by .01 / 2.01 * (6 - 3 * 0); the other's usage falls to 1.98 and it stays where it is.
    model = tokenizer(2, code_size=1)
    model.codebook_KD.copy_(torch.tensor([[0.0], [10.0]]))
    model.usage_K.fill_(2.0)
    model._follow(torch.tensor([[1.0], [2.0], [3.0]]), torch.zeros(3, dtype=torch.long), generator())
    assert model.usage_K.tolist() == pytest.approx([2.01, 1.98])
    assert model.codebook_KD.flatten().tolist() == pytest.approx([6 * (1 - USAGE_DECAY) / 2.01, 10.0])


def test_a_code_that_is_always_chosen_goes_to_the_mean_of_what_it_stands_for():
    model = tokenizer(1, code_size=1)
    model.usage_K.fill_(3.0)
    for _ in range(1500):
        model._follow(torch.tensor([[1.0], [2.0], [6.0]]), torch.zeros(3, dtype=torch.long), generator())
    assert model.codebook_KD.item() == pytest.approx(3.0, abs=1e-4)


def test_a_code_that_is_hardly_used_is_put_where_an_output_lies():
    model = tokenizer(2, code_size=1)
    model.codebook_KD.copy_(torch.tensor([[0.0], [1000.0]]))
    outputs, mean_usage = torch.tensor([[1.0], [2.0], [3.0]]), 1.5
    model.usage_K.copy_(torch.tensor([1.5, LEAST_USAGE * mean_usage]))
    model._follow(outputs, torch.zeros(3, dtype=torch.long), generator())
    assert model.codebook_KD[1].item() in (1.0, 2.0, 3.0)
    assert model.usage_K[1].item() == mean_usage


def test_codes_are_moved_to_where_outputs_are_far_from_theirs():
    # 99 outputs lie on code 0, one far away: that is where the other goes.
    model = tokenizer(2, code_size=1)
    model.codebook_KD.copy_(torch.tensor([[0.0], [1000.0]]))
    model.usage_K.copy_(torch.tensor([50.0, 0.0]))
    outputs = torch.tensor([[0.0]] * 99 + [[7.0]])
    model._follow(outputs, torch.zeros(100, dtype=torch.long), generator())
    assert model.codebook_KD[1].item() == 7.0


def test_the_first_batch_is_clustered():
    # Outputs in two groups around -5 and 5: two codes find their means whichever outputs they start from.
    model = tokenizer(2, code_size=1)
    outputs = torch.tensor([[-5.5], [-5.0], [-4.5], [4.5], [5.0], [5.5]])
    for seed in range(5):
        model._start(outputs, generator(seed))
        assert sorted(model.codebook_KD.flatten().tolist()) == pytest.approx([-5.0, 5.0])
    assert bool(model.started)


def test_more_codes_than_outputs_is_no_fault():
    model = tokenizer(64)
    model.train().loss(images(1), generator())
    assert model.codebook_KD.isfinite().all()


def test_codes_come_alive_where_all_of_them_were_dead():
    # All codes lie in one far place: the first takes everything, until the others are moved to where outputs are.
    model = tokenizer(16, code_size=2)
    model.codebook_KD.fill_(1e3)
    centres = torch.rand(16, 2, generator=generator(3)) * 20
    for step in range(300):
        outputs = centres[torch.randint(16, (128,), generator=generator(step))]
        outputs = outputs + 0.1 * torch.randn(128, 2, generator=generator(step + 1000))
        model._follow(outputs, torch.cdist(outputs, model.codebook_KD).argmin(1), generator(step + 2000))
    assert model.share_of_used_codes() >= 0.9
    distance = torch.cdist(centres, model.codebook_KD).min(1).values
    assert distance.median() < 0.5


def test_evaluation_leaves_the_codebook_as_it_is():
    model = started()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with torch.no_grad():
        model.loss(images(seed=5), generator())
    assert all(buffer.equal(before[name]) for name, buffer in model.named_buffers())


def test_autocast_does_not_change_codes():
    model = started()
    ids = model.tokenize(images())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model.tokenize(images()).equal(ids)


def test_what_training_remembers_is_not_in_the_state_dict():
    names = set(tokenizer().state_dict())
    assert "codebook_KD" in names
    assert not names & {"usage_K", "started"}
