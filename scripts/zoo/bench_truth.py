"""One cell of the benchmark: what an expert shows on a task before, and is worth after, fine-tuning.

Seconds are those of the processor on one thread, so that a shared machine does not show in them.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from expertise_graph.features.similarity import centred_gram, sketch
from expertise_graph.models import Classifier
from expertise_graph.training.batches import even_batches, training_order
from expertise_graph.training.config import TrainConfig
from expertise_graph.training.device import private_rng
from expertise_graph.training.linear_probe import fit_linear_head
from expertise_graph.training.objective import balanced_weights
from expertise_graph.training.optimizer import cosine_schedule, hold_batch_norm, parameter_groups
from expertise_graph.training.strategy import unfreeze
from expertise_graph.transferability.decomposition import decompose
from expertise_graph.transferability.methods.ridge import ridge_predict
from expertise_graph.transferability.registry import estimators
from zoo.bench_experts import Expert
from zoo.bench_tasks import Task
from zoo.bench_training import Inputs, batch_of

EPOCHS = 8
EVALUATION_BATCH = 64


@dataclass
class Cell:
    """An expert with its inputs for one task."""

    expert: Expert
    task: Task
    inputs: Inputs
    labels: torch.Tensor

    @classmethod
    def of(cls, expert: Expert, task: Task) -> Cell:
        """Prepare the items of a task for an expert."""
        return cls(expert, task, expert.prepare(task.items), torch.from_numpy(task.labels))

    def features(self) -> tuple[NDArray[np.float32], float]:
        """Return frozen features of the train and validation items, and the seconds they took."""
        started = time.process_time()
        rows = np.concatenate([self.task.rows["train"], self.task.rows["validation"]])
        return predict(self.expert.module, self.inputs, rows).numpy(), time.process_time() - started


def evidence(
    features: NDArray[np.float32], labels: NDArray[np.int64], names: Iterable[str]
) -> dict[str, tuple[float, float]]:
    """Return the value and the seconds of some estimators that work from features and labels."""
    started = time.process_time()
    space = decompose(features)
    space.centred  # noqa: B018  (worked out here, so that no estimator is charged for it)
    found = {"decomposition": (float(len(features)), time.process_time() - started)}
    for name in names:
        started = time.process_time()
        value = estimators[name](space, labels)
        found[name] = (float(value), time.process_time() - started)
    return found


def response(
    features: NDArray[np.float32], labels: NDArray[np.int64], probes: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the sketch of what a ridge classifier on an expert's features answers to the probes."""
    return sketch(centred_gram(ridge_predict(features, labels, probes).numpy()))


def fine_tune(cell: Cell, *, seed: int = 0, scratch: nn.Module | None = None) -> dict[str, Any]:
    """Fine-tune as the package's warm start does, and measure the kept epoch on the test part.

    A linear probe first, then all weights by AdamW, earlier stages more gently, batch-norm
    statistics held; the last epoch within one validation item of the best is kept. With `scratch`
    these weights are trained from the beginning, as the package's cold start does.
    """
    started = time.process_time()
    config = TrainConfig(epochs=EPOCHS, seed=seed, strategy="lp-ft" if scratch is None else "from-scratch")
    with private_rng(seed):
        model = _classifier(cell, scratch)
        curve, kept = _train(cell, model, config)
        model.load_state_dict(kept, strict=False)
    test = _accuracy(model, cell, "test")
    return {"value": test, "seconds": time.process_time() - started, "curve": curve, "seed": seed}


def predict(module: nn.Module, inputs: Inputs, rows: Any) -> torch.Tensor:
    """Return what a module gives for some rows."""
    module.eval()
    rows = np.asarray(rows)
    order = np.arange(len(rows))
    if "attention_mask" in inputs:  # texts of one length together, so that a batch holds little padding
        order = np.argsort(inputs["attention_mask"][rows].sum(1).numpy(), kind="stable")
    with torch.inference_mode():
        found = torch.cat(
            [module(**batch_of(inputs, b)).float() for b in even_batches(rows[order], EVALUATION_BATCH)]
        )
    return found[np.argsort(order)]


def _classifier(cell: Cell, scratch: nn.Module | None) -> Classifier:
    module = copy.deepcopy(cell.expert.module) if scratch is None else scratch
    unfreeze(module, "lp-ft" if scratch is None else "from-scratch", rank=1)
    rows = cell.task.rows
    index = np.concatenate([rows["train"], rows["validation"]])
    features = predict(module, cell.inputs, index).clone()
    model = Classifier(module, nn.Linear(features.shape[1], cell.task.classes))
    if scratch is None:
        n, labels = len(rows["train"]), cell.labels[index]
        head = fit_linear_head(
            features,
            labels,
            train=torch.arange(n),
            validation=torch.arange(n, len(index)),
            outputs=cell.task.classes,
        )
        model.head.weight.data.copy_(head.weight)
        model.head.bias.data.copy_(head.bias)
    return model


def _train(cell: Cell, model: Classifier, config: TrainConfig) -> tuple[list[float], dict[str, torch.Tensor]]:
    rows = cell.task.rows["train"]
    steps = config.epochs * len(list(even_batches(rows, config.batch_size)))
    optimizer = torch.optim.AdamW(parameter_groups(model, config), fused=True)
    curve, kept, step = [_accuracy(model, cell, "validation")], _weights(model), 0
    for epoch in range(1, config.epochs + 1):
        model.train()
        if config.way.pretrained:
            hold_batch_norm(model)
        order = training_order(rows, seed=config.seed, epoch=epoch)
        for batch in even_batches(order, config.batch_size):
            step += 1
            if not _step(cell, model, optimizer, batch, share=cosine_schedule(step / steps)):
                return curve, kept
        curve.append(_accuracy(model, cell, "validation"))
        if curve[-1] >= max(curve) - 1.001 / len(cell.task.rows["validation"]):
            kept = _weights(model)
    return curve, kept


def _step(
    cell: Cell, model: Classifier, optimizer: torch.optim.Optimizer, batch: Any, *, share: float
) -> bool:
    """Make one step; return False when the loss is not finite, which ends the run."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share
    logits = model(**batch_of(cell.inputs, batch))
    weights = balanced_weights(cell.labels[cell.task.rows["train"]], cell.task.classes)
    loss = functional.cross_entropy(
        logits, cell.labels[batch], weight=None if weights is None else weights.to(logits)
    )
    if not bool(torch.isfinite(loss)):
        return False
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return True


def _weights(model: nn.Module) -> dict[str, torch.Tensor]:
    moving = {n for n, p in model.named_parameters() if p.requires_grad}
    buffers = {n for n, _ in model.named_buffers()}
    return {n: t.clone() for n, t in model.state_dict().items() if n in moving | buffers}


def _accuracy(model: Classifier, cell: Cell, part: str) -> float:
    rows = cell.task.rows[part]
    return float((predict(model, cell.inputs, rows).argmax(1) == cell.labels[rows]).double().mean())
