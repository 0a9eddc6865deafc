"""Learning rates of every parameter, their schedule, and regularisation towards pretrained weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

from torch import nn

from expertise_graph.models import Classifier
from expertise_graph.training.config import TrainConfig
from expertise_graph.training.strategy import Strategy

FIRST_STAGE_LR = 0.3
"""Learning rate of the first stage as a fraction of the last one's; geometric in between.

Four pairs of glyph tasks: .845, and .807 with equal rates.
"""
SCRATCH_LR_BATCH_NORM = 6.0
"""Multiple of the learning rate from scratch, with batch normalisation.

Four pairs of glyph tasks: .41 at 1, .49 at 3, .54 at 6, .55 at 10.
"""
SCRATCH_LR = 0.5
"""The same for other networks; not measured, set low because transformers diverge at high rates."""
UNFREEZING = 0.5
"""Fraction of the training after which the first stage is unfrozen too, with gradual unfreezing.

The last one is trained from the start (Howard and Ruder, arXiv:1801.06146). Others were not measured.
"""
WARM_UP = 0.1
"""Fraction of the training in which the learning rate rises: the first steps of AdamW would be too large."""


def find_stages(module: nn.Module) -> nn.ModuleList | nn.Sequential | None:
    """Return the chain of blocks that holds most of the module's weights, or None."""
    best, most = None, 0
    for child in module.modules():
        if not isinstance(child, nn.ModuleList | nn.Sequential):
            continue
        sizes = [size for size in (_size(block) for block in child) if size]
        if len(sizes) >= 2 and sum(sizes) > most:
            best, most = child, sum(sizes)
    return best


def depths(module: nn.Module) -> dict[str, float]:
    """Return for each parameter how deep it sits: 0 for what precedes the blocks, 1 for the last block on.

    Parameters are taken in the order in which they were defined, which for a chain of blocks is
    that of the computation. A module without a chain of blocks has depth 1 everywhere.
    """
    stages = find_stages(module)
    if stages is None:
        return {name: 1.0 for name, _ in module.named_parameters()}
    level = {id(p): i + 1 for i, block in enumerate(stages) for p in block.parameters()}
    found, reached = {}, 0
    for name, parameter in module.named_parameters():
        reached = level.get(id(parameter), len(stages) if reached else 0)
        found[name] = reached / len(stages)
    return found


def parameter_groups(model: Classifier, config: TrainConfig) -> list[dict[str, Any]]:
    """Return one group for AdamW per learning rate, decay and start, the head's last.

    "peak" holds the peak learning rate of a group, "share" what it is of the head's, "opens" the fraction of
    the training after which it is unfrozen. Weight decay acts on matrices only, not on biases and scales.
    """
    groups: dict[tuple[float, float, float], list[nn.Parameter]] = {}
    for parameter, share, opens in _rates(model, config.way):
        if parameter.requires_grad:
            decay = config.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((share, decay, opens), []).append(parameter)
    found = [
        {"params": parameters, "share": share, "weight_decay": decay, "opens": opens}
        for (share, decay, opens), parameters in groups.items()
    ]
    set_peaks(found, config.peak_lr)
    return found


def set_peaks(groups: Iterable[dict[str, Any]], lr: float) -> None:
    """Set the peak learning rate of each group of `parameter_groups`, for that of the head."""
    for group in groups:
        group["lr"] = group["peak"] = lr * group["share"]


def _rates(model: Classifier, way: Strategy) -> Iterator[tuple[nn.Parameter, float, float]]:
    """Yield each parameter, its fraction of the learning rate, and when it is unfrozen."""
    depth = depths(model.backbone)
    scratch = scratch_lr(model.backbone)
    for name, parameter in model.backbone.named_parameters():
        share = way.lr * FIRST_STAGE_LR ** (1 - depth[name]) if way.pretrained else scratch
        yield parameter, share, UNFREEZING * (1 - depth[name]) if way.unfreezes else 0.0
    for parameter in model.head.parameters():
        yield parameter, 1.0 if way.pretrained else scratch, 0.0


class Anchor:
    """L2 regularisation of the weights towards their starting point, and of the new head towards zero.

    The gradient of ``prior/2 (|w - w0|^2 + |head|^2)``, added to that of the loss.

    References:
        Li et al., arXiv:1802.01483, L2-SP.
    """

    def __init__(self, model: Classifier, prior: float) -> None:
        self.prior = prior
        moving = [p for p in model.backbone.parameters() if p.requires_grad]
        self._starts = [(p, p.detach().clone()) for p in moving]
        self._head = model.head.weight

    def pull(self) -> None:
        """Add to the gradients."""
        for parameter, start in self._starts:
            if parameter.grad is not None:
                parameter.grad.add_(parameter.detach() - start.to(parameter.device), alpha=self.prior)
        if self._head.grad is not None:
            self._head.grad.add_(self._head.detach(), alpha=self.prior)


def scratch_lr(module: nn.Module) -> float:
    """Return the learning rate from scratch as a multiple of the configured one.

    Batch normalisation makes the loss indifferent to the scale of the weights, and such networks
    learn from few items only with large steps; others, transformers above all, diverge with them.
    """
    return SCRATCH_LR_BATCH_NORM if has_batch_norm(module) else SCRATCH_LR


def cosine_schedule(fraction: float) -> float:
    """Return the learning rate after `fraction` of the training, as a fraction of its peak.

    Linear warm-up over the first tenth, then half a cosine down to zero.

    Example:
        >>> [round(cosine_schedule(f), 3) for f in (0, 0.05, 0.1, 0.55, 1)]
        [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if fraction < WARM_UP:
        return fraction / WARM_UP
    return (1 + math.cos(math.pi * min(1.0, (fraction - WARM_UP) / (1 - WARM_UP)))) / 2


def hold_batch_norm(module: nn.Module) -> None:
    """Freeze the statistics of batch normalisation at those it was pretrained with.

    Six letters a class from experts of other scripts: accuracy of the last epoch .845 held, .836
    with statistics of the batch; on letters in inverted colours .665 held, .473 not.
    """
    for child in module.modules():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            child.eval()


def has_batch_norm(module: nn.Module) -> bool:
    """Tell whether a network normalises by the statistics of its batch when it is trained."""
    return any(isinstance(child, nn.modules.batchnorm._BatchNorm) for child in module.modules())


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
