"""What is oldest, newest or last is told by the order in which it came, as clocks are set back."""

import dataclasses

import pytest

from expertise_graph.core import Run, Task
from expertise_graph.store import AS_ADDED, Store
from tests.nodes import expert

TIMES = ["2031-01-01T00:00:00+00:00", "2025-01-01T00:00:00+00:00", "2028-01-01T00:00:00+00:00"]


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path) as opened:
        yield opened


def test_experts_can_be_had_in_the_order_of_their_registration(store):
    for name, time in zip("cab", TIMES, strict=True):
        store.put_expert(expert(name, created_at=time))
    assert [e.name for e in store.experts(order=AS_ADDED)] == ["c", "a", "b"]
    assert store.expert_ids(order=AS_ADDED) == ["dir:c", "dir:a", "dir:b"]
    store.put_expert(dataclasses.replace(store.known_expert("dir:c"), license="mit"))
    assert [e.name for e in store.experts(order=AS_ADDED)] == ["c", "a", "b"]
    assert [e.name for e in store.experts(order="name")] == ["a", "b", "c"]


def test_tasks_read_from_one_path_come_in_the_order_in_which_they_were_read(store):
    for name, time in zip("cab", TIMES, strict=True):
        task = Task(id=f"task:{name}", name=name, modality="image", classes=("x", "y"), n=4, locator="/d")
        store.put_task(dataclasses.replace(task, created_at=time))
    assert [t.name for t in store.tasks(locator="/d")] == ["c", "a", "b"]


def run_of(started):
    fields = {"child": "c", "status": "done", "strategy": "full", "seed": 0, "path": "/r", "config": {}}
    return Run(id="run:1", expert="e", task="t", result={}, started_at=started, finished_at=None, **fields)


@pytest.mark.parametrize("time", TIMES)
def test_an_expert_is_older_than_a_run_if_it_was_registered_before_it(store, time):
    before, after = expert("before", created_at=TIMES[0]), expert("after", created_at=TIMES[1])
    store.put_expert(before)
    store.put_run(run_of(time))
    store.put_expert(after)
    assert store.registered_before(before.id, "run:1")
    assert not store.registered_before(after.id, "run:1")
    store.remove_expert(before.id)
    store.put_expert(before)
    assert not store.registered_before(before.id, "run:1")
