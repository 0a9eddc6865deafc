"""A column of the query table is one function that is registered."""

import csv
import json
import subprocess
import sys

import pytest

from tests import materials
from tests.program import environment

TOY = """
import sys
from expertise_graph.cli import app
from expertise_graph.views import query_columns

query_columns.register("megabytes", lambda candidate: round(candidate.expert.bytes / 1e6, 1))
app(sys.argv[1:])
"""


def query(folder, *arguments):
    command = [sys.executable, "-c", TOY, "query", str(materials.LETTERS), "--budget", "1", "--top", "2"]
    done = subprocess.run(
        [*command, *arguments],
        cwd=folder,
        env=environment(folder / "home"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_registered_column_is_in_the_table_and_in_json(workspace):
    answer = json.loads(query(workspace, "--json"))
    for candidate in answer["candidates"]:
        assert candidate["megabytes"] == round(candidate["bytes"] / 1e6, 1)
    rows = list(csv.DictReader(query(workspace, "--csv").splitlines()))
    assert [float(row["megabytes"]) for row in rows] == [c["megabytes"] for c in answer["candidates"]]
    assert "megabytes" in query(workspace).splitlines()[2]
