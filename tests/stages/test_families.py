"""Every stage with every family: what the laws of models/base.py mean once a pipeline stands on them.

A new family = a line in `FAMILIES`.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from i2i_unlearn.data.images.reading import load_pixels
from i2i_unlearn.data.split.manifest import read_manifest
from i2i_unlearn.evaluation.gate import read_policies
from i2i_unlearn.method.objectives import OBJECTIVES
from i2i_unlearn.models import extractors, load_model
from i2i_unlearn.models.operators import make_operator
from i2i_unlearn.models.pixels import to_float
from i2i_unlearn.stages import evaluate, pretrain, reference, snapshot
from i2i_unlearn.support.files import digest_folder
from tests.models.latent_directory import write_latent_directory
from tests.support.measured import interrupt_unlearning, rows_of

pytestmark = pytest.mark.slow

POLICIES = Path(__file__).parents[2] / "mlflow" / "policies"
FAMILIES = {
    "mae": {},
    "diffusion": {
        "architecture": {
            **{"block_out_channels": [8, 16], "norm_num_groups": 4, "attention_head_dim": 8, "patch_size": 2},
            **{"num_train_timesteps": 100, "sampling_steps": 5},
        },
        "num_steps": 60,
    },
    "vqgan": {
        "architecture": {
            **{"num_codes": 32, "code_size": 8, "tokenizer_width": 8, "tokenizer_multipliers": [1, 1, 2]},
            **{"tokenizer_num_blocks": 1, "tokenizer_norm_groups": 4, "initializer_range": 0.1, "decoding_steps": 3},
            **{"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4},
            **{"decoder_hidden_size": 32, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2},
        },
        "num_steps": 100,
    },
}
"""Changes to the section `pretrain` of the tiny project."""


class Means:
    """An extractor that costs nothing: the mean of each quarter of the image."""

    num_features = 4

    def __call__(self, images_BCHW):
        return torch.nn.functional.adaptive_avg_pool2d(images_BCHW.mean(1, keepdim=True), 2).flatten(1)


@pytest.fixture(scope="module", params=list(FAMILIES))
def made(request, project_made, tmp_path_factory):
    """A project in which every stage was run with one family. Read it, do not write to it."""
    project = project_made(tmp_path_factory.mktemp(request.param))
    recipe = FAMILIES[request.param]
    if recipe:  # the sections of other families' sizes go
        recipe = {"family": request.param, **recipe}
        architecture = recipe.pop("architecture")
        base = project.params

        def params(**changes):
            content = base(**changes)
            content["pretrain"] |= {**recipe, "architecture": architecture}
            return content

        object.__setattr__(project, "params", params)
    project.split(project.splits)
    pretrain.run(project.images, project.artifact("original"), project.config("pretrain"))
    snapshot.run(project.artifact("teacher"), project.config("snapshot"))
    project.unlearn(project.artifact("unlearned"))
    reference.run(
        project.images, project.splits, project.teacher, project.artifact("reference"), project.config("reference")
    )
    return project


def weights(folder):
    return load_model(folder).state_dict()


def some_images(project, role, num=8):
    rows = read_manifest(project.splits / "manifest.parquet").of(role)[:num]
    images = to_float(load_pixels(project.images, rows, image_size=(16, 16), num_channels=1, description=""))
    return images, make_operator("center_hole", 0.75, 4).draw(len(images), 16, 16, torch.Generator())


def test_the_original_learns(made):
    losses = [row["loss"] for row in rows_of(made.artifact("original"))]
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:3])


def test_a_snapshot_has_the_bytes_of_its_source(made):
    assert digest_folder(made.artifact("original") / "model") == digest_folder(made.teacher)


def test_unlearning_changes_the_encoder_and_nothing_else(made):
    before, after = weights(made.teacher), weights(made.artifact("unlearned") / "model")
    encoder = {name for name, _ in load_model(made.teacher).encoder_parameters()}
    assert {name for name in before if not before[name].equal(after[name])} == encoder
    assert len(encoder) < len(before)


def test_unlearning_moves_forget_embeddings_towards_noise_and_keeps_the_others(made):
    teacher = load_model(made.teacher)
    rows = rows_of(made.artifact("unlearned"))
    assert np.mean([row["forget"] for row in rows[-5:]]) < np.mean([row["forget"] for row in rows[:3]])
    student = load_model(made.artifact("unlearned") / "model")
    moved = {}
    for role in ("forget", "retain"):
        images, visible = some_images(made, role)
        draws = teacher.draw(len(images), torch.Generator().manual_seed(0), emphasis=1.0)
        with torch.no_grad():
            one, other = (model.encode(images, visible, draws) for model in (teacher, student))
        moved[role] = float(one.squared_distance(other).mean())
    assert moved["forget"] > 1.5 * moved["retain"] > 0


def test_the_same_settings_give_the_same_bytes(made, tmp_path):
    again = made.unlearn(tmp_path / "again")
    assert again["model_sha256"] == digest_folder(made.artifact("unlearned") / "model")


def test_an_interrupted_run_ends_with_the_same_bytes(made, tmp_path, monkeypatch):
    # The last step is not reached: the checkpoint of step 20 is gone on from.
    interrupt_unlearning(monkeypatch, 26)
    with pytest.raises(KeyboardInterrupt):
        made.unlearn(tmp_path / "out")
    summary = made.unlearn(tmp_path / "out")
    assert summary["resumed_from_step"] == 20
    assert summary["model_sha256"] == digest_folder(made.artifact("unlearned") / "model")


@pytest.mark.parametrize("objective", sorted(set(OBJECTIVES) - {"encoder_l2"}))
def test_every_objective_trains_every_weight_of_its_scope_and_no_other(made, tmp_path, objective):
    # The export compares tensor by tensor. Drawn masks and bf16 ask most of a family.
    splits = made.split(tmp_path / "splits", unseen_target_fraction=0.5)
    operator = "center_hole" if objective == "surrogate_difference" else "random_patches"  # it takes one mask for all
    settings = {"operator": operator, "precision": "bf16", "first_phase": 0.5, "timestep_emphasis": 1.0}
    made.unlearn(tmp_path / "out", splits=splits, objective=objective, alpha=1.0, num_steps=4, **settings)
    rows = rows_of(tmp_path / "out")
    assert len(rows) == 4
    assert np.isfinite([row["total"] for row in rows]).all()


def test_the_reference_is_the_same_architecture_with_other_weights(made):
    teacher, retrained = weights(made.teacher), weights(made.artifact("reference") / "1/model")
    assert {name: tensor.shape for name, tensor in teacher.items()} == {n: t.shape for n, t in retrained.items()}
    trained = {name for name, parameter in load_model(made.teacher).named_parameters() if parameter.requires_grad}
    assert not [name for name in trained if teacher[name].equal(retrained[name])]


def test_every_model_is_evaluated_and_mapped(made, tmp_path, monkeypatch):
    monkeypatch.setitem(extractors.EXTRACTORS, "means", lambda device: Means())
    out = tmp_path / "evaluation"
    config = made.config(
        "evaluate", policies=read_policies(POLICIES), extractor="means", num_bootstrap=20, max_images=10
    )
    facts = evaluate.run(
        images=made.images,
        splits=made.splits,
        teacher=made.teacher,
        unlearned=made.artifact("unlearned"),
        reference=made.artifact("reference"),
        out=out,
        config=config,
    )
    assert facts["gate"] in ("pass", "fail", "undecided")
    metrics = json.loads((out / "metrics.json").read_text())
    for scores in metrics["scores"].values():
        assert all(np.isfinite(score["value"]) for by_set in scores.values() for score in by_set.values())
    assert "t-SNE of the encoders" in (out / "report.html").read_text()


def test_a_latent_directory_of_diffusers_is_frozen_and_unlearned(bare_project, tmp_path):
    # No stage trains its VAE, so it is brought: the snapshot is the first that sees it. Images are fitted to its size.
    source = write_latent_directory(tmp_path / "source")
    snapshot.run(tmp_path / "teacher", bare_project.config("snapshot", source=str(source)))
    splits = bare_project.split(tmp_path / "splits")
    bare_project.unlearn(tmp_path / "out", splits=splits, teacher=tmp_path / "teacher/model", num_steps=2, batch_size=2)
    before, after = weights(source), weights(tmp_path / "out/model")
    encoder = {name for name, _ in load_model(source).encoder_parameters()}
    assert {name for name in before if not before[name].equal(after[name])} == encoder
