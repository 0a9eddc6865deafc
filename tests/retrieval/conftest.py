from __future__ import annotations

import pytest

from expertise_graph.store.store import Store


@pytest.fixture
def store(tmp_path):
    opened = Store(tmp_path)
    yield opened
    opened.close()
