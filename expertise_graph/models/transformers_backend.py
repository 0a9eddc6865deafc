"""The transformers library: configurations, models and preprocessing of a local folder, without its code."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from expertise_graph.core import (
    MissingExtraError,
    SourceError,
    UntrustedError,
    count,
    disk_errors,
    first_line,
    reason_of,
    setting,
)
from expertise_graph.models.architectures import class_of
from expertise_graph.models.bounds import TooLargeError, building, check_folder, check_rules, check_sides
from expertise_graph.models.weights import WeightFiles, read_object

if TYPE_CHECKING:
    from transformers import PretrainedConfig

# The deepest published models have about 200. A configuration that asks for a million would fill the memory
# before its weights are compared with it.
_MAX_LAYERS = 1000

# What would be fetched from the Hub, or imported from other packages.
_CODE_KEYS = (
    "_attn_implementation",
    "_attn_implementation_internal",
    "_experts_implementation",
    "attn_implementation",
    "auto_map",
    "custom_pipelines",
    "experts_implementation",
    # Of a head that is not built; a number of labels alone makes a library name each of them.
    "id2label",
    "label2id",
    "num_labels",
    "quantization_config",
    "trust_remote_code",
)

_CLASSIFIERS = {"image": "AutoModelForImageClassification", "text": "AutoModelForSequenceClassification"}


def _library(name: str) -> Any:
    """Return a class or module of transformers, which is imported when it is first used.

    The package takes half a second, its image processors two more.

    Raises:
        MissingExtraError: when it cannot be imported.
    """
    try:
        return getattr(importlib.import_module("transformers"), name)
    except (ImportError, RuntimeError) as error:
        raise MissingExtraError(
            f"transformers cannot be imported ({type(error).__name__}); most often a torchvision of another "
            "torch is in the way: install the one that belongs to this torch, or pip uninstall torchvision"
        ) from error


def read_content(folder: Path) -> dict[str, Any]:
    """Return what config.json in a folder says, without what would fetch or run code.

    Raises:
        SourceError: when it is no object, or asks for more layers than any model has.
    """
    check_folder(folder)
    content = read_object(folder / "config.json")
    if (layers := _declared_layers(content)) > _MAX_LAYERS:
        raise SourceError(f"config.json of {folder} declares {layers} layers; at most {_MAX_LAYERS} are read")
    return content


def read_config(folder: Path, content: dict[str, Any] | None = None) -> PretrainedConfig:
    """Return the configuration in a folder.

    Args:
        folder: of the model.
        content: of its config.json, where it was read before.

    Raises:
        UntrustedError: when it needs code of its own.
        SourceError: when it is of no known kind, or asks for more layers than any model has.
    """
    content = read_content(folder) if content is None else content
    kind = content.get("model_type")
    try:
        with Quiet():
            config: PretrainedConfig = _library("CONFIG_MAPPING")[kind].from_dict(_without_code(content))
        return config
    except Exception as error:
        if "auto_map" in content:
            raise UntrustedError(
                f"{folder} needs code of its own (auto_map), which is not run; wrap it as "
                f"factory:package.module:callable with {setting('trust_code', True)}"
            ) from error
        raise SourceError(
            f"config.json of {folder} is not usable (model_type {kind!r}): {reason_of(error)}"
        ) from error


def _without_code(content: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration, and the parts of it, without the keys that name code to fetch or run."""
    return {
        key: _without_code(value) if isinstance(value, dict) else value
        for key, value in content.items()
        if key not in _CODE_KEYS
    }


def _declared_layers(content: dict[str, Any]) -> int:
    """Return the largest number of layers, or sum of depths, that a configuration asks for."""
    most = 0
    for key, value in content.items():
        if isinstance(value, dict):
            most = max(most, _declared_layers(value))
        elif key.endswith(("layers", "layer", "depth", "depths", "blocks", "repeats")):
            parts = value if isinstance(value, list) else [value]
            most = max(most, sum(p for p in parts if isinstance(p, int)))
    return most


def build_skeleton(config: PretrainedConfig, folder: Path, weights: WeightFiles) -> nn.Module:
    """Return the model without memory for its weights; refuse one far larger than its file.

    Raises:
        SourceError: when none can be built, or the configuration belongs to other weights.
    """
    most = 2 * weights.params + 10_000_000
    try:
        with torch.device("meta"), building(2 * most):
            model = new_model(config)
    except TooLargeError as error:
        raise _strangers(folder, weights, str(error)) from error
    except Exception as error:
        raise SourceError(
            f"config.json of {folder} describes no model that can be built: {first_line(error)}"
        ) from error
    size = sum(p.numel() for p in model.parameters())
    if size > most:
        raise _strangers(folder, weights, f"it has {size:,} parameters")
    return model


def _strangers(folder: Path, weights: WeightFiles, what: str) -> SourceError:
    return SourceError(
        f"config.json of {folder} describes another model than its weights, which hold {weights.params:,} "
        f"parameters: {what}; the two do not belong together"
    )


def load_model(folder: Path, config: PretrainedConfig, state: dict[str, torch.Tensor]) -> nn.Module:
    """Return the model of a configuration with its weights; refuse when any but a head or pooler is missing.

    Args:
        folder: for messages.
        config: of the model.
        state: its tensors by the names they have in the file.

    Raises:
        SourceError: when the weights are not those of the model.
    """
    try:
        with Quiet():
            reader = _class_of(config)
            # The library's error about shapes names none of them; its report does.
            model, report = reader.from_pretrained(
                None,
                config=config,
                state_dict=state,
                dtype=torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
    except Exception as error:
        raise SourceError(f"the weights in {folder} do not load: {first_line(error)}") from error
    if others := sorted(report["mismatched_keys"]):
        name, held, expected = others[0]
        raise SourceError(
            f"the weights in {folder} are not those of its config.json: {name} is {_shape(held)}, where the "
            f"configuration asks for {_shape(expected)}{_and_more(len(others) - 1)}"
        )
    missing = [k for k in report["missing_keys"] if "pooler" not in k and "position_ids" not in k]
    if missing:
        raise SourceError(
            f"the weights in {folder} lack {len(missing)} tensors of the model, e.g. {missing[0]}"
        )
    result: nn.Module = model
    return result


def _shape(size: Sequence[int]) -> str:
    return " x ".join(map(str, size))


def _and_more(n: int) -> str:
    return f"; {count(n, 'other tensor')} {'differs' if n == 1 else 'differ'}, too" if n else ""


def new_model(config: PretrainedConfig) -> nn.Module:
    """Return the model with the random weights of torch's current generator.

    Raises:
        ValueError: when the library has none, as of a configuration of a part of a model.
    """
    reader = _reader_of(config)
    with Quiet():
        model: nn.Module = reader.from_config(config) if hasattr(reader, "from_config") else reader(config)
    return model


def _class_of(config: PretrainedConfig) -> Any:
    """Return the class of the model of a configuration; of several, the one that it names itself."""
    reader = _reader_of(config)
    if not hasattr(reader, "from_config"):
        return reader
    classes = reader._model_mapping[type(config)]
    if not isinstance(classes, tuple):
        return classes
    with torch.device("meta"):
        return type(reader.from_config(config))


def _reader_of(config: PretrainedConfig) -> Any:
    reader = _library(class_of(config))
    # The library would import all its models, for fifteen seconds, to name them in its error.
    if hasattr(reader, "from_config") and type(config) not in reader._model_mapping:
        raise ValueError(f"{type(config).__name__} is not the configuration of a whole model")
    return reader


def new_classifier(config: PretrainedConfig, modality: str) -> nn.Module:
    """Return the library's own classifier of that architecture, with random weights.

    Raises:
        ValueError: when it has none.
    """
    try:
        with torch.random.fork_rng(devices=[]), Quiet():
            model: nn.Module = _library(_CLASSIFIERS[modality]).from_config(config)
            return model
    except Exception as error:
        raise ValueError(f"transformers has no {modality} classifier of {config.model_type}") from error


def load_classifier(folder: Path, modality: str) -> nn.Module:
    """Return the library's own classifier as a user of it would read it from a folder."""
    with Quiet():
        model: nn.Module = _library(_CLASSIFIERS[modality]).from_pretrained(
            folder, use_safetensors=True, trust_remote_code=False, local_files_only=True, dtype=torch.float32
        )
    return model


def load_image_processor(folder: Path) -> Any:
    """Return the image processor in a folder.

    Raises:
        SourceError: when it cannot be read, or makes images that are too large.
    """
    check_sides(folder)
    return _opened("AutoImageProcessor", folder)


def load_tokenizer(folder: Path) -> Any:
    """Return the tokenizer in a folder, with something to pad with.

    Raises:
        SourceError: when it cannot be read, or has rules that make a text many times longer.
    """
    check_rules(folder)
    tokenizer = _opened("AutoTokenizer", folder)
    if tokenizer.pad_token is None:
        # Any token does: what is padding is left out of attention and of the features.
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    return tokenizer


def save_model(model: nn.Module, folder: Path) -> None:
    """Write configuration and weights of a transformers model as safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    with Quiet(), disk_errors():
        model.save_pretrained(folder, safe_serialization=True)  # type: ignore[operator]


def expand_gguf(file: Path, folder: Path) -> None:
    """Write the model and the tokenizer of a GGUF file as safetensors in float32.

    Raises:
        Exception: whatever its reader does with a file that it cannot read.
    """
    settings = {"gguf_file": file.name, "trust_remote_code": False, "local_files_only": True}
    with Quiet():
        tokenizer = _library("AutoTokenizer").from_pretrained(file.parent, **settings)
        model = _library("AutoModel").from_pretrained(file.parent, dtype=torch.float32, **settings)
    # Its weights are numbers like any others now, and are to be written as such.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    save_model(model, folder)
    tokenizer.save_pretrained(folder)


def _opened(name: str, folder: Path) -> Any:
    reader = _library(name)
    try:
        return reader.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:
        raise SourceError(f"the preprocessing in {folder} does not load: {first_line(error)}") from error


def set_lower_case(tokenizer: Any) -> None:
    """Let a tokenizer set texts in lower case before all else, unless it does so already."""
    normalizers: Any = importlib.import_module("tokenizers.normalizers")
    backend = tokenizer.backend_tokenizer
    if '"Lowercase"' in backend.to_str() or '"lowercase":true' in backend.to_str().replace(" ", ""):
        return
    old = [] if backend.normalizer is None else [backend.normalizer]
    backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *old])


class Quiet:
    """Keep transformers' own bars and load reports off the terminal; ours says what goes on."""

    def __enter__(self) -> None:
        self._logging = _library("utils").logging
        self._level = self._logging.get_verbosity()
        self._bars = self._logging.is_progress_bar_enabled()
        self._logging.set_verbosity_error()
        self._logging.disable_progress_bar()

    def __exit__(self, *_: object) -> None:
        self._logging.set_verbosity(self._level)
        if self._bars:
            self._logging.enable_progress_bar()
