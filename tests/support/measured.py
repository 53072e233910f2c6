"""What tests of stages measure on the models of a project."""

import json

import torch

from i2i_unlearn.data.images.reading import load_pixels
from i2i_unlearn.data.split.manifest import read_manifest
from i2i_unlearn.method.targets import TeacherTargets
from i2i_unlearn.models import load_model
from i2i_unlearn.models.operators import make_operator
from i2i_unlearn.models.pixels import to_float


def rows_of(out):
    """The log of a training stage."""
    return [json.loads(line) for line in (out / "steps.jsonl").read_text().splitlines()]


def hole_error(project, model, *roles):
    """Mean squared error in a hole at the centre over the images of `roles`, 16 x 16 pixels of one channel."""
    rows = read_manifest(project.splits / "manifest.parquet").of(*roles)
    images = to_float(load_pixels(project.images, rows, image_size=(16, 16), num_channels=1, description=""))
    visible = make_operator("center_hole", 0.75, 4).draw(len(images), 16, 16, torch.Generator())
    with torch.no_grad():
        completed = load_model(model).complete(images, visible, generator=None)
    return float((completed - images)[~visible.unsqueeze(1)].square().mean())


SETS = ("forget", "retain", "forget_holdout", "retain_holdout")


def error_growth(project, model, roles=SETS):
    """Role -> `hole_error` of a model over that of the teacher."""
    return {role: hole_error(project, model, role) / hole_error(project, project.teacher, role) for role in roles}


def interrupt_unlearning(monkeypatch, call):
    """Let Ctrl-C come at this call for a noise target, once: afterwards runs are undisturbed."""
    calls, real = [], TeacherTargets.of_noise

    def stop_once(self, batch):
        calls.append(batch.step)
        if len(calls) == call:
            raise KeyboardInterrupt
        return real(self, batch)

    monkeypatch.setattr(TeacherTargets, "of_noise", stop_once)
