"""``hf:`` through the real client against a hub on this machine, in processes of their own."""

import errno
import json
import shutil

import pytest
from huggingface_hub.errors import OfflineModeIsEnabled
from safetensors.torch import load_file, save_file

from expertise_graph.core import OfflineError, SourceError
from expertise_graph.models.hub_client import hub_errors
from expertise_graph.workspace import Workspace
from tests import materials
from tests.hub_program import commands_in
from tests.hub_server import HubServer

TOKEN = "hf_secret_marker_0123456789"
CARD = "---\nlicense: mit\nbase_model: acme/parent\ndatasets: [acme/letters]\n---\n# Tiny\n"


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """Repositories of a hub; not to be written to."""
    root = tmp_path_factory.mktemp("hub") / "root"
    tiny = materials.resnet(root / "models/acme/tiny", 1)
    (tiny / "README.md").write_text(CARD)
    (tiny / "modeling_tiny.py").write_text("raise SystemExit('never run')")
    (tiny / "training_args.bin").write_bytes(b"\x80\x04.")
    materials.resnet(tiny / "@v1.0", 2)
    for name, marker in (("gated", ".gated"), ("secret", ".private")):
        materials.resnet(root / f"models/acme/{name}", 3)
        (root / f"models/acme/{name}" / marker).write_text(f"{TOKEN}\n")
    old = materials.resnet(root / "models/acme/pickled", 4)
    (old / "model.safetensors").rename(old / "pytorch_model.bin")
    pictures = materials.pictures(root / "datasets/acme/letters", 3, 8, splits=("train", "test"))
    for i, picture in enumerate(sorted(pictures.rglob("*.png"))[:3]):
        picture.rename(picture.with_suffix((".PNG", ".avif", ".jfif")[i]))
    return root


@pytest.fixture
def hub(content, tmp_path):
    shutil.copytree(content, tmp_path / "root")
    with HubServer(tmp_path / "root") as server:
        yield server


@pytest.fixture
def program(hub, blank, tmp_path):
    return commands_in(blank, hub, tmp_path)


@pytest.mark.slow
def test_register_pins_and_the_pin_holds_when_the_branch_moves(hub, program, blank, tmp_path):
    sha, tagged = hub.commit("models/acme/tiny"), hub.commit("models/acme/tiny", "v1.0")
    shown = program(
        ["register", "hf:acme/tiny", "--json"],
        ["register", "hf:acme/tiny@v1.0", "--name", "tagged", "--json"],
        ["register", "hf:acme/tiny", "--revision", "v1.0", "--json"],
    )
    assert [code for code, _, _ in shown] == [0, 0, 0], shown
    rows = [json.loads(out)[0] for _, out, _ in shown]
    assert [r["id"] for r in rows] == [f"hf:acme/tiny@{s}" for s in (sha, tagged, tagged)]
    assert (rows[0]["license"], rows[0]["base_model"], rows[0]["revision"]) == ("mit", "acme/parent", sha)
    fetched = {r.path.rsplit("/", 1)[-1] for r in hub.log if "/resolve/" in r.path}
    assert "model.safetensors" in fetched
    assert not fetched & {"training_args.bin", "modeling_tiny.py"}

    moved = load_file(hub.root / "models/acme/tiny/model.safetensors")
    save_file({k: v * 0 for k, v in moved.items()}, tmp_path / "moved", metadata={"format": "pt"})
    new = hub.move_main("models/acme/tiny", {"model.safetensors": (tmp_path / "moved").read_bytes()})
    assert new != sha
    shutil.rmtree(tmp_path / "hf")
    data = str(materials.pictures(tmp_path / "data", 2, 5))
    with Workspace(blank) as workspace:
        weights = workspace.store.expert(f"hf:acme/tiny@{sha}").weights_sha
    (code, out, err), *_ = program(["query", data, "--json"])
    assert code == 0, err
    assert json.loads(out)["experts_run"] == 2
    assert not [r for r in hub.log if f"/resolve/{new}" in r.path]
    with Workspace(blank) as workspace:
        assert workspace.store.expert(f"hf:acme/tiny@{sha}").weights_sha == weights


@pytest.mark.slow
def test_offline_what_is_cached_works_and_the_rest_is_one_hint(hub, program, blank, tmp_path):
    (code, _, err), *_ = program(["register", "hf:acme/tiny"])
    assert code == 0, err
    data = str(materials.pictures(tmp_path / "data", 2, 5))
    served = len(hub.log)
    offline = program(
        ["init", "second"],
        ["--workspace", "second", "register", "hf:acme/tiny", "-q"],
        ["query", data, "--json"],
        ["register", "hf:acme/other"],
        ["query", "hf:acme/letters"],
        HF_HUB_OFFLINE="1",
    )
    assert len(hub.log) == served
    assert [code for code, _, _ in offline] == [0, 0, 0, 1, 1], offline
    assert offline[1][1].strip() == f"hf:acme/tiny@{hub.commit('models/acme/tiny')}"
    assert json.loads(offline[2][1])["experts_run"] == 1
    for _, _, err in offline[3:]:
        assert len(err.splitlines()) == 1
        assert "network" in err
    assert "(cached: acme/tiny)" in offline[3][2]
    assert "use a folder" in offline[3][2]


@pytest.mark.slow
def test_a_hub_that_is_gone_is_one_hint_about_the_network(program):
    (code, _, err), *_ = program(["register", "hf:acme/tiny"], HF_ENDPOINT="http://127.0.0.1:9")
    assert code == 1
    assert len(err.splitlines()) == 1
    assert "network" in err
    assert "not cached" in err


@pytest.mark.slow
def test_each_refusal_of_the_hub_is_its_own_one_line(hub, program, blank):
    before = materials.counts(blank)
    wanted = {
        "hf:acme/gated": ("gated", "HF_TOKEN"),
        "hf:acme/secret": ("no repository", "HF_TOKEN"),
        "hf:acme/missing": ("no repository",),
        "hf:acme/tiny@v9": ("no such revision",),
        "hf:acme/pickled": ("no safetensors weights", "pytorch_model.bin", "save_pretrained"),
        "hf:../tiny": ("not a repository name",),
        "hf:acme/odd": ("answered with an error",),
    }
    hub.fail("/api/models/acme/odd", status=418)
    shown = program(*(["register", reference] for reference in wanted))
    for (reference, parts), (code, _, err) in zip(wanted.items(), shown, strict=True):
        assert code == 1, reference
        assert len(err.splitlines()) == 1, err
        assert all(part in err for part in parts), (reference, err)
    assert materials.counts(blank) == before
    assert not [r for r in hub.log if r.path.endswith("pytorch_model.bin")]


@pytest.mark.slow
def test_a_token_opens_what_is_gated_and_is_written_nowhere(hub, program, blank, tmp_path):
    data = str(materials.pictures(tmp_path / "data", 2, 5))
    shown = program(
        ["register", "hf:acme/gated", "hf:acme/secret", "--json"],
        ["register", "hf:acme/missing"],
        ["show", "gated", "--json"],
        ["query", data, "--json"],
        ["export", "--format", "json", "graph.json"],
        HF_TOKEN=TOKEN,
    )
    assert [code for code, _, _ in shown] == [0, 1, 0, 0, 0], shown
    assert TOKEN not in json.dumps(shown)
    written = [p for p in blank.rglob("*") if p.is_file()]
    assert any(p.name == "registry.db" for p in written)
    assert not [p for p in written if TOKEN.encode() in p.read_bytes()]


@pytest.mark.slow
def test_a_dataset_of_the_hub_is_queried_by_its_id(hub, program, blank):
    shown = program(
        ["register", "hf:acme/tiny"],
        ["query", "hf:acme/letters", "--json"],
        ["query", "hf:acme/letters", "--json"],
        ["query", "hf:acme/no-letters"],
    )
    assert [code for code, _, _ in shown] == [0, 0, 0, 1], shown
    first, again = json.loads(shown[1][1]), json.loads(shown[2][1])
    assert (first["experts_run"], again["experts_run"]) == (1, 0)
    assert first["candidates"] == again["candidates"]
    assert "hf:acme/letters" in first["command"]
    assert first["data"]["items"] == 48
    assert "no repository" in shown[3][2]


@pytest.mark.slow
def test_a_download_that_failed_half_way_is_completed_by_the_same_command(hub, program, blank):
    hub.cut("model.safetensors", after=1000, times=50)
    (code, _, err), *_ = program(["register", "hf:acme/tiny"])
    assert code == 1
    assert "cannot be reached" in err.splitlines()[-1]
    assert materials.counts(blank)["experts"] == 0
    hub.heal()
    (code, _, err), *_ = program(["register", "hf:acme/tiny"])
    assert code == 0, err
    assert materials.counts(blank)["experts"] == 1


@pytest.mark.parametrize(
    ("raised", "kind", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), OSError, "No space left on device"),
        (OSError("Consistency check failed"), SourceError, "the Hub's answer for hf:a/b cannot be used"),
        (ValueError("no JSON"), SourceError, "the Hub's answer for hf:a/b cannot be used: no JSON"),
        (ConnectionResetError("reset"), OfflineError, "the Hub cannot be reached for hf:a/b"),
        (OfflineModeIsEnabled("offline"), OfflineError, "HF_HUB_OFFLINE is set"),
        (KeyError("ours"), KeyError, "ours"),
    ],
)
def test_loading_and_sharing_say_the_same_of_the_same_error(raised, kind, line):
    with pytest.raises(kind, match=line), hub_errors("hf:a/b"):
        raise raised
    # An upload fails in a thread of its own.
    with pytest.raises(kind, match=line), hub_errors("hf:a/b", writing=True):
        raise RuntimeError("upload failed") from raised
