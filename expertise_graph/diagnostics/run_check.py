"""A look back at a finished run: how it went, where it fails, what to try next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from expertise_graph.core import ExpertiseError, Progress, UntrustedError, count, duration, silent
from expertise_graph.data import CLASS, LABELS, LabelledData, known_modalities, plural_of
from expertise_graph.diagnostics.charts import ChartLine, LineChart
from expertise_graph.diagnostics.finished_run import FinishedRun, check_same_classes, read_finished_run
from expertise_graph.diagnostics.hardest_examples import HardExample, contact_sheet, hardest_examples
from expertise_graph.diagnostics.report import ItemName, Report, ReportTable, Section, Wording
from expertise_graph.diagnostics.verdict import RunVerdict, judge
from expertise_graph.inference import Model, open_model

# Of the hardest examples that a terminal shows; the page has all.
_BRIEF = 8

Find = Callable[[FinishedRun], LabelledData]
"""Returns the data of a run; raises ExpertiseError where they cannot be found."""


@dataclass(kw_only=True)
class RunFindings:
    """All that is known about a run so far.

    Attributes:
        model: what answers; None where it is built by code that is not trusted.
        hardest: items of the highest loss, None where the data or the model could not be used.
        looked_at: how many validation and test items, or new items of other data, were predicted.
        sheet: the hardest examples as a PNG, for images.
    """

    run: FinishedRun
    verdict: RunVerdict
    model: Model | None = None
    data: LabelledData | None = None
    hardest: tuple[HardExample, ...] | None = None
    looked_at: int = 0
    sheet: bytes | None = None
    notes: list[str] = field(default_factory=list)
    interrupted: bool = False


def check_run(
    folder: Path,
    find: Find,
    *,
    settings: Mapping[str, str | bool] | None = None,
    trust_code: bool = False,
    progress: Progress = silent,
) -> RunFindings:
    """Look back at a finished warm start.

    Ctrl-C ends the check; what was found until then is returned.

    Args:
        folder: of the run, with its run.json.
        find: finds the data it was trained on.
        settings: that a command needs to read the data.
        trust_code: whether a model built by code of the user may be loaded.
        progress: called with how far it is.

    Raises:
        InvalidInputError: when the run has not finished, or its files do not belong together.
        NotFoundError, SourceError: when a file of it is missing or damaged.
    """
    run = read_finished_run(folder)
    found = RunFindings(run=run, verdict=judge(run, "DATA"))
    try:
        found.model = open_model(folder, trust_code=trust_code)
    except UntrustedError as error:
        found.notes.append(f"the hardest examples are left out: {error}")
    try:
        found.data = find(run)
        check_same_classes(run, found.data)
        found.verdict = judge(run, found.data.locator, {**run.columns.settings, **(settings or {})})
        if found.model is None:
            return found
        found.hardest, found.looked_at = hardest_examples(
            found.model, found.data, seed=int(run.result["seed"]), progress=progress
        )
        if found.hardest and known_modalities[run.modality].picture:
            found.sheet = contact_sheet(found.hardest, found.data)
    except ExpertiseError as error:
        found.notes.append(f"the hardest examples are left out: {error}")
    except KeyboardInterrupt:
        found.interrupted = True
    return found


def report_on_run(findings: RunFindings, wording: Wording = str) -> Report:
    """Return the report on a run.

    Args:
        findings: of `check_run`.
        wording: puts settings and commands into the form of the program's face.
    """
    return Report(
        title=f"Check of the run {findings.run.folder.name}",
        headline=list(_headline(findings)),
        sections=[*_hardest_examples(findings), _training_curves(findings.run)],
        advice_title="Try next",
        commands=[wording(command) for command in findings.verdict.commands],
        notes=[wording(note) for note in findings.notes],
        interrupted=findings.interrupted,
        items=() if findings.data is None else findings.data.items,
        modality=findings.run.modality,
        attachments={} if findings.sheet is None else {"worst.png": findings.sheet},
    )


def _headline(findings: RunFindings) -> Iterator[str]:
    run, result = findings.run, findings.run.result
    what = {
        CLASS: f"in {count(len(run.classes), 'class')}",
        LABELS: f"with {count(len(run.classes), 'label')}",
    }
    yield (
        f"{run.folder.name}: {result['strategy']} on {result['n_train']:,} {plural_of(run.modality)} "
        f"{what.get(run.kind, 'with values')}, {count(result['epochs'], 'epoch')} in "
        f"{duration(result['seconds'])}"
    )
    yield (
        f"{run.metric_name} {run.shown(result['accuracy'])} on {count(result['n_test'], 'test item')}, "
        f"{run.shown(result['validation_accuracy'])} on {count(result['n_validation'], 'validation item')}"
    )
    model = findings.model
    if model is not None and len(model.networks) > 1 and model.accuracy is not None:
        yield (
            f"{len(model.networks)} networks answer together: {run.metric_name} "
            f"{run.shown(model.accuracy)} on the test items; the training curves are those of the first"
        )
    if result.get("note"):
        yield f"note: {result['note']}"
    yield findings.verdict.text


def _hardest_examples(findings: RunFindings) -> Iterator[Section]:
    if findings.hardest is None:
        return
    if not findings.hardest:
        text = f"no wrong or doubtful answer among {_looked_at(findings)}"
        yield Section(title="Hardest examples", text=[text])
        return
    rows = [
        ((ItemName(e.item, e.name),), e.split, e.given, e.predicted, e.doubt, f"{e.loss:.2f}")
        for e in findings.hardest
    ]
    text = f"highest loss among {_looked_at(findings)}"
    head = ("item", "split", "label", "predicted", "confidence", "loss")
    table = ReportTable(caption="Hardest first", head=head, rows=rows, brief=_BRIEF)
    yield Section(title="Hardest examples", text=[text], tables=[table])


def _looked_at(findings: RunFindings) -> str:
    if findings.data is not None and findings.data.task.id != findings.run.task:
        return f"{count(findings.looked_at, 'item')} that are not those of the training"
    return count(findings.looked_at, "validation and test item")


def _training_curves(run: FinishedRun) -> Section:
    metric = run.metric_name
    charts = []
    for title, training, validation, percent in (
        (metric, "train_accuracy", "validation_accuracy", run.kind == CLASS),
        ("loss", "loss", "validation_loss", False),
    ):
        given = {f"training {title}": training, f"validation {title}": validation}
        lines = [
            ChartLine(name, points) for name, column in given.items() if (points := _points(run, column))
        ]
        name = f"{title.capitalize()} by epoch, in training and on validation"
        charts += [LineChart(title=name, lines=lines, across="epoch", percent=percent)] if lines else []
    rows = [
        (
            int(row["epoch"]),
            "" if row["train_accuracy"] is None else run.shown(row["train_accuracy"]),
            run.shown(row["validation_accuracy"]),
            f"{row['validation_loss']:.3f}",
        )
        for row in run.history
    ]
    head = ("epoch", f"training {metric}", f"validation {metric}", "validation loss")
    table = ReportTable(caption="Epochs; epoch 0 is the linear probe", head=head, rows=rows)
    return Section(title="Training curves", charts=charts, tables=[table])


def _points(run: FinishedRun, name: str) -> list[tuple[float, float]]:
    return [(float(row["epoch"]), float(row[name])) for row in run.history if row[name] is not None]


def run_json(findings: RunFindings, wording: Wording = str) -> dict[str, Any]:
    """Return the documented JSON form.

    Args:
        findings: of `check_run`.
        wording: puts settings and commands into the form of the program's face.
    """
    run = findings.run
    kept = ("strategy", "accuracy", "validation_accuracy", "kept_epoch", "epochs", "stopped", "seed")
    return {
        "kind": "run",
        "folder": str(run.folder),
        "expert": run.expert,
        "task": run.task,
        "metric": run.metric,
        "modality": run.modality,
        **{name: run.result[name] for name in kept},
        "verdict": findings.verdict.kind,
        "verdict_text": findings.verdict.text,
        "commands": [wording(command) for command in findings.verdict.commands],
        "looked_at": findings.looked_at,
        "worst": None if findings.hardest is None else [_example_json(e) for e in findings.hardest],
        "notes": [wording(note) for note in findings.notes],
        "interrupted": findings.interrupted,
    }


def _example_json(example: HardExample) -> dict[str, Any]:
    values = asdict(example)
    values["item"] = values.pop("name")
    return values
