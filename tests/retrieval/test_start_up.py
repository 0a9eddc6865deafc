"""A query whose answer needs no expert to run waits for no library that runs or trains one."""

import io
import json
import subprocess
import sys

import pytest

from expertise_graph import starter
from expertise_graph.core.types import Query
from expertise_graph.registry.imports.options import HistoryOptions
from expertise_graph.workspace import Workspace
from tests import materials
from tests.program import environment

HEAVY = ("torch", "transformers", "accelerate", "peft", "scipy.stats", "sklearn", "faiss", "networkx")

ASK = """
import json, sys
from expertise_graph import Query, Workspace
with Workspace(sys.argv[1]) as zoo:
    ranking = zoo.query(sys.argv[2], Query(budget=int(sys.argv[3])))
found = [[c.expert.name, c.predicted] for c in ranking.candidates]
print(json.dumps([ranking.experts_run, found, [m for m in sys.argv[4:] if m in sys.modules]]))
"""


def asked(workspace, data, home, budget, **more):
    """Ask in a new process; return the experts run, the candidates and the heavy libraries imported."""
    command = [sys.executable, "-c", ASK, str(workspace), str(data), str(budget), *HEAVY]
    done = subprocess.run(command, env=environment(home, more), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.fixture
def letters(tmp_path):
    return materials.pictures(tmp_path / "letters", 3, 8)


def test_a_query_that_was_asked_before_is_answered_without_torch(workspace, letters, tmp_path, monkeypatch):
    # As users ask: published models take part.
    monkeypatch.delenv("EXPERTISE_GRAPH_CATALOGUE")
    with Workspace(workspace) as zoo:
        first = zoo.query(letters, Query(budget=3))
    assert first.experts_run == 3
    shipped = str(starter.catalogue_folder())
    run, found, heavy = asked(workspace, letters, tmp_path, 3, EXPERTISE_GRAPH_CATALOGUE=shipped)
    assert run == 0
    assert found == [[c.expert.name, c.predicted] for c in first.candidates]
    assert heavy == []


def test_a_query_that_runs_nothing_is_answered_from_history_without_torch(workspace, letters, tmp_path):
    table = b"expert,task,metric,value\n" + b"".join(
        f"{name},t{t},accuracy,{value + t / 100}\n".encode()
        for name, value in (("emoji", 0.9), ("clipart", 0.7), ("latin-letters", 0.5))
        for t in range(4)
    )
    with Workspace(workspace) as zoo:
        zoo.import_history(io.BytesIO(table), HistoryOptions(modality="image"))
    run, found, heavy = asked(workspace, letters, tmp_path, 0)
    assert (run, found[0][0], heavy) == (0, "emoji", [])
    with Workspace(workspace) as zoo:
        again = zoo.query(letters, Query(budget=0))
    assert found == [[c.expert.name, c.predicted] for c in again.candidates]
