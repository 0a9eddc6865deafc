"""Lineage as users see it: the tree, corrections, suspicions, one of each family, and the page about it."""

import json
import re
import shlex
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from expertise_graph.core.types import Query
from expertise_graph.workspace import Workspace
from tests import materials
from tests.program import ROOT, invoke

PAGE = (ROOT / "docs" / "lineage.md").read_text(encoding="utf-8")


def moved(folder, name, share, seed):
    """Copy a shipped expert and move its matrices by random ones of a share of their size, without a card."""
    target = materials.starter(name, folder)
    file = target / "model.safetensors"
    draw = torch.Generator().manual_seed(seed)
    tensors = load_file(file)
    for key, tensor in tensors.items():
        if tensor.ndim > 1:
            noise = torch.randn(tensor.shape, generator=draw)
            tensors[key] = (tensor.float() + share * tensor.float().std() * noise).to(tensor.dtype)
    save_file(tensors, file)
    (target / "README.md").unlink(missing_ok=True)
    return target


@pytest.fixture
def family(workspace, tmp_path):
    """A workspace in which latin-letters has two children that nobody states and emoji one by its card."""
    for i in range(2):
        child = moved(tmp_path / str(i), "latin-letters", 0.05, i)
        invoke("register", f"dir:{child}", "--name", f"c{i}").worked()
    carded = moved(tmp_path / "carded", "emoji", 0.05, 7)
    (carded / "README.md").write_text("---\nbase_model: [zoo:emoji, org/far]\n---\n")
    invoke("register", f"dir:{carded}", "--name", "carded").worked()
    return workspace


def test_the_tree_says_what_is_known_from_whom(family):
    found = invoke("lineage", "carded", "--json").worked().json
    assert (found["kind"], found["descendants"], found["suspected"]) == ("merge", [], [])
    first, far = found["ancestors"]
    assert (first["id"], first["generation"], first["registered"]) == ("zoo:emoji@resnet", -1, True)
    assert (first["relation"], first["origin"], first["claimed"]) == ("merge", "card", "zoo:emoji")
    assert first["confirmed"] is True
    assert first["distance"] == pytest.approx(0.05, abs=0.01)
    assert (far["id"], far["registered"], far["confirmed"]) == ("hf:org/far", False, None)
    table = invoke("lineage", "carded").worked().out
    assert "model card; weights agree, they differ by 5 %" in table
    assert "hf:org/far [not registered]" in table
    assert invoke("lineage", "show", "carded").worked().out == table
    emoji = invoke("lineage", "emoji", "--json", "--depth", 1).worked().json
    (child,) = emoji["descendants"]
    assert (child["expert"].partition("@")[0], child["generation"]) == ("carded", 1)


def test_what_weights_suggest_is_listed_apart(family):
    found = invoke("lineage", "latin-letters", "--json").worked().json
    assert (found["ancestors"], found["descendants"]) == ([], [])
    names = {one["expert"].partition("@")[0]: one for one in found["suspected"]}
    assert set(names) == {"c0", "c1"}
    assert names["c0"]["distance"] == pytest.approx(0.05, abs=0.01)
    assert names["c0"]["first"] is None
    text = invoke("lineage", "c0").worked().out
    assert "suspected from weights" in text
    assert "weights differ by 5 %; which came first is not known" in text
    rows = invoke("lineage", "suspect", "--json").worked().json
    assert {frozenset((r["expert"].partition("@")[0], r["other"].partition("@")[0])) for r in rows} == {
        frozenset(("latin-letters", "c0")),
        frozenset(("latin-letters", "c1")),
    }
    one = invoke("lineage", "suspect", "c0", "--json").worked().json
    assert [r["distance"] for r in one] == sorted(r["distance"] for r in one)
    assert len(one) == 2
    none = invoke("lineage", "suspect", "clipart").worked()
    assert (none.out, none.err) == ("", "no weights are close to those of clipart\n")


def test_corrections_are_said_shown_and_kept(family):
    done = invoke("lineage", "set", "c0", "latin-letters", "--relation", "fine-tune").worked()
    assert re.fullmatch(r"c0@\w{8} is now on record as a fine-tune of latin-letters@\w{8}\n", done.err)
    shown = invoke("show", "c0", "--json").worked().json
    assert [(p["expert"].partition("@")[0], p["relation"], p["origin"]) for p in shown["parents"]] == [
        ("latin-letters", "fine-tune", "user")
    ]
    assert [r["origin"] for r in shown["relations"] if r["kind"] == "lineage"] == ["user"]
    children = invoke("show", "latin-letters", "--json").worked().json["children"]
    assert [c["expert"].partition("@")[0] for c in children] == ["c0"]
    table = invoke("show", "latin-letters").worked().lines
    assert "c0@" in next(line for line in table if "children" in line)
    done = invoke("lineage", "unset", "carded", "org/far").worked()
    assert "carded@" in done.err.splitlines()[0]
    assert "its other parent: emoji@" in done.err
    again = invoke("lineage", "unset", "carded", "org/far", "--json").worked().json
    assert (again["before"], [o["id"] for o in again["others"]]) == (True, ["zoo:emoji@resnet"])
    found = invoke("lineage", "carded", "--json").worked().json
    assert [one["id"] for one in found["ancestors"]] == ["zoo:emoji@resnet"]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["lineage", "nobody"], ["no expert 'nobody'"]),
        (["lineage", "set", "emoji", "emoji"], ["cannot be its own parent"]),
        (["lineage", "set", "emoji", "nobody"], ["no expert 'nobody'", "hf:ORG/NAME"]),
        (["lineage", "unset", "emoji", "clipart"], ["emoji@", "nothing says that it has a parent"]),
        (["lineage", "suspect", "nobody"], ["no expert 'nobody'"]),
    ],
)
def test_mistakes_are_one_line(workspace, words, parts):
    before = materials.counts(workspace)
    invoke(*words).failed(*parts)
    assert materials.counts(workspace) == before


def test_a_wrong_relation_is_a_usage_error(workspace):
    assert invoke("lineage", "set", "emoji", "clipart", "--relation", "sibling").code == 2
    assert invoke("lineage", "--help").worked().out.count("expertise-graph lineage") >= 2


def test_of_a_family_only_the_best_is_listed(family, tmp_path):
    data = materials.pictures(tmp_path / "letters", 3, 8)
    whole = invoke("query", data, "--budget", 4, "--top", 20, "--json").worked().json
    one = invoke("query", data, "--budget", 4, "--top", 20, "--one-per-family", "--json").worked().json
    kin = {"latin-letters": "l", "c0": "l", "c1": "l", "emoji": "e", "carded": "e"}
    seen, firsts = set(), []
    for candidate in whole["candidates"]:
        name = kin.get(candidate["name"], candidate["name"])
        if name not in seen:
            firsts.append(candidate["name"])
        seen.add(name)
    assert [c["name"] for c in one["candidates"]] == firsts
    assert len(firsts) == len(whole["candidates"]) - 3
    assert sum(len(c["family"]) for c in one["candidates"]) == 3
    assert all(c["family"] == [] for c in whole["candidates"])
    table = invoke("query", data, "--budget", 4, "--one-per-family").worked().out
    assert "(+2 of" in table
    with Workspace() as opened:
        ranking = opened.query(data, Query(budget=4, top=2, one_per_family=True))
    assert [c.expert.name for c in ranking.candidates] == firsts[:2]
    assert {e.name for e in ranking.together} <= set(firsts)


def test_exports_say_where_each_edge_is_known_from(family):
    invoke("lineage", "set", "c1", "c0").worked()
    invoke("lineage", "unset", "carded", "org/far").worked()
    path = family / "graph.json"
    invoke("export", "--format", "json", path).worked()
    edges = json.loads(path.read_text())["edges"]
    told = {(e["kind"], e.get("origin"), e.get("relation")) for e in edges if e["kind"] != "similarity"}
    assert told == {
        ("lineage", "user", "fine-tune"),
        ("lineage", "card", "merge"),
        ("suspected", "weights", None),
    }
    assert all(0 < e["distance"] < 0.1 for e in edges if e["kind"] != "similarity")


@pytest.mark.slow
def test_the_page_runs(workspace, tmp_path):
    """Its commands work in their order, what it shows is printed, and its Python runs."""
    materials.pictures(workspace / "my-images", 3, 8)
    moved(tmp_path, "latin-letters", 0.1, 1).rename(workspace / "found")
    commands = re.findall(r"^\$ expertise-graph (.*)$", PAGE, re.MULTILINE)
    assert len(commands) == 8
    printed = "\n".join(invoke(*shlex.split(line)).worked().out for line in commands)
    (shown,) = re.findall(r"The answer:\n\n```\n(.*?)```", PAGE, re.DOTALL)
    for line in filter(str.strip, shown.splitlines()):
        assert any(plain(line) == plain(other) for other in printed.splitlines()), line
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(code, "lineage.md", "exec"), {})


def plain(line):
    """Return a line of a table without hashes, figures that a processor may change, and widths."""
    line = re.sub(r"@[0-9a-f]{8}|run:[0-9a-f]+", "@", line)
    return " ".join(re.sub(r"─+|\d+", "0", line).split())


def test_the_page_names_the_thresholds_of_the_code():
    from expertise_graph.registry.suspicion import CLOSE, COMPARED, UNRELATED

    for number in (f"{100 * CLOSE:.0f} %", f"{100 * UNRELATED:.0f} %", f"{COMPARED} experts"):
        assert number in " ".join(PAGE.split()), number
    assert Path(ROOT / "docs" / "lineage.md").stat().st_size < 6000
