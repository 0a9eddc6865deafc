"""Which licence a model may be published under, given those of what it was made from."""

from __future__ import annotations

import pytest

from expertise_graph.core import InvalidInputError
from expertise_graph.sharing.licences import NO_DERIVATIVES, PERMISSIVE, SAME_LICENCE, licence_of_child


@pytest.mark.parametrize(
    ("parents", "given", "expected"),
    [
        (["mit"], None, "mit"),
        (["mit"], "cc-by-nc-4.0", "cc-by-nc-4.0"),
        (["Apache-2.0"], None, "apache-2.0"),
        (["cc-by-sa-4.0"], None, "cc-by-sa-4.0"),
        (["cc-by-sa-4.0"], "CC-BY-SA-4.0", "cc-by-sa-4.0"),
        (["mit", "gpl-3.0"], None, "gpl-3.0"),
        (["cc-by-nc-4.0"], None, "cc-by-nc-4.0"),
        (["openrail"], None, "openrail"),
        (["unknown"], "mit", "mit"),
        (["my-own-terms"], "mit", "mit"),
        ([], "mit", "mit"),
    ],
)
def test_what_is_allowed(parents, given, expected):
    assert licence_of_child([(f"parent-{n}", name) for n, name in enumerate(parents)], given) == expected


@pytest.mark.parametrize(
    ("parents", "given", "said"),
    [
        (["cc-by-sa-4.0"], "mit", "has the same, not mit"),
        (["cc-by-nc-4.0"], "apache-2.0", "has the same, not apache-2.0"),
        (["gpl-3.0", "cc-by-sa-4.0"], None, "no licence meets both"),
        (["unknown"], None, "no known licence"),
        (["other"], None, "no known licence"),
        (["my-own-terms"], None, "the licence my-own-terms, which does not say"),
        (["cc-by-nd-4.0"], "mit", "does not let what was made from it be published"),
        ([], None, "choose its licence"),
    ],
)
def test_what_is_refused_and_why(parents, given, said):
    with pytest.raises(InvalidInputError, match=said):
        licence_of_child([(f"parent-{n}", name) for n, name in enumerate(parents)], given)


def test_each_licence_is_of_one_kind():
    together = [*PERMISSIVE, *SAME_LICENCE, *NO_DERIVATIVES]
    assert len(together) == len({*together})
