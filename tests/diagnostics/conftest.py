from __future__ import annotations

import pytest

from expertise_graph.data.reading import read_data
from expertise_graph.workspace import Workspace
from tests.materials import GLOSSES, LETTERS


@pytest.fixture(scope="session")
def armenian():
    """All Armenian letters, without declared splits."""
    return read_data(LETTERS)


@pytest.fixture(scope="session")
def latin_features(armenian, registered):
    """Features (660, 128) of the Armenian letters by the expert for Latin ones."""
    with Workspace(registered) as workspace:
        expert = workspace.store.find_runnable("latin-letters")
        return workspace._prober(False).features(expert, inputs_of(armenian))


@pytest.fixture(scope="session")
def glosses():
    """All glosses, with their train and test split."""
    return read_data(GLOSSES)


def inputs_of(data):
    from expertise_graph.data.dataset import Inputs

    return Inputs(items=data.items, modality=data.modality, sha256=f"{data.sha256} all")
