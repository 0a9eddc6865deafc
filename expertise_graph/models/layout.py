"""Where the parts of a checkpoint folder are, in the layout of transformers or sentence-transformers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expertise_graph.core import (
    InvalidInputError,
    NotFoundError,
    SourceError,
    UntrustedError,
    did_you_mean,
    read_json,
    write_json,
)
from expertise_graph.models.weights import read_object

PREPROCESSING = (
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "modules.json",
    "1_Pooling/config.json",
    "sentence_bert_config.json",
)
DESCRIPTIONS = ("config_sentence_transformers.json", "features.json")
"""Files that are part of what a model is under the newest rules only, see `recipe`."""
PARENT = "parent.json"
"""Names the expert that the adapter beside it belongs to."""

MODULES = ("Transformer", "Pooling", "Dense", "Normalize", "Dropout")
_WITHOUT_FILES = ("Normalize", "Dropout")
POOLINGS = ("mean", "cls", "max", "lasttoken", "pooler")
POOLING_KEY = "feature_pooling"
"""In config.json: what the weights were trained with, where it is not what we would choose."""
ALLOWED = (
    "config.json",
    "model.safetensors",
    "model*.safetensors*",
    "adapter_config.json",
    "adapter_model.safetensors",
    "README.md",
    "*_Dense/config.json",
    "*_Dense/model.safetensors",
    *PREPROCESSING,
    *DESCRIPTIONS,
)


@dataclass(frozen=True)
class Layout:
    """Where the parts of a checkpoint folder are."""

    root: Path
    model: Path
    pooling: str | None


def read_layout(root: Path) -> Layout:
    """Return where model and pooling are, by modules.json or config.json; the pooling may be left open.

    Raises:
        UntrustedError: for modules that are not read.
        SourceError: when a path leads out of the folder, or no model is there.
    """
    if not (root / "modules.json").is_file():
        return Layout(root, root, _declared_pooling(root / "config.json"))
    model, pooling = root, "mean"
    for kind, folder in module_folders(root):
        if kind == "Transformer":
            model = folder
        elif kind == "Pooling":
            pooling = _pooling(read_object(folder / "config.json"))
    return Layout(root, model, pooling)


def module_folders(root: Path) -> list[tuple[str, Path]]:
    """Return the kind and folder of each module that modules.json names, in their order.

    Raises:
        UntrustedError: for modules that are not read.
        SourceError: when a path leads out of the folder.
    """
    found = []
    for module in _modules(root / "modules.json"):
        kind, path = str(module.get("type", "")).rsplit(".", 1)[-1], str(module.get("path", ""))
        if kind not in MODULES:
            raise UntrustedError(
                f"module {kind!r} of {root} is code that is not read; possible are {', '.join(MODULES)}"
            )
        folder = root / path
        if kind not in _WITHOUT_FILES and (
            not folder.resolve().is_relative_to(root.resolve()) or not folder.is_dir()
        ):
            raise SourceError(f"modules.json of {root} names {path!r}, which is no folder inside it")
        found.append((kind, folder))
    return found


def _modules(path: Path) -> list[dict[str, Any]]:
    try:
        modules = read_json(path)
    except InvalidInputError as error:
        raise SourceError(str(error)) from error
    if not isinstance(modules, list) or not all(isinstance(m, dict) for m in modules):
        raise SourceError(f"{path} holds no list of modules")
    return modules


def _declared_pooling(path: Path) -> str | None:
    named = read_object(path).get(POOLING_KEY) if path.is_file() else None
    if named is not None and named not in POOLINGS:
        raise SourceError(f"{path} asks for the pooling {named!r}: {', '.join(POOLINGS)} are known")
    return named


def write_pooling(folder: Path, pooling: str) -> None:
    """Change the pooling that modules.json of a folder, where there is one, leads to."""
    parts = _modules(folder / "modules.json") if (folder / "modules.json").is_file() else []
    for name in (m["path"] for m in parts if str(m.get("type", "")).endswith("Pooling")):
        path = folder / name / "config.json"
        kept = {k: v for k, v in read_object(path).items() if not k.startswith("pooling_mode")}
        write_json(path, {**kept, "pooling_mode": pooling})


def _pooling(config: dict[str, Any]) -> str:
    named = config.get("pooling_mode")
    if isinstance(named, str) and named in POOLINGS:
        return named
    keys = {
        "cls": "pooling_mode_cls_token",
        "max": "pooling_mode_max_tokens",
        "lasttoken": "pooling_mode_lasttoken",
    }
    return next((pooling for pooling, key in keys.items() if config.get(key) is True), "mean")


def existing_folder(locator: str) -> Path:
    """Return the absolute path of a folder that must exist.

    Raises:
        NotFoundError: naming the nearest folder there is.
    """
    if "\0" in locator:
        raise NotFoundError(f"{locator!r} is not a path")
    path = Path(locator).expanduser().absolute()
    try:
        if path.is_dir():
            return path.resolve()
        is_file = path.is_file()
        # A file is no suggestion where a folder is wanted.
        siblings = [p.name for p in path.parent.iterdir() if p.is_dir()] if path.parent.is_dir() else []
    except OSError as error:
        raise NotFoundError(f"{locator[:80]!r} cannot be read: {error.strerror}") from error
    if is_file:
        raise NotFoundError(f"no folder at {path}: it is a file; give the folder that a model is in")
    raise NotFoundError(f"no folder at {path}.{did_you_mean(path.name, siblings)}")
