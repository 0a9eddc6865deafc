"""Experts and tasks as values, for tests that need no weights."""

from expertise_graph.core.types import Expert, Task


def expert(label, *, params=1_000_000, **changes):
    fields = {
        "id": f"dir:{label}",
        "name": label,
        "source": "dir",
        "locator": f"zoo/{label}",
        "modality": "image",
        "architecture": "resnet",
        "params": params,
        "bytes": 4 * params,
        "dim": 64,
        "weights_sha": f"sha of {label}",
        "preprocessing_sha": "plain",
    }
    return Expert(**(fields | changes))


def task(label, **changes):
    fields = {
        "id": f"task:{label}",
        "name": label,
        "modality": "image",
        "classes": ("a", "b"),
        "n": 20,
        "locator": label,
    }
    return Task(**(fields | changes))
