"""A task as a point in probe space: what an ideal expert for it would answer to the probes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import FloatArray, IntArray
from expertise_graph.features import centred_gram, sketch
from expertise_graph.transferability import ridge_predict

TASK_METHOD, TASK_VERSION = "landmark-ridge", "2"


def respond(task_features: FloatArray, labels: IntArray, probe_features: FloatArray) -> NDArray[np.float32]:
    """Return what a task looks like to one expert, as a sketch (m,) of a Gram matrix over the probes.

    A ridge classifier is fitted to the expert's features of the task sample and applied to its
    features of the probes; experts for the task would find those probes alike that it finds alike.

    Args:
        task_features: (n, d).
        labels: (n,) int.
        probe_features: (p, d).
    """
    return sketch(centred_gram(ridge_predict(task_features, labels, probe_features).numpy()))


def embed_task(responses: Sequence[FloatArray], accuracies: Sequence[float]) -> NDArray[np.float32] | None:
    """Return the (m,) embedding of a task, or None when no expert sees any structure in it.

    Args:
        responses: of the experts that were run.
        accuracies: of each; one counts by the square of its odds, so that the best speak.
    """
    if not responses:
        return None
    inside = np.clip(accuracies, 0.01, 0.99)
    weights = np.square(inside / (1.0 - inside))
    total = (weights / weights.sum()) @ np.stack(responses).astype(np.float64)
    return total.astype(np.float32) if total.any() else None
