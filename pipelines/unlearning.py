"""The Kubeflow pipeline: snapshot, split, unlearn, reference, evaluate, register, evidence, promote.

Beside them, a step looks whether a request is past its last day; if so, another one shows the warning.

Compile with `i2i-unlearn pipeline compile`; the result, unlearning.yaml, needs neither this folder nor params.yaml.
Defaults come from params.yaml at compile time: what a person changes from run to run is a field of the run form, and
the other numbers of a stage's section travel as that step's constant `settings`.
"""

from collections.abc import Set
from pathlib import Path
from typing import Any

from kfp import dsl, kubernetes

from components.check import check
from components.deadline import deadline
from components.evaluate import evaluate
from components.evidence import evidence
from components.final_state import final_state
from components.image import IMAGE
from components.promote import promote as promote_version
from components.reference import reference as retrain_reference
from components.register import register
from components.snapshot import snapshot
from components.split import split
from components.unlearn import unlearn
from components.warn_overdue import warn_overdue
from i2i_unlearn.config.sections import CONFIGS, load_params
from i2i_unlearn.evaluation.gate import read_policies

ROOT = Path(__file__).parent.parent
PARAMS = load_params(ROOT / "params.yaml")
POLICIES = read_policies(ROOT / "mlflow/policies")

WORKDIR = "/workspace"
"""Working directory of the image. The volume is mounted there, so that a relative path (data/images, promotions.jsonl)
means the same in a pod and in a checkout."""

SHARED_MEMORY = "1Gi"

EVIDENCE_KEY = ".secrets/evidence/private.pem"
"""Where `keys create` writes it in a checkout, and where the Secret is mounted in a pod."""

ON_FORM = {
    "snapshot": {"source", "sha256"},
    "split": {"requests", "erased", "seed"},
    "unlearn": {
        "objective",
        "alpha",
        "epsilon",
        "num_steps",
        "operator",
        "keep_fraction",
        "device",
        "seed",
        "checkpoint_uri",
        "num_processes",
    },
    "reference": {"kind", "operator", "keep_fraction", "device", "seed", "checkpoint_uri", "num_processes"},
    "evaluate": {"policy", "operator", "keep_fraction", "show_forget_images", "device", "seed"},
    "register": {"model_name", "experiment", "operator", "keep_fraction", "seed"},
    "promote": set(),
    "train_job": {"nodes", "gpus_per_node", "queue", "priority"},
}


def stage_settings(stage: str, on_form: Set[str]) -> dict[str, Any]:
    """What the config of `stage` needs beside the form's fields."""
    policies = {"policies": POLICIES} if stage == "evaluate" else {}
    config = CONFIGS[stage].from_params(PARAMS, **policies)
    return config.model_dump(mode="json", exclude=set(on_form))


SETTINGS = {stage: stage_settings(stage, ON_FORM[stage]) for stage in ON_FORM}


def on_accelerator(step: dsl.PipelineTask, kind: Any, count: Any, memory: Any, node_selector: Any, tolerations: Any):
    """Let the form say on what hardware a step runs."""
    # kfp 2.17 hands resource parameters to the step but not to the exit handler's DAG around it; this hands them on.
    step.register_pipeline_channels([kind, count, memory])
    step.set_accelerator_type(kind).set_accelerator_limit(count).set_memory_limit(memory)
    kubernetes.add_node_selector_json(step, node_selector)
    kubernetes.add_toleration_json(step, tolerations)
    # A container's /dev/shm has 64 MiB, too little where several processes exchange gradients. kfp 2.17 takes the size
    # as a constant; what is used of it counts as the step's memory.
    kubernetes.empty_dir_mount(step, "shared-memory", "/dev/shm", medium="Memory", size_limit=SHARED_MEMORY)


@dsl.pipeline(name="unlearning")
def unlearning(
    images: str = "data/images",
    requests_folder: str = "data/forget",
    requests: str = ",".join(PARAMS["split"]["requests"]),
    erased: str = ",".join(PARAMS["split"]["erased"]),
    model: str = PARAMS["snapshot"]["source"],
    model_sha256: str = PARAMS["snapshot"]["sha256"],
    objective: str = PARAMS["unlearn"]["objective"],
    alpha: float = PARAMS["unlearn"]["alpha"],
    epsilon: float = PARAMS["unlearn"]["epsilon"],
    num_steps: int = PARAMS["unlearn"]["num_steps"],
    operator: str = PARAMS["operator"],
    keep_fraction: float = PARAMS["keep_fraction"],
    reference: str = PARAMS["reference"]["kind"],
    gate_policy: str = PARAMS["evaluate"]["policy"],
    show_forget_images: bool = False,  # params.yaml speaks of the demo's public digits; a form may name any images
    model_name: str = PARAMS["register"]["model_name"],
    experiment: str = PARAMS["register"]["experiment"],
    promote: str = "never",
    mlflow_tracking_uri: str = "",
    seed: int = PARAMS["seed"],
    checkpoint_uri: str = PARAMS["checkpoint_uri"],
    device: str = PARAMS["device"],
    accelerator_type: str = "nvidia.com/gpu",
    accelerator_count: str = "0",
    train_job_nodes: int = PARAMS["train_job"]["nodes"],
    train_job_gpus: int = PARAMS["train_job"]["gpus_per_node"],
    train_job_queue: str = PARAMS["train_job"]["queue"],
    train_job_priority: str = PARAMS["train_job"]["priority"],
    memory: str = "4Gi",
    node_selector: dict = {},  # noqa: B006  kfp copies it into the YAML
    tolerations: list = [],  # noqa: B006
    volume_claim: str = "i2i-unlearn",
    hmac_key_secret: str = "i2i-unlearn-hmac",
    evidence_key_secret: str = "i2i-unlearn-evidence",
):
    """Make an image-to-image generator forget images, check that it did, and register the result.

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
        model_sha256: Expected sha256 of the model directory; the run stops if the model is another one. Empty to
            accept any.
        objective: What the training minimises. One of: encoder_l2, max_loss, noisy_label, retain_label,
            random_encoder, retain_finetune, epsilon_constraint, ascent_repair, heldout_like,
            surrogate_difference.
        alpha: Weight of forgetting against retaining, 0 or more; the retain term weighs 1. Larger forgets more and
            harms the rest more. For ascent_repair, how far the first phase goes; retain_finetune and
            epsilon_constraint have none.
        epsilon: For epsilon_constraint alone, how much of the forget term may stay, between 0 and 1. 0 forgets most,
            1 allows as much as the original.
        num_steps: Number of optimizer updates of the unlearning.
        operator: What is hidden from the model, which it then fills in. One of: center_hole, outpaint,
            random_patches, half_left, half_right, half_up, half_down, free_form.
        keep_fraction: Visible share of each image, between 0 and 1.
        reference: Whether to retrain a model without the forget set, to compare with. One of: none, retrain
            (costs as much as the original training).
        gate_policy: Name of the policy that decides whether the result passes; the other policies' verdicts are
            shown beside it. One of: as_unseen, as_unseen_audited, forgotten.
        show_forget_images: Whether the report, which MLflow and Kubeflow keep, shows images that are to be forgotten.
            Switch it on only for images that are public anyway.
        model_name: Name under which the unlearned model becomes a new version in the MLflow registry.
        experiment: MLflow experiment that records the run with its parameters, metrics and report.
        promote: Whether to make the new version the champion. One of: never (a person decides later), on pass (at
            once if the gate's outcome is pass).
        mlflow_tracking_uri: Address of the MLflow server, for example http://mlflow.mlflow:5000. Empty for the one
            that the environment variable MLFLOW_TRACKING_URI names.
        seed: Random seed; the same seed and settings on the same hardware give the same weights.
        checkpoint_uri: Folder or URI for checkpoints, so that a retried step goes on where it stopped. It must
            outlive the pod.
        device: Where to compute. One of: cpu, cuda, auto (cuda where there is a GPU). Choose cuda when
            accelerator_count is above 0.
        accelerator_type: Kubernetes resource name of the accelerator, used when accelerator_count is above 0.
        accelerator_count: Number of accelerators for each of unlearn, reference and evaluate, as text; 0 runs on a
            cluster without any. Unlearn and reference share each batch among them, evaluate uses one.
        train_job_nodes: Number of nodes of a Kubeflow TrainJob that does the work of unlearn and reference while those
            steps wait for it; 0 lets the steps themselves train.
        train_job_gpus: Number of accelerators of each of these nodes; all share each batch.
        train_job_queue: Name of the Kueue LocalQueue that admits the TrainJob. Empty for none.
        train_job_priority: Name of the Kueue WorkloadPriorityClass of the TrainJob. Empty for none.
        memory: Most memory for each of unlearn, reference and evaluate, as Kubernetes writes it (for example 4Gi).
        node_selector: Labels that a node must have to run unlearn, reference and evaluate, for example
            {"gpu": "a100"}. Empty for any node.
        tolerations: Kubernetes tolerations of unlearn, reference and evaluate, for example
            [{"key": "nvidia.com/gpu", "operator": "Exists"}]. Empty for none.
        volume_claim: Name of the PersistentVolumeClaim mounted as working directory of every step; relative paths
            of this form lie on it. It must exist (ReadWriteMany where the cluster has several nodes).
        hmac_key_secret: Name of the Secret whose entry hmac.key holds the key for pseudonymous image ids, as
            `i2i-unlearn data key` makes it. Without that Secret, split asks for the key and stops.
        evidence_key_secret: Name of the Secret whose entry private.pem holds the key that signs evidence, as
            `i2i-unlearn keys create` makes it. Without that Secret, no evidence is made, and the step says so.
    """
    train_job = {
        "train_job_nodes": train_job_nodes,
        "train_job_gpus": train_job_gpus,
        "train_job_queue": train_job_queue,
        "train_job_priority": train_job_priority,
    }
    last = final_state(requests=requests, model_name=model_name)
    with dsl.ExitHandler(last, name="unlearning"):
        form = check(
            source=model,
            sha256=model_sha256,
            requests=requests,
            erased=erased,
            objective=objective,
            alpha=alpha,
            epsilon=epsilon,
            num_steps=num_steps,
            operator=operator,
            keep_fraction=keep_fraction,
            policy=gate_policy,
            kind=reference,
            device=device,
            accelerator_count=accelerator_count,
            **train_job,
            seed=seed,
            checkpoint_uri=checkpoint_uri,
            experiment=experiment,
            model_name=model_name,
            promote=promote,
            show_forget_images=show_forget_images,
            sections=SETTINGS,
        )
        in_time = deadline(requests_folder=requests_folder, requests=requests).after(form)
        with dsl.If(in_time.output == "overdue", name="request-overdue"):
            warned = warn_overdue(requests_folder=requests_folder, requests=requests)
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
        unlearned = unlearn(
            images=images,
            splits=splits.outputs["splits"],
            teacher=teacher.outputs["teacher"],
            objective=objective,
            alpha=alpha,
            epsilon=epsilon,
            num_steps=num_steps,
            operator=operator,
            keep_fraction=keep_fraction,
            device=device,
            seed=seed,
            checkpoint_uri=checkpoint_uri,
            accelerator_count=accelerator_count,
            **train_job,
            run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
            mlflow_tracking_uri=mlflow_tracking_uri,
            settings=SETTINGS["unlearn"],
            train_job=SETTINGS["train_job"],
        )
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
            **train_job,
            run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
            settings=SETTINGS["reference"],
            train_job=SETTINGS["train_job"],
        )
        evaluated = evaluate(
            images=images,
            splits=splits.outputs["splits"],
            teacher=teacher.outputs["teacher"],
            unlearned=unlearned.outputs["unlearned"],
            reference=retrained.outputs["reference"],
            policy=gate_policy,
            operator=operator,
            keep_fraction=keep_fraction,
            show_forget_images=show_forget_images,
            device=device,
            seed=seed,
            settings=SETTINGS["evaluate"],
        )
        registered = register(
            evaluation=evaluated.outputs["evaluation"],
            unlearned=unlearned.outputs["unlearned"],
            teacher=teacher.outputs["teacher"],
            splits=splits.outputs["splits"],
            model_name=model_name,
            experiment=experiment,
            operator=operator,
            keep_fraction=keep_fraction,
            seed=seed,
            params=form.outputs["Output"],
            kfp_run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
            mlflow_tracking_uri=mlflow_tracking_uri,
            settings=SETTINGS["register"],
        )
        signed = evidence(
            evaluation=evaluated.outputs["evaluation"],
            unlearned=unlearned.outputs["unlearned"],
            teacher=teacher.outputs["teacher"],
            splits=splits.outputs["splits"],
            requests_folder=requests_folder,
            model_name=model_name,
            version=registered.outputs["Output"],
            params=form.outputs["Output"],
            policies=POLICIES,
            image=IMAGE,
            key=EVIDENCE_KEY,
            mlflow_tracking_uri=mlflow_tracking_uri,
        )
        steps = [form, in_time, warned, teacher, splits, unlearned, retrained, evaluated, registered, signed]
        with (
            dsl.If(promote == "on pass", name="promotion-asked"),
            dsl.If(evaluated.outputs["Output"] == "pass", name="gate-passed"),
        ):
            promoted = promote_version(
                version=registered.outputs["Output"],
                params=form.outputs["Output"],
                mlflow_tracking_uri=mlflow_tracking_uri,
                settings=SETTINGS["promote"],
            )
            steps.append(promoted)

    for step in (*steps, last):
        # The backend's cache key holds parameters and artifact ids, not the bytes at a URI: new images or requests
        # under the same name would bring back the old result. So nothing is cached; checkpoints save the long steps.
        step.set_caching_options(False)
    for step in steps:
        kubernetes.mount_pvc(step, volume_claim, WORKDIR)
    kubernetes.use_secret_as_volume(splits, hmac_key_secret, f"{WORKDIR}/.secrets", optional=True)
    kubernetes.use_secret_as_volume(signed, evidence_key_secret, f"{WORKDIR}/.secrets/evidence", optional=True)
    for step in (unlearned, retrained, evaluated):
        on_accelerator(step, accelerator_type, accelerator_count, memory, node_selector, tolerations)
    for step in (unlearned, retrained):
        step.set_retry(num_retries=2, backoff_duration="60s", backoff_factor=2.0)
