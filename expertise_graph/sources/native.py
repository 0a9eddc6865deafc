"""A trained model in transformers' own form, so that its ``AutoModelFor...`` classes read it alone.

The folder stays what the ``dir`` source reads: the backbone is found under its prefix, the
classifier beside it is passed over.
"""

from __future__ import annotations

import copy
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from expertise_graph.errors import first_line
from expertise_graph.sources.library import Quiet, load_classifier, new_classifier, save_model
from expertise_graph.sources.pooled import PooledModel

LARGEST_DIFFERENCE = 1e-4
_PROBLEMS = {
    "class": "single_label_classification",
    "labels": "multi_label_classification",
    "value": "regression",
}
# A power of two, so that dividing by it loses nothing.
_IN_TANH = 2.0**-10
_SIDE = 64
_TOKENS = 16


@dataclass(frozen=True, kw_only=True)
class NativeForm:
    """What became of the attempt to write a model in the form of its library.

    Attributes:
        architecture: the class that reads it, e.g. ResNetForImageClassification; None when the
            library has none that computes the same.
        note: one sentence for people: how to load it, or why it is not there.
        difference: largest difference of the logits, relative to the largest logit.
    """

    architecture: str | None
    note: str
    difference: float | None = None


def write_native(
    module: nn.Module, head: nn.Linear, folder: Path, *, classes: Sequence[str], kind: str = "class"
) -> NativeForm:
    """Replace the backbone in `folder` by backbone and head in one model, where the library has such a one.

    What was written is read back and compared with `module` and `head` on random inputs before
    anything in `folder` is touched.

    Args:
        module: the backbone, as a source loads it; on the CPU.
        head: the linear layer on its features.
        folder: where the backbone was saved, with its preprocessing.
        classes: their names, in the order of the rows of the head.
        kind: one class an item, several, or a value.

    Returns:
        What reads the folder; with architecture None nothing in it was changed.
    """
    if not isinstance(module, PooledModel) or not (folder / "config.json").is_file():
        return _none("the network is not a plain model of transformers")
    head = copy.deepcopy(head).cpu()
    try:
        model = _joined(module, head, classes=classes, kind=kind)
        batch = random_batch(module.model)
        difference = _difference(model, module, head, batch)
    except Exception as error:  # a model that was trained for hours must not be lost for want of a form
        return _none(first_line(error))
    name = type(model).__name__
    if difference > LARGEST_DIFFERENCE:
        return _none(
            f"{name} computes its classes from other features than the {_pooled(module)} trained here"
        )
    temporary = folder / f".{uuid.uuid4().hex}"
    try:
        save_model(model, temporary)
        difference = _read_back(temporary, module, head, batch)
        if difference > LARGEST_DIFFERENCE:
            return _none(f"{name} reads back something else than was written (off by {difference:.1e})")
        _replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return NativeForm(
        architecture=name,
        note=f"`AutoModelFor{name.partition('For')[2]}.from_pretrained` reads `{folder.name}/` alone",
        difference=difference,
    )


def random_batch(model: Any) -> dict[str, torch.Tensor]:
    """Return two random inputs of a transformers model, always the same ones; texts differ in length."""
    config, generator = model.config, torch.Generator().manual_seed(0)
    if _takes(model) == "image":
        size = getattr(config, "image_size", None) or _SIDE
        height, width = size if isinstance(size, list | tuple) else (size, size)
        shape = (2, getattr(config, "num_channels", 3), height, width)
        return {"pixel_values": torch.randn(shape, generator=generator)}
    ids = torch.randint(5, config.vocab_size, (2, _TOKENS), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, _TOKENS // 2 :] = 0
    padding = getattr(config, "pad_token_id", None) or 0
    return {"input_ids": ids.masked_fill(mask == 0, padding), "attention_mask": mask}


def _takes(model: Any) -> str:
    return "image" if model.main_input_name == "pixel_values" else "text"


def _joined(module: PooledModel, head: nn.Linear, *, classes: Sequence[str], kind: str) -> nn.Module:
    """Return the library's classifier with our backbone and head; ValueError says why there is none."""
    backbone: Any = module.model
    config = copy.deepcopy(backbone.config)
    config.id2label = dict(enumerate(classes))
    config.label2id = {name: i for i, name in enumerate(classes)}
    config.problem_type = _PROBLEMS[kind]
    model: Any = new_classifier(config, _takes(backbone))
    base = getattr(model, model.base_model_prefix, None)
    if base is None or type(base) is not type(backbone):
        raise ValueError(f"{type(model).__name__} is built on another network than {type(backbone).__name__}")
    with Quiet():
        absent = base.load_state_dict(backbone.state_dict(), strict=False).missing_keys
    if absent and not all("pooler" in name for name in absent):
        raise ValueError(f"{type(model).__name__} has weights that the backbone lacks, e.g. {absent[0]}")
    scale = _open_tanh(model, head.in_features) if module.pooling == "cls" else 1.0
    _place(head, _own_head(model, base, len(classes)), scale)
    return model.eval()  # type: ignore[no-any-return]


def _own_head(model: nn.Module, base: nn.Module, classes: int) -> nn.Linear:
    inside = {id(m) for m in base.modules()}
    outside = [m for m in model.modules() if isinstance(m, nn.Linear) and id(m) not in inside]
    if not outside or outside[-1].out_features != classes or outside[-1].bias is None:
        raise ValueError(f"{type(model).__name__} does not end in a linear layer with a bias")
    return outside[-1]


def _open_tanh(model: nn.Module, width: int) -> float:
    """Let features through a square layer and a tanh, as text classifiers have them; return their scale.

    Features so small that a tanh is the identity on them come out as they went in.
    """
    ends = ("pooler.dense", "classifier.dense")
    layers = [m for name, m in model.named_modules() if name.endswith(ends) and isinstance(m, nn.Linear)]
    if not layers or layers[-1].weight.shape != (width, width):
        return 1.0
    with torch.no_grad():
        layers[-1].weight.copy_(_IN_TANH * torch.eye(width))
        layers[-1].bias.zero_()
    return _IN_TANH


def _place(ours: nn.Linear, theirs: nn.Linear, scale: float) -> None:
    """Copy our head into theirs; what theirs sees beyond our features gets no weight."""
    width = ours.in_features
    if theirs.in_features < width:
        raise ValueError(f"its classifier takes {theirs.in_features} features, ours has {width}")
    with torch.no_grad():
        theirs.weight.zero_()
        theirs.weight[:, :width] = ours.weight / scale
        theirs.bias.copy_(ours.bias)


def _pooled(module: PooledModel) -> str:
    return {"cls": "first token", "lasttoken": "last token"}.get(module.pooling, module.pooling)


def _difference(
    model: nn.Module, module: nn.Module, head: nn.Linear, batch: dict[str, torch.Tensor]
) -> float:
    with torch.inference_mode():
        expected, found = head(module.eval()(**batch).float()), model.eval()(**batch).logits.float()
    if not bool(torch.isfinite(found).all()):
        return float("inf")
    return float((expected - found).abs().max() / expected.abs().max().clamp(min=1e-12))


def _read_back(folder: Path, module: PooledModel, head: nn.Linear, batch: dict[str, torch.Tensor]) -> float:
    try:
        return _difference(load_classifier(folder, _takes(module.model)), module, head, batch)
    except Exception:  # the library raises what it likes
        return float("inf")


def _replace(temporary: Path, folder: Path) -> None:
    """Move what is in `temporary` over the weights and the configuration in `folder`."""
    for old in folder.glob("model*.safetensors*"):
        old.unlink()
    for path in temporary.iterdir():
        path.replace(folder / path.name)


def _none(reason: str) -> NativeForm:
    return NativeForm(architecture=None, note=f"no `AutoModelFor...` reads it: {reason}")
