"""Registering an expert: probe, embed, and enter it into the graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from expertise_graph.core import (
    METADATA,
    Embedding,
    Expert,
    FailedError,
    InvalidInputError,
    MissingExtraError,
    NotFoundError,
    ProbeSet,
    SourceError,
    UntrustedError,
    setting,
)
from expertise_graph.features import SKETCH_METHOD, SKETCH_SEED, SKETCH_VERSION, Prober, centred_gram, sketch
from expertise_graph.features import probe_sets as probes
from expertise_graph.models import claims_from
from expertise_graph.registry.aliases import function_of, joined
from expertise_graph.registry.card_results import keep_claims, without_claims
from expertise_graph.registry.claims import connect
from expertise_graph.registry.neighbours import refresh
from expertise_graph.registry.suspicion import suspect_new
from expertise_graph.store import ORIGIN, Store


def register(store: Store, prober: Prober, expert: Expert) -> Expert:
    """Probe and embed a resolved expert, and store it with its place in the graph.

    History that was imported under its name or Hub id becomes its own.
    The same one under another name or from another place becomes an alias of the first.
    The forward pass comes first and is cached; node and embedding then appear together. Doing it
    again changes nothing but the description.

    Raises:
        NotFoundError: when there is no probe set of its modality.
        SourceError: when it cannot be run, on the probe set or on inputs as unlike as data may hold.
    """
    with registering(store) as add:
        return add(expert, prober)


@contextmanager
def registering(store: Store) -> Iterator[Callable[[Expert, Prober], Expert]]:
    """Give a function that registers one expert after another, as `register`.

    Their neighbours are found together at the end of the block. Those of a process that was killed before
    are found by the next one.
    """
    touched: set[str] = set()

    def add(expert: Expert, prober: Prober) -> Expert:
        claims = claims_from(expert.meta)
        given = without_claims(expert)
        expert = joined(store, _as_registered(store, given))
        pulled = ORIGIN in expert.meta
        expert = dataclasses.replace(expert, meta={k: v for k, v in expert.meta.items() if k != ORIGIN})
        while True:
            probe_set = probes.current(store, expert.modality)
            embedding = embed(store, prober, expert, probe_set, new=True)
            touched.add(probe_set.id)
            with store.transaction():
                # Another process may have made another probe set the current one meanwhile.
                if probes.current(store, expert.modality).id != probe_set.id:
                    continue
                _forget_other_weights(store, expert)
                store.put_expert(expert)
                store.forget_failures(expert.id)
                store.forget_unavailable([f"{expert.source}:{expert.locator}"])
                _take_over_metadata(store, given, expert)
                # The vector of one that was pulled is another's word for it until it is registered here.
                if pulled or not store.has_embedding(expert.id, probe_set.id):
                    store.put_embedding(embedding)
                connect(store, expert)
                # A copy without a card does not take back what the card says.
                if claims or (given.source, given.locator) == (expert.source, expert.locator):
                    keep_claims(store, store.expert(expert.id), claims)
            suspect_new(store, store.expert(expert.id))
            return store.expert(expert.id)

    try:
        yield add
    finally:
        for probe_set in sorted(touched):
            refresh(store, probe_set)


def refuse_taken_name(store: Store, expert: Expert) -> None:
    """Refuse a name that was chosen for an expert where another one goes by it.

    Names that come from sources are not refused: two repositories may well call their models alike.

    Raises:
        InvalidInputError: saying which has it.
    """
    expert = _as_registered(store, expert)
    for other in store.experts_called(expert.name):
        # What is known by name only becomes what is registered under that name.
        if other.runnable and other.id != expert.id and function_of(other) != function_of(expert):
            has = "is the name of" if other.name == expert.name else "is another name of"
            raise InvalidInputError(
                f"{expert.name!r} {has} {other.short} from {other.source}:{other.locator}; choose "
                f"another {setting('name')}, or free this one first with: expertise-graph rm {expert.name}"
            )


def embed(
    store: Store, prober: Prober, expert: Expert, probe_set: ProbeSet, *, new: bool = False
) -> Embedding:
    """Return the embedding of an expert on a probe set; a new one is tried on unlike inputs first."""
    features = prober.features(expert, probes.inputs(store, probe_set), new=new)
    return Embedding(
        owner=expert.id,
        kind="expert",
        probe_set=probe_set.id,
        method=SKETCH_METHOD,
        version=SKETCH_VERSION,
        vector=sketch(centred_gram(features)),
        seed=SKETCH_SEED,
        n=len(features),
    )


def embed_missing(store: Store, prober: Prober, probe_set: ProbeSet) -> list[str]:
    """Embed every expert of the modality that has no vector on the probe set.

    Returns:
        The names of experts that could not be run, with the reason.
    """
    failed = []
    with store.pending(probes.PENDING, probe_set.id, {}):
        for expert in store.without_embedding(probe_set.id, probe_set.modality):
            try:
                embedding = embed(store, prober, expert, probe_set)
            except FailedError as error:
                failed.append(str(error))
                continue
            except (SourceError, UntrustedError, NotFoundError, MissingExtraError) as error:
                failed.append(f"{expert.name}: {error}")
                continue
            with store.transaction():
                # Another process may have removed it, or embedded it, meanwhile.
                if store.known_expert(expert.id) and not store.has_embedding(expert.id, probe_set.id):
                    store.put_embedding(embedding)
        refresh(store, probe_set.id)
    return failed


def _as_registered(store: Store, expert: Expert) -> Expert:
    """Return an expert under the id, and with the hash, that an earlier version registered it by.

    Those left the architecture out; that of such an expert is noted when it is first registered again.
    """
    old = store.known_expert(str(expert.meta.get("former_id", "")))
    if old is None or "recipe" in old.meta or old.weights_sha != expert.weights_sha:
        return expert
    noted = old.meta.get("newer_preprocessing_sha", expert.preprocessing_sha)
    former = expert.meta["former_preprocessing_sha"]
    if old.preprocessing_sha != former or noted != expert.preprocessing_sha:
        return expert
    return dataclasses.replace(
        expert,
        id=old.id,
        preprocessing_sha=former,
        meta={**old.meta, "newer_preprocessing_sha": expert.preprocessing_sha},
    )


def _forget_other_weights(store: Store, expert: Expert) -> None:
    """Drop what is known about an id that stood for other weights, as that of a shipped expert may."""
    old = store.known_expert(expert.id)
    if old and (old.weights_sha, old.preprocessing_sha) != (expert.weights_sha, expert.preprocessing_sha):
        store.remove_expert(old.id)


def _take_over_metadata(store: Store, given: Expert, expert: Expert) -> None:
    """Give the expert what was imported under the name or place that it is registered by now."""
    names = {given.name, given.locator, given.id, f"{given.source}:{given.locator}"}
    for node in store.experts(where={"source": METADATA, "name": names}):
        # One with a hash of its weights is another expert of that name, which somebody shared.
        if not node.weights_sha:
            store.move_history(node.id, expert.id)
