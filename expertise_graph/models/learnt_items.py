"""The items that a model has learnt from, kept in its folder: it is not to be measured on them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from expertise_graph.core import BoolArray, Expert, SourceError, item_keys
from expertise_graph.models.run_folder import RunFolder
from expertise_graph.models.tensors import read_tensors, write_tensors

_NONE = np.zeros(0, dtype=np.uint64)


@dataclass(frozen=True, kw_only=True, eq=False)
class LearntItems:
    """Items by the first 64 bits of the hash of their content: 8 bytes each, from which no item can be made.

    Attributes:
        keys: (m,) uint64, sorted, each once: items to train on and to validate with, of all trainings.
        complete: whether that is all; false where a training of an earlier version, or of somebody who
            sent a delta, kept no record.
    """

    keys: NDArray[np.uint64] = dataclasses.field(default_factory=_NONE.copy)
    complete: bool = True

    @classmethod
    def of(cls, digests: Sequence[str]) -> LearntItems:
        """Return the items with these hashes (hexadecimal)."""
        return cls(keys=np.unique(item_keys(digests)))

    def among(self, digests: Sequence[str]) -> BoolArray:
        """Return which of the n items with these hashes are among them: (n,) bool."""
        return np.isin(item_keys(digests), self.keys)

    def and_also(self, *others: LearntItems) -> LearntItems:
        """Return the items of all together."""
        every = (self, *others)
        return LearntItems(
            keys=np.unique(np.concatenate([one.keys for one in every])),
            complete=all(one.complete for one in every),
        )


def write_learnt_items(folder: RunFolder, items: LearntItems) -> None:
    """Write what a model has learnt from beside it."""
    # As signed numbers: not every version of torch computes with unsigned ones.
    keys = torch.from_numpy(items.keys.view(np.int64).copy())
    write_tensors(folder.learnt, {"items": keys, "complete": torch.tensor([items.complete])})


def read_learnt_items(folder: RunFolder) -> LearntItems:
    """Return what the model in a folder has learnt from; of older folders nothing is known.

    Raises:
        SourceError: when the file is damaged.
    """
    if not folder.learnt.is_file():
        return LearntItems(complete=False)
    _, tensors = read_tensors([folder.learnt])
    keys, complete = tensors.get("items"), tensors.get("complete")
    if keys is None or complete is None or keys.dtype != torch.int64 or keys.ndim != 1 or not len(complete):
        raise SourceError(f"{folder.learnt} does not say which items the model has learnt from")
    return LearntItems(keys=np.unique(keys.numpy().view(np.uint64)), complete=bool(complete[0]))


def learnt_by(expert: Expert) -> LearntItems:
    """Return what an expert has learnt from as far as the folder of the run that left it says.

    What a published network was pretrained on is not recorded by item, so of such experts it is nothing.

    Raises:
        SourceError: when the file is damaged.
    """
    model = Path(expert.locator)
    folder = RunFolder(model.parent)
    left_by_run = expert.source in ("dir", "adapter") and folder.model == model and folder.is_run
    return read_learnt_items(folder) if left_by_run else LearntItems()
