"""The Kubeflow pipeline: snapshot, split, unlearn, reference, evaluate, register, evidence, promote.

In parallel, a step looks whether a request is past its last day; if so, another one shows the warning.

Compile with `i2i-unlearn pipeline compile`; the result, unlearning.yaml, needs neither this folder nor params.yaml.
Defaults come from params.yaml at compile time: what a person changes from run to run is a field of the run form, and
all other settings travel as a constant of the step `check`, which returns them together with the form's fields.
"""

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
from i2i_unlearn.pipeline.compiled import STAGES, compiled
from pipelines.shared import (
    CLUSTER,
    PARAMS,
    POLICIES,
    WORKDIR,
    on_accelerators,
    on_volume,
    retried,
    uncached,
    with_hmac_key,
)

EVIDENCE_KEY = ".secrets/evidence/private.pem"
"""Where `keys create` writes it in a checkout, and where the Secret is mounted in a pod."""
SETTINGS = compiled(PARAMS, STAGES)
"""Before the form's defaults are taken, so that a fault in params.yaml is told as one."""


@dsl.pipeline(name="unlearning")
def unlearning(
    images: str = "data/images",
    requests: str = ",".join(PARAMS["split"]["requests"]),
    erased: str = ",".join(PARAMS["split"]["erased"]),
    model: str = PARAMS["snapshot"]["source"],
    model_name: str = PARAMS["register"]["model_name"],
    objective: str = PARAMS["unlearn"]["objective"],
    alpha: float = PARAMS["unlearn"]["alpha"],
    num_steps: int = PARAMS["unlearn"]["num_steps"],
    operator: str = PARAMS["operator"],
    gate_policy: str = PARAMS["evaluate"]["policy"],
    reference: int = PARAMS["reference"]["count"],
    promote: str = "never",
    experiment: str = PARAMS["register"]["experiment"],
    accelerator_count: str = "0",
    memory: str = "4Gi",
    seed: int = PARAMS["seed"],
):
    """Make an image-to-image generator forget images, check that it did, and register the result.

    Args:
        images: Folder or URI (s3://, gs://) of the image shards in Parquet; every image of the model's training set
            and holdout set. A relative path is a path on the volume.
        requests: Ids of the forget requests to carry out now, separated by commas.
        erased: Ids of the requests carried out and promoted earlier, separated by commas; their images are not used
            for anything again. Empty if this is the first unlearning.
        model: The model that is to forget: a registered version (models:/NAME/VERSION, a number and not an alias) or
            the path of a model directory; a relative path is a path on the volume.
        model_name: Name under which the unlearned model becomes a new version in the MLflow registry.
        objective: What the training minimises. One of: encoder_l2, max_loss, noisy_label, retain_label,
            random_encoder, retain_finetune, epsilon_constraint, ascent_repair, heldout_like,
            surrogate_difference.
        alpha: Weight of forgetting against retaining, 0 or more; the retain term weighs 1. Larger forgets more and
            harms the rest more. For ascent_repair, how far the first phase goes; retain_finetune and
            epsilon_constraint have none.
        num_steps: Number of optimizer updates of the unlearning, 1 or more.
        operator: What is hidden from the model, which it then fills in. One of: center_hole, outpaint,
            random_patches, half_left, half_right, half_up, half_down, free_form.
        gate_policy: Name of the policy that decides whether the result passes; the verdicts of the other policies are
            shown too. One of: as_unseen, forgotten.
        reference: Number of models to retrain without the forget set, to compare with. 0 for none, 3 are recommended;
            each costs as much as the original training.
        promote: Whether to make the new version the champion. One of: never (a person decides later), on pass (at
            once if the gate's outcome is pass).
        experiment: MLflow experiment that records the run with its parameters, metrics and report.
        accelerator_count: Number of accelerators for each of unlearn, reference and evaluate, as text; 0 runs on a
            cluster without any. Unlearn and reference share each batch among them, evaluate uses one.
        memory: Memory limit for each of unlearn, reference and evaluate, as Kubernetes writes it (for example 4Gi).
        seed: Random seed, a whole number; the same seed and settings on the same hardware give the same weights.
    """
    last = final_state(requests=requests, model_name=model_name)
    with dsl.ExitHandler(last, name="unlearning"):
        checked = check(
            form={
                "images": images,
                "split.requests": requests,
                "split.erased": erased,
                "snapshot.source": model,
                "register.model_name": model_name,
                "unlearn.objective": objective,
                "unlearn.alpha": alpha,
                "unlearn.num_steps": num_steps,
                "operator": operator,
                "evaluate.policy": gate_policy,
                "reference.count": reference,
                "register.experiment": experiment,
                "seed": seed,
            },
            promote=promote,
            accelerator_count=accelerator_count,
            params=SETTINGS,
            policies=list(POLICIES),
        )
        settings = checked.outputs["settings"]
        in_time = deadline(settings=settings)
        with dsl.If(in_time.output == "overdue", name="request-overdue"):
            warned = warn_overdue(settings=settings)
        teacher = snapshot(settings=settings)
        splits = split(images=images, settings=settings)
        data = {"images": images, "splits": splits.outputs["splits"], "settings": settings}
        data["teacher"] = teacher.outputs["teacher"]
        unlearned = unlearn(**data, run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER)
        # kfp 2.17's local runner loops only over an output called `Output`; an item has the settings of one reference.
        with dsl.ParallelFor(checked.outputs["Output"], name="references") as one:
            retrained = retrain_reference(**{**data, "settings": one}, run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER)
        evaluated = evaluate(
            **data,
            unlearned=unlearned.outputs["unlearned"],
            references=dsl.Collected(retrained.outputs["reference"]),
            policies=POLICIES,
        )
        result = {
            "evaluation": evaluated.outputs["evaluation"],
            "unlearned": unlearned.outputs["unlearned"],
            "teacher": teacher.outputs["teacher"],
            "splits": splits.outputs["splits"],
            "settings": settings,
        }
        registered = register(**result, kfp_run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER)
        version = registered.outputs["Output"]
        signed = evidence(**result, version=version, policies=POLICIES, image=IMAGE, key=EVIDENCE_KEY)
        with (
            dsl.If(promote == "on pass", name="promotion-asked"),
            dsl.If(evaluated.outputs["Output"] == "pass", name="gate-passed"),
        ):
            promoted = promote_version(version=version, settings=settings)

    uncached(last)
    on_volume(checked, in_time, warned, teacher, splits, unlearned, retrained, evaluated, registered, signed, promoted)
    with_hmac_key(splits)
    kubernetes.use_secret_as_volume(signed, CLUSTER.evidence_key_secret, f"{WORKDIR}/.secrets/evidence", optional=True)
    on_accelerators(unlearned, retrained, evaluated, count=accelerator_count, memory=memory)
    retried(unlearned, retrained)
