"""The page on sharing: its commands run, in order, and its tables name what there is."""

from __future__ import annotations

import re
import shlex

from expertise_graph.sharing.format import TABLES, VECTORS
from tests.program import ROOT, invoke

PAGE = (ROOT / "docs" / "sharing.md").read_text(encoding="utf-8")


def test_the_commands_of_the_page_run(source, monkeypatch, tmp_path):
    (block,) = re.findall(r"```\n(.*?)```", PAGE, re.DOTALL)
    lines = [line for line in block.splitlines() if line.startswith("expertise-graph")]
    assert len(lines) == 5
    for line in lines:
        command, _, folder = line.partition("&& cd ")
        invoke(*shlex.split(command, comments=True)[1:]).worked()
        monkeypatch.chdir(folder or ".")


def test_every_table_is_on_the_page():
    for name in (*TABLES, VECTORS):
        assert f"data/{name}-*" in PAGE
