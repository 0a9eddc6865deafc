"""A registry with something of everything, in a workspace whose path must not leave it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from expertise_graph.core import Query
from expertise_graph.workspace import Workspace
from tests import materials
from tests.once import once

MARKER = "zzsecretplacezz"
RESULTS = (
    "expert,task,metric,value,n\nemoji,letters,accuracy,0.81,200\nclipart,letters,accuracy,0.62,200\n"
    "latin-letters,letters,accuracy,0.93,200\nemoji,fashion,accuracy,0.55,500\n"
    "latin-letters,fashion,accuracy,0.41,500\nsome-org/unseen,letters,accuracy,0.7,200\n"
)


@pytest.fixture(scope="session")
def _shared_source(registered, tmp_path_factory) -> Path:
    def make(folder: Path) -> None:
        place = folder / MARKER / "workspace"
        shutil.copytree(registered, place)
        data = materials.pictures(folder / MARKER / "pets", 6, 8)
        results = folder / MARKER / "results.csv"
        results.write_text(RESULTS)
        with Workspace(place) as workspace:
            workspace.register(f"dir:{materials.starter('greek-letters', folder / MARKER)}")
            workspace.import_history(results)
            workspace.query(data, Query(budget=3, sample=32))

    return once(tmp_path_factory, "shared-source", make)


@pytest.fixture
def source(_shared_source, tmp_path, monkeypatch) -> Path:
    """A workspace with seven experts, imported results, scores of a query, and one of local weights."""
    folder = tmp_path / "source"
    shutil.copytree(_shared_source, folder)
    place = folder / MARKER / "workspace"
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def pets(source) -> Path:
    """The data that the workspace was asked about."""
    return source.parent / "pets"


@pytest.fixture
def empty(tmp_path) -> Path:
    """A workspace without experts."""
    Workspace.init(tmp_path / "empty").close()
    return tmp_path / "empty"
