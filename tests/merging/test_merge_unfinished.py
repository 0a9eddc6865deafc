"""A merge that was killed once its folder was written is registered by the next who writes."""

from __future__ import annotations

import shutil

import pytest

from expertise_graph import Workspace
from tests import materials
from tests.kills import kill_when, pending
from tests.program import invoke, program
from tests.registry.test_neighbours import assert_right


@pytest.mark.slow
@pytest.mark.parametrize("after", [0.0, 0.02, 0.1])
def test_a_merge_that_was_killed_is_registered_by_the_next_who_writes(family, after):
    out = family.root / "merged"
    line = ("--workspace", family.workspace, "merge", *family.runs, "--data", family.data, "--out", out)
    hit = kill_when((out / "run.json").exists, program(*line), family.root, after=after)
    assert (out / "run.json").exists()
    other = materials.resnet(family.root / "other", 77)
    said = invoke("--workspace", family.workspace, "register", f"dir:{other}").worked().err
    if hit and "finished what was begun" in said:
        assert f"the model in {out} is registered as letters-mean-of-3@" in said
    with Workspace(family.workspace) as opened:
        (run,) = [r for r in opened.runs() if r.strategy == "merge:mean"]
        edges = [e for e in opened.store.edges("lineage", run.child) if e.target == run.child]
        assert len(edges) == 4
        assert len([e for e in opened.store.edges("transfer") if e.run == run.id]) == 1
        assert opened.store.abandoned() == []
        assert_right(opened)
    before = materials.counts(family.workspace)
    again = invoke(*line, "--json").worked().json
    assert again["expert"] == run.child
    assert materials.counts(family.workspace) == before


@pytest.mark.slow
def test_what_was_killed_before_it_made_anything_leaves_nothing_to_finish(family):
    out = family.root / "merged"
    line = ("--workspace", family.workspace, "merge", *family.runs, "--data", family.data, "--out", out)
    kill_when(lambda: bool(pending(family.workspace)), program(*line), family.root)
    shutil.rmtree(out, ignore_errors=True)
    before = materials.counts(family.workspace)
    invoke("--workspace", family.workspace, "probe", "use", "small").worked()
    assert pending(family.workspace) == []
    assert materials.counts(family.workspace)["experts"] == before["experts"]
