"""What the user says about lineage: this is a child of that, or it is not, whatever cards claim."""

from __future__ import annotations

from dataclasses import dataclass

from expertise_graph.core import USER_METHOD, Edge, Expert, InvalidInputError, NotFoundError, listed, setting
from expertise_graph.registry.claims import claims_of, find_parent, is_unset, reference_of, references_to
from expertise_graph.registry.lineage import RELATIONS, RUN, origin_of, stated_relation
from expertise_graph.registry.suspicion import agreement
from expertise_graph.store import Store

# Of lineage edges that the user makes.
USER_VERSION = "1"


@dataclass(frozen=True, kw_only=True)
class Stated:
    """What the user said about two experts, and what else is said about the child.

    Attributes:
        child: the expert.
        parent: id of the other one, or the reference of one that is not registered.
        known: the parent, where it is registered.
        edge: the lineage edge of the two; None where there is none any more.
        others: the other lineage edges to the child.
        before: whether it was so before.
    """

    child: Expert
    parent: str
    known: Expert | None
    edge: Edge | None
    others: tuple[Edge, ...]
    before: bool = False


def set_parent(store: Store, child: Expert, parent: str, *, relation: str | None = None) -> Stated:
    """Say that an expert is a child of another one; that counts more than what cards say of the two.

    Args:
        store: the registry.
        child: the expert.
        parent: an expert as the user names it, or the reference of one that is not registered.
        relation: one of `RELATIONS`; by default what card and tags of the child say.

    Raises:
        NotFoundError: for a name of nobody that is no reference.
        InvalidInputError: when they are the same, or the parent descends from the child by more than a claim.
    """
    if relation is not None and relation not in RELATIONS:
        raise InvalidInputError(
            f"{setting('relation', relation)} is no relation; there are: {', '.join(RELATIONS)}"
        )
    known, source = _parent(store, parent)
    if source == child.id or source in references_to(child):
        raise InvalidInputError(f"{child.short} cannot be its own parent; name another expert")
    if source in store.with_descendants([child.id]):
        called = _called(known, source)
        raise InvalidInputError(
            f"{called} descends from {child.short}, and cannot be its parent as well; if that is wrong, run "
            f"first: expertise-graph lineage unset {called} {child.short}"
        )
    there = store.lineage(parents=[source], children=[child.id])
    runs = [edge for edge in there if origin_of(edge) == RUN]
    edge = runs[0] if runs else _user_edge(store, source, known, child, relation)
    before = bool(runs) or any((e.method, e.meta) == (edge.method, edge.meta) for e in there)
    with store.transaction():
        for reference in {source, *(references_to(known) if known else ())}:
            store.drop_claims("unset", reference, child.id)
            if known and reference != source:
                store.drop_claims("lineage", reference, child.id)
        for one, other in ((source, child.id), (child.id, source)):
            store.drop_claims("suspected", one, other)
        if not before:
            store.put_claim(edge)
            store.log_lineage("set", source, child.id, {"relation": edge.meta["relation"]})
    return _stated(store, child, source, known, before=before)


def unset_parent(store: Store, child: Expert, parent: str) -> Stated:
    """Say that an expert is no child of another one: its claims and suspicions go, and do not come back.

    Args:
        store: the registry.
        child: the expert.
        parent: an expert as the user names it, or as the card of the child does.

    Raises:
        NotFoundError: when nothing says that it is one, naming the parents there are.
        InvalidInputError: when a run of ours trained the one from the other.
    """
    known, source = _parent_or_reference(store, parent)
    meant = {source, reference_of(parent), *(references_to(known) if known else ())}
    stated = [e for e in store.lineage(children=[child.id]) if e.source in meant or _claims(e, parent)]
    if runs := [edge for edge in stated if edge.run is not None]:
        raise InvalidInputError(
            f"{child.short} was trained from {_called(known, source)} by {runs[0].run}, which is on record; "
            f"to take that run back: expertise-graph runs rm {runs[0].run}"
        )
    suspected = [e for e in store.edges("suspected", child.id) if {e.source, e.target} & meant]
    sources = {
        *(e.source for e in stated),
        source,
        *(reference_of(str(e.meta["claimed"])) for e in stated if "claimed" in e.meta),
    }
    before = not stated and not suspected and is_unset(store, sorted(sources), child.id)
    if not stated and not suspected and not before:
        raise NotFoundError(_no_parent(store, child, parent))
    with store.transaction():
        for edge in (*stated, *suspected):
            store.drop_claims(edge.kind, edge.source, edge.target)
        for one in sorted(sources):
            store.put_claim(_unset_edge(one, child.id))
        if not before:
            store.log_lineage("unset", source, child.id, {})
    return _stated(store, child, source, known, before=before)


def _user_edge(store: Store, source: str, known: Expert | None, child: Expert, relation: str | None) -> Edge:
    distance = agreement(store, known, child) if known else None
    meta = {"relation": relation or stated_relation(child, parents=len(claims_of(child)))}
    return Edge(
        kind="lineage",
        source=source,
        target=child.id,
        weight=1.0,
        method=USER_METHOD,
        version=USER_VERSION,
        meta={**meta, **({} if distance is None else {"distance": round(distance, 4)})},
    )


def _unset_edge(source: str, child: str) -> Edge:
    return Edge(
        kind="unset",
        source=source,
        target=child,
        weight=0.0,
        method=USER_METHOD,
        version=USER_VERSION,
    )


def _stated(store: Store, child: Expert, source: str, known: Expert | None, *, before: bool) -> Stated:
    edges = store.lineage(children=[child.id])
    return Stated(
        child=child,
        parent=source,
        known=known,
        edge=next((edge for edge in edges if edge.source == source), None),
        others=tuple(edge for edge in edges if edge.source != source),
        before=before,
    )


def _parent(store: Store, text: str) -> tuple[Expert | None, str]:
    """Return the expert that a text names with its id, or the reference that it is."""
    try:
        known = store.find_expert(text)
        return known, known.id
    except NotFoundError as error:
        if ":" not in text and text.count("/") != 1:
            raise NotFoundError(
                f"{error} A parent that is not registered is written as hf:ORG/NAME or dir:PATH"
            ) from error
    reference = reference_of(text)
    found = find_parent(store, reference)
    return found, found.id if found else reference


def _parent_or_reference(store: Store, text: str) -> tuple[Expert | None, str]:
    try:
        return _parent(store, text)
    except NotFoundError:
        return None, reference_of(text)


def _claims(edge: Edge, text: str) -> bool:
    return edge.meta.get("claimed") == text


def _called(known: Expert | None, source: str) -> str:
    return known.short if known else source


def _no_parent(store: Store, child: Expert, parent: str) -> str:
    edges = store.lineage(children=[child.id])
    names = store.names([edge.source for edge in edges])
    there = listed([names.get(edge.source, edge.source) for edge in edges])
    said = f"its parents are: {there}" if there else "nothing says that it has a parent"
    return f"{child.short} is no child of {parent!r}; {said}. See: expertise-graph lineage {child.short}"
