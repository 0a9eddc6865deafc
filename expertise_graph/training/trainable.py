"""A classifier that can be trained: one optimiser step, one prediction, in parts where memory is short."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast
from torch import nn

from expertise_graph.core import IntArray, SourceError, is_out_of_memory
from expertise_graph.features import at_once, forward
from expertise_graph.models import Batch, Classifier
from expertise_graph.training.augmentation import augmented, mirrored
from expertise_graph.training.batches import BatchLoader, even_batches
from expertise_graph.training.config import TrainConfig
from expertise_graph.training.device import mixed_precision
from expertise_graph.training.objective import Objective, distillation_loss
from expertise_graph.training.optimizer import Anchor, has_batch_norm, hold_batch_norm, parameter_groups

CLIP = 1.0
"""Gradients are scaled down to this norm, so that one odd batch cannot throw the weights far away."""
EVALUATION_BATCH = 64
"""Items that a prediction preprocesses together; more need more memory and are not faster on a CPU."""
T = TypeVar("T")


class TrainableModel:
    """A classifier with its optimiser, on the device and among the processes that it trains on.

    Attributes:
        parts: how many parts each batch is computed in; doubled when memory is short.
        augment: whether images are augmented at random in training steps.
        mirror: whether they are also mirrored.
        at_once: the most items of a step that are computed together; all, where the statistics of the
            whole batch count.
        teacher_logits: (n, classes) logits of a teacher by item, NaN where there are none; or None.
    """

    def __init__(
        self,
        classifier: Classifier,
        objective: Objective,
        batches: BatchLoader,
        config: TrainConfig,
        *,
        optimizer: torch.optim.Optimizer | None = None,
        clip: float = CLIP,
    ) -> None:
        # One process may train with several precisions, one after the other.
        AcceleratorState._reset_state()
        self.accelerator = Accelerator(mixed_precision=mixed_precision(config.precision))
        self.classifier = classifier.to(self.accelerator.device)
        self.objective, self.batches, self.config, self.clip = objective, batches, config, clip
        self.parts, self.augment, self.mirror = config.accumulate, False, False
        self.teacher_logits: torch.Tensor | None = None
        self.anchor = Anchor(self.classifier, config.prior) if config.way.anchored else None
        self.adamw = optimizer or torch.optim.AdamW(parameter_groups(self.classifier, config), fused=True)
        self.model, self.optimizer = self.accelerator.prepare(self.classifier, self.adamw)
        whole = not config.way.pretrained and has_batch_norm(self.classifier)
        first = np.arange(min(config.batch_size, len(objective.targets)))
        self.at_once = config.batch_size if whole else at_once(self._batch(first))

    @property
    def leads(self) -> bool:
        """Whether this process is the first of those that train together."""
        return bool(self.accelerator.is_main_process)

    @property
    def lr(self) -> float:
        """The learning rate of the head in the last step."""
        return float(self.adamw.param_groups[-1]["lr"])

    def training_mode(self) -> None:
        """Prepare for steps; pretrained batch normalisation keeps its statistics."""
        self.model.train()
        if self.config.way.pretrained:
            hold_batch_norm(self.model)

    def share(self, rows: IntArray) -> IntArray:
        """Return the items of a batch that this process computes, of several that train together."""
        return rows[self.accelerator.process_index :: self.accelerator.num_processes]

    def agreed(self, value: float) -> float:
        """Return the value of the first process; what all processes decide by must be the same."""
        if self.accelerator.num_processes == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self.accelerator.device)
        return float(broadcast(shared).item())

    def step(self, rows: IntArray, *, fraction: float, lr_scale: float) -> tuple[float, torch.Tensor]:
        """Make one optimiser step on the items at `rows`, together with those of other processes.

        Args:
            rows: indices of the items of this process.
            fraction: of the training that is over, which unfreezes stages.
            lr_scale: fraction of the peak learning rates.

        Returns:
            The mean loss, of all processes, and the outputs (n, k) of this one, before the step. A
            loss that is not finite changes no weight.
        """
        for group in self.adamw.param_groups:
            group["lr"] = group["peak"] * lr_scale * (fraction >= group["opens"])
        loss, outputs = self._within_memory(lambda: self._gradients(rows), len(rows))
        loss = self._mean(loss)
        if math.isfinite(loss):
            if self.anchor is not None:
                self.anchor.pull()
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.clip)
            self.optimizer.step()
        return loss, outputs

    def predict(self, rows: IntArray, *, module: nn.Module | None = None, flip: bool = False) -> torch.Tensor:
        """Return the outputs (n, k) of the classifier, or of `module`, for the items at `rows`, on the CPU.

        Args:
            rows: indices of the items.
            module: another network for the same inputs.
            flip: whether images are mirrored first.
        """
        module = self.classifier if module is None else module
        module.eval()

        def outputs() -> torch.Tensor:
            size = max(1, EVALUATION_BATCH // self.parts)
            batches = (self._batch(b) for b in even_batches(rows, size))
            with torch.inference_mode():
                return torch.cat([forward(module, mirrored(b) if flip else b).float().cpu() for b in batches])

        return self._within_memory(outputs, EVALUATION_BATCH)

    def features(self, module: nn.Module, rows: IntArray) -> torch.Tensor:
        """Return the features (n, d) of a backbone by item, NaN for items that are not at `rows`.

        Raises:
            SourceError: when features are not finite.
        """
        outputs = self.predict(rows, module=module)
        if not bool(torch.isfinite(outputs).all()):
            raise SourceError("the expert gives features that are NaN or infinite: choose another expert")
        features = torch.full((len(self.objective.targets), outputs.shape[1]), math.nan)
        features[rows] = outputs
        return features

    def evaluate(self, rows: IntArray) -> tuple[float, float]:
        """Return score and mean loss, without class weights, on the items at `rows`."""
        logits, targets = self.predict(rows), self.objective.targets[rows]
        return self.objective.score(logits, targets), self.objective.measure(logits, targets).item()

    def _loss(self, logits: torch.Tensor, rows: IntArray) -> torch.Tensor:
        hard = self.objective.loss(logits, rows)
        if self.teacher_logits is None:
            return hard
        weight, temperature = self.config.distill, self.config.distill_temperature
        return distillation_loss(
            hard, logits, self.teacher_logits[rows], weight=weight, temperature=temperature
        )

    def _gradients(self, rows: IntArray) -> tuple[float, torch.Tensor]:
        """Leave the gradients of the mean loss of `rows` in the parameters; return loss and outputs."""
        self.optimizer.zero_grad()
        total, outputs = 0.0, []
        parts = list(even_batches(rows, min(-(-len(rows) // self.parts), self.at_once)))
        for i, part in enumerate(parts):
            batch = self._batch(part)
            if self.augment:
                batch = augmented(batch, mirror=self.mirror)
            last = i == len(parts) - 1
            # Processes exchange gradients once a step, however many parts each computes.
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                logits = self.model(**batch)
                loss = self._loss(logits, part) * (len(part) / len(rows))
                self.accelerator.backward(loss)
            total += loss.item()
            outputs.append(logits.detach().float().cpu())
        return total, torch.cat(outputs)

    def _mean(self, loss: float) -> float:
        if self.accelerator.num_processes == 1:
            return loss
        mine = torch.tensor(loss, dtype=torch.float64, device=self.accelerator.device)
        return float(self.accelerator.reduce(mine, reduction="mean").item())

    def _within_memory(self, compute: Callable[[], T], size: int) -> T:
        """Return the result of `compute`, in twice as many parts each time that memory is exhausted.

        Raises:
            SourceError: when not even single items fit.
        """
        while True:
            try:
                return compute()
            except RuntimeError as error:
                if not is_out_of_memory(error) or self.accelerator.num_processes > 1:
                    raise
                if self.parts >= size:
                    raise SourceError(
                        "not even one item at a time fits in memory: choose a smaller expert"
                    ) from error
            self.optimizer.zero_grad()
            self.parts = min(2 * self.parts, size)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _batch(self, rows: IntArray) -> Batch:
        device = self.accelerator.device
        return {name: tensor.to(device) for name, tensor in self.batches.batch(rows).items()}
