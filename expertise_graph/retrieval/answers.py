"""The order of the latest answer about each task, by which an explanation names the rank of an expert."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from expertise_graph.core import Ranking
from expertise_graph.store import Store, now

_NAME = "answer:"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Where the latest query about a task ranked each expert.

    Attributes:
        at: time of the query.
        places: from 1, by expert id; near-duplicates and relatives have that of the one listed for them.
    """

    at: str
    places: Mapping[str, int]

    @property
    def experts(self) -> int:
        """How many were ranked."""
        return max(self.places.values(), default=0)


def remember(store: Store, ranking: Ranking) -> None:
    """Keep the order of an answer in the place of the one before; a registry that is only read keeps none."""
    if not store.read_only:
        content = {"at": now(), "order": [list(ids) for ids in ranking.order]}
        store.set_state(_NAME + ranking.task.id, json.dumps(content))


def recall_answer(store: Store, task: str) -> Answer | None:
    """Return the latest answer about a task, by its id; None for none, or a damaged note."""
    try:
        content = json.loads(store.state(_NAME + task) or "")
        order = [[str(name) for name in ids] for ids in content["order"]]
        return Answer(
            at=str(content["at"]), places={name: place for place, ids in enumerate(order, 1) for name in ids}
        )
    except (ValueError, TypeError, KeyError):
        return None
