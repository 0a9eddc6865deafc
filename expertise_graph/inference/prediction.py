"""What a model says about inputs that have no label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from expertise_graph.core import DatasetError, FloatArray, InvalidInputError, Progress, silent
from expertise_graph.data import NO_COLUMNS, Columns, Record, Skip, known_modalities
from expertise_graph.inference.model import CHUNK, Model, shifted

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What was said about one input.

    Attributes:
        input: the text, or where the image is.
        classes: (name, probability), the likeliest first; for several labels an item those that are
            likely enough, so maybe none.
        value: the number, where the model gives one.
    """

    input: str
    classes: tuple[tuple[str, float], ...] = ()
    value: float | None = None


def predict(
    model: Model,
    inputs: Sequence[Record],
    *,
    top: int = 1,
    threshold: float = 0.5,
    progress: Progress = silent,
) -> tuple[list[Prediction], list[Skip]]:
    """Return what the model says about each input that can be read, and the others with the reason.

    Args:
        model: of any kind.
        inputs: undecoded, with the names they are reported under.
        top: how many classes to name, where an item has one.
        threshold: least probability of a label, where an item has several.
        progress: told how many inputs are done.

    Raises:
        InvalidInputError: for a top below 1, or a threshold outside of 0 to 1.
        SourceError: when the model cannot be run.
    """
    if top < 1 or not 0 <= threshold <= 1:
        raise InvalidInputError(f"top={top}, threshold={threshold}: give at least 1, and 0 to 1")
    predictions: list[Prediction] = []
    skipped: list[Skip] = []
    for start in range(0, len(inputs), CHUNK):
        chunk = inputs[start : start + CHUNK]
        part = shifted(progress, start, len(inputs))
        readable, logits = _readable_logits(model, chunk, skipped, progress=part)
        for record, row in zip(readable, logits, strict=True):
            predictions.append(_prediction(model, record.where, row, top=top, threshold=threshold))
    return predictions, skipped


def read_as_trained(trained: Columns, read: Callable[[Columns], T], columns: Columns | None) -> T:
    """Return what `read` gives for the columns given, else for those of the data that a model was trained on.

    Data that do not have the columns of the run are read as if none were named.

    Raises:
        DatasetError: when the data cannot be read either way.
    """
    if columns not in (None, NO_COLUMNS):
        return read(columns)
    try:
        return read(trained)
    except DatasetError:
        if trained == NO_COLUMNS:
            raise
        return read(NO_COLUMNS)


def _readable_logits(
    model: Model, records: Sequence[Record], skipped: list[Skip], *, progress: Progress
) -> tuple[Sequence[Record], FloatArray]:
    """Run the model; only where that fails each input is tried by itself, as decoding twice costs time."""
    try:
        return records, model.logits([record.item for record in records], progress=progress)
    except DatasetError:
        decode = known_modalities[model.modality].decode
    readable = []
    for record in records:
        try:
            decode(record.item)
        except DatasetError as error:
            skipped.append((record.where, str(error)))
        else:
            readable.append(record)
    return readable, model.logits([record.item for record in readable], progress=progress)


def _prediction(model: Model, name: str, logits: FloatArray, *, top: int, threshold: float) -> Prediction:
    if model.kind == "value":
        return Prediction(input=name, value=float(logits[0]))
    probabilities = model.probabilities(logits[None, :])[0]
    order = np.argsort(-probabilities, kind="stable")
    likely = [i for i in order if probabilities[i] >= threshold] if model.kind == "labels" else order[:top]
    return Prediction(input=name, classes=tuple((model.classes[i], float(probabilities[i])) for i in likely))
