"""Options of a query as the command line reads them, and what it refuses."""

import click
import pytest

from expertise_graph.cli.parameters import Budget, Positive, Spend
from expertise_graph.cli.query import _query, query
from expertise_graph.core.types import Query
from tests.program import invoke


def asked(*options):
    """Return the `Query` that a command line stands for."""
    return _query(query.make_context("query", ["data", *options]).params)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), Query()),
        (("--budget", "0"), Query(budget=0)),
        (("--budget", "12"), Query(budget=12)),
        (("--budget", "0s"), Query(budget=None, seconds=0.0)),
        (("--budget", "60s"), Query(budget=None, seconds=60.0)),
        (("--budget", "1.5m"), Query(budget=None, seconds=90.0)),
        (("--budget", "5m"), Query(budget=None, seconds=300.0)),
        (("--budget", "2h"), Query(budget=None, seconds=7200.0)),
        (("--max-params", "25M"), Query(max_params=25_000_000)),
        (("--max-params", "1.5 k"), Query(max_params=1_500)),
        (("--max-download", "500MB"), Query(max_download=500_000_000)),
        (("--max-download", "1.5G"), Query(max_download=1_500_000_000)),
        (("--max-mb", "12.5"), Query(max_bytes=12_500_000)),
        (("--max-latency", "8"), Query(max_latency=8.0)),
        (("--min-dim", "64", "--max-dim", "64"), Query(min_dim=64, max_dim=64)),
        (("--kind", "original", "--kind", "merge"), Query(kinds=("original", "merge"))),
        (("--license", "MIT", "--license", "Apache-2.0"), Query(licenses=("mit", "apache-2.0"))),
        (("--exclude-license", "Unknown"), Query(excluded_licenses=("unknown",))),
        (("--tag", "a", "--tag", "b"), Query(tags=("a", "b"))),
        (("--estimator", "logme", "--estimator", "leep"), Query(estimators=("logme", "leep"))),
    ],
)
def test_options_become_the_query(options, expected):
    assert asked(*options) == expected


@pytest.mark.parametrize(
    ("option", "given", "like"),
    [
        ("--max-params", "25MB", "is not a number like 500k"),
        ("--max-params", "-3", "is not a number like"),
        ("--max-download", "2 apples", "is not a size like 500MB"),
    ],
)
def test_a_number_with_a_foreign_unit_is_refused_with_one_that_is_possible(option, given, like):
    with pytest.raises(click.BadParameter, match=like):
        asked(option, given)


def test_a_default_from_the_environment_may_be_a_time(monkeypatch):
    monkeypatch.setenv("EXPERTISE_GRAPH_QUERY_BUDGET", "30s")
    context = query.make_context("query", ["data"], auto_envvar_prefix="EXPERTISE_GRAPH_QUERY")
    assert _query(context.params) == Query(budget=None, seconds=30.0)


BUDGETS = [
    "-1",
    "",
    "abc",
    "2.5",
    "8x",
    "60 s",
    "-5s",
    ".5s",
    "1e3",
    "nan",
    "inf",
    "s",
    "1s2",
    "9" * 5000,
    "\u0663",
]


@pytest.mark.parametrize("value", BUDGETS)
def test_a_budget_that_is_none_is_refused_in_one_line(value):
    with pytest.raises(click.BadParameter) as caught:
        Budget().convert(value, None, None)
    assert caught.value.message == (
        f"{value!r} is neither a number of experts like 8 nor a time like 60s, 5m or 1h"
    )
    assert Budget().convert(Spend(3, None), None, None) == Spend(3, None)


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "many", ""])
def test_a_number_that_is_not_above_zero_is_refused(value):
    with pytest.raises(click.BadParameter, match="is not a number above zero"):
        Positive().convert(value, None, None)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (("--budget", "8x"), ("8x", "60s")),
        (("--max-mb", "nan"), ("nan", "above zero")),
        (("--max-mb", "inf"), ("inf", "above zero")),
        (("--max-latency", "0"), ("above zero",)),
        (("--min-dim", "0"), ("--min-dim",)),
        (("--min-dim", "200", "--max-dim", "100"), ("--min-dim 200 is above --max-dim 100",)),
        (("--kind", "clone"), ("clone", "original", "fine-tune", "adapter", "merge", "quantised")),
    ],
)
def test_what_cannot_be_is_a_usage_error(options, parts):
    done = invoke("query", "data", *options)
    assert done.code == 2
    assert all(part in done.err for part in parts)
