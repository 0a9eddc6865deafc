"""A small family: three children of one expert, one of another, on real letters."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from expertise_graph.features.context import Context
from expertise_graph.features.probing import Prober
from expertise_graph.training.config import TrainConfig
from expertise_graph.workspace import Workspace
from tests import materials
from tests.once import once

RATES = (1e-3, 3e-3, 6e-3)


@dataclass(frozen=True)
class Family:
    """Where everything is; `runs` are children of emoji, `stranger` is one of hebrew-letters."""

    root: Path
    data: Path
    runs: tuple[Path, ...]
    stranger: Path

    @property
    def workspace(self) -> Path:
        return self.root / "workspace"


@pytest.fixture(scope="session")
def trained_family(tmp_path_factory) -> Family:
    """The family as it was made; not to be written to."""
    root = once(tmp_path_factory, "family", _train_family)
    runs = tuple(root / f"run-{number}" for number in range(len(RATES)))
    return Family(root, root / "letters", runs, root / "stranger")


def _train_family(root: Path) -> None:
    data = materials.pictures(root / "letters", 4, 8, splits=("train", "test"))
    probes = materials.pictures(root / "probes", 12, 4)
    with Workspace.init(root / "workspace") as made:
        made.create_probe_set(probes, name="small", n=32, seed=0, license="CC0-1.0")
        for name in ("emoji", "hebrew-letters", "greek-letters"):
            made.register(f"zoo:{name}")
        for number, lr in enumerate(RATES):
            config = TrainConfig(epochs=2, batch_size=8, lr=lr)
            made.warm_start(data, root / f"run-{number}", expert="emoji", config=config)
        config = TrainConfig(epochs=1, batch_size=8)
        made.warm_start(data, root / "stranger", expert="hebrew-letters", config=config)


@pytest.fixture
def family(trained_family, tmp_path, monkeypatch) -> Family:
    """The family with a workspace of the test's own, which is the current folder."""
    shutil.copytree(trained_family.workspace, tmp_path / "own" / "workspace")
    monkeypatch.chdir(tmp_path / "own" / "workspace")
    return Family(tmp_path / "own", trained_family.data, trained_family.runs, trained_family.stranger)


@pytest.fixture
def context(store):
    return Context(store=store, prober=Prober(arrays=store.features))


@pytest.fixture
def store(family):
    with Workspace(family.workspace) as opened:
        yield opened.store
