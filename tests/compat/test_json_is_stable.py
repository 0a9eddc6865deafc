"""Every command with --json gives the keys and values that are on record in expected/."""

from __future__ import annotations

import pytest

from tests.compat import material

# What rests on forward passes may differ by rounding between processors.
TOLERANCE = 2e-3


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    """A workspace of its own, which nothing else writes to."""
    return material.moved(tmp_path_factory.mktemp("apart"))


def test_all_that_is_on_record_is_asked():
    assert {p.stem for p in material.EXPECTED.glob("*.json")} == {*material.SPOKEN, "run-folders"}


@pytest.mark.parametrize("name", material.SPOKEN)
def test_the_answer_is_the_one_on_record(name, apart, tmp_path):
    found = material.speak(name, apart, tmp_path)
    material.same(found, material.recorded(material.EXPECTED / f"{name}.json"), TOLERANCE, grown=True)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"n": 13}, ".n: 13 instead of 12"),
        ({"split": "all"}, ".split: 'all' instead of 'test'"),
        ({"more": 1}, ": key 'more'"),
        ({"metrics": {}}, ".metrics: key 'accuracy'"),
    ],
)
def test_a_difference_is_seen(change, told):
    wanted = material.recorded(material.EXPECTED / "evaluate.json")
    assert told in list(material.differences({**wanted, **change}, wanted, TOLERANCE))
    assert list(material.differences(wanted, wanted, 0.0)) == []
