"""What fine-tuning takes is estimated before anything is downloaded, shown, and held against limits."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from expertise_graph.core import FOOTPRINT, DatasetError, Footprint, NotFoundError, Query
from expertise_graph.registry.catalogue import (
    find_catalogue,
    install_catalogue,
    read_catalogue,
    write_catalogue,
)
from expertise_graph.training.config import TrainConfig
from expertise_graph.views import ranking_json
from expertise_graph.workspace import Workspace
from tests import materials
from tests.retrieval.test_known_models import catalogue_in, results, row

TASK = Path(__file__).parents[2] / "examples" / "armenian-letters"
SMALL = Footprint(
    params=5_000_000, linear=1e9, moved=3e7, kept=3e7, widest=1e6, kernels=150, numbers=3 * 224**2
)
MODELS = {
    "small": {"params": 5_000_000, "bytes": 20_000_000},
    "large": {"params": 300_000_000, "bytes": 1_200_000_000},
    "monster": {"params": 10**12, "bytes": 4 * 10**12},
}


@pytest.fixture
def known(blank, tmp_path, monkeypatch):
    """A workspace that knows three models, of one of them the network."""
    monkeypatch.delenv("EXPERTISE_GRAPH_CATALOGUE")
    models = [row(name, **given) for name, given in MODELS.items()]
    network = {"model": "hf:acme/small", "modality": "image", **dataclasses.asdict(SMALL)}
    folder = tmp_path / "known"
    catalogue_in(folder, models, {"small": 0.8, "large": 0.85, "monster": 0.9})
    write_catalogue(
        folder, models=models, results=results({"small": 0.8, "large": 0.85, "monster": 0.9}), tasks=[],
        version="2026-01-01", networks=[network],
    )  # fmt: skip
    install_catalogue(folder, blank)
    return blank


@pytest.fixture
def letters(tmp_path):
    return materials.pictures(tmp_path / "letters", 3, 8)


def names(ranking):
    return [c.expert.name.rpartition("/")[2] for c in ranking.candidates]


def test_models_too_large_for_the_memory_that_is_free_are_left_out_and_counted(known, letters):
    with Workspace(known) as zoo:
        ranking, whole = zoo.query(letters), zoo.query(letters, Query(fits=False))
    assert names(ranking) == ["large", "small"]
    assert names(whole) == ["monster", "large", "small"]
    (note,) = [n for n in ranking.notes if "left out" in n]
    assert note.startswith("1 published model is left out: fine-tuning is estimated to take more than")
    assert [e.candidate.expert.name for e in ranking.excluded] == ["hf:acme/monster"]
    assert not [n for n in whole.notes if "left out" in n]


def test_each_candidate_says_what_fine_tuning_takes_and_how_that_is_known(known, letters):
    with Workspace(known) as zoo:
        ranking = zoo.query(letters)
        probe = zoo.query(letters, Query(strategy="linear-probe"))
    needs = dict(zip(names(ranking), (c.needs for c in ranking.candidates), strict=True))
    assert (needs["small"].known_by, needs["large"].known_by) == ("configuration", "size")
    # The weights twice, five more copies of them, four images, and the process itself.
    assert needs["small"].memory == pytest.approx(28 * 5e6 + 4 * 3e7 + 4.8e8, rel=0.1)
    assert needs["large"].memory > 28 * 3e8
    assert 0 < needs["small"].minutes < needs["large"].minutes
    assert needs["small"].inference < needs["small"].memory
    light = {n: c.needs for n, c in zip(names(probe), probe.candidates, strict=True)}
    assert light["large"].memory < needs["large"].memory / 2
    assert light["large"].minutes < needs["large"].minutes / 5
    answer = json.loads(json.dumps(ranking_json(ranking)))
    assert answer["candidates"][0]["needs"] == dataclasses.asdict(needs["large"])
    assert any("estimates for lp-ft, 20 epochs" in note for note in ranking.notes)


def test_limits_keep_out_what_takes_more(known, letters):
    with Workspace(known) as zoo:
        by_memory = zoo.query(letters, Query(max_memory=2 * 10**9))
        minutes = {n: c.needs.minutes for n, c in zip(names(by_memory), by_memory.candidates, strict=True)}
        by_time = zoo.query(letters, Query(max_minutes=2 * minutes["small"]))
        assert names(by_memory) == names(by_time) == ["small"]
        assert [e.constraint for e in by_memory.excluded] == ["`max_memory=2.0GB`"]
        # Without gradients more fits.
        assert names(zoo.query(letters, Query(max_memory=4 * 10**9, strategy="linear-probe"))) == [
            "large",
            "small",
        ]
        with pytest.raises(NotFoundError, match=r"max_minutes=1e-06. alone excludes"):
            zoo.query(letters, Query(max_minutes=1e-6))


def test_limits_hold_for_experts_that_are_here_and_memory_alone_does_not(blank, letters, register_starter):
    with Workspace(blank) as zoo:
        register_starter(zoo, "latin-letters")
        (only,) = zoo.query(letters, Query(starter_knowledge=False)).candidates
        assert only.needs.known_by == "configuration"
        assert 4e8 < only.needs.memory < 3e9
        with pytest.raises(NotFoundError, match="max_memory"):
            zoo.query(letters, Query(starter_knowledge=False, max_memory=10**8))


@pytest.fixture
def register_starter():
    def register(zoo, name):
        return zoo.register(f"zoo:{name}")

    return register


def test_the_first_answer_does_not_wait_for_what_trains(known, letters):
    program = (
        "import sys, expertise_graph as xg\n"
        f"zoo = xg.Workspace({str(known)!r})\n"
        f"ranking = zoo.query({str(letters)!r}, xg.Query(max_memory=2 * 10**9))\n"
        "print(len(ranking.candidates), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "False"]


def test_the_shipped_catalogue_has_the_networks_of_famous_families(monkeypatch):
    monkeypatch.delenv("EXPERTISE_GRAPH_CATALOGUE")
    shipped = find_catalogue()
    known = {m.id: Footprint.from_dict(m.meta[FOOTPRINT]) for m in shipped.models if FOOTPRINT in m.meta}
    assert len(known) >= 200
    small = known["known:image:hf:facebook/dinov2-small"]
    # 256 patches and a class token through twelve layers of width 384.
    assert small.params == pytest.approx(22_056_576, rel=0.03)
    assert small.linear == pytest.approx(257 * 12 * 12 * 384**2, rel=0.15)
    words = known["known:text:hf:sentence-transformers/all-MiniLM-L6-v2"]
    assert words.params == pytest.approx(22_713_216, rel=0.01)
    assert words.lookup == pytest.approx(30522 * 384, rel=0.03)
    # Of a model with two towers that of images counts.
    siglip = known["known:image:hf:google/siglip-base-patch16-224"]
    assert siglip.params == pytest.approx(92.9e6, rel=0.01)


def test_a_catalogue_without_networks_or_with_damaged_ones(tmp_path):
    old = read_catalogue(catalogue_in(tmp_path / "old", [row("a")], {"a": 0.9}))
    assert FOOTPRINT not in old.models[0].meta
    network = {"model": "hf:acme/a", "modality": "image", **dataclasses.asdict(SMALL)}
    for name, version in (("new", "1"), ("damaged", "2")):
        write_catalogue(
            tmp_path / name, models=[row("a")], results=results({"a": 0.9}), tasks=[], version=version,
            networks=[network],
        )  # fmt: skip
    assert Footprint.from_dict(read_catalogue(tmp_path / "new").models[0].meta[FOOTPRINT]) == SMALL
    (tmp_path / "damaged" / "networks.parquet").write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match=r"networks\.parquet is not what was written"):
        read_catalogue(tmp_path / "damaged")


def test_where_no_good_expert_meets_the_limits_a_smaller_network_is_proposed(workspace, tmp_path):
    """Three of the experts have 499,000 parameters, clipart has fewer."""
    with Workspace(workspace) as zoo:
        whole = zoo.query(TASK, Query(budget=2, sample=300, starter_knowledge=False))
        assert whole.proposal is None
        assert whole.too_large == ()
        few = Query(budget=2, sample=300, max_params=480_000, starter_knowledge=False)
        ranking = zoo.query(TASK, few)
        best, proposal = whole.best, ranking.proposal
        assert proposal.expert == best.expert
        assert (proposal.into, proposal.params) == ("shrink:0.5", pytest.approx(125_000, rel=0.1))
        assert best.low > proposal.low
        assert best.predicted > proposal.predicted > ranking.best.predicted
        assert proposal.high == pytest.approx(best.high, abs=0.02)
        assert 0 < proposal.needs.memory < best.needs.memory
        answer = ranking_json(ranking)["proposal"]
        assert answer["expert"] == best.expert.id
        assert answer["command"].startswith("warm_start(")
        assert "half the width" in answer["reason"]
        # Where no expert at all meets the limits, the error names a network that does.
        with pytest.raises(NotFoundError, match=r"alone excludes 4.*a network of 0\.25 of the width"):
            zoo.query(TASK, dataclasses.replace(few, max_params=60_000))
        settings = proposal.command.settings
        expert, into, out = (settings[name] for name in ("expert", "into", "out"))
        done = zoo.warm_start(
            proposal.command.arguments[0],
            tmp_path / out,
            expert=expert,
            config=TrainConfig(into=into, epochs=1),
        )
        assert zoo.expert(done.child).params == pytest.approx(proposal.params, rel=0.05)
