"""How far the items of a task are from the probe set, as the experts that were run see them.

What is known of experts that were not run rests on the probe set: their similarity, and the embedding of the
task. On the 36 tasks of the zoo this distance tells nothing sure of the errors of predictions (LOG.md), so
intervals stay; noise, other scripts and strings that are no language stand out, and the answer says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from expertise_graph.core import FloatArray, setting
from expertise_graph.data import plural_of

# From this distance on inputs are of another kind. Of 36 tasks of letters, pictures, clothes and texts
# experts tell 1.2 to 2.1 on average, one alone at most 2.74; of noise, blocks in black and white, hexadecimal
# numbers and a script of which they know no letter 2.8 and more (LOG.md).
FAR = 2.75
# Distances that a note still says, and the largest that one expert counts with.
_MOST_SAID, _MOST = 99.0, 1000.0
# Spread, as a share of that of the probes, below which all items are the same to an expert: rounding.
_LEAST_SPREAD = 1e-4


def distance_to_probes(items: FloatArray, probes: FloatArray) -> float:
    """Return how far items are from the nearest probe for how much they differ; of probes one.

    That is the median distance to the nearest probe over the root mean square distance to the mean, divided
    by the same of each probe and the others. Large where probes are too far away to tell the items apart,
    infinite where an expert sees all items alike, NaN where it does so of the probes.

    Args:
        items: (n, d) features of an expert, n at least 2.
        probes: (m, d) of the same expert on the probe set.
    """
    x, p = np.asarray(items, dtype=np.float64), np.asarray(probes, dtype=np.float64)
    to_probes = _squared_distances(x, p).min(axis=1)
    among = _squared_distances(p, p)
    np.fill_diagonal(among, np.inf)
    near, usually_near = np.median(np.sqrt(to_probes)), np.median(np.sqrt(among.min(axis=1)))
    spread, usual = _spread(x), _spread(p)
    if usually_near <= 0.0 or usual <= 0.0:
        return math.nan
    return float(near / spread / (usually_near / usual)) if spread > _LEAST_SPREAD * usual else math.inf


def _squared_distances(x: FloatArray, y: FloatArray) -> FloatArray:
    found = np.square(x).sum(axis=1)[:, None] + np.square(y).sum(axis=1)[None, :] - 2.0 * x @ y.T
    return np.asarray(found.clip(min=0.0))


def _spread(x: FloatArray) -> float:
    return float(np.sqrt(np.square(x - x.mean(axis=0)).sum(axis=1).mean()))


def far_note(distances: Iterable[float], modality: str) -> list[str]:
    """Return a line where the items of a task are far from the probe set, none where they are not.

    Args:
        distances: see `distance_to_probes`, of each expert that was run.
        modality: of the task.
    """
    known = [min(d, _MOST) for d in distances if d > 0.0]
    if not known:
        return []
    distance = math.exp(sum(map(math.log, known)) / len(known))
    if distance < FAR:
        return []
    said = f"{distance:.1f}" if distance < _MOST_SAID else f"more than {_MOST_SAID:.0f}"
    unlike = f"these {plural_of(modality)} are unlike the probe set that experts are compared on"
    far = f"{said} times as far from it as usual, for how much they differ among themselves"
    little = "what is predicted of experts that were not run rests on little"
    return [f"{unlike}: {far}; {little}, so run more of them ({setting('budget')})"]
