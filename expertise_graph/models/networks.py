"""Networks described by a few lines of JSON: what builds them, and how their inputs look.

``{"factory": "package.module:callable", "input": {...}}`` is code of the user and needs trust;
``{"timm": "arch.tag", "input": {...}}`` is built by timm. The network maps a batch of images
(n, channels, size, size) to features (n, d), or to feature maps (n, d, h, w).
"""

from __future__ import annotations

import dataclasses
import importlib
import io
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from expertise_graph.core import (
    FOOTPRINT,
    UNKNOWN,
    Expert,
    ExpertiseError,
    InvalidInputError,
    MissingExtraError,
    NotFoundError,
    SourceError,
    UntrustedError,
    first_line,
    setting,
    sha256_of_bytes,
    sha256_of_json,
    write_json,
)
from expertise_graph.models.base import Backbone, InputSpec, Pin, SourceOptions
from expertise_graph.models.card import CardData, read_card
from expertise_graph.models.footprint import footprint_of_images
from expertise_graph.models.preprocessing import image_collate
from expertise_graph.models.tensors import read_tensors, write_tensors
from expertise_graph.models.weights import WEIGHTS, read_object

SPEC_FILE = "network.json"


class PlainNet(nn.Module):
    """The user's network with feature maps averaged over space."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features (n, d)."""
        features: torch.Tensor = self.net(x)
        return features.mean(dim=(2, 3)) if features.ndim == 4 else features.flatten(1)


def is_network_folder(root: Path) -> bool:
    """Tell whether `root` was saved from such a network."""
    return (root / SPEC_FILE).is_file()


def describe_network_folder(root: Path, options: SourceOptions) -> Expert:
    """Return the expert in a folder saved from such a network.

    Raises:
        UntrustedError: when it needs code that is not trusted.
    """
    spec = _read_spec(root)
    require_trust(spec, options.trust_code)
    named = options if options.name else dataclasses.replace(options, name=root.name)
    pin, card = Pin(source="dir", locator=str(root)), read_card(root / "README.md")
    return describe_network(spec, root / WEIGHTS, named, pin=pin, card=card)


def load_network_folder(root: Path, expert: Expert, *, trust_code: bool) -> Backbone:
    """Return the backbone in a folder saved from such a network."""
    spec = _read_spec(root)
    require_trust(spec, trust_code)
    return load_network(spec, root / WEIGHTS, expert)


def _read_spec(root: Path) -> dict[str, Any]:
    spec = read_object(root / SPEC_FILE)
    if not isinstance(spec.get("factory", spec.get("timm")), str) or not isinstance(spec.get("input"), dict):
        raise SourceError(f"{root / SPEC_FILE} does not name what builds the network, and its input")
    return spec


def require_trust(spec: Mapping[str, Any], trust_code: bool) -> None:
    """Refuse a network built by code of the user unless that was allowed for this command.

    Raises:
        UntrustedError: naming the code.
    """
    code = spec.get("factory") or spec.get("input", {}).get("transform")
    if code and not trust_code:
        raise UntrustedError(
            f"{code} is code that would be run: set {setting('trust_code', True)} if you trust it"
        )


def describe_network(
    spec: Mapping[str, Any],
    weights: Path,
    options: SourceOptions,
    *,
    pin: Pin,
    card: CardData | None = None,
) -> Expert:
    """Return the expert that `spec` builds with `weights`, after loading it once.

    Args:
        spec: what builds the network, and its input.
        weights: file of the weights.
        options: what the user declared.
        pin: where the expert is found again.
        card: what its author states.

    Raises:
        SourceError: when the two do not fit.
    """
    (kind, built_by), card = _kind(spec), card or CardData()
    sha, state = _read_weights(weights)
    net = _build(spec, weights, state)
    dim = _width(net, spec)
    costs = footprint_of_images(
        PlainNet(net), channels=spec["input"]["channels"], side=spec["input"]["size"], name="x"
    )
    return Expert(
        id=pin.id or f"{pin.source}:{sha256_of_json([sha, dict(spec)])}",
        name=options.name or built_by.rsplit(":", 1)[-1],
        source=pin.source,
        locator=pin.locator,
        revision=pin.revision,
        modality="image",
        architecture=built_by,
        params=sum(p.numel() for p in net.parameters()),
        bytes=weights.stat().st_size,
        dim=dim,
        weights_sha=sha,
        preprocessing_sha=sha256_of_json(spec["input"]),
        license=(options.license or card.license or UNKNOWN).lower(),
        base_model=card.base_model,
        datasets=card.datasets,
        tags=tuple(dict.fromkeys((*options.tags, *card.tags))),
        trusted_code=kind == "factory",
        weights_format="safetensors" if weights.suffix == ".safetensors" else "state dict (weights only)",
        meta={
            **card.meta,
            **spec,
            "weights": str(weights),
            **({} if costs is None else {FOOTPRINT: costs.as_dict()}),
        },
    )


def _width(net: nn.Module, spec: Mapping[str, Any]) -> int:
    """Return the width of the features that the network gives for its declared input."""
    size, channels = spec["input"]["size"], spec["input"]["channels"]
    try:
        with torch.inference_mode():
            return int(PlainNet(net).eval()(torch.zeros(2, channels, size, size)).shape[1])
    except Exception as error:
        raise SourceError(
            f"{_kind(spec)[1]} does not run on (2, {channels}, {size}, {size}): {first_line(error)}; "
            f"check {setting('input_size')} and {setting('channels')}"
        ) from error


def _read_weights(weights: Path) -> tuple[str, dict[str, torch.Tensor]]:
    """Return the hash of a file of weights and its tensors, of the very bytes that were hashed."""
    if not weights.is_file():
        raise NotFoundError(f"no weights file at {weights}")
    if weights.suffix == ".safetensors":
        return read_tensors([weights])
    data = weights.read_bytes()
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        raise UntrustedError(f"{weights} is no plain state dict; save its tensors as safetensors") from error
    state = state.get("state_dict", state) if isinstance(state, dict) else {}
    tensors = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
    return sha256_of_bytes(data), tensors


def load_network(spec: Any, weights: Path, expert: Expert) -> Backbone:
    """Return the backbone, with the weights that were registered.

    Raises:
        SourceError: when they changed since.
    """
    sha, state = _read_weights(weights)
    if sha != expert.weights_sha:
        raise SourceError(f"{weights} changed since it was registered; register it again")
    return _backbone(_plain(spec), _build(spec, weights, state), expert.dim)


def new_network(spec: Mapping[str, Any], *, trust_code: bool = False) -> Backbone:
    """Return a backbone with random weights of the network that `spec` describes.

    Args:
        spec: {"timm" or "factory": what builds it, "input": the fields of an `InputSpec`}.
        trust_code: whether code of the user may be run.

    Raises:
        UntrustedError: when that would be needed and is not allowed.
        SourceError: when the network cannot be built, or does not run on its input.
    """
    require_trust(spec, trust_code)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = _new(spec)
    return _backbone(_plain(spec), net, _width(net, spec))


def _plain(spec: Mapping[str, Any]) -> dict[str, Any]:
    kind, built_by = _kind(spec)
    return {kind: built_by, "input": dict(spec["input"])}


def _backbone(spec: dict[str, Any], net: nn.Module, dim: int) -> Backbone:
    declared = InputSpec(**spec["input"])
    transform = _callable(declared.transform) if declared.transform else None

    def fresh(seed: int) -> nn.Module:
        """Return the network with random weights."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return PlainNet(_new(spec))

    return Backbone(
        module=PlainNet(net).eval(),
        collate=image_collate(declared, transform),
        dim=dim,
        modality="image",
        fresh=fresh,
        save=lambda module, folder: _save(module, spec, folder),
    )


def _kind(spec: Mapping[str, Any]) -> tuple[str, str]:
    kind = "factory" if "factory" in spec else "timm"
    return kind, str(spec[kind])


def _new(spec: Mapping[str, Any]) -> nn.Module:
    """Return the network with the random weights of torch's current generator."""
    kind, built_by = _kind(spec)
    if kind == "timm":
        created: nn.Module = import_timm().create_model(built_by, pretrained=False, num_classes=0)
        return created
    try:
        net = _callable(built_by)()
    except ExpertiseError:
        raise
    except Exception as error:
        raise SourceError(f"{built_by}() failed: {type(error).__name__}: {error}") from error
    if not isinstance(net, nn.Module):
        raise SourceError(f"{built_by} returned a {type(net).__name__}, a torch.nn.Module is needed")
    return net


def import_timm() -> Any:
    """Return the timm module.

    Raises:
        MissingExtraError: when it is not installed, or its torchvision does not fit torch.
    """
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise MissingExtraError(
            f"timm is needed ({error}); run: pip install 'expertise-graph[timm]'"
        ) from error
    except RuntimeError as error:
        raise MissingExtraError(
            f"timm cannot be imported ({str(error).splitlines()[0]}); install the torchvision "
            "build that belongs to this torch"
        ) from error


def _build(spec: Mapping[str, Any], weights: Path, state: Mapping[str, torch.Tensor]) -> nn.Module:
    net = _new(spec)
    try:
        report = net.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise SourceError(
            f"{weights} does not fit {_kind(spec)[1]}: {str(error).splitlines()[-1]}"
        ) from error
    if report.missing_keys:
        missing = ", ".join(report.missing_keys[:3])
        raise SourceError(
            f"{weights} lacks {len(report.missing_keys)} tensors of {_kind(spec)[1]}: {missing}"
        )
    return net


def _callable(path: str) -> Callable[..., Any]:
    """Import what ``package.module:name`` points to, from the current folder as well."""
    module_name, _, name = path.partition(":")
    if not module_name or not name:
        raise InvalidInputError(f"{path!r} is not of the form package.module:callable")
    try:
        with _current_folder_importable():
            target = getattr(importlib.import_module(module_name), name)
    except Exception as error:
        raise SourceError(f"{path} cannot be imported: {error}") from error
    result: Callable[..., Any] = target
    return result


@contextmanager
def _current_folder_importable() -> Iterator[None]:
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


def _save(module: nn.Module, spec: Mapping[str, Any], folder: Path) -> None:
    # Clones, because tensors that share their memory, as tied weights do, cannot be written.
    state = {k: v.clone() for k, v in module.net.state_dict().items()}  # type: ignore[union-attr]
    write_tensors(folder / WEIGHTS, state)
    write_json(folder / SPEC_FILE, dict(spec))
