"""A task as a point in probe space: what an ideal expert for it would answer to the probes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expertise_graph.similarity import centred_gram, sketch
from expertise_graph.transferability import ridge_predict
from expertise_graph.types import FloatArray, IntArray

TASK_METHOD, TASK_VERSION = "landmark-ridge", "1"


@dataclass(frozen=True, kw_only=True)
class Landmark:
    """A landmark expert's features on the task sample and on the probe set, and its accuracy there."""

    task_features: FloatArray
    probe_features: FloatArray
    accuracy: float


def embed_task(landmarks: Iterable[Landmark], labels: IntArray) -> NDArray[np.float32] | None:
    """Return the (m,) embedding of a task, or None when no landmark sees any structure in it.

    On each landmark a ridge classifier is fitted to the task sample and applied to the landmark's
    probe features; the Gram matrix of its predictions is what an expert for the task would show.
    Landmarks count by how far their accuracy is above chance.

    Args:
        landmarks: experts that were run on the sample.
        labels: (n,) int of the sample.
    """
    chance = 1.0 / len(np.unique(labels))
    total: NDArray[np.float64] | None = None
    for landmark in landmarks:
        predictions = ridge_predict(landmark.task_features, labels, landmark.probe_features).numpy()
        gram = centred_gram(predictions) * max(landmark.accuracy - chance, 0.01)
        total = gram if total is None else total + gram
    return sketch(total) if total is not None and total.any() else None
