"""Tasks of the benchmark zoo as datasets that can be queried with and trained on."""

from __future__ import annotations

import hashlib
import io

import numpy as np
from PIL import Image

from expertise_graph.data.dataset import Item, LabelledData
from zoo.bench_tasks import Task


def labelled(task: Task) -> LabelledData:
    """Return a task with its splits declared; images as PNG."""
    items = tuple(_png(item) if task.modality == "image" else str(item) for item in task.items)
    content = hashlib.sha256()
    for item, label in zip(items, task.labels, strict=True):
        content.update(item if isinstance(item, bytes) else str(item).encode())
        content.update(str(int(label)).encode())
    return LabelledData(
        name=task.name,
        modality=task.modality,
        locator=task.name,
        items=items,
        labels=task.labels,
        classes=tuple(f"class {i}" for i in range(task.classes)),
        sha256=content.hexdigest(),
        splits=dict(task.rows),
    )


def _png(pixels: np.ndarray) -> Item:
    buffer = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0)).save(buffer, format="PNG")
    return buffer.getvalue()
