"""A zoo larger than can be compared at once: what promises most is recalled, by affinity and by history."""

import dataclasses
import io
import shutil

import numpy as np
import pytest

from expertise_graph.core.types import Embedding, Query
from expertise_graph.features import probe_sets as probes
from expertise_graph.registry.imports.options import HistoryOptions
from expertise_graph.workspace import Workspace
from tests import materials
from tests.conftest import IMAGE_EXPERTS


@pytest.fixture(scope="module")
def crowd(registered, tmp_path_factory):
    """A workspace whose experts were run on the letters, to which others came then: 1,600 and a real one.

    The 1,600 are points scattered over the graph; the real one, which knows digits, is near the letters.
    """
    folder = tmp_path_factory.mktemp("crowd")
    letters = materials.pictures(folder / "letters", 4, 10)
    shutil.copytree(registered, folder / "zoo")
    rng = np.random.default_rng(0)
    with Workspace(folder / "zoo") as zoo:
        assert zoo.query(letters, Query(budget=4)).experts_run == 4
        zoo.register("zoo:digits-in-fonts")
        clipart = zoo.store.find_expert("clipart")
        probe_set = probes.current(zoo.store, "image").id
        _, owners, vectors = zoo.store.vectors(probe_set)
        centre = vectors[owners.index(clipart.id)]
        embedding = Embedding(
            owner="",
            kind="expert",
            probe_set=probe_set,
            method="sketch",
            version="1",
            vector=centre,
            seed=0,
            n=1,
        )
        with zoo.store.transaction():
            for i in range(1600):
                noise = rng.normal(size=len(centre)) * np.linalg.norm(centre) / np.sqrt(len(centre))
                own = {"id": f"zoo:point-{i}", "name": f"point-{i}", "weights_sha": f"weights of {i}"}
                zoo.store.put_expert(dataclasses.replace(clipart, **own))
                vector = (0.1 * centre + 0.9 * noise).astype(np.float32)
                zoo.store.put_embedding(dataclasses.replace(embedding, owner=own["id"], vector=vector))
    return folder / "zoo", letters


@pytest.fixture
def ask(monkeypatch):
    """Ask with a pool of another size, and be told all of it."""

    def answer(zoo, data, query, pool):
        monkeypatch.setattr("expertise_graph.retrieval.query.POOL", pool)
        return zoo.query(data, dataclasses.replace(query, top=pool))

    return answer


def first(ranking):
    return ranking.best.expert.name


@pytest.mark.slow
@pytest.mark.parametrize("pool", [12, 100])
def test_the_nearest_of_a_large_zoo_is_recalled_and_no_more_is_run_than_the_budget(crowd, ask, pool):
    folder, letters = crowd
    with Workspace(folder) as zoo:
        ranking = ask(zoo, letters, Query(budget=5), pool)
    told = {c.expert.name: c for c in ranking.candidates}
    assert len(told) == pool
    assert {n for n, c in told.items() if c.ran} >= set(IMAGE_EXPERTS)
    assert "digits-in-fonts" in told
    points = [c.predicted for n, c in told.items() if n.startswith("point")]
    assert told["digits-in-fonts"].predicted > np.median(points)
    assert ranking.experts_run + sum("was not run" in note for note in ranking.notes) <= 1


@pytest.mark.slow
def test_history_recalls_from_a_large_zoo_too(crowd, ask, tmp_path):
    letters = materials.pictures(tmp_path / "others", 3, 6)
    with Workspace(crowd[0]) as zoo:
        order = ["point-77", *(f"org/{i}" for i in range(10)), "point-900", "point-5"]
        rows = [f"{n},task-{t},accuracy,{0.9 - 0.03 * i}" for t in range(6) for i, n in enumerate(order)]
        table = io.BytesIO("\n".join(["expert,task,metric,value", *rows]).encode())
        zoo.import_history(table, HistoryOptions(modality="image"))
        ranking = ask(zoo, letters, Query(budget=0), 40)
        small = ask(zoo, letters, Query(budget=0, max_params=490_000), 40)
    assert first(ranking) == first(small) == "point-77"
    assert {"org/0", "org/9", "point-900"} <= {c.expert.name for c in ranking.candidates}
    assert len(ranking.candidates) == len(small.candidates) == 40
    assert {e.constraint for e in small.excluded} == {"`max_params=490k`"}
