"""Which weights move, how fast, and when."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import nn

from expertise_graph.warmstart.config import TrainConfig

BACKBONE_LR = 0.3
"""Learning rate of the last stage of a pretrained backbone, as a fraction of the head's."""
FIRST_STAGE_LR = 0.3
"""Learning rate of the first stage, as a fraction of the last one's; geometric in between."""
SCRATCH_LR_BATCH_NORM = 6.0
SCRATCH_LR = 0.5
WARM_UP = 0.1


class Classifier(nn.Module):
    """A backbone and a linear head; `forward(**batch)` returns logits (n, classes)."""

    def __init__(self, backbone: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, **batch: torch.Tensor) -> torch.Tensor:
        """Return the logits of a batch."""
        features: torch.Tensor = self.backbone(**batch)
        logits: torch.Tensor = self.head(features.float())
        return logits


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


def freeze_token_tables(module: nn.Module) -> None:
    """Stop the training of token embeddings.

    A few hundred texts touch a small part of the rows: moving those alone pulls them away from
    their untouched neighbours, and the table is half of the weights of a small text encoder.
    """
    for child in module.modules():
        if isinstance(child, nn.Embedding):
            child.weight.requires_grad_(False)


def parameter_groups(model: Classifier, config: TrainConfig) -> list[dict[str, object]]:
    """Return one group for AdamW per learning rate and decay, the head's last.

    "peak" holds the peak learning rate of a group. Weight decay acts on matrices only, not on
    biases and scales.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter, share in _shares(model, pretrained=not config.from_scratch):
        if parameter.requires_grad:
            decay = config.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((config.lr * share, decay), []).append(parameter)
    return [
        {"params": parameters, "lr": peak, "peak": peak, "weight_decay": decay}
        for (peak, decay), parameters in groups.items()
    ]


def _shares(model: Classifier, *, pretrained: bool) -> Iterator[tuple[nn.Parameter, float]]:
    depth = depths(model.backbone)
    scratch = scratch_lr(model.backbone)
    for name, parameter in model.backbone.named_parameters():
        yield parameter, BACKBONE_LR * FIRST_STAGE_LR ** (1 - depth[name]) if pretrained else scratch
    for parameter in model.head.parameters():
        yield parameter, 1.0 if pretrained else scratch


def scratch_lr(module: nn.Module) -> float:
    """Return the learning rate from scratch as a multiple of the configured one.

    Batch normalisation makes the loss indifferent to the scale of the weights, and such networks
    learn from few items only with large steps; others, transformers above all, diverge with them.
    """
    normed = any(isinstance(child, nn.modules.batchnorm._BatchNorm) for child in module.modules())
    return SCRATCH_LR_BATCH_NORM if normed else SCRATCH_LR


def schedule(fraction: float) -> float:
    """Return the share of the peak learning rate after `fraction` of the training.

    Linear warm-up over the first tenth, then half a cosine down to zero.

    Example:
        >>> [round(schedule(f), 3) for f in (0, 0.05, 0.1, 0.55, 1)]
        [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if fraction < WARM_UP:
        return fraction / WARM_UP
    return (1 + math.cos(math.pi * min(1.0, (fraction - WARM_UP) / (1 - WARM_UP)))) / 2


def hold_batch_norm(module: nn.Module) -> None:
    """Let batch normalisation keep using, and not change, the statistics it was pretrained with.

    Six letters a class from experts of other scripts: accuracy of the last epoch .845 held, .836
    with statistics of the batch; on letters in inverted colours .665 held, .473 not.
    """
    for child in module.modules():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            child.eval()


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
