"""Workspaces in which a question was asked: for tests of what comes after it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests import materials
from tests.once import once
from tests.program import invoke


@pytest.fixture
def letters(tmp_path) -> Path:
    """Pictures of four letters, eight of each; the same ones everywhere, as far as answers go."""
    return materials.pictures(tmp_path / "letters", 4, 8)


@pytest.fixture(scope="session")
def _questioned(registered, tmp_path_factory) -> Path:
    """Copies of the registered workspace after two and after all four experts ran on the letters."""

    def make(folder: Path) -> None:
        data = materials.pictures(folder / "letters", 4, 8)
        before = registered
        for budget in (2, 4):
            home = shutil.copytree(before, folder / f"after-{budget}")
            invoke("--workspace", home, "query", data, "--budget", budget).worked()
            before = home

    return once(tmp_path_factory, "questioned", make)


def _copied(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = shutil.copytree(home, tmp_path / "workspace")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def asked(_questioned, tmp_path, monkeypatch) -> Path:
    """A workspace in which two experts ran on the letters, which is the current folder."""
    return _copied(_questioned / "after-2", tmp_path, monkeypatch)


@pytest.fixture
def asked_of_all(_questioned, tmp_path, monkeypatch) -> Path:
    """A workspace in which all four experts of images ran on the letters, which is the current folder."""
    return _copied(_questioned / "after-4", tmp_path, monkeypatch)
