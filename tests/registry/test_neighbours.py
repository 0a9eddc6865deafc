"""Neighbour lists and mutual edges against a computation from scratch, whatever happened before."""

import random
import shutil

import numpy as np
import pytest
import torch
from transformers import ResNetModel

from expertise_graph.core.errors import SourceError
from expertise_graph.core.types import Embedding, ProbeSet
from expertise_graph.features import probe_sets as probes
from expertise_graph.features.probing import Prober
from expertise_graph.features.similarity import centred_gram
from expertise_graph.models.base import SourceOptions
from expertise_graph.models.loading import resolve
from expertise_graph.registry import neighbours
from expertise_graph.registry.nearest import similar
from expertise_graph.registry.neighbours import NEIGHBOURS, Neighbourhood, refresh
from expertise_graph.registry.registration import embed, registering
from expertise_graph.store.store import Store
from expertise_graph.workspace import Workspace
from tests import materials
from tests.nodes import expert as described
from tests.program import invoke

AMOUNTS = (0.15, 0.3, 0.5, 0.7, 1.0, 1.4)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Networks at various distances of each other, one of them twice."""
    root = tmp_path_factory.mktemp("checkpoints")
    made = [materials.resnet(root / f"e{i}", 10 + i, noise=amount) for i, amount in enumerate(AMOUNTS * 2)]
    shutil.copytree(root / "e3", root / "twin")
    materials.change_json(root / "twin" / "preprocessor_config.json", do_rescale=True, resample=2)
    return [*made, root / "twin"]


@pytest.fixture(scope="module")
def _seven_registered(_initialised, checkpoints, tmp_path_factory):
    """A workspace with the first seven of them; not to be written to."""
    folder = shutil.copytree(_initialised, tmp_path_factory.mktemp("seven") / "workspace")
    with Workspace(folder) as workspace:
        for checkpoint in checkpoints[:7]:
            workspace.register(f"dir:{checkpoint}")
    return folder


@pytest.fixture
def seven(_seven_registered, tmp_path, monkeypatch):
    """A copy of a workspace with the first seven checkpoints, which is the current folder."""
    folder = shutil.copytree(_seven_registered, tmp_path / "seven")
    monkeypatch.chdir(folder)
    return folder


def brute_force(workspace):
    """Compute lists and mutual edges from features that are computed now, without index or sketch."""
    probe_set = probes.current(workspace.store, "image")
    prober = Prober(arrays=workspace.store.features)
    inputs = probes.inputs(workspace.store, probe_set)
    grams = {e.id: centred_gram(prober.features(e, inputs)) for e in workspace.experts("image")}
    cka = {a: {b: float(np.vdot(grams[a], grams[b])) for b in grams if b != a} for a in grams}
    lists = {a: sorted(cka[a].items(), key=lambda p: (-p[1], p[0]))[:NEIGHBOURS] for a in cka}
    names = {a: {b for b, _ in lists[a]} for a in lists}
    edges = {(a, b): cka[a][b] for a in names for b in names[a] if a < b and a in names[b]}
    return lists, edges


def assert_right(workspace):
    lists, edges = brute_force(workspace)
    probe_set = probes.current(workspace.store, "image").id
    found = workspace.store.neighbours(probe_set)
    assert {a: [b for b, _ in pairs] for a, pairs in found.items()} == {
        a: [b for b, _ in pairs] for a, pairs in lists.items() if pairs
    }
    for expert, pairs in found.items():
        np.testing.assert_allclose([c for _, c in pairs], [c for _, c in lists[expert]], atol=1e-9)
    stored = [e for e in workspace.store.edges("similarity") if e.probe_set == probe_set]
    assert len({(e.source, e.target) for e in stored}) == len(stored)
    assert {(e.source, e.target): pytest.approx(e.weight, abs=1e-9) for e in stored} == edges


@pytest.mark.slow
def test_lists_and_edges_are_right_after_any_sequence_of_register_and_rm(blank, checkpoints):
    chance, present = random.Random(5), []
    with Workspace() as workspace:
        for step in range(30):
            absent = [c for c in checkpoints if c not in present]
            if absent and (chance.random() < 0.65 or len(present) < 2):
                present.append(chance.choice(absent))
                workspace.register(f"dir:{present[-1]}")
            else:
                gone = present.pop(chance.randrange(len(present)))
                workspace.remove(gone.name)
            if step % 4 == 0:
                assert_right(workspace)
        for checkpoint in checkpoints:
            workspace.register(f"dir:{checkpoint}")
        assert_right(workspace)
        lists, edges = brute_force(workspace)
        assert len(edges) > 10
        similarities = [cka for pairs in lists.values() for _, cka in pairs]
        assert max(similarities) - min(similarities) > 0.2
        for expert in workspace.experts("image"):
            near = workspace.similar(expert.id, 4)
            assert [n.expert.id for n in near] == [b for b, _ in lists[expert.id][:4]]


@pytest.mark.slow
def test_several_newcomers_at_once_enter_the_same_list(seven, checkpoints):
    with Workspace() as workspace:
        probe_set = probes.current(workspace.store, "image")
        prober = Prober(arrays=workspace.store.features)
        for checkpoint in checkpoints[7:]:
            expert = resolve(f"dir:{checkpoint}", SourceOptions())
            workspace.store.put_expert(expert)
            workspace.store.put_embedding(embed(workspace.store, prober, expert, probe_set))
        refresh(workspace.store, probe_set.id)
        assert_right(workspace)


def test_refresh_again_changes_nothing(seven):
    with Workspace() as workspace:
        probe_set = probes.current(workspace.store, "image").id
        before = [e.created_at for e in workspace.store.edges()], workspace.store.generation()
        refresh(workspace.store, probe_set)
        assert ([e.created_at for e in workspace.store.edges()], workspace.store.generation()) == before


def test_neighbours_that_a_killed_process_did_not_find_are_found_by_the_next(blank, checkpoints):
    with Workspace() as workspace:
        for checkpoint in checkpoints[:6]:
            workspace.register(f"dir:{checkpoint}")
        probe_set = probes.current(workspace.store, "image")
        prober = Prober(arrays=workspace.store.features)
        expert = resolve(f"dir:{checkpoints[6]}", SourceOptions())
        workspace.store.put_expert(expert)
        workspace.store.put_embedding(embed(workspace.store, prober, expert, probe_set))
        assert workspace.store.unlinked(probe_set.id) == [expert.id]
        before = [n.expert.id for n in workspace.similar(expert.id, 5)]
        workspace.register(f"dir:{checkpoints[7]}")
        assert workspace.store.unlinked(probe_set.id) == []
        assert_right(workspace)
        assert len(before) == 5


def register_until_one_is_gone(store, prober, experts):
    with registering(store) as add:
        for expert in experts:
            assert add(expert, prober).id == expert.id
        probe_set = probes.current(store, "image").id
        assert store.unlinked(probe_set) == sorted(e.id for e in experts)
        assert store.neighbours(probe_set) == {}
        raise SourceError("gone")


def test_registering_several_finds_their_neighbours_at_the_end_even_after_an_error(blank, checkpoints):
    with Workspace() as workspace:
        probe_set = probes.current(workspace.store, "image").id
        prober = Prober(arrays=workspace.store.features)
        experts = [resolve(f"dir:{checkpoint}", SourceOptions()) for checkpoint in checkpoints[:4]]
        with pytest.raises(SourceError, match="gone"):
            register_until_one_is_gone(workspace.store, prober, experts)
        assert workspace.store.unlinked(probe_set) == []
        assert len(workspace.store.neighbours(probe_set)) == 4
        assert_right(workspace)


def synthetic(store, name, vector):
    """Put an expert of whose probe features nothing is kept: its sketch is all that is compared."""
    store.put_expert(described(name))
    store.put_embedding(
        Embedding(owner=f"dir:{name}", kind="expert", probe_set="probe:syn", method="m", version="1",
                  vector=vector, seed=0, n=4)
    )  # fmt: skip


def lists_by_hand(vectors):
    """Return the five nearest of each by cosine."""
    names = sorted(vectors)
    unit = np.stack([vectors[n] / np.linalg.norm(vectors[n]) for n in names])
    cosines = {a: dict(zip(names, unit @ u, strict=True)) for a, u in zip(names, unit, strict=True)}
    return {a: sorted((b for b in names if b != a), key=lambda b: -cosines[a][b])[:NEIGHBOURS] for a in names}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["clusters", "unrelated", "one cluster and outliers"])
def test_of_a_zoo_larger_than_what_is_recalled_every_list_is_right(tmp_path, monkeypatch, kind):
    """A newcomer enters the lists of those to which it is near, though they are not among its nearest."""
    monkeypatch.setattr(neighbours, "RECALLED", 8)
    monkeypatch.setattr(neighbours, "_UNSAVED", 8)
    rng, vectors = np.random.default_rng(7), {}
    centres = rng.normal(size=(6, 64))
    probe_set = ProbeSet(id="probe:syn", name="syn", version="1", modality="image", n=4, license="mit")
    with Store(tmp_path) as store:
        store.put_probe_set(probe_set)
        for i in range(90):
            centre = {"clusters": centres[i % 6], "unrelated": 0.0}.get(kind, centres[0] * (i % 3 > 0))
            vectors[f"dir:{i:02}"] = centre + 0.5 * rng.normal(size=64)
            synthetic(store, f"{i:02}", vectors[f"dir:{i:02}"])
            if i % 10 == 9:
                gone = f"dir:{rng.integers(i):02}"
                if gone in vectors:
                    store.remove_expert(gone)
                    del vectors[gone]
            refresh(store, "probe:syn")
        lists = {a: [b for b, _ in pairs] for a, pairs in store.neighbours("probe:syn").items()}
        assert lists == lists_by_hand(vectors)
        mutual = {(a, b) for a in lists for b in lists[a] if a < b and a in lists[b]}
        edges = store.edges("similarity")
        assert sorted((e.source, e.target) for e in edges) == sorted(mutual)
        assert {e.n for e in edges} == {4}
        some = store.expert("dir:88")
        near = similar(store, "probe:syn", some, 5)
        assert [n.expert.id for n in near] == lists[some.id]
        assert [n.expert.id for n in similar(store, "probe:syn", some, 9)][:5] == lists[some.id]


class Counting(Store):
    """A store that counts the experts and vectors that it reads."""

    read = 0

    def _query(self, sql, values=()):
        for row in super()._query(sql, values):
            self.read += "vector" in row or "weights_sha" in row
            yield row


@pytest.mark.slow
def test_a_newcomer_to_a_large_registry_reads_no_more_of_it_than_to_a_small_one(tmp_path):
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(40, 64))
    probe_set = ProbeSet(id="probe:syn", name="syn", version="1", modality="image", n=4, license="mit")
    read = {}
    with Counting(tmp_path) as store:
        store.put_probe_set(probe_set)
        for i in range(800):
            synthetic(store, f"{i:04}", centres[i % 40] + 0.2 * rng.normal(size=64))
            if i + 1 in (199, 200, 799, 800):
                before = store.read
                refresh(store, "probe:syn")
                read[i + 1] = store.read - before
    # Its own vector, and vector and description of those recalled.
    assert read[200] <= 2 + 2 * (neighbours.RECALLED + 1)
    assert read[800] <= read[200] + 2


@pytest.mark.parametrize("damage", ["delete", "truncate", "flip", "other", "no side-car", "garbage side-car"])
def test_a_damaged_index_is_rebuilt_loudly_and_answers_right(seven, damage, capsys):
    with Workspace() as workspace:
        expected = {e.id: workspace.similar(e.id, 6) for e in workspace.experts("image")}
    path = next((seven / "embeddings" / "index").glob("*.faiss"))
    side_car = path.with_suffix(".faiss.json")
    content = path.read_bytes()
    if damage == "delete":
        path.unlink()
    elif damage == "truncate":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        path.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    elif damage == "other":
        path.write_bytes(b"IxFI" + content[4:] + content)
    elif damage == "no side-car":
        side_car.unlink()
    else:
        side_car.write_text("[]")
    capsys.readouterr()
    with Workspace() as workspace:
        found = {e.id: workspace.similar(e.id, 6) for e in workspace.experts("image")}
        assert found == expected
        said = capsys.readouterr().err
        assert (damage == "delete") or ("rebuilt from registry.db" in said and len(said.splitlines()) == 1)
        assert_right(workspace)
    with Workspace() as workspace:
        assert workspace.similar(next(iter(expected)), 6) == expected[next(iter(expected))]
    assert capsys.readouterr().err == ""


def test_an_index_of_an_older_generation_is_brought_up_to_date(blank, checkpoints):
    with Workspace() as workspace:
        for checkpoint in checkpoints[:4]:
            workspace.register(f"dir:{checkpoint}")
    shutil.copytree(blank / "embeddings" / "index", blank / "old")
    with Workspace() as workspace:
        workspace.remove(checkpoints[0].name)
        for checkpoint in checkpoints[4:7]:
            workspace.register(f"dir:{checkpoint}")
    shutil.rmtree(blank / "embeddings" / "index")
    (blank / "old").rename(blank / "embeddings" / "index")
    with Workspace() as workspace:
        near = Neighbourhood(workspace.store, probes.current(workspace.store, "image").id)
        assert len(near.index) == 6
        owners = [e.id for e in workspace.experts("image")]
        for owner in owners:
            nearest = near.search(near.vector(owner), 6)
            assert nearest[0][0] == owner
            assert sorted(name for name, _ in nearest) == sorted(owners)
        assert_right(workspace)


@pytest.mark.parametrize("backed_up", [2, 4])
def test_an_older_registry_beside_a_newer_index_finds_its_own_neighbours(blank, checkpoints, backed_up):
    """Row numbers come again after a backup was restored; the index of the other time is not read."""
    with Workspace() as workspace:
        for checkpoint in checkpoints[:backed_up]:
            workspace.register(f"dir:{checkpoint}")
        workspace.store.backup(blank / "backup.db")
        for checkpoint in checkpoints[4:7]:
            workspace.register(f"dir:{checkpoint}")
    for name in ("registry.db-wal", "registry.db-shm"):
        (blank / name).unlink(missing_ok=True)
    (blank / "backup.db").rename(blank / "registry.db")
    with Workspace() as workspace:
        # As many vectors as before, under the same numbers, and at least the same generation.
        for checkpoint in reversed(checkpoints[5 : 9 - backed_up + 2]):
            workspace.register(f"dir:{checkpoint}")
        near = Neighbourhood(workspace.store, probes.current(workspace.store, "image").id)
        for owner in [e.id for e in workspace.experts("image")]:
            assert near.search(near.vector(owner), 1)[0][0] == owner
        assert_right(workspace)


def test_the_same_weights_under_two_names_are_flagged(blank, checkpoints, tmp_path):
    copy = shutil.copytree(checkpoints[3], tmp_path / "copy")
    materials.change_json(copy / "preprocessor_config.json", resample=0)
    half = tmp_path / "half"
    ResNetModel.from_pretrained(checkpoints[3], dtype=torch.float16).save_pretrained(half)
    shutil.copy(checkpoints[3] / "preprocessor_config.json", half)
    with Workspace() as workspace:
        for folder in (checkpoints[3], copy, half, checkpoints[4]):
            workspace.register(f"dir:{folder}")
    found = invoke("similar", "e3", "--all", "--json").worked().json
    rows = {row["expert"].split("@")[0]: row for row in found}
    assert rows["copy"]["duplicate"]
    assert rows["half"]["duplicate"]
    assert rows["half"]["cka"] > 0.999
    assert not rows["e4"]["duplicate"]
    assert rows["e4"]["cka"] < 0.99


def test_similar_to_what_is_not_there_is_one_hint(blank, checkpoints):
    invoke("similar", "e3").failed("no expert 'e3' among 0", "expertise-graph ls")
    invoke("register", f"dir:{checkpoints[0]}").worked()
    assert invoke("similar", "e0", "--json").worked().json == []
    invoke("similar", "e9").failed("Did you mean 'e0'?")
    assert invoke("similar", "e0", "-k", 0).code == 2
