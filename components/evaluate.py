"""Step `evaluate`: see `i2i_unlearn.stages.evaluate`."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def evaluate(
    images: str,
    splits: dsl.Input[dsl.Dataset],
    teacher: dsl.Input[dsl.Model],
    unlearned: dsl.Input[dsl.Model],
    references: dsl.Input[list[dsl.Model]],
    settings: dict,
    policies: dict,
    evaluation: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
    decision: dsl.Output[dsl.Markdown],
    scores: dsl.Output[dsl.Metrics],
    membership: dsl.Output[dsl.ClassificationMetrics],
    membership_before: dsl.Output[dsl.ClassificationMetrics],
    membership_calibrated: dsl.Output[dsl.ClassificationMetrics],
    membership_calibrated_before: dsl.Output[dsl.ClassificationMetrics],
) -> str:
    """Score teacher, unlearned model and references; return the gate's outcome: pass, fail or undecided."""
    from i2i_unlearn.config.sections import EvaluateConfig, UnlearnConfig
    from i2i_unlearn.pipeline import step_outputs
    from i2i_unlearn.stages import evaluate as stage

    evaluation.metadata.update(stage.run(images, splits.path, f"{teacher.path}/model", unlearned.path,
                                         step_outputs.paths(references), evaluation.path,
                                         EvaluateConfig(**settings["evaluate"], policies=policies),
                                         recipe=UnlearnConfig(**settings["unlearn"]),
                                         model_name=settings["register"]["model_name"]))  # fmt: skip
    return step_outputs.show_evaluation(evaluation.path, report, decision, scores,
                                        unlearned=membership, teacher=membership_before,
                                        unlearned_calibrated=membership_calibrated,
                                        teacher_calibrated=membership_calibrated_before)  # fmt: skip
