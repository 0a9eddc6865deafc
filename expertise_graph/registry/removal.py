"""Taking experts, or second names of theirs, out of the graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from expertise_graph.core import Expert, NotFoundError
from expertise_graph.models import ALIASES, RunFolder
from expertise_graph.registry.neighbours import refresh
from expertise_graph.store import Store


@dataclass(frozen=True, kw_only=True)
class Removed:
    """What a name took out of the graph.

    Attributes:
        expert: that it led to.
        alias: the second name that alone was taken; None where the expert was.
        names: second names that went with the expert.
        also: other experts that its name led to as well, and does not any more.
        children: experts that were made from it and stay.
        results: measured results of it that stay.
    """

    expert: Expert
    alias: str | None = None
    names: tuple[str, ...] = ()
    also: tuple[Expert, ...] = ()
    children: int = 0
    results: int = 0


def remove(store: Store, names: Sequence[str]) -> list[Removed | None]:
    """Take experts out of the graph; measured results and files stay.

    An expert goes by its name, its id, name@hash or a unique beginning of these; a second name alone goes
    where that is given. All are looked up first, and one that cannot go keeps all.

    Args:
        store: the registry.
        names: of the experts.

    Returns:
        What each name took; None where that was removed before.

    Raises:
        NotFoundError: when a name was never there, or means several.
        InvalidInputError: when a training from one of them is under way.
    """
    found = [_removable(store, name) for name in names]
    # Second names go first: they are gone with the expert otherwise, though both are asked for.
    for one in found:
        if one is not None and one.alias is not None:
            store.drop_alias(one.alias)
    gone: dict[str, Removed] = {}
    for one in found:
        if one is not None and one.alias is None and one.expert.id not in gone:
            gone[one.expert.id] = _remove_expert(store, one.expert)
    return [one if one is None or one.alias is not None else gone[one.expert.id] for one in found]


def _removable(store: Store, name: str) -> Removed | None:
    try:
        expert = store.find_expert(name, repair=True)
    except NotFoundError:
        if not (store.was_removed(name) or store.was_removed(name, begins=True)):
            raise
        return None
    if (alias := _alias_meant(expert, name)) is not None:
        return Removed(expert=expert, alias=alias)
    for run in store.runs(expert=expert.id):
        if run.status == "running":
            RunFolder(Path(run.path)).refuse_in_use(f"{expert.short}, from which {run.path} starts,")
    return Removed(expert=expert)


def _alias_meant(expert: Expert, text: str) -> str | None:
    """Return the second name of an expert that a text means, with or without a hash; None for its own."""
    if text in (expert.id, expert.name, expert.short):
        return None
    aliases = [alias["name"] for alias in expert.meta.get(ALIASES, ())]
    return next((name for name in (text, text.rpartition("@")[0]) if name in aliases), None)


def _remove_expert(store: Store, expert: Expert) -> Removed:
    """Take one expert out; where none has its name then, that name leads nowhere until it is given again."""
    names = dict.fromkeys(alias["name"] for alias in expert.meta.get(ALIASES, ()))
    names.pop(expert.name, None)
    children = {e.target for e in store.edges("lineage", source=expert.id) if store.known_expert(e.target)}
    done = Removed(
        expert=expert,
        names=tuple(names),
        children=len(children),
        results=sum(not edge.is_claim for edge in store.edges("transfer", source=expert.id)),
    )
    with store.transaction():
        store.remove_expert(expert.id)
        # What its card claims comes back with it.
        store.replace_claims(expert.id, [])
        namesakes = [other for other in store.experts_called(expert.name) if other.name != expert.name]
        if namesakes:
            store.drop_alias(expert.name)
    for probe_set in store.probe_sets(expert.modality):
        refresh(store, probe_set.id)
    return replace(done, also=tuple(namesakes))
