"""What fine-tuning an expert takes, memory and minutes, before anything of it is downloaded or run."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from expertise_graph.core import FloatArray, Footprint

# Bytes a parameter: the expert as it is loaded and the copy that is trained, each in float32.
_LOADED = 8
# Bytes a parameter that is trained: gradient, two moments of Adam, the best epoch, and its copy while it
# changes.
_TRAINED = 20
# Layers are slower than the shapes that the machine was timed with: the first seven cells of benchmarks/fits.
_SLOWER = 1.4
# Seconds around the passes: reading weights and items, writing the model, its card and logs; and of adapters,
# loading their library. Measured on the machine of benchmarks/fits.
_AROUND, _ADAPTER_AROUND = 3.0, 4.5
# A process that trains, beside its tensors: Python, torch for CPUs, transformers, accelerate, scipy.
_PROCESS = 470e6
# Adapters keep what enters each layer once more, and their library is loaded beside them.
_ADAPTER_KEPT, _ADAPTER_BASE = 1.5, 60e6
# What a step takes for the moment beside what it keeps, in multiples of its largest operation: gradients of
# activations, and what kernels rearrange.
_MOMENTARY = 2.0
# Preprocessed items are kept up to this size, twice while they are joined before training begins. More of
# them go to a file, see `training.batches.CACHE_BYTES`.
_CACHE, _JOINED = 512 * 2**20, 2
# Numbers of the images that a CPU runs at a time: four of 224 pixels. The widest activations of more exceed
# 32 MB, which the allocator takes from the system for each layer again: measured in benchmarks/throughput.
AT_ONCE_NUMBERS = 4 * 3 * 224 * 224
# Items that are predicted together, see `training.trainable.EVALUATION_BATCH`.
_EVALUATED = 64
# A backward pass costs two forward passes; one where the weights stay.
_BACKWARD, _BACKWARD_FROZEN = 2.0, 1.2
# Bytes that a step of AdamW moves for each parameter: weight, gradient and moments read and written.
_STEP_BYTES = 28
# UTF-8 bytes to a token: glosses of words take 2.8 with a vocabulary of 3,200, and 4.9 with BERT's of 30,522.
# In between by the logarithm; of larger ones most is for other languages. And tokens that every text has.
_FEW_TOKENS, _FEW_BYTES, _BYTES_A_FOLD, _MOST_BYTES, _EXTRA_TOKENS = 3200, 2.83, 0.92, 4.9, 2
# Texts are cut to so many tokens, unless something else was asked for at registration.
_MOST_TOKENS = 512


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast this machine computes, in single precision.

    Attributes:
        linear: multiply-adds a second of matrix products.
        convolved: the same of convolutions.
        moved: bytes a second of everything else.
        kernel: seconds that an operation takes, however small it is.
        calibrated: whether it was measured with what trains, and not with numpy alone.
    """

    linear: float
    convolved: float
    moved: float
    kernel: float
    calibrated: bool = True


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What of a training decides what it takes.

    Attributes:
        trained: which share of the parameters is trained, those in token tables left out.
        adapts: whether adapters are trained beside the weights.
        probes: whether a linear probe comes first.
        fine_tunes: whether anything but a head is trained.
        epochs: passes over the training items.
        batch_size: items to a step.
        augments: whether images are changed at random in each step.
    """

    trained: float = 1.0
    adapts: bool = False
    probes: bool = True
    fine_tunes: bool = True
    epochs: int = 20
    batch_size: int = 32
    augments: bool = True


@dataclass(frozen=True, kw_only=True)
class Workload:
    """The data of a training.

    Attributes:
        train: items to train on.
        validation: items to choose the epoch by.
        test: items to measure the result on.
        lengths: UTF-8 bytes of some texts; none for other items.
    """

    train: int
    validation: int
    test: int
    lengths: tuple[int, ...] = ()

    @property
    def items(self) -> int:
        """All items."""
        return self.train + self.validation + self.test

    def padded(self, batch: int, footprint: Footprint) -> float:
        """Return the tokens that a text of a random batch is padded to, on average."""
        if not self.lengths:
            return 1.0
        tokens = np.sort(self._tokens(footprint))
        # The expected maximum of so many draws.
        places = (np.arange(1, len(tokens) + 1) / len(tokens)) ** min(batch, max(self.train, 1))
        return float(np.diff(places, prepend=0.0) @ tokens)

    def longest(self, footprint: Footprint) -> float:
        """Return the tokens of the longest text."""
        return float(self._tokens(footprint).max()) if self.lengths else 1.0

    def _tokens(self, footprint: Footprint) -> FloatArray:
        rows = footprint.vocabulary
        folds = math.log(max(rows, _FEW_TOKENS) / _FEW_TOKENS) if rows else math.inf
        a_token = min(_FEW_BYTES + _BYTES_A_FOLD * folds, _MOST_BYTES)
        found = np.asarray(self.lengths, dtype=np.float64) / a_token + _EXTRA_TOKENS
        return np.minimum(found, footprint.longest or _MOST_TOKENS)


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What a training is likely to take.

    Attributes:
        memory: peak bytes of its process.
        seconds: of the whole, all epochs run.
        inference: peak bytes of a process that runs the expert without training it.
    """

    memory: float
    seconds: float
    inference: float


def estimated(footprint: Footprint, *, plan: Plan, workload: Workload, speed: Speed) -> Demand:
    """Return what fine-tuning a network takes.

    Args:
        footprint: of the network, for one input.
        plan: of the training.
        workload: the data.
        speed: of the machine.
    """
    longest = workload.longest(footprint)
    momentary = _MOMENTARY * footprint.of("widest", longest)
    passing = momentary * _together(footprint, _EVALUATED)
    held = _PROCESS + _LOADED * footprint.params + (_ADAPTER_BASE if plan.adapts else 0.0)
    keeping = 0.0
    if plan.fine_tunes:
        kept = footprint.of("kept", longest) * (_ADAPTER_KEPT if plan.adapts else 1.0)
        keeping = _together(footprint, plan.batch_size) * (kept + momentary)
    preprocessed = 4.0 * footprint.numbers * workload.items
    cached = preprocessed if preprocessed <= _CACHE else 0.0
    training = _TRAINED * _trained(footprint, plan) + max(passing, keeping) + cached
    return Demand(
        memory=held + max(training, _JOINED * cached),
        seconds=_seconds(footprint, plan, workload, speed),
        inference=held + passing,
    )


def _trained(footprint: Footprint, plan: Plan) -> float:
    """Return how many parameters of the network are trained; token tables are not."""
    return plan.trained * max(footprint.params - footprint.lookup, 0) if plan.fine_tunes else 0.0


def _together(footprint: Footprint, batch: int) -> int:
    """Return how many items of a batch are computed together: all texts, and few large images."""
    return min(batch, max(1, AT_ONCE_NUMBERS // footprint.numbers)) if footprint.numbers else batch


def _seconds(footprint: Footprint, plan: Plan, workload: Workload, speed: Speed) -> float:
    def forward(batch: int) -> float:
        tokens = workload.padded(batch, footprint)
        return forward_seconds(footprint, tokens, _together(footprint, batch), speed)

    # The probe sees all items but those of the test, and mirrored images of the validation once more.
    probed = workload.train + workload.validation if plan.probes or plan.augments else 0
    seconds = _AROUND + (_ADAPTER_AROUND if plan.adapts else 0.0)
    seconds += forward(_EVALUATED) * (workload.test + 2 * workload.validation + probed)
    if plan.fine_tunes:
        backward = _BACKWARD_FROZEN if plan.adapts else _BACKWARD
        stepping = math.ceil(workload.train / plan.batch_size) * _STEP_BYTES * _trained(footprint, plan)
        training = workload.train * (1 + backward) * forward(plan.batch_size) + stepping / speed.moved
        seconds += plan.epochs * (training + workload.validation * forward(_EVALUATED))
    return seconds


def forward_seconds(footprint: Footprint, tokens: float, together: int, speed: Speed) -> float:
    """Return the seconds that one item takes in a forward pass of several together."""
    return _SLOWER * (
        footprint.of("linear", tokens) / speed.linear
        + footprint.of("convolved", tokens) / speed.convolved
        + footprint.of("moved", tokens) / speed.moved
        + footprint.kernels * speed.kernel / together
    )
