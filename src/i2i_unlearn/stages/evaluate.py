"""Stage `evaluate`: score teacher, unlearned model and reference, let the policies judge, write the report.

metrics.json, with the schema version and the names of sets and models of `evaluation/findings.py`:

    operator, keep_fraction, extractor, num_bootstrap, seed
    models         {model: sha256 of its directory}        manifest_sha256
    original       {model: teacher | original | table | unknown, source, why}     the model before any request; table =
                   what it answered was kept (evaluation/original_table.py); unknown = why, the teacher takes its place
    selected_by    label, subject, sample_id, or several: by what the requests select; empty where unknown
    holdout_alike  whether held-out images are of the same kinds as the forget images (data/split/holdout_likeness.py)
    sets           {set: {num_images, num_scored, chosen: all | random | none}}
    scores         {model: {set: {metric: {value, low, high, num_images}}}}
    differences    {"unlearned-teacher": {set: {metric: ...}}, ...}     paired: on the same resampled images
    ratios         {"unlearned/reference": {set: {metric: ...}}, ...}
    gaps           {"unlearned-teacher": {"retain-retain_holdout": {hole_psnr_db: ...}}, ...}     growth of the gap
    classes        {"unlearned-teacher": {set: {class: ...}}, ...}     hole_psnr_db; a set's intervals hold together
    relative       {set: {metric: {value, low, high, num_images, to_references: [...], among_references: [...]}}}
    audits         {audit: {...}}     attacks on the models, see `evaluation/audits/run.py`
    rehearsal      audit rank_shift of the recipe, where one was asked for, see `evaluation/rehearsal.py`
    operators      {NAME:KEEP_FRACTION: {operator, keep_fraction, scores, differences, ratios, gaps, classes, relative,
                   audits (rank_shift alone), earlier_requests, rehearsal}}     of each further operator
    earlier_requests   {request: {...}}     audit rank_shift of promoted requests, see `evaluation/earlier.py`
    time_losses    {model: {set: {share: [...], loss: [...]}}}     of diffusion, see `evaluation/time_loss.py`
    cost           {unlearn_s, reference_s, share_of_reference, peak_memory_bytes}     null where unknown;
                   reference_s is of the first reference

low and high are the ends of the 95 % interval, null where there is none. verdicts.json: deciding, verdicts {policy:
gate.Verdict}, sentence (why other policies differ from the deciding one; empty if none does).
"""

import datetime
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from i2i_unlearn.config.sections import EvaluateConfig, UnlearnConfig
from i2i_unlearn.data.split.manifest import FORGET
from i2i_unlearn.evaluation import gate
from i2i_unlearn.evaluation.audit_inputs import audit_inputs
from i2i_unlearn.evaluation.audits.base import AuditInputs
from i2i_unlearn.evaluation.audits.run import run_audits, units_of
from i2i_unlearn.evaluation.audits.table import check_audits
from i2i_unlearn.evaluation.earlier import EarlierImages, earlier_entries, read_earlier
from i2i_unlearn.evaluation.embedding_map import NUM_IMAGES, EmbeddingCollector
from i2i_unlearn.evaluation.findings import FINDINGS_VERSION, FORGET_SETS, ORIGINAL
from i2i_unlearn.evaluation.inputs import ChosenSet, Inputs, References, batches, operators_of, read_inputs
from i2i_unlearn.evaluation.metrics.observations import ImageFacts
from i2i_unlearn.evaluation.metrics.observe import SetObserver
from i2i_unlearn.evaluation.metrics.scores import Scores
from i2i_unlearn.evaluation.original import TABLE, OriginalFacts, find_original
from i2i_unlearn.evaluation.original_table import FILE, OriginalTable, read_table
from i2i_unlearn.evaluation.pictures import PictureCollector
from i2i_unlearn.evaluation.policy import RANK_SHIFT
from i2i_unlearn.evaluation.rank_entry import observe_sets, rank_entry
from i2i_unlearn.evaluation.rehearsal import Rehearsal, Unlearn, is_due, judge_rehearsal, rehearse
from i2i_unlearn.evaluation.shown import PictureGrid
from i2i_unlearn.evaluation.time_loss import time_losses
from i2i_unlearn.models.extractors import Extractor, extractor_label, extractor_name, load_extractor
from i2i_unlearn.models.operators import Operator
from i2i_unlearn.models.randomness import derive_seed
from i2i_unlearn.report.facts import ReportFacts, RequestFacts
from i2i_unlearn.stages import unlearn
from i2i_unlearn.support.device import num_threads, pick_device
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import atomic_folder, write_json
from i2i_unlearn.support.progress import Advance, progress


def run(
    images: str,
    splits: str | Path,
    teacher: str | Path,
    unlearned: str | Path,
    reference: References,
    out: str | Path,
    config: EvaluateConfig,
    *,
    original: str | Path = "",
    recipe: UnlearnConfig | None = None,
    model_name: str = "",
) -> dict[str, float | str]:
    """Write metrics.json, verdicts.json, report.html, pictures/ and summary.json under `out`; return the summary.

    Args:
        images: URI of the image shards.
        splits: folder that holds manifest.parquet.
        teacher: model directory of the previous champion.
        unlearned: output folder of the stage `unlearn`.
        reference: output folders of the stage `reference`, one or several; empty where there is none.
        out: folder of the outputs; replaced as a whole.
        config: section `evaluate`, with the contents of the policy files.
        original: model directory of the model before any request; empty = what `snapshot` wrote next to the teacher,
            else the teacher.
        recipe: section `unlearn`, by which `unlearned` was made; needed where a rehearsal is due.
        model_name: under which it will be registered; only the report names it.

    Raises:
        UserError: a part is missing or damaged, or the parts do not belong together.
    """
    begun = time.monotonic()
    check_audits(config.audits.run)
    device = pick_device(config.device)
    original, known = find_original(Path(teacher), original)
    inputs = read_inputs(images, Path(splits), Path(teacher), Path(unlearned), original, reference, config)
    table = read_table(Path(teacher).parent / "original" / FILE) if known.model == TABLE else None
    if table:
        table.check(inputs.manifest, config)
        inputs = _known_to(table, inputs)
    again = _rehearsed_by(recipe, inputs, images, teacher) if is_due(inputs, config) else None
    inputs.freeze(device)
    extractor = load_extractor(config.extractor, device)
    evaluation = _Evaluation(inputs, known, images, config, extractor, device, table)
    others = {operator.label: evaluation.under(operator) for operator in operators_of(config)[1:]}
    earlier = read_earlier(images, Path(splits), inputs.manifest, config)
    earlier = earlier.known_to(table) if table else earlier
    # The out folder is opened first: a full disk or a missing right shows before the work, not after it.
    with atomic_folder(out) as aside, num_threads(config.num_threads):
        _score([evaluation, *others.values()], inputs, earlier)
        attacked = audit_inputs(inputs, images, config, extractor, device, evaluation.observed)
        audits = _attack(evaluation, attacked)
        rehearsal = rehearse(inputs, images, config, device, again, aside / "rehearsal", table) if again else None
        found = {"audits": audits, **evaluation.more_ranks(attacked, earlier, rehearsal)}
        found["operators"] = {label: one.judged(attacked, earlier, rehearsal) for label, one in others.items()}
        with progress("report", 1) as advance:
            facts = evaluation.facts({**found, "time_losses": time_losses(attacked)}, model_name)
            _write(facts, aside)
            advance()
        summary = {**_flat(facts), "seconds": round(time.monotonic() - begun, 3)}
        write_json(aside / "summary.json", summary)
    return summary


def _score(evaluations: Sequence["_Evaluation"], inputs: Inputs, earlier: EarlierImages) -> None:
    """Let all models complete all images, under each operator."""
    num_scored = sum(len(chosen.rows) for chosen in (*inputs.sets.values(), *earlier.sets().values()))
    with progress("evaluate", num_scored * len(evaluations)) as advance:
        for one in evaluations:
            one.score_all(earlier, advance)


def _attack(evaluation: "_Evaluation", attacked: AuditInputs) -> dict[str, dict[str, Any]]:
    with progress("audits", units_of(attacked)) as advance:
        return evaluation.with_original(run_audits(attacked, advance), attacked)


def _rehearsed_by(recipe: UnlearnConfig | None, inputs: Inputs, images: str, teacher: str | Path) -> Unlearn:
    """The recipe by which the model was made; a rehearsal speaks for no other."""
    if recipe is None or recipe.digest() != inputs.unlearn_summary.get("config_digest"):
        raise UserError(
            "evaluate.rehearsal is true, but the unlearned model was not made with the present settings of unlearn; run"
            " `i2i-unlearn unlearn` again, or set evaluate.rehearsal to false"
        )
    return lambda splits, out: unlearn.run(images, splits, teacher, out, recipe)


def _known_to(table: OriginalTable, inputs: Inputs) -> Inputs:
    """Without images that the table lacks."""
    sets = {name: table.known(chosen) for name, chosen in inputs.sets.items()}
    if not len(sets[FORGET].rows):
        raise UserError(
            "the original's weights are destroyed, and none of the forget images is in the table of its answers; they"
            " came after it, so there is nothing to judge against"
        )
    return replace(inputs, sets=sets, further=table.known(inputs.further))


def _under(config: EvaluateConfig, operator: Operator) -> EvaluateConfig:
    return config.model_copy(update={"operator": operator.name, "keep_fraction": operator.keep_fraction})


class _Evaluation:
    """What accumulates while sets are scored one by one, under one operator."""

    def __init__(
        self,
        inputs: Inputs,
        original: OriginalFacts,
        images: str,
        config: EvaluateConfig,
        extractor: Extractor,
        device: torch.device,
        table: OriginalTable | None,
        *,
        drawn: bool = True,
    ) -> None:
        """`table`: of an original without weights; `drawn`: collect pictures and the map of embeddings."""
        self._table = table
        self._inputs = inputs
        self._drawn = drawn
        self._original = original
        self._images = images
        self._config = config
        self._extractor = extractor
        self._device = device
        self._scores = Scores()
        self.observed: dict[str, dict[str, ImageFacts]] = {}
        """By set and model: what was seen of every scored image."""
        self._seen_earlier: dict[str, dict[str, ImageFacts]] = {}
        self._pictures: list[PictureGrid] = []
        self._embeddings = EmbeddingCollector(inputs.models, device)

    def under(self, operator: Operator) -> "_Evaluation":
        """The same under a further operator, without pictures and map."""
        inputs, config = replace(self._inputs, operator=operator), _under(self._config, operator)
        which = (inputs, self._original, self._images, config, self._extractor, self._device, self._table)
        return _Evaluation(*which, drawn=False)

    def score_all(self, earlier: EarlierImages, advance: Advance) -> None:
        """Score all models on every set, and see the images of earlier requests."""
        for set_name, chosen in self._inputs.sets.items():
            self._score(set_name, chosen, advance)
        sets = earlier.sets()
        seen = observe_sets(self._inputs, self._images, sets, self._config, self._device, advance)
        self._seen_earlier = {name: {**of, **self._original_on(sets[name])} for name, of in seen.items()}

    def _original_on(self, chosen: ChosenSet) -> dict[str, ImageFacts]:
        """What an original without weights answered; empty where there is none."""
        return {ORIGINAL: self._table.answers(chosen, self._inputs.operator.label)} if self._table else {}

    def with_original(self, audits: dict[str, dict[str, Any]], attacked: AuditInputs) -> dict[str, dict[str, Any]]:
        """Audit rank_shift made again with an original without weights, which no other audit can attack."""
        if not self._table or RANK_SHIFT not in audits:
            return audits
        return {**audits, RANK_SHIFT: rank_entry(self._and_original(attacked), self.observed, attacked.labels)}

    def _and_original(self, attacked: AuditInputs) -> AuditInputs:
        models: dict[str, Any] = {**attacked.models, **({ORIGINAL: None} if self._table else {})}
        return replace(attacked, models=models)

    def _score(self, set_name: str, chosen: ChosenSet, advance: Advance) -> None:
        """`chosen` may be empty."""
        if not len(chosen.rows):
            return
        observer = SetObserver(
            self._inputs.models,
            self._extractor,
            set_name=set_name,
            num_images=len(chosen.rows),
            seed=self._config.seed,
            device=self._device,
            max_features=self._config.max_feature_images,
        )
        pictures = self._picture_collector(set_name, chosen)
        mapped = self._rng("map", set_name).permutation(len(chosen.rows))[:NUM_IMAGES]
        count = 0
        for images_BCHW, visible_BHW in batches(
            self._inputs.models["teacher"], self._inputs.operator, self._images, chosen, self._config
        ):
            seen = observer.see(images_BCHW, visible_BHW)
            if pictures:
                pictures.see(seen)
            if self._drawn:
                here = mapped[(mapped >= count) & (mapped < count + len(seen))] - count
                self._embeddings.see(set_name, seen, sorted(here.tolist()))
            count += len(seen)
            advance(len(seen), set_name)
        seen_of_models = {**observer.observations(), **self._original_on(chosen)}
        self.observed[set_name] = {name: observations.facts() for name, observations in seen_of_models.items()}
        self._scores.add(
            set_name,
            seen_of_models,
            labels_N=chosen.rows["label"].to_numpy(dtype=str),
            extractor=extractor_name(self._config.extractor),
            num_draws=self._config.num_bootstrap,
            rng=self._rng("bootstrap", set_name),
        )
        self._pictures += pictures.grids() if pictures else []

    def _picture_collector(self, set_name: str, chosen: ChosenSet) -> PictureCollector | None:
        """None for forget images that must not be shown: they are then never collected, nor are near-copies of them."""
        shown = self._config.show_forget_images
        if not self._drawn or (set_name in FORGET_SETS and not shown):
            return None
        hidden = frozenset() if shown else chosen.copies
        return PictureCollector(set_name, len(chosen.rows), self._rng("pictures", set_name), hidden)

    def _rng(self, *purpose: str) -> np.random.Generator:
        return np.random.default_rng(derive_seed(self._config.seed, "evaluate", *purpose))

    def more_ranks(
        self, attacked: AuditInputs, earlier: EarlierImages, rehearsal: Rehearsal | None
    ) -> dict[str, dict[str, Any]]:
        """Audit rank_shift of other images than the request's: entries of metrics.json."""
        attacked = self._and_original(attacked)
        found = {"earlier_requests": earlier_entries(attacked, earlier, self._seen_earlier)}
        if rehearsal:
            how = (self._inputs, self._images, self._config, self._device, self._table)
            found["rehearsal"] = judge_rehearsal(rehearsal, attacked, *how)
        return found

    def judged(self, attacked: AuditInputs, earlier: EarlierImages, rehearsal: Rehearsal | None) -> dict[str, Any]:
        """An entry of `operators`; `attacked` is that of the first operator."""
        attacked = replace(self._and_original(attacked), operator=self._inputs.operator, observed=self.observed)
        wanted = RANK_SHIFT in self._config.audits.run
        return {
            "operator": self._config.operator,
            "keep_fraction": self._config.keep_fraction,
            **self._tables(),
            "audits": {RANK_SHIFT: rank_entry(attacked, self.observed, attacked.labels)} if wanted else {},
            **self.more_ranks(attacked, earlier, rehearsal),
        }

    def facts(self, found: Mapping[str, Any], model_name: str) -> ReportFacts:
        """Judge, and put together what is reported; `found` are further entries of metrics.json."""
        metrics = {**self._metrics(), **found}
        return ReportFacts(
            metrics=metrics,
            verdicts=_verdicts(metrics, self._inputs.policies),
            pictures=self._pictures,
            embeddings=self._embeddings.map(derive_seed(self._config.seed, "evaluate", "t-SNE")),
            steps=self._inputs.steps,
            lineage=_lineage(self._inputs, self._original, self._config),
            requests=[
                RequestFacts(id=request, received=received, due=due)
                for request, (received, due) in self._inputs.received_and_due.items()
            ],
            due=self._inputs.due,
            method=_method(self._inputs),
            near_duplicates=self._inputs.near_duplicates,
            day=datetime.datetime.now(datetime.UTC).date().isoformat(),
            model_name=model_name,
            show_forget_images=self._config.show_forget_images,
        )

    def _metrics(self) -> dict[str, Any]:
        inputs, config = self._inputs, self._config
        return {
            "schema_version": FINDINGS_VERSION,
            "operator": config.operator,
            "keep_fraction": config.keep_fraction,
            "extractor": extractor_name(config.extractor),
            "num_bootstrap": config.num_bootstrap,
            "seed": config.seed,
            "models": {**inputs.digests, **({ORIGINAL: self._table.facts.model_sha256} if self._table else {})},
            "original": self._original.in_metrics(),
            "manifest_sha256": inputs.manifest_sha256,
            "selected_by": inputs.selected_by,
            "holdout_alike": inputs.holdout_alike,
            "sets": {name: chosen.facts() for name, chosen in inputs.sets.items()},
            **self._tables(),
            "cost": _cost(inputs),
        }

    def _tables(self) -> dict[str, Any]:
        return {
            "scores": self._scores.scores,
            "differences": self._scores.differences,
            "ratios": self._scores.ratios,
            "gaps": self._scores.gaps(),
            "classes": self._scores.classes,
            "relative": self._scores.relative,
        }


def _cost(inputs: Inputs) -> dict[str, float | None]:
    unlearn_s = inputs.unlearn_summary.get("seconds")
    reference_s = inputs.reference_summary.get("seconds")
    return {
        "unlearn_s": unlearn_s,
        "reference_s": reference_s,
        "share_of_reference": unlearn_s / reference_s if unlearn_s is not None and reference_s else None,
        "peak_memory_bytes": inputs.unlearn_summary.get("peak_memory_bytes"),
    }


def _verdicts(metrics: Mapping[str, Any], policies: Mapping[str, gate.Policy]) -> dict[str, Any]:
    """The content of verdicts.json; the deciding policy comes first."""
    deciding, *others = [gate.judge(metrics, policy) for policy in policies.values()]
    return {
        "schema_version": FINDINGS_VERSION,
        "deciding": deciding.policy,
        "verdicts": {verdict.policy: verdict.as_dict() for verdict in (deciding, *others)},
        "sentence": gate.explain_difference(deciding, others),
    }


def _lineage(inputs: Inputs, original: OriginalFacts, config: EvaluateConfig) -> dict[str, str]:
    """Label -> value, in the order to show."""
    unlearn = inputs.unlearn_summary
    lineage = {f"{name} model, sha256": digest for name, digest in inputs.digests.items()}
    if original.teacher_source.startswith("models:"):
        lineage["teacher model, source"] = original.teacher_source
        lineage["original model, source"] = original.source or f"unknown: {original.why}"
    lineage |= {
        "split manifest, sha256": inputs.manifest_sha256,
        "images, sha256": inputs.manifest.image_digest,
        "forget requests": ", ".join(inputs.manifest.requests),
        "erased earlier": ", ".join(inputs.manifest.erased) or "none",
        **{name: str(unlearn[name]) for name in ("objective", "alpha", "steps") if name in unlearn},
        "operator": f"{config.operator}, {config.keep_fraction:g} visible",
        "extractor": extractor_label(config.extractor),
        "seed of the evaluation": str(config.seed),
        "settings of the evaluation, sha256": config.digest(),
    }
    if "config_digest" in unlearn:
        lineage["settings of the unlearning, sha256"] = str(unlearn["config_digest"])
    return lineage


def _method(inputs: Inputs) -> dict[str, Any]:
    summary = inputs.unlearn_summary
    return {name: summary[name] for name in ("objective", "scope", "alpha", "epsilon", "steps") if name in summary}


def _write(facts: ReportFacts, folder: Path) -> None:
    from i2i_unlearn.report import before_after_picture, write_report  # matplotlib and jinja2

    write_json(folder / "metrics.json", facts.metrics)
    write_json(folder / "verdicts.json", facts.verdicts)
    (folder / "pictures").mkdir()
    (folder / "pictures" / "before_after.png").write_bytes(before_after_picture(facts))
    write_report(facts, folder / "report.html")


def _flat(facts: ReportFacts) -> dict[str, float | str]:
    """What a metric table, an artifact's metadata and tags can hold."""
    verdicts, metrics = facts.verdicts, facts.metrics
    summary: dict[str, float | str] = {
        "policy": verdicts["deciding"],
        "gate": verdicts["verdicts"][verdicts["deciding"]]["outcome"],
        **{f"gate_{name}": verdict["outcome"] for name, verdict in verdicts["verdicts"].items()},
        "sentence": verdicts["sentence"],
        **{f"{model}_sha256": digest for model, digest in metrics["models"].items()},
        "manifest_sha256": metrics["manifest_sha256"],
    }
    for model, of_sets in metrics["scores"].items():
        for set_name, scores in of_sets.items():
            summary[f"{model}_{set_name}_hole_psnr_db"] = round(scores["hole_psnr_db"]["value"], 4)
    share = metrics["cost"]["share_of_reference"]
    return summary if share is None else {**summary, "share_of_reference": round(share, 4)}
