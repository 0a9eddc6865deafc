"""Forward passes: in batches of a size that is fast, on the device there is, and how long they take."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.overrides import TorchFunctionMode

from expertise_graph.core import Progress, sha256_of_texts, silent
from expertise_graph.data import Item, known_modalities
from expertise_graph.features.demand import AT_ONCE_NUMBERS
from expertise_graph.features.processor import cores, processor
from expertise_graph.models import Backbone, Batch

# Items to a batch where they are all of one size. More brings no speed on a CPU, and takes more memory.
BATCH_SIZE = 32

# Tokens to a batch: enough to keep the processor busy, and few enough for its cache.
_TOKENS = 2048

# Texts that are tokenised in one go. Of more, batches are of more equal lengths, and take more memory.
_WINDOW = 2048

# Forward passes before the clock counts: the first ones allocate memory and choose kernels.
_WARM_UPS = 2

_MASK = "attention_mask"
_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


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
    device = _device()
    module = backbone.module.to(device).eval()
    done = 0
    with torch.inference_mode(), FastLinear():
        for rows, batch in _batches(backbone, items, batch_size):
            features[rows] = _run(module, batch, device)
            done += len(rows)
            progress(label, done, len(items))
    return features


def try_out(backbone: Backbone) -> None:
    """Run a backbone on inputs as unlike as data may hold; one that cannot take them raises something.

    Raises:
        SourceError: when parts of it do not fit each other.
    """
    backbone.check()
    extract(backbone, known_modalities[backbone.modality].unlike())


def _batches(backbone: Backbone, items: Sequence[Item], size: int) -> Iterator[tuple[list[int], Batch]]:
    """Return batches of all items with their row numbers, long texts first."""
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
    return min([count, *(max(1, AT_ONCE_NUMBERS // t[0].numel()) for t in images)])


def forward(module: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """Return what a network gives for a batch (n, k), computed as many rows at a time as is fast."""
    count, size = len(next(iter(batch.values()))), at_once(batch)
    if size == count:
        whole: torch.Tensor = module(**batch)
        return whole
    parts = (slice(start, start + size) for start in range(0, count, size))
    return torch.cat([module(**{name: t[part] for name, t in batch.items()}) for part in parts])


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


def machine() -> str:
    """Return the hash that stands for this machine: processor, cores, threads in use, torch, device."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    parts = (processor(), str(cores()), str(torch.get_num_threads()), str(torch.__version__), device)
    return sha256_of_texts(parts)[:16]


def setup() -> dict[str, Any]:
    """Return what was set for this process and changes results or time: see `configure`."""
    chosen = torch.cuda.current_device() if torch.cuda.is_initialized() else None
    return {"threads": torch.get_num_threads(), "device": chosen}


def configure(given: Mapping[str, Any]) -> None:
    """Set for this process what another one had, as `setup` gave it."""
    if given.get("threads", torch.get_num_threads()) != torch.get_num_threads():
        torch.set_num_threads(given["threads"])
    if given.get("device") is not None:
        torch.cuda.set_device(given["device"])


def timed(backbone: Backbone, item: Item, repeats: int) -> float:
    """Return the median milliseconds from a decoded item to its features in main memory."""
    device = _device()
    module = backbone.module.to(device).eval()
    taken = []
    with torch.inference_mode():
        for _ in range(_WARM_UPS + repeats):
            start = time.perf_counter()
            batch = {name: tensor.to(device) for name, tensor in backbone.collate([item]).items()}
            module(**batch).float().cpu()
            taken.append(time.perf_counter() - start)
    return 1000 * statistics.median(taken[_WARM_UPS:])


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
