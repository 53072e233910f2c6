"""Step `sweep-point`: see `i2i_unlearn.sweeps.point`."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def sweep_point(
    images: str,
    splits: dsl.Input[dsl.Dataset],
    teacher: dsl.Input[dsl.Model],
    reference: dsl.Input[dsl.Model],
    point: dict,
    num_steps: int,
    policy: str,
    operator: str,
    keep_fraction: float,
    device: str,
    accelerator_count: str,
    seed: int,
    checkpoint_uri: str,
    points_folder: str,
    settings: dict,
    evaluated: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
    decision: dsl.Output[dsl.Markdown],
    scores: dsl.Output[dsl.Metrics],
) -> str:
    """Unlearn and evaluate one point, unless its folder has it; return pass, fail, undecided or diverged."""
    from i2i_unlearn.pipeline import step_outputs
    from i2i_unlearn.sweeps import point as stage
    from i2i_unlearn.sweeps import points

    form = dict(num_steps=num_steps, policy=policy, operator=operator, keep_fraction=keep_fraction, device=device,
                seed=seed, checkpoint_uri=checkpoint_uri, num_processes=accelerator_count)  # fmt: skip
    facts = stage.run(images, splits.path, f"{teacher.path}/model", reference.path, points_folder,
                      points.point_configs(point, form, settings))  # fmt: skip
    return step_outputs.show_point(facts, evaluated, report, decision, scores)
