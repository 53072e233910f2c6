"""Step `evidence`: see `i2i_unlearn.stages.evidence`."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def evidence(
    evaluation: dsl.Input[dsl.Artifact],
    unlearned: dsl.Input[dsl.Model],
    teacher: dsl.Input[dsl.Model],
    splits: dsl.Input[dsl.Dataset],
    version: str,
    settings: dict,
    policies: dict,
    image: str,
    key: str,
    bundle: dsl.Output[dsl.Artifact],
    made: dsl.Output[dsl.Markdown],
):
    """Sign what was done for the requests, if there is a key to sign with; otherwise say that there is none."""
    from i2i_unlearn.pipeline import step_outputs
    from i2i_unlearn.stages import evidence as stage

    step_outputs.use_tracking_server(settings["cluster"]["mlflow_tracking_uri"])
    facts = stage.run(
        stage.Inputs(evaluation=evaluation.path, unlearned=unlearned.path, teacher=f"{teacher.path}/model",
                     splits=splits.path, requests=settings["cluster"]["requests_folder"], policies=policies,
                     params=settings),
        stage.Origin(image=image, model_name=settings["register"]["model_name"], version=version),
        stage.Signer(key=key, optional=True),
        bundle.path,
    )  # fmt: skip
    step_outputs.show_facts(facts, made)
