"""What a process that was killed had begun: finished by whoever opens the workspace next to write to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from expertise_graph.core import (
    ARRAYS,
    StoreError,
    UntrustedError,
    first_line,
    reason_of,
    remove_leftovers,
)
from expertise_graph.features import Context
from expertise_graph.features import probe_sets as probes
from expertise_graph.registry.neighbours import refresh
from expertise_graph.registry.registration import embed_missing
from expertise_graph.store import Pending, Store, tell

Finisher = Callable[[Context, Pending], str]
"""Finishes work of one kind that was begun; returns what was done, empty where there was nothing to do."""


def finish_unfinished(context: Context, finishers: Mapping[str, Finisher]) -> None:
    """Do what is left of work whose process is gone, and say on stderr what that was.

    Work that cannot be finished is forgotten, with the reason; the command it came from can be run again.

    Args:
        context: the store, and how experts are run.
        finishers: who finishes work, by its kind.

    Raises:
        StoreError, OSError: when there is no room for it; it is left to the next.
    """
    store = context.store
    for one in store.abandoned():
        if one.kind not in finishers or not store.adopt(one):
            continue
        try:
            said = finishers[one.kind](context, one)
        except UntrustedError as error:
            store.release(one.kind, one.subject)
            tell(f"what was begun is not finished yet: {first_line(error)}")
            continue
        except (StoreError, OSError, KeyboardInterrupt):
            store.release(one.kind, one.subject)
            raise
        except Exception as error:  # the note may be damaged in any way
            said = f"what was begun cannot be finished: {reason_of(error)}; run its command again"
        store.drop_pending(one.kind, one.subject)
        if said:
            tell(said)


def tidy(store: Store) -> None:
    """Find the neighbours that a killed process had not found yet, and remove its temporary files."""
    if store.read_only:
        return
    for probe_set in store.probe_sets():
        if store.unlinked(probe_set.id):
            refresh(store, probe_set.id)
    remove_leftovers(store.folder / ARRAYS)


def finish_probe_set(context: Context, one: Pending) -> str:
    """Embed the experts that lack an embedding on a probe set that was made current."""
    probe_set = context.store.probe_set(one.subject)
    if probe_set is None or not context.store.without_embedding(probe_set.id, probe_set.modality):
        return ""
    failed = embed_missing(context.store, context.prober, probe_set)
    missing = f"; not embedded: {', '.join(failed)}" if failed else ""
    return f"finished what was begun: experts embedded on the probe set {probe_set.name}{missing}"


PROBE_SET = probes.PENDING
"""Kind of the work that `finish_probe_set` finishes."""
