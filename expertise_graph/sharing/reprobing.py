"""Experts of others run again: whether their embeddings are what was said."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from expertise_graph.core import Expert, ExpertiseError, NotFoundError
from expertise_graph.features import Context, normalise, probe_sets
from expertise_graph.registry import embed
from expertise_graph.store import ORIGIN, Arrays, Store

# Of five shipped experts, features in float64 instead of float32 move the cosine of the embedding by 2e-13
# at most, in bfloat16 by 6e-5, noise of 1 % by 1e-5; random weights bring it down to .13 to .62 (LOG.md).
# Three times what the coarsest arithmetic does is left to other machines.
LEAST_COSINE = 0.9998
"""Cosine of two embeddings below which they are not of one expert."""


@dataclass(frozen=True, kw_only=True)
class Reprobed:
    """An expert that was run again.

    Attributes:
        expert: that was pulled.
        origin: where its embedding is from.
        cosine: of that and of the one that it gives here; None where it could not be run.
        error: why not; None where it could.
    """

    expert: Expert
    origin: str
    cosine: float | None
    error: str | None = None

    @property
    def confirmed(self) -> bool | None:
        """Whether it gives here what was said; None where it could not be run."""
        return None if self.cosine is None else self.cosine >= LEAST_COSINE


def reprobe(context: Context, n: int, *, seed: int = 0) -> list[Reprobed]:
    """Run some of the experts that were pulled on the probe set again, and compare the embeddings.

    Nothing is kept of it, and nothing that is kept is used.

    Args:
        context: store and prober.
        n: how many, drawn at random; all where there are fewer.
        seed: of the draw.

    Raises:
        NotFoundError: when no expert was pulled that can be run.
    """
    pulled = _pulled(context.store)
    if not pulled:
        raise NotFoundError(
            "no expert was pulled that can be run here and has an embedding on the current probe set; pull a "
            "registry first, with: expertise-graph pull ORG/NAME"
        )
    drawn = np.random.default_rng(seed).permutation(len(pulled))[:n]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        afresh = replace(context, prober=replace(context.prober, arrays=Arrays(Path(folder))))
        for number in sorted(drawn.tolist()):
            found.append(_compared(afresh, pulled[number]))
    return found


def _pulled(store: Store) -> list[Expert]:
    """Return the experts whose embedding on the current probe set is from elsewhere, by id."""
    found: list[Expert] = []
    for modality in sorted({p.modality for p in store.probe_sets()}):
        probe_set = probe_sets.current(store, modality)
        experts = [e for e in store.experts(modality) if e.runnable and ORIGIN in e.meta]
        found += [e for e in experts if store.has_embedding(e.id, probe_set.id)]
    return sorted(found, key=lambda e: e.id)


def _compared(context: Context, expert: Expert) -> Reprobed:
    origin, store = str(expert.meta[ORIGIN]), context.store
    probe_set = probe_sets.current(store, expert.modality)
    try:
        here = embed(store, context.prober, expert, probe_set).vector
    except ExpertiseError as error:
        return Reprobed(expert=expert, origin=origin, cosine=None, error=str(error))
    _, _, vectors = store.vectors(probe_set.id, owners=[expert.id])
    there, again = normalise(np.stack([vectors[0], here]), dtype=np.float64)
    return Reprobed(expert=expert, origin=origin, cosine=float(there @ again))
