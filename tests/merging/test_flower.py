"""The Flower app of the examples runs, and its server's average is ours."""

import importlib.util
import os
import re
import subprocess
import sys

import pytest

from tests import materials
from tests.program import ROOT, environment

INSTALLED = importlib.util.find_spec("flwr") is not None


@pytest.mark.skipif(not INSTALLED, reason="needs the extra flower (pip install flwr[simulation])")
def test_three_clients_learn_together_with_flower(tmp_path):
    data = materials.pictures(tmp_path / "letters", 6, 6, splits=("train", "test"))
    more = {"FEDERATED_DATA": str(data), "FEDERATED_ROUNDS": "2", "FLWR_TELEMETRY_ENABLED": "0"}
    done = subprocess.run(
        [sys.executable, "simulate.py"],
        cwd=ROOT / "examples" / "flower",
        env=environment(tmp_path, {**more, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path[1:]])}),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = re.findall(r"round (\d): test accuracy ([\d.]+)", done.stdout)
    assert [number for number, _ in found] == ["0", "1", "2"], done.stderr[-2000:]
    accuracies = [float(a) for _, a in found]
    assert max(accuracies[1:]) > max(accuracies[0], 1 / 3)
