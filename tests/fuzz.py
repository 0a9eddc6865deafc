"""What the fuzz tests share: how many cases, damages of values and files, and what may come of them."""

from __future__ import annotations

import copy
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from expertise_graph.core import ExpertiseError
from expertise_graph.store import rows
from tests.program import Done, invoke

# A long run has as many cases of each kind as FUZZ_CASES says, and draws new ones.
LONG = int(os.environ.get("FUZZ_CASES", "0"))
SECONDS = 20
MEMORY = 2 << 30


def amounts(few: int, many: int = 0) -> Any:
    """Run a test with few cases in the plain run, and with many, marked slow.

    Without `many` there are more in a long run only. What is drawn depends on all constants of the modules
    that are loaded, not on the seed alone: as long as a long run still finds something, so might any run of
    CI, in a change that has nothing to do with it.
    """
    slow = [pytest.param(LONG or many, marks=pytest.mark.slow, id="many")] if LONG or many else []
    return pytest.mark.parametrize("amount", [few, *slow], ids=str)


def fuzzed(amount: int) -> Any:
    return settings(
        max_examples=amount, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
    )


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def attempt(action: Callable[[], Any]) -> Any:
    """Return what is returned, or None where it is said in one line why nothing is; soon, and in bounds."""
    with bounded():
        try:
            return action()
        except ExpertiseError as error:
            said = str(error)
        assert "\n" not in said
        assert len(said) < 3000
        return None


def command(*words: object) -> Done:
    """Run a command: it works, or says in one line why not; soon, and in bounds."""
    rows.tell.cache_clear()
    with bounded():
        done = invoke(*words)
    said = [line for line in done.err.splitlines() if line.startswith("Error: ")]
    assert done.code in (0, 1), done
    # These two list what they could not read.
    listed = {"predict", "register"} & {*map(str, words)}
    assert len(said) == done.code or (done.code == 1 and listed), done
    assert "Traceback" not in done.err
    if "--json" in words and done.out:
        assert done.json is not None
    return done


@contextmanager
def bounded() -> Iterator[None]:
    """Check that the block takes neither long nor much memory."""
    began, used = time.perf_counter(), peak()
    yield
    assert time.perf_counter() - began < SECONDS
    assert peak() - used < MEMORY


def peak() -> int:
    """Return the most memory that this process has had, in bytes."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used << 10


def contents(root: Path, *, but: Path | None = None) -> dict[str, tuple[int, int]]:
    """Return size and time of all files below a folder, without one of them."""
    found = {}
    for parent, folders, names in os.walk(root):
        folders[:] = [name for name in folders if but is None or Path(parent, name) != but]
        for name in (*folders, *names):
            state = os.lstat(os.path.join(parent, name))
            found[os.path.join(parent, name)] = (0 if name in folders else state.st_size, state.st_mtime_ns)
    return found


SCALARS = st.sampled_from(
    [
        *(None, True, False, 0, 1, -1, 2, 7, 10**6, 2**31, -(2**63), 2**63 - 1, 10**30),
        *(0.0, -0.0, 0.5, 1e-320, 1e308, -1e308, float("nan"), float("inf")),
        *("", " ", "a", "\0", "a\0b", "../../x", "/etc/passwd", "..", ".", "~", "a/b", "\n"),
        *("image", "text", "unknown", "dir:x", "zoo:emoji", "hf:a/b", "task:x", "none", "[bold]x[/]", "é"),
        *("\u202e", "\x1b[31m", "1", "1e999", "nan", "2020-01-01", "[1, 2", "{}", "%s", "{0}"),
    ]
) | st.builds(str.__mul__, st.sampled_from(["x", "9"]), st.sampled_from([5000, 100_000]))
KEYS = ["", "a", "name", "type", "path", "source", "0", "1", "\0"]
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=4,
)
STEP = st.floats(0, 1, exclude_max=True)
CHANGES = st.sampled_from(["replace", "replace", "replace", "drop", "wrap", "twice", "move", "deep"])

JSON_DAMAGE = st.lists(st.tuples(st.lists(STEP, max_size=4), CHANGES, VALUES), min_size=1, max_size=3)
"""Places in a JSON value, what is done there, and with which value."""


def damaged_json(value: Any, damages: list[tuple[list[float], str, Any]]) -> Any:
    """Return a JSON value with parts of it replaced, left out, wrapped, doubled, moved or nested."""
    value = copy.deepcopy(value)
    for steps, change, new in damages:
        value = _damaged(value, steps, change, new)
    return value


def _damaged(value: Any, steps: list[float], change: str, new: Any) -> Any:
    keys: list[Any] = list(value) if isinstance(value, dict) else []
    if isinstance(value, list):
        keys = list(range(len(value)))
    if not steps or not keys:
        return {"wrap": [value], "deep": _deep(value)}.get(change, new)
    key = keys[int(steps[0] * len(keys))]
    if len(steps) > 1 and isinstance(value[key], dict | list) and value[key]:
        value[key] = _damaged(value[key], steps[1:], change, new)
    elif change == "drop":
        del value[key]
    elif change == "twice" and isinstance(value, list):
        value.append(value[key])
    elif change in ("twice", "move"):
        other = keys[int(steps[-1] * 7919) % len(keys)]
        value[key] = copy.deepcopy(value[other])
    else:
        value[key] = {"wrap": [value[key]], "deep": _deep(value[key])}.get(change, new)
    return value


def _deep(value: Any) -> Any:
    for _ in range(60):
        value = [value]
    return value


BYTE_DAMAGE = st.one_of(
    st.tuples(st.just("cut"), STEP),
    st.tuples(st.just("flip"), st.lists(st.tuples(STEP, st.integers(0, 255)), min_size=1, max_size=8)),
    st.tuples(st.just("head"), st.lists(st.tuples(STEP, st.integers(0, 255)), min_size=1, max_size=8)),
    st.tuples(st.just("fill"), st.binary(max_size=64)),
    st.tuples(st.just("append"), st.binary(min_size=1, max_size=64)),
)


def damaged_bytes(data: bytes, damage: tuple[str, Any]) -> bytes:
    """Return bytes cut, changed in places (of all or of the first 400), replaced, or with more behind."""
    kind, what = damage
    if kind == "cut":
        return data[: int(what * len(data))]
    if kind == "fill":
        return bytes(what)
    if kind == "append":
        return data + bytes(what)
    changed, reach = bytearray(data), min(len(data), 400) if kind == "head" else len(data)
    for where, byte in what if reach else ():
        changed[int(where * reach)] = byte
    return bytes(changed)


FILE_DAMAGE = st.one_of(
    st.tuples(st.just("json"), JSON_DAMAGE),
    st.tuples(st.just("json"), JSON_DAMAGE),
    st.tuples(st.just("bytes"), BYTE_DAMAGE),
    st.tuples(st.sampled_from(["remove", "empty", "folder", "loop"]), st.none()),
    st.tuples(st.just("swap"), STEP),
)


def damage_file(path: Path, others: list[Path], damage: tuple[str, Any]) -> None:
    """Damage a file: its JSON, its bytes, or what it is; or put another in its place."""
    kind, what = damage
    data = path.read_bytes()
    if kind == "json" and path.suffix == ".json":
        path.write_text(json.dumps(damaged_json(json.loads(data), what)))
    elif kind == "json" and path.suffix == ".safetensors":
        path.write_bytes(damaged_tensors(data, what))
    elif kind == "json":
        path.write_bytes(damaged_bytes(data, ("cut", what[0][0][0] if what[0][0] else 0.5)))
    elif kind == "bytes":
        path.write_bytes(damaged_bytes(data, what))
    elif kind == "swap":
        path.write_bytes(others[int(what * len(others))].read_bytes())
    else:
        path.unlink()
        if kind == "empty":
            path.write_bytes(b"")
        elif kind == "folder":
            path.mkdir()
        elif kind == "loop":
            path.symlink_to(path.name)


def damaged_tensors(data: bytes, damages: list[tuple[list[float], str, Any]]) -> bytes:
    """Return a safetensors file with damages in its header, which names tensors, types, shapes and places."""
    length = int.from_bytes(data[:8], "little")
    header = json.dumps(damaged_json(json.loads(data[8 : 8 + length]), damages)).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]
