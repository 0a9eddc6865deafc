"""Running experts on inputs: batched, cached by content, on the device there is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from expertise_graph.data.base import Inputs, Item
from expertise_graph.data.modalities import modalities
from expertise_graph.errors import ExpertiseError, SourceError
from expertise_graph.sources import Backbone, load
from expertise_graph.store import Arrays, features_key
from expertise_graph.types import Expert

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

BATCH_SIZE = 32


def silent(label: str, done: int, total: int) -> None:
    """Show nothing."""


@dataclass(frozen=True, kw_only=True)
class Prober:
    """Gives features of experts, running each expert on the same inputs only once.

    Attributes:
        arrays: where features are kept.
        trust_code: whether experts built by code of the user may be loaded.
        progress: told about every batch.
    """

    arrays: Arrays
    trust_code: bool = False
    progress: Progress = silent

    def features(self, expert: Expert, inputs: Inputs) -> NDArray[np.float32]:
        """Return features (n, d) of `inputs`, from the cache or by running the expert.

        Raises:
            SourceError: when the expert cannot be loaded, or gives NaN or infinity.
        """
        key = features_key(expert.weights_sha, inputs.sha256, expert.preprocessing_sha)
        stored = self.arrays.get(key)
        if stored is not None and len(stored) == len(inputs.items):
            return stored
        backbone = load(expert, trust_code=self.trust_code)
        try:
            features = extract(backbone, inputs.items, label=expert.name, progress=self.progress)
        except ExpertiseError:
            raise
        except Exception as error:  # networks of strangers raise anything
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise SourceError(f"{expert.name} cannot be run on {inputs.modality}s: {reason}") from error
        if not np.isfinite(features).all():
            raise SourceError(f"{expert.name} gives NaN or infinite features; its weights are not usable")
        self.arrays.put(key, features)
        return features


def extract(
    backbone: Backbone,
    items: Sequence[Item],
    *,
    batch_size: int = BATCH_SIZE,
    label: str = "",
    progress: Progress = silent,
) -> NDArray[np.float32]:
    """Return features (n, d) float32 of undecoded items, in their order.

    Texts are run longest first so that a batch holds little padding, and memory that is too small
    shows at once; the batch is then halved.
    """
    order = sorted(range(len(items)), key=lambda i: -len(items[i]) if isinstance(items[i], str) else 0)  # type: ignore[arg-type]
    features = np.zeros((len(items), backbone.dim), dtype=np.float32)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    module = backbone.module.to(device).eval()
    decode = modalities[backbone.modality].decode
    done = 0
    while done < len(order):
        chunk = order[done : done + batch_size]
        try:
            features[chunk] = _run(module, backbone.collate([decode(items[i]) for i in chunk]), device)
        except torch.OutOfMemoryError:
            if batch_size == 1:
                raise
            batch_size //= 2
            continue
        done += len(chunk)
        progress(label, done, len(order))
    return features


def _run(module: torch.nn.Module, batch: dict[str, Any], device: torch.device) -> NDArray[np.float32]:
    with torch.inference_mode():
        moved = {name: tensor.to(device) for name, tensor in batch.items()}
        result: NDArray[np.float32] = module(**moved).float().cpu().numpy()
    return result
