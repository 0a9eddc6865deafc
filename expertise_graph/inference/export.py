"""A finished model as a file for other programs, checked against the model before it is there."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from expertise_graph.core import (
    ExpertiseError,
    InvalidInputError,
    Registry,
    SourceError,
    check_output,
    first_line,
    read_json_object,
    setting,
    write_json,
)
from expertise_graph.inference.model import Model
from expertise_graph.inference.tracing import BATCH, TOKENS, Traced, quiet, trace

# Of a logit, relative to the largest one: beyond it a file is not the model. float32 in another order of
# operations gives 1e-6 to 1e-5. A tighter bound would refuse large networks, a looser one let errors pass.
LARGEST_DIFFERENCE = 1e-3


class Format(Protocol):
    """A kind of file: how it is written, and how it is run again."""

    suffix: str
    version: str

    def write(self, traced: Traced, path: Path) -> None:
        """Write the program to `path`."""
        ...

    def run(self, traced: Traced, path: Path) -> list[NDArray[np.float32]]:
        """Return the logits (n, classes) of each batch of `traced`, computed from the file."""
        ...


class TorchFormat:
    """A .pt2 file of torch.export.

    Such a file can run code when it is read: load those that you made yourself.
    """

    suffix = ".pt2"
    version = f"torch {torch.__version__}"

    def write(self, traced: Traced, path: Path) -> None:
        """Write the program."""
        with quiet():
            torch.export.save(traced.program, path)

    def run(self, traced: Traced, path: Path) -> list[NDArray[np.float32]]:
        """Return the logits (n, classes) of each batch, by the file that was just written."""
        with quiet(), torch.inference_mode():
            module = torch.export.load(path).module()
            return [module(*batch).numpy() for batch in traced.batches]


formats: Registry[Format] = Registry("export_format")
formats.register("torch-export", TorchFormat())
# Imported when it is asked for: it needs packages that not everybody has.
formats.point("onnx", "expertise_graph.inference.onnx_file:onnx_format")


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written, and how far its logits are from the model's on real inputs."""

    path: Path
    description: Path
    checked: int
    difference: float
    relative: float


def export_model(model: Model, path: Path, *, kind: str, force: bool = False) -> Exported:
    """Write a model to `path`, and what its inputs and outputs mean to `path` with .json appended.

    Args:
        model: of images or texts.
        path: ends in the suffix of the format.
        kind: onnx or torch-export.
        force: whether a file that is there is replaced.

    Raises:
        NotFoundError: for an unknown kind.
        MissingExtraError: when the packages it needs are not installed.
        InvalidInputError: when `path` cannot be written.
        SourceError: when the network cannot be exported, or the file computes something else; no
            file is left then.
    """
    form = formats[kind]
    _check_path(path, form.suffix, force=force)
    traced = trace(model)
    temporary = path.with_name(f".{uuid.uuid4().hex}{form.suffix}")
    try:
        try:
            form.write(traced, temporary)
            exported = form.run(traced, temporary)
        except ExpertiseError:
            raise
        except Exception as error:  # exporters fail in any way
            raise SourceError(f"{model.folder} cannot be exported as {kind}: {first_line(error)}") from error
        difference, relative = compare(traced.expected, exported)
        if not relative <= LARGEST_DIFFERENCE:
            raise SourceError(
                f"{model.folder} exported as {kind} gives other logits (off by {difference:.2g}, "
                f"{relative:.1e} of the largest); no file was written"
            )
        description = _description(path)
        about = {"format": kind, "made_with": form.version, **describe(model, traced)}
        write_json(description, {**about, "largest_difference": difference})
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    checked = sum(len(batch) for batch in traced.expected)
    return Exported(
        path=path, description=description, checked=checked, difference=difference, relative=relative
    )


def compare(
    expected: Sequence[NDArray[np.float32]], exported: Sequence[NDArray[np.float32]]
) -> tuple[float, float]:
    """Return the largest difference of two lists of logits, and that relative to the largest logit."""
    if [a.shape for a in expected] != [b.shape for b in exported]:
        return float("inf"), float("inf")
    difference = max(float(np.abs(a - b).max()) for a, b in zip(expected, exported, strict=True))
    return difference, difference / max(1e-12, max(float(np.abs(a).max()) for a in expected))


def describe(model: Model, traced: Traced) -> dict[str, Any]:
    """Return what a program needs to know to feed the file and to read its answer."""
    leading = [BATCH] if traced.longest is None else [BATCH, TOKENS]
    sizes = [[*leading, *tensor.shape[len(leading) :]] for tensor in traced.batches[-1]]
    return {
        "modality": model.modality,
        "inputs": [
            {"name": name, "shape": size, "dtype": str(tensor.dtype).removeprefix("torch.")}
            for name, size, tensor in zip(traced.names, sizes, traced.batches[-1], strict=True)
        ],
        "outputs": [{"name": "logits", "shape": [BATCH, len(model.classes)], "dtype": "float32"}],
        "kind": model.kind,
        "classes": list(model.classes),
        "temperature": model.temperature,
        "preprocessing": _text(model, traced) if traced.longest is not None else _image(model, sizes[0]),
    }


def _text(model: Model, traced: Traced) -> dict[str, Any]:
    return {"tokenizer": str(model.folder / "model"), "max_tokens": traced.longest, "padding": "longest"}


def _image(model: Model, size: list[Any]) -> dict[str, Any]:
    """Return side lengths, and the mean and deviation that pixels in [0, 1] are normalised by."""
    folder = model.folder / "model"
    processor, network = folder / "preprocessor_config.json", folder / "network.json"
    content = read_json_object(processor) if processor.is_file() else {}
    spec = read_json_object(network).get("input", {}) if network.is_file() else {}
    return {
        "height": size[-2],
        "width": size[-1],
        "channels": size[-3],
        "mean": content.get("image_mean", spec.get("mean")),
        "std": content.get("image_std", spec.get("std")),
        "configuration": content or spec,
    }


def _check_path(path: Path, suffix: str, *, force: bool) -> None:
    if path.suffix != suffix:
        raise InvalidInputError(f"{path} must end in {suffix}: choose another {setting('out')}")
    for file in (path, _description(path)):
        check_output(file, force=force)


def _description(path: Path) -> Path:
    """Return where it is written what a file of a model takes and gives."""
    return path.with_name(f"{path.name}.json")
