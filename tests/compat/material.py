"""Files that versions of this package wrote, and what their commands answered; see README.md."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.program import Done, invoke

HERE = Path(__file__).resolve().parent
DATA, RUNS, WORKSPACES = HERE / "data", HERE / "runs", HERE / "workspaces"
EXPERTS, DELTAS, EXPECTED = HERE / "experts", HERE / "deltas", HERE / "expected"
LETTERS, TABLE, WORDS = DATA / "letters", DATA / "table.csv", DATA / "words.csv"

MARKS = ("--image-column", "file", "--label-column", "marks", "--target", "labels")
INK = ("--image-column", "file", "--label-column", "ink")
STOPPED = ("stopped", "stopped-lora", "stopped-c4c758a")
FINISHED = tuple(sorted(p.name for p in RUNS.iterdir() if p.is_dir() and p.name not in STOPPED))

# An expert of each workspace; the first ones were made before digits-in-fonts was shipped.
EXPERT = {
    "schema1": "fashion",
    "schema2": "fashion",
    "schema3-first": "fashion",
    "schema3": "digits-in-fonts",
    "schema4": "digits-in-fonts",
    "schema5": "digits-in-fonts",
    "schema6": "digits-in-fonts",
    "schema7": "digits-in-fonts",
    "schema8": "digits-in-fonts",
}


def workspace(name: str, folder: Path) -> Path:
    """Copy an old workspace: opening one changes it."""
    return Path(shutil.copytree(WORKSPACES / name, folder / name))


def moved(folder: Path) -> Path:
    """Copy the newest workspace and register the experts that it had in folders where they are now."""
    copy = workspace("schema6", folder)
    references = (f"dir:{EXPERTS / name}" for name in ("half", "quarter"))
    invoke("--workspace", copy, "register", *references, "--license", "apache-2.0").worked()
    return copy


def run(name: str, folder: Path) -> Path:
    """Copy the folder of a run."""
    return Path(shutil.copytree(RUNS / name, folder / name))


def inputs(name: str) -> Path:
    """Return what the model in the folder of a run can be asked about."""
    return WORDS if name.startswith("text") else LETTERS


def data(name: str) -> tuple[Path | str, ...]:
    """Return the data of a run, and how they are read."""
    if name.startswith("labels"):
        return (TABLE, *MARKS)
    return (TABLE, *INK) if name.startswith("values") else (inputs(name),)


def recorded(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def write(path: Path, value: object) -> None:
    """Write a JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def told(done: Done, places: Mapping[Path, str]) -> Any:
    """Return what a command printed, with names for folders; of a query without the time it took."""
    found = _plain(done.worked().json, {str(path): name for path, name in places.items()})
    if isinstance(found, dict) and "candidates" in found:
        found["seconds"] = "SECONDS"
    return found


def _plain(value: Any, places: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item, places) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(v, places) for v in value]
    if isinstance(value, str):
        for path, name in places.items():
            value = value.replace(path, name)
    return value


def differences(
    found: Any, wanted: Any, tolerance: float, *, grown: bool = False, at: str = ""
) -> Iterator[str]:
    """Yield where two answers differ: numbers by more than `tolerance`, all else at all.

    Args:
        found: the answer now.
        wanted: the answer then.
        tolerance: of fractions; whole numbers are equal or not.
        grown: whether keys may have been added since then.
        at: where in the answer this is.
    """
    if isinstance(found, dict) and isinstance(wanted, dict):
        strange = {*wanted} - {*found} if grown else {*wanted} ^ {*found}
        yield from (f"{at}: key {key!r}" for key in sorted(strange))
        for key in wanted.keys() & found.keys():
            yield from differences(found[key], wanted[key], tolerance, grown=grown, at=f"{at}.{key}")
    elif isinstance(found, list) and isinstance(wanted, list):
        if len(found) != len(wanted):
            yield f"{at}: {len(found)} instead of {len(wanted)}"
        for place, (one, other) in enumerate(zip(found, wanted, strict=False)):
            yield from differences(one, other, tolerance, grown=grown, at=f"{at}[{place}]")
    elif isinstance(found, float) and isinstance(wanted, float):
        if not abs(found - wanted) <= tolerance:
            yield f"{at}: {found!r} instead of {wanted!r}"
    elif found != wanted or isinstance(found, bool) is not isinstance(wanted, bool):
        yield f"{at}: {found!r} instead of {wanted!r}"


def same(found: Any, wanted: Any, tolerance: float, *, grown: bool = False) -> None:
    """Check that two answers are the same but for rounding; see `differences`."""
    found_differences = sorted(differences(found, wanted, tolerance, grown=grown))
    assert not found_differences, "\n".join(found_differences[:20])


def version(folder: Path) -> int:
    """Return the version of the schema of a workspace, without opening it as one."""
    return int(_ask(folder, "PRAGMA user_version")[0][0])


def rows(folder: Path) -> dict[str, Counter[tuple[tuple[str, Any], ...]]]:
    """Return the rows of all tables of a workspace: columns and values."""
    names = [name for (name,) in _ask(folder, "SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {name: _rows(folder, name) for name in names if not name.startswith(("sqlite_", "_sqlite"))}


def edges(folder: Path) -> dict[str, int]:
    """Return how many edges of each kind are in the registry."""
    return dict(_ask(folder, "SELECT kind, count(*) FROM edges GROUP BY kind ORDER BY kind"))


def _rows(folder: Path, table: str) -> Counter[tuple[tuple[str, Any], ...]]:
    columns = [row[1] for row in _ask(folder, f"PRAGMA table_info({table})")]
    return Counter(tuple(zip(columns, row, strict=True)) for row in _ask(folder, f"SELECT * FROM {table}"))


def _ask(folder: Path, question: str) -> list[Any]:
    db = sqlite3.connect(folder / "registry.db")
    try:
        return db.execute(question).fetchall()
    finally:
        db.close()


# The commands whose JSON is on record for the newest workspace, as `moved` makes it.
SPOKEN: dict[str, tuple[object, ...]] = {
    "ls": ("ls",),
    "ls-text": ("ls", "--modality", "text", "--sort", "params"),
    "show": ("show", "digits-in-fonts"),
    "show-child": ("show", "dir:cf6ba7c7f05074f1e3bac4a082cceca209877ea48aed71c0707d96f46ee8139e"),
    "show-by-name-only": ("show", "vit-little"),
    "similar": ("similar", "half", "-k", 4),
    "similar-text": ("similar", "languages"),
    "runs": ("runs",),
    "history-ls": ("history", "ls"),
    "history-ls-task": ("history", "ls", "--task", "thai"),
    "tasks-ls": ("tasks", "ls"),
    "probe-ls": ("probe", "ls"),
    "probe-show": ("probe", "show", "small"),
    "query": ("query", LETTERS, "--budget", 0),
    "query-text": ("query", WORDS, "--budget", 0, "--top", 2),
    "query-constraints": (
        *("query", LETTERS, "--budget", 0, "--max-params", "300k"),
        *("--kind", "original"),
    ),
    "explain": ("explain", LETTERS, "digits-in-fonts"),
    "backtest": ("backtest",),
    "predict": ("predict", RUNS / "first", LETTERS / "ini", "--top", 3),
    "predict-labels": ("predict", RUNS / "labels", LETTERS / "vo"),
    "predict-values": ("predict", RUNS / "values", LETTERS / "vo"),
    "predict-text": ("predict", RUNS / "text", "--text", "a bird of prey", "--text", "a sad feeling"),
    "predict-ensemble": ("predict", RUNS / "auto", LETTERS / "men"),
    "evaluate": ("evaluate", RUNS / "first", LETTERS),
    "evaluate-labels": ("evaluate", RUNS / "labels", TABLE, *MARKS),
    "evaluate-values": ("evaluate", RUNS / "values", TABLE, *INK),
    "check-data": ("check", LETTERS, "--expert", "half"),
    "check-run": ("check", RUNS / "first", "--data", LETTERS),
    "check-run-values": ("check", RUNS / "values", "--data", TABLE, *INK),
    "delta-apply": ("delta", "apply", "half", DELTAS / "one.delta.safetensors", "--no-register"),
    "delta-make": ("delta", "make", RUNS / "one", "--bits", 8),
}


def speak(name: str, folder: Path, out: Path) -> Any:
    """Run one of the commands on record, and return its JSON with names for folders."""
    arguments = SPOKEN[name]
    if arguments[0] == "delta":
        arguments = (*arguments, "--out", out / ("made.safetensors" if arguments[1] == "make" else "made"))
    places = {HERE: "COMPAT", folder: "WORKSPACE", out: "OUT"}
    return told(invoke("--workspace", folder, *arguments, "--json"), places)


def answers(name: str, folder: Path) -> dict[str, Any]:
    """Return what is answered about an old workspace that had results: query, explain and back-test."""
    places = {HERE: "COMPAT"}
    questions: dict[str, tuple[object, ...]] = {
        "query": ("query", LETTERS, "--budget", 0),
        "explain": ("explain", LETTERS, EXPERT[name]),
    }
    if name not in ("schema3", "schema3-first"):  # not enough results there
        questions["backtest"] = ("backtest",)
    return {q: told(invoke("--workspace", folder, *a, "--json"), places) for q, a in questions.items()}


def predictions(name: str, folder: Path) -> dict[str, Any]:
    """Return what the model in the folder of a run says about its inputs, in short."""
    said = invoke("predict", folder, inputs(name), "--json").worked().json
    return {
        "kind": said["kind"],
        "temperature": said["temperature"],
        "answers": [
            [Path(str(p["input"])).name, p["value"], *([c["class"], c["probability"]] for c in p["classes"])]
            for p in said["predictions"]
        ],
    }
