"""Kill -9 at random moments of a merge: the folder is whole or absent, the same command completes."""

import os
import shutil

import pytest

from expertise_graph.workspace import Workspace
from tests.program import invoke
from tests.test_crash import drill


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
@pytest.mark.parametrize("kills", [15])
def test_a_merge_survives_kills(family, kills):
    rehearsal = family.root / "rehearsal"
    shutil.copytree(family.workspace, rehearsal)
    common = ["merge", *map(str, family.runs), "--data", str(family.data), "--json", "--out"]
    command = {
        "rehearsal": ["--workspace", str(rehearsal), *common, str(family.root / "tried")],
        "arguments": ["--workspace", str(family.workspace), *common, str(family.root / "merged")],
        "kills": kills,
        "reset": [["--workspace", str(family.workspace), "rm", "letters-mean-of-3"]],
        "forget": [str(family.root / "merged")],
    }
    ended = drill(family.root, [command], kills, family.root)
    assert ended["hits"] >= kills // 2
    result = invoke(*command["arguments"]).worked().json
    with Workspace(family.workspace) as opened:
        (run,) = [r for r in opened.runs() if r.strategy == "merge:mean"]
        edges = [e for e in opened.store.edges("lineage", result["expert"]) if e.target == result["expert"]]
        (transfer,) = [e for e in opened.store.edges("transfer") if e.run == run.id]
        opened.store.expert(result["expert"])
    assert run.status == "done"
    assert len(edges) == 4
    assert transfer.weight == result["accuracy"]
    assert [p.name for p in family.root.iterdir() if p.name.startswith(".merged")] == []
    whole = {"README.md", "head.json", "head.safetensors", "learnt.safetensors", "model", "run.json"}
    assert {p.name for p in (family.root / "merged").iterdir()} == whole
