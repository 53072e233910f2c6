"""Step `sweep-point`: see `i2i_unlearn.sweeps.point`."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def sweep_point(
    images: str,
    splits: dsl.Input[dsl.Dataset],
    teacher: dsl.Input[dsl.Model],
    reference: dsl.Input[dsl.Model],
    settings: dict,
    policies: dict,
    points_folder: str,
    evaluated: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
    decision: dsl.Output[dsl.Markdown],
    scores: dsl.Output[dsl.Metrics],
) -> str:
    """Unlearn and evaluate one point, unless its folder has it; return pass, fail, undecided or diverged."""
    from i2i_unlearn.config import sections
    from i2i_unlearn.pipeline import step_outputs
    from i2i_unlearn.sweeps import point as stage

    configs = (sections.UnlearnConfig(**settings["unlearn"]),
               sections.EvaluateConfig(**settings["evaluate"], policies=policies))  # fmt: skip
    return step_outputs.show_point(
        stage.run(images, splits.path, f"{teacher.path}/model", reference.path, points_folder, configs),
        evaluated, report, decision, scores)  # fmt: skip
