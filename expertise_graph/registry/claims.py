"""Lineage that cards state: the base models they name as edges, also to parents that are not registered."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from expertise_graph.core import CARD_METHOD, Edge, Expert
from expertise_graph.models import ALIASES, BASES
from expertise_graph.registry.lineage import CARD, origin_of, stated_relation
from expertise_graph.store import ORIGIN, Store

# The first version kept neither the words of the card nor the relation, nor parents that are not registered.
CARD_VERSION = "2"

_HUB = re.compile(
    r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/(?:models/)?(?P<repo>[^/?#\s]+/[^/?#\s]+)(?:[/?#].*)?"
)
_REPOSITORY = re.compile(r"[\w.-]+(?:/[\w.-]+)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def reference_of(text: str) -> str:
    """Return what a card calls a model in the form of a reference, by which an expert is found later.

    Example:
        >>> reference_of("org/base"), reference_of("https://huggingface.co/org/base/tree/main")
        ('hf:org/base', 'hf:org/base')
        >>> reference_of("hf:org/base@main"), reference_of("./checkpoint-9"), reference_of("zoo:emoji")
        ('hf:org/base', 'dir:./checkpoint-9', 'zoo:emoji')
    """
    name = text.strip()
    if found := _HUB.fullmatch(name):
        return f"hf:{found['repo']}"
    if name.startswith(("/", "./", "../", "~")) or re.match(r"[A-Za-z]:[\\/]", name):
        return f"dir:{name.rstrip('/')}"
    if name.startswith("hf:"):
        repo, _, revision = name.partition("@")
        return name if _COMMIT.fullmatch(revision) else repo
    return f"hf:{name}" if _REPOSITORY.fullmatch(name) else name


def references_to(expert: Expert) -> set[str]:
    """Return all references that lead to an expert: its id, its places and its names."""
    places = [(expert.source, expert.locator, expert.name)]
    places += [(a["source"], a["locator"], a["name"]) for a in expert.meta.get(ALIASES, ())]
    found = {expert.id}
    for source, locator, name in places:
        found |= {f"{source}:{locator}", f"hf:{name}", *([f"hf:timm/{locator}"] if source == "timm" else [])}
    return found


def claims_of(expert: Expert) -> list[str]:
    """Return the base models that an expert's card names, as it writes them."""
    named = expert.meta.get(BASES)
    more = [text for text in named if isinstance(text, str)] if isinstance(named, list | tuple) else []
    return list(dict.fromkeys([*([expert.base_model] if expert.base_model else []), *more]))


def claims_itself(expert: Expert) -> bool:
    """Tell whether an expert's card names the expert itself as a base model."""
    own = references_to(expert)
    return any(reference_of(text) in own for text in claims_of(expert))


def find_parent(store: Store, reference: str) -> Expert | None:
    """Return the registered expert that a reference means: of a repository the newest, else by its name."""
    if known := store.known_expert(reference):
        return known
    scheme, _, rest = reference.partition(":")
    place = rest.partition("@")[0] if scheme == "hf" else rest
    found = store.experts_from(scheme, place)
    if not found and place.startswith("timm/"):
        found = store.experts_from("timm", place.removeprefix("timm/"))
    if found:
        return found[-1]
    called = store.experts_called(place) if scheme == "hf" else []
    return called[0] if len(called) == 1 else None


def connect(store: Store, expert: Expert) -> None:
    """Enter an expert into the lineage: edges to the base models of its card, and from it to its children.

    What a run left, and what the user said of a pair, stays. Doing it again changes nothing.
    """
    with store.transaction():
        _claim_parents(store, expert)
        _adopt_children(store, expert)


def is_unset(store: Store, parents: Iterable[str], child: str) -> bool:
    """Tell whether the user said that an expert is no child of a parent, given by any of its references.

    What other people said, whose registry was merged into this one, does not count.
    """
    said = (e for p in dict.fromkeys(parents) for e in store.edges("unset", source=p, target=child))
    return any(ORIGIN not in edge.meta for edge in said)


def card_edge(parent: str, child: Expert, claimed: str, *, claims: int) -> Edge:
    """Return the edge for a base model that a card names, by the words of the card.

    Args:
        parent: id, or reference of one that is not registered.
        child: whose card it is.
        claimed: the words.
        claims: how many base models the card names.
    """
    meta: dict[str, Any] = {"relation": stated_relation(child, parents=claims), "claimed": claimed}
    if child.source == "adapter":
        # It is loaded as a change of that very parent.
        meta["confirmed"] = True
    return Edge(
        kind="lineage",
        source=parent,
        target=child.id,
        weight=1.0,
        method=CARD_METHOD,
        version=CARD_VERSION,
        meta=meta,
    )


def _claim_parents(store: Store, expert: Expert) -> None:
    claims, own = claims_of(expert), references_to(expert)
    there = store.lineage(children=[expert.id])
    ours = {edge.source for edge in there if origin_of(edge) != CARD}
    cards = [edge for edge in there if origin_of(edge) == CARD]
    kept: set[str] = set()
    for text in claims:
        reference = reference_of(text)
        if reference in own:
            continue
        before = next((e for e in cards if reference_of(str(e.meta.get("claimed", ""))) == reference), None)
        parent = store.known_expert(before.source) if before else None
        parent = parent or find_parent(store, reference)
        source = parent.id if parent else reference
        if source == expert.id or is_unset(store, [source, reference], expert.id):
            continue
        if any(_is_meant(store, reference, one) for one in ours):
            continue
        kept.add(source)
        if not any(_is_same_claim(edge, source, text) for edge in cards):
            store.put_claim(card_edge(source, expert, text, claims=len(claims)))
            # What the weights suggested is said now.
            for one, other in ((source, expert.id), (expert.id, source)):
                store.drop_claims("suspected", one, other)
    for edge in cards:
        # What the card does not say any more; of the first version it is not known what it said.
        if edge.source not in kept and "claimed" in edge.meta:
            store.drop_claims("lineage", edge.source, expert.id)


def _is_same_claim(edge: Edge, source: str, text: str) -> bool:
    return edge.source == source and edge.meta.get("claimed", text) == text


def _is_meant(store: Store, reference: str, parent: str) -> bool:
    """Tell whether a card means a parent that is known otherwise: the same, or the repository it is from."""
    if parent == reference or parent.partition("@")[0] == reference:
        return True
    known = store.known_expert(parent)
    return known is not None and reference in references_to(known)


def _adopt_children(store: Store, expert: Expert) -> None:
    references = references_to(expert) - {expert.id}
    for edge in store.lineage(parents=sorted(references)):
        if edge.target != expert.id and not store.lineage(parents=[expert.id], children=[edge.target]):
            store.put_claim(_from(edge, expert.id))
        store.drop_claims("lineage", edge.source, edge.target)
    for child, text in _claimed_by_earlier_versions(store, expert):
        reference = reference_of(text)
        others = [e.source for e in store.lineage(children=[child.id])]
        if any(_is_meant(store, reference, one) and store.known_expert(one) for one in others):
            continue
        if child.id != expert.id and not is_unset(store, [expert.id, *references], child.id):
            store.put_claim(card_edge(expert.id, child, text, claims=len(claims_of(child))))


def _claimed_by_earlier_versions(store: Store, expert: Expert) -> Iterator[tuple[Expert, str]]:
    """Yield the experts that name this one as their base model, with how; no edge is there for some."""
    names = [expert.id, *([expert.locator] if expert.source == "hf" else [])]
    for child in store.experts(where={"base_model": names}):
        if not store.lineage(parents=[expert.id], children=[child.id]):
            yield child, str(child.base_model)


def _from(edge: Edge, source: str) -> Edge:
    return Edge(
        kind=edge.kind,
        source=source,
        target=edge.target,
        weight=edge.weight,
        method=edge.method,
        version=edge.version,
        meta=edge.meta,
        created_at=edge.created_at,
    )
