"""A strategy is one object that is registered: a warm start takes it like any other."""

import numpy as np
import pytest

from expertise_graph import TrainConfig, Workspace
from expertise_graph.models import load
from expertise_graph.training.strategy import Strategy, strategies
from tests import materials


@pytest.fixture
def first_layer():
    """Train the head and the first layer of the backbone only."""
    summary = "fine-tuning of the first layer"
    strategies.register(
        "first-layer", Strategy(summary=summary, moving=lambda module, rank: [next(module.parameters())])
    )
    yield summary
    del strategies._entries["first-layer"]


@pytest.mark.slow
def test_a_registered_strategy_trains_what_it_says(workspace, first_layer, tmp_path):
    data = materials.pictures(tmp_path / "letters", 4, 8, splits=("train", "test"))
    with Workspace(workspace) as opened:
        config = TrainConfig(strategy="first-layer", epochs=4, batch_size=8, lr=1e-2)
        result = opened.warm_start(data, tmp_path / "out", expert="emoji", config=config)
        parent = load(opened.store.find_expert("emoji")).module
        child = load(opened.store.expert(result.child)).module
    assert result.strategy == "first-layer"
    changed = [
        name
        for (name, old), new in zip(parent.named_parameters(), child.parameters(), strict=True)
        if not np.array_equal(old.detach().numpy(), new.detach().numpy())
    ]
    assert changed == [next(iter(dict(parent.named_parameters())))]
    assert first_layer in (tmp_path / "out" / "README.md").read_text()
