"""A model with its data: what one step, one prediction and one linear probe are."""

from __future__ import annotations

import math

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn
from torch.nn import functional

from expertise_graph.data.base import LabelledData
from expertise_graph.data.modalities import modalities
from expertise_graph.data.sampling import holdout
from expertise_graph.errors import SourceError
from expertise_graph.sources.base import Backbone
from expertise_graph.types import IntArray
from expertise_graph.warmstart.build import build_classifier, check_splits, precision
from expertise_graph.warmstart.config import TrainConfig
from expertise_graph.warmstart.inputs import Inputs, even_batches
from expertise_graph.warmstart.linear import accuracy, class_weights, fit_linear_head
from expertise_graph.warmstart.optimizer import hold_batch_norm, parameter_groups

CLIP = 1.0
EVALUATION_BATCH = 64


class Learner:
    """The classifier, its optimiser and its batches.

    Attributes:
        rows: indices of the items of each split: train, validation, test.
        weights: (classes,) of the loss, or None when the classes are balanced.
    """

    def __init__(self, backbone: Backbone, data: LabelledData, config: TrainConfig) -> None:
        splits = holdout(data, seed=config.seed)
        self.rows = {"train": splits.train, "validation": splits.validation, "test": splits.test}
        check_splits(data, self.rows)
        self.config = config
        self.labels = torch.from_numpy(np.asarray(data.labels, dtype=np.int64))
        self.classes = len(data.classes)
        self.inputs = Inputs(data.items, decode=modalities[data.modality].decode, collate=backbone.collate)
        self.weights = class_weights(self.labels[self.rows["train"]], self.classes)
        self.accelerator = Accelerator(mixed_precision=precision())
        self.classifier = build_classifier(backbone, self.classes, config).to(self.accelerator.device)
        self.adamw = torch.optim.AdamW(parameter_groups(self.classifier, config), fused=True)
        self.model, self.optimizer = self.accelerator.prepare(self.classifier, self.adamw)

    @property
    def lr(self) -> float:
        """The learning rate of the head in the last step."""
        return float(self.adamw.param_groups[-1]["lr"])

    def training_mode(self) -> None:
        """Prepare for steps; a pretrained batch normalisation keeps its statistics."""
        self.model.train()
        if not self.config.from_scratch:
            hold_batch_norm(self.model)

    def step(self, rows: IntArray, *, lr_share: float) -> tuple[float, float]:
        """Make one optimiser step on the items at `rows`.

        Returns:
            The mean loss before the step and the number of right answers. A loss that is not
            finite changes no weight.
        """
        for group in self.adamw.param_groups:
            group["lr"] = group["peak"] * lr_share
        logits = self.model(**self._batch(rows))
        labels = self.labels[rows].to(logits.device)
        loss = functional.cross_entropy(logits, labels, weight=self._weights_like(logits))
        value = loss.item()
        if math.isfinite(value):
            self.optimizer.zero_grad()
            self.accelerator.backward(loss)
            self.accelerator.clip_grad_norm_(self.model.parameters(), CLIP)
            self.optimizer.step()
        return value, accuracy(logits, labels) * len(rows)

    def predict(self, rows: IntArray, *, module: nn.Module | None = None) -> torch.Tensor:
        """Return logits (n, classes), or what `module` gives, for the items at `rows`, on the CPU."""
        module = self.model if module is None else module
        module.eval()
        with torch.inference_mode():
            parts = [module(**self._batch(b)).float().cpu() for b in even_batches(rows, EVALUATION_BATCH)]
        return torch.cat(parts)

    def evaluate(self, split: str) -> tuple[float, float]:
        """Return accuracy and mean cross-entropy on a split."""
        logits, labels = self.predict(self.rows[split]), self.labels[self.rows[split]]
        return accuracy(logits, labels), functional.cross_entropy(logits, labels).item()

    def fit_head(self) -> None:
        """Make the head a regularised logistic regression on the features of the backbone.

        Raises:
            SourceError: when features are not finite.
        """
        rows = np.concatenate([self.rows["train"], self.rows["validation"]])
        features = self.predict(rows, module=self.classifier.backbone)
        if not bool(torch.isfinite(features).all()):
            raise SourceError("the expert gives features that are NaN or infinite: choose another expert")
        n = len(self.rows["train"])
        head = fit_linear_head(
            features.clone(),
            self.labels[rows],
            train=torch.arange(n),
            validation=torch.arange(n, len(rows)),
            classes=self.classes,
            weights=self.weights,
        )
        with torch.no_grad():
            self.classifier.head.weight.copy_(head.weight)
            self.classifier.head.bias.copy_(head.bias)

    def _batch(self, rows: IntArray) -> dict[str, torch.Tensor]:
        device = self.accelerator.device
        return {name: tensor.to(device) for name, tensor in self.inputs.batch(rows).items()}

    def _weights_like(self, logits: torch.Tensor) -> torch.Tensor | None:
        return None if self.weights is None else self.weights.to(logits)
