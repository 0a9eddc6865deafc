"""The output folder of `auto`: the command it belongs to, its result, and the weights of its trials."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from expertise_graph.core import (
    InvalidInputError,
    check_no_workspace,
    read_json_object,
    remove,
    setting,
    write_json,
    write_text,
)
from expertise_graph.models import LOCK, RunFolder, write_tensors
from expertise_graph.training import Tensors, TrainingState
from expertise_graph.tuning.result import AutoResult

RECORD, REPORT = "auto.json", "report.md"


class OutputFolder:
    """The folder that a search writes, and a hidden one in the workspace for the weights of its trials.

    Args:
        out: the folder; absolute.
        workspace: of the registry.
        digest: of settings, data and folder: the same command has the same.
    """

    def __init__(self, out: Path, workspace: Path, digest: str) -> None:
        self.out, self.digest = out, digest
        self.scratch = workspace / f".auto-{digest}"

    def result(self) -> AutoResult | None:
        """Return the result of the same command where it has finished, else None.

        Raises:
            InvalidInputError: when the folder holds something else.
        """
        check_no_workspace(self.out)
        path = self.out / RECORD
        if path.is_file():
            recorded = _read(path)
            if recorded["digest"] != self.digest:
                raise InvalidInputError(
                    f"{self.out} holds the result of another command or other data: choose another "
                    f"{setting('out')}, or set {setting('force')} to replace it"
                )
            result = recorded["result"]
            return None if result is None else AutoResult.from_dict(result)
        if self.out.exists() and (not self.out.is_dir() or any(p.name != LOCK for p in self.out.iterdir())):
            raise InvalidInputError(
                f"{self.out} holds other files: choose a new or empty folder as {setting('out')}"
            )
        return None

    def begin(self) -> None:
        """Claim the folder, and remove what a killed search left of its model.

        Raises:
            InvalidInputError: when it cannot be written.
        """
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            write_json(self.out / RECORD, {"digest": self.digest, "result": None})
            self.scratch.mkdir(exist_ok=True)
        except OSError as error:
            raise InvalidInputError(
                f"{self.out} cannot be written ({error.strerror}): choose another {setting('out')}"
            ) from error
        if RunFolder(self.out).is_run:
            RunFolder(self.out).discard(also=(RECORD, REPORT))

    def finish(self, result: AutoResult, report: str) -> None:
        """Write result and report, and remove the weights of trials."""
        write_text(self.out / REPORT, report)
        write_json(self.out / RECORD, {"digest": self.digest, "result": result.as_dict()})
        shutil.rmtree(self.scratch, ignore_errors=True)


def write_checkpoint(folder: Path, identity: dict[str, Any], state: TrainingState, weights: Tensors) -> None:
    """Write the checkpoint of a finished training, for a warm start in that folder to measure."""
    run = RunFolder(folder)
    run.begin(identity)
    checkpoint = run.checkpoint
    temporary = checkpoint / ".new"
    temporary.mkdir(parents=True)
    for name in ("model", "best"):
        write_tensors(temporary / f"{name}.safetensors", weights)
    write_tensors(temporary / "optimizer.safetensors", {})
    write_json(temporary / "state.json", vars(state))
    temporary.rename(checkpoint / f"epoch-{state.epoch:05d}")


def discard_result(out: Path) -> None:
    """Remove what a search wrote into `out`, and nothing else: what forcing a new search does.

    Raises:
        InvalidInputError: when the folder has files and is not that of a search.
    """
    if out.is_dir() and any(out.iterdir()) and not (out / RECORD).is_file():
        raise InvalidInputError(
            f"{out} is not the output of auto: nothing was removed, choose another {setting('out')}"
        )
    if (out / RECORD).is_file():
        _read(out / RECORD)
        RunFolder(out).discard(also=(RECORD, REPORT))
    for name in (REPORT, RECORD):
        remove(out / name)


def _read(path: Path) -> dict[str, Any]:
    try:
        recorded = read_json_object(path)
        return {"digest": str(recorded["digest"]), "result": recorded["result"]}
    except (InvalidInputError, KeyError) as error:
        raise InvalidInputError(
            f"{path} is not the record of a search: choose another {setting('out')}"
        ) from error
