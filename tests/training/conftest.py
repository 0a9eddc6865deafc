from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import ResNetModel

from expertise_graph.training.config import TrainConfig
from expertise_graph.training.trainer import train
from tests.once import once
from tests.training.material import LATIN, backbone, letters


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def latin_weights(tmp_path_factory, _one_thread):
    """A network that learned Latin letters with the loop under test."""

    def learn(out: Path) -> None:
        config = TrainConfig(epochs=7, batch_size=16, strategy="from-scratch")
        assert train(backbone(), letters(LATIN, 18), out=out, config=config).accuracy > 0.6

    return ResNetModel.from_pretrained(once(tmp_path_factory, "latin", learn) / "model").state_dict()


@pytest.fixture
def latin(latin_weights):
    """An expert in memory that knows Latin letters."""
    loaded = backbone()
    loaded.module.net.load_state_dict(latin_weights)
    return loaded
