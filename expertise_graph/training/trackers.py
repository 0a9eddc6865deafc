"""Experiment trackers: TensorBoard files in the folder of the run, or a tracker that accelerate supports."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
from tensorboardX import SummaryWriter

from expertise_graph.core import InvalidInputError, MissingExtraError
from expertise_graph.training.config import TENSORBOARD, TRACKERS, TrainConfig

PROJECT = "expertise-graph"


class Tracker(Protocol):
    """An experiment tracker: logs numbers by step."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Log numbers."""
        ...

    def finish(self) -> None:
        """Write buffered numbers, and close."""
        ...


class TensorBoard:
    """Event files in a folder; events after the step that a run is resumed from are hidden."""

    def __init__(self, folder: Path, step: int) -> None:
        self._writer = SummaryWriter(str(folder), purge_step=step + 1)

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Log numbers."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def finish(self) -> None:
        """Close the file."""
        self._writer.close()


class Accelerated:
    """A tracker that accelerate supports, configured by its own environment variables.

    Its messages go to standard error, since results go to standard output.
    """

    def __init__(self, name: str, settings: Mapping[str, Any]) -> None:
        with redirect_stdout(sys.stderr):
            self._tracker = LOGGER_TYPE_TO_CLASS[name](PROJECT)
            self._tracker.start()
            self._tracker.store_init_configuration({k: v for k, v in settings.items() if v is not None})

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Log numbers."""
        with redirect_stdout(sys.stderr):
            self._tracker.log(dict(values), step=step)

    def finish(self) -> None:
        """End the run of the tracker."""
        with redirect_stdout(sys.stderr):
            if self._tracker.name == "trackio":
                # Ended through accelerate it would end, and print to standard output, once more at exit.
                import_module("trackio").finish()
            else:
                self._tracker.finish()


def check_tracker(name: str) -> None:
    """Check that a tracker is supported and installed.

    Raises:
        InvalidInputError: when it is not supported, with those that are.
        MissingExtraError: when it is not installed.
    """
    if name not in TRACKERS:
        raise InvalidInputError(f"no tracker called {name!r}; there are: {', '.join(TRACKERS)}")
    if name != TENSORBOARD and name not in {str(name) for name in get_available_trackers()}:
        raise MissingExtraError(f"{name} is not installed; run: pip install {name}")


def open_tracker(name: str, out: Path, config: TrainConfig, *, step: int) -> Tracker:
    """Return the tracker of a run in `out` that continues after `step`."""
    if name == TENSORBOARD:
        return TensorBoard(out / "tensorboard", step)
    return Accelerated(name, config.as_dict())
