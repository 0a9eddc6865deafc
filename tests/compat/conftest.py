from __future__ import annotations

from pathlib import Path

import pytest

from tests.compat import material


@pytest.fixture(scope="package")
def moved(tmp_path_factory) -> Path:
    """The newest workspace where its experts are found; only read, or written to by runs of their own."""
    return material.moved(tmp_path_factory.mktemp("moved"))
