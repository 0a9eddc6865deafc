"""Experts that failed on a task: kept in the registry, so that the next query about it passes them over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from expertise_graph.core import Expert, FailedError
from expertise_graph.store import Store


@contextmanager
def remembered(store: Store, expert: Expert, task: str) -> Iterator[None]:
    """Keep that an expert failed on the task with this id, for later queries about it; the error goes on."""
    try:
        yield
    except FailedError as error:
        store.put_failure(expert.id, task, str(error))
        raise
