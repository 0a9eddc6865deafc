"""Training by several processes, on one machine or many, started by ``accelerate launch``."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from expertise_graph.core import Expert, InvalidInputError, SourceError
from expertise_graph.data import Columns, LabelledData, read_data
from expertise_graph.models import download_dataset, load
from expertise_graph.training.config import TrainConfig
from expertise_graph.training.start import Start, warm_start

LAUNCHERS = ("accelerate",)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job(Start):
    """All that a process has to know to take part in a warm start."""

    locator: str
    columns: Columns
    sha256: str
    out: str

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**dataclasses.asdict(self), "config": self.config.as_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Job:
        """Return the job that `as_dict` gave."""
        parts = {
            "expert": Expert.from_dict(values["expert"]),
            "architecture": Expert.from_dict(values["architecture"]) if values["architecture"] else None,
            "columns": Columns(**values["columns"]),
            "config": TrainConfig(**values["config"]),
        }
        return cls(**{**values, **parts})

    def read(self) -> LabelledData:
        """Return the data, which must be those that the job was made for.

        Raises:
            InvalidInputError: when they changed.
        """
        data = read_data(self.locator, columns=self.columns, download=download_dataset)
        if data.sha256 != self.sha256:
            raise InvalidInputError(f"{self.locator} changed while training began: start it again")
        return data


def launch(job: Job, arguments: Sequence[str]) -> None:
    """Run a job by ``accelerate launch``, given its arguments; return when all processes are done.

    Raises:
        SourceError: when a process failed, with the last line that it wrote.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job.json"
        path.write_text(json.dumps(job.as_dict()), encoding="utf-8")
        words, environment = _launcher(arguments)
        process = subprocess.Popen(
            [sys.executable, "-m", *words, "-m", "expertise_graph.training.worker", str(path)],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        try:
            _, said = process.communicate()
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if process.returncode:
        raise SourceError(f"accelerate launch ended with code {process.returncode}: {_reason(said)}")


def _launcher(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return the module and arguments that start the processes, and what their environment adds.

    On CPUs accelerate needs MPI to start several; without it torch's own launcher does, as it does on
    GPUs for accelerate.
    """
    if "--cpu" not in arguments or "--mpirun_hostfile" in arguments:
        return ["accelerate.commands.launch", *arguments], {}
    place = list(arguments).index("--num_processes") if "--num_processes" in arguments else None
    if place is None or not "".join(arguments[place + 1 : place + 2]).isdigit():
        raise InvalidInputError("training on CPUs needs a number of processes: add --num_processes 2")
    words = ["torch.distributed.run", "--standalone", "--nproc_per_node", arguments[place + 1]]
    return words, {"ACCELERATE_USE_CPU": "true", "ACCELERATE_MIXED_PRECISION": "no"}


def work(path: Path) -> None:
    """Take part in the job described in a file."""
    job = Job.from_dict(json.loads(path.read_text(encoding="utf-8")))
    backbone = load(job.expert, trust_code=job.trust_code)
    warm_start(backbone, job.read(), job, out=Path(job.out))


def _reason(said: str) -> str:
    """Return the line that tells most of what went wrong: an error of ours, else any, else the end."""
    lines = [re.sub(r"^\[rank\d+\]:", "", line).strip() for line in said.splitlines()]
    ours = [line.split(": ", 1)[-1] for line in lines if line.startswith("expertise_graph.core.errors.")]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
    return next(iter([*ours, *errors, *reversed([line for line in lines if line])]), "it said nothing")[:500]
