"""One expert under several names and places: whoever is registered first stays, the others lead to it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from expertise_graph.core import UNKNOWN, Expert
from expertise_graph.models import ALIASES, BASES, RELATION
from expertise_graph.store import Store

# What the meta of an expert holds of its card.
_OF_CARDS = (BASES, RELATION)


def joined(store: Store, expert: Expert) -> Expert:
    """Return the node that an expert becomes: the one that computes the same and is there, or itself.

    Of one that is there name and place stay, unless its folder is gone; what is new joins its aliases, its
    tags and its data sets.
    """
    old = _same(store, expert)
    if old is None:
        return expert
    gone = not old.runnable or (old.source == "dir" and not Path(old.locator).is_dir())
    kept = old
    if gone:
        kept = dataclasses.replace(
            old, source=expert.source, locator=expert.locator, revision=expert.revision
        )
    own = _alias(kept)
    aliases = [dict(alias) for alias in old.meta.get(ALIASES, ())]
    for found in (_alias(old), _alias(expert)):
        if found != own and found not in aliases:
            aliases.append(found)
    here = _place(own) == _place(_alias(expert))
    # The card that is there now counts as it is; that of another place where nothing was said before.
    said = expert if here or BASES not in old.meta else old
    meta = {name: value for name, value in old.meta.items() if name not in _OF_CARDS}
    meta |= expert.meta if here else {}
    meta |= {name: said.meta[name] for name in _OF_CARDS if name in said.meta}
    said_before = old.base_model in old.meta.get(BASES, ())
    return dataclasses.replace(
        kept,
        license=old.license if expert.license == UNKNOWN else expert.license,
        base_model=(expert.base_model if here and said_before else old.base_model) or expert.base_model,
        datasets=tuple(dict.fromkeys((*old.datasets, *expert.datasets))),
        tags=tuple(dict.fromkeys((*old.tags, *expert.tags))),
        meta={**meta, **({ALIASES: aliases} if aliases else {})},
    )


def _same(store: Store, expert: Expert) -> Expert | None:
    """Return the expert of the same weights, architecture and preprocessing."""
    wanted = function_of(expert)
    by_id = store.known_expert(expert.id)
    found = [*([by_id] if by_id else []), *store.experts(where={"weights_sha": expert.weights_sha})]
    return next((e for e in found if function_of(e) == wanted), None)


def function_of(expert: Expert) -> tuple[object, ...]:
    """Return what two experts have in common that compute the same."""
    return (
        expert.weights_sha,
        expert.preprocessing_sha,
        expert.modality,
        expert.architecture,
        expert.trusted_code,
    )


def _alias(expert: Expert) -> dict[str, Any]:
    return {
        "name": expert.name,
        "source": expert.source,
        "locator": expert.locator,
        "revision": expert.revision,
    }


def _place(alias: dict[str, Any]) -> tuple[Any, ...]:
    return alias["source"], alias["locator"], alias["revision"]
