"""The Kubeflow pipeline of a sweep: snapshot, split and reference once, then every point, then the Pareto table.

Compile with `i2i-unlearn pipeline compile`; the result, sweep.yaml, needs neither this folder nor params.yaml. Defaults
come from params.yaml at compile time, and so does the number of points side by side: kfp takes it as a constant.

There is no exit handler around it: Kubeflow collects the loop's outputs most surely at the top of a pipeline.
"""

from kfp import dsl

from components.check_sweep import check_sweep
from components.pareto import pareto
from components.record_sweep import record_sweep
from components.reference import reference as retrain_reference
from components.snapshot import snapshot
from components.split import split
from components.sweep_point import sweep_point
from i2i_unlearn.pipeline.compiled import SWEEP_STAGES, compiled
from pipelines.shared import PARAMS, POLICIES, on_accelerators, on_volume, retried, with_hmac_key


def listed(values: list) -> str:
    """A list of params.yaml as a field of the form: 0.1, 0.25, 1."""
    return ", ".join(value if isinstance(value, str) else f"{value:g}" for value in values)


ALONE = compiled({**PARAMS, "cluster": {**PARAMS["cluster"], "train_job_nodes": 0}}, SWEEP_STAGES)
"""A sweep makes no TrainJob: it has pods of its own for its points, and its reference is trained in one."""


@dsl.pipeline(name="sweep")
def sweep(
    images: str = "data/images",
    requests: str = ",".join(PARAMS["split"]["requests"]),
    erased: str = ",".join(PARAMS["split"]["erased"]),
    model: str = PARAMS["snapshot"]["source"],
    objectives: str = listed(PARAMS["sweep"]["objectives"]),
    alphas: str = listed(PARAMS["sweep"]["alphas"]),
    epsilons: str = listed(PARAMS["sweep"]["epsilons"]),
    num_steps: int = PARAMS["unlearn"]["num_steps"],
    operator: str = PARAMS["operator"],
    gate_policy: str = PARAMS["evaluate"]["policy"],
    reference: int = PARAMS["reference"]["count"],
    points_folder: str = "artifacts/sweep/points",
    experiment: str = PARAMS["register"]["experiment"],
    accelerator_count: str = "0",
    memory: str = "4Gi",
    seed: int = PARAMS["seed"],
):
    """Unlearn the same images in many ways, and show which of them forget most and keep most.

    Args:
        images: Folder or URI (s3://, gs://) of the image shards in Parquet; every image of the model's training set
            and holdout set. A relative path is a path on the volume.
        requests: Ids of the forget requests to carry out now, separated by commas.
        erased: Ids of the requests carried out and promoted earlier, separated by commas; their images are not used
            for anything again. Empty if this is the first unlearning.
        model: The model that is to forget: a registered version (models:/NAME/VERSION, a number and not an alias) or
            the path of a model directory; a relative path is a path on the volume.
        objectives: What the training minimises, one or more separated by commas, for example encoder_l2, max_loss.
            One point is computed for each of them and each value of its alpha or epsilon.
        alphas: Values of alpha (the weight of forgetting against retaining, 0 or more), separated by commas, for
            example 0.1, 0.25, 1.
        epsilons: Values of epsilon (between 0 and 1), separated by commas. They replace alpha where the objective is
            epsilon_constraint; without it they are not used.
        num_steps: Number of optimizer updates of every unlearning, 1 or more.
        operator: What is hidden from the model, which it then fills in. One of: center_hole, outpaint,
            random_patches, half_left, half_right, half_up, half_down, free_form.
        gate_policy: Name of the policy whose outcome is shown for every point; the outcomes of the other policies are
            shown too. One of: as_unseen, forgotten.
        reference: Number of models to retrain without the forget set, once, to compare all points with. 0 for none;
            each costs as much as the original training.
        points_folder: Folder on the volume that keeps every finished point with its weights. A later sweep with the
            same folder computes only the points that are not in it.
        experiment: MLflow experiment that records the sweep as a run, with a nested run for each point.
        accelerator_count: Number of accelerators for the reference and for each point, as text; 0 runs on a cluster
            without any.
        memory: Memory limit for the reference and for each point, as Kubernetes writes it (for example 4Gi).
        seed: Random seed, a whole number; the same seed and settings on the same hardware give the same weights.
    """
    checked = check_sweep(
        form={
            "images": images,
            "split.requests": requests,
            "split.erased": erased,
            "snapshot.source": model,
            "sweep.objectives": objectives,
            "sweep.alphas": alphas,
            "sweep.epsilons": epsilons,
            "unlearn.num_steps": num_steps,
            "operator": operator,
            "evaluate.policy": gate_policy,
            "reference.count": reference,
            "register.experiment": experiment,
            "seed": seed,
        },
        accelerator_count=accelerator_count,
        params=ALONE,
        policies=list(POLICIES),
    )
    settings = checked.outputs["settings"]
    teacher = snapshot(settings=settings)
    splits = split(images=images, settings=settings)
    data = {"images": images, "splits": splits.outputs["splits"], "teacher": teacher.outputs["teacher"]}
    retrained = retrain_reference(**data, settings=settings, run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER)
    with dsl.ParallelFor(checked.outputs["Output"], name="points", parallelism=PARAMS["sweep"]["num_workers"]) as point:
        # kfp 2.17's local runner loops only over an output called `Output`, and hands the item to every parameter
        # that comes from another step. Apart from the item, this step takes form fields, constants and artifacts.
        computed = sweep_point(
            **data,
            reference=retrained.outputs["reference"],
            settings=point,
            policies=POLICIES,
            points_folder=points_folder,
        )
    shown = pareto(points=dsl.Collected(computed.outputs["evaluated"]))
    recorded = record_sweep(table=shown.outputs["table"], settings=settings)

    on_volume(checked, teacher, splits, retrained, computed, shown, recorded)
    with_hmac_key(splits)
    on_accelerators(retrained, computed, count=accelerator_count, memory=memory)
    retried(retrained, computed)
