"""Pulled experts that are run again: what is confirmed, and what is named."""

from __future__ import annotations

import numpy as np
import pytest

from expertise_graph.core import Embedding
from expertise_graph.workspace import Workspace
from tests.program import invoke


@pytest.fixture
def pulled(source, empty, tmp_path):
    invoke("--workspace", source, "push", tmp_path / "graph").worked()
    invoke("--workspace", empty, "pull", tmp_path / "graph").worked()
    return empty


def test_experts_give_what_was_said(pulled):
    rows = invoke("--workspace", pulled, "verify", "--reprobe", "2", "--json").worked().json
    assert len(rows) == 2
    assert all(row["cosine"] == pytest.approx(1.0, abs=1e-6) and row["confirmed"] for row in rows)
    assert {row["origin"] for row in rows} == {rows[0]["origin"]}
    again = invoke("--workspace", pulled, "verify", "--reprobe", "2", "--json").worked().json
    assert [row["id"] for row in again] == [row["id"] for row in rows]


def test_an_embedding_that_was_forged_is_named(pulled):
    with Workspace(pulled) as workspace:
        store, expert = workspace.store, workspace.expert("emoji")
        probe_set = store.probe_sets("image")[0].id
        _, _, vectors = store.vectors(probe_set, owners=[expert.id])
        noise = np.random.default_rng(0).normal(size=vectors[0].shape) * vectors[0].std()
        forged = (vectors[0] + 0.05 * noise).astype(np.float32)
        store.db.execute("DELETE FROM embeddings WHERE owner = ?", [expert.id])
        store.put_embedding(
            Embedding(
                owner=expert.id,
                kind="expert",
                probe_set=probe_set,
                method="cka-sketch",
                version="1",
                vector=forged,
                seed=0,
                n=3,
            )
        )
    done = invoke("--workspace", pulled, "verify", "--reprobe", "99")
    assert done.code == 1
    assert done.err.strip().splitlines()[-1].startswith("not what was said: emoji@")
    with Workspace(pulled) as workspace:
        assert workspace.register("zoo:emoji").id == expert.id
    # Registered here, it is embedded here, and is no other's word any more.
    rows = invoke("--workspace", pulled, "verify", "--reprobe", "99", "--json").worked().json
    assert "emoji" not in {row["expert"].partition("@")[0] for row in rows}


def test_without_anything_pulled_it_says_so(source):
    invoke("--workspace", source, "verify").failed("no expert was pulled", "pull a registry first")
