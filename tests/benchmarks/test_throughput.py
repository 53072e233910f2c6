import pytest

from benchmarks.naive import make_plan, run_naive, write_files
from benchmarks.pairs import Pair, Time, in_pairs
from benchmarks.quality.settings import laid_over
from benchmarks.setting import make_setting, params_of, run_ours

STEPS = 5
TINY = {
    "mae": {
        **{"patch_size": 7, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2},
        **{"intermediate_size": 32, "decoder_hidden_size": 16, "decoder_num_hidden_layers": 1},
        **{"decoder_num_attention_heads": 2},
    },
    "diffusion": {"block_out_channels": [8, 16], "norm_num_groups": 4, "attention_head_dim": 8},
    "vqgan": {
        **{"num_codes": 16, "tokenizer_width": 8, "tokenizer_norm_groups": 4, "hidden_size": 16},
        **{"num_hidden_layers": 2, "num_attention_heads": 2},
    },
}


def tiny_setting(family, **unlearn):
    """Fresh noise at every step, as the naive loop draws it."""
    params = laid_over(params_of(family), {"pretrain": {"architecture": TINY[family]}})
    small = {"num_forget": 12, "num_retain": 20, "num_noise_draws": 0, "batch_size": 8, "precision": "fp32"}
    return make_setting(params, **(small | unlearn))


@pytest.mark.parametrize("family", TINY)
def test_both_loops_compute_the_same_losses(family, tmp_path):
    # Order of work aside (files, separate passes, plain AdamW) the naive loop is ours: five updates keep it so.
    setting = tiny_setting(family)
    naive = run_naive(setting, write_files(setting, tmp_path), make_plan(setting, STEPS))
    ours = run_ours(setting, setting.sampler(), setting.targets(), STEPS)
    assert len(ours) == STEPS
    assert ours[0] != pytest.approx(ours[-1], rel=1e-3)  # the weights do change on the way
    assert naive == pytest.approx(ours, abs=1e-5, rel=0)


def test_reduced_precision_changes_the_losses_little():
    exact, half = (tiny_setting("mae", precision=precision) for precision in ("fp32", "bf16"))
    expected, found = (run_ours(each, each.sampler(), each.targets(), 2) for each in (exact, half))
    assert found == pytest.approx(expected, rel=0.02)
    assert found != expected


def test_ratios_by_hand():
    pair = Pair(ours=Time(wall_s=2.0, processor_s=1.0), theirs=Time(wall_s=5.0, processor_s=4.0))
    assert (pair.wall_ratio, pair.processor_ratio) == (2.5, 4.0)


def test_who_goes_first_changes_from_pair_to_pair():
    order = []
    pairs = in_pairs(lambda: order.append("ours"), lambda: order.append("theirs"), 3)
    assert order == ["ours", "theirs", "theirs", "ours", "ours", "theirs"]
    assert len(pairs) == 3
