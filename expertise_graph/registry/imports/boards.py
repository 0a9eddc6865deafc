"""Results of public leaderboards: JSON files, one by one or a folder of them, as rows of a table."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from expertise_graph.core import SELF_REPORTED, InvalidInputError, listed, number, read_json, setting
from expertise_graph.registry.imports.metrics import OF_CLASSES, is_fraction, known_as
from expertise_graph.registry.imports.mteb import MtebResult
from expertise_graph.registry.imports.options import HistoryOptions
from expertise_graph.registry.imports.table import File, LeftOut, TextTable, read_table

_COLUMNS = ("expert", "task", "metric", "value", "n", "date", "method")
# Files of a folder; the repository of all results of MTEB has some 400,000 of 500 models.
_MOST_FILES = 500_000
# Keys that an error names, and models.
_SHOWN = 8

# Reasons to leave out a result.
OTHER_METRIC, NO_RESULTS, LOWER = (
    "of other metrics",
    "files that hold no results",
    "of metrics that are better when lower",
)

# Parts of a data set that are all of it, or its English part where it has many languages: what published
# tables call by the name of the data set alone.
WHOLE = frozenset({"", "default", "en", "eng", "test", "none", "all", "plain_text"})
_TEST = "test"
_METHOD = "mteb-linear-probe"
"""What published tables call the way in which MTEB measures classification."""

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
# A metric of a benchmark that says only which values it has.
_SCORE = "score"
# The longest text that is taken for the name of a metric, and not for a description of it.
_LONGEST_NAME = 40

Row = tuple[str, ...]


def board_task(name: str, part: str, split: str) -> str:
    """Return what published tables call a part of a data set of MTEB.

    Example:
        >>> board_task("Banking77Classification", "default", "test"), board_task("MTOPDomain", "de", "test")
        ('mteb/Banking77Classification', 'mteb/MTOPDomain (de)')
    """
    of_part = "" if part.casefold() in WHOLE else f" ({part})"
    of_split = "" if split.casefold() in ("", _TEST) else f" [{split}]"
    return f"mteb/{name}{of_part}{of_split}"


@dataclass(frozen=True, kw_only=True)
class Board:
    """How the files of a leaderboard are read.

    Attributes:
        title: what it is called.
        keys: of an object that holds its results; of each tuple one must be there.
        rows: yields a row for each result in an object, in the order of the columns.
    """

    title: str
    keys: tuple[tuple[str, ...], ...]
    rows: Callable[[Path, Mapping[str, Any], Counter[str]], Iterator[Row]]

    def fits(self, content: Any) -> bool:
        """Tell whether what a file holds are results of it."""
        return isinstance(content, dict) and all(any(k in content for k in some) for some in self.keys)


def read_results(file: File, options: HistoryOptions) -> TextTable:
    """Return the table in a file, or the results in a file or folder of a leaderboard as one.

    Raises:
        InvalidInputError: for a file of another kind, with what is in it.
    """
    source = options.source if options.source in BOARDS else None
    path = Path(file) if isinstance(file, str | Path) else None
    if path is None or not (path.is_dir() or path.suffix.casefold() == ".json"):
        table = read_table(file, skip_invalid=options.skip_invalid)
        table.board = source or ""
        return table
    paths = _files(path)
    if source is None:
        first = _content(paths[0])
        source = next((name for name, board in BOARDS.items() if board.fits(first)), None)
    if source is None:
        raise InvalidInputError(f"{path} {_holds(paths[0])}; {_possible()}")
    return _table(path, source, paths, skip_invalid=options.skip_invalid)


def _table(path: Path, source: str, paths: list[Path], *, skip_invalid: bool) -> TextTable:
    board, left_out = BOARDS[source], LeftOut(path.name, skip_invalid)
    rows: list[Row] = []
    for one in paths:
        content = _content(one)
        if board.fits(content):
            rows += board.rows(one, content, left_out.counts)
        else:
            left_out.counts[NO_RESULTS] += 1
    if left_out.counts[NO_RESULTS] == len(paths):
        raise InvalidInputError(f"{path} {_holds(paths[0])}, and no results of {board.title}; {_possible()}")
    if not rows:
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in (+left_out.counts).items()) or "none at all"
        raise InvalidInputError(f"{path} has no result of {board.title} that counts; left out: {reasons}")
    return TextTable(
        name=path.name,
        columns=_COLUMNS,
        rows=[list(row) for row in rows],
        lines=list(range(1, len(rows) + 1)),
        left_out=left_out,
        noun="result",
        board=source,
        notes=[f"results of {board.title}"],
    )


def _files(path: Path) -> list[Path]:
    """Return the JSON files of a folder that may hold results, or the one file.

    Raises:
        InvalidInputError: when there is none.
    """
    paths = sorted(path.rglob("*.json"))[:_MOST_FILES] if path.is_dir() else [path]
    found = [one for one in paths if one.name != _ABOUT or one == path]
    if not found:
        raise InvalidInputError(f"{path} holds no .json file with results; {_possible()}")
    return found


def _content(path: Path) -> Any:
    """Return what a file holds; None for one that is no JSON."""
    try:
        return read_json(path)
    except InvalidInputError:
        return None


def _holds(path: Path) -> str:
    """Return what the first of the files holds, for an error."""
    first = _content(path)
    if not isinstance(first, dict):
        return f"holds {'a list' if isinstance(first, list) else 'no JSON that can be read'}"
    return f"holds an object with the keys {listed(sorted(map(str, first)), _SHOWN)}"


def _possible() -> str:
    known = " and ".join(
        f"{board.title} ({setting('source', name)}; keys {', '.join(keys[0] for keys in board.keys)})"
        for name, board in BOARDS.items()
    )
    return f"files of {known} can be read"


# MTEB

_ABOUT = "model_meta.json"
_ENGLISH = ["eng-Latn"]


def _of_mteb(path: Path, content: Mapping[str, Any], left_out: Counter[str]) -> Iterator[Row]:
    """Yield the result of a model on a task, as the catalogue has it: one value, of its main metric."""
    name = str(content.get("task_name") or content.get("mteb_dataset_name"))
    found = MtebResult(model=_model_of(path), revision="", task=name, scores=_scores(content))
    metric = _main_metric(found)
    if metric is None:
        left_out[OTHER_METRIC] += 1
        return
    # As many digits as the catalogue has.
    value = repr(round(found.value(metric) or 0.0, 6))
    yield f"hf:{found.model}", board_task(name, "", ""), metric, value, "", "", _METHOD


def _scores(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the scores of a file by split, each a list of its parts."""
    given = content.get("scores")
    if isinstance(given, dict):
        return given
    # Before version 1.11 a split was a key of the file, and a part, if there were several, a key of that.
    splits = {name: found for name, found in content.items() if isinstance(found, dict)}
    return {name: _parts(found) for name, found in splits.items()}


def _parts(split: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    parts = {name: part for name, part in split.items() if isinstance(part, dict)}
    if not parts:
        return [split]
    return [{**part, **({"languages": _ENGLISH} if name == "en" else {})} for name, part in parts.items()]


def _main_metric(result: MtebResult) -> str | None:
    """Return the metric of classes that is the main score of a task; None where that is another one."""
    main = result.value("main_score")
    values = {metric: result.value(metric) for metric in OF_CLASSES}
    fits = (m for m, v in values.items() if v is not None and (main is None or math.isclose(v, main)))
    return next(fits, None)


def _model_of(path: Path) -> str:
    """Return the model that a file of results is about: by the file beside it, or by its folder.

    Raises:
        InvalidInputError: when neither tells.
    """
    about = path.parent / _ABOUT
    told = _content(about) if about.is_file() else None
    name = told.get("name") if isinstance(told, dict) else None
    if isinstance(name, str) and _REPOSITORY.fullmatch(name):
        return name
    for folder in (path.parent.name, path.parent.parent.name):
        owner, mark, rest = folder.partition("__")
        if mark and owner and rest:
            return f"{owner}/{rest}"
    raise InvalidInputError(
        f"{path} does not say which model it is about: keep it in its folder, ORG__MODEL/REVISION/, or "
        f"beside its {_ABOUT}"
    )


# Every Eval Ever


def _of_every_eval(path: Path, content: Mapping[str, Any], left_out: Counter[str]) -> Iterator[Row]:
    """Yield the results of a model, see github.com/evaleval/every_eval_ever, schema 0.2."""
    about = _mapping(content.get("model_info"))
    model = str(about.get("id") or about.get("name") or "")
    expert = f"hf:{model}" if _REPOSITORY.fullmatch(model) else model
    by = _mapping(content.get("source_metadata")).get("evaluator_relationship")
    results = [r for r in content["evaluation_results"] if isinstance(r, dict)]
    data = [_mapping(result.get("source_data")) for result in results]
    names = [str(d.get("hf_repo") or d.get("dataset_name") or "") for d in data]
    metrics = [_metric_of(result) for result in results]
    several = Counter(zip(names, metrics, strict=True))
    for result, of_data, name, metric in zip(results, data, names, metrics, strict=True):
        config, details = _mapping(result.get("metric_config")), _mapping(result.get("score_details"))
        if config.get("lower_is_better"):
            left_out[LOWER] += 1
            continue
        if metric is None:
            left_out[OTHER_METRIC] += 1
            continue
        # One data set with several evaluations of a metric has several tasks.
        part = f"/{result.get('evaluation_name')}" if several[name, metric] > 1 else ""
        split = str(of_data.get("hf_split") or "")
        of_split = "" if split.casefold() in ("", _TEST) else f" [{split}]"
        items = _mapping(details.get("uncertainty")).get("num_samples") or of_data.get("samples_number")
        day = _day(result.get("evaluation_timestamp") or content.get("evaluation_timestamp"))
        method = SELF_REPORTED if by == "first_party" else "imported"
        value = _share(details.get("score"), config.get("max_score"))
        yield expert, f"{name}{part}{of_split}", metric, value, _count(items), day, method


def _metric_of(result: Mapping[str, Any]) -> str | None:
    """Return the name of a metric between 0 and 1, or 0 and 100; None for another one."""
    config = _mapping(result.get("metric_config"))
    told = (config.get("metric_name"), config.get("evaluation_description"), result.get("evaluation_name"))
    named = [text for text in told if isinstance(text, str) and len(text) <= _LONGEST_NAME]
    known = next((text for text in named if is_fraction(text)), None)
    if known is not None:
        return known_as(known)
    return _SCORE if config.get("min_score") == 0 and config.get("max_score") in (1, 100) else None


def _share(score: Any, most: Any) -> str:
    """Return a score as the text of a fraction where its largest value is known."""
    if isinstance(score, bool) or not isinstance(score, int | float):
        return ""
    return repr(score / most if most in (1, 100) else float(score))


def _count(value: Any) -> str:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) and value > 0 else ""


def _day(value: Any) -> str:
    """Return the date of a time, in seconds since 1970 or as it is written in ISO 8601."""
    seconds = number(str(value)) if value else None
    if seconds is not None and 0 < seconds < 1e11:
        return datetime.fromtimestamp(seconds, UTC).date().isoformat()
    found = re.match(r"\d{4}-\d{2}-\d{2}", str(value or ""))
    return found[0] if found else ""


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


BOARDS: Mapping[str, Board] = {
    "mteb": Board(
        title="MTEB",
        keys=(("task_name", "mteb_dataset_name"), ("scores", "mteb_version")),
        rows=_of_mteb,
    ),
    "eval-ever": Board(
        title="Every Eval Ever",
        keys=(("evaluation_results",), ("model_info",)),
        rows=_of_every_eval,
    ),
}
