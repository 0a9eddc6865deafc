"""Tables that experiment trackers export, known by the names of their columns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from expertise_graph.core import InvalidInputError, listed, setting
from expertise_graph.registry.imports.boards import BOARDS
from expertise_graph.registry.imports.frame import Row, wide_rows
from expertise_graph.registry.imports.metrics import ACCURACY, is_fraction, without_split
from expertise_graph.registry.imports.options import HistoryOptions
from expertise_graph.registry.imports.table import TextTable

TABLE = "table"
"""A table that is no export of a tool."""

NOT_FINISHED = "of runs that did not finish"

# What people call the parameters that say which model was trained on what data, the plainest first.
_NAMES: Mapping[str, tuple[str, ...]] = {
    "expert": (
        *(
            "model",
            "model_name",
            "model_name_or_path",
            "model_id",
            "pretrained_model",
            "pretrained_model_name",
        ),
        *("pretrained", "base_model", "backbone", "checkpoint", "arch", "architecture", "encoder", "expert"),
    ),
    "task": ("dataset", "dataset_name", "data", "task", "task_name", "benchmark", "dataset_id"),
    "seed": ("seed", "random_seed", "random_state"),
    "n": ("n_test", "test_samples", "eval_samples", "predict_samples"),
    "n_train": ("n_train", "train_samples", "num_train"),
    "method": ("method", "strategy"),
}
# Of one metric on several splits the first of these is read: items that nothing was chosen by.
_SPLITS = ("test", "predict", "eval", "validation", "valid", "val", "dev", "")
# Columns that are of training items, describe other columns, or are settings called like a metric.
_NO_RESULT = re.compile(r"train|(err|diff|std|step|epoch|min|max)$|top_?[kp]\b")
# What parts the names of parameters in parameters.
_NESTED = re.compile(r"[./]")
# Columns that an error names.
_SHOWN = 15


@dataclass(frozen=True, kw_only=True)
class Export:
    """How the table of a tool is read.

    Attributes:
        title: what the tool is called.
        known_by: sets of columns, in lower case, one of which must be there.
        begins: what columns begin with, each some, of a table that it is also known by.
        metrics: what the columns with metrics begin with, where the tool says so.
        parameters: what those with parameters begin with.
        roles: columns of the tool's own, by role, in lower case.
        status: column that says how a run ended, and the word for one that finished.
        own: columns of the tool that hold neither metrics nor parameters, in lower case.
        names_task: pattern of the names of files that tell the data set; None where names tell nothing.
        scheme: what stands before the names of its models in references, empty where they are any models.
        board: name of the public leaderboard that its tables are.
    """

    title: str
    known_by: tuple[frozenset[str], ...]
    begins: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ("",)
    parameters: tuple[str, ...] = ("",)
    roles: Mapping[str, str]
    status: tuple[str, str] | None = None
    own: frozenset[str] = frozenset()
    names_task: str | None = None
    scheme: str = ""
    board: str = ""

    def fits(self, table: TextTable) -> bool:
        """Tell whether a table has the columns of the tool."""
        columns = {name.casefold() for name in table.columns}
        nested = bool(self.begins) and all(any(c.startswith(b) for c in columns) for b in self.begins)
        return nested or any(wanted <= columns for wanted in self.known_by)


EXPORTS: Mapping[str, Export] = {
    "mlflow": Export(
        title="MLflow",
        # The button of the page, and what mlflow.search_runs and `mlflow experiments csv` write.
        known_by=(
            frozenset({"run id", "name", "source type", "user", "status"}),
            frozenset({"run_id", "experiment_id", "status"}),
            # A frame of `Run.to_dictionary()`.
            frozenset({"info.run_id", "info.experiment_id", "info.status"}),
        ),
        metrics=("metrics.", "data.metrics.", ""),
        parameters=("params.", "data.params.", "tags.", "data.tags.", "inputs.", "info.", ""),
        roles={"date": "start time"},
        status=("status", "finished"),
        own=frozenset({"duration", "source name", "artifact_uri", "start_time", "end_time"}),
    ),
    "wandb": Export(
        title="Weights & Biases",
        # The table of the page, and the table of runs that scripts make with its API.
        known_by=(
            frozenset({"name", "state", "created", "runtime"}),
            frozenset({"name", "state", "_runtime"}),
            frozenset({"name", "state", "user", "sweep"}),
        ),
        # The script of its guide writes a dictionary into each of two columns.
        begins=("summary.", "config."),
        metrics=("summary.", "summary/", ""),
        parameters=("config.", "config/", ""),
        roles={"date": "created", "seconds": "runtime"},
        status=("state", "finished"),
        own=frozenset({"notes", "user", "tags", "sweep", "_step", "_timestamp", "_runtime", "runtime"}),
    ),
    "timm": Export(
        title="timm",
        known_by=(
            frozenset({"model", "top1", "top1_err", "top5"}),
            frozenset({"model", "top1", "param_count"}),
        ),
        roles={"expert": "model"},
        own=frozenset({"top5", "param_count", "img_size", "crop_pct", "interpolation", "rank_diff"}),
        names_task=r"results-(.+)",
        scheme="timm:",
        board="timm",
    ),
}


def export_of(table: TextTable, options: HistoryOptions) -> Export | None:
    """Return the tool whose export a table is: the one named, else the one whose columns it has.

    A table with the columns of a plain one is none.

    Raises:
        InvalidInputError: when it has not the columns of the tool that is named.
    """
    if options.source is None:
        plain = options.wide or all(table.find(r, options.columns) is not None for r in ("expert", "value"))
        return None if plain else next((e for e in EXPORTS.values() if e.fits(table)), None)
    if options.source == TABLE or options.source in BOARDS:
        return None
    if options.source not in EXPORTS:
        raise InvalidInputError(
            f"there is no export {options.source!r}; there are: {', '.join([*EXPORTS, *BOARDS, TABLE])}"
        )
    export = EXPORTS[options.source]
    if not export.fits(table):
        known = " or ".join(", ".join(sorted(names)) for names in export.known_by)
        raise InvalidInputError(
            f"{table.name} has not the columns of an export of {export.title}, which are {known}; "
            f"{table.there_are}"
        )
    return export


def export_rows(table: TextTable, export: Export, options: HistoryOptions) -> tuple[list[Row], list[str]]:
    """Return one row for each result of an export, and how its columns were understood.

    Raises:
        InvalidInputError: when model, data or metric cannot be told, with the setting that names it.
    """
    columns = {role: _column(table, export, role, options) for role in (*_NAMES, "seconds", "date")}
    expert = columns["expert"]
    columns["expert"] = expert = table.need("expert", options.columns) if expert is None else expert
    task = options.task or ("" if columns["task"] is not None else _task_of(table, export))
    if task:
        columns["task"] = None
    metrics = _metrics(table, export, options, [i for i in columns.values() if i is not None])
    finished = dict(zip(table.lines, _finished(table, export), strict=True))
    rows: list[Row] = []
    for i, metric in metrics.items():
        given = wide_rows(table, columns, spread="metric", values=[i], value="value")
        fixed = {"metric": metric, **({"task": task} if task else {})}
        rows += [
            (where, {**text, **fixed, "expert": _reference(text["expert"], export)})
            for (where, text), line in zip(given, table.lines, strict=True)
            if finished[line]
        ]
    table.board = export.board
    unfinished = sum(not done for done in finished.values())
    if unfinished:
        table.left_out.counts[NOT_FINISHED] += unfinished
    data = task if columns["task"] is None else table.columns[columns["task"]]
    understood = [
        f"model from {table.columns[expert]!r}",
        f"task {data!r}" if task else f"task from {data!r}",
        *(f"{metric} from {table.columns[i]!r}" for i, metric in metrics.items()),
    ]
    return rows, [f"an export of {export.title}: {', '.join(understood)}"]


def _reference(name: str, export: Export) -> str:
    """Return the name of a model with the scheme of the tool's own models, as `register` takes it."""
    return f"{export.scheme}{name}" if name and ":" not in name else name


def _finished(table: TextTable, export: Export) -> list[bool]:
    """Return whether each row is of a run that finished."""
    names = (export.status[0], f"info.{export.status[0]}") if export.status else ()
    column = next((i for name in names if (i := table.find(name, {})) is not None), None)
    if export.status is None or column is None:
        return [True] * len(table.rows)
    return [text.casefold() == export.status[1] for text in table.texts(column)]


def _column(table: TextTable, export: Export, role: str, options: HistoryOptions) -> int | None:
    """Return the column with a role: the one named, the tool's own, or a parameter that is called so."""
    if role in options.columns:
        return table.find(role, options.columns)
    own = export.roles.get(role)
    names = [own] if own else [prefix + name for name in _NAMES.get(role, ()) for prefix in export.parameters]
    # Parameters in parameters: model.name or model/name, or the name of what a configuration is about.
    plain = {_NESTED.sub("_", name.casefold()): i for i, name in reversed(list(enumerate(table.columns)))}
    nested = [] if own else [_NESTED.sub("_", name) for name in names]
    found = [
        *(table.find(name, {}) for name in names),
        *(plain.get(name + more) for more in ("", "_name", "_id") for name in nested),
    ]
    return next((i for i in found if i is not None and any(table.texts(i))), None)


def _task_of(table: TextTable, export: Export) -> str:
    """Return the data set that the name of a file tells, where the tool names its tables so."""
    match = export.names_task and re.fullmatch(export.names_task, PurePath(table.name).stem)
    if not match:
        raise InvalidInputError(
            f"{table.name} has no column with the data set; say which one it is with "
            f"{setting('task_column', 'NAME')}, or give {setting('task', 'NAME')} for all rows; "
            f"{table.there_are}"
        )
    return match[1]


def _metrics(
    table: TextTable, export: Export, options: HistoryOptions, used: Sequence[int]
) -> dict[int, str]:
    """Return the columns with results and the names of their metrics.

    Where none is named, that is accuracy, or without it every metric between 0 and 1, on items that were not
    trained on; of several splits the one that comes first among `_SPLITS`.
    """
    given = {i: _stripped(table.columns[i], export.metrics) for i in table.others(used, options.ignore)}
    if options.metric is not None:
        found = _named(table, given, options.metric)
    else:
        found = {i: name for i, name in given.items() if _is_result(table, export, i, name)}
    best: dict[str, tuple[int, int]] = {}
    for i, name in found.items():
        metric, split = without_split(name)
        best[metric] = min(best.get(metric, (len(_SPLITS), i)), (_SPLITS.index(split), i))
    if not best:
        what = "a metric" if options.metric is None else f"the metric {options.metric!r}"
        raise InvalidInputError(
            f"{table.name} has no column with {what}; name one with {setting('metric', 'NAME')}; there are: "
            f"{listed(sorted(given.values()), _SHOWN)}"
        )
    chosen = {ACCURACY: best[ACCURACY]} if ACCURACY in best else best
    return {i: metric for metric, (_, i) in chosen.items()}


def _named(table: TextTable, given: Mapping[int, str], metric: str) -> dict[int, str]:
    """Return the columns of a metric: called so, or so on some split."""
    wanted = metric.casefold()
    exact = {i: n for i, n in given.items() if wanted in (n.casefold(), table.columns[i].casefold())}
    return exact or {i: n for i, n in given.items() if without_split(n)[0] == without_split(metric)[0]}


def _is_result(table: TextTable, export: Export, column: int, name: str) -> bool:
    """Tell whether a column holds results of a metric between 0 and 1 on items that were not trained on."""
    header, lower = table.columns[column], name.casefold()
    if any(header.startswith(prefix) for prefix in (*export.parameters, "tags.") if prefix):
        return False
    return lower not in export.own and _NO_RESULT.search(lower) is None and is_fraction(name)


def _stripped(name: str, prefixes: Sequence[str]) -> str:
    return next((name[len(p) :] for p in prefixes if p and name.startswith(p)), name)
