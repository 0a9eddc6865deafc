"""What changed on the Hub is told and kept; what could not be had is not proposed again until it changed."""

import json
import shutil

import pytest

from expertise_graph import starter
from expertise_graph.workspace import Workspace
from tests import materials
from tests.hub_program import commands_in
from tests.hub_server import HubServer
from tests.retrieval.test_known_models import catalogue_in, row

CARD = "---\nlicense: {license}\npipeline_tag: image-classification\n---\n"
NAMES = ("clipart", "emoji", "hebrew-letters", "digits-in-fonts", "fashion", "latin-letters")


@pytest.fixture
def hub(tmp_path):
    """Six models of images, called a to f, under the MIT licence."""
    root = tmp_path / "root" / "models" / "acme"
    for name, source in zip("abcdef", NAMES, strict=True):
        shutil.copytree(starter.shipped()[source], root / name)
        (root / name / "README.md").write_text(CARD.format(license="mit"))
    with HubServer(tmp_path / "root") as server:
        yield server


def change(hub, workspace=None):
    """Move a, change the licence of b, delete c, gate d; e gets other weights, f stays."""
    models = hub.root / "models" / "acme"
    hub.move_main("models/acme/a", {"notes.txt": b"more"})
    hub.move_main("models/acme/b", {"README.md": CARD.format(license="gpl-3.0").encode()})
    shutil.rmtree(models / "c")
    (models / "d" / ".gated").write_text("")
    other = (models / "f" / "model.safetensors").read_bytes()
    hub.move_main("models/acme/e", {"model.safetensors": other})


def synced(done):
    code, out, err = done
    assert code == 0, err
    return {row["expert"].partition("@")[0]: row for row in json.loads(out)}


@pytest.mark.slow
def test_what_became_of_experts_is_told_and_the_pins_stay(hub, blank, tmp_path):
    program = commands_in(blank, hub, tmp_path, seconds=600)
    registered, before = program(
        ["register", *(f"hf:acme/{n}" for n in "abcdef"), "--json"], ["sync", "--json"]
    )
    ids = {row["name"]: row["id"] for row in json.loads(registered[1])}
    assert {row["status"] for row in synced(before).values()} == {"unchanged"}
    change(hub)
    told, again, listed, shown = program(
        ["sync", "--json"], ["sync"], ["ls", "--json"], ["sync", "e", "f", "--json"]
    )
    rows = synced(told)
    assert {n: r["status"] for n, r in rows.items()} == {
        "a": "moved", "b": "licence", "c": "gone", "d": "gated", "e": "moved", "f": "unchanged",
    }  # fmt: skip
    assert "with the same weights; this expert stays at" in rows["a"]["changes"][0]
    assert "with other weights" in rows["e"]["changes"][0]
    assert rows["b"]["changes"][0] == "its licence is gpl-3.0 now, mit when it was registered"
    assert "6 models asked about: " in again[2]
    assert {row["name"]: row["id"] for row in json.loads(listed[1])} == ids
    assert {n: r["status"] for n, r in synced(shown).items()} == {"e": "moved", "f": "unchanged"}
    with Workspace(blank) as opened:
        assert opened.expert("c").meta["on_hub"] == {"gone": True}
        assert opened.expert("b").license == "mit"
        assert "on_hub" not in opened.expert("f").meta


@pytest.mark.slow
def test_known_models_become_what_the_hub_says_now(hub, blank, tmp_path):
    program = commands_in(blank, hub, tmp_path, seconds=600)
    found, before = program(
        ["register", "--hub-search", "acme", "--metadata-only", "--json"], ["sync", "--json"]
    )
    assert len(json.loads(found[1])) == 6
    assert {row["status"] for row in synced(before).values()} == {"unchanged"}
    change(hub)
    letters = str(materials.pictures(tmp_path / "letters", 3, 8))
    told, asked, again = program(
        ["sync", "--json"], ["query", letters, "--fetch", "1", "--json"], ["sync", "--json"]
    )
    rows = synced(told)
    assert {n[-1]: r["status"] for n, r in rows.items()} == {
        "a": "moved", "b": "licence", "c": "gone", "d": "gated", "e": "moved", "f": "unchanged",
    }  # fmt: skip
    assert asked[0] == 0, asked[2]
    where = {c["name"]: c["where"] for c in json.loads(asked[1])["candidates"]}
    assert "hf:acme/c" not in where
    assert where["hf:acme/d"] == "gated"
    assert {n[-1]: r["status"] for n, r in synced(again).items() if r["status"] != "unchanged"} == {
        "c": "gone"
    }
    with Workspace(blank) as opened:
        # The query may have fetched it: at the commit that the Hub told of.
        (b,) = [e for e in opened.experts() if e.name in ("b", "hf:acme/b")]
        assert (b.license, b.revision) == ("gpl-3.0", hub.commit("models/acme/b"))
    starter_c = starter.shipped()["hebrew-letters"]
    shutil.copytree(starter_c, hub.root / "models" / "acme" / "c")
    (hub.root / "models" / "acme" / "c" / "README.md").write_text(CARD.format(license="mit"))
    (back,) = program(["sync", "--json"])
    assert synced(back)["hf:acme/c"]["status"] == "available again"


@pytest.mark.slow
def test_what_failed_for_good_is_not_fetched_again_until_it_changed(hub, blank, tmp_path):
    models = hub.root / "models" / "acme"
    weights = models / "a" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:100])
    (models / "b" / "model.safetensors").rename(models / "b" / "pytorch_model.bin")
    shutil.rmtree(models / "c")
    (models / "d" / ".gated").write_text("")
    qualities = {"a": 0.9, "b": 0.88, "c": 0.86, "d": 0.84, "e": 0.7, "f": 0.6}
    known = str(catalogue_in(tmp_path / "known", [row(n) for n in qualities], qualities))
    letters = str(materials.pictures(tmp_path / "letters", 3, 8))
    program = commands_in(blank, hub, tmp_path, seconds=600)
    query = ["query", letters, "--fetch", "2", "--json"]
    first, before, second, shown, told = program(
        query, ["sync", "--json"], query, ["catalogue", "show", "hf:acme/a", "--json"],
        ["sync", "hf:acme/a", "--json"], EXPERTISE_GRAPH_CATALOGUE=known,
    )  # fmt: skip
    refused = [n for n in json.loads(first[1])["notes"] if "was not fetched" in n]
    assert len(refused) == 4, first
    assert {n[-1]: r["status"] for n, r in synced(before).items()} == {
        "a": "broken", "b": "refused", "c": "gone", "d": "gated",
    } | {n: "unchanged" for n in "ef" if n in {k[-1] for k in synced(before)}}  # fmt: skip
    again = json.loads(second[1])
    assert not [n for n in again["notes"] if "was not fetched" in n]
    assert any("3 known models left out" in n for n in again["notes"])
    assert [c["name"] for c in again["candidates"] if c["where"] == "gated"] == ["hf:acme/d"]
    assert {c["name"] for c in again["candidates"] if c["ran"]} <= {"e", "f"}
    (about,) = json.loads(shown[1])
    assert (about["where"], about["unavailable"] is not None) == ("not loadable", True)
    assert synced(told)["hf:acme/a"]["status"] == "available again"
    weights.write_bytes(whole)
    (third,) = program(query, EXPERTISE_GRAPH_CATALOGUE=known)
    assert "a" in {c["name"] for c in json.loads(third[1])["candidates"] if c["ran"]}, third


@pytest.mark.slow
def test_without_a_network_sync_is_one_line_and_changes_nothing(hub, blank, tmp_path):
    program = commands_in(blank, hub, tmp_path, seconds=600)
    ((code, _, err),) = program(["register", "hf:acme/a"])
    assert code == 0, err
    before = materials.counts(blank)
    ((code, out, err),) = program(["sync"], HF_HUB_OFFLINE="1")
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert "HF_HUB_OFFLINE" in err
    gone, missing = program(["sync"], ["sync", "nothing"], HF_ENDPOINT="http://127.0.0.1:9")
    assert (gone[0], len(gone[2].splitlines())) == (1, 1)
    assert "cannot be reached" in gone[2]
    assert "no expert 'nothing'" in missing[2]
    assert materials.counts(blank) == before
    (empty,) = program(["--workspace", "second", "sync"])
    assert empty[0] == 1
