"""The folder of a run: whose it is, and writing into it so that a kill leaves nothing half."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from expertise_graph.core import InvalidInputError

# run.json comes last: it marks the folder as a run's until all the rest is gone.
OWN = (
    "checkpoint",
    "cold",
    "model",
    "tensorboard",
    "members",
    "ensemble.json",
    "head.safetensors",
    "head.json",
    "test.safetensors",
    "history.json",
    "README.md",
    "run.json",
)


def claim(out: Path, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """Take `out` for the run described by `identity`.

    Returns:
        The recorded result when the same run has finished there, otherwise None.

    Raises:
        InvalidInputError: when the folder holds another run or other files, or cannot be written.
    """
    path = out / "run.json"
    if path.is_file():
        recorded = _read_run(path)
        _check_same(out, recorded["identity"], identity)
        result: dict[str, Any] | None = recorded["result"]
        return result
    try:
        out.mkdir(parents=True, exist_ok=True)
        others = sorted(p.name for p in out.iterdir() if not p.name.startswith(".run.json."))
        if others:
            raise InvalidInputError(
                f"{out} holds other files ({', '.join(others[:3])}): give a new or empty folder as --out"
            )
        write_json(path, {"identity": dict(identity), "result": None})
    except OSError as error:
        raise InvalidInputError(f"{out} cannot be written ({error.strerror}): give another --out") from error
    return None


def discard(out: Path) -> None:
    """Remove what a run wrote into `out`, and nothing else (what ``--force`` does).

    Raises:
        InvalidInputError: when the folder has files but no run.json, so belongs to no run.
    """
    if out.is_dir() and any(out.iterdir()) and not (out / "run.json").is_file():
        raise InvalidInputError(f"{out} is not the folder of a run: nothing was removed, give another --out")
    for name in OWN:
        remove(out / name)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write strict JSON; a reader sees the old content or the new one."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8; a reader sees the old content or the new one."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to disk."""
    if os.name == "nt" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read_run(path: Path) -> dict[str, Any]:
    try:
        recorded = json.loads(path.read_text(encoding="utf-8"))
        return {"identity": dict(recorded["identity"]), "result": recorded["result"]}
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(f"{path} is not the record of a run: give another --out") from error


def _check_same(out: Path, recorded: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    before, now = _flat(recorded), _flat(given)
    differing = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    if len(differing) > 1:
        differing.remove("digest") if "digest" in differing else None
    if differing:
        shown = ", ".join(f"{name} was {before.get(name)!r}, is {now.get(name)!r}" for name in differing)
        raise InvalidInputError(
            f"{out} holds another run ({shown}): use --force to replace it, or give another --out"
        )


def _flat(identity: Mapping[str, Any]) -> dict[str, Any]:
    return {**identity.get("config", {}), **{k: v for k, v in identity.items() if k != "config"}}
