"""Several downloads at a time, within a limit; adapters of the Hub with the base they were trained on."""

import json
import shutil

import pytest

from tests import materials
from tests.hub_program import commands_in
from tests.hub_server import HubServer
from tests.models.test_kinds_of_models import adapted


@pytest.mark.slow
def test_what_is_downloaded_is_decided_in_the_order_asked_for(blank, tmp_path):
    root = tmp_path / "root" / "models" / "acme"
    for i in range(6):
        materials.resnet(root / f"m{i}", i)
    size = sum(path.stat().st_size for path in (root / "m0").iterdir())
    # One that fails before its turn keeps none of the others waiting.
    names = ["hf:acme/m0", "hf:acme/m1", "hf:acme/none", *(f"hf:acme/m{i}" for i in range(2, 6))]
    with HubServer(tmp_path / "root") as hub:
        program = commands_in(blank, hub, tmp_path, seconds=600)
        limited, rest, again = program(
            ["register", *names, "--max-download", str(3 * size + size // 2), "--json"],
            ["register", *names, "--json"],
            ["register", *reversed(names), "-q"],
        )
        asked = [r.path for r in hub.log if "/resolve/" in r.path and r.path.endswith("model.safetensors")]
    rows = json.loads(limited[1])
    assert [row["source"] for row in rows] == names
    assert [row["failure"] for row in rows] == [None, None, "gone", None, "later", "later", "later"]
    assert "--max-download allows more" in rows[4]["error"]
    assert limited[0] == 1
    assert [row["source"] for row in json.loads(rest[1])] == names
    assert (rest[0], again[0]) == (1, 1)
    assert len(again[1].split()) == 6
    assert len({path.split("/")[2] for path in asked}) == 6
    assert len(asked) <= 12  # each is asked about and fetched once


@pytest.mark.slow
def test_an_adapter_of_the_hub_stays_with_the_commit_of_its_base(blank, tmp_path):
    root = tmp_path / "root" / "models" / "acme"
    base = materials.bert(root / "base", 1)
    adapted("BertModel", root / "adapter", base, ["query"])
    materials.change_json(root / "adapter" / "adapter_config.json", base_model_name_or_path="acme/base")
    # A folder of this machine with the name of the base is not what an adapter of the Hub means.
    materials.bert(blank / "acme" / "base", 7)
    glosses = str(materials.glosses(tmp_path / "g.csv", 12))
    with HubServer(tmp_path / "root") as hub:
        program = commands_in(blank, hub, tmp_path, seconds=600)
        pin, moved = hub.commit("models/acme/base"), materials.bert(tmp_path / "moved", 2)
        ((code, out, err),) = program(["register", "hf:acme/adapter", "--json"])
        assert code == 0, err
        (row,) = json.loads(out)
        assert row["id"] == f"hf:acme/adapter@{hub.commit('models/acme/adapter')}"
        assert row["base_model"] == f"hf:acme/base@{pin}"
        hub.move_main("models/acme/base", {"model.safetensors": (moved / "model.safetensors").read_bytes()})
        shutil.rmtree(tmp_path / "hf")
        asked, shown = program(["query", glosses, "--json"], ["lineage", "adapter", "--json"])
    assert asked[0] == 0, asked[2]
    (candidate,) = json.loads(asked[1])["candidates"]
    assert (candidate["expert"], candidate["ran"]) == (row["id"], True)
    assert "acme/base" in json.dumps(json.loads(shown[1])["ancestors"]) or "acme/base" in shown[1]
