"""The Flower app of the examples runs, and its rounds are ours."""

import dataclasses
import importlib.util
import os
import re
import subprocess
import sys
from functools import partial

import numpy as np
import pytest

from expertise_graph.data.reading import read_data
from expertise_graph.deltas.client import accuracy_of, class_sums, prototype_head, train_locally
from expertise_graph.deltas.federated import federated_round
from expertise_graph.merging.loaded_model import open_expert
from tests import materials
from tests.program import ROOT, environment

INSTALLED = importlib.util.find_spec("flwr") is not None
EXPERT = "zoo:emoji"


def ours(folder, path):
    """Return the accuracy of the class means and after one round, without Flower."""
    data = read_data(str(path))
    labels = np.asarray(data.labels)

    def part(rows):
        items = tuple(data.items[i] for i in rows)
        return dataclasses.replace(data, items=items, labels=labels[rows], splits={})

    train, test = data.splits["train"], part(data.splits["test"])
    places = [part(train[labels[train] % 3 == n]) for n in range(3)]
    expert = open_expert(EXPERT)
    model = prototype_head(expert, data.classes, [class_sums(expert, place) for place in places])
    clients = [partial(train_locally, data=place, epochs=2, seed=1) for place in places]
    after = federated_round(model, clients, folder=folder).model
    return accuracy_of(model, test), accuracy_of(after, test), len(test)


@pytest.mark.skipif(not INSTALLED, reason="needs the extra flower (pip install flwr[simulation])")
def test_a_round_of_flower_is_a_round_of_ours(tmp_path):
    data = materials.pictures(tmp_path / "letters", 12, 6, splits=("train", "test"))
    more = {
        "FEDERATED_DATA": str(data),
        "FEDERATED_EXPERT": EXPERT,
        "FEDERATED_ROUNDS": "1",
        "FLWR_TELEMETRY_ENABLED": "0",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path[1:]]),
    }
    done = subprocess.run(
        [sys.executable, "simulate.py"],
        cwd=ROOT / "examples" / "flower",
        env=environment(tmp_path, more),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = [float(a) for a in re.findall(r"round \d: test accuracy ([\d.]+)", done.stdout)]
    assert len(found) == 2, done.stderr[-2000:]
    before, after, items = ours(tmp_path / "round", data)
    assert found[0] == pytest.approx(before, abs=6e-4)
    # Sums in another order may turn one item.
    assert found[1] == pytest.approx(after, abs=1 / items + 6e-4)
