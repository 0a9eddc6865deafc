"""The folder of a search: whose it is, what it answered, and where its trials lie until then."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from expertise_graph.core import InvalidInputError
from expertise_graph.training import State, Tensors, discard, remove, write_json, write_tensors, write_text
from expertise_graph.tuning.result import AutoResult

RECORD, REPORT = "auto.json", "report.md"


class Place:
    """The ``--out`` folder of a search, and a hidden one in the workspace for its trials.

    Args:
        out: the folder; absolute.
        workspace: of the registry.
        digest: of the command.
    """

    def __init__(self, out: Path, workspace: Path, digest: str) -> None:
        self.out, self.digest = out, digest
        self.scratch = workspace / f".auto-{digest}"

    def answered(self) -> AutoResult | None:
        """Return the answer of the same search, when it is there.

        Raises:
            InvalidInputError: when the folder holds something else.
        """
        path = self.out / RECORD
        if path.is_file():
            recorded = _read(path)
            if recorded["digest"] != self.digest:
                raise InvalidInputError(
                    f"{self.out} holds the answer to another command or other data: use --force to "
                    "replace it, or give another --out"
                )
            result = recorded["result"]
            return None if result is None else AutoResult.from_dict(result)
        if self.out.exists() and (not self.out.is_dir() or any(self.out.iterdir())):
            raise InvalidInputError(f"{self.out} holds other files: give a new or empty folder as --out")
        return None

    def begin(self) -> None:
        """Take the folder, and remove what a search that was killed left of its model.

        Raises:
            InvalidInputError: when it cannot be written.
        """
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            write_json(self.out / RECORD, {"digest": self.digest, "result": None})
            self.scratch.mkdir(exist_ok=True)
        except OSError as error:
            raise InvalidInputError(
                f"{self.out} cannot be written ({error.strerror}): give another --out"
            ) from error
        if (self.out / "run.json").is_file():
            discard(self.out)

    def finish(self, result: AutoResult, report: str) -> None:
        """Write the answer and the report, and drop the trials' weights."""
        write_text(self.out / REPORT, report)
        write_json(self.out / RECORD, {"digest": self.digest, "result": result.as_dict()})
        shutil.rmtree(self.scratch, ignore_errors=True)


def lay(folder: Path, identity: dict[str, Any], state: State, weights: Tensors) -> None:
    """Leave a checkpoint of a training that is over, for one in that folder to go on from."""
    claim(folder, identity)
    checkpoint = folder / "checkpoint"
    temporary = checkpoint / ".new"
    temporary.mkdir(parents=True)
    for name in ("model", "best"):
        write_tensors(temporary / f"{name}.safetensors", weights)
    write_tensors(temporary / "optimizer.safetensors", {})
    write_json(temporary / "state.json", vars(state))
    temporary.rename(checkpoint / f"epoch-{state.epoch:05d}")


def claim(folder: Path, identity: dict[str, Any]) -> None:
    """Make a folder that of the training with this identity."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "run.json", {"identity": identity, "result": None})


def discard_answer(out: Path) -> None:
    """Remove what a search wrote into `out`, and nothing else (what ``--force`` does).

    Raises:
        InvalidInputError: when the folder has files and is not that of a search.
    """
    if out.is_dir() and any(out.iterdir()) and not (out / RECORD).is_file():
        raise InvalidInputError(
            f"{out} is not the folder of a search: nothing was removed, give another --out"
        )
    if (out / "run.json").is_file():
        discard(out)
    for name in (REPORT, RECORD):
        remove(out / name)


def _read(path: Path) -> dict[str, Any]:
    try:
        recorded = json.loads(path.read_text(encoding="utf-8"))
        return {"digest": str(recorded["digest"]), "result": recorded["result"]}
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(f"{path} is not the record of a search: give another --out") from error
