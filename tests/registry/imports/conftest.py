from __future__ import annotations

import pytest

from expertise_graph.store.store import Store


@pytest.fixture
def store(tmp_path):
    """An empty registry in the folder that the tests write their tables to."""
    made = Store(tmp_path)
    yield made
    made.close()


@pytest.fixture
def table(tmp_path):
    """Write a table and return its path."""

    def write(text, name="t.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_bytes(text.encode(encoding))
        return path

    return write
