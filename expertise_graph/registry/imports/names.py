"""Which experts and tasks of the registry the names in a table mean; the others become new nodes."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TypedDict, TypeVar

from expertise_graph.core import UNKNOWN, Expert, InvalidInputError, Task
from expertise_graph.data import known_modalities
from expertise_graph.store import Store

Node = TypeVar("Node", Expert, Task)

_EXPERT_NAMES: tuple[Callable[[Expert], str], ...] = (
    lambda e: e.id,
    lambda e: f"{e.source}:{e.locator}",
    lambda e: e.locator,
    lambda e: e.short,
    lambda e: e.name,
)
_TASK_NAMES: tuple[Callable[[Task], str], ...] = (lambda t: t.id, lambda t: t.name)


class Counts(TypedDict):
    """What a report says of the nodes in a file."""

    experts_known: int
    new_experts: tuple[str, ...]
    tasks_known: int
    new_tasks: tuple[str, ...]


class Names:
    """The names in one file, each resolved once; nothing is written before `write`."""

    def __init__(self, store: Store, file: str, modality: str | None) -> None:
        if modality is not None:
            known_modalities[modality]
        self.store, self.file, self.given = store, file, modality
        zoo = store.experts()
        runnable = [e for e in zoo if e.runnable]
        by_name = [e for e in zoo if not e.runnable]
        self._expert_index = [*_index(runnable, _EXPERT_NAMES), *_index(by_name, _EXPERT_NAMES)]
        self._task_index = _index(store.tasks(), _TASK_NAMES)
        self._experts: dict[str, Expert] = {}
        self._tasks: dict[str, Task] = {}
        self._before = {e.id for e in zoo} | {t.id for t in store.tasks()}

    def expert(self, text: str) -> str:
        """Return the id of the expert that `text` names, known or new.

        Raises:
            InvalidInputError: when it names several.
        """
        if text not in self._experts:
            self._experts[text] = self._find(text, self._expert_index, "experts") or Expert.named(text)
        return self._experts[text].id

    def task(self, text: str) -> str:
        """Return the id of the task that `text` names, known or new; raises as `expert`."""
        if text not in self._tasks:
            self._tasks[text] = self._find(text, self._task_index, "tasks") or named_task(text)
        return self._tasks[text].id

    @property
    def modality(self) -> str:
        """The modality given, else the one of all known experts and tasks in the file, else unknown."""
        nodes: list[Expert | Task] = [*self._experts.values(), *self._tasks.values()]
        known = {n.modality for n in nodes if n.id in self._before}
        known.discard(UNKNOWN)
        return self.given or (known.pop() if len(known) == 1 else UNKNOWN)

    def counts(self) -> Counts:
        """Return how many nodes are known and which are new, as the report has them."""
        experts = {e.id: e.name for e in self._experts.values()}
        tasks = {t.id: t.name for t in self._tasks.values()}
        return {
            "experts_known": len(experts.keys() & self._before),
            "new_experts": tuple(name for id_, name in experts.items() if id_ not in self._before),
            "tasks_known": len(tasks.keys() & self._before),
            "new_tasks": tuple(name for id_, name in tasks.items() if id_ not in self._before),
        }

    def write(self) -> None:
        """Store the new nodes, and the modality of metadata-only ones that had none."""
        experts, tasks = self._settled(self._experts.values()), self._settled(self._tasks.values())
        self.store.add_nodes(experts, tasks)
        if self.modality != UNKNOWN:
            for expert in experts:
                if expert.id in self._before:
                    self.store.put_expert(expert)
            for task in tasks:
                if task.id in self._before:
                    self.store.put_task(task)

    def _settled(self, nodes: Iterable[Node]) -> list[Node]:
        """Return the nodes without a modality, with the one of this file."""
        unsettled = {n.id: n for n in nodes if n.modality == UNKNOWN}
        return [dataclasses.replace(n, modality=self.modality) for n in unsettled.values()]

    def _find(self, text: str, index: Sequence[dict[str, list[Node]]], what: str) -> Node | None:
        for level in index:
            nodes = level.get(text, [])
            if len(nodes) > 1:
                ids = ", ".join(n.id for n in nodes[:3])
                raise InvalidInputError(
                    f"{self.file}: {text!r} names {len(nodes)} {what}: {ids}; write the id of the one meant"
                )
            if nodes:
                return nodes[0]
        return None


def data_key(name: str) -> str:
    """Return the name of a data set without owner, case and punctuation: what tells two spellings alike.

    Example:
        >>> data_key("ylecun/MNIST"), data_key("imagenet-1k") == data_key("ImageNet_1k")
        ('mnist', True)
    """
    return re.sub(r"[^a-z0-9]", "", name.rpartition("/")[2].casefold())


def named_task(name: str) -> Task:
    """Return the node of a task of which only the name is known."""
    return Task(id=f"task:meta:{name}", name=name, modality=UNKNOWN, classes=(), n=0, locator="")


def _index(nodes: Sequence[Node], names: Sequence[Callable[[Node], str]]) -> list[dict[str, list[Node]]]:
    """Return for each kind of name which nodes have it, the most exact kind first."""
    index: list[dict[str, list[Node]]] = [{} for _ in names]
    for node in nodes:
        for level, name in zip(index, names, strict=True):
            level.setdefault(name(node), []).append(node)
    return index
