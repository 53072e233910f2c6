"""Settings of every stage, filled from params.yaml by the command line and from parameters by the pipeline.

params.yaml has one section per stage, named like its verb, and above them the keys that several stages share
(`SHARED_KEYS`). A config class lists the shared keys it uses as ordinary fields. Defaults live in params.yaml only.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, Le, Lt
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from i2i_unlearn.config.base import (
    SHARED_KEYS,
    AtLeastOne,
    Fraction,
    Ids,
    NonNegative,
    NonNegativeInt,
    OpenFraction,
    Positive,
    SettingsModel,
    Sizes,
    StageConfig,
    Text,
    as_ids,
    whole_numbers,
)
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.yaml_file import read_mapping


def _webhook(value: str) -> str:
    """Checked here because pydantic's own error would repeat the value, which may hold a secret."""
    if value and not value.startswith(("http://", "https://")):
        raise UserError("promote.notify_url must begin with http:// or https://; correct it or leave it empty")
    return value


def _model_source(value: str) -> str:
    if not value.strip():
        raise ValueError("no model is named; name a model directory or models:/NAME/VERSION")
    return value


def _server(value: str) -> str:
    if value and not re.match(r"[a-z][a-z+-]*://|databricks", value):
        raise ValueError(f"is not an address; write for example http://{value}")
    return value


def _command(value: Any) -> Any:
    """A path alone is a program without arguments."""
    return ([value] if value else []) if isinstance(value, str) else value


_NOT_IN_NAMES = "/:.%\"'@`\\"
"""MLflow refuses the first six in the name of a logged model, but only when it is registered, after the training; in
models:/NAME@ALIAS and in searches the others mean something."""
_LONGEST_NAME = 200


def _model_name(value: str) -> str:
    wrong = sorted({letter for letter in value if letter in _NOT_IN_NAMES or not letter.isprintable()})
    if wrong:
        raise ValueError(f"{', '.join(map(repr, wrong))} cannot be in a model's name; use letters, digits, - and _")
    if not value.strip() or value != value.strip() or len(value) > _LONGEST_NAME:
        raise ValueError(f"must have 1 to {_LONGEST_NAME} characters, without spaces at its ends; correct it")
    return value


class ImagesConfig(StageConfig):
    """Section `images`: how image files become pixels (data/images/decoding.py).

    `data import` keeps it in the shards, so stages that read them need no setting.
    """

    section = "images"
    exif_orientation: bool
    """Whether pictures are turned upright as their EXIF says: as in the training of the model."""
    bits: Annotated[int, Ge(8), Le(16)]
    """Bits in use of 16-bit grey files; 12 for most X-ray images."""
    max_pixels: PositiveInt
    """Most pixels of a picture."""


class NearDuplicateSettings(SettingsModel):
    """Key `near_duplicates` of the section `split`: what counts as a near-copy (data/split/near_copy_search.py)."""

    search: bool
    """Whether to look for near-copies of forget images; each request says what to do with them."""
    hash_bits: Annotated[int, Ge(0), Le(64)]
    """Maximum number of bits, of 64, in which the perceptual hashes of a candidate pair differ."""
    correlation: OpenFraction
    """Minimum correlation of the aligned thumbnails."""
    cosine: Fraction
    """Minimum cosine similarity of the features; 0 = features are not compared."""


class SplitConfig(StageConfig):
    """Section `split`: which images play which role."""

    section = "split"
    seed: int
    holdout_fraction: OpenFraction
    """Share of the images that is never trained on, if the data has no split of its own."""
    requests: Ids
    """Ids of the active forget requests."""
    erased: Ids
    """Ids of promoted requests: their images are never used again."""
    proxy_labels: list[str]
    """Labels whose training images form the proxy retain set."""
    proxy_fraction: Fraction
    """Share of the other training images that is moved to the proxy retain set."""
    unseen_target_fraction: Fraction
    """Share of the holdout set aside as targets for objectives that need never-seen images."""
    retain_cap_per_class: NonNegativeInt
    """Maximum number of retain images per class; 0 = no cap. What is cut off gets the role `unused`."""
    near_duplicates: NearDuplicateSettings
    canaries: NonNegativeInt = 0
    """Those of section `pretrain`, where it is said: they were trained on or not by a coin."""

    @classmethod
    def from_params(cls, params: Mapping[str, Any], **more: Any) -> Self:
        """Take the number of canaries from section `pretrain`, which decided what was trained on."""
        pretrain = params.get("pretrain")
        found = {"canaries": pretrain["canaries"]} if isinstance(pretrain, Mapping) and "canaries" in pretrain else {}
        return super().from_params(params, **{**found, **more})

    def _without_effect(self) -> set[str]:
        return super()._without_effect() | (set() if self.canaries else {"canaries"})


class RequestConfig(StageConfig):
    """Section `request`: what filing a request refuses. Older projects have no such section."""

    section = "request"
    shared_keys = ()
    largest_share: Fraction = 0.1
    """Of the training images, that one request may take without being asked for twice; 1 = any."""

    @classmethod
    def from_params(cls, params: Mapping[str, Any], **more: Any) -> Self:
        """As every section, and the defaults where there is none."""
        return super().from_params({cls.section: {}, **params}, **more)


class OperatorConfig(StageConfig):
    """What every stage has that gives degraded images to a model."""

    seed: int
    model: str
    """A class of the user's own, module:Class, that may be imported; empty = this project's families alone."""
    operator: str
    keep_fraction: OpenFraction
    operator_patch_size: PositiveInt
    """Pixels; the grid of the operator random_patches."""


class ComputeConfig(OperatorConfig):
    """What a stage has that runs a model on a device of one's choice."""

    num_threads: PositiveInt
    """Part of the result: one and two torch threads give different bits."""
    device: Literal["auto", "cpu", "cuda"]


class TrainingConfig(ComputeConfig):
    """What every training run has. The optimiser is AdamW with linear warm-up and cosine decay."""

    checkpoint_uri: Text
    """Folder or fsspec URI for checkpoints of unfinished runs."""
    checkpoint_every_steps: PositiveInt
    num_steps: PositiveInt
    batch_size: PositiveInt
    """Images of each set in one step."""
    learning_rate: Positive
    weight_decay: NonNegative
    warmup_steps: NonNegativeInt
    clip_norm: NonNegative
    """Largest norm of the gradient; 0 = no clipping."""
    precision: Literal["fp32", "bf16"]
    not_in_digest = frozenset({"checkpoint_uri", "checkpoint_every_steps"})


def _even(config: Any) -> Any:
    if config.batch_size % config.num_processes:
        raise ValueError(
            f"batch_size={config.batch_size} is not a multiple of num_processes={config.num_processes}; change one"
        )
    return config


class SharedTrainingConfig(TrainingConfig):
    """Settings of a training run that several processes can share."""

    num_processes: Annotated[NonNegativeInt, AfterValidator(lambda number: max(number, 1))]
    """Number of processes that share each batch, usually one per GPU (0 means 1). It changes the order of summation and
    therefore the weights."""
    _shares_are_even = model_validator(mode="after")(_even)

    def _without_effect(self) -> set[str]:
        return super()._without_effect() | ({"num_processes"} if self.num_processes == 1 else set())


class PretrainConfig(TrainingConfig):
    """Section `pretrain`: a small original model for when none is given (the demo)."""

    section = "pretrain"
    holdout_fraction: OpenFraction
    family: str
    """One of models.FAMILIES, or own: the class that `model` names."""
    image_size: PositiveInt
    """Pixels; height and width."""
    num_channels: Literal[1, 3]
    architecture: Sizes
    """Sizes and choices that the family understands."""
    average_decay: Annotated[float, Ge(0), Lt(1)]
    """Decay of the moving average of the weights that is saved; 0 = the last weights."""
    canaries: NonNegativeInt
    """Number of held-out images that each enter the training by a coin (audit canaries); 0 = none."""

    def _without_effect(self) -> set[str]:
        return super()._without_effect() | (set() if self.canaries else {"canaries"})


class SnapshotConfig(StageConfig):
    """Section `snapshot`: which model is the teacher."""

    section = "snapshot"
    model: str
    """A class of the user's own, module:Class, that may be imported; empty = this project's families alone."""
    source: Annotated[str, AfterValidator(_model_source)]
    """A model directory, a pinned registry version `models:/NAME/VERSION`, or a published checkpoint (a file)."""
    sha256: str
    """Expected digest of the model directory or of the file; empty = not checked."""
    checkpoint: dict[str, Any]
    """What a published checkpoint does not state itself (models/published/)."""


class UnlearnConfig(SharedTrainingConfig):
    """Section `unlearn`."""

    section = "unlearn"
    objective: str
    scope: Literal["auto", "encoder", "all", "lora"]
    """Weights that are trained; auto = those of the objective's paper, lora = low-rank adapters of the encoder."""
    lora_rank: PositiveInt
    """Rank of each adapter of the scope lora."""
    lora_alpha: PositiveInt
    """The adapters' output is scaled by lora_alpha / lora_rank."""
    alpha: NonNegative
    """Weight of the forget term (dimensionless; the retain term weighs 1)."""
    epsilon: Fraction
    """epsilon_constraint: allowed forget term, on a scale from its minimum (0) to the original's value (1)."""
    first_phase: OpenFraction
    """Two-phase objectives: share of the steps that belong to the first phase."""
    timestep_emphasis: NonNegative
    """Diffusion: how much the forget set's timesteps lean towards the start of sampling; 0 = uniform."""
    surrogate_strength: NonNegative
    """surrogate_difference: factor by which the surrogate's difference is applied; 1 = as far as the surrogate."""
    surrogate_own: NonNegative
    """surrogate_difference: weight of each image's own influence, added to the difference."""
    surrogate_rank: PositiveInt
    """surrogate_difference: number of landmarks of the kernel; more are more precise and slower (cubic)."""
    push_visits: NonNegative
    """surrogate_difference: maximum number of times, on average, that the push shows each forget image. It then ends,
    even before `first_phase` is over. 0 = no limit."""
    noise_covariance: Literal["identity", "diagonal", "full"]
    noise_mean: Literal["zero", "forget"]
    proxy_ratio: Fraction
    """Share of the retain batch drawn from the proxy retain set; 1 = no real retain image is touched."""
    synthetic_ratio: Fraction
    """Share of the retain batch drawn from images that the teacher generates (method/synthetic.py)."""
    synthetic_from: Literal["prototypes", "noise", "proxy_crops"]
    """What the teacher generates them from."""
    synthetic_images: PositiveInt
    """How many it generates."""
    prototypes: str
    """File of class prototypes, made while retain images were available; empty = means of the split's retain images."""
    num_noise_draws: NonNegativeInt
    """Noise images whose mean teacher embedding is the forget target; 0 = fresh noise at every step."""
    cache_bytes: NonNegativeInt
    """Maximum memory for cached teacher embeddings, in bytes; 0 = recompute."""

    @field_validator("synthetic_ratio")
    @classmethod
    def _fits_beside_proxy(cls, ratio: float, info: ValidationInfo) -> float:
        proxy = info.data.get("proxy_ratio", 0.0)
        if proxy + ratio > 1 + 1e-9:  # shares such as 0.7 and 0.3
            raise ValueError(f"together with unlearn.proxy_ratio={proxy} it is more than 1; lower one of them")
        return ratio

    def _without_effect(self) -> set[str]:
        return super()._without_effect() | (set() if self.scope == "lora" else {"lora_rank", "lora_alpha"})


class ReferenceConfig(SharedTrainingConfig):
    """Section `reference`: retraining without the forget set, by the recipe of `pretrain`, from other weights."""

    section = "reference"
    not_in_digest = TrainingConfig.not_in_digest | {"count", "models", "num_workers"}
    holdout_fraction: OpenFraction
    count: NonNegativeInt
    """How many models are retrained; 0 = none. Three tell how much one retraining differs from another."""
    models: list[str]
    """Directories of models that were trained elsewhere without the forget set; they are compared with as well."""
    seed_offset: PositiveInt
    """The k-th reference has `seed` + k * this: it must not start from the original's initial weights."""
    num_workers: PositiveInt
    """How many are retrained side by side on this machine. No part of the result."""
    family: str
    image_size: PositiveInt
    num_channels: Literal[1, 3]
    architecture: Sizes
    average_decay: Annotated[float, Ge(0), Lt(1)]

    @classmethod
    def from_params(cls, params: Mapping[str, Any], **more: Any) -> Self:
        """Take the training recipe from section `pretrain`: a reference trained in another way would not be one."""
        pretrain = PretrainConfig.from_params(params)
        recipe = pretrain.model_dump(include=set(PretrainConfig.model_fields) & set(cls.model_fields))
        return cls._from_section(_counted(params), {**recipe, **more})

    def parts(self) -> list[Self]:
        """The settings of each reference alone: those to retrain, then those that are given."""
        retrained = [
            self.model_copy(update={"count": 1, "models": [], "seed_offset": number * self.seed_offset})
            for number in range(1, self.count + 1)
        ]
        return [*retrained, *(self.model_copy(update={"count": 0, "models": [one]}) for one in self.models)]


def _counted(params: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same with `reference.count` for `reference.kind`, none or retrain, which older projects have."""
    section = params.get("reference")
    if not isinstance(section, Mapping) or section.get("kind") not in ("none", "retrain"):
        return params
    own = {"count": 1, **{key: value for key, value in section.items() if key != "kind"}}
    return {**params, "reference": own if section["kind"] == "retrain" else {**own, "count": 0, "models": []}}


class ClusterConfig(StageConfig):
    """Section `cluster`: what a cluster fixes once. It is read when a pipeline is compiled."""

    model_config = ConfigDict(use_attribute_docstrings=True)  # docs/run_form.md is made from them
    section = "cluster"
    shared_keys = ()
    checkpoint_uri: Text
    """Folder or URI for checkpoints, so that a retried step resumes where it stopped. It must outlive the pod."""
    requests_folder: Text
    """Folder that holds the forget requests, one YAML file each, as `i2i-unlearn request add` writes them."""
    device: Literal["auto", "cpu", "cuda"]
    """Where to compute. auto is cuda where there is a GPU."""
    accelerator_type: str
    """Kubernetes resource name of the accelerators that the form's `accelerator_count` and train_job_gpus ask for."""
    node_selector: dict[str, str]
    """Labels that a node must have to run the steps that compute, for example {gpu: a100}. Empty for any node."""
    tolerations: list[dict[str, Any]]
    """Kubernetes tolerations of these steps, for example [{key: nvidia.com/gpu, operator: Exists}]."""
    volume_claim: str
    """Name of the PersistentVolumeClaim mounted as the working directory of every step. Relative paths are paths on it.
    It must exist (ReadWriteMany where the cluster has several nodes)."""
    hmac_key_secret: str
    """Name of the Secret whose entry hmac.key holds the key for pseudonymous image ids, as `i2i-unlearn data key` makes
    it. Without that Secret, split asks for the key and stops."""
    evidence_key_secret: str
    """Name of the Secret whose entry private.pem holds the key that signs evidence, as `i2i-unlearn keys create` makes
    it. Without that Secret, no evidence is made, and the step says so."""
    mlflow_tracking_uri: Annotated[str, AfterValidator(_server)]
    """Address of the MLflow server, for example http://mlflow.mlflow:5000, without a password: it is recorded. Empty
    for the one that the environment variable MLFLOW_TRACKING_URI names."""
    train_job_nodes: NonNegativeInt
    """Number of nodes of a Kubeflow TrainJob that does the work of unlearn and reference while those steps wait for it.
    0 lets the steps themselves train."""
    train_job_gpus: NonNegativeInt
    """Number of accelerators per node, one process each. 0 starts one process per node, on its CPU."""
    train_job_queue: str
    """Name of the Kueue LocalQueue that admits the TrainJob. Empty for none."""
    train_job_priority: str
    """Name of the Kueue WorkloadPriorityClass of the TrainJob. Empty for none."""
    train_job_cpus: str
    """CPUs per node."""
    train_job_memory: str
    """Memory per node."""
    train_job_runtime: str
    """Name of the ClusterTrainingRuntime, as k8s/overlays/gpu has it."""
    train_job_deadline_minutes: Positive
    """Minutes from the creation of the TrainJob after which it is stopped. Waiting in the queue counts."""
    train_job_folder: str
    """Folder on the volume where the steps and the nodes exchange files."""

    @property
    def num_processes(self) -> int:
        """Number of processes on all nodes of the TrainJob; 0 without one."""
        return self.train_job_nodes * max(self.train_job_gpus, 1)


class AuditSettings(SettingsModel):
    """Key `audits` of the section `evaluate`: which attacks are made, and with what effort (evaluation/audits/)."""

    run: Ids
    """Names of audits (evaluation/audits/table.py); empty = no audit."""
    max_images: PositiveInt
    """Maximum number of images per set, out of those that are scored."""
    num_completions: PositiveInt
    """Completions averaged for each image where a model draws at random."""
    relearn_steps: PositiveInt
    relearn_images: PositiveInt
    """Number of forget images that the relearning attacker has."""
    epoch_images: PositiveInt
    """Maximum number of retain images of the epoch that audit coming_back trains."""
    recovery_steps: PositiveInt
    """Training steps of the fresh decoder."""
    perturbations: PositiveInt
    """Number of perturbed inputs per image."""


class EvaluateConfig(ComputeConfig):
    """Section `evaluate`."""

    section = "evaluate"
    policy: str
    """Name of the policy that decides; the others are reported too."""
    policies: Annotated[dict[str, dict[str, Any]], AfterValidator(whole_numbers)]
    """Contents of the policy files by name; the CLI reads them from mlflow/policies/."""
    extractor: str
    max_images: PositiveInt
    """Maximum number of images scored per set."""
    max_feature_images: PositiveInt
    """Of these, maximum number whose extractor features are computed, per set."""
    batch_size: PositiveInt
    num_bootstrap: PositiveInt
    show_forget_images: bool
    """Put forget images into the report. Only for data that is public anyway, as in the demo."""
    operators: Ids
    """Operators that the model is used with, NAME:KEEP_FRACTION each, besides `operator`; all of them are judged."""
    rehearsal: bool
    """Judge the recipe on stand-ins where the request has fewer than five images (evaluation/rehearsal.py)."""
    audits: AuditSettings


class SweepConfig(StageConfig):
    """Section `sweep`: the points are all objectives, each with all values of its dial (alpha or epsilon)."""

    section = "sweep"
    objectives: Annotated[Ids, AtLeastOne]
    alphas: Annotated[list[NonNegative], BeforeValidator(as_ids), AtLeastOne]
    """Values of unlearn.alpha."""
    epsilons: Annotated[list[Fraction], BeforeValidator(as_ids), AtLeastOne]
    """Values of unlearn.epsilon, for the objective epsilon_constraint, which has no alpha."""
    num_workers: PositiveInt
    """Points computed side by side: processes on a laptop, pods on a cluster."""


class RegisterConfig(OperatorConfig):
    """Section `register`. What the served model is asked to undo, and `seed`, are stored with its weights."""

    section = "register"
    model_name: Annotated[str, AfterValidator(_model_name)]
    experiment: Text


class PromoteConfig(StageConfig):
    """Section `promote`."""

    section = "promote"
    ledger: Text
    """Path of the append-only promotion record (JSON lines)."""
    notify_url: Annotated[str, AfterValidator(_webhook)]
    """Address to which every decision is posted as JSON; empty = none. If the address is a secret, leave this empty and
    set I2I_UNLEARN_NOTIFY_URL."""
    notify_command: Annotated[list[str], BeforeValidator(_command)]
    """Program, with its arguments, that gets every decision as JSON on stdin; none = []."""
    notify_timeout_s: Positive
    """Maximum time for each of them, in seconds."""

    def with_ledger(self, path: str) -> Self:
        """The same with another promotion record; an empty path changes nothing."""
        return self.model_copy(update={"ledger": path}) if path else self


class CompleteConfig(ComputeConfig):
    """Section `complete`: completing images with a finished model. A registered version has an operator of its own."""

    section = "complete"
    batch_size: PositiveInt
    """Images per pass. Part of the result if the model draws at random."""


class GuardConfig(OperatorConfig):
    """Section `guard`: the filter for the time until requests are carried out."""

    section = "guard"
    num_threads: PositiveInt
    extractor: str
    false_alarms: OpenFraction
    """Share of ordinary images that may be refused."""
    max_images: PositiveInt
    """Most images, of the forget set and of the others, that rates are measured on. All forget images are guarded."""


CONFIGS: dict[str, type[StageConfig]] = {
    config.section: config
    for config in (
        ImagesConfig,
        RequestConfig,
        SplitConfig,
        PretrainConfig,
        SnapshotConfig,
        UnlearnConfig,
        ReferenceConfig,
        EvaluateConfig,
        SweepConfig,
        RegisterConfig,
        PromoteConfig,
        CompleteConfig,
        GuardConfig,
        ClusterConfig,
    )
}


def as_read(params: Mapping[str, Any]) -> dict[str, Any]:
    """The content of params.yaml with each value in its field's type: 1e-4, which YAML takes for text, is a number.

    What a door records must not depend on how a number was written. A section with faults stays as it is.
    """
    result = dict(params)
    for name, config in CONFIGS.items():
        more: dict[str, Any] = {"policies": {}} if config is EvaluateConfig else {}
        with suppress(UserError):
            found = config.from_params(params, **more).model_dump(mode="json")
            result |= {name: {key: found[key] for key in params[name]}} if name in params else {}
            result |= {key: found[key] for key in config.shared_keys if key in params and key in found}
    return result


def load_params(path: str | Path = "params.yaml") -> dict[str, Any]:
    """Read params.yaml.

    Raises:
        UserError: the file is missing, is not YAML, or has keys that belong to no stage.
    """
    missing = "no such file; run the command from the folder that holds params.yaml"
    params = read_mapping(path, missing=missing, holds="keys and sections")
    check_keys(path, params)
    _check_model_name(params)
    return params


def _check_model_name(params: Mapping[str, Any]) -> None:
    """Also the first step, which needs no section `register`, refuses a name that the last one could not use."""
    section = params.get("register")
    name = section.get("model_name") if isinstance(section, Mapping) else None
    if isinstance(name, str):
        try:
            _model_name(name)
        except ValueError as error:
            raise UserError(f"register.model_name={name!r}: {error}") from None


def check_keys(path: str | Path, params: Mapping[str, Any]) -> None:
    """Raise UserError if a key of the file is neither a shared key nor a section."""
    unknown = sorted(str(key) for key in set(params) - set(SHARED_KEYS) - set(CONFIGS))
    if unknown:
        raise UserError(f"{path}: unknown keys {', '.join(unknown)}; known are {', '.join([*SHARED_KEYS, *CONFIGS])}")
