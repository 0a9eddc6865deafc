"""What changed on the Hub since models were registered or found there: told, and kept for later queries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from expertise_graph import models
from expertise_graph.core import (
    METADATA,
    UNKNOWN,
    Expert,
    ExpertiseError,
    InvalidInputError,
    Progress,
    silent,
)
from expertise_graph.models import CLAIMS, HubState
from expertise_graph.registry.card_results import LEFT_OUT, put_known
from expertise_graph.registry.catalogue import Catalogue
from expertise_graph.store import GATED, GONE, Store, Unavailable, now

ON_HUB = "on_hub"
"""In the meta of an expert: what the Hub said of its repository when it was asked, where that matters."""

UNCHANGED, MOVED, GONE_NOW, GATED_NOW, LICENSE, AGAIN, FAILED = (
    *("unchanged", "moved", "gone", "gated", "licence", "available again", "not asked"),
)

# After that time a model that failed is tried again: libraries change, and so do repositories.
_FORGET_AFTER = timedelta(days=30)
_SHOWN = 7


@dataclass(frozen=True, kw_only=True)
class Synced:
    """What the Hub says of one model.

    Attributes:
        id: of the expert or known model.
        name: for people.
        status: unchanged, or the most important change.
        changes: one line for each.
    """

    id: str
    name: str
    status: str
    changes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Subject:
    """A model to ask about: an expert, a known model of the registry, or one that could not be had."""

    reference: str
    pin: str | None
    expert: Expert | None = None
    entry: Unavailable | None = None

    @property
    def repo(self) -> str:
        """Where it is on the Hub."""
        scheme, _, locator = self.reference.partition(":")
        return f"timm/{locator}" if scheme == "timm" else locator


def sync_with_hub(
    store: Store,
    names: Sequence[str] = (),
    *,
    catalogue: Catalogue | None = None,
    progress: Progress = silent,
) -> list[Synced]:
    """Ask the Hub about experts and known models, keep what it says, and return it in their order.

    Experts stay at the commit that they were registered at. The description of a known model becomes what
    the Hub says now. What could not be had is forgotten where that may have changed.

    Args:
        store: the registry.
        names: of experts or known models; all that are from the Hub without any.
        catalogue: known models that are not in the registry.
        progress: called for each that was asked about.

    Raises:
        NotFoundError, InvalidInputError: for a name that is not there, or not from the Hub.
        OfflineError: when the Hub cannot be reached; nothing is changed then.
    """
    unavailable = store.unavailable()
    wanted = (
        [_named(store, name, catalogue, unavailable) for name in names]
        if names
        else _every(store, unavailable)
    )
    said = models.ask_hub([(one.repo, one.pin) for one in wanted], progress=progress)
    with store.transaction():
        return [_apply(store, one, said[one.repo, one.pin], named=bool(names)) for one in wanted]


def _every(store: Store, unavailable: dict[str, Unavailable]) -> list[_Subject]:
    known = [e for e in store.experts(where={"source": METADATA}) if e.meta.get("hub")]
    found = [_subject(e, unavailable) for e in (*store.experts(where={"source": {"hf", "timm"}}), *known)]
    there = {one.reference for one in found}
    left = [_Subject(reference=n, pin=e.revision, entry=e) for n, e in unavailable.items() if n not in there]
    return [*found, *left]


def _subject(expert: Expert, unavailable: dict[str, Unavailable]) -> _Subject:
    name = f"{expert.source}:{expert.locator}" if expert.runnable else expert.name
    return _Subject(reference=name, pin=expert.revision, expert=expert, entry=unavailable.get(name))


def _named(
    store: Store, name: str, catalogue: Catalogue | None, unavailable: dict[str, Unavailable]
) -> _Subject:
    """Return the expert or known model that a name means."""
    if name in unavailable and not store.experts_called(name):
        return _Subject(reference=name, pin=unavailable[name].revision, entry=unavailable[name])
    if catalogue is not None and name in catalogue.names and not store.experts_called(name):
        model = catalogue.find(name)[0]
        return _Subject(reference=name, pin=model.revision)
    found = store.find_expert(name)
    if found.source in ("hf", "timm") or found.meta.get("hub"):
        return _subject(found, unavailable)
    raise InvalidInputError(
        f"{found.short} is from {found.source}:{found.locator}, not from the Hub: there is nothing to ask"
    )


def _apply(store: Store, one: _Subject, said: HubState | ExpertiseError, *, named: bool) -> Synced:
    """Keep what the Hub says of a model, and return what that changes."""
    label = one.expert.short if one.expert else one.reference
    key = one.expert.id if one.expert else one.reference
    if isinstance(said, ExpertiseError):
        return Synced(id=key, name=label, status=FAILED, changes=(str(said),))
    if one.expert is not None and one.expert.runnable:
        changes = _of_expert(store, one.expert, said)
    else:
        changes = _of_known(store, one, said, named=named)
    status = changes[0][0] if changes else UNCHANGED
    return Synced(id=key, name=label, status=status, changes=tuple(text for _, text in changes))


Changes = list[tuple[str, str]]


def _of_expert(store: Store, expert: Expert, said: HubState) -> Changes:
    """Compare the Hub with what was registered; that stays, and the differences are noted beside it."""
    if not said.there:
        changes = [(GONE_NOW, "deleted or private now; what is on this machine works on")]
    else:
        changes = [*_gating(said), *_license(expert, said), *_moves(expert, said)]
    noted = {
        "gone": not said.there,
        "gated": said.gated,
        "license": said.license if any(kind == LICENSE for kind, _ in changes) else None,
        "commit": said.commit if said.commit != expert.revision else None,
    }
    noted = {name: value for name, value in noted.items() if value}
    if noted != expert.meta.get(ON_HUB, {}):
        kept = {name: value for name, value in expert.meta.items() if name != ON_HUB}
        store.put_expert(replace(expert, meta={**kept, ON_HUB: noted} if noted else kept))
    return changes


def _gating(said: HubState) -> Changes:
    return [(GATED_NOW, "gated now: a new download needs access, see its page")] if said.gated else []


def _license(expert: Expert, said: HubState) -> Changes:
    if said.license in (UNKNOWN, expert.license):
        return []
    return [(LICENSE, f"its licence is {said.license} now, {expert.license} when it was registered")]


def _moves(expert: Expert, said: HubState) -> Changes:
    pin, commit = str(expert.revision)[:_SHOWN], said.commit[:_SHOWN]
    if not said.pin_there:
        return [(GONE_NOW, f"commit {pin} is no more, main is at {commit}; what is on this machine works on")]
    if expert.revision == said.commit:
        return []
    weights = "the same weights" if said.same_weights else "other weights"
    return [(MOVED, f"main is at {commit} with {weights}; this expert stays at {pin}")]


def _of_known(store: Store, one: _Subject, said: HubState, *, named: bool) -> Changes:
    """Take over what the Hub says of a model that is not registered, and what that means for a download."""
    if not said.there or not said.pin_there:
        what = "deleted or private now" if not said.there else f"commit {str(one.pin)[:_SHOWN]} is no more"
        if one.expert is None or not said.there:
            store.put_unavailable(one.reference, GONE, what, revision=one.pin)
            return [(GONE_NOW, what)]
    changes: Changes = []
    old, new = one.expert, said.node
    if old is not None and new is not None and new.modality != UNKNOWN and _said(old) != _said(new):
        put_known(store, replace(new, created_at=old.created_at))
        changes = list(_differences(old, new))
    if one.entry is not None and (why := _may_be_had(one, said, named=named)):
        store.forget_unavailable([one.reference])
        changes = [(AGAIN, why), *changes]
    elif one.entry is not None:
        changes = [(one.entry.kind, one.entry.reason), *changes]
    return changes


def _said(model: Expert) -> tuple[object, ...]:
    """Return what is compared of a description; how often it was downloaded changes every day.

    What a card claims changes with the commit.
    """
    left_out = ("downloads", CLAIMS, LEFT_OUT)
    meta = {name: value for name, value in model.meta.items() if name not in left_out}
    return model.revision, model.license, model.params, model.bytes, model.base_model, model.modality, meta


def _differences(old: Expert, new: Expert) -> Iterable[tuple[str, str]]:
    if bool(old.meta.get("gated")) != bool(new.meta.get("gated")):
        is_gated = bool(new.meta.get("gated"))
        yield GATED_NOW if is_gated else AGAIN, "gated now" if is_gated else "not gated any more"
    if old.license != new.license:
        yield LICENSE, f"its licence is {new.license} now, {old.license} before"
    if old.revision != new.revision:
        yield MOVED, f"main is at {str(new.revision)[:_SHOWN]} now, at {str(old.revision)[:_SHOWN]} before"
    if (old.params, old.base_model) != (new.params, new.base_model):
        yield MOVED, "its description changed"


def _may_be_had(one: _Subject, said: HubState, *, named: bool) -> str:
    """Return why a model that could not be had may be tried again; empty where it may not."""
    entry = one.entry
    if entry is None:
        return ""
    if entry.kind in (GONE, GATED):
        return "" if said.gated else "it can be downloaded again"
    if one.expert is not None and entry.revision != said.commit:
        return "it has a newer commit, which is tried when a query asks for it"
    age = datetime.fromisoformat(now()) - datetime.fromisoformat(entry.since)
    return "what failed before is tried again" if named or age > _FORGET_AFTER else ""
