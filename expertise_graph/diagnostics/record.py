"""What a finished warm start left behind: its settings, its result, its model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expertise_graph.core import InvalidInputError, percent
from expertise_graph.data import CLASS, VALUE, LabelledData, plural_of
from expertise_graph.training import METRICS


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A finished run.

    Attributes:
        config: its settings.
        result: see `warmstart.TrainResult`.
        history: a row for each epoch.
        task: id of the task it was trained on.
        kind: of the target: class, labels or value.
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

    @property
    def metric(self) -> str:
        """What its scores are, in words."""
        return METRICS[self.kind].replace("_", " ")

    def shown(self, score: float) -> str:
        """Return a score as it is written: in per cent where it is a share of the items."""
        return f"{100 * score:.1f} %" if self.kind == CLASS else f"{score:.3f}"

    def said(self, score: float) -> str:
        """Return how good that is, in a sentence."""
        return f"{percent(score)} right" if self.kind == CLASS else f"{self.metric} {score:.2f}"


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


def check_same_classes(record: RunRecord, data: LabelledData) -> None:
    """Raise InvalidInputError when data have other classes, or labels, than the run was trained on."""
    own = (record.modality, record.kind, record.classes)
    if (data.modality, data.kind, data.outputs) != own:
        raise InvalidInputError(
            f"{data.locator} holds {_held(data.modality, data.kind, data.outputs)} and the run in "
            f"{record.folder} was trained on {_held(*own)}: give its data with --data, and its columns"
        )


def _held(modality: str, kind: str, names: Sequence[str]) -> str:
    if kind == VALUE:
        return f"{plural_of(modality)} with a value each"
    return f"{len(names)} {'classes' if kind == CLASS else 'labels'} of {plural_of(modality)}"
