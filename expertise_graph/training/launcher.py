"""Training by several processes, on one machine or many, started by ``accelerate launch``.

Each process runs ``python -m expertise_graph.training.launcher JOB.json``.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from expertise_graph.core import (
    InvalidInputError,
    SourceError,
    read_json_object,
    write_json,
)
from expertise_graph.data import LabelledData, read_data
from expertise_graph.models import download_dataset, load
from expertise_graph.training.spec import RunSpec, train_by_spec


def launch(spec: RunSpec, data: LabelledData, *, seen: int, trust_code: bool) -> None:
    """Train by ``accelerate launch`` with the arguments in ``spec.launcher``; return when all are done.

    Args:
        spec: what is trained.
        data: the dataset, which each process reads again.
        seen: items of the test split that the expert was trained on before.
        trust_code: whether code that comes with an expert may be run.

    Raises:
        SourceError: when a process failed, with its error.
    """
    job = {
        "spec": spec.as_dict(),
        "data": {"locator": data.locator, "sha256": data.sha256},
        "seen": seen,
        "trust_code": trust_code,
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job.json"
        write_json(path, job)
        words, environment = _command(spec.launcher or ())
        process = subprocess.Popen(
            [sys.executable, "-m", *words, "-m", "expertise_graph.training.launcher", str(path)],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        try:
            _, errors = process.communicate()
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if process.returncode:
        raise SourceError(f"accelerate launch ended with code {process.returncode}: {_reason(errors)}")


def _command(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return the module and arguments that start the processes, and their environment variables.

    On CPUs accelerate needs MPI to start several; without it torch's own launcher does, as it does on
    GPUs for accelerate.
    """
    if "--cpu" not in arguments or "--mpirun_hostfile" in arguments:
        return ["accelerate.commands.launch", *arguments], {}
    following = (
        list(arguments[arguments.index("--num_processes") + 1 :]) if "--num_processes" in arguments else []
    )
    if not "".join(following[:1]).isdigit():
        raise InvalidInputError("training on CPUs needs a number of processes: add --num_processes 2")
    words = ["torch.distributed.run", "--standalone", "--nproc_per_node", following[0]]
    return words, {"ACCELERATE_USE_CPU": "true", "ACCELERATE_MIXED_PRECISION": "no"}


def run_job(path: Path) -> None:
    """Take part in the training described in a file.

    Raises:
        InvalidInputError: when the data changed since it was written.
    """
    job = read_json_object(path)
    spec, recorded, trust_code = RunSpec.from_dict(job["spec"]), job["data"], job["trust_code"]
    backbone = load(spec.expert, trust_code=trust_code)
    data = read_data(recorded["locator"], columns=spec.columns, download=download_dataset)
    if data.sha256 != recorded["sha256"]:
        raise InvalidInputError(f"{data.locator} changed while training began: start it again")
    train_by_spec(backbone, data, spec, trust_code=trust_code, seen=job["seen"])


def _reason(errors: str) -> str:
    """Return the most telling line of the output: an error of this package, else any error, else the last."""
    lines = [re.sub(r"^\[rank\d+\]:", "", line).strip() for line in errors.splitlines()]
    ours = [line.split(": ", 1)[-1] for line in lines if line.startswith("expertise_graph.core.errors.")]
    others = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
    last = [line for line in reversed(lines) if line]
    return next(iter([*ours, *others, *last]), "no error message")[:500]


if __name__ == "__main__":
    run_job(Path(sys.argv[1]))
