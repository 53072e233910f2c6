"""Step `register`: see `i2i_unlearn.stages.register`."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def register(
    evaluation: dsl.Input[dsl.Artifact],
    unlearned: dsl.Input[dsl.Model],
    teacher: dsl.Input[dsl.Model],
    splits: dsl.Input[dsl.Dataset],
    model_name: str,
    experiment: str,
    operator: str,
    keep_fraction: float,
    seed: int,
    params: dict,
    kfp_run_id: str,
    mlflow_tracking_uri: str,
    settings: dict,
    registered: dsl.Output[dsl.Markdown],
) -> str:
    """Log the evaluation to MLflow and register the unlearned model; return the version's number."""
    from i2i_unlearn.config import sections
    from i2i_unlearn.pipeline import step_outputs
    from i2i_unlearn.stages import register as stage

    step_outputs.use_tracking_server(mlflow_tracking_uri)
    facts = stage.run(evaluation.path, unlearned.path, f"{teacher.path}/model", splits.path,
                      sections.RegisterConfig(model_name=model_name, experiment=experiment, operator=operator,
                                            keep_fraction=keep_fraction, seed=seed, **settings),
                      params=params, kfp_run_id=kfp_run_id)  # fmt: skip
    return step_outputs.show_facts(facts, registered)["version"]
