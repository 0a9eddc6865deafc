"""What the shipped fine-tunes let expect: levels, sizes and spread of planted ones, and the real table."""

import csv

import numpy as np
import pytest

from expertise_graph.retrieval import gains
from expertise_graph.retrieval.gains import usual_gain
from expertise_graph.retrieval.scale import accuracy_of
from expertise_graph.starter import fine_tunes

COLUMNS = [
    "modality",
    "strategy",
    "task",
    "expert",
    "classes",
    "trained",
    "probed",
    "probe",
    "tested",
    "accuracy",
]
# Where items tell exactly, what lies between a fine-tune and its probe is no luck.
MANY = 10**7


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Return a function that puts other fine-tunes in the place of the shipped ones."""

    def put(rows):
        path = tmp_path / "fine-tunes.csv"
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerows([COLUMNS, *rows])
        monkeypatch.setattr(gains, "fine_tunes", lambda: path)
        gains._fits.cache_clear()

    yield put
    gains._fits.cache_clear()


def planted(level, by_items=0.0, *, tasks=60, between=0.3, within=0.2, items=MANY):
    """Return fine-tunes of ten experts on tasks of 5 to 80 items a class, of one modality."""
    rng = np.random.default_rng(0)
    for task in range(tasks):
        size = 5 * 2 ** (task % 5)
        common = level + by_items * np.log2(size / 10) + between * rng.normal()
        for expert in range(10):
            probe = rng.normal()
            accuracy = accuracy_of(probe + common + within * rng.normal())
            of = ("image", "lp-ft", f"t{task}", f"e{expert}", 4, 4 * size)
            yield (*of, items, accuracy_of(probe), items, accuracy)


def test_level_and_spread_of_planted_gains_are_recovered(table):
    table(planted(0.4))
    found = usual_gain("image", classes=4, trained=40, probed=MANY)
    assert found.mean == pytest.approx(0.4, abs=0.12)
    assert found.deviation == pytest.approx(np.hypot(0.3, 0.2), rel=0.15)
    assert (found.runs, found.shipped) == (0, 600)


def test_larger_tasks_gain_more_where_they_did(table):
    table(planted(0.0, 0.3))
    small, large = (usual_gain("image", classes=4, trained=n, probed=MANY).mean for n in (20, 320))
    assert large - small == pytest.approx(4 * 0.3, abs=0.3)


def test_a_size_that_was_never_measured_counts_as_the_nearest(table):
    table(planted(0.0, 0.3))
    largest, beyond = (usual_gain("image", classes=4, trained=n, probed=MANY) for n in (320, 32_000))
    assert beyond == largest


def test_luck_with_the_items_is_no_difference_between_fine_tunes(table):
    rng = np.random.default_rng(1)
    rows = [list(row) for row in planted(0.0, between=0.0, within=0.0, items=50)]
    for row in rows:
        row[7], row[9] = (rng.binomial(50, row[i]) / 50 for i in (7, 9))
    table(rows)
    assert usual_gain("image", classes=4, trained=40, probed=50).deviation < 0.15


def test_nothing_is_said_of_other_modalities_or_of_no_items(table):
    table(planted(0.4))
    assert usual_gain("audio", classes=4, trained=40, probed=40) is None
    assert usual_gain("image", classes=0, trained=40, probed=40) is None
    assert usual_gain("image", classes=4, trained=0, probed=40) is None


def test_the_shipped_table_holds_results_only():
    path = fine_tunes()
    assert path.stat().st_size <= 300_000
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == COLUMNS
    assert {row["modality"] for row in rows} == {"image", "text"}
    for row in rows:
        assert 0.0 <= float(row["probe"]) <= 1.0
        assert 0.0 <= float(row["accuracy"]) <= 1.0
        assert min(int(row[name]) for name in ("classes", "trained", "probed", "tested")) > 0


@pytest.mark.parametrize("modality", ["image", "text"])
@pytest.mark.parametrize("items", [2, 10, 100, 10_000])
def test_what_the_shipped_table_lets_expect_is_no_absurd_gain(modality, items):
    found = usual_gain(modality, classes=10, trained=10 * items, probed=min(512, 13 * items))
    assert abs(found.mean) < 1.5
    assert 0.2 < found.deviation < 1.0
