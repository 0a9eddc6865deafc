"""Options that several commands share, the units they take, and options kept in a YAML file."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click
import yaml
from click.shell_completion import CompletionItem

import expertise_graph as xg
from expertise_graph.cli.app import CommandContext
from expertise_graph.core import MOST_SEED, InvalidInputError, check_output, did_you_mean, shorten, write_text

if TYPE_CHECKING:
    from expertise_graph import Columns, Query

F = TypeVar("F", bound=Callable[..., Any])

SEED = click.IntRange(0, MOST_SEED)

# `--item-column` names the column of the inputs and leaves their modality open.
_ANY = "item"


# Decimal prefixes of numbers that are typed.
_PREFIXES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


class Quantity(click.ParamType[int]):
    """A whole number, with a decimal prefix if wanted: 500k, 25M; of sizes also with their unit: 2GB.

    Args:
        kind: what it is a number of, for help and messages.
        unit: that may stand behind it.
        like: examples, for messages.
    """

    def __init__(self, kind: str, *, unit: str = "", like: str) -> None:
        self.name, self._like = kind, like
        self._form = re.compile(rf"(\d+(?:\.\d+)?)\s*([kMGT]?){f'{unit}?' if unit else ''}")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number."""
        found = self._form.fullmatch(str(value))
        if not found:
            self.fail(f"{value!r} is not a {self.name} like {self._like}", param, ctx)
        return int(float(found[1]) * _PREFIXES[found[2]])


COUNT = Quantity("number", like="500k, 25M or 1000")
SIZE = Quantity("size", unit="B", like="500MB or 2GB")


class Seconds(click.ParamType[float]):
    """A duration: 90, 90s, 10m, 2h."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", str(value))
        if not found:
            self.fail(f"{value!r} is not a duration like 90s, 10m or 2h", param, ctx)
        return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


class NameOf(click.ParamType[str]):
    """One of the names of a kind, which are asked for when they are needed: plug-ins add to them."""

    def __init__(self, kind: str, names: Callable[[], Iterable[str]]) -> None:
        self.name, self._names = kind, names

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name."""
        names = list(self._names())
        if value not in names:
            near = did_you_mean(str(value), names)
            self.fail(f"no {self.name} called {value!r}; there are: {', '.join(names)}.{near}", param, ctx)
        return str(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the names that begin so."""
        return [CompletionItem(name) for name in self._names() if name.startswith(incomplete)]


STRATEGY = NameOf("strategy", lambda: xg.TrainConfig.choices("strategy"))
TRACKER = NameOf("tracker", lambda: xg.TrainConfig.choices("tracker"))


class Spend(NamedTuple):
    """What may be spent on a query: a number of experts, or a time in seconds."""

    experts: int | None
    seconds: float | None


class Budget(click.ParamType[Spend]):
    """A number of experts, or with a unit a time: 8, 60s, 5m, 1h."""

    name = "experts|time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Spend:
        """Return what may be spent."""
        if isinstance(value, Spend):
            return value
        if re.fullmatch(r"[0-9]{1,9}", str(value)):
            return Spend(int(value), None)
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?[smh]", str(value)):
            self.fail(
                f"{value!r} is neither a number of experts like 8 nor a time like 60s, 5m or 1h", param, ctx
            )
        return Spend(None, Seconds().convert(value, param, ctx))


class Positive(click.ParamType[float]):
    """A number above zero: 4, 2.5."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number."""
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not 0 < number < math.inf:
            self.fail(f"{value!r} is not a number above zero like 2.5", param, ctx)
        return number


class LearningRate(click.ParamType[float | str]):
    """A number: 0.003, 1e-4; or auto."""

    name = "number|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        """Return the number, whose bounds are those of the settings, or auto."""
        if value == "auto":
            return "auto"
        try:
            return float(value)
        except (TypeError, ValueError):
            self.fail(f"{value!r} is neither a number like 0.003 nor auto", param, ctx)


class Numbers(click.ParamType[tuple[float, ...]]):
    """Numbers with commas between them: 1,1,2."""

    name = "numbers"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """Return the numbers."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of numbers like 1,1,2", param, ctx)


# Columns of a table


def column_options(command: F) -> F:
    """Add the options that say which columns of a table hold what, and what labels and splits are."""
    command = click.option(
        "--no-label",
        metavar="NAME",
        help="Class that means that an item has no label.  [default: folders like unsup and unlabeled]",
    )(command)
    command = click.option(
        "--splits",
        metavar="NAMES",
        help="Which folders, files or values of the split column are which split: train=NAME,test=NAME; none "
        "if nothing is a split.  [default: guessed]",
    )(command)
    command = click.option(
        "--separator", metavar="TEXT", help="Separator of several labels in a cell.  [default: ;]"
    )(command)
    command = click.option(
        "--target",
        type=click.Choice(["class", "labels", "value"]),
        help="What the labels are: one class per item, several labels, or a number.  [default: guessed]",
    )(command)
    for name in ("split", "label"):
        command = click.option(
            f"--{name}-column",
            metavar="NAME",
            help=f"Column of a table that holds the {name}s.  [default: guessed]",
        )(command)
    return item_column_options(command)


def item_column_options(command: F) -> F:
    """Add options that say which column of a table holds the inputs, and their modality with it."""
    for name in reversed((*xg.MODALITIES, _ANY)):
        what = "inputs, of any modality" if name == _ANY else f"{name}s"
        command = click.option(
            f"--{name}-column",
            metavar="NAME",
            help=f"Column of a table that holds the {what}.  [default: guessed]",
        )(command)
    return command


def columns_from(given: dict[str, Any]) -> Columns:
    """Return the columns that the options of `column_options` name.

    Raises:
        UsageError: when two columns of inputs are named.
    """
    options = {name: given[f"{name}_column"] for name in (*xg.MODALITIES, _ANY)}
    named = {name: column for name, column in options.items() if column}
    if len(named) > 1:
        flags = " and ".join(f"--{name}-column" for name in named)
        raise click.UsageError(f"{flags} both name the column of the inputs; give one of them")
    modality, item = next(iter(named.items()), (_ANY, None))
    return xg.Columns(
        item=item,
        modality=None if modality == _ANY else modality,
        label=given.get("label_column"),
        split=given.get("split_column"),
        target=given.get("target"),
        separator=given.get("separator"),
        splits=given.get("splits"),
        no_label=given.get("no_label"),
    )


# Constraints on experts

# As in retrieval.constraints, which --help does not load.
KINDS = ("original", "fine-tune", "adapter", "merge", "quantised")

_CONSTRAINTS = (
    click.option(
        "--max-params", type=COUNT, help="Only experts with at most this many parameters, e.g. 25M."
    ),
    click.option("--max-mb", type=Positive(), help="Only experts whose weights take at most this many MB."),
    click.option(
        "--max-latency",
        type=Positive(),
        metavar="MS",
        help="Only experts that take at most this many milliseconds per input on this machine; each is "
        "measured once. Of models that are not here it is estimated by their size.",
    ),
    click.option(
        "--min-dim", type=click.IntRange(1), help="Only experts with at least this feature dimension."
    ),
    click.option(
        "--max-dim", type=click.IntRange(1), help="Only experts with at most this feature dimension."
    ),
    click.option(
        "--kind",
        "kinds",
        multiple=True,
        type=click.Choice(KINDS),
        help="Only experts of this kind; repeatable.",
    ),
    click.option(
        "--language",
        "languages",
        multiple=True,
        metavar="CODE",
        help="Only experts that are known to be made for this language, e.g. de or deu; repeatable.",
    ),
    click.option(
        "--license",
        "licenses",
        multiple=True,
        metavar="SPDX",
        help="Only experts with this licence, e.g. mit; repeatable.",
    ),
    click.option(
        "--exclude-license",
        "excluded",
        multiple=True,
        metavar="SPDX",
        help="No experts with this licence, e.g. unknown; repeatable.",
    ),
    click.option("--tag", "tags", multiple=True, help="Only experts with this tag; repeatable."),
)


def constraint_options(command: F) -> F:
    """Add the options that restrict which experts may be an answer."""
    for option in reversed(_CONSTRAINTS):
        command = option(command)
    return command


def constraints_from(given: dict[str, Any]) -> Query:
    """Return a query with the constraints that `constraint_options` name, and defaults otherwise."""
    narrow, wide = given["min_dim"], given["max_dim"]
    if narrow is not None and wide is not None and narrow > wide:
        raise click.UsageError(f"--min-dim {narrow} is above --max-dim {wide}; no expert can meet both")
    return xg.Query(
        max_params=given["max_params"],
        max_bytes=None if given["max_mb"] is None else int(given["max_mb"] * 1e6),
        licenses=tuple(name.lower() for name in given["licenses"]),
        excluded_licenses=tuple(name.lower() for name in given["excluded"]),
        tags=given["tags"],
        max_latency=given["max_latency"],
        min_dim=narrow,
        max_dim=wide,
        kinds=given["kinds"],
        languages=given["languages"],
    )


trust_option = click.option(
    "--trust-code",
    is_flag=True,
    # Said for this command by whoever types it, and not by a variable that was set once.
    allow_from_autoenv=False,
    help="Allow this command to run Python code that comes with an expert (factory: experts).",
)


def _limit(context: click.Context, option: click.Parameter, value: Any) -> None:
    if value is not None and isinstance(context.obj, CommandContext):
        context.obj.limits[str(option.name)] = value * 1e9 if option.name == "memory_limit" else value


_ISOLATION = (
    click.option(
        "--isolate/--no-isolate",
        default=None,
        callback=_limit,
        expose_value=False,
        help="Load and run experts from outside in a process of their own, with limits of memory and time.  "
        "[default: isolate all but zoo: experts]",
    ),
    click.option(
        "--memory-limit",
        type=Positive(),
        metavar="GB",
        callback=_limit,
        expose_value=False,
        help="Memory that this process may take, in GB.  [default: 0.8 of what is free]",
    ),
    click.option(
        "--time-limit",
        type=Seconds(),
        callback=_limit,
        expose_value=False,
        help="Time that an expert may take to be loaded and for each batch, e.g. 90s, 10m.  [default: 120s, "
        "and 0.2s for each MB of weights]",
    ),
)


def isolation_options(command: F) -> F:
    """Add the options that say how experts from outside are run."""
    for option in reversed(_ISOLATION):
        command = option(command)
    return command


max_download_option = click.option(
    "--max-download",
    type=SIZE,
    help="Size of all downloads together, in the order of the sources, e.g. 2GB.  [default: no limit]",
)

# Options in a YAML file

# Of a value that cannot be one, as much is quoted.
_SHOWN = 60

# The form of the output, and what is done once only, are no settings of the work.
_NOT_KEPT = (
    *("config", "save_config", "out", "as_json", "force", "trust_code", "verbose", "help"),
    *("isolate", "memory_limit", "time_limit"),
)


def config_options(command: F) -> F:
    """Add ``--config``, which reads options from a YAML file, and ``--save-config``, which writes them."""
    command = click.option(
        "--save-config",
        type=click.Path(path_type=Path, dir_okay=False),
        callback=_save,
        expose_value=False,
        help="Write the options in effect to this YAML file.",
    )(command)
    return click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        callback=_load,
        is_eager=True,
        expose_value=False,
        help="Read options from this YAML file; options on the command line win.",
    )(command)


def _load(context: click.Context, _: click.Parameter, path: Path | None) -> None:
    if path is None:
        return
    options = {p.name: p for p in _kept(context) if p.name}
    names = set(options)
    for name in (found := _read(path)):
        if name not in names:
            raise InvalidInputError(
                f"{path} sets {name!r}, which is no option of {context.info_name}; options: "
                f"{', '.join(sorted(names))}.{did_you_mean(str(name), names)}"
            )
    given = {name: _as_typed(path, name, value, options[name]) for name, value in found.items()}
    context.default_map = {**(context.default_map or {}), **given}


def _read(path: Path) -> dict[str, Any]:
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise InvalidInputError(f"{path} holds no options; write lines such as epochs: 10")
    return {str(name).replace("-", "_"): value for name, value in content.items()}


def _as_typed(path: Path, name: str, value: Any, option: click.Parameter) -> Any:
    """Return a value of a YAML file as it would be typed on the command line.

    Raises:
        InvalidInputError: for a list or mapping in place of one value, or yes and no in place of a number.
    """
    flag = isinstance(option, click.Option) and option.is_flag
    values = value if option.multiple and isinstance(value, list) else [value]
    if any(isinstance(one, list | dict | set) or (isinstance(one, bool) and not flag) for one in values):
        shown = shorten(str(value), _SHOWN)
        raise InvalidInputError(f"{path} sets {name} to {shown}: give it as after --{name.replace('_', '-')}")
    if value is None or flag:
        return value
    return [str(one) for one in values] if option.multiple else str(value)


def read_yaml(path: Path) -> Any:
    """Return what a YAML file holds.

    Raises:
        InvalidInputError: when it cannot be read as YAML.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InvalidInputError(f"{path} cannot be read as YAML: {reason}") from error


def _save(context: click.Context, _: click.Parameter, path: Path | None) -> None:
    if path is not None:
        context.meta[__name__] = path


def save_settings(context: click.Context) -> None:
    """Write the options in effect, if that was asked for.

    Raises:
        InvalidInputError: when the file cannot be written.
    """
    path = context.meta.get(__name__)
    if path is None:
        return
    values = {p.name: _plain(context.params.get(p.name or "")) for p in _kept(context)}
    text = yaml.safe_dump({k: v for k, v in values.items() if v not in (None, [])}, sort_keys=False)
    if path.is_file() and path.read_bytes() == text.encode():
        return
    check_output(path, "save_config", force=bool(context.params.get("force")))
    try:
        write_text(path, text)
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be written: {error.strerror}") from error


def _kept(context: click.Context) -> list[click.Parameter]:
    return [p for p in context.command.params if isinstance(p, click.Option) and p.name not in _NOT_KEPT]


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value
