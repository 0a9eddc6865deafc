"""Results that the author of a model claims: the model-index of its card, and files in .eval_results."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from expertise_graph.core import printable

CLAIMS = "claims"
"""Where the meta of an expert that was just resolved holds what its author claims, see `Claim`."""

RESULTS_FOLDER = ".eval_results"
"""Folder of a repository with results as the Hub has them by now; each file is a list of them."""

# Parts of a card that are looked at; those of embedding models have a few thousand of them.
_MOST_LOOKED_AT = 50_000
# Metrics of one data set that are looked at. Classifiers have half as many, retrieval lists two hundred.
_MOST_OF_ONE = 12
# Results that are kept: no model was measured on a tenth as many data sets.
_MOST = 4_000
# Characters of a name; ids on the Hub have 96, names of tasks with their languages somewhat more.
_LONGEST = 200
# A name that is a number, such as the year of a part; Python takes long to write one of very many digits.
_LARGEST_NAME = 10**9
# Files of results, and bytes of one: those of the Hub hold a few hundred.
_MOST_FILES, _MOST_BYTES = 64, 1 << 18
# Lists and mappings within each other; those of cards are seven deep. The C loader of YAML overflows the
# stack of the process at some ten thousand.
_DEEPEST = 64

# The text between the lines of three dashes at the beginning of a card.
_BLOCK = re.compile(r"\A\ufeff?\s*---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
# A number as it is written in a value that is text, with a percent sign or a deviation behind it.
_NUMBER = re.compile(r"\s*([+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)\s*(%?)\s*(?:(?:±|\+/-|\().*)?", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One metric on one data set as the author of a model has it.

    Attributes:
        dataset: id of the data set on the Hub, or its name.
        name: what it is called for people.
        config: part of the data set, empty for all of it.
        split: of the data, empty where it is not said.
        task: what the Hub calls the kind of task, empty where it is not said.
        metric: its name; empty where the data set defines it.
        value: as it is written, in a unit that only other values may tell.
        percent: whether a percent sign stands behind it.
        verified: whether it bears a token of who measured it; the token itself is not checked.
        source: address of where it was measured.
        day: of the measurement.
    """

    dataset: str
    name: str = ""
    config: str = ""
    split: str = ""
    task: str = ""
    metric: str = ""
    value: float
    percent: bool = False
    verified: bool = False
    source: str = ""
    day: str = ""

    @property
    def plain(self) -> dict[str, Any]:
        """The claim as it stands in the meta of an expert: what it does not say is left out."""
        return {name: value for name, value in asdict(self).items() if value not in ("", False)}


def load_yaml(text: str) -> Any:
    """Return what a text of a stranger holds as YAML.

    Raises:
        ValueError, yaml.YAMLError: when it cannot be read, or lists are too deep within each other.
    """
    if not yaml.__with_libyaml__:
        return yaml.safe_load(text)
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise ValueError(f"lists and mappings are more than {_DEEPEST} deep within each other")
    return yaml.load(text, Loader=yaml.CSafeLoader)  # the safe one, in C


def front_matter(text: str) -> dict[str, Any]:
    """Return the metadata at the beginning of a card; none where it has none.

    Raises:
        ValueError, yaml.YAMLError: as `load_yaml`.
    """
    found = _BLOCK.match(text)
    content = load_yaml(found[1]) if found else None
    return content if isinstance(content, dict) else {}


def claims_in(index: Any) -> list[Claim]:
    """Return the results in a model-index; what is no result, or has no number, is left out.

    Args:
        index: the cell ``model-index`` of a card's metadata, of any shape.
    """
    return list(islice(filter(None, islice(_of_index(index), _MOST_LOOKED_AT)), _MOST))


def claims_in_folder(folder: Path) -> list[Claim]:
    """Return the results in the files of a repository's folder for them; a broken file states none."""
    found: list[Claim] = []
    for path in sorted((folder / RESULTS_FOLDER).glob("*.yaml"))[:_MOST_FILES]:
        try:
            if path.is_file() and path.stat().st_size <= _MOST_BYTES:
                found += claims_in_list(load_yaml(path.read_text(encoding="utf-8")))
        except Exception:  # written by strangers: whatever the parser raises means that it states nothing
            continue
    return found[:_MOST]


def claims_in_list(entries: Any) -> list[Claim]:
    """Return the results in a list as a file of ``.eval_results`` has it."""
    return list(islice(filter(None, map(_of_entry, islice(_mappings(entries), _MOST_LOOKED_AT))), _MOST))


def claims_from(meta: Mapping[str, Any]) -> list[Claim]:
    """Return the claims in the meta of an expert that was just resolved; what is none is left out."""
    known = {field.name for field in fields(Claim)}
    rows = [row for row in _mappings(meta.get(CLAIMS)) if {"dataset", "value"} <= row.keys() <= known]
    return [Claim(**row) for row in rows[:_MOST]]


def _each(values: Any) -> Iterator[Mapping[Any, Any]]:
    """Yield what is in a list, an empty mapping for what is none."""
    return map(_mapping, values if isinstance(values, list) else ())


def _of_index(index: Any) -> Iterator[Claim | None]:
    """Yield one for each metric, and None for whatever else is looked at, so that this can be bounded.

    Lists in YAML may be the same one many times.
    """
    for model in _each(index):
        yield None
        for result in _each(model.get("results")):
            about = {
                **_about(_mapping(result.get("dataset"))),
                "task": _text(_mapping(result.get("task")).get("type")),
                "source": _text(_mapping(result.get("source")).get("url")),
            }
            yield None
            for metric in islice(_each(result.get("metrics")), _MOST_OF_ONE):
                signed = metric.get("verified") is True or bool(_text(metric.get("verifyToken")))
                named = _text(metric.get("type")) or _text(metric.get("name"))
                yield _claim(about, metric.get("value"), metric=named, verified=signed)


def _of_entry(entry: Mapping[Any, Any]) -> Claim | None:
    data, source = _mapping(entry.get("dataset")), _mapping(entry.get("source"))
    about = {
        "dataset": _text(data.get("id")),
        "config": _text(data.get("task_id")),
        "source": _text(source.get("url")),
        "day": _text(entry.get("date")),
    }
    return _claim(about, entry.get("value"), verified=bool(_text(entry.get("verifyToken"))))


def _about(data: Mapping[Any, Any]) -> dict[str, str]:
    """Return what a model-index says of a data set; ``args`` is what earlier versions called the part."""
    args = data.get("args")
    return {
        "dataset": _text(data.get("type")) or _text(data.get("name")),
        "name": _text(data.get("name")),
        "config": _text(data.get("config")) or _text(args),
        "split": _text(data.get("split")) or _text(_mapping(args).get("split")),
    }


def _claim(about: Mapping[str, Any], value: Any, **more: Any) -> Claim | None:
    number = _number(value)
    if number is None or not about["dataset"]:
        return None
    return Claim(**about, **more, value=number[0], percent=number[1])


def _number(value: Any) -> tuple[float, bool] | None:
    """Return a finite number, also one in text, and whether it is in percent; None for what is none."""
    percent = False
    if isinstance(value, str) and (found := _NUMBER.fullmatch(value[:_LONGEST])):
        value, percent = float(found[1]), bool(found[2])
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return (number, percent) if math.isfinite(number) else None


def _text(value: Any) -> str:
    """Return a name; empty for what cannot be one."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST_NAME:
        value = str(value)
    if isinstance(value, date):
        value = value.isoformat()
    fits = isinstance(value, str) and len(value) <= _LONGEST and printable(value) == value
    return value.strip() if fits else ""


def _mapping(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def _mappings(values: Any) -> Iterator[Mapping[Any, Any]]:
    given: Iterable[Any] = values if isinstance(values, list | tuple) else ()
    return (value for value in given if isinstance(value, Mapping))
