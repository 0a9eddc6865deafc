"""Imported history on the command line, beside experts that run, and on its way to one of them."""

import csv
import dataclasses
import io
import json
import sqlite3
import subprocess
import sys

import networkx as nx
import pytest

from expertise_graph import Workspace
from expertise_graph.core.types import Query
from expertise_graph.features.probing import Prober
from expertise_graph.registry import registration
from expertise_graph.registry.imports.options import (
    DistanceOptions,
    HistoryOptions,
    ImportOptions,
    ScoreOptions,
)
from expertise_graph.store.store import Store
from tests import materials
from tests.conftest import IMAGE_EXPERTS
from tests.program import invoke

RESULTS = """\
expert,task,metric,value,seed,n_train
clipart,pets,accuracy,90,0,1000
org/net,pets,accuracy,80,0,1000
org/net,dtd,accuracy,70,0,1000
org/net,dtd,eval_loss,1.5,0,1000
"""
LOWER = ("--lower-is-better", "eval_loss")


@pytest.fixture
def results(tmp_path):
    (tmp_path / "results.csv").write_text(RESULTS)
    (tmp_path / "scores.csv").write_text("expert,task,estimator,value\norg/net,pets,LogME,0.5\n")
    (tmp_path / "models.csv").write_text("expert,params,dataset,=x\norg/net,25e6,imagenet,\x1b[31m\n")
    (tmp_path / "distances.csv").write_text(",pets,imagenet\npets,0,1.5\n")
    return tmp_path / "results.csv"


def test_what_was_read_is_said_in_two_lines(workspace, results):
    done = invoke("history", "import", results, *LOWER).worked()
    assert done.lines == [
        "results.csv: 4 rows, 4 results added; experts: 1 known, 1 new by name only (org/net); "
        "tasks: 0 known, 2 new by name only (pets, dtd)",
        "accuracy is in percent, divided by 100",
    ]
    again = invoke("history", "import", results, *LOWER, "--json").worked().json
    assert (again["rows"], again["added"], again["duplicates"], again["new_experts"]) == (4, 0, 4, [])
    assert invoke("tasks", "ls").worked().out.count("image") == 2


def test_standard_input_and_a_dry_run(workspace):
    done = invoke("history", "import", "-", *LOWER, "--dry-run", "--json", stdin=RESULTS).worked().json
    assert (done["file"], done["dry_run"], done["added"]) == ("stdin", True, 4)
    assert invoke("history", "ls", "--json").worked().json == []
    invoke("history", "import", "-", *LOWER, stdin=RESULTS).worked()
    assert len(invoke("history", "ls", "--json").worked().json) == 4


def test_listings(workspace, results):
    invoke("history", "import", results, *LOWER).worked()
    invoke("scores", "import", results.with_name("scores.csv"), "--rename", "LogME=logme").worked()
    rows = invoke("history", "ls", "--json").worked().json
    assert [(r["expert"], r["task"], r["metric"], r["value"]) for r in rows[:2]] == [
        ("org/net", "dtd", "accuracy", 0.7),
        ("org/net", "dtd", "eval_loss", 1.5),
    ]
    assert [r["value"] for r in rows[2:]] == [0.9, 0.8]
    assert (rows[1]["lower_is_better"], rows[1]["origin"], rows[1]["n_train"]) == (True, "results.csv", 1000)
    assert len(invoke("history", "ls", "--task", "pets", "--json").worked().json) == 2
    assert len(invoke("history", "ls", "--expert", "org/net", "--json").worked().json) == 3
    assert invoke("history", "ls", "--expert", "clipart", "-q").worked().lines == [rows[2]["id"]]
    assert len(list(csv.DictReader(io.StringIO(invoke("history", "ls", "--csv").worked().out)))) == 4
    invoke("history", "ls", "--task", "pet").failed("no task 'pet'", "Did you mean 'pets'")
    tasks = {t["name"]: (t["results"], t["scores"]) for t in invoke("tasks", "ls", "--json").worked().json}
    assert tasks == {"pets": (2, 1), "dtd": (2, 0)}


def test_results_of_a_removed_expert_are_found_by_its_id(workspace, results):
    invoke("history", "import", results, *LOWER).worked()
    invoke("rm", "org/net").worked()
    found = invoke("history", "ls", "--expert", "meta:org/net", "--json").worked().json
    assert [r["expert"] for r in found] == ["meta:org/net"] * 3
    back = invoke("history", "import", results, *LOWER, "--json").worked().json
    assert (back["added"], back["new_experts"]) == (0, ["org/net"])


def test_covariates_are_shown_and_nothing_reaches_the_terminal_unclean(workspace, results):
    invoke("meta", "import", results.with_name("models.csv")).worked()
    assert invoke("show", "org/net", "--json").worked().json["covariates"] == {
        "=x": "\x1b[31m",
        "dataset": "imagenet",
        "params": 25e6,
    }
    shown = invoke("show", "org/net").worked().out
    assert "imagenet" in shown
    assert "\x1b" not in shown
    listed = {r["name"]: r for r in invoke("ls", "--json").worked().json}
    assert (listed["org/net"]["runnable"], listed["clipart"]["runnable"]) == (False, True)
    assert listed["org/net"]["params"] == 25_000_000
    marked = [line for line in invoke("ls").worked().lines if "[metadata only]" in line]
    assert len(marked) == 1
    assert marked[0].split()[0] == "org/net"


def test_distances(workspace, results):
    file = results.with_name("distances.csv")
    done = invoke("tasks", "import-distance", file, "--method", "emd", "--json").worked().json
    assert (done["added"], done["left_out"]) == (1, {"of a task to itself": 1})
    store = Store(workspace)
    assert [(d.value, d.method) for d in store.distances()] == [(1.5, "emd")]
    store.close()


def test_errors_and_wrong_usage_are_one_line(workspace, results):
    invoke("history", "import", results).failed("of 'eval_loss' a lower value seems to be better")
    invoke("history", "import", "missing.csv").failed("cannot read missing.csv: No such file")
    invoke("history", "import", workspace).failed("files of MTEB (--from mteb; keys task_name, scores)")
    invoke("history", "import", "-", stdin="").failed("stdin is empty")
    invoke("scores", "import", results).failed("no column 'estimator'; there are: expert, task, ")
    invoke("tasks", "import-distance", results).failed("not a finite number", "a long table has the columns")
    assert invoke("scores", "import", results, "--rename", "x").code == 2
    assert invoke("history", "import", results, "--unit", "permille").code == 2
    assert invoke("history", "ls", "--json").worked().json == []


def test_importing_and_listing_load_no_heavy_library(workspace, results):
    code = (
        "import json, sys; from expertise_graph.cli import app\n"
        "for words in json.loads(sys.argv[1]):\n"
        "    app(words, standalone_mode=False)\n"
        "    heavy = [m for m in ('torch', 'faiss', 'transformers') if m in sys.modules]\n"
        "    print(words[:2], heavy, file=sys.stderr)\n"
    )
    commands = [["history", "import", str(results), *LOWER], ["history", "ls"], ["tasks", "ls"]]
    program = [sys.executable, "-c", code, json.dumps(commands)]
    done = subprocess.run(program, capture_output=True, text=True, check=False, cwd=workspace, timeout=60)
    assert done.stderr.splitlines() == [f"{words[:2]} []" for words in commands]
    assert done.stdout.count("pets") >= len(commands)


def test_experts_without_weights_are_passed_over_or_refused(workspace, results, tmp_path):
    invoke("history", "import", results, *LOWER).worked()
    images = materials.pictures(tmp_path / "images", 3, 8)
    with Workspace(workspace) as opened:
        ranking = opened.query(images, Query(budget=2, top=50))
        assert {c.expert.name for c in ranking.candidates if c.ran} < {"org/net", *IMAGE_EXPERTS}
        assert {c.expert.name: c.expert.runnable for c in ranking.candidates} == {
            "org/net": False,
            **dict.fromkeys(IMAGE_EXPERTS, True),
        }
        assert [c.ran for c in ranking.candidates if c.expert.name == "org/net"] == [False]
        probe_set, failed = opened.create_probe_set(images, name="mine", n=8, seed=0, license="CC0-1.0")
        assert failed == []
        owners = opened.store.vectors(probe_set.id)[1]
        assert sorted(owners) == sorted(e.id for e in opened.experts("image") if e.runnable)
        graph = opened.graph()
    assert graph.nodes["meta:org/net"]["source"] == "metadata"
    hint = "expertise-graph register hf:org/net"
    invoke("similar", "org/net").failed("metadata only", hint)
    invoke("warm-start", images, "--out", tmp_path / "out", "--expert", "org/net").failed(hint)
    assert not (tmp_path / "out").exists()
    invoke("export", tmp_path / "graph.graphml").worked()
    assert "meta:org/net" in nx.read_graphml(tmp_path / "graph.graphml")


@pytest.mark.parametrize("name", ["clipart", "zoo:clipart"])
def test_registering_an_expert_takes_over_what_was_imported_under_its_name(blank, name):
    (blank / "r.csv").write_text(f"expert,task,metric,value\n{name},pets,accuracy,0.9\nb,pets,accuracy,0.1\n")
    (blank / "s.csv").write_text(f"expert,task,estimator,value\n{name},pets,LogME,0.5\n")
    (blank / "m.csv").write_text(f"expert,dataset,params\n{name},openclipart,7\n")
    (blank / "d.csv").write_text("task,other,distance\npets,openclipart,2\n")
    with Workspace(blank) as workspace:
        workspace.import_history(blank / "r.csv", HistoryOptions(modality="image"))
        workspace.import_scores(blank / "s.csv", ScoreOptions())
        workspace.import_meta(blank / "m.csv", ImportOptions())
        workspace.import_distances(blank / "d.csv", DistanceOptions())
        node = workspace.store.expert(f"meta:{name}")
        assert (node.params, node.runnable) == (7, False)
        for _ in range(2):
            real = workspace.register("zoo:clipart")
            store = workspace.store
            assert {e.id for e in workspace.experts()} == {real.id, "meta:b"}
            assert real.params > 7
            assert {(e.source, e.weight) for e in store.edges("transfer")} == {
                (real.id, 0.9),
                ("meta:b", 0.1),
            }
            assert [(s.expert, s.value) for s in store.scores()] == [(real.id, 0.5)]
            assert store.covariates() == {real.id: {"dataset": "openclipart", "params": 7.0}}
        again = workspace.import_history(blank / "r.csv")
        assert (again.added, again.experts_known, again.new_experts) == (0, 2, ())


@pytest.fixture
def hub_expert(blank, tmp_path):
    """An expert as the Hub source describes it; its features are known, so that it need not be loaded."""
    with Workspace(blank) as workspace:
        local = workspace.register(f"dir:{materials.resnet(tmp_path / 'net', 1)}")
        workspace.import_history(io.BytesIO(b"expert,task,metric,value\norg/net,pets,accuracy,0.9\n"))
    return dataclasses.replace(local, id="hf:org/net@1", source="hf", locator="org/net", name="net")


def test_an_expert_is_known_by_its_hub_id(blank, hub_expert):
    with Workspace(blank) as workspace:
        registration.register(workspace.store, Prober(arrays=workspace.store.features), hub_expert)
        assert workspace.store.known_expert("meta:org/net") is None
        (edge,) = workspace.store.edges("transfer")
        known = workspace.store.expert(edge.source)
        assert known.weights_sha == hub_expert.weights_sha, "the local copy, of which it is an alias"
        assert workspace.store.find_expert("net").id == known.id


def test_a_registration_that_fails_leaves_the_history_where_it_was(blank, hub_expert):
    with Workspace(blank) as workspace:
        workspace.store.db.execute(
            "CREATE TRIGGER no BEFORE INSERT ON embeddings BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
        workspace.remove("net")
        with pytest.raises(sqlite3.IntegrityError, match="refused"):
            registration.register(workspace.store, Prober(arrays=workspace.store.features), hub_expert)
        assert workspace.store.expert("meta:org/net").name == "org/net"
        assert [e.source for e in workspace.store.edges("transfer")] == ["meta:org/net"]
        assert "hf:org/net@1" not in {e.id for e in workspace.experts()}
