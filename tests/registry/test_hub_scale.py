"""Many models of a hub, odd ones among them: found, downloaded, run, and each failure told for itself."""

import json
import shutil
import time

import pytest

from expertise_graph.core.types import CARD_METHOD
from expertise_graph.workspace import Workspace
from tests import hub_zoo
from tests.hub_program import commands_in
from tests.hub_server import HubServer

MODELS = 24
SEARCH = ("register", "--hub-search", "", "--limit", "1000")


def parents(workspace, name):
    """What a card made the parents of an expert or known model."""
    (child,) = [e for e in workspace.experts() if name in (f"{e.source}:{e.locator}", e.name)]
    edges = [e for e in workspace.store.edges("lineage") if e.target == child.id]
    assert {e.method for e in edges} <= {CARD_METHOD}
    found = workspace.store.experts(where={"id": {e.source for e in edges}})
    return {(e.locator if e.runnable else e.name.removeprefix("hf:")) for e in found}


@pytest.mark.slow
def test_a_hub_of_many_models_is_imported_and_run_with_each_failure_told(blank, tmp_path):
    root = tmp_path / "root"
    bases = hub_zoo.build(root, MODELS)
    every = MODELS + len(hub_zoo.ODD)
    with HubServer(root) as hub:
        run = commands_in(blank, hub, tmp_path, seconds=900)
        began = time.perf_counter()
        ((code, out, err),) = run([*SEARCH, "--metadata-only", "--json"])
        seconds = {"found": time.perf_counter() - began}
        assert code == 0, err
        found = {row["name"]: row for row in json.loads(out)}
        assert len(found) == every
        licenses = [found[f"hf:acme/m{i:03d}"]["license"] for i in (0, 1, 2, 3, 10)]
        assert licenses == ["mit", "apache-2.0", "our-terms", "mit", "unknown"]
        assert found["hf:acme/odd-yaml"]["license"] == "unknown"
        shutil.rmtree(root / "models" / hub_zoo.GONE_LATER)
        began = time.perf_counter()
        ((code, out, err),) = run(["probe", "--missing", "--json"])
        seconds["run"] = time.perf_counter() - began
        assert (code, "Traceback" in err) == (1, False), err
        rows = {row["source"]: row["failure"] for row in json.loads(out)}
        # Those of which the Hub itself says that they cannot be had are not tried.
        tried = {k: v for k, v in hub_zoo.ODD.items() if v in (None, "gone", "broken")}
        sound = {f"hf:{name}": None for name in bases if name not in hub_zoo.ODD}
        assert rows == {**sound, **{f"hf:{name}": why for name, why in tried.items()}}
        with Workspace(blank) as opened:
            for name, wanted in bases.items():
                if name != "acme/odd-same" and name not in hub_zoo.ODD:
                    assert parents(opened, f"hf:{name}") == set(wanted), name
        downloads = sum("/resolve/" in request.path for request in hub.log)
        began = time.perf_counter()
        ((code, out, err),) = run(["probe", "--missing", "--json"])
        seconds["again"] = time.perf_counter() - began
        assert (code, json.loads(out)) == (0, []), err
        assert sum("/resolve/" in request.path for request in hub.log) == downloads
        ((code, out, err),) = run([*SEARCH, "--json"])
    left = {row["source"].removeprefix("hf:"): row["failure"] for row in json.loads(out) if row["failure"]}
    # Named, one whose architecture transformers knows is read without the code that comes with it.
    known = {None, "gone", "refused"}
    assert left == {k: v for k, v in hub_zoo.ODD.items() if v not in known} | {"acme/odd-pickle": "refused"}
    assert seconds["again"] < seconds["run"], seconds
