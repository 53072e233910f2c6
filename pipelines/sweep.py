"""The Kubeflow pipeline of a sweep: snapshot, split and reference once, then every point, then the Pareto table.

Compile with `i2i-unlearn pipeline compile`; the result, sweep.yaml, needs neither this folder nor params.yaml. Defaults
come from params.yaml at compile time, and so does the number of points side by side: kfp takes it as a constant.

There is no exit handler around it: Kubeflow collects the loop's outputs most surely at the top of a pipeline.
"""

from kfp import dsl, kubernetes

from components.check_sweep import check_sweep
from components.pareto import pareto
from components.record_sweep import record_sweep
from components.reference import reference as retrain_reference
from components.snapshot import snapshot
from components.split import split
from components.sweep_point import sweep_point
from pipelines.unlearning import PARAMS, WORKDIR, on_accelerator, stage_settings

ON_FORM = {
    "snapshot": {"source", "sha256"},
    "split": {"requests", "erased", "seed"},
    # objective, alpha and epsilon stay in the settings: each point changes those that it has.
    "unlearn": {"num_steps", "operator", "keep_fraction", "device", "seed", "checkpoint_uri", "num_processes"},
    "reference": {"kind", "operator", "keep_fraction", "device", "seed", "checkpoint_uri", "num_processes"},
    "evaluate": {"policy", "operator", "keep_fraction", "show_forget_images", "device", "seed"},
    "sweep": {"objectives", "alphas", "epsilons"},
}
SETTINGS = {stage: stage_settings(stage, ON_FORM[stage]) for stage in ON_FORM}
TRAIN_JOB = stage_settings("train_job", {"nodes", "gpus_per_node", "queue", "priority"})
"""Not used: a sweep has pods of its own for its points, and its reference is trained in one."""


def listed(values: list) -> str:
    """A list of params.yaml as a field of the form: 0.1, 0.25, 1."""
    return ", ".join(value if isinstance(value, str) else f"{value:g}" for value in values)


@dsl.pipeline(name="sweep")
def sweep(
    images: str = "data/images",
    requests_folder: str = "data/forget",
    requests: str = ",".join(PARAMS["split"]["requests"]),
    erased: str = ",".join(PARAMS["split"]["erased"]),
    model: str = PARAMS["snapshot"]["source"],
    model_sha256: str = PARAMS["snapshot"]["sha256"],
    objectives: str = listed(PARAMS["sweep"]["objectives"]),
    alphas: str = listed(PARAMS["sweep"]["alphas"]),
    epsilons: str = listed(PARAMS["sweep"]["epsilons"]),
    num_steps: int = PARAMS["unlearn"]["num_steps"],
    operator: str = PARAMS["operator"],
    keep_fraction: float = PARAMS["keep_fraction"],
    reference: str = PARAMS["reference"]["kind"],
    gate_policy: str = PARAMS["evaluate"]["policy"],
    experiment: str = PARAMS["register"]["experiment"],
    mlflow_tracking_uri: str = "",
    seed: int = PARAMS["seed"],
    points_folder: str = "artifacts/sweep/points",
    checkpoint_uri: str = PARAMS["checkpoint_uri"],
    device: str = PARAMS["device"],
    accelerator_type: str = "nvidia.com/gpu",
    accelerator_count: str = "0",
    memory: str = "4Gi",
    node_selector: dict = {},  # noqa: B006  kfp copies it into the YAML
    tolerations: list = [],  # noqa: B006
    volume_claim: str = "i2i-unlearn",
    hmac_key_secret: str = "i2i-unlearn-hmac",
):
    """Unlearn the same images in many ways, and show which of them forget most and keep most.

    Args:
        images: Folder or URI (s3://, gs://) of the image shards in Parquet; every image of the model's training set
            and holdout set.
        requests_folder: Folder that holds the forget requests, one YAML file each, as `i2i-unlearn request add`
            writes them.
        requests: Ids of the forget requests to carry out now, separated by commas.
        erased: Ids of the requests carried out and promoted earlier, separated by commas; their images are not used
            for anything again. Empty if this is the first unlearning.
        model: The model that is to forget: a registered version (models:/NAME/VERSION, a number and not an alias) or
            the path of a model directory; a relative path lies on the volume.
        model_sha256: Expected sha256 of the model directory; the sweep stops if the model is another one. Empty to
            accept any.
        objectives: What the training minimises, one or more separated by commas, for example encoder_l2, max_loss.
            One point is computed for each of them and each value of its alpha or epsilon.
        alphas: Values of alpha (the weight of forgetting against retaining, 0 or more), separated by commas, for
            example 0.1, 0.25, 1.
        epsilons: Values of epsilon (between 0 and 1), separated by commas. They take the place of alpha where the
            objective is epsilon_constraint; without it they are not used.
        num_steps: Number of optimizer updates of every unlearning.
        operator: What is hidden from the model, which it then fills in. One of: center_hole, outpaint,
            random_patches, half_left, half_right, half_up, half_down, free_form.
        keep_fraction: Visible share of each image, between 0 and 1.
        reference: Whether to retrain a model without the forget set, once, to compare all points with. One of: none,
            retrain (costs as much as the original training).
        gate_policy: Name of the policy whose outcome is shown for every point; the other policies' outcomes stand
            beside it. One of: as_unseen, as_unseen_audited, forgotten.
        experiment: MLflow experiment that records the sweep as a run, with a nested run for each point.
        mlflow_tracking_uri: Address of the MLflow server, for example http://mlflow.mlflow:5000. Empty for the one
            that the environment variable MLFLOW_TRACKING_URI names.
        seed: Random seed; the same seed and settings on the same hardware give the same weights.
        points_folder: Folder on the volume that keeps every finished point with its weights. A later sweep with the
            same folder computes only the points that are not in it.
        checkpoint_uri: Folder or URI for checkpoints, so that a retried step goes on where it stopped. It must
            outlive the pod.
        device: Where to compute. One of: cpu, cuda, auto (cuda where there is a GPU). Choose cuda when
            accelerator_count is above 0.
        accelerator_type: Kubernetes resource name of the accelerator, used when accelerator_count is above 0.
        accelerator_count: Number of accelerators for the reference and for each point, as text; 0 runs on a cluster
            without any.
        memory: Most memory for the reference and for each point, as Kubernetes writes it (for example 4Gi).
        node_selector: Labels that a node must have to run the reference and the points, for example
            {"gpu": "a100"}. Empty for any node.
        tolerations: Kubernetes tolerations of the reference and the points, for example
            [{"key": "nvidia.com/gpu", "operator": "Exists"}]. Empty for none.
        volume_claim: Name of the PersistentVolumeClaim mounted as working directory of every step; relative paths
            of this form lie on it. It must exist (ReadWriteMany where the cluster has several nodes).
        hmac_key_secret: Name of the Secret whose entry hmac.key holds the key for pseudonymous image ids, as
            `i2i-unlearn data key` makes it. Without that Secret, split asks for the key and stops.
    """
    form = check_sweep(
        source=model,
        sha256=model_sha256,
        requests=requests,
        erased=erased,
        objectives=objectives,
        alphas=alphas,
        epsilons=epsilons,
        num_steps=num_steps,
        operator=operator,
        keep_fraction=keep_fraction,
        policy=gate_policy,
        kind=reference,
        device=device,
        accelerator_count=accelerator_count,
        seed=seed,
        checkpoint_uri=checkpoint_uri,
        sections=SETTINGS,
    )
    teacher = snapshot(
        source=model, sha256=model_sha256, mlflow_tracking_uri=mlflow_tracking_uri, settings=SETTINGS["snapshot"]
    ).after(form)
    splits = split(
        images=images,
        requests_folder=requests_folder,
        requests=requests,
        erased=erased,
        seed=seed,
        settings=SETTINGS["split"],
    ).after(form)
    retrained = retrain_reference(
        images=images,
        splits=splits.outputs["splits"],
        teacher=teacher.outputs["teacher"],
        kind=reference,
        operator=operator,
        keep_fraction=keep_fraction,
        device=device,
        seed=seed,
        checkpoint_uri=checkpoint_uri,
        accelerator_count=accelerator_count,
        train_job_nodes=0,
        train_job_gpus=0,
        train_job_queue="",
        train_job_priority="",
        run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
        settings=SETTINGS["reference"],
        train_job=TRAIN_JOB,
    )
    with dsl.ParallelFor(form.output, name="points", parallelism=PARAMS["sweep"]["num_workers"]) as point:
        # kfp 2.17's local runner hands the loop's item to every parameter that comes from another step: beside the
        # item, the steps in here take form fields, constants and artifacts alone.
        computed = sweep_point(
            images=images,
            splits=splits.outputs["splits"],
            teacher=teacher.outputs["teacher"],
            reference=retrained.outputs["reference"],
            point=point,
            num_steps=num_steps,
            policy=gate_policy,
            operator=operator,
            keep_fraction=keep_fraction,
            device=device,
            seed=seed,
            checkpoint_uri=checkpoint_uri,
            accelerator_count=accelerator_count,
            points_folder=points_folder,
            settings={stage: SETTINGS[stage] for stage in ("unlearn", "evaluate")},
        )
    shown = pareto(points=dsl.Collected(computed.outputs["evaluated"]))
    recorded = record_sweep(
        table=shown.outputs["table"], experiment=experiment, mlflow_tracking_uri=mlflow_tracking_uri
    )

    steps = [form, teacher, splits, retrained, computed, shown, recorded]
    for step in steps:
        # As in the pipeline `unlearning`: the cache's key does not see the bytes at a URI. Finished points are known
        # by their content instead.
        step.set_caching_options(False)
        kubernetes.mount_pvc(step, volume_claim, WORKDIR)
    kubernetes.use_secret_as_volume(splits, hmac_key_secret, f"{WORKDIR}/.secrets", optional=True)
    for step in (retrained, computed):
        on_accelerator(step, accelerator_type, accelerator_count, memory, node_selector, tolerations)
        step.set_retry(num_retries=2, backoff_duration="60s", backoff_factor=2.0)
