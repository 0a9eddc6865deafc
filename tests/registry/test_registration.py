"""Registering, listing and removing: what is stored, what is kept, what is refused."""

import csv
import io
import json
import shutil
import time

import networkx as nx
import numpy as np
import pytest

from expertise_graph.core.errors import SourceError
from expertise_graph.core.types import Edge, Task
from expertise_graph.data.dataset import Inputs
from expertise_graph.features import probe_sets as probes
from expertise_graph.features.probing import Prober
from expertise_graph.models.base import SourceOptions
from expertise_graph.models.loading import resolve
from expertise_graph.registry import registration
from expertise_graph.store.arrays import features_key
from expertise_graph.workspace import Workspace
from tests import materials
from tests.program import invoke, run


@pytest.fixture
def models(tmp_path):
    return [materials.resnet(tmp_path / f"m{i}", i) for i in range(3)]


def test_registering_again_changes_nothing_and_runs_nothing(blank, models):
    batches = []
    with Workspace(progress=lambda label, done, total: batches.append(label)) as workspace:
        first = workspace.register(f"dir:{models[0]}")
        workspace.register(f"dir:{models[1]}")
        before = materials.counts(blank), workspace.store.generation()
        edges = workspace.store.edges()
        ran = len(batches)
        time.sleep(0.005)
        again = workspace.register(f"dir:{models[0]}", options=SourceOptions(tags=("new",)))
        assert len(batches) == ran > 0
        assert (materials.counts(blank), workspace.store.generation()) == before
        assert workspace.store.edges() == edges
    assert again.created_at == first.created_at
    assert again.tags == ("new",)


def test_rm_keeps_measured_history_and_the_next_register_takes_it_up(blank, models):
    with Workspace() as workspace:
        expert = workspace.register(f"dir:{models[0]}")
        other = workspace.register(f"dir:{models[1]}")
        task = Task(id="task:1", name="t", modality="image", classes=("a", "b"), n=9, locator="/t")
        workspace.store.put_task(task)
        measured = Edge(
            kind="transfer", source=expert.id, target=task.id, weight=0.7, method="lp-ft", version="1",
            metric="accuracy", n=9, run="run:1",
        )  # fmt: skip
        workspace.store.put_edges([measured])
    done = invoke("rm", "m0").worked()
    assert done.err == f"removed {expert.short}; 1 measured result stays\n"
    with Workspace() as workspace:
        assert [e.id for e in workspace.experts()] == [other.id]
        assert [(e.kind, e.source, e.weight) for e in workspace.store.edges()] == [
            ("transfer", expert.id, 0.7)
        ]
        assert workspace.graph().nodes[expert.id]["kind"] == "reference"
        assert (models[0] / "model.safetensors").is_file()
        workspace.register(f"dir:{models[0]}")
        assert sorted(e.kind for e in workspace.store.edges(node=expert.id)) == ["similarity", "transfer"]
    invoke("rm", "m7").failed("no expert 'm7'", "Did you mean")


def test_ctrl_c_says_how_many_sources_are_registered(blank, models, monkeypatch):
    resolved, calls = Workspace._resolve, []

    def interrupted(self, prober, reference, options):
        calls.append(reference)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return resolved(self, prober, reference, options)

    monkeypatch.setattr(Workspace, "_resolve", interrupted)
    done = invoke("register", *(f"dir:{model}" for model in models[:3]))
    said = "interrupted; 1 of 3 sources registered: re-run the same command to resume\n"
    assert (done.code, done.err) == (130, said)
    assert len(invoke("ls", "-q").worked().lines) == 1


def card(folder, base):
    (folder / "README.md").write_text(f"---\nbase_model: {json.dumps(base)}\n---\n")


def test_lineage_follows_cards_in_any_order_and_survives_a_cycle(blank, models):
    ids = [resolve(f"dir:{m}", SourceOptions()).id for m in models]
    for model, base in zip(models, (ids[1], ids[2], ids[0]), strict=True):
        card(model, base)
    with Workspace() as workspace:
        for _ in range(2):
            for model in models:
                workspace.register(f"dir:{model}")
        found = [(e.source, e.target, e.method) for e in workspace.store.edges("lineage")]
        expected = {(ids[1], ids[0]), (ids[2], ids[1]), (ids[0], ids[2])}
        assert {(a, b) for a, b, _ in found} == expected
        assert len(found) == 3
        assert {method for _, _, method in found} == {"model card, self-reported"}
    data = materials.pictures(blank / "data", 2, 5)
    assert len(invoke("query", data, "--json").worked().json["candidates"]) == 3
    assert invoke("export", "--format", "json", blank / "g.json").worked().code == 0


def test_a_card_that_names_itself_makes_no_edge_and_nobody_known_a_claim(blank, models):
    card(models[0], resolve(f"dir:{models[0]}", SourceOptions()).id)
    card(models[1], "somebody/else")
    card(models[2], ["a", 3, None])
    with Workspace() as workspace:
        for model in models:
            workspace.register(f"dir:{model}")
        assert [(e.source, e.target.partition(":")[0]) for e in workspace.store.edges("lineage")] == [
            ("hf:somebody/else", "dir"),
            ("hf:a", "dir"),
        ]
        assert workspace.store.find_expert("m1").base_model == "somebody/else"


def test_a_hostile_card_states_nothing(blank, models):
    for text in ("---\nlicense: [\n---\n", "---\n" + "a: &a [*a]\n" * 3 + "---\n", "\0\xff", "x" * (3 << 20)):
        (models[0] / "README.md").write_text(text)
        with Workspace() as workspace:
            assert workspace.register(f"dir:{models[0]}").license == "unknown"


def test_forged_features_are_not_taken_for_the_expert(blank, models):
    """Features of another shape or with NaN in the cache are computed again."""
    expert = resolve(f"dir:{models[0]}", SourceOptions())
    with Workspace() as workspace:
        probe_set = probes.current(workspace.store, "image")
        key = features_key(expert, probe_set.id)
        prober = Prober(arrays=workspace.store.features)
        right = prober.features(expert, probes.inputs(workspace.store, probe_set))
        for forged in (right[:-1], np.full_like(right, np.nan)):
            workspace.store.features.put(key, forged)
            np.testing.assert_array_equal(
                prober.features(expert, probes.inputs(workspace.store, probe_set)), right
            )
        embedding = registration.embed(workspace.store, prober, expert, probe_set)
        workspace.register(f"dir:{models[0]}")
        np.testing.assert_allclose(workspace.store.vectors(probe_set.id)[2][0], embedding.vector, atol=1e-6)


def test_features_do_not_depend_on_the_batch_they_are_in(blank, models):
    expert = resolve(f"dir:{models[0]}", SourceOptions())
    with Workspace() as workspace:
        inputs = probes.inputs(workspace.store, probes.current(workspace.store, "image"))
        prober = Prober(arrays=workspace.store.features)
        whole = prober.features(expert, inputs)
        part = prober.features(expert, Inputs(items=inputs.items[40:43], modality="image", sha256="part"))
    np.testing.assert_allclose(part, whole[40:43], rtol=1e-4, atol=1e-5)


def test_a_model_is_not_registered_for_inputs_that_it_does_not_take(blank, models):
    before = materials.counts(blank)
    done = invoke("register", f"dir:{models[0]}", "--modality", "audio")
    done.failed("takes images, not audio inputs")
    assert materials.counts(blank) == before


def test_probe_sets_are_created_used_listed_and_shown(blank, models, tmp_path):
    invoke("register", f"dir:{models[0]}", f"dir:{models[1]}").worked()
    data = materials.pictures(tmp_path / "probes", 5, 4)
    done = invoke("probe", "create", data, "--name", "mine", "-n", 16, "--license", "CC0-1.0").worked()
    assert done.err == "20 images\nmine: 16 image inputs, now current\n"
    rows = {row["name"]: row for row in invoke("probe", "ls", "--json").worked().json}
    assert (rows["mine"]["current"], rows["mine"]["experts"], rows["mine"]["n"]) == (True, 2, 16)
    assert (rows["small"]["current"], rows["small"]["experts"]) == (False, 2)
    shown = invoke("probe", "show", "mine", "--json").worked().json
    assert (shown["n"], shown["licenses"]) == (16, {"CC0-1.0": 16})
    assert len({item["sha256"] for item in shown["items"]}) == 16
    invoke("register", f"dir:{models[2]}").worked()
    invoke("probe", "use", "small").worked()
    rows = {row["name"]: row for row in invoke("probe", "ls", "--json").worked().json}
    assert (rows["small"]["current"], rows["small"]["experts"]) == (True, 3)
    invoke("probe", "use", "smal").failed("no probe set 'smal'", "Did you mean 'small'?")
    invoke("probe", "create", tmp_path / "gone", "--name", "x").failed("gone")


def test_an_expert_that_is_gone_does_not_keep_the_others_off_a_new_probe_set(blank, models, tmp_path):
    invoke("register", *(f"dir:{m}" for m in models)).worked()
    shutil.rmtree(models[1])
    data = materials.pictures(tmp_path / "probes", 5, 4)
    done = invoke("probe", "create", data, "--name", "mine", "-n", 16).worked()
    assert "not embedded: m1: no folder at" in done.err
    rows = {row["name"]: row for row in invoke("probe", "ls", "--json").worked().json}
    assert rows["mine"]["experts"] == 2


def test_a_probe_set_whose_file_is_gone_or_changed_is_one_clear_error(blank, models):
    file = max((blank / "embeddings" / "probes").iterdir(), key=lambda path: path.stat().st_mtime)
    with Workspace() as workspace:
        wanted = probes.current(workspace.store, "image").id
    file = blank / "embeddings" / "probes" / f"{wanted.partition(':')[2]}.zip"
    other = next(p for p in file.parent.iterdir() if p != file)
    shutil.copy(other, file)
    invoke("register", f"dir:{models[0]}").failed("is not the probe set 'small'")
    file.unlink()
    invoke("register", f"dir:{models[0]}").failed("is missing; restore")
    assert materials.counts(blank)["experts"] == 0


def test_features_that_are_not_finite_are_an_error(blank, models):
    expert = resolve(f"dir:{models[0]}", SourceOptions())
    materials.resnet(models[0], 9)
    with Workspace() as workspace:
        prober = Prober(arrays=workspace.store.features)
        with pytest.raises(SourceError, match="not the registered ones"):
            prober.features(expert, probes.inputs(workspace.store, probes.current(workspace.store, "image")))


def test_listings_filter_sort_and_speak_to_programs(workspace):
    rows = invoke("ls", "--modality", "image", "--sort", "params", "--json").worked().json
    assert rows[0]["name"] == "clipart"
    assert [r["params"] for r in rows] == sorted(r["params"] for r in rows)
    assert len(rows) == 4
    assert invoke("ls", "-q", "--modality", "text").worked().lines == [
        r["id"] for r in invoke("ls", "--modality", "text", "--json").json
    ]
    table = list(csv.DictReader(io.StringIO(invoke("ls", "--csv").worked().out)))
    assert {r["name"] for r in table} == {r["name"] for r in invoke("ls", "--json").json}
    assert invoke("ls", "--license", "gpl-3.0", "--json").worked().json == []
    shown = invoke("show", "emoji", "--json").worked().json
    assert shown["id"] == "zoo:emoji@resnet"
    assert {r["kind"] for r in shown["relations"]} == {"similarity"}
    for command in (["ls"], ["show", "emoji"], ["similar", "emoji"], ["probe", "ls"], ["runs"]):
        assert invoke(*command).worked().out.strip()


@pytest.mark.parametrize(
    ("kind", "read"), [("graphml", nx.read_graphml), ("gexf", nx.read_gexf), ("gml", nx.read_gml)]
)
def test_the_graph_is_read_back_by_networkx(workspace, kind, read):
    invoke("export", "--format", kind, f"graph.{kind}").worked()
    graph = read(workspace / f"graph.{kind}")
    with Workspace() as opened:
        assert set(graph.nodes) == set(opened.graph().nodes)
        assert graph.number_of_edges() == opened.graph().number_of_edges()
    assert graph.number_of_nodes() == 6
    invoke("export", "--format", "gexg", "x").failed("gexf")


def test_a_name_cannot_run_in_a_terminal_or_a_spreadsheet(blank, models):
    names = {"=HYPERLINK(1)": models[0], "\x1b[31mred\u202e": models[1], "[bold]x[/bold]\n2nd": models[2]}
    for name, model in names.items():
        invoke("register", f"dir:{model}", "--name", name, "--tag", "@x").worked()
    for command in (
        ["ls"],
        ["ls", "--csv"],
        ["ls", "-q"],
        ["show", "=HYPERLINK(1)"],
        ["similar", "=HYPERLINK(1)"],
    ):
        done = invoke(*command).worked()
        assert not set(done.out + done.err) & set("\x1b\u202e")
    cells = [c for row in csv.reader(io.StringIO(invoke("ls", "--csv").out)) for c in row]
    assert "'=HYPERLINK(1)" in cells
    assert "'@x" in cells
    assert not [c for c in cells if c.startswith(("=", "+", "-", "@"))]
    assert "[bold]x[/bold]" in invoke("ls").out
    assert {r["name"] for r in invoke("ls", "--json").json} == set(names)


@pytest.mark.slow
def test_commands_work_in_a_process_of_their_own(tmp_path):
    model = materials.resnet(tmp_path / "model", 1)
    assert run("init", cwd=tmp_path).code == 0
    done = run("register", f"dir:{model}", f"dir:{tmp_path / 'modle'}", "--json", cwd=tmp_path)
    done.failed("no folder at", "Did you mean 'model'?")
    assert [row["name"] for row in done.json if row["error"] is None] == ["model"]
