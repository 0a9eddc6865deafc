"""Low-rank adapters: a few small matrices beside the frozen weights of a parent, in a folder that names it.

``adapter_config.json`` and ``adapter_model.safetensors`` are in the format of peft, ``parent.json``
is the node of the parent. An adapter that peft itself wrote has none: its parent is the base model that it
names.

References:
    Hu et al., arXiv:2106.09685.
"""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import nn

from expertise_graph.core import Expert, ExpertiseError, SourceError, sha256_of_texts, write_json
from expertise_graph.models.base import ALIASES, BASES, RELATION, Backbone, Pin, SourceOptions, sources
from expertise_graph.models.card import read_card
from expertise_graph.models.layout import PARENT, existing_folder
from expertise_graph.models.lora import merge_lora
from expertise_graph.models.tensors import write_tensors
from expertise_graph.models.weights import inspect, read_object, sha256_of

if TYPE_CHECKING:
    from peft.tuners.lora import LoraLayer

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
FORMAT = "safetensors adapter"
_SETTINGS = ("r", "lora_alpha", "target_modules", "rank_pattern")


def _peft(name: str = "peft") -> Any:
    """Return peft, or a module of it, imported when an adapter is first met: that takes seconds."""
    return importlib.import_module(name)


def adaptable(module: nn.Module) -> list[str]:
    """Return the names of the layers that can have an adapter: linear ones, and ungrouped convolutions."""
    return [name for name, child in module.named_modules() if name and _is_adaptable(child)]


def add_adapter(module: nn.Module, *, rank: int) -> list[nn.Parameter]:
    """Put an adapter that changes nothing yet beside every layer that can have one; return its parameters.

    Args:
        module: any network; changed in place.
        rank: of the matrices; a layer narrower than that has one of its own width.
    """
    names = adaptable(module)
    widths = {name: _width(module.get_submodule(name)) for name in names}
    narrow = {name: width for name, width in widths.items() if width < rank}
    peft = _peft()
    config = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=names, rank_pattern=_exact(narrow))
    peft.inject_adapter_in_model(config, module)
    return [p for name, p in module.named_parameters() if "lora_" in name]


def save_adapter(module: nn.Module, parent: Expert, folder: Path) -> None:
    """Write the adapter in `module` and whose it is; the weights beside it are not written."""
    config = module.peft_config["default"].to_dict()  # type: ignore[index,union-attr]
    plain = {k: sorted(v) if isinstance(v, set) else v for k, v in config.items() if k in _SETTINGS}
    write_tensors(folder / WEIGHTS, _peft().get_peft_model_state_dict(module))
    write_json(folder / CONFIG, {"peft_type": "LORA", "base_model_name_or_path": parent.id, **plain})
    write_json(folder / PARENT, dataclasses.asdict(parent))


class AdapterSource:
    """Adapter folders; each is the expert that the adapter makes of its parent."""

    def resolve(self, locator: str, options: SourceOptions) -> Expert:
        """Read what the adapter and its parent are.

        Raises:
            NotFoundError: when there is no such folder.
            SourceError: when a part is missing or not what it claims to be.
        """
        return describe_adapter(existing_folder(locator), options)

    def load(self, expert: Expert, *, trust_code: bool = False) -> Backbone:
        """Return the parent's backbone with the adapter folded into its weights.

        Raises:
            SourceError: when the parent is gone or another one, or the adapter does not fit it.
        """
        return load_adapter(existing_folder(expert.locator), expert, trust_code=trust_code)


source = AdapterSource()


def is_adapter(root: Path) -> bool:
    """Tell whether a folder holds an adapter and no model of its own."""
    return (root / PARENT).is_file() or ((root / CONFIG).is_file() and not (root / "config.json").is_file())


def describe_adapter(
    root: Path, options: SourceOptions, pin: Pin | None = None, *, base: str | None = None
) -> Expert:
    """Return the expert that the adapter in a folder makes of its parent.

    Args:
        root: the folder.
        options: what the user declared.
        pin: where it is found again, for one from the Hub; by default in the folder.
        base: id of the expert that its parent was when it was registered; by default that of now.

    Raises:
        SourceError: when a part is missing, or the parent cannot be had.
    """
    parent, card = _parent(root, from_hub=pin is not None, pinned=base), read_card(root / "README.md")
    added = inspect(root / WEIGHTS)
    # Of an adapter that was trained here the settings follow from the matrices; others may scale them.
    settings = [] if (root / PARENT).is_file() else [sha256_of([root / CONFIG]), parent.preprocessing_sha]
    sha = sha256_of_texts([parent.weights_sha, sha256_of([root / WEIGHTS]), *settings])
    return dataclasses.replace(
        parent,
        id=(pin.id if pin else None) or f"adapter:{sha}",
        name=options.name or root.name,
        source=pin.source if pin else "adapter",
        locator=pin.locator if pin else str(root),
        revision=pin.revision if pin else None,
        params=parent.params + added,
        bytes=(root / WEIGHTS).stat().st_size,
        weights_sha=sha,
        license=(options.license or card.license or parent.license).lower(),
        base_model=parent.id,
        datasets=card.datasets,
        tags=tuple(dict.fromkeys((*options.tags, *card.tags))),
        weights_format=FORMAT,
        # Names and claims of the parent are not the adapter's.
        meta={**{k: v for k, v in parent.meta.items() if k not in (ALIASES, BASES)}, RELATION: "adapter"},
        created_at="",
    )


def load_adapter(root: Path, expert: Expert, *, trust_code: bool = False) -> Backbone:
    """Return the backbone of the parent with the adapter in a folder folded into its weights.

    Raises:
        SourceError: when the parent is gone or another one, or the adapter does not fit it.
    """
    pin = None
    if expert.source != "adapter":
        pin = Pin(source=expert.source, locator=expert.locator, revision=expert.revision, id=expert.id)
    found = describe_adapter(root, SourceOptions(), pin, base=expert.base_model)
    if found.weights_sha != expert.weights_sha:
        raise SourceError(f"the adapter in {root} changed since it was registered; register it again")
    parent = _parent(root, from_hub=pin is not None, pinned=expert.base_model)
    try:
        backbone = sources[parent.source].load(parent, trust_code=trust_code)
    except SourceError as error:
        raise SourceError(f"the parent of the adapter in {root} cannot be loaded: {error}") from error
    config = read_object(root / CONFIG)
    if not (root / PARENT).is_file():
        merge_lora(backbone.module, load_file(root / WEIGHTS), config, root)
        return backbone
    tensors = load_file(root / WEIGHTS)
    peft = _peft()
    try:
        settings = {k: v for k, v in config.items() if k in _SETTINGS}
        peft.inject_adapter_in_model(peft.LoraConfig(**settings), backbone.module)
        report: Any = peft.set_peft_model_state_dict(backbone.module, tensors)
    except (RuntimeError, ValueError, TypeError, KeyError) as error:
        raise SourceError(f"the adapter in {root} does not fit its parent {parent.name}: {error}") from error
    wanted = {name for name, _ in backbone.module.named_parameters() if "lora_" in name}
    if report.unexpected_keys or len(tensors) != len(wanted):
        raise SourceError(f"the adapter in {root} does not fit its parent {parent.name}: other tensors")
    fold(backbone.module)
    return dataclasses.replace(backbone, module=backbone.module.eval())


def fold(module: nn.Module) -> None:
    """Add every adapter to the weights that it stands beside, and take it out; done in place."""
    for parent, name, layer in list(_adapted(module)):
        layer.merge()
        setattr(parent, name, layer.get_base_layer())
    if hasattr(module, "peft_config"):
        del module.peft_config
    for parameter in module.parameters():
        parameter.requires_grad_(False)


def _adapted(module: nn.Module) -> Iterator[tuple[nn.Module, str, LoraLayer]]:
    kind = _peft("peft.tuners.lora").LoraLayer
    for path, child in module.named_modules():
        if isinstance(child, kind):
            above, _, name = path.rpartition(".")
            yield module.get_submodule(above), name, child


def _is_adaptable(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1)


def _width(layer: nn.Module) -> int:
    weight: torch.Tensor = layer.weight  # type: ignore[assignment]
    return int(min(weight.shape[0], weight[0].numel()))


def _exact(ranks: dict[str, int]) -> dict[str, int]:
    return {f"^{re.escape(name)}$": rank for name, rank in ranks.items()}


def _parent(root: Path, *, from_hub: bool, pinned: str | None) -> Expert:
    for name in (WEIGHTS, CONFIG):
        if not (root / name).is_file():
            raise SourceError(f"{root} is an adapter and lacks {name}")
    if not (root / PARENT).is_file():
        return _base_of(root, from_hub=from_hub, pinned=pinned)
    try:
        return Expert.from_dict(read_object(root / PARENT))
    except TypeError as error:
        raise SourceError(f"{root / PARENT} does not describe an expert: {error}") from error


def _base_of(root: Path, *, from_hub: bool, pinned: str | None) -> Expert:
    """Return the expert that adapter_config.json of peft names: a folder, or a repository on the Hub.

    One from the Hub names no folder of this machine. A base on the Hub stays at the commit that it had when
    the adapter was registered.
    """
    config = read_object(root / CONFIG)
    base = config.get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise SourceError(
            f"{root} is an adapter, and its {CONFIG} names no base model: write the name or folder of the "
            "one it was trained on there, as base_model_name_or_path"
        )
    base = base.removeprefix("hf:") if from_hub else base
    places = () if from_hub else (root / base, Path(base).expanduser())
    folder = next((p for p in places if p.is_dir()), None)
    revision = config.get("revision")
    if pinned is not None and pinned.startswith(f"hf:{base}@"):
        revision = pinned.removeprefix(f"hf:{base}@")
    try:
        if folder is not None:
            return sources["dir"].resolve(str(folder), SourceOptions())
        return sources["hf"].resolve(base, SourceOptions(revision=revision))
    except ExpertiseError as error:
        # Without a network, or access, it is the base that is waited for: another time it may be there.
        kind = type(error) if isinstance(error, SourceError) else SourceError
        raise kind(f"{root} is an adapter of {base}, which cannot be had: {error}") from error
