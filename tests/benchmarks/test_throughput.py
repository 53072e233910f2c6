import pytest

from benchmarks.naive import make_plan, run_naive, write_files
from benchmarks.pairs import Pair, Time, in_pairs
from benchmarks.setting import ROOT, make_setting, params_of, run_ours
from i2i_unlearn.models import FAMILIES
from i2i_unlearn.presets import overlaid, read_presets

STEPS = 5
TINY = {"patch_size": 7, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
TINY |= {"decoder_hidden_size": 16, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2}
WITH_PRESET = sorted(set(FAMILIES) & {preset.name.removeprefix("digits-") for preset in read_presets(ROOT / "presets")})


def tiny_setting(**unlearn):
    """Fresh noise at every step, as the naive loop draws it."""
    params = overlaid(params_of("mae"), {"pretrain": {"architecture": TINY}})
    small = {"num_forget": 12, "num_retain": 20, "num_noise_draws": 0, "batch_size": 8}
    return make_setting("mae", params, **small, **unlearn)


@pytest.fixture(scope="module")
def setting():
    return tiny_setting()


def test_both_loops_compute_the_same_losses(setting, tmp_path):
    # Order of work aside (files, separate passes, plain AdamW) the naive loop is ours: five updates keep it so.
    naive = run_naive(setting, write_files(setting, tmp_path), make_plan(setting, STEPS))
    ours = run_ours(setting, setting.targets(), STEPS)
    assert len(ours) == STEPS
    assert ours[0] != pytest.approx(ours[-1], rel=1e-3)  # the weights do change on the way
    assert naive == pytest.approx(ours, abs=1e-5, rel=1e-5)


def test_reduced_precision_changes_the_losses_little(setting):
    ours = run_ours(setting, setting.targets(), 2)
    half = tiny_setting(precision="bf16")
    found = run_ours(half, half.targets(), 2)
    assert found == pytest.approx(ours, rel=0.02)
    assert found != ours


def test_ratios_by_hand():
    pair = Pair(ours=Time(wall_s=2.0, processor_s=1.0), theirs=Time(wall_s=5.0, processor_s=4.0))
    assert (pair.wall_ratio, pair.processor_ratio) == (2.5, 4.0)


def test_who_goes_first_changes_from_pair_to_pair():
    order = []
    pairs = in_pairs(lambda: order.append("ours"), lambda: order.append("theirs"), 3)
    assert order == ["ours", "theirs", "theirs", "ours", "ours", "theirs"]
    assert len(pairs) == 3


@pytest.mark.parametrize("family", WITH_PRESET)
def test_every_family_with_a_preset_can_be_measured(family):
    assert params_of(family)["pretrain"]["family"] == family
