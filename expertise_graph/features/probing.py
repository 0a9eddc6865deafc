"""Running experts on inputs: batched, cached by content, on the device there is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.overrides import TorchFunctionMode

from expertise_graph.core import Expert, ExpertiseError, Progress, SourceError, first_line, silent
from expertise_graph.data import Inputs, Item, known_modalities, plural_of
from expertise_graph.models import Backbone, load
from expertise_graph.store import Arrays, features_key

Batch = dict[str, torch.Tensor]

BATCH_SIZE = 32
# Tokens to a batch: enough to keep the processor busy, and few enough for its cache.
_TOKENS = 2048
# Numbers of the images that a CPU runs at a time: four of 224 pixels. The widest activations of more exceed
# 32 MB, which the allocator takes from the system for each layer anew: measured in benchmarks/throughput.
_NUMBERS = 4 * 3 * 224 * 224
# Texts that are tokenised in one go.
_WINDOW = 2048
_MASK = "attention_mask"
_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def unnoted(expert: Expert, items: int, seconds: float) -> None:
    """Note nothing."""


@dataclass(frozen=True, kw_only=True)
class Prober:
    """Gives features of experts, running each expert on the same inputs only once.

    Attributes:
        arrays: where features are kept.
        trust_code: whether experts built by code of the user may be loaded.
        progress: told about every batch.
        ran: told the expert, the number of items and the seconds when an expert was really run.
    """

    arrays: Arrays
    trust_code: bool = False
    progress: Progress = silent
    ran: Callable[[Expert, int, float], None] = unnoted

    def features(self, expert: Expert, inputs: Inputs) -> NDArray[np.float32]:
        """Return features (n, d) of `inputs`, from the cache or by running the expert.

        Raises:
            SourceError: when the expert cannot be loaded, or gives NaN or infinity.
        """
        key = features_key(expert, inputs.sha256)
        stored = self.arrays.get(key)
        if stored is not None and len(stored) == len(inputs.items):
            return stored
        backbone = load(expert, trust_code=self.trust_code)
        start = time.perf_counter()
        try:
            features = extract(backbone, inputs.items, label=expert.name, progress=self.progress)
        except ExpertiseError:
            raise
        except Exception as error:  # networks of strangers raise anything
            raise SourceError(
                f"{expert.name} cannot be run on {plural_of(inputs.modality)}: {first_line(error)}"
            ) from error
        if not np.isfinite(features).all():
            raise SourceError(f"{expert.name} gives NaN or infinite features; its weights are not usable")
        self.ran(expert, len(inputs.items), time.perf_counter() - start)
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

    Texts are run longest first in batches of as many tokens, so that they hold little padding, and
    memory that is too small shows at once; a batch is then halved. Other items are run `batch_size`
    at a time.
    """
    features = np.zeros((len(items), backbone.dim), dtype=np.float32)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    module = backbone.module.to(device).eval()
    done = 0
    with torch.inference_mode(), FastLinear():
        for places, batch in _batches(backbone, items, batch_size):
            features[places] = _run(module, batch, device)
            done += len(places)
            progress(label, done, len(items))
    return features


def _batches(backbone: Backbone, items: Sequence[Item], size: int) -> Iterator[tuple[list[int], Batch]]:
    """Return batches of all items with their places, long texts first."""
    order = sorted(range(len(items)), key=lambda i: -len(items[i]) if isinstance(items[i], str) else 0)  # type: ignore[arg-type]
    modality = known_modalities[backbone.modality]
    step = size if modality.overlong is None else max(size, _WINDOW)
    for start in range(0, len(order), step):
        window = order[start : start + step]
        decoded = [modality.decode(items[i]) for i in window]
        if step == size:
            yield window, backbone.collate(decoded)
            continue
        tokens = backbone.collate(decoded)
        for rows in _of_like_length(tokens, len(window), size):
            batch = _cut(tokens, rows) if _MASK in tokens else backbone.collate([decoded[i] for i in rows])
            yield [window[i] for i in rows], batch


def _of_like_length(tokens: Batch, count: int, size: int) -> Iterator[list[int]]:
    """Return the rows of each batch: of about `_TOKENS` tokens, or `size` where there is no mask."""
    if _MASK not in tokens:
        yield from (list(range(start, min(start + size, count))) for start in range(0, count, size))
        return
    lengths = tokens[_MASK].sum(1)
    order, start = lengths.argsort(descending=True, stable=True).tolist(), 0
    while start < count:
        rows = order[start : start + max(1, _TOKENS // max(1, int(lengths[order[start]])))]
        yield rows
        start += len(rows)


def _cut(tokens: Batch, rows: list[int]) -> Batch:
    """Return some rows without the padding that all of them have, on whichever side it is."""
    mask = tokens[_MASK][rows]
    used = mask.any(0).nonzero().flatten()
    span = slice(int(used[0]), int(used[-1]) + 1) if len(used) else slice(0, 1)
    shape = tokens[_MASK].shape
    return {name: t[rows][:, span] if t.shape[:2] == shape else t[rows] for name, t in tokens.items()}


def _run(module: torch.nn.Module, batch: Batch, device: torch.device) -> NDArray[np.float32]:
    """Return features (n, d) of a batch, in halves where memory is too small for the whole."""
    count = len(next(iter(batch.values())))
    try:
        moved = {name: tensor.to(device) for name, tensor in batch.items()}
        result: NDArray[np.float32] = forward(module, moved).float().cpu().numpy()
        return result
    except torch.OutOfMemoryError:
        if count == 1:
            raise
    # Not in the handler: the error holds on to what the failed attempt took.
    halves = [slice(0, count // 2), slice(count // 2, count)]
    parts = [{name: tensor[half] for name, tensor in batch.items()} for half in halves]
    return np.concatenate([_run(module, part, device) for part in parts])


def at_once(batch: Batch) -> int:
    """Return how many rows of a batch to compute at a time: all of them, but of images on a CPU a few."""
    count = len(next(iter(batch.values())))
    images = [t for t in batch.values() if t.ndim == 4 and t.device.type == "cpu"]
    return min([count, *(max(1, _NUMBERS // t[0].numel()) for t in images)])


def forward(module: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """Return what a network gives for a batch (n, k), computed as many rows at a time as is fast."""
    count, size = len(next(iter(batch.values()))), at_once(batch)
    if size == count:
        whole: torch.Tensor = module(**batch)
        return whole
    places = (slice(start, start + size) for start in range(0, count, size))
    return torch.cat([module(**{name: t[place] for name, t in batch.items()}) for place in places])


class FastLinear(TorchFunctionMode):
    """Within it linear layers run in oneDNN on a CPU, in single precision as they would elsewhere.

    torch takes the BLAS it was built with, which on some processors is half as fast.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call `func`, or what does the same faster."""
        if func is torch.nn.functional.linear and not kwargs and len(args) == 3 and _fits_onednn(*args):
            return torch.ops.mkldnn._linear_pointwise(*args, "none", [], "")
        return func(*args, **(kwargs or {}))


def _fits_onednn(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> bool:
    return (
        _ONEDNN
        and torch.is_inference_mode_enabled()
        and x.ndim > 1
        and x.numel() > 0
        and all(
            t.device.type == "cpu" and t.dtype == torch.float32 for t in (x, weight, bias) if t is not None
        )
    )
