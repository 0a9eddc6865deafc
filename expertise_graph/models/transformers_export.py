"""A trained model in transformers' own form, so that its ``AutoModelFor...`` classes read it alone.

The folder stays what the ``dir`` source reads: the backbone is found under its prefix, the
classifier beside it is passed over.
"""

from __future__ import annotations

import copy
import dataclasses
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import nn

from expertise_graph.core import SourceError, first_line
from expertise_graph.models.base import Backbone, Batch
from expertise_graph.models.layout import POOLING_KEY
from expertise_graph.models.pooled import PooledModel
from expertise_graph.models.transformers_backend import Quiet, load_classifier, new_classifier, save_model

# Of a logit, relative to the largest one. Another order of operations gives 1e-6 to 1e-5 (LOG.md, a native
# head); a head that sees other features is off by far more.
LARGEST_DIFFERENCE = 1e-4
_PROBLEMS = {
    "class": "single_label_classification",
    "labels": "multi_label_classification",
    "value": "regression",
}
_OPENINGS = ((1.0, 0.0), (2.0**-10, 0.0), (1.0, 2.0**7))
"""Scales and shifts of features by which no activation, a tanh, and a ReLU or GELU let them through.

A tanh is the identity on features so small, the others are on features so large.
"""
# Layers between pooling and classifier that keep the width; the identity is put into them.
_SQUARE = ("pooler.dense", "classifier.dense", "pre_classifier")
_NATIVE_POOLINGS = ("cls", "pooler", "mean", "lasttoken")
# Of the random inputs that two forms are compared on: large enough for every downsampling, and quick.
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
    if not _is_plain(module) or not (folder / "config.json").is_file():
        return _none("the network is not a plain model of transformers")
    head = copy.deepcopy(head).cpu()
    try:
        batch = random_batch(module.model)
        model, difference = _joined(module, head, batch, classes=classes, kind=kind)
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


def native_features(backbone: Backbone) -> Backbone:
    """Return the expert with its features pooled as its library's own classifier does.

    A linear head on them is that classifier, so that `write_native` succeeds. Weights are shared
    with `backbone`, which is not changed.

    Raises:
        SourceError: when the library has no classifier that a linear head on some features would be.
    """
    module, reason = backbone.module, "the network is not a plain model of transformers"
    poolings = dict.fromkeys((module.pooling, *_NATIVE_POOLINGS)) if _is_plain(module) else ()
    for pooling in poolings:
        pooled = _repooled(module, pooling).eval()
        try:
            batch, head = random_batch(pooled.model), _random_head(backbone.dim)
            joined, difference = _joined(pooled, head, batch, classes=("0", "1"), kind="class")
        except Exception as error:  # of a pooling that this network does not have
            reason = first_line(error)
            continue
        if difference <= LARGEST_DIFFERENCE:
            fresh = partial(_fresh, backbone, pooling)
            return dataclasses.replace(backbone, module=pooled, fresh=fresh)
        reason = f"{type(joined).__name__} uses other features than any pooling of the last layer"
    raise SourceError(f"no head of the library fits this expert: {reason}; use the linear head")


def _is_plain(module: nn.Module) -> TypeGuard[PooledModel]:
    """Tell whether features are those of a transformers model, with nothing after its pooling."""
    return isinstance(module, PooledModel) and not hasattr(module, "after")


def _fresh(backbone: Backbone, pooling: str, seed: int) -> PooledModel:
    return _repooled(backbone.fresh(seed), pooling)


def _repooled(module: nn.Module, pooling: str) -> PooledModel:
    """Return the model with another pooling, which its configuration then names; weights are shared."""
    model: Any = copy.copy(module.model)
    if pooling != module.pooling:
        model.config = copy.deepcopy(model.config)
        setattr(model.config, POOLING_KEY, pooling)
    return PooledModel(model, pooling)


def _random_head(width: int) -> nn.Linear:
    generator = torch.Generator().manual_seed(0)
    head: nn.Linear = nn.utils.skip_init(nn.Linear, width, 2)
    with torch.no_grad():
        head.weight.normal_(generator=generator)
        head.bias.normal_(generator=generator)
    return head


def random_batch(model: Any) -> Batch:
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


def _joined(
    module: PooledModel, head: nn.Linear, batch: Batch, *, classes: Sequence[str], kind: str
) -> tuple[nn.Module, float]:
    """Return the library's classifier with our backbone and head, and how far its logits are off.

    Raises:
        ValueError: says why there is none.
    """
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
    theirs, difference = _own_head(model, base, len(classes)), float("inf")
    for scale, shift in _OPENINGS:
        if (scale, shift) == (1.0, 0.0) or _open(model, head.in_features, scale, shift):
            _place(head, theirs, scale, shift)
            difference = _difference(model.eval(), module, head, batch)
        if difference <= LARGEST_DIFFERENCE:
            break
    return model, difference


def _own_head(model: nn.Module, base: nn.Module, classes: int) -> nn.Linear:
    inside = {id(m) for m in base.modules()}
    outside = [m for m in model.modules() if isinstance(m, nn.Linear) and id(m) not in inside]
    if not outside or outside[-1].out_features != classes or outside[-1].bias is None:
        raise ValueError(f"{type(model).__name__} does not end in a linear layer with a bias")
    return outside[-1]


def _open(model: nn.Module, width: int, scale: float, shift: float) -> bool:
    """Make a square layer before the head, as text classifiers have one, scale and shift features only."""
    layers = [m for name, m in model.named_modules() if name.endswith(_SQUARE) and isinstance(m, nn.Linear)]
    if not layers or layers[-1].weight.shape != (width, width):
        return False
    with torch.no_grad():
        layers[-1].weight.copy_(scale * torch.eye(width))
        layers[-1].bias.fill_(shift)
    return True


def _place(ours: nn.Linear, theirs: nn.Linear, scale: float, shift: float) -> None:
    """Copy our head into theirs, which sees ``scale * features + shift`` and perhaps more, without weight."""
    width = ours.in_features
    if theirs.in_features < width:
        raise ValueError(f"its classifier takes {theirs.in_features} features, ours has {width}")
    with torch.no_grad():
        theirs.weight.zero_()
        theirs.weight[:, :width] = ours.weight / scale
        theirs.bias.copy_(ours.bias - shift * ours.weight.sum(dim=1))


def _pooled(module: PooledModel) -> str:
    return {"cls": "first token", "lasttoken": "last token"}.get(module.pooling, module.pooling)


def _difference(model: nn.Module, module: nn.Module, head: nn.Linear, batch: Batch) -> float:
    with torch.inference_mode():
        expected, logits = head(module.eval()(**batch).float()), model.eval()(**batch).logits.float()
    if not bool(torch.isfinite(logits).all()):
        return float("inf")
    return float((expected - logits).abs().max() / expected.abs().max().clamp(min=1e-12))


def _read_back(folder: Path, module: PooledModel, head: nn.Linear, batch: Batch) -> float:
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
