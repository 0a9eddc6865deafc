"""Results that cards claim, from the card to the answer: counted with doubt, told apart from others."""

import contextlib
import json
import shutil

import pytest

from expertise_graph import starter
from expertise_graph.core import SELF_REPORTED
from expertise_graph.core.types import Query
from expertise_graph.models import Claim
from expertise_graph.registry.card_results import LEFT_OUT, keep_claims, task_name
from expertise_graph.registry.imports.options import HistoryOptions
from expertise_graph.store import Store
from expertise_graph.workspace import Workspace
from tests import materials
from tests.hub_program import commands_in
from tests.hub_server import HubServer
from tests.nodes import expert
from tests.program import invoke

TASKS = tuple(f"lab/task-{i}" for i in range(6))


@pytest.fixture
def store(tmp_path):
    with contextlib.closing(Store(tmp_path)) as opened:
        yield opened


def kept(store, *claims, **about):
    """What is stored of the claims of an expert: value by task and metric, and what is left out."""
    node = expert("net", **about)
    store.put_expert(node)
    told = keep_claims(store, node, claims)
    names = store.names({edge.target for edge in store.edges("transfer")})
    found = {(names[e.target], e.metric): e.weight for e in store.edges("transfer", source=node.id)}
    return found, told.meta.get(LEFT_OUT, {})


def claim(value, dataset="a", metric="accuracy", **more):
    return Claim(dataset=dataset, metric=metric, value=value, **more)


def test_a_card_has_one_unit_which_its_values_tell(store):
    fractions, _ = kept(store, claim(0.9), claim(0.7, "b"), claim(1.0, "c"))
    assert fractions == {("a", "accuracy"): 0.9, ("b", "accuracy"): 0.7, ("c", "accuracy"): 1.0}
    percents, left_out = kept(store, claim(90.0), claim(0.7, "b"), claim(55.5, "c"), claim(0.0, "d"))
    assert percents == {("a", "accuracy"): 0.9, ("c", "accuracy"): 0.555, ("d", "accuracy"): 0.0}
    assert left_out == {"of unknown unit": 1}
    signed, left_out = kept(store, claim(0.9, percent=True), claim(0.7, "b"), claim(101.0, "c"))
    assert signed == {("a", "accuracy"): pytest.approx(0.009)}
    assert left_out == {"of unknown unit": 1, "out of range": 1}
    # The unit of a card is told by what does not count, too.
    mixed, _ = kept(store, claim(0.9), claim(76.0, "a", "f1"))
    assert mixed == {("a", "f1"): 0.76}


def test_only_what_is_about_classes_of_its_own_inputs_counts(store):
    found, left_out = kept(
        store,
        claim(0.9, "a", task="image-classification"),
        claim(0.8, "b", task="ImageClassification"),
        claim(0.8, "c", task="text-classification"),
        claim(0.8, "d", task="zero-shot-image-classification"),
        claim(0.8, "e", "ndcg_at_10", task="Retrieval"),
        claim(0.8, "f", "loss"),
        claim(0.8, "g", split="train"),
        claim(0.8, "someone/Pets"),
        claim(0.6, "h", "f1"),
        claim(0.5, "h", "ap"),
        claim(0.7, "a"),
        claim(0.75, "b", verified=True),
        datasets=("org/pets",),
    )
    assert found == {("a", "accuracy"): 0.9, ("b", "accuracy"): 0.75, ("h", "f1"): 0.6}
    assert left_out == {
        "of other kinds of task": 3,
        "of other metrics": 2,
        "on data that it was trained on": 2,
        "given again": 2,
    }


@pytest.mark.parametrize(
    ("about", "name"),
    [
        (
            {"dataset": "mteb/banking77", "name": "MTEB Banking77Classification"},
            "mteb/Banking77Classification",
        ),
        (
            {"dataset": "mteb/m", "name": "MTEB MassiveIntentClassification (de)", "config": "de"},
            "mteb/MassiveIntentClassification (de)",
        ),
        (
            {"dataset": "mteb/a", "name": "MTEB AmazonCounterfactualClassification (en)", "config": "en"},
            "mteb/AmazonCounterfactualClassification",
        ),
        ({"dataset": "glue", "config": "sst2", "split": "validation"}, "glue/sst2 [validation]"),
        ({"dataset": "glue", "config": "sst2", "split": "test"}, "glue/sst2"),
        ({"dataset": "org/pets", "config": "default", "split": ""}, "org/pets"),
        ({"dataset": "imagenet-1k", "config": "default", "split": "validation"}, "imagenet"),
    ],
)
def test_tasks_are_called_as_published_tables_call_them(about, name):
    assert task_name(Claim(value=0.5, **about)) == name


def test_cards_of_encoders_are_read_as_published_tables_have_their_boards(store):
    """The main metric of a task; its English part, or the mean of all parts where there is none."""

    def part(name, config, **metrics):
        about = {"dataset": "mteb/x", "name": f"MTEB {name} ({config})", "config": config, "split": "test"}
        return [Claim(**about, task="Classification", metric=m, value=v) for m, v in metrics.items()]

    found, left_out = kept(
        store,
        *part("AmazonCounterfactualClassification", "en", accuracy=71.6716, f1=65.4, main_score=71.6716),
        *part("AmazonCounterfactualClassification", "de", accuracy=60.0, f1=50.0, main_score=60.0),
        *part("NusaParagraphEmotionClassification", "jav", accuracy=50.0, f1=31.0, main_score=31.0),
        *part("NusaParagraphEmotionClassification", "min", accuracy=50.0, f1=33.0, main_score=33.0),
        modality="text",
    )
    assert found == {
        ("mteb/AmazonCounterfactualClassification", "accuracy"): pytest.approx(0.716716),
        ("mteb/AmazonCounterfactualClassification (de)", "accuracy"): 0.6,
        ("mteb/NusaParagraphEmotionClassification", "f1"): pytest.approx(0.32),
    }
    assert left_out == {"of other metrics": 8}


def test_what_is_claimed_again_replaces_what_was_claimed_before(store):
    kept(store, claim(0.9), claim(0.7, "b"))
    before = store.edges("transfer")
    kept(store, claim(0.9), claim(0.7, "b"))
    assert store.edges("transfer") == before
    found, _ = kept(store, claim(0.8))
    assert found == {("a", "accuracy"): 0.8}
    assert kept(store)[0] == {}


# Through the program


def checkpoint(folder, source, card):
    shutil.copytree(starter.shipped()[source], folder)
    (folder / "README.md").write_text(card, encoding="utf-8")
    return folder


def lies(value=1.0, tasks=TASKS):
    results = "".join(
        f"  - task: {{type: image-classification}}\n    dataset: {{type: {task}, split: test}}\n"
        f"    metrics: [{{type: accuracy, value: {value}}}]\n    source: {{url: 'https://example.org/{task}'}}\n"
        for task in tasks
    )
    return f"---\nlicense: mit\nmodel-index:\n- name: liar\n  results:\n{results}---\n"


@pytest.fixture
def zoo(workspace):
    """Four experts with measured results on six tasks, the first the best."""
    with Workspace(workspace) as opened:
        lines = ["expert,task,metric,value"]
        for rank, name in enumerate(("clipart", "emoji", "latin-letters", "hebrew-letters")):
            for number, task in enumerate(TASKS):
                lines.append(f"{name},{task},accuracy,{0.9 - 0.1 * rank + 0.01 * (number % 3):.3f}")
        (workspace / "results.csv").write_text("\n".join(lines))
        opened.import_history(workspace / "results.csv", HistoryOptions(modality="image"))
        yield opened


def test_a_liar_does_not_come_first_and_moves_nobody(zoo, workspace, tmp_path):
    zoo.register(f"dir:{checkpoint(tmp_path / 'liar', 'fashion', lies())}")
    letters = materials.pictures(tmp_path / "letters", 3, 8)
    given = zoo.query(letters, Query(budget=0, top=9))
    alone = zoo.query(letters, Query(budget=0, top=9, self_reported=False))
    places, before = ([c.expert.name for c in one.candidates] for one in (given, alone))
    assert places[0] == before[0] == "clipart"
    assert [n for n in places if n != "liar"] == [n for n in before if n != "liar"]
    predicted, was = ({c.expert.name: c.predicted for c in one.candidates} for one in (given, alone))
    # Other experts keep their predictions, and the liar gains two points of accuracy at most.
    assert all(abs(predicted[n] - was[n]) < 0.003 for n in places if n != "liar")
    assert 0.0 < predicted["liar"] - was["liar"] < 0.02
    why = next(c.evidence for c in given.candidates if c.expert.name == "liar")
    assert any("from 6 self-reported" in reason for reason in why)
    assert [n for n in given.notes if "6 results that only model cards claim" in n]
    assert not [n for n in alone.notes if "model cards" in n]


def test_they_are_told_apart_wherever_results_are_shown(zoo, workspace, tmp_path):
    zoo.register(f"dir:{checkpoint(tmp_path / 'liar', 'fashion', lies(0.7))}")
    letters = materials.pictures(tmp_path / "letters", 3, 8)
    shown = json.loads(invoke("history", "ls", "--expert", "liar", "--json").worked().out)
    assert {(r["known_from"], r["method"], r["value"]) for r in shown} == {
        (SELF_REPORTED, SELF_REPORTED, 0.7)
    }
    assert shown[0]["source_url"] == "https://example.org/lab/task-0"
    imported = json.loads(invoke("history", "ls", "--expert", "emoji", "--json").worked().out)
    assert {r["known_from"] for r in imported} == {"imported"}
    details = json.loads(invoke("show", "liar", "--json").worked().out)
    assert [r["origin"] for r in details["relations"] if r["kind"] == "transfer"] == [SELF_REPORTED] * 6
    asked = ("query", letters, "--budget", "0", "--explain-sources", "--json")
    answer = json.loads(invoke(*asked).worked().out)
    sources = {s["origin"]: (s["results"], s["experts"]) for s in answer["sources"]}
    assert sources == {"results.csv": (24, 4), SELF_REPORTED: (6, 1)}
    without = json.loads(invoke(*asked, "--no-self-reported").worked().out)
    assert [s["origin"] for s in without["sources"]] == ["results.csv"]
    said = invoke("query", letters, "--budget", "0").worked().out
    assert "--no-self-reported leaves them out" in said
    found = json.loads(invoke("explain", letters, "liar", "--json").worked().out)
    assert {t["self_reported"] for t in found["tasks"]} == {True}
    parts = {p["name"]: p["moves"] for p in found["parts"]}
    assert parts["what its card claims on other tasks"] != 0
    assert sum(parts.values()) == pytest.approx(found["predicted"], abs=1e-9)
    assert "(self-reported)" in invoke("explain", letters, "liar").worked().out


def test_they_go_with_the_expert_and_come_back_with_its_card(zoo, workspace, tmp_path):
    folder = checkpoint(tmp_path / "liar", "fashion", lies())
    ours = zoo.register(f"dir:{folder}")
    assert len(zoo.history(expert="liar")) == 6
    first = zoo.history(expert="liar")
    zoo.register(f"dir:{folder}")
    assert zoo.history(expert="liar") == first
    (folder / "README.md").write_text(lies(tasks=TASKS[:2]))
    zoo.register(f"dir:{folder}")
    assert len(zoo.history(expert="liar")) == 2
    assert "measured result" not in invoke("rm", "liar").worked().err
    assert zoo.store.edges("transfer", source=ours.id) == []
    zoo.register(f"dir:{folder}")
    assert len(zoo.history(expert="liar")) == 2


def test_shared_claims_stay_claims(zoo, workspace, tmp_path):
    zoo.register(f"dir:{checkpoint(tmp_path / 'liar', 'fashion', lies())}")
    invoke("push", tmp_path / "graph").worked()
    invoke("init", tmp_path / "theirs").worked()
    with Workspace(tmp_path / "theirs") as theirs:
        theirs.pull(str(tmp_path / "graph"))
        pulled = theirs.history(expert="liar")
        assert {e.method for e in pulled} == {SELF_REPORTED}
        assert {theirs.known_from(e) for e in pulled} == {SELF_REPORTED}
        assert {theirs.known_from(e) for e in theirs.history(expert="emoji")} == {"pulled"}


def test_models_of_the_hub_claim_by_card_by_file_and_in_the_list(blank, tmp_path):
    root = tmp_path / "root" / "models" / "acme"
    card = lies(71.5, TASKS[:3]).replace("license: mit", "license: mit\npipeline_tag: image-classification")
    folder = checkpoint(root / "net", "fashion", card)
    (folder / ".eval_results").mkdir()
    (folder / ".eval_results" / "board.yaml").write_text(
        "- dataset: {id: lab/board, task_id: x}\n  value: 62\n"
    )
    with HubServer(tmp_path / "root") as hub:
        run = commands_in(blank, hub, tmp_path / "home")
        search = ["register", "--hub-search", "net", "--metadata-only", "--json"]
        listed = ["history", "ls", "--json"]
        done = run(search, listed, ["register", "hf:acme/net", "--json"], listed)
    assert [code for code, _, _ in done] == [0, 0, 0, 0], done
    before, after = json.loads(done[1][1]), json.loads(done[3][1])
    assert {(r["task"], r["value"], r["known_from"]) for r in before} == {
        (task, 0.715, SELF_REPORTED) for task in TASKS[:3]
    }
    assert {(r["task"], r["metric"], r["value"]) for r in after} == {
        *((task, "accuracy", 0.715) for task in TASKS[:3]),
        ("lab/board/x", "score", 0.62),
    }
    assert {r["id"] for r in after} == {json.loads(done[2][1])[0]["id"]}
