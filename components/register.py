"""Step `register`: see `i2i_unlearn.stages.register`."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def register(
    evaluation: dsl.Input[dsl.Artifact],
    unlearned: dsl.Input[dsl.Model],
    teacher: dsl.Input[dsl.Model],
    splits: dsl.Input[dsl.Dataset],
    settings: dict,
    kfp_run_id: str,
    registered: dsl.Output[dsl.Markdown],
) -> str:
    """Log the evaluation to MLflow and register the unlearned model; return the version's number."""
    from i2i_unlearn.config.sections import RegisterConfig
    from i2i_unlearn.pipeline import step_outputs
    from i2i_unlearn.stages import register as stage

    step_outputs.use_tracking_server(settings["cluster"]["mlflow_tracking_uri"])
    return step_outputs.show_facts(stage.run(evaluation.path, unlearned.path, f"{teacher.path}/model", splits.path,
                                             RegisterConfig(**settings["register"]), params=settings,
                                             kfp_run_id=kfp_run_id, ledger=settings["promote"]["ledger"]),
                                   registered)["version"]  # fmt: skip
