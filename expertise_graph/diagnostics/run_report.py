"""The findings about a run as a report and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from expertise_graph.core import count, duration
from expertise_graph.data import CLASS, LABELS, plural_of
from expertise_graph.diagnostics.charts import ChartLine, LineChart
from expertise_graph.diagnostics.finished_run import FinishedRun
from expertise_graph.diagnostics.hardest_examples import HardExample
from expertise_graph.diagnostics.report import ItemName, Report, ReportTable, Section, Wording
from expertise_graph.diagnostics.run_check import RunFindings

# Of the hardest examples that a terminal shows; the page has all.
_BRIEF = 8


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
    rows = [
        ((ItemName(e.item, e.name),), e.split, e.given, e.predicted, e.doubt, f"{e.loss:.2f}")
        for e in findings.hardest
    ]
    text = f"highest loss among {count(findings.looked_at, 'validation and test item')}"
    head = ("item", "split", "label", "predicted", "confidence", "loss")
    table = ReportTable(caption="Hardest first", head=head, rows=rows, brief=_BRIEF)
    yield Section(title="Hardest examples", text=[text], tables=[table])


def _training_curves(run: FinishedRun) -> Section:
    metric = run.metric_name
    charts = []
    for title, training, validation, percent in (
        (metric, "train_accuracy", "validation_accuracy", run.kind == CLASS),
        ("loss", "loss", "validation_loss", False),
    ):
        lines = [
            ChartLine(f"training {title}", _points(run, training)),
            ChartLine(f"validation {title}", _points(run, validation)),
        ]
        name = f"{title.capitalize()} by epoch, in training and on validation"
        charts.append(LineChart(title=name, given=lines, across="epoch", percent=percent))
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
