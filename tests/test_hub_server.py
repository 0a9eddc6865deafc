"""The stand-in hub against the real client, which reads its settings at import: one process a test."""

import contextlib
import hashlib
import http.client
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from tests.hub_handler import Request
from tests.hub_server import HubServer

pytestmark = pytest.mark.slow

CARD = """---
license: mit
base_model: acme/parent
datasets: [acme/letters]
pipeline_tag: image-classification
library_name: transformers
tags: [vision]
---
# Tiny
"""
WEIGHTS = save({"a": np.arange(6000, dtype=np.float32).reshape(60, 100), "b": np.ones(7, dtype=np.float16)})
PRELUDE = """
import json, sys
# Not all that it offers: some of that imports torch.
from huggingface_hub import (
    HfApi, ModelCard, dataset_info, get_safetensors_metadata, hf_hub_download, list_datasets, list_models,
    list_repo_refs, model_info, snapshot_download,
)
def attempt(call):
    try:
        return call()
    except Exception as error:
        return type(error).__name__
"""

Client = Callable[..., Any]


def write(root: Path, files: dict[str, str | bytes]) -> None:
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content.encode() if isinstance(content, str) else content)


def downloads(hub: HubServer) -> list[Request]:
    return [r for r in hub.log if r.method == "GET" and ("/resolve/" in r.path or "/storage/" in r.path)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "hub root"
    tiny = {"config.json": '{"model_type": "vit"}', "README.md": CARD, "model.safetensors": WEIGHTS}
    write(
        root / "models/acme/tiny",
        {**tiny, "extra/training_args.bin": b"\x80\x04.", ".hub.json": '{"likes": 7}'},
    )
    write(root / "models/acme/tiny/@v1.0", {"config.json": '{"model_type": "resnet"}'})
    write(root / "models/acme/tiny/@refs%2Fpr%2F1", {"config.json": '{"model_type": "pull"}'})
    write(root / "models/acme/gated", {**tiny, ".gated": "hf_granted\n"})
    write(root / "models/acme/secret", {**tiny, ".private": "hf_granted\n"})
    write(root / "datasets/acme/letters", {"train/a/1.txt": "one", "data.csv": "text,label\nx,y\n"})
    return root


@pytest.fixture
def hub(root: Path) -> Iterator[HubServer]:
    with HubServer(root) as server:
        yield server


@pytest.fixture
def client(hub: HubServer, tmp_path: Path) -> Client:
    """Run code in a process of the real client; `answer(value)` in it is what comes back."""

    def run(code: str, **environment: str) -> Any:
        script = f"{PRELUDE}\ndef answer(value): print(json.dumps(value))\n{code}"
        clean = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
        variables = clean | hub.environment(tmp_path / "home") | environment
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=variables,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


def test_model_info_carries_card_commit_and_files(hub: HubServer, client: Client) -> None:
    got = client("""
info = model_info("acme/tiny", files_metadata=True)
at = model_info("acme/tiny", revision=info.sha, securityStatus=True)
lfs = next(s for s in info.siblings if s.rfilename == "model.safetensors").lfs
answer([info.sha, at.sha, info.likes, info.gated, info.card_data.license, info.card_data.base_model,
        info.pipeline_tag, info.tags, info.safetensors.total, info.safetensors.parameters, lfs.sha256,
        lfs.size,
        [s.rfilename for s in info.siblings], model_info("acme/tiny", expand=["sha"]).tags])
""")
    sha = hub.commit("models/acme/tiny")
    tags = [
        "vision", "license:mit", "dataset:acme/letters", "base_model:acme/parent",
        "transformers", "image-classification",
    ]  # fmt: skip
    files = ["README.md", "config.json", "extra/training_args.bin", "model.safetensors"]
    assert got[:5] == [sha, sha, 7, False, "mit"]
    assert got[5:10] == ["acme/parent", "image-classification", tags, 6007, {"F32": 6000, "F16": 7}]
    assert got[10:] == [hashlib.sha256(WEIGHTS).hexdigest(), len(WEIGHTS), files, None]


def test_named_revisions_and_refs(hub: HubServer, client: Client) -> None:
    got = client("""
refs = list_repo_refs("acme/tiny")
answer([model_info("acme/tiny", revision="v1.0").sha, model_info("acme/tiny", revision="refs/pr/1").sha,
        [t.name for t in refs.tags], sorted(b.name for b in refs.branches),
        json.load(open(hf_hub_download("acme/tiny", "config.json", revision="refs/pr/1")))])
""")
    assert got[0] == hub.commit("models/acme/tiny", "v1.0")
    assert got[1] == hub.commit("models/acme/tiny", "refs/pr/1")
    assert len({*got[:2], hub.commit("models/acme/tiny")}) == 3
    assert got[2:] == [["v1.0"], ["main", "refs/pr/1"], {"model_type": "pull"}]


def test_listing_filters_and_pages(client: Client) -> None:
    got = client("""
ids = lambda **k: [m.id for m in list_models(**k)]
answer([ids(), ids(author="acme", limit=1), ids(search="TIN"), ids(author="other"), ids(filter="license:mit"),
        ids(filter="license:gpl"), ids(token="hf_granted"), [d.id for d in list_datasets()]])
""")
    assert got[0] == got[4] == ["acme/gated", "acme/tiny"]
    assert got[1:4] == [["acme/gated"], ["acme/tiny"], []]
    assert got[5:] == [[], ["acme/gated", "acme/secret", "acme/tiny"], ["acme/letters"]]


def test_pages_follow_the_link_header(hub: HubServer) -> None:
    with urllib.request.urlopen(f"{hub.url}/api/models?limit=1") as first:
        link = first.headers["Link"]
    with urllib.request.urlopen(link[1 : link.index(">")]) as second:
        assert [m["id"] for m in json.load(second)] == ["acme/tiny"]
        assert "Link" not in second.headers


def test_snapshot_takes_allowed_files_and_pins_the_commit(hub: HubServer, client: Client) -> None:
    got = client("""
import pathlib
path = pathlib.Path(snapshot_download("acme/tiny", allow_patterns=["*.json", "*.safetensors"]))
answer([path.name, sorted(str(p.relative_to(path)) for p in path.rglob("*")),
        __import__("hashlib").sha256((path / "model.safetensors").read_bytes()).hexdigest()])
""")
    files = ["config.json", "model.safetensors"]
    assert got == [hub.commit("models/acme/tiny"), files, hashlib.sha256(WEIGHTS).hexdigest()]
    assert not any("training_args" in request.path for request in hub.log)


def test_safetensors_metadata_without_download(hub: HubServer, client: Client) -> None:
    got = client("""
m = get_safetensors_metadata("acme/tiny")
answer([m.parameter_count, m.files_metadata["model.safetensors"].tensors["a"].shape])
""")
    assert got == [{"F32": 6000, "F16": 7}, [60, 100]]
    assert [r.range for r in downloads(hub)] == ["bytes=0-100000"]


def test_model_card_loads(client: Client) -> None:
    assert client("card = ModelCard.load('acme/tiny'); answer([card.data.datasets, card.text.strip()])") == [
        ["acme/letters"],
        "# Tiny",
    ]


def test_dataset_snapshot_tree_and_paths(client: Client) -> None:
    got = client("""
import pathlib
path = pathlib.Path(snapshot_download("acme/letters", repo_type="dataset"))
tree = HfApi().list_repo_tree("acme/letters", repo_type="dataset")
info = HfApi().get_paths_info("acme/letters", ["data.csv", "none"], repo_type="dataset")
answer([(path / "train/a/1.txt").read_text(), sorted(f.path for f in tree), [f.path for f in info],
        dataset_info("acme/letters").id])
""")
    assert got == ["one", ["data.csv", "train"], ["data.csv"], "acme/letters"]


def test_every_error_has_its_class(client: Client) -> None:
    got = client("""
download = lambda *a, **k: attempt(lambda: hf_hub_download(*a, **k))
answer({
    "missing": attempt(lambda: model_info("acme/none")),
    "missing, signed in": attempt(lambda: model_info("acme/none", token="hf_other")),
    "missing dataset": attempt(lambda: snapshot_download("acme/none", repo_type="dataset")),
    "private": attempt(lambda: model_info("acme/secret")),
    "private, stranger": attempt(lambda: model_info("acme/secret", token="hf_other")),
    "private, granted": attempt(lambda: model_info("acme/secret", token="hf_granted").private),
    "gated info": attempt(lambda: model_info("acme/gated").gated),
    "gated": download("acme/gated", "config.json"),
    "gated snapshot": attempt(lambda: snapshot_download("acme/gated")),
    "gated, stranger": download("acme/gated", "config.json", token="hf_other"),
    "gated, granted": json.load(open(hf_hub_download("acme/gated", "config.json", token="hf_granted"))),
    "revision": attempt(lambda: model_info("acme/tiny", revision="nowhere")),
    "revision of a file": download("acme/tiny", "config.json", revision="0" * 40),
    "entry": download("acme/tiny", "none.json"),
    "no weights": attempt(lambda: get_safetensors_metadata("acme/tiny", revision="v1.0")),
})
""")
    assert got == {
        "missing": "RepositoryNotFoundError",
        "missing, signed in": "RepositoryNotFoundError",
        "missing dataset": "RepositoryNotFoundError",
        "private": "RepositoryNotFoundError",
        "private, stranger": "RepositoryNotFoundError",
        "private, granted": True,
        "gated info": "manual",
        "gated": "GatedRepoError",
        "gated snapshot": "GatedRepoError",
        "gated, stranger": "GatedRepoError",
        "gated, granted": {"model_type": "vit"},
        "revision": "RevisionNotFoundError",
        "revision of a file": "RevisionNotFoundError",
        "entry": "RemoteEntryNotFoundError",
        "no weights": "NotASafetensorsRepoError",
    }


def test_offline_finds_only_what_is_cached(hub: HubServer, client: Client) -> None:
    client("answer(snapshot_download('acme/tiny', allow_patterns='*.json'))")
    before = len(hub.log)
    got = client(
        """
answer([attempt(lambda: hf_hub_download("acme/tiny", "model.safetensors")),
        attempt(lambda: snapshot_download("acme/letters", repo_type="dataset")),
        attempt(lambda: model_info("acme/tiny")),
        json.load(open(hf_hub_download("acme/tiny", "config.json")))])
""",
        HF_HUB_OFFLINE="1",
    )
    missing = "LocalEntryNotFoundError"
    assert got == [missing, missing, "OfflineModeIsEnabled", {"model_type": "vit"}]
    assert len(hub.log) == before


def test_download_resumes_after_a_cut(root: Path, hub: HubServer, client: Client) -> None:
    content = np.random.default_rng(0).bytes(12_000_000)
    write(root / "models/acme/tiny", {"big.safetensors": content})
    hub.cut("big.safetensors", after=11_000_000)
    got = client("""
data = open(hf_hub_download("acme/tiny", "big.safetensors"), "rb").read()
answer(__import__("hashlib").sha256(data).hexdigest())
""")
    assert got == hashlib.sha256(content).hexdigest()
    first, second = [r.range for r in downloads(hub)]
    assert first is None
    # The client keeps whole blocks of what had come, so it goes on at the last of them.
    assert 0 < int(second.removeprefix("bytes=").removesuffix("-")) <= 11_000_000


def test_failing_hub_and_recovery(hub: HubServer, client: Client) -> None:
    hub.fail("/api/models/acme/tiny", times=1)
    got = client("""
first = attempt(lambda: model_info("acme/tiny"))
answer([first, model_info("acme/tiny").sha])
""")
    assert got == ["HfHubHTTPError", hub.commit("models/acme/tiny")]
    hub.fail()
    assert client("answer(attempt(lambda: snapshot_download('acme/tiny')))") == "LocalEntryNotFoundError"
    hub.heal()
    assert client("answer(model_info('acme/tiny').likes)") == 7


def test_moved_main_leaves_the_old_commit_reachable(hub: HubServer, client: Client) -> None:
    old = hub.commit("models/acme/tiny")
    new = hub.move_main("models/acme/tiny", {"config.json": b'{"model_type": "bert"}'})
    got = client(f"""
read = lambda revision: json.load(open(hf_hub_download("acme/tiny", "config.json", revision=revision)))
answer([model_info("acme/tiny").sha, read("main")["model_type"], read("{old}")["model_type"]])
""")
    assert new != old
    assert got == [new, "bert", "vit"]


def test_log_tells_where_a_token_went(root: Path, hub: HubServer, client: Client) -> None:
    hub.redirect_storage = True
    got = client(
        "answer(open(hf_hub_download('acme/tiny', 'model.safetensors'), 'rb').read().hex())",
        HF_TOKEN="hf_granted",
    )
    assert bytes.fromhex(got) == WEIGHTS
    sent = {
        r.host.split(":")[0]: r.authorized for r in hub.log if "/acme/" in r.path or "/storage/" in r.path
    }
    assert sent == {"127.0.0.1": True, "localhost": False}
    hub.log.clear()
    client("answer(model_info('acme/tiny').sha)")
    assert [r.authorized for r in hub.log if "acme" in r.path] == [False]


@pytest.mark.parametrize(
    ("asked", "status", "content", "shown"),
    [
        ("bytes=0-2", 206, b"one", "bytes 0-2/3"),
        ("bytes=1-", 206, b"ne", "bytes 1-2/3"),
        ("bytes=-2", 206, b"ne", "bytes 1-2/3"),
        ("bytes=3-", 416, b"", "bytes */3"),
        ("lines=1-2", 200, b"one", None),
    ],
)
def test_byte_ranges(hub: HubServer, asked: str, status: int, content: bytes, shown: str | None) -> None:
    got = http.client.HTTPConnection("127.0.0.1", hub.port)
    got.request("GET", "/datasets/acme/letters/resolve/main/train/a/1.txt", headers={"Range": asked})
    with contextlib.closing(got), got.getresponse() as response:
        assert (response.status, response.read()) == (status, content)
        assert response.headers.get("Content-Range") == shown


@pytest.mark.parametrize(
    "path", ["..%2Fgated%2Fconfig.json", ".gated", "@v1.0/config.json", "%2Fetc%2Fpasswd"]
)
def test_serves_only_what_the_revision_lists(hub: HubServer, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{hub.url}/acme/tiny/resolve/main/{path}")
    with refused.value as answer:
        assert (answer.code, answer.headers["X-Error-Code"]) == (404, "EntryNotFound")


def test_runs_as_a_program(root: Path) -> None:
    command = [sys.executable, "-m", "tests.hub_server", "--port", "0", "--root", str(root)]
    repository = Path(__file__).parents[1]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=repository) as process:
        url = process.stdout.readline().strip()
        with urllib.request.urlopen(f"{url}/api/models") as response:
            assert [m["id"] for m in json.load(response)] == ["acme/gated", "acme/tiny"]
        assert json.loads(process.stdout.readline())["path"] == "/api/models"
        process.terminate()
