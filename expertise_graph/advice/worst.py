"""The items a trained model is most wrong about, as a contact sheet."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from expertise_graph.advice.collection import item_names
from expertise_graph.advice.record import Predict
from expertise_graph.data.base import Item, LabelledData
from expertise_graph.data.image import decode
from expertise_graph.data.sampling import holdout
from expertise_graph.errors import DatasetError
from expertise_graph.probing import Progress

SHOWN = 24
MOST = 2_000
_COLUMNS, _PICTURE, _LINE, _PAD = 6, 128, 14, 8
_LETTERS = 19


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """An item of high loss; `loss` is in nats, `confidence` the probability of the prediction."""

    item: int
    name: str
    split: str
    given: str
    predicted: str
    confidence: float
    loss: float


def worst_items(
    predict: Predict, data: LabelledData, *, seed: int, progress: Progress
) -> tuple[tuple[Mistake, ...], int]:
    """Return the validation and test items of the highest loss, and how many were looked at.

    Args:
        predict: of the trained model.
        data: that the run was trained on.
        seed: of the run, from which its splits follow.
        progress: told how far it is.
    """
    splits = holdout(data, seed=seed)
    split_of = {int(i): "validation" for i in splits.validation} | {int(i): "test" for i in splits.test}
    rows = np.array(sorted(split_of), dtype=np.int64)
    if len(rows) > MOST:
        rows = np.sort(np.random.default_rng(seed).permutation(rows)[:MOST])
    likely = predict([data.items[i] for i in rows], progress)
    losses = -likely[np.arange(len(rows)), data.labels[rows]]
    names = item_names(data.items, data.locator)
    found = []
    for place in np.argsort(-losses, kind="stable")[:SHOWN]:
        i, guess = int(rows[place]), int(likely[place].argmax())
        found.append(
            Mistake(
                item=i,
                name=names[i],
                split=split_of[i],
                given=data.classes[int(data.labels[i])],
                predicted=data.classes[guess],
                confidence=float(np.exp(likely[place, guess])),
                loss=float(losses[place]),
            )
        )
    return tuple(found), len(rows)


def contact_sheet(mistakes: Sequence[Mistake], items: Sequence[Item]) -> bytes:
    """Return a PNG of images, with the label given and the one predicted below each.

    Args:
        mistakes: worst first.
        items: that `Mistake.item` counts.
    """
    cell_width, cell_height = _PICTURE + _PAD, _PICTURE + 2 * _LINE + 2 * _PAD
    rows = -(-len(mistakes) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * cell_width + _PAD, max(1, rows) * cell_height + _PAD), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    for place, mistake in enumerate(mistakes):
        left = _PAD + place % _COLUMNS * cell_width
        top = _PAD + place // _COLUMNS * cell_height
        _paste(sheet, items[mistake.item], left, top)
        right = mistake.predicted == mistake.given
        draw.text((left, top + _PICTURE + 2), f"is {_short(mistake.given)}", fill="black", font=font)
        colour = "#2a7a4a" if right else "#b3261e"
        text = f"as {_short(mistake.predicted)} {mistake.confidence:.0%}"
        draw.text((left, top + _PICTURE + 2 + _LINE), text, fill=colour, font=font)
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _paste(sheet: Image.Image, item: Item, left: int, top: int) -> None:
    try:
        picture = decode(item)
    except DatasetError:
        return
    scale = _PICTURE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    sheet.paste(picture.resize(size), (left + (_PICTURE - size[0]) // 2, top + (_PICTURE - size[1]) // 2))


def _short(name: str) -> str:
    name = " ".join(name.split())
    return name if len(name) <= _LETTERS else f"{name[: _LETTERS - 2]}.."
