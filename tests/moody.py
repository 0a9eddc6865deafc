"""Networks of a user's own that raise what a test asks for, while they run or only while they are trained."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from tests.program import invoke

CODE = """
import json
from pathlib import Path

from torch import nn

HERE = Path(__file__).parent


class Panic(BaseException):
    pass


class Moody(nn.Module):
    def __init__(self, name):
        super().__init__()
        self.name = name
        self.body = nn.Sequential(nn.Conv2d(1, 6, 3, stride=2), nn.ReLU(), nn.Conv2d(6, 12, 3, stride=2))

    def forward(self, x):
        with (HERE / "calls.txt").open("a") as calls:
            calls.write(self.name + chr(10))
        moods = json.loads((HERE / "moods.json").read_text())
        kind, when = moods.get(self.name, (None, None))
        if kind and (when == "always" or self.training):
            raise KINDS[kind]("it is the wrong day" + chr(10) + "details")
        return self.body(x)


KINDS = {"KeyError": KeyError, "RuntimeError": RuntimeError, "Panic": Panic, "MemoryError": MemoryError}


def a():
    return Moody("a")


def b():
    return Moody("b")


def c():
    return Moody("c")
"""


def register(folder: Path, *names: str, module: str = "", more: str = "") -> str:
    """Register random networks called a, b or c, and `more`, in the workspace at `folder`, the current one.

    Returns:
        The name of their module, to register the same ones again.
    """
    module = module or f"moody_{uuid.uuid4().hex[:8]}"
    (folder / f"{module}.py").write_text(CODE)
    moods(folder)
    declared = ("--input-size", 16, "--channels", 1, "--mean", "0.5", "--std", "0.25", "--trust-code")
    for name in names:
        with torch.random.fork_rng():
            torch.manual_seed(ord(name))
            body = nn.Sequential(nn.Conv2d(1, 6, 3, stride=2), nn.ReLU(), nn.Conv2d(6, 12, 3, stride=2))
        weights = folder / f"{name}.safetensors"
        save_file({f"body.{n}": t for n, t in body.state_dict().items()}, weights)
        given = ("--weights", weights, "--name", f"{name}{more}")
        invoke("register", f"factory:{module}:{name}", *given, *declared).worked()
    return module


def moods(folder: Path, **raised: tuple[str, str]) -> None:
    """Say what each network raises from now on, and whether always or in training only."""
    (folder / "moods.json").write_text(json.dumps(raised))
    (folder / "calls.txt").write_text("")


def calls(folder: Path) -> list[str]:
    """Return which networks ran since the moods were set, each once."""
    return sorted(set((folder / "calls.txt").read_text().split()))
