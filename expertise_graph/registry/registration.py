"""Registering an expert: resolve, probe, embed, and enter it into the graph."""

from __future__ import annotations

from expertise_graph.core import Edge, Embedding, Expert, ProbeSet
from expertise_graph.features import SKETCH_METHOD, SKETCH_SEED, SKETCH_VERSION, Prober, centred_gram, sketch
from expertise_graph.features import probe_sets as probes
from expertise_graph.registry.neighbours import refresh
from expertise_graph.store import Store

LINEAGE_METHOD, LINEAGE_VERSION = "model card, self-reported", "1"


def register(store: Store, prober: Prober, expert: Expert) -> Expert:
    """Probe and embed a resolved expert, and store it with its place in the graph.

    History that was imported under its name or Hub id becomes its own.
    The forward pass comes first and is cached; node and embedding then appear together. Doing it
    again changes nothing but the description.

    Raises:
        NotFoundError: when there is no probe set of its modality.
        SourceError: when it cannot be run.
    """
    probe_set = probes.current(store, expert.modality)
    embedding = embed(store, prober, expert, probe_set)
    with store.transaction():
        _forget_other_weights(store, expert)
        store.put_expert(expert)
        _take_over_metadata(store, expert)
        if not _has(store, embedding):
            store.put_embedding(embedding)
        store.put_edges(_lineage(store))
    refresh(store, probe_set.id)
    return store.expert(expert.id)


def embed(store: Store, prober: Prober, expert: Expert, probe_set: ProbeSet) -> Embedding:
    """Return the embedding of an expert on a probe set."""
    features = prober.features(expert, probes.inputs(store, probe_set))
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


def remove(store: Store, expert: Expert) -> None:
    """Take an expert out of the graph; measured history and its files stay."""
    store.remove_expert(expert.id)
    for probe_set in store.probe_sets(expert.modality):
        refresh(store, probe_set.id)


def embed_missing(store: Store, prober: Prober, probe_set: ProbeSet) -> list[str]:
    """Embed every expert of the modality that has no vector on the probe set.

    Returns:
        The names of experts that could not be run, with the reason.
    """
    _, owners, _ = store.vectors(probe_set.id)
    failed = []
    for expert in store.experts(probe_set.modality):
        if expert.id in owners or not expert.runnable:
            continue
        try:
            store.put_embedding(embed(store, prober, expert, probe_set))
        except Exception as error:  # one expert that is gone must not keep the others out
            failed.append(f"{expert.name}: {error}")
    refresh(store, probe_set.id)
    return failed


def _forget_other_weights(store: Store, expert: Expert) -> None:
    """Drop what is known about an id that stood for other weights, as that of a shipped expert may."""
    for old in store.experts(expert.modality):
        same = (old.weights_sha, old.preprocessing_sha) == (expert.weights_sha, expert.preprocessing_sha)
        if old.id == expert.id and not same:
            store.remove_expert(old.id)


def _take_over_metadata(store: Store, expert: Expert) -> None:
    """Give the expert what was imported under its name before it was registered."""
    names = {expert.name, expert.locator, expert.id, f"{expert.source}:{expert.locator}"}
    for node in store.metadata_only(names):
        store.move_history(node, expert.id)


def _has(store: Store, embedding: Embedding) -> bool:
    return embedding.owner in store.vectors(embedding.probe_set)[1]


def _lineage(store: Store) -> list[Edge]:
    """Return the edges that cards declare between registered experts and that are not there yet."""
    zoo = store.experts()
    known = {(e.source, e.target) for e in store.edges("lineage")}
    by_name = {e.id: e.id for e in zoo} | {e.locator: e.id for e in zoo if e.source == "hf"}
    pairs = ((by_name.get(e.base_model or ""), e.id) for e in zoo)
    return [
        Edge(
            kind="lineage",
            source=parent,
            target=child,
            weight=1.0,
            method=LINEAGE_METHOD,
            version=LINEAGE_VERSION,
        )
        for parent, child in pairs
        if parent and parent != child and (parent, child) not in known
    ]
