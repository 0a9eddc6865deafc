"""What a ranking may know: the registry, and published models with their results beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import METADATA, Edge, Expert, Task
from expertise_graph.registry import Catalogue, as_remembered, data_key
from expertise_graph.store import Store

# How many deviations better an expert of ten times the parameters is expected to be. Of 51 networks of images
# and 11 of texts on 36 tasks, log-odds rise by .7 and 1.0 a decade, those of published encoders by .2
# (benchmarks/zoo, MIEB): half a deviation lies between, over three decades at most.
_GAP_A_DECADE, _MOST_DECADES = 0.5, 3.0


class Knowledge:
    """A registry with the known models of a modality that are not in it.

    A result of a known model counts for every expert that was registered from it, or that has its weights
    from elsewhere; one that is imported into the registry counts instead of the published one.

    Args:
        store: the registry.
        catalogue: known models; None for what the registry knows alone.
        modality: of the experts that are asked about.
        here: whether only those in the registry are; of the others, results count where one of theirs is a
            known model.
        claims: whether results count that only authors of experts claim.
    """

    def __init__(
        self,
        store: Store,
        catalogue: Catalogue | None,
        modality: str,
        *,
        here: bool = False,
        claims: bool = True,
    ) -> None:
        self.claims = claims
        self.store, self.modality, self.here, self._catalogue = store, modality, here, catalogue
        self._unavailable = store.unavailable()
        models = [m for m in catalogue.models if m.modality == modality] if catalogue else []
        self._models = [as_remembered(m, self._unavailable) for m in models] if self._unavailable else models
        if here and not self._here:
            self._models, catalogue = [], None
        self._tasks = list(catalogue.tasks) if catalogue else []
        self._results = catalogue.results if catalogue else ()

    def renewed(self) -> Knowledge:
        """Return the same of the registry as it is now."""
        return Knowledge(self.store, self._catalogue, self.modality, here=self.here, claims=self.claims)

    @cached_property
    def registered(self) -> list[Expert]:
        """The experts of the modality that are in the registry."""
        found = self.store.experts(self.modality)
        return [as_remembered(e, self._unavailable) for e in found] if self._unavailable else found

    @cached_property
    def _here(self) -> dict[str, list[Expert]]:
        """The experts of the registry that each known model is, by its id."""
        named: dict[str, list[Expert]] = {}
        for expert in self.registered:
            name = expert.name if not expert.runnable else f"{expert.source}:{expert.locator}"
            for key in {name, expert.weights_sha} - {""}:
                named.setdefault(key, []).append(expert)
        keys = {m.id: (m.name, m.meta.get("weights_sha")) for m in self._models}
        found = {m: {e.id: e for key in of for e in named.get(str(key), ())} for m, of in keys.items()}
        return {m: list(experts.values()) for m, experts in found.items() if experts}

    @cached_property
    def experts(self) -> list[Expert]:
        """The experts of the modality: those of the registry, then the known models that could be there."""
        if self.here:
            return self.registered
        here = [e for e in self.registered if not is_known_model(e) or is_loadable(e)]
        return [*here, *(m for m in self._models if m.id not in self._here and is_loadable(m))]

    @cached_property
    def unavailable(self) -> int:
        """How many known models are no candidates because they could not be had before."""
        known = [*self._models, *(e for e in self.registered if is_known_model(e))]
        return sum("unavailable" in model.meta for model in known)

    def nodes(self, ids: Iterable[str]) -> list[Expert]:
        """Return the experts with these ids, of any modality; those of the registry first."""
        wanted = set(ids)
        found = [as_remembered(e, self._unavailable) for e in self.store.experts(where={"id": wanted})]
        return [*found, *(m for m in self._models if m.id in wanted and m.id not in self._here)]

    def tasks(self) -> list[Task]:
        """Return all tasks that are known."""
        known = self.store.tasks()
        there = {t.id for t in known}
        return [*known, *(t for t in self._tasks if t.id not in there)]

    def results(self) -> list[Edge]:
        """Return all results; a published one for each expert that was registered from the model."""
        own = [edge for edge in self.store.edges("transfer") if self.claims or not edge.is_claim]
        models = {m.id for m in self._models}
        published: list[Edge] = []
        for edge in self._results:
            here = self._here.get(edge.source)
            if here:
                published += [replace(edge, source=expert.id) for expert in here]
            elif edge.source in models:
                published.append(edge)
        known = {(e.source, e.target, e.metric) for e in own if not e.is_claim}
        return [*own, *(e for e in published if (e.source, e.target, e.metric) not in known)]

    def covariates(self, ids: Iterable[str]) -> dict[str, dict[str, str | float]]:
        """Return what was imported about experts."""
        return self.store.covariates(ids)

    def names(self, ids: Iterable[str]) -> dict[str, str]:
        """Return what people call experts and tasks, by id."""
        nodes: list[Expert | Task] = [*self._models, *self._tasks]
        return {node.id: node.name for node in nodes} | self.store.names(ids)

    def population(self, ids: Sequence[str]) -> NDArray[np.int64] | None:
        """Return 1 for each expert that is a published model, 0 for the others (E,); None without any."""
        published = {m.id for m in self._models} | {e.id for here in self._here.values() for e in here}
        published |= {e.id for e in self.registered if is_known_model(e)}
        found = np.array([e in published for e in ids], dtype=np.int64)
        return found if found.any() else None

    def gap(self, nodes: Sequence[Expert | None], population: NDArray[np.int64] | None) -> float:
        """Return by how many deviations published models are expected to be better than the others, by size.

        Args:
            nodes: E experts, None where nothing is known of one.
            population: (E,) see `population`.
        """
        if population is None:
            return 0.0
        size = np.array([np.log10(e.params) if e is not None and e.params > 0 else np.nan for e in nodes])
        sizes = [size[(population == one) & ~np.isnan(size)] for one in (0, 1)]
        if not all(len(s) for s in sizes):
            return 0.0
        decades = float(sizes[1].mean() - sizes[0].mean())
        return _GAP_A_DECADE * float(np.clip(decades, -_MOST_DECADES, _MOST_DECADES))

    def trained_on(self, task: Task) -> set[str]:
        """Return the ids of known models, and of experts from them, that learnt from data of this name."""
        name = data_key(task.name)
        return {
            e
            for m in self._models
            if name and name in map(data_key, m.datasets)
            for e in (m.id, *(x.id for x in self._here.get(m.id, ())))
        }


def is_free(model: Expert) -> bool:
    """Tell whether anybody can download a known model and run it: it must be ungated, too."""
    return is_loadable(model) and not model.meta.get("gated")


def is_loadable(model: Expert) -> bool:
    """Tell whether a known model can be registered.

    It must be published on the Hub or by timm, without code of its own, and not be known to have no weights
    in safetensors, or to be gone or broken. A catalogue from elsewhere could else name a file of this
    machine, or code.
    """
    meta, from_hub = model.meta, model.name.startswith(("hf:", "timm:"))
    fit = meta.get("safetensors") is not False and not meta.get("unavailable")
    return from_hub and fit and not meta.get("remote_code")


def is_known_model(expert: Expert) -> bool:
    """Tell whether an expert is a model of the catalogue, or found on the Hub, that is not registered."""
    return expert.source == METADATA and (expert.id.startswith("known:") or bool(expert.meta.get("hub")))
