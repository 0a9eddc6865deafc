"""Published models that are not registered: ranked by their results elsewhere, downloaded where asked."""

import io
import json
import shutil

import numpy as np
import pytest

from expertise_graph import starter
from expertise_graph.core.errors import DatasetError, ExpertiseError, InvalidInputError, NotFoundError
from expertise_graph.core.types import Edge, Query
from expertise_graph.registry.catalogue import (
    find_catalogue,
    install_catalogue,
    read_catalogue,
    speaks,
    write_catalogue,
)
from expertise_graph.registry.imports.options import HistoryOptions
from expertise_graph.retrieval.history import read_history
from expertise_graph.retrieval.knowledge import Knowledge
from expertise_graph.workspace import Workspace
from tests import materials
from tests.hub_program import commands_in
from tests.hub_server import HubServer
from tests.nodes import expert

TASKS = tuple(f"lab/task-{i}" for i in range(6))


def row(name, **given):
    """A row of a catalogue about a model of images."""
    about = {
        "model": f"hf:acme/{name}", "modality": "image", "params": 300_000, "bytes": 1_300_000, "dim": 128,
        "license": "mit", "revision": None, "languages": [], "max_tokens": None, "trained_on": [],
        "pretraining": "", "gated": False, "remote_code": False, "base_model": None,
        "released": "2025-03-01", "safetensors": True, "weights_sha": None,
        "source": "a lab",
    }  # fmt: skip
    return {**about, **given}


def results(qualities):
    """Results of models on six tasks: as good as given, with a fit of model and task."""
    rng = np.random.default_rng(0)
    return [
        {
            "model": f"hf:acme/{name}", "modality": "image", "task": task, "metric": "accuracy",
            "value": float(np.clip(quality + 0.08 * rng.standard_normal(), 0.02, 0.98)),
            "method": "probe", "source": "a lab",
        }
        for name, quality in qualities.items()
        for task in TASKS
    ]  # fmt: skip


def catalogue_in(folder, models, qualities):
    tasks = [{"task": task, "kind": "classification", "license": "mit"} for task in TASKS]
    write_catalogue(folder, models=models, results=results(qualities), tasks=tasks, version="2026-01-01")
    return folder


@pytest.fixture
def shipped(monkeypatch):
    monkeypatch.delenv("EXPERTISE_GRAPH_CATALOGUE")
    return find_catalogue()


def test_an_empty_workspace_answers_with_real_models(blank, tmp_path, shipped):
    letters = materials.pictures(tmp_path / "letters", 3, 8)
    with Workspace(blank) as zoo:
        ranking = zoo.query(letters, Query(top=200, fits=False))
    assert ranking.experts_run == 0
    assert len(ranking.candidates) >= 100
    assert {c.expert.modality for c in ranking.candidates} == {"image"}
    assert all(c.expert.license for c in ranking.candidates)
    assert sum(c.expert.params > 0 for c in ranking.candidates) >= 100
    assert "not run here" in ranking.best.evidence
    assert str(ranking.command) == f"register({ranking.best.expert.name!r})"
    first, last = ranking.candidates[0].predicted, ranking.candidates[-1].predicted
    assert first > last


def test_a_limit_of_latency_goes_by_size_for_models_that_are_not_here(blank, tmp_path, monkeypatch):
    models = [row("small"), row("large", params=3_000_000_000), row("unknown", params=None)]
    folder = catalogue_in(tmp_path / "known", models, {"small": 0.8, "large": 0.9, "unknown": 0.85})
    monkeypatch.setenv("EXPERTISE_GRAPH_CATALOGUE", str(folder))
    letters = materials.pictures(tmp_path / "letters", 3, 8)
    with Workspace(blank) as zoo:
        free = zoo.query(letters, Query(budget=0, fits=False))
        limited = zoo.query(letters, Query(budget=0, fits=False, max_latency=60.0))
    assert {c.expert.name for c in free.candidates} == {f"hf:acme/{m}" for m in ("small", "large", "unknown")}
    assert [c.expert.name for c in limited.candidates] == ["hf:acme/small"]
    (first,) = limited.excluded
    assert (first.constraint, first.candidate.expert.name) == ("`max_latency=60`", "hf:acme/large")
    said = [note for note in limited.notes if "max_latency" in note]
    assert "2 experts not here, whose latency is estimated by size" in said[0]
    assert "1 expert left out because neither latency nor size is known" in said[1]
    assert not [note for note in free.notes if "max_latency" in note]


def test_what_ships_is_whole_and_says_where_it_is_from(shipped):
    assert len({m.name for m in shipped.models}) >= 500
    assert {m.modality for m in shipped.models} == {"image", "text", "audio"}
    assert all(m.meta["origin"] for m in shipped.models)
    assert all(0.0 <= edge.weight <= 1.0 and edge.meta["origin"] for edge in shipped.results)
    ids = {m.id for m in shipped.models}
    assert {edge.source for edge in shipped.results} <= ids
    size = sum(path.stat().st_size for path in starter.catalogue_folder().iterdir())
    assert size <= 3_000_000
    (small,) = shipped.find("dinov2-small")
    assert (small.params, small.license, small.dim) == (22_056_576, "apache-2.0", 384)
    assert small.revision == "ed25f3a31f01632728cabb09d1542f84ab7b0056"


def test_names_that_are_nearly_right_are_answered_with_the_right_one(shipped):
    with pytest.raises(NotFoundError, match="Did you mean 'dinov2-small'"):
        shipped.find("dinov2-smal")


def test_models_are_found_by_the_language_that_they_are_made_for(shipped):
    german = {m.name for m in shipped.models if speaks(m, "de")}
    assert german == {m.name for m in shipped.models if speaks(m, "deu-Latn")}
    assert "hf:intfloat/multilingual-e5-small" in german
    for card, made in (
        (["de"], True),
        (["en", "de-CH"], True),
        (["multilingual"], True),
        (["en"], False),
        ([], False),
    ):
        assert speaks(expert("a", meta={"languages": card}), "deu") is made
    assert "hf:sentence-transformers/all-MiniLM-L6-v2" not in german


def test_a_result_counts_for_every_expert_from_the_model_and_imported_ones_replace_it(store, tmp_path):
    found = read_catalogue(catalogue_in(tmp_path / "known", [row("a"), row("b")], {"a": 0.9, "b": 0.6}))
    here = expert("a", id="hf:acme/a@1", source="hf", locator="acme/a")
    store.put_expert(here)
    of_task = {t.name: t.id for t in found.tasks}
    known = Knowledge(store, found, "image")
    assert [e.id for e in known.experts] == ["hf:acme/a@1", "known:image:hf:acme/b"]
    edges = known.results()
    assert {e.source for e in edges} == {"hf:acme/a@1", "known:image:hf:acme/b"}
    assert len(edges) == 12
    mine = Edge(
        kind="transfer", source=here.id, target=of_task[TASKS[0]], weight=0.31, metric="accuracy",
        method="imported", version="1",
    )  # fmt: skip
    store.put_edges([mine])
    again = {(e.source, e.target): e.weight for e in Knowledge(store, found, "image").results()}
    assert len(again) == 12
    assert again[here.id, of_task[TASKS[0]]] == pytest.approx(0.31)
    assert known.population([here.id, "dir:x"]).tolist() == [1, 0]


def test_results_count_for_the_same_weights_from_elsewhere(store, tmp_path):
    models = [row("a", weights_sha="5" * 64), row("b")]
    found = read_catalogue(catalogue_in(tmp_path / "known", models, {"a": 0.9, "b": 0.6}))
    store.put_expert(
        expert("mine", id="dir:mine", source="dir", locator="/models/mine", weights_sha="5" * 64)
    )
    store.put_expert(
        expert("other", id="dir:other", source="dir", locator="/models/other", weights_sha="6" * 64)
    )
    known = Knowledge(store, found, "image")
    assert [e.id for e in known.experts] == ["dir:mine", "dir:other", "known:image:hf:acme/b"]
    assert {e.source for e in known.results()} == {"dir:mine", "known:image:hf:acme/b"}
    assert known.population(["dir:mine", "dir:other"]).tolist() == [1, 0]
    here = Knowledge(store, found, "image", here=True)
    assert [e.id for e in here.experts] == ["dir:mine", "dir:other"]
    assert {e.source for e in here.results()} == {"dir:mine", "known:image:hf:acme/b"}
    store.remove_expert("dir:mine")
    alone = Knowledge(store, found, "image", here=True)
    # Of none of the experts is anything published: what others did elsewhere cannot tell them apart.
    assert ([e.id for e in alone.experts], alone.results(), alone.tasks()) == (["dir:other"], [], [])


def test_a_model_that_learnt_from_the_data_is_not_ranked_on_them(blank, tmp_path, monkeypatch):
    models = [row("a", trained_on=["Lab_Letters"]), row("b"), row("c")]
    folder = catalogue_in(tmp_path / "known", models, {"a": 0.9, "b": 0.6, "c": 0.3})
    monkeypatch.setenv("EXPERTISE_GRAPH_CATALOGUE", str(folder))
    with Workspace(blank) as zoo:
        other = zoo.query(materials.pictures(tmp_path / "others", 3, 8), Query(budget=0))
        mine = zoo.query(materials.pictures(tmp_path / "lab-letters", 3, 8), Query(budget=0))
        without = Query(budget=0, starter_knowledge=False)
        with pytest.raises(NotFoundError, match="no expert of modality"):
            zoo.query(tmp_path / "others", without)
    assert [c.expert.name for c in other.candidates] == ["hf:acme/a", "hf:acme/b", "hf:acme/c"]
    assert [c.expert.name for c in mine.candidates] == ["hf:acme/b", "hf:acme/c"]


def test_constraints_hold_for_known_models(blank, tmp_path, shipped):
    letters = materials.pictures(tmp_path / "letters", 3, 8)
    with Workspace(blank) as zoo:
        asked = Query(budget=0, top=300, max_params=30_000_000, licenses=("apache-2.0",))
        ranking = zoo.query(letters, asked)
    assert len(ranking.candidates) > 10
    assert all(0 < c.expert.params <= 30_000_000 for c in ranking.candidates)
    assert {c.expert.license for c in ranking.candidates} == {"apache-2.0"}


def test_a_language_leaves_what_is_made_for_it(blank, tmp_path, shipped):
    rows = [{"text": f"Satz {i} {'gut' if i % 2 else 'schlecht'}", "label": i % 2} for i in range(40)]
    lines = [json.dumps(row) for row in rows]
    (tmp_path / "tickets.jsonl").write_text("\n".join(lines))
    with Workspace(blank) as zoo:
        german = zoo.query(tmp_path / "tickets.jsonl", Query(budget=0, top=400, languages=("de",)))
        with pytest.raises(InvalidInputError, match="give a code of ISO 639"):
            zoo.query(tmp_path / "tickets.jsonl", Query(budget=0, languages=("german",)))
    names = {c.expert.name for c in german.candidates}
    assert "hf:intfloat/multilingual-e5-small" in names
    assert "hf:sentence-transformers/all-MiniLM-L6-v2" not in names


def test_an_answer_says_where_its_results_are_from_and_what_it_would_be_without(blank, tmp_path, monkeypatch):
    folder = catalogue_in(tmp_path / "known", [row("a"), row("b"), row("c")], {"a": 0.9, "b": 0.6, "c": 0.4})
    monkeypatch.setenv("EXPERTISE_GRAPH_CATALOGUE", str(folder))
    letters = materials.pictures(tmp_path / "letters", 3, 8)
    lines = [f"hf:acme/{n},own-{t},accuracy,{v}" for n, v in (("b", 0.7), ("c", 0.6)) for t in range(2)]
    with Workspace(blank) as zoo:
        text = "\n".join(["expert,task,metric,value", *lines]).encode()
        zoo.import_history(io.BytesIO(text), HistoryOptions(modality="image"))
        plain = zoo.query(letters, Query(budget=0))
        asked = zoo.query(letters, Query(budget=0, explain_sources=True))
    assert plain.sources == ()
    assert [c.predicted for c in asked.candidates] == [c.predicted for c in plain.candidates]
    public, mine = asked.sources
    assert (public.origin, public.results, public.experts, public.tasks) == ("a lab", 18, 3, 6)
    assert (mine.results, mine.experts, mine.tasks) == (4, 2, 2)
    assert public.change > mine.change > 0
    assert (public.first_without, mine.first_without) == ("hf:acme/b", "hf:acme/a")


def test_a_damaged_or_newer_catalogue_is_refused_and_the_old_one_stays(tmp_path, blank):
    folder = catalogue_in(tmp_path / "known", [row("a")], {"a": 0.9})
    install_catalogue(folder, blank)
    assert (blank / "catalogue" / "models.parquet").read_bytes() == (folder / "models.parquet").read_bytes()
    for name in ("models.parquet", "results.parquet", "tasks.parquet"):
        broken = tmp_path / f"broken-{name}"
        shutil.copytree(folder, broken)
        content = bytearray((broken / name).read_bytes())
        content[len(content) // 2] ^= 1
        (broken / name).write_bytes(content)
        with pytest.raises(DatasetError, match=f"{name} is not what was written"):
            install_catalogue(broken, blank)
    newer = tmp_path / "newer"
    shutil.copytree(folder, newer)
    manifest = json.loads((newer / "catalogue.json").read_text())
    (newer / "catalogue.json").write_text(json.dumps({**manifest, "format": 2}))
    with pytest.raises(DatasetError, match="format 2, this version reads 1"):
        install_catalogue(newer, blank)
    assert read_catalogue(blank / "catalogue").version == "2026-01-01"
    with pytest.raises(NotFoundError, match="holds no catalogue"):
        install_catalogue(tmp_path, blank)


@pytest.mark.parametrize(
    ("manifest", "said"),
    [("[]", "catalogue.json"), ("1", "catalogue.json"), ('{"format": 1}', "damaged"),
     ('{"format": 1, "tables": []}', "damaged"), ('{"format": 1, "tables": {"models": null}}', "damaged"),
     ('{"format": 1, "tables": {"models": {"rows": true}}}', "damaged")],
)  # fmt: skip
def test_an_odd_manifest_is_one_line(tmp_path, manifest, said):
    folder = catalogue_in(tmp_path / "known", [row("a")], {"a": 0.9})
    (folder / "catalogue.json").write_text(manifest)
    with pytest.raises(ExpertiseError, match=said):
        read_catalogue(folder)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_results_are_finite_numbers(tmp_path, value):
    folder = tmp_path / "known"
    broken = [{**results({"a": 0.5})[0], "value": value}]
    write_catalogue(folder, models=[row("a")], results=broken, tasks=[], version="1")
    with pytest.raises(DatasetError, match="value that is no finite number"):
        read_catalogue(folder)
    write_catalogue(folder, models=[row("a", params=-5)], results=[], tasks=[], version="1")
    with pytest.raises(DatasetError, match="negative params"):
        read_catalogue(folder)


def test_what_could_not_be_registered_is_no_candidate_and_its_results_count(store, tmp_path):
    models = [
        row("a"), row("b", safetensors=False), row("c", remote_code=True),
        row("d", model="factory:os:system"), row("e", model="dir:/etc"), row("f", gated=True),
    ]  # fmt: skip
    found = read_catalogue(catalogue_in(tmp_path / "known", models, {"a": 0.9, "b": 0.6, "c": 0.5, "f": 0.4}))
    known = Knowledge(store, found, "image")
    assert [e.name for e in known.experts] == ["hf:acme/a", "hf:acme/f"]
    assert len({e.source for e in known.results()}) == 4


def test_a_task_of_two_modalities_counts_for_both(store, tmp_path):
    texts = [{**r, "modality": "text"} for r in results({"a": 0.5, "b": 0.7})]
    both = [*results({"a": 0.9, "b": 0.6}), *texts]
    models = [row(n, modality=m) for n in ("a", "b") for m in ("image", "text")]
    write_catalogue(tmp_path / "known", models=models, results=both, tasks=[], version="1")
    found = read_catalogue(tmp_path / "known")
    for modality in ("image", "text"):
        known = Knowledge(store, found, modality)
        history = read_history(known, known.experts)
        assert np.isfinite(history.outcomes).all()
        assert history.outcomes.shape == (2, 6)


@pytest.fixture
def hub(tmp_path):
    """A hub with four of the shipped experts under other names, one gated and one that is broken."""
    root = tmp_path / "root"
    for name, source in (("a", "clipart"), ("b", "emoji"), ("c", "hebrew-letters"), ("d", "digits-in-fonts")):
        shutil.copytree(starter.shipped()[source], root / "models" / "acme" / name)
    shutil.copytree(starter.shipped()["fashion"], root / "models" / "acme" / "broken")
    weights = root / "models" / "acme" / "broken" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with HubServer(root) as server:
        yield server


@pytest.mark.slow
def test_what_is_fetched_and_run_corrects_what_was_published(blank, tmp_path, hub):
    """Elsewhere the experts for clip art and emoji are better; the data are letters."""
    qualities = {"broken": 0.8, "a": 0.77, "b": 0.76, "gated": 0.9, "c": 0.73, "d": 0.7, "e": 0.4, "f": 0.3}
    models = [row(name, gated=name == "gated") for name in qualities]
    known = str(catalogue_in(tmp_path / "known", models, qualities))
    letters = str(materials.pictures(tmp_path / "letters", 6, 14))
    program = commands_in(blank, hub, tmp_path)
    before, after, again, offline = program(
        ["query", letters, "--json"],
        ["query", letters, "--top", "9", "--fetch", "4", "--max-download", "20MB", "--evict", "--json"],
        ["query", letters, "--top", "9", "--json"],
        ["ls", "--json"],
        EXPERTISE_GRAPH_CATALOGUE=known,
    )
    assert [before[0], after[0], again[0]] == [0, 0, 0], (before, after, again)
    first, found, later = (json.loads(done[1]) for done in (before, after, again))
    assert first["experts_run"] == 0
    where = {c["name"]: c["where"] for c in first["candidates"]}
    assert first["candidates"][0]["name"] == "hf:acme/gated"
    assert (where["hf:acme/gated"], where["hf:acme/a"]) == ("gated", "to fetch")
    ran = {c["name"]: c for c in found["candidates"] if c["ran"]}
    assert found["experts_run"] == 4
    assert {"a", "b", "c"} <= ran.keys()
    best = max((c for c in found["candidates"] if c["where"] == "here"), key=lambda c: c["predicted"])
    assert best["name"] in {"c", "d"}
    assert "hf:acme/broken" not in {c["name"] for c in found["candidates"]}
    assert "hf:acme/broken was not fetched" in found["failed"][0]["reason"]
    assert any("4 models fetched" in note for note in found["notes"])
    assert not [request for request in hub.log if "gated" in request.path]
    # The weights are gone again, what was found out stays.
    left = {path.parts[-4] for path in (tmp_path / "hf").rglob("*.safetensors")}
    assert left <= {"models--acme--broken"}
    assert later["experts_run"] == 0
    assert {c["name"] for c in later["candidates"] if c["ran"]} == ran.keys()
    assert len(json.loads(offline[1])) == 4


@pytest.mark.slow
def test_models_of_the_hub_are_known_without_a_download(blank, tmp_path, hub):
    """What the Hub says of them is kept, they are ranked, and one is fetched and becomes an expert."""
    cards = {
        "a": "license: mit\npipeline_tag: image-classification\nlanguage: [de]\nbase_model: acme/b",
        "b": "license: mit\npipeline_tag: image-feature-extraction",
        "c": "license: apache-2.0\npipeline_tag: image-classification",
        "d": "license: mit\npipeline_tag: text-to-speech",
        "broken": "license: mit",
    }
    for name, text in cards.items():
        (hub.root / "models" / "acme" / name / "README.md").write_text(f"---\n{text}\n---\n")
    letters = str(materials.pictures(tmp_path / "letters", 3, 8))
    program = commands_in(blank, hub, tmp_path)
    search = ["register", "--hub-search", "acme", "--metadata-only", "--json"]
    every, mit, small, odd, alone, asked, listed = program(
        search,
        [*search, "--license", "mit", "--pipeline-tag", "image-classification"],
        [*search, "--max-params", "1000"],
        [*search, "--pipeline-tag", "text-to-speech"],
        ["register", "--metadata-only"],
        ["query", letters, "--fetch", "1", "--json"],
        ["ls", "--json"],
        EXPERTISE_GRAPH_CATALOGUE="none",
    )
    codes = [done[0] for done in (every, mit, small, odd, alone, asked)]
    assert codes == [0, 0, 0, 1, 2, 0], (every, odd, asked)
    found = {row["name"]: row for row in json.loads(every[1])}
    assert found.keys() == {"hf:acme/a", "hf:acme/b", "hf:acme/c"}
    assert [row["name"] for row in json.loads(mit[1])] == ["hf:acme/a"]
    assert json.loads(small[1]) == []
    assert "is not the use of models that give features" in odd[2]
    weights = hub.root / "models" / "acme" / "a" / "model.safetensors"
    assert found["hf:acme/a"]["base_model"] == "acme/b"
    assert found["hf:acme/a"]["license"] == "mit"
    assert found["hf:acme/a"]["revision"] == hub.commit("models/acme/a")
    assert 0.9 < found["hf:acme/a"]["bytes"] / weights.stat().st_size <= 1
    answer = json.loads(asked[1])
    assert answer["experts_run"] == 1
    assert sorted(c["where"] for c in answer["candidates"]) == ["here", "to fetch", "to fetch"]
    downloaded = [request.path for request in hub.log if request.path.endswith("model.safetensors")]
    assert len({path.split("/")[2] for path in downloaded}) == 1
    rows = {row["name"]: row["runnable"] for row in json.loads(listed[1])}
    assert sorted(rows.values()) == [False, False, True]


@pytest.mark.slow
def test_cards_that_say_otherwise_and_twins_are_told(blank, tmp_path, hub):
    """The experts are under Apache-2.0, whatever a catalogue says; two repositories hold the same one."""
    shutil.copytree(hub.root / "models" / "acme" / "a", hub.root / "models" / "acme" / "twin")
    qualities = {"a": 0.9, "twin": 0.88, "gated": 0.6}
    claimed = [row(name, gated=name == "gated") for name in qualities]
    true = [row(name, gated=name == "gated", license="apache-2.0") for name in qualities]
    wrong = str(catalogue_in(tmp_path / "wrong", claimed, qualities))
    right = str(catalogue_in(tmp_path / "right", true, qualities))
    letters = str(materials.pictures(tmp_path / "letters", 3, 8))
    program = commands_in(blank, hub, tmp_path)
    ((code, out, err),) = program(
        ["query", letters, "--fetch", "1", "--license", "mit", "--evict", "--json"],
        EXPERTISE_GRAPH_CATALOGUE=wrong,
    )
    assert code == 0, err
    answer = json.loads(out)
    assert answer["experts_run"] == 0
    assert [c["name"] for c in answer["candidates"]][:1] == ["hf:acme/twin"]
    assert any("does not meet --license mit" in note for note in answer["notes"])
    assert not list((tmp_path / "hf").rglob("*.safetensors"))
    ((code, out, err),) = program(
        ["query", letters, "--fetch", "2", "--budget", "0", "--json"], EXPERTISE_GRAPH_CATALOGUE=right
    )
    assert code == 0, err
    answer = json.loads(out)
    assert answer["experts_run"] == 1
    assert [c["where"] for c in answer["candidates"]].count("here") == 1


@pytest.mark.slow
def test_without_a_network_the_answer_says_so_and_stands(blank, tmp_path, hub):
    known = str(catalogue_in(tmp_path / "known", [row("a"), row("b")], {"a": 0.9, "b": 0.8}))
    letters = str(materials.pictures(tmp_path / "letters", 3, 8))
    program = commands_in(blank, hub, tmp_path)
    ((code, out, err),) = program(
        ["query", letters, "--fetch", "2", "--json"], EXPERTISE_GRAPH_CATALOGUE=known, HF_HUB_OFFLINE="1"
    )
    assert code == 0, err
    answer = json.loads(out)
    assert [c["name"] for c in answer["candidates"]] == ["hf:acme/a", "hf:acme/b"]
    refused = [note for note in answer["notes"] if "was not fetched" in note]
    assert len(refused) == 2
    assert all("network" in line for line in refused)
    assert hub.log == []
