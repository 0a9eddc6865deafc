"""A finished run as a check looks at it: settings, result, history and classes, read from its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expertise_graph.core import InvalidInputError, count, percent, setting
from expertise_graph.data import CLASS, NO_COLUMNS, VALUE, Columns, LabelledData, plural_of
from expertise_graph.models import RunFolder
from expertise_graph.training import METRICS


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """A finished run.

    Attributes:
        config: its settings.
        result: see `training.TrainResult`.
        history: a row for each epoch.
        task: id of the task it was trained on.
        kind: of the target: class, labels or value.
        columns: that were named when its data were read.
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
    columns: Columns = NO_COLUMNS

    @property
    def metric(self) -> str:
        """What its scores are."""
        return METRICS[self.kind]

    @property
    def metric_name(self) -> str:
        """What its scores are, in words."""
        return self.metric.replace("_", " ")

    def shown(self, score: float) -> str:
        """Return a score as it is written: in per cent where it is a share of the items."""
        return f"{100 * score:.1f} %" if self.kind == CLASS else f"{score:.3f}"

    def said(self, score: float) -> str:
        """Return how good that is, in a sentence."""
        return f"{percent(score)} right" if self.kind == CLASS else f"{self.metric_name} {score:.2f}"


def read_finished_run(path: Path) -> FinishedRun:
    """Return the finished run in a folder.

    Raises:
        InvalidInputError: when the run has not finished, or the folder holds something else.
    """
    folder = RunFolder(path)
    record, model = folder.finished_record(), folder.description()
    if record is None or record.result is None or model is None or model.task is None or not model.modality:
        raise InvalidInputError(f"{path} does not hold the record of a finished warm start")
    try:
        return FinishedRun(
            folder=path,
            config=record.config,
            result=record.result,
            history=tuple(dict(row) for row in record.result["history"]),
            expert=record.identity["expert"],
            task=model.task,
            modality=model.modality,
            classes=model.classes,
            kind=model.kind,
            columns=model.named_columns,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInputError(
            f"{path} does not hold the record of a finished warm start ({type(error).__name__}: {error})"
        ) from error


def check_same_classes(run: FinishedRun, data: LabelledData) -> None:
    """Raise InvalidInputError when data have other classes, or labels, than the run was trained on."""
    own = (run.modality, run.kind, run.classes)
    if (data.modality, data.kind, data.outputs) != own:
        raise InvalidInputError(
            f"{data.locator} holds {_described(data.modality, data.kind, data.outputs)} and the run in "
            f"{run.folder} was trained on {_described(*own)}: give its data as {setting('data')}, and its "
            "columns"
        )


def _described(modality: str, kind: str, names: Sequence[str]) -> str:
    if kind == VALUE:
        return f"{plural_of(modality)} with a value each"
    return f"{count(len(names), 'class' if kind == CLASS else 'label')} of {plural_of(modality)}"
