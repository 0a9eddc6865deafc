"""A look back at a finished run: how it went, where it fails, what to try next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from expertise_graph.core import ExpertiseError, Progress, UntrustedError, silent
from expertise_graph.data import CLASS, LABELS, LabelledData, known_modalities, plural_of
from expertise_graph.diagnostics.charts import Line, line_chart
from expertise_graph.diagnostics.hardest_examples import Mistake, contact_sheet, worst_items
from expertise_graph.diagnostics.lines import shorten
from expertise_graph.diagnostics.page import Cell, Html, Thumbnails, heading, numbered, page, paragraph, table
from expertise_graph.diagnostics.record import RunRecord, check_same_classes, read_run
from expertise_graph.diagnostics.verdict import Verdict, judge
from expertise_graph.inference import Model, open_model

Find = Callable[[RunRecord], LabelledData]
"""Returns the data of a run; raises ExpertiseError where they cannot be found."""


@dataclass(kw_only=True)
class RunFindings:
    """All that is known about a run so far.

    Attributes:
        model: what answers; None where it is built by code that is not trusted.
        mistakes: items of the highest loss, None where the data or the model could not be used.
        looked_at: validation and test items predicted.
        sheet: the mistakes as a PNG, for images.
    """

    record: RunRecord
    verdict: Verdict
    model: Model | None = None
    data: LabelledData | None = None
    mistakes: tuple[Mistake, ...] | None = None
    looked_at: int = 0
    sheet: bytes | None = None
    notes: list[str] = field(default_factory=list)
    interrupted: bool = False

    @property
    def together(self) -> str:
        """A sentence on the other networks of an ensemble, or an empty text."""
        if self.model is None or len(self.model.networks) == 1 or self.model.accuracy is None:
            return ""
        return (
            f"{len(self.model.networks)} networks answer together: {self.record.metric} "
            f"{self.record.shown(self.model.accuracy)} on the test items; the course is that of the first"
        )


def check_run(
    folder: Path,
    find: Find,
    *,
    options: Sequence[str] = (),
    trust_code: bool = False,
    progress: Progress = silent,
) -> RunFindings:
    """Look back at a finished warm start.

    Ctrl-C ends the check; what was found until then is returned.

    Args:
        folder: of the run, with its run.json.
        find: finds the data it was trained on.
        options: of the command line, that the advised commands need to read the data.
        trust_code: whether a model built by code of the user may be loaded.
        progress: told how far it is.

    Raises:
        InvalidInputError: when the run has not finished, or its files do not belong together.
        NotFoundError, SourceError: when a file of it is missing or damaged.
    """
    record = read_run(folder)
    found = RunFindings(record=record, verdict=judge(record, "DATA"))
    try:
        found.model = open_model(folder, trust_code=trust_code)
    except UntrustedError as error:
        found.notes.append(f"the worst examples are left out: {error}")
    try:
        found.data = find(record)
        check_same_classes(record, found.data)
        found.verdict = judge(record, found.data.locator, options)
        if found.model is None:
            return found
        found.mistakes, found.looked_at = worst_items(
            found.model, found.data, seed=int(record.result["seed"]), progress=progress
        )
        if known_modalities[record.modality].picture:
            found.sheet = contact_sheet(found.mistakes, found.data)
    except ExpertiseError as error:
        found.notes.append(f"the worst examples are left out: {error}")
    except KeyboardInterrupt:
        found.interrupted = True
    return found


def run_lines(found: RunFindings) -> Iterator[str]:
    """Yield some twenty lines for a terminal."""
    record, result = found.record, found.record.result
    what = {CLASS: f"in {len(record.classes):,} classes", LABELS: f"with {len(record.classes):,} labels"}
    yield (
        f"{record.folder.name}: {result['strategy']} on {result['n_train']:,} {plural_of(record.modality)} "
        f"{what.get(record.kind, 'with values')}, {result['epochs']} epochs in {result['seconds']:.0f} s"
    )
    yield (
        f"{record.metric} {record.shown(result['accuracy'])} on {result['n_test']:,} test items, "
        f"{record.shown(result['validation_accuracy'])} on {result['n_validation']:,} validation items"
    )
    if found.together:
        yield found.together
    if result.get("note"):
        yield f"note: {result['note']}"
    yield ""
    yield found.verdict.text
    if found.mistakes:
        yield ""
        yield f"Highest loss among {found.looked_at:,} validation and test items"
        for m in found.mistakes[:8]:
            name = shorten(m.name)
            yield f"  {name}: is {shorten(m.given)}, predicted {shorten(m.predicted)} ({m.doubt})"
    for note in found.notes:
        yield f"note: {note}"
    if found.interrupted:
        yield "interrupted: this is what was known until then"
    yield ""
    yield "Try next"
    yield from (f"  {command}" for command in found.verdict.commands)


def run_json(found: RunFindings) -> dict[str, Any]:
    """Return the documented JSON form."""
    result = found.record.result
    kept = ("strategy", "accuracy", "validation_accuracy", "kept_epoch", "epochs", "stopped", "seed")
    return {
        "kind": "run",
        "folder": str(found.record.folder),
        "expert": found.record.expert,
        "task": found.record.task,
        "metric": result["metric"],
        "modality": found.record.modality,
        **{name: result[name] for name in kept},
        "verdict": found.verdict.kind,
        "verdict_text": found.verdict.text,
        "commands": list(found.verdict.commands),
        "looked_at": found.looked_at,
        "worst": None if found.mistakes is None else [_mistake(m) for m in found.mistakes],
        "notes": list(found.notes),
        "interrupted": found.interrupted,
    }


def _mistake(mistake: Mistake) -> dict[str, Any]:
    values = asdict(mistake)
    values["item"] = values.pop("name")
    return values


def run_page(found: RunFindings) -> str:
    """Return the report on a run as one page of HTML."""
    return page(f"Check of the run {found.record.folder.name}", list(_parts(found)))


def _parts(found: RunFindings) -> Iterator[Html]:
    record = found.record
    yield heading("Verdict")
    yield paragraph(found.verdict.text)
    if found.together:
        yield paragraph(found.together + ".")
    yield heading("What to try next")
    yield numbered(found.verdict.commands)
    yield heading("Course of the training")
    metric, scale = record.metric, "%" if record.kind == CLASS else ""
    for title, names, unit in (
        (f"{metric} by epoch", ("train_accuracy", "validation_accuracy"), scale),
        ("loss by epoch", ("loss", "validation_loss"), ""),
    ):
        lines = [Line(_name(name, metric), _points(record, name)) for name in names]
        yield paragraph(title.capitalize(), "note")
        yield Html(line_chart(f"{title} in training and on validation", lines, across="epoch", unit=unit))
    yield table(
        "Epochs", ("epoch", f"training {metric}", f"validation {metric}", "validation loss"), _rows(record)
    )
    if found.mistakes is not None and found.data is not None:
        yield from _mistakes(found, found.mistakes, found.data)
    yield from (paragraph(note, "note") for note in found.notes)


def _mistakes(found: RunFindings, mistakes: tuple[Mistake, ...], data: LabelledData) -> Iterator[Html]:
    thumbnails = Thumbnails(data.items, data.modality)
    yield heading("Worst examples")
    rows: list[list[Cell]] = [
        [
            thumbnails.show(m.item, m.name),
            m.split,
            m.given,
            m.predicted,
            m.doubt,
            f"{m.loss:.2f}",
        ]
        for m in mistakes
    ]
    yield table(
        f"Highest loss among {found.looked_at:,} validation and test items",
        ("item", "split", "label given", "label predicted", "confidence", "loss"),
        rows,
    )


def _rows(record: RunRecord) -> list[list[Cell]]:
    return [
        [
            int(row["epoch"]),
            "" if row["train_accuracy"] is None else record.shown(row["train_accuracy"]),
            record.shown(row["validation_accuracy"]),
            f"{row['validation_loss']:.3f}",
        ]
        for row in record.history
    ]


def _name(column: str, metric: str) -> str:
    return column.replace("_accuracy", f" {metric}").replace("_", " ")


def _points(record: RunRecord, name: str) -> list[tuple[float, float]]:
    return [(float(row["epoch"]), float(row[name])) for row in record.history if row[name] is not None]
