"""What a model is worth on DATA: features, probes, accuracies, statistics and Fisher information."""

from __future__ import annotations

import copy
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from expertise_graph.data import LabelledData, modalities, stratified_sample
from expertise_graph.errors import SourceError
from expertise_graph.merging.models import Head
from expertise_graph.merging.states import State
from expertise_graph.sources import Backbone
from expertise_graph.types import IntArray
from expertise_graph.warmstart import trial_splits
from expertise_graph.warmstart.inputs import Inputs, even_batches, training_order
from expertise_graph.warmstart.linear import class_weights, fit_linear_head

BATCH = 64
FISHER_ITEMS = 256


class Yardstick:
    """A dataset with its splits, its inputs preprocessed once.

    Attributes:
        classes: names in the order of the labels.
        rows: indices of the items of train, validation and test; those of a warm start with the
            same seed.

    Raises:
        DatasetError: when a split is empty, or one class is left to train on.
    """

    def __init__(self, data: LabelledData, backbone: Backbone, seed: int) -> None:
        splits = trial_splits(data, seed)
        self.seed, self.classes = seed, data.classes
        self.rows = {"train": splits.train, "validation": splits.validation, "test": splits.test}
        self.labels = torch.from_numpy(np.asarray(data.labels, dtype=np.int64))
        self.inputs = Inputs(data.items, decode=modalities[data.modality].decode, collate=backbone.collate)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def features(self, module: nn.Module, split: str) -> torch.Tensor:
        """Return pooled features (n, d) float32 of the items of a split, on the CPU."""
        module = module.to(self.device).eval()
        with torch.no_grad():
            parts = [
                module(**self._batch(rows)).float().cpu() for rows in even_batches(self.rows[split], BATCH)
            ]
        return torch.cat(parts)

    def probe(self, module: nn.Module) -> Head:
        """Return a linear head, fitted on the training split with its strength chosen on validation.

        Raises:
            SourceError: when features are not finite.
        """
        features = torch.cat([self.features(module, "train"), self.features(module, "validation")])
        if not bool(torch.isfinite(features).all()):
            raise SourceError("the merged model gives features that are NaN or infinite: lower --scale")
        rows = np.concatenate([self.rows["train"], self.rows["validation"]])
        n = len(self.rows["train"])
        labels = self.labels[rows]
        found = fit_linear_head(
            features,
            labels,
            train=torch.arange(n),
            validation=torch.arange(n, len(rows)),
            outputs=len(self.classes),
            loss_of=partial(functional.cross_entropy, weight=class_weights(labels[:n], len(self.classes))),
        )
        return Head(weight=found.weight, bias=found.bias, classes=self.classes)

    def measure(self, module: nn.Module, head: Head, split: str) -> tuple[float, float]:
        """Return accuracy and mean cross-entropy on a split; the loss of no finite logits is infinite."""
        logits = functional.linear(self.features(module, split), head.weight, head.bias)
        labels = self.labels[self.rows[split]]
        loss = functional.cross_entropy(logits, labels).item()
        right = (logits.argmax(dim=1) == labels).double().mean().item()
        return right, loss if np.isfinite(loss) else float("inf")

    def renewed(self, module: nn.Module) -> nn.Module:
        """Return a copy whose batch normalisation has the statistics of the training items.

        References:
            Izmailov et al., arXiv:1803.05407, section 3.2, batch normalisation of averaged weights;
            Jordan et al., arXiv:2211.08403, why an average needs it.
        """
        module = copy.deepcopy(module).to(self.device).eval()
        norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
            norm.train()
        order = training_order(self.rows["train"], seed=self.seed, epoch=0)
        with torch.no_grad():
            for rows in even_batches(order, BATCH):
                module(**self._batch(rows))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        return module.eval()

    def fisher(self, module: nn.Module, head: Head, *, items: int = FISHER_ITEMS) -> State:
        """Return the diagonal Fisher information of all parameters, on a sample of the training items.

        F_j = 1/n sum_i (d log p(y_i | x_i) / d theta_j)^2 with y_i drawn from the model's own
        prediction. The head's are named ``head.weight`` and ``head.bias``.

        References:
            Matena and Raffel, arXiv:2111.09832, section 3.2.
        """
        module = copy.deepcopy(module).to(self.device).eval()
        linear = {f"head.{k}": t.clone().to(self.device).requires_grad_() for k, t in head.state.items()}
        named = {f"backbone.{k}": p for k, p in module.named_parameters(remove_duplicate=False)} | linear
        for parameter in named.values():
            parameter.requires_grad_(True)
        found = {k: torch.zeros_like(p, dtype=torch.float64) for k, p in named.items()}
        train = self.rows["train"]
        chosen = train[stratified_sample(self.labels[train].numpy(), items, seed=self.seed)]
        draws = torch.Generator().manual_seed(self.seed)
        for row in chosen:
            logits = functional.linear(
                module(**self._batch(row[None])).float(), linear["head.weight"], linear["head.bias"]
            )
            label = torch.multinomial(logits.detach().softmax(dim=1).cpu(), 1, generator=draws).flatten()
            loss = functional.cross_entropy(logits, label.to(logits.device))
            gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
            for key, gradient in zip(named, gradients, strict=True):
                if gradient is not None:
                    found[key] += gradient.double().square()
        return {key: (value / len(chosen)).float().cpu() for key, value in found.items()}

    def _batch(self, rows: IntArray) -> dict[str, torch.Tensor]:
        return {name: tensor.to(self.device) for name, tensor in self.inputs.batch(rows).items()}


def normalises(module: nn.Module) -> bool:
    """Tell whether a module has batch normalisation with running statistics."""
    return any(
        isinstance(m, nn.modules.batchnorm._BatchNorm) and m.running_mean is not None
        for m in module.modules()
    )
