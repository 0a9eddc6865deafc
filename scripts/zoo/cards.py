"""Model cards in the layout of the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from zoo.recipes import Recipe

CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: {kind}-classification
tags:
- {kind}-classification
- expertise-graph
- specialist
datasets:
- {dataset}
model-index:
- name: {name}
  results:
  - task:
      type: {kind}-classification
    dataset:
      name: {dataset} (held-out groups)
      type: {dataset}
    metrics:
    - type: accuracy
      value: {accuracy:.4f}
---
# {title}

Data: {data}; {train} inputs to learn from, {test} held out, {classes} classes.
Licence: the weights are under Apache-2.0; the data stay under the licences named above and are not included.
Training: from scratch by `scripts/build_specialists --only {name}`, {epochs} epochs of AdamW under a one-cycle
schedule, seed 0{augmentation}.
Accuracy on what was held out: {accuracy:.3f}, measured on the half-precision weights as shipped, with the
classification head that was trained along and is not included.
Limits: {limits} It is meant as a start for fine-tuning, not as a finished classifier.
"""  # noqa: E501


def card(name: str, recipe: Recipe, accuracy: float, train: NDArray[np.bool_], classes: Sequence[str]) -> str:
    """Return the page that goes with a specialist."""
    augmentation = ", images shifted, scaled and sheared" + (" and mirrored" if recipe.flip else "")
    pooling = ", features being the mean over tokens (the pooler of the architecture is not trained)"
    return CARD.format(
        name=name, kind=recipe.modality, dataset=recipe.dataset, title=recipe.title, data=recipe.data,
        accuracy=accuracy, train=int(train.sum()), test=int((~train).sum()), classes=len(classes),
        epochs=recipe.epochs, limits=recipe.limits,
        augmentation=augmentation if recipe.modality == "image" else pooling,
    )  # fmt: skip
