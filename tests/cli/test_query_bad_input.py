"""Odd data and odd histories: a query answers in finite numbers, or refuses in one line."""

import math

import numpy as np
import pytest

from tests.conftest import IMAGE_EXPERTS
from tests.data.files import text_csv
from tests.program import invoke

HEADER = "expert,task,metric,value\n"


def answered(*arguments):
    """Return the candidates of an answer that holds nothing but finite fractions in their order."""
    answer = invoke("query", *arguments, "--json").worked().json
    for c in answer["candidates"]:
        assert 0 <= c["low"] <= c["predicted"] <= c["high"] <= 1
        assert math.isfinite(c["p_best"])
    assert sum(c["p_best"] for c in answer["candidates"]) == pytest.approx(1.0)
    if answer["unit"] == "accuracy":
        predicted = [c["predicted"] for c in answer["candidates"]]
        assert predicted == sorted(predicted, reverse=True)
    return answer


def arrays(path, images, labels):
    np.savez(path, images=images.astype(np.uint8), labels=labels)
    return path


def noise(n, size=16):
    return np.random.default_rng(0).integers(0, 255, (n, size, size))


DATA = {
    "constant images": (np.zeros((40, 16, 16)), np.arange(40) % 4),
    "noise": (noise(40), np.arange(40) % 4),
    "a hundred classes of two": (noise(200, 8), np.arange(200) % 100),
    "two items a class": (noise(6), np.arange(6) % 3),
    "four items": (noise(4), np.arange(4) % 2),
    "a class of one item": (noise(41), np.append(np.arange(40) % 3, 7)),
    "black and white": (
        np.repeat([0, 255], 20)[:, None, None] * np.ones((40, 16, 16)),
        np.repeat([0, 1], 20),
    ),
}


@pytest.mark.parametrize("name", DATA)
def test_odd_images_are_answered(workspace, tmp_path, name):
    answer = answered(arrays(tmp_path / "d.npz", *DATA[name]), "--budget", 3)
    assert len(answer["candidates"]) == len(IMAGE_EXPERTS)
    best = answer["candidates"][0]["predicted"]
    if name == "black and white":
        assert best > 0.9
    elif name != "a class of one item":
        # Nothing can be told of these labels.
        assert best < 0.6


def test_texts_that_are_all_alike_are_answered(workspace, tmp_path):
    answer = answered(
        text_csv(tmp_path / "d.csv", [("the same", "ab"[i % 2]) for i in range(30)]), "--budget", 2
    )
    assert all(c["predicted"] < 0.6 for c in answer["candidates"])


@pytest.mark.parametrize(
    ("images", "labels", "parts"),
    [
        (noise(40), np.zeros(40, int), ("one class",)),
        (noise(40), np.full(40, 0.5), ("all 40 values are 0.5",)),
        (noise(2), np.arange(2), ("2 usable items",)),
    ],
)
def test_labels_that_cannot_be_learned_from_are_refused(workspace, tmp_path, images, labels, parts):
    invoke("query", arrays(tmp_path / "d.npz", images, labels), "--budget", 3).failed(*parts)


def rows(value, tasks=3, metric="accuracy"):
    cells = [(n, t, value(i, t)) for t in range(tasks) for i, n in enumerate(IMAGE_EXPERTS)]
    return HEADER + "".join(f"{n},t{t},{metric},{v}\n" for n, t, v in cells)


HISTORIES = {
    "one result": HEADER + "emoji,a,accuracy,0.9\n",
    "one task": rows(lambda i, t: 0.2 * i, tasks=1),
    "all equal": rows(lambda i, t: 0.5),
    "all or nothing": rows(lambda i, t: i % 2),
    "nobody on the same task": HEADER + "".join(f"{n},t{n},accuracy,0.5\n" for n in IMAGE_EXPERTS),
    "others only": HEADER + "".join(f"org/{i},t{t},accuracy,0.{i + 1}\n" for t in range(5) for i in range(5)),
    "large and small": rows(lambda i, t: [1, 1e30, -1e30, 1e-30][i], metric="reward"),
    "many tasks": rows(lambda i, t: 0.2 * i + 0.01, tasks=60),
}


@pytest.mark.parametrize("budget", [0, 2])
@pytest.mark.parametrize("name", HISTORIES)
def test_odd_histories_are_answered(workspace, tmp_path, name, budget):
    invoke("history", "import", "-", "--modality", "image", stdin=HISTORIES[name]).worked()
    data = arrays(tmp_path / "d.npz", noise(40), np.arange(40) % 4)
    answer = answered(data, "--budget", budget, "--top", 50)
    assert {c["name"] for c in answer["candidates"]} >= set(IMAGE_EXPERTS)
    assert answer["experts_run"] <= budget


def test_scores_and_covariates_of_any_size_are_taken_in_stride(workspace, tmp_path):
    scores = "expert,task,estimator,value\nemoji,a,LogME,1e30\nclipart,a,LogME,-1e30\nemoji,b,LogME,1\n"
    invoke("scores", "import", "-", "--modality", "image", stdin=scores).worked()
    covariates = "expert,x,params\nemoji,1e30,nan\nclipart,-1e30,-5\nlatin-letters,0,0\n"
    invoke("meta", "import", "-", "--modality", "image", stdin=covariates).worked()
    data = arrays(tmp_path / "d.npz", noise(40), np.arange(40) % 4)
    invoke("query", data, "--budget", 0).failed("no expert has a result")
    assert answered(data, "--budget", 2)["experts_run"] == 2


@pytest.mark.parametrize("value", ["inf", "1e300", "-1e31", "much"])
def test_numbers_that_are_none_are_refused(workspace, value):
    table = HEADER + f"emoji,a,reward,{value}\n"
    invoke("history", "import", "-", stdin=table).failed("line 2", f"'{value}' is not a finite number")
