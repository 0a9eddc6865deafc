"""Settings of a command kept in a YAML file: ``--config`` reads them, ``--save-config`` writes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import yaml

from expertise_graph.core import InvalidInputError, did_you_mean

F = TypeVar("F", bound=Callable[..., Any])

# What is done with the answer, or once only, is no setting.
_NOT_KEPT = ("config", "save_config", "as_json", "force", "trust_code", "help")


def config_options(command: F) -> F:
    """Add ``--config`` and ``--save-config``."""
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
        help="Read options from this YAML file; those given here win.",
    )(command)


def _load(context: click.Context, _: click.Parameter, path: Path | None) -> None:
    if path is None:
        return
    names = {p.name for p in _kept(context) if p.name}
    for name in (found := _read(path)):
        if name not in names:
            raise InvalidInputError(
                f"{path} sets {name!r}, which is no option of {context.info_name}; there are: "
                f"{', '.join(sorted(names))}.{did_you_mean(str(name), names)}"
            )
    context.default_map = {**(context.default_map or {}), **found}


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InvalidInputError(f"{path} cannot be read as YAML: {reason}") from error
    if not isinstance(content, dict):
        raise InvalidInputError(f"{path} holds no options; write lines such as epochs: 10")
    return {str(name).replace("-", "_"): value for name, value in content.items()}


def _save(context: click.Context, _: click.Parameter, path: Path | None) -> None:
    if path is None:
        return
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
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be written: {error.strerror}") from error


def _kept(context: click.Context) -> list[click.Parameter]:
    return [p for p in context.command.params if isinstance(p, click.Option) and p.name not in _NOT_KEPT]


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value
