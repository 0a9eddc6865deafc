"""Nodes with the fields that a test does not care about filled in."""

from typing import Any

from expertise_graph.core.types import Expert, Task


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


def node(name: str, **changes: Any) -> Expert:
    """Return an expert known by name only."""
    values = {"source": "metadata", "locator": name, "params": 0, "bytes": 0, "dim": 0}
    return expert(f"meta:{name}", name=name, weights_sha="", preprocessing_sha="", **{**values, **changes})


def task(name: str) -> Task:
    """Return a task known by name only."""
    return Task(id=f"task:meta:{name}", name=name, modality="image", classes=(), n=0, locator="")
