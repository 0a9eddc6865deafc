"""What a folder of sentence-transformers does beside its transformer: pooling, layers after it, prompts.

References:
    Reimers and Gurevych, arXiv:1908.10084; the files as version 6.2 of the package reads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from expertise_graph.core import SourceError, UntrustedError, write_json
from expertise_graph.models.layout import Layout, module_folders
from expertise_graph.models.pooled import MODES
from expertise_graph.models.tensors import write_tensors
from expertise_graph.models.weights import WEIGHTS, inspect, read_object

PROMPTS = "config_sentence_transformers.json"
_TRANSFORMER = "sentence_bert_config.json"
_ACTIVATIONS = ("ELU", "GELU", "Identity", "LeakyReLU", "Mish", "ReLU", "SiLU", "Sigmoid", "Softplus", "Tanh")
_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


class Dense(nn.Module):
    """A linear layer with an activation, and perhaps the input added."""

    def __init__(self, size: tuple[int, int], *, bias: bool, activation: nn.Module, residual: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(*size, bias=bias)
        self.activation = activation
        self.adds_input = residual
        if residual and size[0] != size[1]:
            self.residual = nn.Linear(*size, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, out) from (n, in)."""
        out: torch.Tensor = self.activation(self.linear(x))
        if not self.adds_input:
            return out
        return out + (self.residual(x) if hasattr(self, "residual") else x)


class Normalize(nn.Module):
    """Rows of length one."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, d)."""
        return nn.functional.normalize(x, p=2, dim=1)


@dataclass(frozen=True, kw_only=True)
class TextModules:
    """What modules.json and the files it names say.

    Attributes:
        pooling: modes joined by "+", in the order in which they are concatenated.
        after: folders of the layers after it, None for a normalisation.
        lower: whether texts are set in lower case first.
        max_length: tokens that texts are cut to, if it is named.
        prompts: what may be put before a text, by name.
        prompt: the default one.
    """

    pooling: str
    after: tuple[Path | None, ...] = ()
    lower: bool = False
    max_length: int | None = None
    prompts: dict[str, str]
    prompt: str = ""

    def layers(self, width: int) -> tuple[nn.Sequential, int]:
        """Return the layers after the pooling with random weights, and the width of what they give."""
        layers: list[nn.Module] = []
        for folder in self.after:
            layer = Normalize() if folder is None else _dense(folder)
            if isinstance(layer, Dense):
                if layer.linear.in_features != width:
                    raise SourceError(f"{folder} takes {layer.linear.in_features} features and gets {width}")
                width = layer.linear.out_features
            layers.append(layer)
        return nn.Sequential(*layers), width

    def load(self, layers: nn.Sequential) -> None:
        """Read the weights of the layers.

        Raises:
            SourceError: when they are missing or do not fit.
        """
        for folder, layer in zip(self.after, layers, strict=True):
            if folder is None:
                continue
            inspect(folder / WEIGHTS)
            try:
                layer.load_state_dict(load_file(folder / WEIGHTS))
            except RuntimeError as error:
                raise SourceError(f"{folder / WEIGHTS} does not fit its config.json") from error

    def save(self, layers: nn.Sequential, root: Path, target: Path) -> None:
        """Write the layers, with their configurations, to the same places below `target` as below `root`."""
        for folder, layer in zip(self.after, layers, strict=True):
            if folder is not None:
                place = target / folder.relative_to(root)
                place.mkdir(parents=True, exist_ok=True)
                write_json(place / "config.json", read_object(folder / "config.json"))
                write_tensors(place / WEIGHTS, layer.state_dict())

    @property
    def files(self) -> list[Path]:
        """Files that decide what comes after the transformer."""
        return [f / name for f in self.after if f is not None for name in ("config.json", WEIGHTS)]


def read_modules(layout: Layout) -> TextModules | None:
    """Return what is beside the transformer, None for a folder of transformers alone.

    Raises:
        SourceError: when a part is missing or not what it claims to be.
        UntrustedError: for weights in a format that can run code, or modules that are not read.
    """
    if not (layout.root / "modules.json").is_file():
        return None
    pooling, after = "mean", list[Path | None]()
    for kind, folder in module_folders(layout.root):
        if kind == "Pooling":
            pooling = _pooling(folder)
        elif kind == "Normalize":
            after.append(None)
        elif kind == "Dense":
            _dense(folder)
            after.append(folder)
    settings = _first_object(layout.model / _TRANSFORMER, layout.root / _TRANSFORMER)
    named = _first_object(layout.root / PROMPTS)
    prompts = named.get("prompts")
    prompts = {k: v for k, v in prompts.items() if isinstance(v, str)} if isinstance(prompts, dict) else {}
    length = settings.get("max_seq_length")
    return TextModules(
        pooling=pooling,
        after=tuple(after),
        lower=settings.get("do_lower_case") is True,
        max_length=length if isinstance(length, int) and length > 0 else None,
        prompts=prompts,
        prompt=prompts.get(str(named.get("default_prompt_name")), ""),
    )


def _first_object(*paths: Path) -> dict[str, Any]:
    return next((read_object(path) for path in paths if path.is_file()), {})


def _pooling(folder: Path) -> str:
    config = read_object(folder / "config.json")
    named = config.get("pooling_mode")
    if named is None:
        named = [mode for flag, mode in _FLAGS.items() if config.get(flag) is True] or ["mean"]
    modes = [named] if isinstance(named, str) else named
    if not isinstance(modes, list) or not modes or not all(mode in MODES for mode in modes):
        raise SourceError(f"{folder} asks for the pooling {named!r}: {', '.join(MODES)} are known")
    if config.get("include_prompt", True) is not True:
        raise SourceError(f"{folder} leaves the prompt out of the pooling, which is not supported")
    return "+".join(modes)


def _dense(folder: Path) -> Dense:
    config = read_object(folder / "config.json")
    sizes = (config.get("in_features"), config.get("out_features"))
    name = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    kind = name.rpartition(".")[2]
    if not name.startswith("torch.nn.") or kind not in _ACTIVATIONS:
        raise UntrustedError(
            f"{folder} asks for the activation {name}: possible are {', '.join(_ACTIVATIONS)}"
        )
    if config.get("module_input_name", "sentence_embedding") != "sentence_embedding":
        raise SourceError(f"{folder} is a layer on tokens; only layers after the pooling are read")
    if not all(isinstance(size, int) and 0 < size <= _WIDEST for size in sizes):
        raise SourceError(f"{folder} has {sizes} features: 1 to {_WIDEST} are possible")
    if not (folder / WEIGHTS).is_file():
        raise UntrustedError(
            f"{folder} has no {WEIGHTS}: other formats can run code, convert it where you trust it"
        )
    held = inspect(folder / WEIGHTS)
    # Before memory is taken for it.
    if int(sizes[0]) * int(sizes[1]) > held:  # type: ignore[arg-type]
        raise SourceError(f"{folder} declares {sizes} features and its weights hold {held:,} numbers")
    return Dense(
        (int(sizes[0]), int(sizes[1])),  # type: ignore[arg-type]
        bias=config.get("bias", True) is True,
        activation=getattr(nn, kind)(),
        residual=config.get("use_residual") is True,
    )


# The widest features of published encoders are about 8,000.
_WIDEST = 1 << 16
