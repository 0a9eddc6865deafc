"""The catalogue brought up to date from its public origins, each a stub on this machine."""

import http.server
import io
import json
import shutil
import tarfile
import threading

import pytest

from expertise_graph import starter
from expertise_graph.core.errors import DatasetError, InvalidInputError, NotFoundError, OfflineError
from expertise_graph.registry.catalogue import install_catalogue, read_catalogue, write_catalogue
from expertise_graph.registry.imports.mteb import MtebResult
from expertise_graph.workspace import Workspace
from tests.hub_program import commands_in
from tests.hub_server import HubServer
from tests.program import invoke
from tests.retrieval.test_known_models import row

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PIN = "a" * 40


def subset(value, languages=("eng-Latn",), **more):
    return {"accuracy": value, "main_score": value, "languages": list(languages), **more}


def archive(files, commit=COMMIT):
    """An archive as git makes it, with its commit in the header."""
    out = io.BytesIO()
    headers = {"comment": commit} if commit else {}
    with tarfile.open(fileobj=out, mode="w:gz", format=tarfile.PAX_FORMAT, pax_headers=headers) as made:
        for name, content in files.items():
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            member = tarfile.TarInfo(f"results-main/results/{name}")
            member.size = len(data)
            made.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo(f"results-main/results/acme__a/{PIN}/Letters.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        made.addfile(link)
    return out.getvalue()


@pytest.fixture
def origin(monkeypatch):
    """What the repository of MTEB answers, by revision; it can be changed."""
    answers = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            content = answers.get(self.path.removeprefix("/tar.gz/"))
            self.send_response(404 if content is None else 200)
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_):
            """Print nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv("EXPERTISE_GRAPH_MTEB", f"http://127.0.0.1:{server.server_address[1]}/tar.gz")
    monkeypatch.delenv("EXPERTISE_GRAPH_CATALOGUE")
    yield answers
    server.shutdown()
    server.server_close()


def result(model, task, value, modality="image"):
    about = {"model": f"hf:acme/{model}", "modality": modality, "task": f"mteb/{task}", "metric": "accuracy"}
    return {**about, "value": value, "method": "mteb-linear-probe", "source": "a table of 2025"}


@pytest.fixture
def known(blank, tmp_path):
    """A catalogue of three models and two tasks in the workspace."""
    folder = tmp_path / "known"
    results = [result("a", "Letters", 0.5), result("b", "Letters", 0.6), result("a", "Digits", 0.7)]
    tasks = [{"task": "Letters", "kind": "ImageClassification", "license": "mit"}]
    models = [row("a", revision=PIN), row("b"), row("c")]
    write_catalogue(folder, models=models, results=results, tasks=tasks, version="2025-01-01")
    install_catalogue(folder, blank)
    return blank


FILES = {
    f"acme__a/{PIN}/Letters.json": {"scores": {"test": [subset(0.55)], "train": [subset(0.99)]}},
    "acme__a/ffff/Letters.json": {"scores": {"test": [subset(0.91)]}},
    "acme__b/1111/Letters.json": {"scores": {"test": [subset(0.2)]}},
    "acme__b/2222/Letters.json": {"scores": {"test": [subset(0.4, ["deu-Latn"]), subset(0.6), subset(0.8)]}},
    "acme__c/no_revision/Digits.json": {"scores": {"dev": [subset(0.3, ["fra-Latn"]), subset(0.5, ["x"])]}},
    "acme__c/no_revision/Letters.json": {"scores": {"test": [subset(1.7)]}},
    "acme__c/no_revision/Unknown.json": {"scores": {"test": [subset(0.7)]}},
    "acme__x/1111/Letters.json": {"scores": {"test": [subset(0.7)]}},
    "acme__a/1111/model_meta.json": {"name": "a"},
    "acme__b/1111/Digits.json": b"{not json",
}


def test_results_of_mteb_are_taken_over_with_their_commit(known, origin):
    origin["main"] = archive(FILES)
    done = invoke("catalogue", "update", "--from", "mteb").worked()
    assert "3 models, 4 results; from embeddings-benchmark/results, CC0, 0123456789ab: " in done.err
    assert "2 changed, 1 new, 1 not there" in done.err
    found = read_catalogue(known / "catalogue")
    rows = {
        (e.source.rpartition("/")[2], e.meta["task"]): (e.weight, e.meta["origin"]) for e in found.results
    }
    origin_now = "embeddings-benchmark/results, CC0, 0123456789ab"
    assert rows == {
        ("a", "mteb/Letters"): (0.55, origin_now),
        ("b", "mteb/Letters"): (0.7, origin_now),
        ("a", "mteb/Digits"): (0.7, "a table of 2025"),
        ("c", "mteb/Digits"): (0.4, origin_now),
    }
    (about,) = invoke("catalogue", "show", "hf:acme/a", "--json").worked().json
    kinds = {one["task"]: (one["kind"], one["task_license"]) for one in about["measured"]}
    assert kinds == {"mteb/Letters": ("ImageClassification", "mit"), "mteb/Digits": (None, None)}


def test_a_revision_is_taken_as_asked_and_what_is_wrong_is_one_line(known, origin):
    before = (known / "catalogue" / "results.parquet").read_bytes()
    origin[COMMIT] = archive(FILES)
    origin["other"] = archive(FILES, commit=None)
    origin["empty"] = archive({})
    origin["broken"] = archive(FILES)[:200]
    origin["f" * 40] = archive(FILES)
    with Workspace() as opened:
        for revision, kind, said in (
            ("v9", NotFoundError, "check the revision"),
            ("../x?y", NotFoundError, "no branch, tag or commit"),
            ("other", DatasetError, "does not name its commit"),
            ("empty", NotFoundError, "no result on a known model"),
            ("broken", DatasetError, "damaged, or no archive"),
            ("f" * 40, DatasetError, f"commit {COMMIT}, not of"),
        ):
            with pytest.raises(kind, match=said):
                opened.update_catalogue(origin="mteb", revision=revision)
        with pytest.raises(InvalidInputError, match="give either"):
            opened.update_catalogue()
    assert (known / "catalogue" / "results.parquet").read_bytes() == before
    assert not list(known.glob(".catalogue.*"))
    with Workspace() as opened:
        assert opened.update_catalogue(origin="mteb", revision=COMMIT).changes["changed"] == 2


def test_without_a_network_nothing_changes(known, monkeypatch):
    monkeypatch.delenv("EXPERTISE_GRAPH_CATALOGUE")
    monkeypatch.setenv("EXPERTISE_GRAPH_MTEB", "http://127.0.0.1:9")
    with Workspace() as opened, pytest.raises(OfflineError, match=r"cannot be reached .*nothing was"):
        opened.update_catalogue(origin="mteb")
    monkeypatch.setenv("EXPERTISE_GRAPH_CATALOGUE", str(known / "catalogue"))
    invoke("catalogue", "update", "--from", "mteb").failed("unset EXPERTISE_GRAPH_CATALOGUE")


@pytest.mark.parametrize(
    ("scores", "value"),
    [
        ({"validation": [subset(0.3)], "test": [subset(0.5)]}, 0.5),
        ({"odd": [subset(0.25)]}, 0.25),
        ({"test": [subset(0.5), {"languages": ["eng-Latn"]}]}, None),
        ({"test": [subset(float("nan"))]}, None),
        ({"test": [subset(True)]}, None),
        ({"test": "high"}, None),
        ({}, None),
    ],
)
def test_one_number_of_a_file_counts(scores, value):
    one = MtebResult(model="acme/a", revision="1", task="T", scores=scores)
    assert one.value("accuracy") == value


@pytest.mark.slow
def test_what_the_hub_says_of_known_models_is_taken_over_at_their_commit(blank, tmp_path):
    root = tmp_path / "root" / "models" / "acme"
    for name, source in (("a", "clipart"), ("b", "emoji"), ("c", "fashion")):
        shutil.copytree(starter.shipped()[source], root / name)
        (root / name / "README.md").write_text("---\nlicense: apache-2.0\npipeline_tag: other\n---\n")
    (root / "b" / "model.safetensors").rename(root / "b" / "pytorch_model.bin")
    (root / "c" / ".gated").write_text("")
    with HubServer(tmp_path / "root") as hub:
        pin = hub.commit("models/acme/a")
        hub.move_main("models/acme/a", {"README.md": b"---\nlicense: gpl-3.0\n---\n"})
        models = [row("a", revision=pin, params=1), row("b"), row("c"), row("gone")]
        folder = tmp_path / "known"
        write_catalogue(folder, models=models, results=[result("gone", "T", 0.5)], tasks=[], version="1")
        install_catalogue(folder, blank)
        program = commands_in(blank, hub, tmp_path, seconds=600)
        done, listed = program(
            ["catalogue", "update", "--from", "hub"], ["catalogue", "ls", "--json"],
            EXPERTISE_GRAPH_CATALOGUE="",
        )  # fmt: skip
        assert done[0] == 0, done[2]
        commit = hub.commit("models/acme/c")
    assert "3 changed, 1 gone" in done[2]
    found = {m.name: m for m in read_catalogue(blank / "catalogue").models}
    a, c = found["hf:acme/a"], found["hf:acme/c"]
    assert (a.license, a.revision) == ("apache-2.0", pin)
    assert a.params > 100_000
    assert a.meta["origin"].startswith(f"the Hub at {pin[:12]}, 20")
    assert a.meta["origin"].endswith("; a lab")
    assert (c.meta["gated"], c.revision) == (True, commit)
    assert found["hf:acme/b"].meta["safetensors"] is False
    where = {one["model"]: one["where"] for one in json.loads(listed[1])}
    assert where == {
        "hf:acme/a": "to fetch", "hf:acme/b": "not loadable", "hf:acme/c": "gated",
        "hf:acme/gone": "not loadable",
    }  # fmt: skip
