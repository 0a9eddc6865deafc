"""How good a model is on labelled data, with what it confuses and whether its probabilities are honest."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import (
    BoolArray,
    DatasetError,
    FloatArray,
    IntArray,
    Progress,
    metrics,
    setting,
    silent,
    stats,
)
from expertise_graph.data import CLASS, LABELS, LabelledData, plural_of
from expertise_graph.inference.items import Chosen, choose, marks_of, match_classes, same_task, values_of
from expertise_graph.inference.model import Model

# Confusions that are listed: more are seldom read; the whole matrix is in `confusion`.
CONFUSED = 10

# Probability from which a label counts as given: the one that minimises errors where probabilities are right.
THRESHOLD = 0.5


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """How one class fares: precision, recall and F1, and how many items have it."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What was measured.

    Attributes:
        kind: class, labels or value.
        n: items judged on.
        split: which: test, validation, train or all; unseen: of other data, what it has not learnt from.
        metrics: values by name; None where one is not defined.
        interval: ends of the 95 % Wilson interval of the accuracy, for one class an item.
        classes: a row for each class that has items or was predicted.
        confused: (class, predicted as, items) of the most frequent mistakes.
        confusion: (classes, classes) counts, rows by label; empty but for one class an item.
        notes: what to know, one line each; the first says which items were used.
        learnt: how many of the items that were asked for the model was trained on or validated with.
        left_out: how many of those were left out of the measurement.
    """

    kind: str
    n: int
    split: str
    metrics: Mapping[str, float | None]
    interval: tuple[float, float] | None = None
    classes: tuple[ClassScore, ...] = ()
    confused: tuple[tuple[str, str, int], ...] = ()
    confusion: NDArray[np.int64]
    notes: tuple[str, ...] = ()
    learnt: int = 0
    left_out: int = 0


def evaluate(
    model: Model,
    data: LabelledData,
    *,
    split: str | None = None,
    recorded: BoolArray | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Run the model on labelled data and measure what it is worth.

    Args:
        model: of any kind.
        data: of the model's modality, with classes of the same names.
        split: test, validation, train or all; by default what the model has not learnt from.
        recorded: (n,) bool, items that the model is known to have learnt from beside those its folder names.
        progress: told how many items are done.

    Raises:
        DatasetError: when the data do not fit the model.
        SourceError: when the model cannot be run.
    """
    if data.modality != model.modality:
        raise DatasetError(
            f"{data.name} holds {plural_of(data.modality)} and the model takes {plural_of(model.modality)}; "
            f"name the column with --{model.modality}-column if there is one"
        )
    if model.kind == CLASS and data.kind == LABELS:
        raise DatasetError(
            f"{data.name} holds several labels an item and {model.folder} gives one class an item: "
            f"give data with one class each, or set {setting('target', CLASS)}"
        )
    chosen = choose(model, data, split, recorded)
    found = _measured(model, data, chosen, progress)
    notes = (*found.notes, *model.cut)
    return dataclasses.replace(found, notes=notes, learnt=chosen.learnt, left_out=chosen.left_out)


def _measured(model: Model, data: LabelledData, chosen: Chosen, progress: Progress) -> Evaluation:
    if model.kind == "value":
        logits = _run(model, data, chosen.rows, progress)
        return measure_values(logits[:, 0], values_of(data, chosen.rows), chosen=chosen)
    matched = match_classes(model, data, chosen.rows)
    logits = _run(model, data, matched.rows, progress)
    notes = (*chosen.notes, *matched.notes)
    if model.kind == "labels":
        targets = marks_of(model, data, matched)
        return measure_several(model, logits, targets, split=chosen.split, notes=notes)
    evaluation = measure_single(model, logits, matched.labels, split=chosen.split, notes=notes)
    return _checked(evaluation, model, data) if not chosen.left_out else evaluation


def _run(model: Model, data: LabelledData, rows: IntArray, progress: Progress) -> NDArray[np.float32]:
    return model.logits([data.items[i] for i in rows], progress=progress)


def measure_single(
    model: Model, logits: FloatArray, labels: IntArray, *, split: str, notes: Sequence[str] = ()
) -> Evaluation:
    """Measure logits (n, classes) against the class (n,) of each item."""
    predicted = logits.argmax(axis=1)
    confusion = metrics.confusion_matrix(labels, predicted, len(model.classes))
    right = predicted == labels
    cooled = np.asarray(logits, dtype=np.float64) / model.temperature
    return Evaluation(
        kind="class",
        n=len(labels),
        split=split,
        metrics={
            "accuracy": float(right.mean()),
            "balanced_accuracy": metrics.balanced_accuracy(confusion),
            "macro_f1": metrics.macro_f1(confusion),
            "largest_class": float(confusion.sum(axis=1).max() / len(labels)),
            "log_loss": metrics.log_loss(cooled, labels),
            "log_loss_uncalibrated": metrics.log_loss(logits, labels),
            "calibration_error": _calibration_error(cooled, right),
            "calibration_error_uncalibrated": _calibration_error(logits, right),
        },
        interval=stats.wilson(int(right.sum()), len(labels)),
        classes=_scores(model.classes, metrics.class_table(confusion), predicted=confusion.sum(axis=0)),
        confused=tuple(
            (model.classes[row], model.classes[column], count)
            for row, column, count in metrics.most_confused(confusion, CONFUSED)
        ),
        confusion=confusion,
        notes=tuple(notes),
    )


def measure_several(
    model: Model, logits: FloatArray, targets: IntArray, *, split: str, notes: Sequence[str] = ()
) -> Evaluation:
    """Measure logits (n, classes) against the labels (n, classes) of 0 and 1 of each item."""
    probabilities = model.probabilities(logits)
    chosen = probabilities >= THRESHOLD
    table = metrics.multi_table(targets, chosen)
    scores = _scores(model.classes, table, predicted=chosen.sum(axis=0))
    return Evaluation(
        kind="labels",
        n=len(targets),
        split=split,
        metrics={
            "macro_f1": float(np.mean([score.f1 for score in scores])) if scores else 0.0,
            "micro_f1": metrics.micro_f1(targets, chosen),
            "mean_average_precision": metrics.mean_average_precision(probabilities, targets),
        },
        classes=scores,
        confusion=np.zeros((0, 0), dtype=np.int64),
        notes=tuple(notes),
    )


def measure_values(predicted: FloatArray, values: FloatArray, *, chosen: Chosen) -> Evaluation:
    """Measure predicted values (n,) against the true ones (n,)."""
    return Evaluation(
        kind="value",
        n=len(values),
        split=chosen.split,
        metrics={
            "r2": metrics.r_squared(values, predicted),
            "mean_absolute_error": metrics.mean_absolute_error(values, predicted),
            "root_mean_squared_error": metrics.root_mean_squared_error(values, predicted),
            "spearman": stats.spearman(values, predicted),
        },
        confusion=np.zeros((0, 0), dtype=np.int64),
        notes=chosen.notes,
    )


def _calibration_error(logits: FloatArray, right: NDArray[np.bool_]) -> float:
    return metrics.calibration_error(metrics.softmax(logits).max(axis=1), right)


def _scores(names: Sequence[str], table: FloatArray, *, predicted: IntArray) -> tuple[ClassScore, ...]:
    return tuple(
        ClassScore(
            name=name, precision=float(row[0]), recall=float(row[1]), f1=float(row[2]), support=int(row[3])
        )
        for name, row, times in zip(names, table, predicted, strict=True)
        if row[3] or times
    )


def _checked(evaluation: Evaluation, model: Model, data: LabelledData) -> Evaluation:
    """Add a note when the test split of the run gives something else than the run recorded.

    Then the items below may not be those that the model has never seen: another version of this
    package may have split the data otherwise.
    """
    if evaluation.split != "test" or not same_task(model, data) or model.accuracy is None:
        return evaluation
    accuracy = evaluation.metrics["accuracy"] or 0.0
    # Other machines round differently, which may change the class of an item or two.
    if abs(accuracy - model.accuracy) <= 2.5 / evaluation.n:
        return evaluation
    note = (
        f"the run recorded {model.accuracy:.3f} on its test split: different split (another package "
        "version?); these items may have been trained on"
    )
    return dataclasses.replace(evaluation, notes=(*evaluation.notes, note))
