"""A folder like that of a finished warm start, which is there as a whole or not at all."""

from __future__ import annotations

import glob
import json
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from expertise_graph.core import InvalidInputError
from expertise_graph.merging.models import Head
from expertise_graph.models import Backbone, write_native
from expertise_graph.training import plain, sync, write_json, write_tensors, write_text

RECORD = "run.json"


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Yield a folder to write into; it becomes `out` when the block ends without an error.

    Raises:
        InvalidInputError: when `out` holds something, or cannot be written.
    """
    check_free(out)
    temporary = out.parent / f".{out.name}.{uuid.uuid4().hex}"
    # What earlier attempts at the same folder left when they were killed.
    for stale in out.parent.glob(f".{glob.escape(out.name)}.{'[0-9a-f]' * 32}"):
        shutil.rmtree(stale, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        raise InvalidInputError(f"{out} cannot be written ({error.strerror}): give another --out") from error
    try:
        yield temporary
        for path in sorted(temporary.rglob("*")):
            sync(path)
        if out.is_dir():
            out.rmdir()
        temporary.rename(out)
        sync(out.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_free(out: Path) -> None:
    """Refuse a folder that holds something.

    Raises:
        InvalidInputError: naming what is there.
    """
    if out.is_dir():
        there = sorted(p.name for p in out.iterdir())
        if there:
            raise InvalidInputError(
                f"{out} is not empty ({', '.join(there[:3])}): give a new or empty folder as --out"
            )
    elif out.exists() or out.is_symlink():
        raise InvalidInputError(f"{out} is a file: give a folder as --out")


def read_record(out: Path, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the result in `out` when the very same command has finished there."""
    path = out / RECORD
    if not path.is_file():
        return None
    try:
        recorded = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    # Through JSON, because tuples come back as lists.
    if not isinstance(recorded, dict) or recorded.get("identity") != json.loads(json.dumps(dict(identity))):
        return None
    result = recorded.get("result")
    return result if isinstance(result, dict) else None


def write_model(
    folder: Path, backbone: Backbone, module: nn.Module, *, head: Head | None, description: Mapping[str, Any]
) -> None:
    """Write ``model/``, and where there is a head ``head.safetensors`` and ``head.json``.

    Args:
        folder: an existing one.
        backbone: knows how to save its kind of module.
        module: the network.
        head: its classifier.
        description: what head.json says beside the classes.
    """
    backbone.save(module.cpu(), folder / "model")
    if head is None:
        return
    linear = nn.Linear(head.weight.shape[1], head.weight.shape[0])
    linear.load_state_dict(head.state)
    write_native(module, linear, folder / "model", classes=head.classes, kind=head.kind)
    write_tensors(folder / "head.safetensors", head.state)
    content = {
        "classes": list(head.classes),
        "modality": backbone.modality,
        "dim": backbone.dim,
        "kind": head.kind,
        "temperature": 1.0,
        **description,
    }
    write_json(folder / "head.json", content)


def write_card(
    folder: Path, title: str, fields: Mapping[str, Any], rows: Mapping[str, object], prose: Sequence[str]
) -> None:
    """Write README.md: YAML front matter as on the Hugging Face Hub, a table and sentences."""
    front = [f"{key}: {json.dumps(value)}" for key, value in fields.items() if value is not None]
    table = [f"| {plain(str(name))} | {plain(str(value))} |" for name, value in rows.items()]
    lines = ["---", *front, "---", "", f"# {plain(title)}", "", "| | |", "|---|---|", *table, "", *prose, ""]
    write_text(folder / "README.md", "\n".join(lines))
