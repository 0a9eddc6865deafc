"""Kill a training again and again at random moments, then let it end; run by test_kill.py.

Children are forked from one process that has loaded the libraries, so that a kill costs
milliseconds. Prints how many kills hit a running training.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from expertise_graph.training.config import TrainConfig
from expertise_graph.training.trainer import train
from tests.training.material import CYRILLIC, backbone, letters

CONFIG = TrainConfig(epochs=6, batch_size=8)


def fork(out: Path) -> int:
    """Start the training in a child process and return its id."""
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        train(backbone(3), letters(CYRILLIC[:4], 8), out=out, config=CONFIG)
        os._exit(0)
    return child


def ended(child: int, *, wait: bool) -> bool:
    """Tell whether the child has ended by itself; raise when it failed."""
    found, status = os.waitpid(child, 0 if wait else os.WNOHANG)
    if found and status != 0:
        raise SystemExit(f"the training failed with status {status}")
    return found != 0


def main(folder: Path, kills: int, seed: int) -> None:
    ended(fork(folder / "whole"), wait=True)
    chance, hits = random.Random(seed), 0
    for _ in range(kills):
        child = fork(folder / "killed")
        time.sleep(chance.uniform(0.05, 0.5))
        if ended(child, wait=False):
            break
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        hits += 1
    ended(fork(folder / "killed"), wait=True)
    print(hits)  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
