"""Every verb on every kind of source: a local folder, the user's own network, a Hub repository."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from expertise_graph import Workspace
from expertise_graph.core.types import Query
from tests import materials
from tests.hub_server import HubServer
from tests.program import environment

# One process for the story: the Hub client reads its variables when it is imported.
DRIVER = """
import json, sys
from click.testing import CliRunner
from expertise_graph.cli import app

for words in json.load(sys.stdin):
    result = CliRunner().invoke(app, words)
    print(json.dumps([result.exit_code, result.stdout, result.stderr, repr(result.exception)]))
"""
NETWORK = """
from torch import nn

def network():
    return nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2))
"""


def local_folder(folder):
    materials.resnet(folder / "net", seed=3)
    return ["dir:./net"], []


def own_network(folder):
    (folder / "mine.py").write_text(NETWORK)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        layers = nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2)
    save_file(nn.Sequential(*layers).state_dict(), folder / "net.safetensors")
    trust = ["--trust-code"]
    return ["factory:mine:network", "--weights", "net.safetensors", "--input-size", "32", *trust], trust


def repository(folder):
    materials.resnet(folder / "root" / "models" / "someone" / "net", seed=3)
    return ["hf:someone/net"], []


@pytest.mark.slow
@pytest.mark.parametrize("source", [local_folder, own_network, repository])
def test_the_whole_story(source, tmp_path):
    register, trust = source(tmp_path)
    materials.pictures(tmp_path / "images", 4, 8)
    named = ["--name", "mine"]
    story = [
        ["init"],
        ["register", *register, *named, "--json"],
        ["register", "zoo:clipart", "--json"],
        ["ls", "--json"],
        ["show", "mine", "--json"],
        ["similar", "mine", "--json"],
        ["query", "images", "--json", *trust],
        ["warm-start", "images", "--expert", "mine", "--out", "out", "--epochs", "1", "--json", *trust],
        ["runs", "--json"],
        ["export", "graph.json", "--format", "json"],
        ["rm", "mine"],
        ["ls", "-q"],
    ]
    with HubServer(tmp_path / "root") as hub:
        done = subprocess.run(
            [sys.executable, "-c", DRIVER],
            input=json.dumps(story),
            cwd=tmp_path,
            env={**environment(tmp_path / "home"), **hub.environment(tmp_path / "hub")},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    for words, (code, _, err, exception) in zip(story, answers, strict=True):
        assert code == 0, (words, err, exception)
    out = dict(zip([" ".join(words[:2]) for words in story], (a[1] for a in answers), strict=True))
    mine = json.loads(out[f"register {register[0]}"])[0]
    assert {e["id"] for e in json.loads(out["ls --json"])} == {mine["id"], "zoo:clipart@resnet"}
    assert json.loads(out["show mine"])["id"] == mine["id"]
    assert json.loads(out["similar mine"])[0]["id"] == "zoo:clipart@resnet"
    ranked = json.loads(out["query images"])
    assert ranked["experts_run"] == 2
    assert {c["expert"] for c in ranked["candidates"]} == {mine["id"], "zoo:clipart@resnet"}
    result = json.loads(out["warm-start images"])
    assert result["expert"] == mine["id"]
    assert json.loads(out["runs --json"])[0]["status"] == "done"
    graph = json.loads((tmp_path / "graph.json").read_text())
    transfer = [e for e in graph["edges"] if e["kind"] == "transfer"]
    assert [(e["source"], e["weight"]) for e in transfer] == [(mine["id"], result["accuracy"])]
    left = {"zoo:clipart@resnet", result["child"]} - {mine["id"]}
    assert set(out["ls -q"].split()) == left


def test_listings_load_neither_torch_nor_transformers(workspace):
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom expertise_graph.cli import app\n"
        "for words in (['ls'], ['runs'], ['show', 'emoji'], ['similar', 'emoji'], ['probe', 'ls']):\n"
        "    assert CliRunner().invoke(app, words).exit_code == 0, words\n"
        "sys.exit(sorted({'torch', 'transformers'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=workspace,
        env=environment(workspace),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_starter_registry_answers(tmp_path):
    root = materials.ROOT
    shutil.copyfile(root / "registry.db", tmp_path / "registry.db")
    shutil.copytree(root / "embeddings", tmp_path / "embeddings")
    before = (root / "registry.db").read_bytes()
    with Workspace(tmp_path) as starter:
        assert len(starter.experts("image")) + len(starter.experts("text")) >= 10
        published = [e for e in starter.experts() if "pip install" in e.meta["get"]]
        assert {e.modality for e in published} == {"image", "text"}
        assert starter.similar("latin-letters", 1)[0].expert.name == "greek-letters"
        again = starter.register("zoo:latin-letters")
        assert starter.store.expert(again.id) == again
        small = Query(budget=4, max_params=600_000)
        assert starter.query(materials.LETTERS, small).best.expert.name == "latin-letters"
    assert (root / "registry.db").read_bytes() == before
