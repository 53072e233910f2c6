"""Proxy and synthetic retain images through the stage: what is read, what is forgotten, what is kept."""

import pytest
from typer.testing import CliRunner

from i2i_unlearn.cli.data import app
from i2i_unlearn.method.objectives import OBJECTIVES
from i2i_unlearn.stages import unlearn
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import digest_file
from tests.support.measured import error_growth

READ = ("forget", "unseen_target")
"""Roles that an objective may need besides retain images."""


@pytest.fixture(scope="module")
def splits(taught, tmp_path_factory):
    """Images of c stand in for the retain set; half of the holdout set are targets."""
    out = tmp_path_factory.mktemp("proxy") / "splits"
    return taught.split(out, proxy_labels=["c"], unseen_target_fraction=0.5)


@pytest.fixture(scope="module")
def stored(taught, params_written, tmp_path_factory):
    """Class prototypes, made while all images were there."""
    folder = tmp_path_factory.mktemp("prototypes")
    params_written(folder, taught)
    words = ["--images", taught.images, "--teacher", taught.teacher, "--params", folder / "params.yaml"]
    result = CliRunner().invoke(app, ["prototypes", "--out", str(folder / "p.safetensors"), *map(str, words)])
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1].endswith("3 of 3 classes, the others have too few images")
    return folder / "p.safetensors"


def unlearn_on(project, images, splits, out, **changes):
    summary = unlearn.run(images, splits, project.teacher, out, project.config("unlearn", num_steps=4, **changes))
    return (out / "model/model.safetensors").read_bytes(), summary


# --- proxy images ---


@pytest.mark.parametrize("name", OBJECTIVES)
def test_with_proxy_images_alone_no_objective_touches_a_real_retain_image(
    taught, damage_images, splits, tmp_path, name
):
    images = damage_images(taught, tmp_path / "images", splits, keep=(*READ, "proxy_retain"))
    changes = {"objective": name, "proxy_ratio": 1.0}
    damaged, _ = unlearn_on(taught, images, splits, tmp_path / "out", **changes)
    assert damaged == unlearn_on(taught, taught.images, splits, tmp_path / "whole", **changes)[0]
    with pytest.raises(UserError, match="does not match its sha256"):
        unlearn_on(taught, images, splits, tmp_path / "real", objective=name, proxy_ratio=0.5)


# --- synthetic images ---


@pytest.mark.parametrize("name", OBJECTIVES)
def test_with_images_from_noise_no_objective_touches_a_retain_image(taught, damage_images, splits, tmp_path, name):
    images = damage_images(taught, tmp_path / "images", splits, keep=READ)
    changes = {"objective": name, "synthetic_ratio": 1.0, "synthetic_from": "noise", "synthetic_images": 32}
    unlearn_on(taught, images, splits, tmp_path / "out", **changes)


def test_crops_read_proxy_images_and_stored_prototypes_none(taught, damage_images, splits, stored, tmp_path):
    kept = damage_images(taught, tmp_path / "kept", splits, keep=("forget", "proxy_retain"))
    gone = damage_images(taught, tmp_path / "gone", splits, keep=("forget",))
    common = {"synthetic_ratio": 1.0, "synthetic_images": 32}
    unlearn_on(taught, kept, splits, tmp_path / "crops", synthetic_from="proxy_crops", **common)
    by_file = {**common, "synthetic_from": "prototypes", "prototypes": str(stored)}
    _, summary = unlearn_on(taught, gone, splits, tmp_path / "stored", **by_file)
    assert summary["prototypes_sha256"] == digest_file(stored)
    for source in ("proxy_crops", "prototypes"):
        with pytest.raises(UserError, match="does not match its sha256"):
            unlearn_on(taught, gone, splits, tmp_path / "real", synthetic_from=source, **common)


def test_real_proxy_and_synthetic_images_may_be_mixed_and_thirds_leave_nothing_over(taught, splits, tmp_path):
    weights = [
        unlearn_on(
            taught, taught.images, splits, tmp_path / str(number), synthetic_images=32, batch_size=17, **changes
        )[0]
        for number, changes in enumerate(
            (
                {"synthetic_ratio": 0.0},
                {"synthetic_ratio": 0.5},
                {"synthetic_ratio": 0.5, "proxy_ratio": 0.25},
                {"synthetic_ratio": 0.5, "proxy_ratio": 0.5},
                {"synthetic_ratio": 1.0},
            )
        )
    ]
    assert len(set(weights)) == 5


def test_where_ratios_fill_the_batch_no_real_image_is_read_whatever_the_rounding(
    taught, damage_images, splits, tmp_path
):
    images = damage_images(taught, tmp_path / "images", splits, keep=("forget", "proxy_retain"))
    for size, proxy in ((17, 0.5), (3, 0.5), (10, 0.7), (16, 0.3)):
        changes = {"proxy_ratio": proxy, "synthetic_ratio": 1 - proxy, "synthetic_from": "noise", "batch_size": size}
        unlearn_on(taught, images, splits, tmp_path / f"{size}", synthetic_images=8, **changes)


@pytest.mark.parametrize("source", ["prototypes", "noise", "proxy_crops"])
def test_it_forgets_more_than_it_harms_the_rest(taught, splits, tmp_path, source):
    taught.unlearn(
        tmp_path / "out", splits=splits, synthetic_ratio=1.0, synthetic_from=source, synthetic_images=128, num_steps=60
    )
    increase = error_growth(taught, tmp_path / "out/model")
    assert increase["forget"] > 1.3 * increase["retain"]
    assert increase["forget_holdout"] > increase["retain_holdout"]


def test_the_same_seed_gives_the_same_bytes(taught, splits, tmp_path):
    changes = {"synthetic_ratio": 1.0, "synthetic_from": "noise", "synthetic_images": 32}
    one, other = (unlearn_on(taught, taught.images, splits, tmp_path / name, **changes)[0] for name in ("a", "b"))
    assert one == other


# --- refusals ---


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"synthetic_ratio": 0.6, "proxy_ratio": 0.5}, r"synthetic_ratio=0.6: .*proxy_ratio=0.5 it is more than 1"),
        ({"synthetic_ratio": 1.5}, "synthetic_ratio=1.5"),
        ({"synthetic_from": "dreams"}, "synthetic_from='dreams'"),
        (
            {"synthetic_ratio": 1.0, "synthetic_from": "proxy_crops"},
            "no image of the role proxy_retain; set split.proxy",
        ),
        ({"synthetic_ratio": 1.0, "prototypes": "nowhere"}, "nowhere: no prototypes there; make it with"),
    ],
)
def test_wrong_settings_are_told(taught, tmp_path, changes, told):
    with pytest.raises(UserError, match=told):
        taught.unlearn(tmp_path / "out", **changes)
