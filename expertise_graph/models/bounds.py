"""Bounds for what a stranger's model folder asks for, checked before memory or time is taken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn
from torch.nn.modules import module as registry

from expertise_graph.core import SourceError
from expertise_graph.models.weights import read_object

# Networks of a thousand layers have some ten thousand parts; to build as many takes seconds.
_MOST_MODULES = 20_000
# Numbers that a network computes for itself, such as masks and tables of positions.
_MOST_BUFFERED = 100_000_000
# Pixels of a side. Published models take 1,536 at most; 32 images of 2,048 take 1.6 GB.
MOST_PIXELS = 2048
# Configurations of models of 22,000 classes, whose names they hold, take 3 MB.
_MOST_BYTES = 8 << 20
_SMALL = (
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "modules.json",
)
# How many times longer rules of a tokenizer may make a text; those of published ones keep its length.
_MOST_GROWTH = 64
# Sides of images in the preprocessing, whatever it calls them.
_SIDES = ("size", "crop_size", "pad_size", "resize_size", "max_image_size", "image_size")


class TooLargeError(Exception):
    """A network has more parts than any model; raised while it is built."""


@contextmanager
def building(most: int) -> Iterator[None]:
    """Stop a network that is being built once it has too many layers, parameters or numbers of its own.

    Args:
        most: parameters.

    Raises:
        TooLargeError: at the first layer or tensor too many.
    """
    counts = {"layers": 0, "parameters": 0, "numbers in buffers": 0}
    limits = {"layers": _MOST_MODULES, "parameters": most, "numbers in buffers": _MOST_BUFFERED}

    def add(kind: str, n: int) -> None:
        counts[kind] += n
        if counts[kind] > limits[kind]:
            raise TooLargeError(f"it has more than {limits[kind]:,} {kind}")

    def on_module(_: nn.Module, __: str, part: nn.Module | None) -> None:
        add("layers", part is not None)

    def on_parameter(_: nn.Module, __: str, tensor: Any) -> None:
        add("parameters", 0 if tensor is None else tensor.numel())

    def on_buffer(_: nn.Module, __: str, tensor: Any) -> None:
        add("numbers in buffers", 0 if tensor is None else tensor.numel())

    handles = (
        registry.register_module_module_registration_hook(on_module),
        registry.register_module_parameter_registration_hook(on_parameter),
        registry.register_module_buffer_registration_hook(on_buffer),
    )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def check_folder(folder: Path) -> None:
    """Refuse settings that are larger than those of any model.

    Raises:
        SourceError: naming the file.
    """
    for name in _SMALL:
        path = folder / name
        if path.is_file() and path.stat().st_size > _MOST_BYTES:
            raise SourceError(f"{path} is larger than {_MOST_BYTES >> 20} MiB, and no configuration is")


def check_sides(folder: Path) -> None:
    """Refuse a preprocessing that makes images too large to hold a batch of them.

    Raises:
        SourceError: naming the side.
    """
    path = folder / "preprocessor_config.json"
    content = read_object(path) if path.is_file() else {}
    for name in _SIDES:
        side = max(_numbers(content.get(name)), default=0)
        if side > MOST_PIXELS:
            raise SourceError(
                f"{path} makes images of {side:,} pixels a side ({name}); {MOST_PIXELS:,} are possible"
            )


def declared_side(folder: Path) -> int | None:
    """Return the pixels of a side of the images that a preprocessing makes; None where it does not say."""
    path = folder / "preprocessor_config.json"
    content = read_object(path) if path.is_file() else {}
    names = ("crop_size", "size") if content.get("do_center_crop") else ("size",)
    return next((side for name in names if (side := max(_numbers(content.get(name)), default=0))), None)


def check_rules(folder: Path) -> None:
    """Refuse a tokenizer whose rules make a text many times longer.

    Raises:
        SourceError: saying how many times.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        return
    content, growth = read_object(path), 1
    for part in ("normalizer", "pre_tokenizer"):
        for rule in _rules(content.get(part)):
            growth *= max(1, len(str(rule.get("content", rule.get("prepend", "")))))
    if growth > _MOST_GROWTH:
        raise SourceError(
            f"the rules of {path} make a text up to {growth:,} times longer; {_MOST_GROWTH} are possible"
        )


def _numbers(value: Any) -> list[int]:
    if isinstance(value, bool):
        return []
    if isinstance(value, int | float):
        return [int(value)]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [number for part in parts for number in _numbers(part)]


def _rules(value: Any) -> Iterator[dict[str, Any]]:
    """Yield the rules in a part of tokenizer.json that put something in place of something."""
    if isinstance(value, dict):
        if value.get("type") in ("Replace", "Prepend"):
            yield value
        for part in value.values():
            yield from _rules(part)
    elif isinstance(value, list):
        for part in value:
            yield from _rules(part)
