"""Every result as plain values for JSON: one form for the command line, the API and the page.

The keys and what they mean are documented in docs/reference.md.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expertise_graph import data as datasets
from expertise_graph import diagnostics, models, registry, retrieval
from expertise_graph.core import (
    GatedError,
    MissingExtraError,
    NotFoundError,
    OfflineError,
    Registry,
    SourceError,
    TemporaryError,
    UntrustedError,
    count,
    listed,
    setting,
)

if TYPE_CHECKING:
    from expertise_graph.core import (
        Candidate,
        Command,
        Edge,
        Expert,
        Neighbour,
        Proposal,
        Ranking,
        Run,
        WarmStart,
    )
    from expertise_graph.data import LabelledData, RawData
    from expertise_graph.deltas import Applied, DeltaReport
    from expertise_graph.diagnostics import DataFindings, Report, RunFindings
    from expertise_graph.inference import Evaluation, Model
    from expertise_graph.merging import Folded, MergeResult
    from expertise_graph.registry import ImportReport, Lineage, Relative, Stated, Suspicion, Synced, Withdrawn
    from expertise_graph.retrieval import Backtest, Explanation, HeldOutTask
    from expertise_graph.sharing import PublishedModel, Pulled, Pushed, Reprobed
    from expertise_graph.tuning import AutoResult
    from expertise_graph.workspace import (
        ExpertDetails,
        KnownModel,
        KnownTask,
        Predictions,
        ProbeSetContent,
        ProbeSetDetails,
    )

Json = dict[str, Any]
Names = Mapping[str, str]


def _as_it_is(text: str) -> str:
    return text


@dataclasses.dataclass(frozen=True, kw_only=True)
class Form:
    """How a face of the program writes commands, and messages that name settings.

    Attributes:
        command: writes a command; by default as a call in Python.
        message: writes a message; by default settings are named as in Python.
    """

    command: Callable[[Command | None], str] = str
    message: Callable[[str], str] = _as_it_is

    def written(self, value: str | Command) -> str:
        """Return a message or a command in this form."""
        return self.message(value) if isinstance(value, str) else self.command(value)


PYTHON = Form()


# Experts


def expert_json(expert: Expert) -> Json:
    """Return the node of an expert."""
    return {
        "id": expert.id,
        "short": expert.short,
        "name": expert.name,
        "runnable": expert.runnable,
        "source": expert.source,
        "locator": expert.locator,
        "revision": expert.revision,
        "modality": expert.modality,
        "architecture": expert.architecture,
        "params": expert.params,
        "bytes": expert.bytes,
        "dim": expert.dim,
        "license": expert.license,
        "base_model": expert.base_model,
        "datasets": list(expert.datasets),
        "tags": list(expert.tags),
        "trusted_code": expert.trusted_code,
        "weights_format": expert.weights_format,
        "weights_sha": expert.weights_sha,
        "created_at": expert.created_at,
    }


def registered_json(
    source: str,
    outcome: Expert | Exception,
    form: Form = PYTHON,
    *,
    called: Callable[[str], list[Expert]] | None = None,
) -> Json:
    """Return the node that a source became, or the error that kept it out.

    `called` gives the experts that have a name, so that `note` says where one means several.
    """
    if isinstance(outcome, Exception):
        said, kind = form.message(str(outcome)), failure_kind(outcome)
        return {"source": source, "expert": None, "id": "", "error": said, "failure": kind, "note": None}
    row = {**expert_json(outcome), "source": source, "expert": outcome.short, "error": None, "failure": None}
    notes = [*_alias_note(source, outcome, called), *_namesakes(outcome, called)]
    return {**row, "note": "; ".join(notes) or None}


# What kept a source out, by the first of these errors that it is; anything else is "invalid".
_FAILURES: tuple[tuple[type[Exception], str], ...] = (
    (OfflineError, "offline"),
    (TemporaryError, "later"),
    (GatedError, "gated"),
    (NotFoundError, "gone"),
    (UntrustedError, "refused"),
    (MissingExtraError, "extra"),
    (SourceError, "broken"),
)


def failure_kind(error: Exception) -> str:
    """Return in one word why a source could not be registered."""
    return next((kind for of, kind in _FAILURES if isinstance(error, of)), "invalid")


def _alias_note(source: str, expert: Expert, called: Callable[[str], list[Expert]] | None) -> Iterator[str]:
    """Say where a source led to an expert that was there under another name or place."""
    locator = source.partition(":")[2].partition("@")[0]
    places = (locator, str(Path(locator).expanduser().resolve()))
    names = [a["name"] for a in expert.meta.get(models.ALIASES, ()) if a["locator"] in places]
    if not names:
        return
    same = f"{', '.join(names)} is the same as {expert.short}, which is there from {expert.locator}"
    others = [o for name in names for o in (called(name) if called else ()) if o.id != expert.id]
    if others:
        yield f"{same}; the name alone leads to {listed([o.short for o in others])}, so write {expert.short}"
    else:
        yield f"{same}: both lead to it"


def _namesakes(expert: Expert, called: Callable[[str], list[Expert]] | None) -> Iterator[str]:
    """Say that others have the name of an expert, where they do."""
    same = [other for other in (called(expert.name) if called else ()) if other.runnable]
    if len(same) > 1:
        yield (
            f"{count(len(same), 'expert')} are called {expert.name}: {listed([e.short for e in same])}; "
            "write which one is meant as name@hash"
        )


def synced_json(one: Synced) -> Json:
    """Return what the Hub says of a model."""
    return {"expert": one.name, "id": one.id, "status": one.status, "changes": list(one.changes)}


def known_model_json(known: KnownModel) -> Json:
    """Return a model of the catalogue."""
    model = known.model
    return {
        "model": model.name,
        "modality": model.modality,
        "params": model.params or None,
        "bytes": model.bytes or None,
        "dim": model.dim or None,
        "license": model.license,
        "languages": list(model.meta.get("languages", ())),
        "released": model.meta.get("released"),
        "results": len(known.results),
        "where": "here" if known.experts else where_is(model),
    }


def known_model_details_json(known: KnownModel) -> Json:
    """Return a model of the catalogue with the public results on it."""
    model = known.model
    return {
        **known_model_json(known),
        "revision": model.revision,
        "base_model": model.base_model,
        "max_tokens": model.meta.get("max_tokens"),
        "trained_on": list(model.datasets),
        "pretraining": model.meta.get("pretraining", ""),
        "gated": bool(model.meta.get("gated")),
        "remote_code": bool(model.meta.get("remote_code")),
        "unavailable": model.meta.get("unavailable"),
        "source": model.meta["origin"],
        "experts": [expert.id for expert in known.experts],
        "measured": [
            {
                "task": edge.meta["task"],
                "metric": edge.metric,
                "value": edge.weight,
                "method": edge.version,
                "kind": edge.meta.get("kind"),
                "task_license": edge.meta.get("task_license"),
                "source": edge.meta["origin"],
            }
            for edge in known.results
        ],
    }


def details_json(details: ExpertDetails) -> Json:
    """Return an expert with its covariates and relations."""
    names = details.names
    lineage = [edge for edge in details.relations if edge.kind == "lineage"]
    return {
        **expert_json(details.expert),
        "meta": dict(details.expert.meta),
        "relations": [
            {
                "kind": edge.kind,
                "source": names.get(edge.source, edge.source),
                "target": names.get(edge.target, edge.target),
                "weight": edge.weight,
                "metric": edge.metric,
                "method": edge.method,
                "created_at": edge.created_at,
                "origin": _origin(edge, details),
            }
            for edge in details.relations
        ],
        "parents": [
            _named_relation(edge, edge.source, names) for edge in lineage if edge.target == details.expert.id
        ],
        "children": [
            _named_relation(edge, edge.target, names) for edge in lineage if edge.source == details.expert.id
        ],
        "covariates": dict(details.covariates),
    }


def _origin(edge: Edge, details: ExpertDetails) -> str | None:
    """Return who stands behind a relation; what experts have in common is worked out here."""
    if edge.kind == "transfer":
        return registry.known_from(edge, details.places)
    return registry.origin_of(edge) if edge.kind in _OF_LINEAGE else None


def _named_relation(edge: Edge, far: str, names: Names) -> Json:
    return {
        "id": far,
        "expert": names.get(far, far),
        "relation": registry.relation_of(edge),
        "origin": registry.origin_of(edge),
    }


# Lineage

# Kinds of edges that say something about lineage.
_OF_LINEAGE = ("lineage", "suspected")


def lineage_json(found: Lineage) -> Json:
    """Return the line of an expert."""
    into = [one.edge for one in found.ancestors if one.generation == -1]
    return {
        "id": found.expert.id,
        "expert": found.expert.short,
        "kind": registry.kind_of(found.expert, into),
        "measured": _measured(found, found.expert.id),
        "ancestors": [_relative_json(found, one) for one in found.ancestors],
        "descendants": [_relative_json(found, one) for one in found.descendants],
        "suspected": [_suspected_json(found, edge) for edge in found.suspected],
        "claims_itself": found.claims_itself,
        "circular": found.circular,
        "left_out": found.left_out,
    }


def _relative_json(found: Lineage, one: Relative) -> Json:
    known, edge = found.experts.get(one.id), one.edge
    return {
        "id": one.id,
        "expert": known.short if known else one.id,
        "registered": known is not None,
        "generation": one.generation,
        "again": one.again,
        "relation": registry.relation_of(edge),
        "origin": registry.origin_of(edge),
        "run": edge.run,
        "claimed": edge.meta.get("claimed"),
        "distance": edge.meta.get("distance"),
        "confirmed": edge.meta.get("confirmed"),
        "method": edge.method,
        "version": edge.version,
        "created_at": edge.created_at,
        "measured": _measured(found, one.id),
    }


def _measured(found: Lineage, expert: str) -> list[Json]:
    return [
        {
            "task": edge.target,
            "task_name": found.tasks.get(edge.target, edge.target),
            "metric": edge.metric,
            "value": edge.weight,
            "method": edge.method,
            "run": edge.run,
        }
        for edge in found.results.get(expert, ())
    ]


def _suspected_json(found: Lineage, edge: Edge) -> Json:
    is_child = edge.target == found.expert.id
    far = edge.source if is_child else edge.target
    known, relation = found.experts.get(far), edge.meta.get("relation")
    told = bool(relation or edge.meta.get("between"))
    return {
        "id": far,
        "expert": known.short if known else far,
        "distance": edge.meta.get("distance"),
        "first": (far if is_child else found.expert.id) if told else None,
        "relation": relation,
        "reason": edge.meta.get("reason"),
        "between": bool(edge.meta.get("between")),
        "method": edge.method,
        "version": edge.version,
        "created_at": edge.created_at,
    }


def suspicion_json(one: Suspicion) -> Json:
    """Return two experts whose weights are close; the child first, where that is known."""
    return {
        "id": one.expert.id,
        "expert": one.expert.short,
        "other_id": one.other.id,
        "other": one.other.short,
        "distance": one.distance,
        "relation": one.relation,
        "reason": one.reason or None,
        "between": one.between,
    }


def stated_json(stated: Stated) -> Json:
    """Return what the user said about the parent of an expert, and what else is said of the expert."""
    return {
        "child": stated.child.id,
        "parent": stated.parent,
        "relation": registry.relation_of(stated.edge) if stated.edge else None,
        "origin": registry.origin_of(stated.edge) if stated.edge else None,
        "before": stated.before,
        "others": [_named_relation(edge, edge.source, {}) for edge in stated.others],
    }


def neighbour_json(neighbour: Neighbour) -> Json:
    """Return one of the nearest experts."""
    return {
        "id": neighbour.expert.id,
        "expert": neighbour.expert.short,
        "cka": neighbour.cka,
        "duplicate": neighbour.duplicate,
        "same_as": [expert.id for expert in neighbour.same_as],
        "architecture": neighbour.expert.architecture,
        "license": neighbour.expert.license,
    }


# Data


def data_json(data: LabelledData | RawData, form: Form = PYTHON) -> Json:
    """Return what was understood of a dataset; of unlabelled inputs there is no target and no class."""
    if isinstance(data, datasets.RawData):
        return {
            **{"modality": data.modality, "items": len(data.records), "classes": 0, "target": None},
            **{"splits": {}, "columns": dict(data.reading.columns)},
            **{"skipped": datasets.skipped_by_reason(data.skipped), "notes": []},
        }
    found = datasets.describe(data)
    return {
        "modality": found.modality,
        "items": found.items,
        "classes": found.classes,
        "target": found.target,
        "splits": dict(found.splits),
        "columns": dict(found.columns),
        "skipped": dict(found.skipped),
        "notes": [form.message(note) for note in found.notes],
    }


def data_details_json(data: LabelledData, form: Form = PYTHON) -> Json:
    """Return what was understood of a dataset, with counts, examples and what would change it."""
    found = datasets.describe(data)
    return {
        "name": data.name,
        "locator": data.locator,
        **data_json(data, form),
        "origins": dict(found.origins),
        "labels_read_as": form.message(found.labels),
        "change_with": [form.message(setting(name)) for name in found.guessed],
        "items_by_class": dict(datasets.count_by_class(data)),
        "examples": [
            {"item": item, "label": label, "split": split} for item, label, split in datasets.examples(data)
        ],
        "skipped_examples": dict(datasets.first_of_each_reason(data.skipped)),
    }


def data_lines(data: LabelledData | RawData, form: Form = PYTHON) -> list[str]:
    """Return the line that says what was understood of a dataset, then what looks odd."""
    if isinstance(data, datasets.RawData):
        return [datasets.line_on_inputs(data)]
    found = datasets.describe(data)
    return [form.message(found.line), *(f"note: {form.message(note)}" for note in found.notes)]


# Probe sets


def probe_set_json(details: ProbeSetDetails) -> Json:
    """Return a probe set of the list."""
    found = details.probe_set
    return {
        "id": found.id,
        "name": found.name,
        "version": found.version,
        "modality": found.modality,
        "n": found.n,
        "current": details.current,
        "experts": details.experts,
        "license": found.license,
    }


def probe_set_content_json(content: ProbeSetContent) -> Json:
    """Return a probe set with its inputs."""
    found = content.probe_set
    return {
        "id": found.id,
        "name": found.name,
        "version": found.version,
        "modality": found.modality,
        "n": found.n,
        "licenses": dict(Counter(item["license"] for item in content.items).most_common()),
        "items": [{k: item[k] for k in ("origin", "license", "sha256")} for item in content.items],
    }


# Ranking


query_columns: Registry[Callable[[Candidate], Any]] = Registry("column")
"""Further columns of the query table, by name; in JSON each candidate has them under that name."""


def ranking_json(ranking: Ranking, form: Form = PYTHON) -> Json:
    """Return the answer to a query."""
    return {
        "task": ranking.task.id,
        "task_name": ranking.task.name,
        "experts_run": ranking.experts_run,
        "unit": ranking.unit,
        "baseline": {"name": ranking.baseline.name, "predicted": ranking.baseline.predicted},
        "candidates": [candidate_json(c) for c in ranking.candidates],
        "best_here": None
        if ranking.here is None
        else {"rank": ranking.here[0], **candidate_json(ranking.here[1])},
        "together": [expert.id for expert in ranking.together],
        "proposal": None if ranking.proposal is None else _proposal_json(ranking.proposal, form),
        "excluded": [
            {
                "constraint": form.message(e.constraint),
                "expert": e.candidate.expert.id,
                "name": e.candidate.expert.name,
                "predicted": e.candidate.predicted,
                "low": e.candidate.low,
                "high": e.candidate.high,
            }
            for e in ranking.excluded
        ],
        "failed": [
            {"expert": expert, "reason": form.message(reason)} for expert, reason in ranking.failed.items()
        ],
        "sources": [dataclasses.asdict(source) for source in ranking.sources],
        "interrupted": ranking.interrupted,
        "notes": [form.message(note) for note in ranking.notes],
        "seconds": ranking.seconds,
        "command": form.command(ranking.command),
    }


def _proposal_json(proposal: Proposal, form: Form) -> Json:
    return {
        "expert": proposal.expert.id,
        "name": proposal.expert.name,
        "into": proposal.into,
        "params": proposal.params,
        "needs": None if proposal.needs is None else dataclasses.asdict(proposal.needs),
        "predicted": proposal.predicted,
        "low": proposal.low,
        "high": proposal.high,
        "reason": form.message(proposal.reason),
        "command": form.command(proposal.command),
    }


def where_is(expert: Expert) -> str:
    """Return where the weights of an expert are: here, gated, to fetch, or unknown where only its name is."""
    if expert.runnable:
        return "here"
    if not retrieval.is_known_model(expert):
        return "name only"
    if not retrieval.is_loadable(expert):
        return "not loadable"
    return "gated" if expert.meta.get("gated") else "to fetch"


def candidate_json(candidate: Candidate) -> Json:
    """Return one expert in an answer."""
    expert = candidate.expert
    return {
        "expert": expert.id,
        "name": expert.name,
        "predicted": candidate.predicted,
        "low": candidate.low,
        "high": candidate.high,
        "p_best": candidate.p_best,
        "ran": candidate.ran,
        "runnable": expert.runnable,
        "where": where_is(expert),
        "tied": candidate.tied,
        "license": expert.license,
        "params": expert.params,
        "bytes": expert.bytes,
        "trusted_code": expert.trusted_code,
        "evidence": list(candidate.evidence),
        "same_as": list(candidate.same_as),
        "family": list(candidate.family),
        "needs": None if candidate.needs is None else dataclasses.asdict(candidate.needs),
        **added_columns(candidate),
    }


def added_columns(candidate: Candidate) -> Json:
    """Return what the registered `query_columns` say of a candidate, by name."""
    return {name: query_columns[name](candidate) for name in query_columns}


def explanation_json(found: Explanation) -> Json:
    """Return how a predicted score comes about."""
    content = {f.name: getattr(found, f.name) for f in dataclasses.fields(found)}
    return {k: _plain(v) for k, v in content.items() if k not in ("task", "expert")} | {
        "task": found.task.id,
        "task_name": found.task.name,
        "expert": found.expert.id,
        "name": found.expert.name,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value  # type: ignore[arg-type]


def backtest_json(report: Backtest) -> Json:
    """Return what a back-test measured."""
    return {
        "by": report.by,
        "tasks": [_held_out_json(t, m) for t, m in zip(report.tasks, report.metrics, strict=True)],
        "methods": {method: dict(metrics) for method, metrics in report.table.items()},
        "ours_minus": {
            method: {m: {"low": low, "high": high} for m, (low, high) in found.items()}
            for method, found in report.difference.items()
        },
        "folds": [list(fold) for fold in report.folds],
    }


def _held_out_json(task: HeldOutTask, metrics: Mapping[str, Mapping[str, float]]) -> Json:
    return {
        "task": task.id,
        "name": task.name,
        "experts": len(task.experts),
        "pick": task.pick,
        "best": task.best,
        "complementary": [task.experts[i] for i in task.first],
        "baseline": task.baseline,
        "methods": {method: dict(found) for method, found in metrics.items()},
    }


# Training, merging, deltas


def warm_start_json(result: WarmStart, form: Form = PYTHON) -> Json:
    """Return the result of a warm start."""
    return {
        "run": result.run,
        "expert": result.expert,
        "child": result.child,
        "task": result.task,
        "strategy": result.strategy,
        "metric": result.metric,
        "accuracy": result.accuracy,
        "cold_accuracy": result.cold_accuracy,
        "transfer_gain": result.transfer_gain,
        "seed": result.seed,
        "epochs": result.epochs,
        "seconds": result.seconds,
        "path": result.path,
        "note": form.message(result.note),
        "lr": result.lr,
        "lr_search": [dict(row) for row in result.lr_search],
    }


def run_json(run: Run, names: Names) -> Json:
    """Return a training run of the list."""
    return {
        "id": run.id,
        "status": run.status,
        "expert": names.get(run.expert, run.expert),
        "task": names.get(run.task, run.task),
        "strategy": run.strategy,
        "metric": run.result.get("metric"),
        "accuracy": run.result.get("accuracy"),
        "cold_accuracy": run.result.get("cold_accuracy"),
        "seconds": run.result.get("seconds"),
        "seed": run.seed,
        "child": names.get(run.child or "", run.child),
        "path": run.path,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
    }


def auto_json(result: AutoResult, form: Form = PYTHON) -> Json:
    """Return what a search for expert and settings chose, with its trials."""
    plain = result.as_dict()
    return {
        **warm_start_json(result.model, form),
        "accuracy": result.accuracy,
        "members": plain["members"],
        "reason": form.message(result.reason),
        "chosen": list(result.chosen),
        "trials": plain["trials"],
        "experts_run": result.experts_run,
        "time_budget": result.time_budget,
        "total_seconds": result.seconds,
        "spent": dict(result.spent),
        "interrupted": result.interrupted,
        "notes": [form.message(note) for note in result.notes],
    }


def merge_json(result: MergeResult, form: Form = PYTHON) -> Json:
    """Return what a merge and each of its children reach."""
    return result.as_dict() | {"notes": [form.message(note) for note in result.notes]}


def fold_json(folded: Folded) -> Json:
    """Return what came of an adapter."""
    return folded.as_dict()


def delta_json(report: DeltaReport) -> Json:
    """Return what a delta file holds."""
    return report.as_dict()


def applied_json(applied: Applied) -> Json:
    """Return the model that deltas were added to."""
    return applied.as_dict()


# Inference


def predictions_json(answer: Predictions, form: Form = PYTHON) -> Json:
    """Return the answers of a model."""
    model = answer.model
    return {
        "model": str(model.folder),
        "kind": model.kind,
        "temperature": model.temperature,
        "predictions": [
            {
                "input": p.input,
                "classes": [{"class": name, "probability": share} for name, share in p.classes],
                "value": p.value,
            }
            for p in answer.predictions
        ],
        "skipped": [{"input": what, "reason": why} for what, why in answer.skipped],
        "notes": list(map(form.message, answer.notes)),
    }


def evaluation_json(model: Model, found: Evaluation, form: Form = PYTHON) -> Json:
    """Return what a model is worth on labelled data."""
    return {
        "model": str(model.folder),
        "kind": found.kind,
        "n": found.n,
        "split": found.split,
        "learnt": found.learnt,
        "left_out": found.left_out,
        "metrics": dict(found.metrics),
        "interval_95": list(found.interval) if found.interval else None,
        "temperature": model.temperature,
        "classes": [dataclasses.asdict(score) for score in found.classes],
        "confused": [{"class": a, "predicted": b, "items": n} for a, b, n in found.confused],
        "labels": list(model.classes),
        "confusion": found.confusion.tolist(),
        "notes": [form.message(note) for note in found.notes],
    }


# Diagnostics


def check_json(findings: DataFindings | RunFindings, form: Form = PYTHON) -> Json:
    """Return the findings of a check of data or of a run."""
    if isinstance(findings, diagnostics.DataFindings):
        return diagnostics.data_json(findings, form.written)
    read = {} if findings.data is None else {"data": data_json(findings.data, form)}
    return {**diagnostics.run_json(findings, form.written), **read}


def check_report(findings: DataFindings | RunFindings, form: Form = PYTHON) -> Report:
    """Return the findings of a check as a report, for a terminal or a page."""
    if isinstance(findings, diagnostics.DataFindings):
        return diagnostics.report_on_data(findings, form.written)
    return diagnostics.report_on_run(findings, form.written)


# History


def result_json(edge: Edge, names: Names, known_from: str) -> Json:
    """Return a result of the list; `known_from` is who stands behind it."""
    return {
        "id": edge.source,
        "expert": names.get(edge.source, edge.source),
        "task_id": edge.target,
        "task": names.get(edge.target, edge.target),
        "metric": edge.metric,
        "value": edge.weight,
        "lower_is_better": bool(edge.meta.get("lower_is_better")),
        "method": edge.method,
        "seed": edge.seed,
        "n_train": edge.meta.get("n_train"),
        "n": edge.n,
        "seconds": edge.seconds,
        "date": edge.meta.get("date"),
        "run": edge.run,
        "origin": edge.meta.get("origin") or edge.run,
        "known_from": known_from,
        "source_url": edge.meta.get("source"),
        "verified": bool(edge.meta.get("verified")),
        "created_at": edge.created_at,
    }


def withdrawn_json(found: Withdrawn) -> Json:
    """Return what was taken back."""
    return {
        "runs": list(found.runs),
        "results": len(found.results),
        "experts": [expert.id for expert in found.experts],
        "tasks": list(found.tasks),
        "dry_run": found.dry_run,
    }


def task_json(known: KnownTask) -> Json:
    """Return a task of the list."""
    task = known.task
    return {
        "id": task.id,
        "name": task.name,
        "modality": task.modality,
        "items": task.n,
        "classes": len(task.classes),
        "results": known.results,
        "scores": known.scores,
        "locator": task.locator,
        "created_at": task.created_at,
    }


def import_json(report: ImportReport) -> Json:
    """Return what an import read, added and left out."""
    return dataclasses.asdict(report)


# Sharing

ROWS: Mapping[str, str] = {
    "experts": "expert",
    "tasks": "task",
    "probe_sets": "probe set",
    "embeddings": "embedding",
    "edges": "result or relation",
    "scores": "score",
    "covariates": "covariate",
    "distances": "distance",
}
"""What people call a row of each table that is shared."""


def pushed_json(pushed: Pushed) -> Json:
    """Return what was pushed."""
    return {
        "place": pushed.place,
        "revision": pushed.revision,
        "changed": pushed.changed,
        "bytes": pushed.bytes,
        "rows": {name: n for name, n in pushed.rows.items() if name in ROWS},
    }


def pulled_json(pulled: Pulled) -> Json:
    """Return what was merged."""
    return {
        "place": pulled.place,
        "revision": pulled.revision,
        "origin": pulled.origin,
        "tables": {name: dataclasses.asdict(counts) for name, counts in pulled.tables.items()},
        "conflicts": [dataclasses.asdict(conflict) for conflict in pulled.conflicts],
        "notes": list(pulled.notes),
    }


def reprobed_json(one: Reprobed) -> Json:
    """Return an expert that was run again."""
    return {
        "id": one.expert.id,
        "expert": one.expert.short,
        "origin": one.origin,
        "cosine": one.cosine,
        "confirmed": one.confirmed,
        "error": one.error,
    }


def published_json(published: PublishedModel) -> Json:
    """Return what was published."""
    return dataclasses.asdict(published)


def shared_line(rows: Mapping[str, int]) -> str:
    """Return what rows of tables are, for people.

    Example:
        >>> shared_line({"experts": 2, "edges": 1, "scores": 0})
        '2 experts, 1 result or relation'
    """
    plurals = {"edges": "results and relations"}
    parts = [
        f"{n:,} {plurals[name]}" if n != 1 and name in plurals else count(n, ROWS[name])
        for name, n in rows.items()
        if n and name in ROWS
    ]
    return ", ".join(parts) or "nothing"
