from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_as_the_uninterrupted_one(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    drill = subprocess.run(
        [sys.executable, "-m", "tests.training.drill", str(tmp_path), "8", "1"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert drill.returncode == 0, drill.stderr
    assert int(drill.stdout) >= 1
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for name in ("model/model.safetensors", "head.safetensors"):
        expected, found = load_file(whole / name), load_file(killed / name)
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[key], found[key]) for key in expected)
    results = [json.loads((folder / "run.json").read_text())["result"] for folder in (whole, killed)]
    for result in results:
        del result["seconds"], result["peak_memory"]
        result["history"] = [{k: v for k, v in row.items() if k != "seconds"} for row in result["history"]]
    assert results[0] == results[1]
    assert not list(killed.rglob("checkpoint*"))
