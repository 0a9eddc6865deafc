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
from accelerate.utils import DistributedDataParallelKwargs, broadcast, gather_object
from torch import nn

from expertise_graph.core import IntArray, SourceError, is_out_of_memory
from expertise_graph.features import at_once, forward
from expertise_graph.models import Batch, Classifier
from expertise_graph.training.augmentation import DRAWS, augmented, mirrored
from expertise_graph.training.batches import BatchLoader, even_batches
from expertise_graph.training.config import TrainConfig
from expertise_graph.training.device import mixed_precision
from expertise_graph.training.objective import Objective, distillation_loss
from expertise_graph.training.optimizer import Anchor, has_batch_norm, hold_batch_norm, parameter_groups
from expertise_graph.training.randomness import RandomByItem

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
        known: features (d,) of the pretrained backbone by item, where they are kept from one training to the
            next; those that are missing are added.
        check: called before each batch of a prediction; what it raises ends it.
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
        # What takes no part in the features, such as BERT's pooler, gets no gradient to wait for.
        parallel = DistributedDataParallelKwargs(find_unused_parameters=True)
        self.accelerator = Accelerator(
            mixed_precision=mixed_precision(config.precision), kwargs_handlers=[parallel]
        )
        self.classifier = classifier.to(self.accelerator.device)
        self.objective, self.batches, self.config, self.clip = objective, batches, config, clip
        self.parts, self.augment, self.mirror = config.accumulate, False, False
        self.teacher_logits: torch.Tensor | None = None
        self.known: dict[int, torch.Tensor] | None = None
        self.check: Callable[[], None] | None = None
        self.anchor = Anchor(self.classifier, config.prior) if config.way.anchored else None
        self.adamw = optimizer or torch.optim.AdamW(parameter_groups(self.classifier, config), fused=True)
        self.model, self.optimizer = self.accelerator.prepare(self.classifier, self.adamw)
        whole = not config.way.pretrained and has_batch_norm(self.classifier)
        first = np.arange(min(config.batch_size, len(objective.targets)))
        self.at_once = config.batch_size if whole else at_once(self._batch(first))
        # Whether the network draws at random is seen at its first step; watching for it costs 2 % of a step.
        self._draws_itself = True
        self.new_draws()

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

    def new_draws(self) -> None:
        """Draw anew, from torch's current generator, what augmentation and dropout do to each item."""
        self._seed = int(torch.randint(2**62, ()))
        self._draws = torch.rand(len(self.objective.targets), DRAWS)

    def share(self, rows: IntArray) -> IntArray:
        """Return the items of a batch that this process computes, of several that train together."""
        return rows[self.accelerator.process_index :: self.accelerator.num_processes]

    def gathered(self, rows: IntArray, outputs: torch.Tensor) -> tuple[IntArray, torch.Tensor]:
        """Return items and their outputs (n, k) of all processes, given those of this one."""
        if self.accelerator.num_processes == 1:
            return rows, outputs
        parts = gather_object([(rows, outputs)])
        return np.concatenate([r for r, _ in parts]), torch.cat([o for _, o in parts])

    def agreed(self, value: float) -> float:
        """Return the value of the first process; what all processes decide by must be the same."""
        if self.accelerator.num_processes == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self.accelerator.device)
        return float(broadcast(shared).item())

    def step(self, rows: IntArray, *, fraction: float, lr_scale: float) -> tuple[float, torch.Tensor]:
        """Make one optimiser step on the items at `rows`, of which each process computes its share.

        Args:
            rows: indices of the items of the batch.
            fraction: of the training that is over, which unfreezes stages.
            lr_scale: fraction of the peak learning rates.

        Returns:
            The mean loss of the batch, and the outputs (n, k) of the share of this process, before the
            step. A loss that is not finite changes no weight.
        """
        for group in self.adamw.param_groups:
            group["lr"] = group["peak"] * lr_scale * (fraction >= group["opens"])
        loss, outputs = self._within_memory(lambda: self._gradients(rows), len(rows))
        loss = self._summed(loss)
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
            found = []
            with torch.inference_mode():
                for b in batches:
                    if self.check is not None:
                        self.check()
                    found.append(forward(module, mirrored(b) if flip else b).float().cpu())
            return torch.cat(found)

        return self._within_memory(outputs, EVALUATION_BATCH)

    def features(self, module: nn.Module, rows: IntArray) -> torch.Tensor:
        """Return the features (n, d) of a backbone by item, NaN for items that are not at `rows`.

        Raises:
            SourceError: when features are not finite.
        """
        known = {} if self.known is None else self.known
        new = np.array([row for row in rows.tolist() if row not in known], dtype=rows.dtype)
        if len(new):
            outputs = self.predict(new, module=module)
            if not bool(torch.isfinite(outputs).all()):
                raise SourceError("the expert gives features that are NaN or infinite: choose another expert")
            known.update(zip(new.tolist(), outputs, strict=True))
        found = torch.stack([known[row] for row in rows.tolist()])
        features = torch.full((len(self.objective.targets), found.shape[1]), math.nan)
        features[rows] = found
        return features

    def evaluate(self, rows: IntArray) -> tuple[float, float]:
        """Return score and mean loss, without class weights, on the items at `rows`."""
        logits, targets = self.predict(rows), self.objective.targets[rows]
        return self.objective.score(logits, targets), self.objective.measure(logits, targets).item()

    def _loss(self, logits: torch.Tensor, part: IntArray, rows: IntArray) -> torch.Tensor:
        """Return what `part` adds to the mean loss of the batch at `rows`.

        Means over parts are not the mean over the batch where classes have weights: those of the whole batch
        divide (pytorch#72047).
        """
        hard = self.objective.loss(logits, part) * (self.objective.weight(part) / self.objective.weight(rows))
        if self.teacher_logits is None:
            return hard
        weight, temperature = self.config.distill, self.config.distill_temperature
        share = len(part) / len(rows)
        return share * distillation_loss(
            hard / share, logits, self.teacher_logits[part], weight=weight, temperature=temperature
        )

    def _gradients(self, rows: IntArray) -> tuple[float, torch.Tensor]:
        """Leave the gradients of the mean loss of the batch at `rows` in the parameters.

        Returns:
            What this process adds to the mean loss, and its outputs.
        """
        self.optimizer.zero_grad()
        total, outputs, mine = 0.0, [], self.share(rows)
        parts = list(even_batches(mine, min(-(-len(mine) // self.parts), self.at_once)))
        for i, part in enumerate(parts):
            last = i == len(parts) - 1
            # Processes exchange gradients once a step, however many parts each computes.
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                logits = self._training_outputs(part)
                loss = self._loss(logits, part, rows)
                # Gradients of several processes are averaged, and this loss is a part of a sum.
                self.accelerator.backward(loss * self.accelerator.num_processes)
            total += loss.item()
            outputs.append(logits.detach().float().cpu())
        return total, torch.cat(outputs)

    def _training_outputs(self, rows: IntArray) -> torch.Tensor:
        """Return the outputs (n, k) for the items at `rows`, augmented and with dropout."""
        batch = self._batch(rows)
        if self.augment:
            batch = augmented(batch, self._draws[rows], mirror=self.mirror)
        if not self._draws_itself:
            outputs: torch.Tensor = self.model(**batch)
            return outputs
        with RandomByItem(self._seed, rows) as random:
            outputs = self.model(**batch)
        self._draws_itself = random.used
        return outputs

    def _summed(self, loss: float) -> float:
        """Return the sum over all processes."""
        if self.accelerator.num_processes == 1:
            return loss
        mine = torch.tensor(loss, dtype=torch.float64, device=self.accelerator.device)
        return float(self.accelerator.reduce(mine, reduction="sum").item())

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
