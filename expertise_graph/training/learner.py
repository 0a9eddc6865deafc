"""A model with its data: what one step, one prediction and one linear probe are."""

from __future__ import annotations

import copy
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

from expertise_graph.core import IntArray, SourceError
from expertise_graph.data import CLASS, LabelledData, holdout, known_modalities
from expertise_graph.features import at_once, forward
from expertise_graph.models import Backbone
from expertise_graph.training.augmentation import augmented, mirrored, mirroring_harms
from expertise_graph.training.batches import Inputs, even_batches
from expertise_graph.training.build import build_classifier, check_share, check_splits, precision
from expertise_graph.training.config import TrainConfig
from expertise_graph.training.disk_cache import Batch
from expertise_graph.training.distillation import distillation_loss, teacher_for
from expertise_graph.training.linear_probe import STRENGTHS, LinearHead, first_length, fit_linear_head
from expertise_graph.training.objective import objective_of
from expertise_graph.training.optimizer import Anchor, has_batch_norm, hold_batch_norm, parameter_groups

CLIP = 1.0
EVALUATION_BATCH = 64
T = TypeVar("T")


class Learner:
    """The classifier, its optimiser and its batches.

    Attributes:
        rows: indices of the items of each split: train, validation, test.
        parts: how many parts a batch is computed in; doubled when memory does not suffice.
        mirror: whether images are mirrored at random.
        at_once: items at most that a step computes together; a batch whose own statistics count is whole.
        length: of the head that training begins with, as a share of the probe's.
        answers: (n, classes) logits of a teacher for the items to train on, NaN for others; or None.
    """

    def __init__(
        self, backbone: Backbone, data: LabelledData, config: TrainConfig, *, teacher: Backbone | None = None
    ) -> None:
        splits = holdout(data, seed=config.seed)
        self.rows = {"train": splits.train, "validation": splits.validation, "test": splits.test}
        check_splits(data, self.rows)
        # One process may train with several precisions, one after the other.
        AcceleratorState._reset_state()
        self.accelerator = Accelerator(mixed_precision=precision(config.precision))
        check_share(splits.train, config.batch_size, self.accelerator.num_processes)
        self.config, self.expert = config, backbone.module
        self.objective = objective_of(data, splits.train, splits.validation)
        self.parts, self.mirror = config.accumulate, False
        self.teacher = teacher_for(data, teacher) if config.distill else None
        self.answers: torch.Tensor | None = None
        self.changes_inputs = config.augment and known_modalities[data.modality].augmented
        self.may_mirror = self.changes_inputs and data.kind == CLASS
        trains = config.way.fine_tunes and config.way.probe and data.kind == CLASS
        self.may_shorten, self.length = trains and not self.changes_inputs, 1.0
        self.inputs = Inputs(
            data.items, decode=known_modalities[data.modality].decode, collate=backbone.collate
        )
        self.classifier = build_classifier(backbone, self.objective.outputs, config).to(
            self.accelerator.device
        )
        self.anchor = Anchor(self.classifier, config.prior) if config.way.anchored else None
        self.adamw = torch.optim.AdamW(parameter_groups(self.classifier, config), fused=True)
        self.model, self.optimizer = self.accelerator.prepare(self.classifier, self.adamw)
        whole = not config.way.pretrained and has_batch_norm(self.classifier)
        first = self.rows["train"][: config.batch_size]
        self.at_once = config.batch_size if whole else at_once(self._batch(first))

    @property
    def lr(self) -> float:
        """The learning rate of the head in the last step."""
        return float(self.adamw.param_groups[-1]["lr"])

    def wanted(self, split: str) -> torch.Tensor:
        """Return the targets of a split."""
        return self.objective.targets[self.rows[split]]

    def training_mode(self) -> None:
        """Prepare for steps; a pretrained batch normalisation keeps its statistics."""
        self.model.train()
        if self.config.way.pretrained:
            hold_batch_norm(self.model)

    def share(self, rows: IntArray) -> IntArray:
        """Return the items of a batch that this process, of several that train together, computes."""
        return rows[self.accelerator.process_index :: self.accelerator.num_processes]

    def agreed(self, value: float) -> float:
        """Return the value that the first of several processes has; what all decide by must be the same."""
        if self.accelerator.num_processes == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self.accelerator.device)
        return float(broadcast(shared).item())

    def step(self, rows: IntArray, *, done: float, lr_share: float) -> tuple[float, torch.Tensor]:
        """Make one optimiser step on the items at `rows`, together with what other processes compute.

        Args:
            rows: indices of the items of this process.
            done: share of the training that is over, which sets stages free.
            lr_share: share of the peak learning rates.

        Returns:
            The mean loss, of all processes, and the outputs (n, k) of this one, before the step. A
            loss that is not finite changes no weight.
        """
        for group in self.adamw.param_groups:
            group["lr"] = group["peak"] * lr_share * (done >= group["opens"])
        loss, outputs = self._within_memory(lambda: self._gradients(rows), len(rows))
        loss = self._mean(loss)
        if math.isfinite(loss):
            if self.anchor is not None:
                self.anchor.pull()
            self.accelerator.clip_grad_norm_(self.model.parameters(), CLIP)
            self.optimizer.step()
        return loss, outputs

    def predict(self, rows: IntArray, *, module: nn.Module | None = None, flip: bool = False) -> torch.Tensor:
        """Return what the model, or `module`, gives for the items at `rows`, on the CPU.

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

    def evaluate(self, split: str) -> tuple[float, float]:
        """Return score and mean loss on a split, class weights left out."""
        logits, wanted = self.predict(self.rows[split]), self.wanted(split)
        return self.objective.score(logits, wanted), self.objective.measure(logits, wanted).item()

    def begin(self) -> None:
        """Look at the data through the expert: what may be done to them, and a linear probe for a head.

        A teacher is asked for its answers.

        Raises:
            SourceError: when features are not finite.
        """
        self.ask_teacher()
        if not (self.config.way.probe or self.may_mirror):
            return
        module = self.classifier.backbone
        if not self.config.way.pretrained:
            module = copy.deepcopy(self.expert).to(self.accelerator.device)
        head, features = self._probe(module)
        if self.may_mirror:
            self.mirror = not self._mirroring_harms(module, head, features)
        if self.config.way.probe:
            if self.may_shorten:
                self.length = self._length(head, features)
            self._set_head(head)

    def take_probe(self) -> None:
        """Put a linear probe on the backbone as it is."""
        self._set_head(self._probe(self.classifier.backbone)[0])

    def _set_head(self, head: LinearHead) -> None:
        with torch.no_grad():
            self.classifier.head.weight.copy_(self.length * head.weight)
            self.classifier.head.bias.copy_(self.length * head.bias)

    def ask_teacher(self) -> None:
        """Let a teacher, with a linear probe as its head, answer to the items to train on."""
        if self.teacher is None:
            return
        rows, module = self.rows["train"], copy.deepcopy(self.teacher.module).to(self.accelerator.device)
        head, features = self._probe(module)
        found = head.logits(features[rows])
        answers = torch.full((len(self.objective.targets), found.shape[1]), math.nan)
        answers[rows] = found
        self.answers = answers

    def _length(self, head: LinearHead, features: torch.Tensor) -> float:
        rows = self.rows["train"]
        loss = self.objective.measure(head.logits(features[rows]), self.objective.targets[rows]).item()
        return first_length(self.agreed(loss), self.objective.outputs)

    def _loss(self, logits: torch.Tensor, rows: IntArray) -> torch.Tensor:
        hard = self.objective.loss(logits, rows)
        if self.answers is None:
            return hard
        share, temperature = self.config.distill, self.config.distill_temperature
        return distillation_loss(hard, logits, self.answers[rows], weight=share, temperature=temperature)

    def _gradients(self, rows: IntArray) -> tuple[float, torch.Tensor]:
        """Leave the gradients of the mean loss of `rows` in the parameters; return loss and outputs."""
        self.optimizer.zero_grad()
        total, outputs = 0.0, []
        parts = list(even_batches(rows, min(-(-len(rows) // self.parts), self.at_once)))
        for i, part in enumerate(parts):
            batch = self._batch(part)
            if self.changes_inputs:
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

    def _probe(self, module: nn.Module) -> tuple[LinearHead, torch.Tensor]:
        """Return a linear probe, and the features (n, d) by item that it was fitted on."""
        train, validation = self.rows["train"], self.rows["validation"]
        features = self._features(module, np.concatenate([train, validation]))
        return self._fitted(features, train=train, validation=validation), features

    def _features(self, module: nn.Module, rows: IntArray) -> torch.Tensor:
        """Return features (n, d) by item, NaN for items that are not at `rows`."""
        found = self.predict(rows, module=module)
        if not bool(torch.isfinite(found).all()):
            raise SourceError("the expert gives features that are NaN or infinite: choose another expert")
        features = torch.full((len(self.objective.targets), found.shape[1]), math.nan)
        features[rows] = found
        return features

    def _fitted(
        self,
        features: torch.Tensor,
        *,
        train: IntArray,
        validation: IntArray,
        strengths: tuple[float, ...] = STRENGTHS,
    ) -> LinearHead:
        return fit_linear_head(
            features,
            self.objective.targets,
            train=torch.from_numpy(train),
            validation=torch.from_numpy(validation),
            outputs=self.objective.outputs,
            loss_of=self.objective.loss_of,
            chosen_by=self.objective.measure,
            strengths=strengths,
        )

    def _mirroring_harms(self, module: nn.Module, head: LinearHead, features: torch.Tensor) -> bool:
        rows, wanted = self.rows["validation"], self.wanted("validation")
        plain, flipped = features[rows], self.predict(rows, module=module, flip=True)
        return mirroring_harms(*(head.logits(f).argmax(dim=1) == wanted for f in (plain, flipped)))

    def _within_memory(self, compute: Callable[[], T], size: int) -> T:
        """Return what `compute` gives, in twice as many parts for as long as memory does not suffice.

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
        return {name: tensor.to(device) for name, tensor in self.inputs.batch(rows).items()}


def is_out_of_memory(error: RuntimeError) -> bool:
    """Tell whether an error says that memory did not suffice, on a GPU or elsewhere."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
