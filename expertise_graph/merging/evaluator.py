"""What a model is worth on DATA: features, probes, accuracies, statistics and Fisher information."""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from expertise_graph.core import IntArray, SourceError, setting
from expertise_graph.data import (
    CLASS,
    LABELS,
    VALUE,
    LabelledData,
    Splits,
    known_modalities,
    stratified_sample,
)
from expertise_graph.features import forward
from expertise_graph.merging.states import State
from expertise_graph.models import Backbone, Head
from expertise_graph.training import (
    BatchLoader,
    even_batches,
    fit_probe,
    objective_of,
    training_order,
    training_splits,
)

# Inputs in one forward pass: small enough for the memory of a laptop, large enough to fill its cores.
BATCH = 64

# Items that the Fisher information is estimated on, one backward pass each: fewer make it noisier, more take
# longer. Not tuned; Matena and Raffel (arXiv:2111.09832) report that a few hundred suffice.
FISHER_ITEMS = 256


class Evaluator:
    """A dataset with its splits, its inputs preprocessed once.

    Attributes:
        classes: names of the outputs of a head.
        kind: of the target.
        metric: what `measure` gives.
        rows: indices of the items of train, validation and test; those of a warm start with the
            same seed.

    Args:
        data: of the modality of the models.
        backbone: knows how their inputs are preprocessed.
        seed: of the splits.
        splits: where they are others than those of a warm start with that seed.

    Raises:
        DatasetError: when a split is empty, or one class is left to train on.
    """

    def __init__(
        self, data: LabelledData, backbone: Backbone, seed: int, *, splits: Splits | None = None
    ) -> None:
        splits = splits or training_splits(data, seed)
        self.seed, self.classes, self.kind = seed, data.outputs, data.kind
        self.objective = objective_of(data, splits.train, splits.validation)
        self.metric = self.objective.metric
        self.rows = {"train": splits.train, "validation": splits.validation, "test": splits.test}
        self.labels = torch.from_numpy(np.asarray(data.labels, dtype=np.int64))
        self.inputs = BatchLoader(
            data.items, decode=known_modalities[data.modality].decode, collate=backbone.collate
        )
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def features(self, module: nn.Module, split: str) -> torch.Tensor:
        """Return pooled features (n, d) float32 of the items of a split, on the CPU."""
        module = module.to(self.device).eval()
        with torch.no_grad():
            parts = [
                forward(module, self._batch(rows)).float().cpu()
                for rows in even_batches(self.rows[split], BATCH)
            ]
        return torch.cat(parts)

    def probe(self, module: nn.Module) -> Head:
        """Return a linear head, fitted on the training split with its strength chosen on validation.

        Raises:
            SourceError: when features are not finite.
        """
        parts = {split: self.features(module, split) for split in ("train", "validation")}
        if not all(bool(torch.isfinite(part).all()) for part in parts.values()):
            raise SourceError(
                f"the merged model gives features that are NaN or infinite: lower {setting('scale')}"
            )
        features = torch.full((len(self.objective.targets), parts["train"].shape[1]), math.nan)
        for split, part in parts.items():
            features[self.rows[split]] = part
        found = fit_probe(
            features, self.objective, train=self.rows["train"], validation=self.rows["validation"]
        )
        weight, bias = self.objective.rescaled(found.weight, found.bias)
        return Head(weight=weight, bias=bias, classes=self.classes, kind=self.kind)

    def measure(self, module: nn.Module, head: Head, split: str) -> tuple[float, float]:
        """Return score and mean loss on a split, the worst there are where an output is not finite."""
        outputs = functional.linear(self.features(module, split), head.weight, head.bias)
        if not bool(torch.isfinite(outputs).all()):
            return float("-inf") if self.kind == VALUE else 0.0, float("inf")
        outputs, wanted = self.objective.standardised(outputs), self.objective.targets[self.rows[split]]
        return self.objective.score(outputs, wanted), self.objective.measure(outputs, wanted).item()

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
        prediction: a class, each label by itself, or a value with the deviation of the data. The
        head's are named ``head.weight`` and ``head.bias``.

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
            surprise = self._surprise(logits, draws)
            gradients = torch.autograd.grad(surprise, list(named.values()), allow_unused=True)
            for key, gradient in zip(named, gradients, strict=True):
                if gradient is not None:
                    found[key] += gradient.double().square()
        return {key: (value / len(chosen)).float().cpu() for key, value in found.items()}

    def _surprise(self, logits: torch.Tensor, draws: torch.Generator) -> torch.Tensor:
        """Return minus the log-likelihood of an answer that is drawn from the prediction itself."""
        if self.kind == CLASS:
            label = torch.multinomial(logits.detach().softmax(dim=1).cpu(), 1, generator=draws).flatten()
            return functional.cross_entropy(logits, label.to(logits.device))
        if self.kind == LABELS:
            marks = torch.bernoulli(logits.detach().sigmoid().cpu(), generator=draws).to(logits.device)
            return functional.binary_cross_entropy_with_logits(logits, marks, reduction="sum")
        outputs = self.objective.standardised(logits)
        drawn = outputs.detach() + torch.randn(outputs.shape, generator=draws).to(outputs.device)
        return 0.5 * (outputs - drawn).square().sum()

    def _batch(self, rows: IntArray) -> dict[str, torch.Tensor]:
        return {name: tensor.to(self.device) for name, tensor in self.inputs.batch(rows).items()}


def normalises(module: nn.Module) -> bool:
    """Tell whether a module has batch normalisation with running statistics."""
    return any(
        isinstance(m, nn.modules.batchnorm._BatchNorm) and m.running_mean is not None
        for m in module.modules()
    )
