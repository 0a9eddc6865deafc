from __future__ import annotations

import pytest

from expertise_graph.store.store import Store


@pytest.fixture
def store(tmp_path):
    opened = Store(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty workspace, which is the current folder."""
    Store(tmp_path).close()
    monkeypatch.chdir(tmp_path)
    return tmp_path
