"""What a finished warm start left behind: its settings, its result, its model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from expertise_graph.data.base import CLASS, Item, LabelledData
from expertise_graph.errors import InvalidInputError
from expertise_graph.inference.model import open_model
from expertise_graph.probing import Progress

Predict = Callable[[Sequence[Item], Progress], NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A finished run.

    Attributes:
        config: its settings.
        result: see `warmstart.TrainResult`.
        history: a row for each epoch.
        task: id of the task it was trained on.
        kind: of the target; class where each item has one label.
    """

    folder: Path
    config: Mapping[str, Any]
    result: Mapping[str, Any]
    history: tuple[Mapping[str, Any], ...]
    expert: str | None
    task: str
    modality: str
    classes: tuple[str, ...]
    kind: str


def is_run(folder: str | Path) -> bool:
    """Tell whether a folder is that of a warm start."""
    try:
        return (Path(folder) / "run.json").is_file()
    except (OSError, ValueError):
        return False


def read_run(folder: Path) -> RunRecord:
    """Return the record of a finished run.

    Raises:
        InvalidInputError: when the run has not finished, or the folder holds something else.
    """
    try:
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        if run["result"] is None:
            raise InvalidInputError(
                f"the run in {folder} has not finished: go on with the same warm-start command, then check it"
            )
        head = json.loads((folder / "head.json").read_text(encoding="utf-8"))
        return RunRecord(
            folder=folder,
            config=dict(run["identity"]["config"]),
            result=dict(run["result"]),
            history=tuple(dict(row) for row in run["result"]["history"]),
            expert=run["identity"]["expert"],
            task=str(head["task"]),
            modality=str(head["modality"]),
            classes=tuple(map(str, head["classes"])),
            kind=str(head.get("kind", CLASS)),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInputError(
            f"{folder} does not hold the record of a finished warm start ({type(error).__name__}: {error})"
        ) from error


def predictor(record: RunRecord, *, trust_code: bool = False) -> Predict:
    """Return a function from items to log-probabilities (n, classes) of the trained model.

    Raises:
        InvalidInputError: when the model does not give one label an item.
        NotFoundError: when the model is not there.
        SourceError, UntrustedError: when it cannot be loaded.
    """
    if record.kind != CLASS:
        raise InvalidInputError("items are ranked by loss only where each has one label")
    model = open_model(record.folder, trust_code=trust_code)

    def predict(items: Sequence[Item], progress: Progress) -> NDArray[np.float64]:
        logits = torch.from_numpy(model.logits(items, progress=progress)).double()
        result: NDArray[np.float64] = torch.log_softmax(logits / model.temperature, dim=1).numpy()
        return result

    return predict


def check_same_classes(record: RunRecord, data: LabelledData) -> None:
    """Raise InvalidInputError when data have other classes than the run was trained on."""
    if data.modality != record.modality or data.classes != record.classes:
        raise InvalidInputError(
            f"{data.locator} holds {len(data.classes)} classes of {data.modality}s and the run in "
            f"{record.folder} was trained on {len(record.classes)} of {record.modality}s: give its data "
            "with --data"
        )
