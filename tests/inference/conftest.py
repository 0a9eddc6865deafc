from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from expertise_graph.data.dataset import LabelledData
from expertise_graph.data.reading import read_data
from expertise_graph.models.base import SourceOptions
from expertise_graph.models.loading import load, resolve
from expertise_graph.training.config import TrainConfig
from expertise_graph.training.trainer import train
from tests import materials


def finished(expert: str, data: LabelledData, out: Path) -> Path:
    """Train from a shipped expert, as briefly as the loop allows; the temperature is left to the tests."""
    node = resolve(f"zoo:{expert}", SourceOptions())
    config = TrainConfig(epochs=1, batch_size=8, seed=3)
    train(load(node), data, out=out, config=config, expert=node)
    materials.change_json(out / "head.json", temperature=1.0)
    return out


@pytest.fixture(scope="session")
def letters(tmp_path_factory) -> Path:
    """Pictures of five letters, ten of each."""
    return materials.pictures(tmp_path_factory.mktemp("data") / "letters", 5, 10)


@pytest.fixture(scope="session")
def glosses(tmp_path_factory) -> Path:
    """A table of texts of four fields, ten of each."""
    return materials.glosses(tmp_path_factory.mktemp("data") / "glosses.csv", 10)


@pytest.fixture(scope="session")
def image_run(letters, tmp_path_factory) -> Path:
    """A finished run on the letters; not to be written to."""
    return finished("hebrew-letters", read_data(letters), tmp_path_factory.mktemp("runs") / "letters")


@pytest.fixture(scope="session")
def text_run(glosses, tmp_path_factory) -> Path:
    """A finished run on the glosses; not to be written to."""
    return finished("languages", read_data(glosses), tmp_path_factory.mktemp("runs") / "glosses")


@pytest.fixture
def run(image_run, tmp_path) -> Path:
    """A copy of the run on the letters."""
    return Path(shutil.copytree(image_run, tmp_path / "run"))
