"""Near-duplicates do not fill the list of similar experts: one of each group names the others."""

import numpy as np
import pytest

from expertise_graph.core.types import Embedding, ProbeSet
from expertise_graph.registry.nearest import similar
from expertise_graph.registry.neighbours import refresh
from expertise_graph.store.store import Store
from tests.nodes import expert
from tests.program import invoke

PROBES = "probe:1"


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path)
    made.put_probe_set(ProbeSet(id=PROBES, name="p", version="1", modality="image", n=4, license="mit"))
    yield made
    made.close()


def put(store, name, vector, **changes):
    store.put_expert(expert(name, **changes))
    store.put_embedding(
        Embedding(owner=f"dir:{name}", kind="expert", probe_set=PROBES, method="m", version="1",
                  vector=np.asarray(vector, dtype=float), seed=0, n=4)
    )  # fmt: skip


def zoo(store, *, copies=7, others=4, twins=0):
    """Put an expert, copies that differ by rounding, others farther and farther, and twins of the first."""
    rng = np.random.default_rng(0)
    base, away = rng.normal(size=(2, 32))
    put(store, "base", base)
    for i in range(copies):
        put(store, f"copy{i}", base + 1e-4 * rng.normal(size=32))
    for i in range(others):
        put(store, f"other{i}", base + (0.5 + 0.5 * i) * away + 0.1 * rng.normal(size=32))
    for i in range(twins):
        put(store, f"twin{i}", base + 0.5 * away, weights_sha="the same")
    refresh(store, PROBES)
    return store.expert("dir:base")


def names(found):
    return [n.expert.name for n in found]


def test_copies_are_one_entry_that_names_the_rest(store):
    base = zoo(store)
    assert all(n.duplicate for n in similar(store, PROBES, base, 5))
    found = similar(store, PROBES, base, 5, fold=True)
    assert names(found)[1:] == ["other0", "other1", "other2", "other3"]
    assert found[0].duplicate
    assert {found[0].expert.name, *(e.name for e in found[0].same_as)} == {f"copy{i}" for i in range(7)}
    assert [n.same_as for n in found[1:]] == [()] * 4


def test_copies_of_another_expert_are_folded_too(store):
    base = zoo(store, copies=0, others=2, twins=6)
    found = similar(store, PROBES, base, 3, fold=True)
    (group,) = [n for n in found if n.same_as]
    assert {e.name for e in (group.expert, *group.same_as)} == {f"twin{i}" for i in range(6)}
    assert not group.duplicate
    assert len(found) == 3


@pytest.mark.parametrize("k", [1, 2, 5, 50])
def test_never_more_than_asked_for_and_nothing_is_lost(store, k):
    base = zoo(store, copies=3, others=6, twins=3)
    found = similar(store, PROBES, base, k, fold=True)
    assert len(found) == min(k, 8)
    if k == 50:
        listed = [e.name for n in found for e in (n.expert, *n.same_as)]
        assert sorted(listed) == sorted(names(similar(store, PROBES, base, 50)))


def test_without_duplicates_both_are_the_same(store):
    base = zoo(store, copies=0, others=8)
    assert similar(store, PROBES, base, 5, fold=True) == similar(store, PROBES, base, 5)


def test_a_zoo_of_copies_only_has_one_entry(store):
    base = zoo(store, copies=9, others=0)
    (only,) = similar(store, PROBES, base, 5, fold=True)
    assert len(only.same_as) == 8


def test_the_command_says_what_it_folded(workspace):
    with Store(workspace) as store:
        emoji = store.find_expert("emoji")
        probe_set = store.state("probe_set.image") or store.probe_sets("image")[-1].id
        _, _, vectors = store.vectors(probe_set, owners=[emoji.id])
        for i in range(3):
            store.put_expert(expert(f"again{i}", weights_sha=emoji.weights_sha))
            store.put_embedding(
                Embedding(owner=f"dir:again{i}", kind="expert", probe_set=probe_set, method="m", version="1",
                          vector=vectors[0], seed=0, n=4)
            )  # fmt: skip
        refresh(store, probe_set)
    done = invoke("similar", "emoji", "-k", 3).worked()
    last = done.lines[-1]
    assert last.startswith("and 2 near-duplicates: again")
    assert last.endswith("(--all lists them)")
    rows = invoke("similar", "emoji", "-k", 3, "--json").worked().json
    assert len(rows) == 3
    assert [len(r["same_as"]) for r in rows] == [2, 0, 0]
    every = invoke("similar", "emoji", "-k", 3, "--all", "--json").worked().json
    assert [(r["duplicate"], r["same_as"]) for r in every] == [(True, [])] * 3
    assert "near-duplicates:" not in invoke("similar", "emoji", "-k", 3, "--all").worked().out
    assert len(invoke("similar", "emoji", "-k", 3, "-q").worked().lines) == 3
