"""A fine-tuned model on the Hub: what goes there, what its card says, and that others can register it."""

from __future__ import annotations

import shutil

import pytest
from huggingface_hub import ModelCard

from expertise_graph.workspace import Workspace
from tests import materials
from tests.hub_server import HubServer
from tests.once import once
from tests.program import invoke
from tests.sharing.client import Client
from tests.sharing.conftest import MARKER

WRITER = "hf_writer"


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with HubServer(tmp_path_factory.mktemp("hub"), writers={WRITER}) as server:
        yield server


@pytest.fixture(scope="module")
def client(hub, tmp_path_factory):
    home = tmp_path_factory.mktemp("client")
    started = Client(home, hub.environment(home / "hf"))
    yield started
    started.close()


@pytest.fixture(scope="module")
def trained(registered, tmp_path_factory):
    """A workspace whose path is secret, with the finished run of a warm start in it; not to be written to."""

    def make(folder):
        place = folder / MARKER
        shutil.copytree(registered, place / "workspace")
        data = materials.pictures(place / "letters", 4, 10)
        words = ("--expert", "emoji", "--strategy", "full", "--epochs", 2, "--out", place / "run")
        invoke("--workspace", place / "workspace", "warm-start", data, *words).worked()

    return once(tmp_path_factory, "trained-for-the-hub", make) / MARKER


def test_a_model_is_published_with_its_card_and_can_be_registered(trained, hub, client, empty):
    words = ("publish", trained / "run", "lab/letters", "--json")
    done = client.run("--workspace", trained / "workspace", *words, token=WRITER).worked().json
    folder = hub.root / "models" / "lab" / "letters"
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    there = {name for name in there if not name.startswith("@")}
    assert there - {".gitattributes"} == {*done["files"]}
    assert {"config.json", "model.safetensors", "head.safetensors", "head.json", "README.md"} <= there
    assert not {n for n in there if "optim" in n or "checkpoint" in n or "test." in n or "learnt" in n}
    for name in there:
        assert MARKER.encode() not in (folder / name).read_bytes()
    card = ModelCard((folder / "README.md").read_text(encoding="utf-8")).data
    assert (card.license, card.pipeline_tag) == ("apache-2.0", "image-classification")
    (result,) = card.eval_results
    assert (result.metric_type, result.dataset_name, result.dataset_split) == ("accuracy", "letters", "test")
    assert result.metric_value == pytest.approx(done["value"], abs=1e-6)
    # Whoever has nothing of it registers it, and it is the same model.
    assert client.run("--workspace", empty, "register", "hf:lab/letters").worked().code == 0
    with Workspace(trained / "workspace") as here, Workspace(empty) as elsewhere:
        child = here.expert(here.runs()[0].child)
        found = elsewhere.expert("letters")
        assert (found.weights_sha, found.dim) == (child.weights_sha, child.dim)
        assert found.preprocessing_sha == child.preprocessing_sha
    # The same command again changes nothing.
    again = client.run("--workspace", trained / "workspace", *words, token=WRITER).worked().json
    assert again["revision"] == done["revision"]


def test_what_a_licence_or_a_repository_does_not_allow_is_refused(trained, hub, client, tmp_path):
    workspace = shutil.copytree(trained / "workspace", tmp_path / "workspace")
    with Workspace(workspace) as opened:
        emoji = opened.expert("emoji")
        opened.store.db.table("experts").update(emoji.id, {"license": "cc-by-nc-4.0"})

    def publish(name, *words, model=trained / "run"):
        return client.run("--workspace", workspace, "publish", model, name, *words, token=WRITER)

    publish("lab/x", "--license", "mit").failed("emoji has the licence cc-by-nc-4.0", "not mit", "--license")
    publish("not-a-name").failed("the form is ORG/NAME")
    publish("lab/x", model="no-such-run").failed("no-such-run")
    other = hub.root / "models" / "lab" / "other"
    other.mkdir(parents=True)
    (other / "model.bin").write_text("x")
    publish("lab/other").failed("holds other files (model.bin)")
    assert not (hub.root / "models" / "lab" / "x").exists()
    assert publish("lab/private", "--private", "--json").worked().json["license"] == "cc-by-nc-4.0"
    assert (hub.root / "models" / "lab" / "private" / ".private").is_file()


def test_a_run_that_has_not_finished_or_has_a_path_in_it_is_refused(trained, client, tmp_path):
    run = shutil.copytree(trained / "run", tmp_path / "run")
    materials.change_json(run / "head.json", classes=[f"/{MARKER}/a {tmp_path}/run", "b", "c", "d"])

    def publish():
        return client.run(
            "--workspace", trained / "workspace", "publish", run, "lab/y", "--license", "mit", token=WRITER
        )

    publish().failed("head.json would hold a folder of this machine")
    materials.change_json(run / "run.json", result=None)
    publish().failed("has not finished")
    shutil.rmtree(run)
    run.mkdir()
    publish().failed("holds no finished model")
