"""The items a trained model is most wrong about, and images of them as a contact sheet."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from expertise_graph.core import DatasetError, FloatArray, IntArray, Progress, log_softmax, percent, sigmoid
from expertise_graph.data import CLASS, LABELS, VALUE, Item, LabelledData, Modality, holdout, known_modalities
from expertise_graph.diagnostics.items import item_names
from expertise_graph.inference import Model, same_task

# Four rows of the sheet: a mistake that is made often shows several times among them.
SHOWN = 24

# Items that are predicted: a minute or two on a CPU, and the hardest of 2,000 are hard enough to learn from.
MOST = 2_000

NEW = "new"
"""The split of items of other data, which the model has not learnt from."""

# Right answers of at least this probability teach nothing.
CERTAIN = 0.9

# Layout of the sheet in pixels: pictures a row, side of a picture, height of a line of text, space between.
_COLUMNS, _PICTURE, _LINE, _PAD = 6, 128, 14, 8

# Of a label, so that two words and a number fit below a picture in the default font.
_LETTERS = 19


@dataclass(frozen=True, kw_only=True)
class HardExample:
    """An item of high loss.

    Attributes:
        confidence: the probability of the prediction, of several labels the mean; None of a value.
        loss: in nats, mean over several labels; of a value how far off it is.
    """

    item: int
    name: str
    split: str
    given: str
    predicted: str
    confidence: float | None
    loss: float

    @property
    def doubt(self) -> str:
        """How sure the prediction was, or how far off it is."""
        return f"off by {self.loss:.4g}" if self.confidence is None else percent(self.confidence)


def hardest_examples(
    model: Model, data: LabelledData, *, seed: int, progress: Progress
) -> tuple[tuple[HardExample, ...], int]:
    """Return the validation and test items, or new ones, of the highest loss, and how many were looked at.

    Items whose answer is right and certain are left out, so that of a model that errs nowhere there are none.

    Args:
        model: that was trained.
        data: that the run was trained on, or others with the same classes.
        seed: of the run, from which its splits follow.
        progress: called with how far it is.

    Raises:
        DatasetError: when the model has learnt from all items of the data.
    """
    split_of = _not_trained_on(model, data, seed)
    rows = np.array(sorted(split_of), dtype=np.int64)
    if len(rows) > MOST:
        rows = np.sort(np.random.default_rng(seed).permutation(rows)[:MOST])
    logits = model.logits([data.items[i] for i in rows], progress=progress).astype(np.float64)
    answers = _ANSWERS[data.kind](model, data, rows, logits)
    names = item_names(data.items, data.locator)
    hardest_first = np.argsort(-answers.loss, kind="stable").tolist()
    order = [place for place in hardest_first if not answers.settled(place)]
    return tuple(
        HardExample(
            item=int(rows[place]),
            name=names[rows[place]],
            split=split_of[int(rows[place])],
            given=answers.given(place),
            predicted=answers.predicted(place),
            confidence=None if answers.confidence is None else float(answers.confidence[place]),
            loss=float(answers.loss[place]),
        )
        for place in order[:SHOWN]
    ), len(rows)


def _not_trained_on(model: Model, data: LabelledData, seed: int) -> dict[int, str]:
    """Return the items that the model was not trained on, each with its split: `NEW` of other data.

    Raises:
        DatasetError: when there is none.
    """
    # Drawn from other data, held-out items may be those of the training; of older runs nothing else is known.
    if not same_task(model, data) and data.digests and model.learnt.complete:
        new = np.flatnonzero(~model.learnt.among(data.digests)).tolist()
        if not new:
            raise DatasetError(f"the run was trained on or validated with every item of {data.name}")
        return dict.fromkeys(new, NEW)
    splits = holdout(data, seed=seed)
    return {int(i): "validation" for i in splits.validation} | {int(i): "test" for i in splits.test}


@dataclass(frozen=True)
class _Answers:
    """Of n items: loss and confidence (n,), and what is given and predicted of the i-th."""

    loss: FloatArray
    confidence: FloatArray | None
    given: Callable[[int], str]
    predicted: Callable[[int], str]

    def settled(self, place: int) -> bool:
        """Tell whether the answer is right and certain."""
        if self.confidence is None:
            return bool(self.loss[place] == 0)
        return bool(self.confidence[place] >= CERTAIN) and self.given(place) == self.predicted(place)


def _of_classes(model: Model, data: LabelledData, rows: IntArray, logits: FloatArray) -> _Answers:
    likely, labels = log_softmax(logits / model.temperature), data.labels[rows]
    return _Answers(
        loss=-likely[np.arange(len(rows)), labels],
        confidence=np.exp(likely.max(axis=1)),
        given=lambda i: data.classes[int(labels[i])],
        predicted=lambda i: data.classes[int(likely[i].argmax())],
    )


def _of_labels(model: Model, data: LabelledData, rows: IntArray, logits: FloatArray) -> _Answers:
    assert data.targets is not None
    targets, scaled = data.targets[rows], logits / model.temperature
    likely = sigmoid(scaled)

    def listed(marks: NDArray[np.bool_]) -> str:
        return ", ".join(name for name, mark in zip(data.outputs, marks, strict=True) if mark) or "nothing"

    return _Answers(
        loss=(np.logaddexp(0.0, scaled) - scaled * targets).mean(axis=1),
        confidence=np.maximum(likely, 1.0 - likely).mean(axis=1),
        given=lambda i: listed(targets[i] > 0),
        predicted=lambda i: listed(likely[i] >= 0.5),
    )


def _of_values(model: Model, data: LabelledData, rows: IntArray, logits: FloatArray) -> _Answers:
    assert data.targets is not None
    values, predicted = data.targets[rows, 0], logits[:, 0]
    return _Answers(
        loss=np.abs(predicted - values),
        confidence=None,
        given=lambda i: f"{values[i]:.4g}",
        predicted=lambda i: f"{predicted[i]:.4g}",
    )


_ANSWERS = {CLASS: _of_classes, LABELS: _of_labels, VALUE: _of_values}


def contact_sheet(examples: Sequence[HardExample], data: LabelledData) -> bytes:
    """Return a PNG of the items' pictures, with the label given and the one predicted below each.

    Args:
        examples: hardest first.
        data: whose items `HardExample.item` counts.
    """
    modality = known_modalities[data.modality]
    cell_width, cell_height = _PICTURE + _PAD, _PICTURE + 2 * _LINE + 2 * _PAD
    rows = -(-len(examples) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * cell_width + _PAD, max(1, rows) * cell_height + _PAD), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    for place, example in enumerate(examples):
        left = _PAD + place % _COLUMNS * cell_width
        top = _PAD + place // _COLUMNS * cell_height
        _paste(sheet, data.items[example.item], modality, (left, top))
        right = example.predicted == example.given
        draw.text((left, top + _PICTURE + 2), f"is {_short(example.given)}", fill="black", font=font)
        colour = "#2a7a4a" if right else "#b3261e"
        text = f"as {_short(example.predicted)} {example.doubt}"
        draw.text((left, top + _PICTURE + 2 + _LINE), text, fill=colour, font=font)
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _paste(sheet: Image.Image, item: Item, modality: Modality, corner: tuple[int, int]) -> None:
    try:
        picture = modality.picture and modality.picture(modality.decode(item))
    except DatasetError:
        picture = None
    if picture is None:
        return
    left, top = corner
    scale = _PICTURE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    sheet.paste(picture.resize(size), (left + (_PICTURE - size[0]) // 2, top + (_PICTURE - size[1]) // 2))


def _short(name: str) -> str:
    name = " ".join(name.split())
    return name if len(name) <= _LETTERS else f"{name[: _LETTERS - 2]}.."
