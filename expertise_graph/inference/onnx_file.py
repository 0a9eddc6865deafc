"""ONNX files (extra `onnx`): written by torch's exporter, read back by onnxruntime."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from expertise_graph.core import InvalidInputError, MissingExtraError, byte_size, setting
from expertise_graph.inference.tracing import Traced, quiet

try:
    import onnxruntime
    import onnxscript
except ImportError as error:
    raise MissingExtraError(
        f"an ONNX file needs onnx, onnxscript and onnxruntime ({error}); run: "
        "pip install 'expertise-graph[onnx]'"
    ) from error

# A protobuf message, which an ONNX file is, holds at most 2 GiB; the graph needs some of it.
LARGEST_BYTES = 1_900_000_000


class OnnxFormat:
    """One self-contained .onnx file."""

    suffix = ".onnx"
    version = f"onnxscript {onnxscript.__version__}, onnxruntime {onnxruntime.__version__}"

    def write(self, traced: Traced, path: Path) -> None:
        """Write the program.

        Raises:
            InvalidInputError: when its weights are more than an ONNX file can hold.
        """
        size = sum(t.nbytes for t in traced.program.state_dict.values())
        if size > LARGEST_BYTES:
            raise InvalidInputError(
                f"the model has {byte_size(size)} of weights and an ONNX file holds 2 GB: set "
                f"{setting('format', 'torch-export')}"
            )
        with quiet(), _unlogged("torch.onnx"):
            made = torch.onnx.export(
                traced.program,
                dynamo=True,
                dynamic_shapes=(traced.dynamic,),
                input_names=list(traced.names),
                output_names=["logits"],
                external_data=False,
                verbose=False,
            )
            if made is None:
                raise InvalidInputError("torch made no ONNX program of the model")
            made.save(path, external_data=False)

    def run(self, traced: Traced, path: Path) -> list[NDArray[np.float32]]:
        """Return the logits (n, classes) that onnxruntime gives for each batch."""
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return [
            session.run(["logits"], {n: t.numpy() for n, t in zip(traced.names, batch, strict=True)})[0]
            for batch in traced.batches
        ]


@contextmanager
def _unlogged(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


onnx_format = OnnxFormat()
