"""Nodes with the fields that a test does not care about filled in."""

from typing import Any

from expertise_graph.types import Expert


def expert(expert_id: str, **changes: Any) -> Expert:
    values: dict[str, Any] = {
        "id": expert_id,
        "name": expert_id.rpartition(":")[2],
        "source": "dir",
        "locator": "/x",
        "modality": "image",
        "architecture": "resnet",
        "params": 10,
        "bytes": 40,
        "dim": 8,
        "weights_sha": "a" * 64,
        "preprocessing_sha": "b" * 64,
    }
    return Expert(**{**values, **changes})
