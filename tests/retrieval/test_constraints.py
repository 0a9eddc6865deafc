"""Constraints: what each keeps out, what is unknown, kinds of experts, and what is left without any."""

import pytest

from expertise_graph.cli.parameters import KINDS as OFFERED
from expertise_graph.core.errors import NotFoundError
from expertise_graph.core.types import METADATA, Edge, Query
from expertise_graph.models.base import SourceOptions
from expertise_graph.models.loading import resolve
from expertise_graph.registry.lineage import KINDS
from expertise_graph.retrieval.constraints import apply_constraints, violations
from tests.nodes import expert

IMAGES = ("clipart", "digits-in-fonts", "emoji", "fashion", "latin-letters")


@pytest.fixture(scope="module")
def starter():
    return [resolve(f"zoo:{name}", SourceOptions()) for name in IMAGES]


def unasked(given):
    raise AssertionError(f"the latency of {given.name} is not needed")


def fixed(**milliseconds):
    return lambda given: milliseconds.get(given.name)


def names(experts):
    return [e.name for e in experts]


def lineage(parent, child, method, **meta):
    return Edge(
        kind="lineage", source=parent, target=child, weight=1.0, method=method, version="1", meta=meta
    )


# On the published sizes of the starter experts: params, bytes and width differ between them.
@pytest.mark.parametrize(
    ("query", "kept", "constraint"),
    [
        (Query(), set(IMAGES), None),
        (Query(max_params=361_004), {"digits-in-fonts", "fashion"}, "`max_params=361004`"),
        (Query(max_params=400_000), {"digits-in-fonts", "fashion"}, "`max_params=400k`"),
        (Query(max_bytes=800_000), {"digits-in-fonts", "fashion"}, "`max_bytes=800000`"),
        (Query(min_dim=112), {"clipart", "emoji", "fashion", "latin-letters"}, "`min_dim=112`"),
        (Query(max_dim=112), {"clipart", "digits-in-fonts", "fashion"}, "`max_dim=112`"),
        (Query(min_dim=100, max_dim=120), {"clipart", "fashion"}, None),
        (Query(licenses=("mit", "apache-2.0")), set(IMAGES), None),
        (Query(excluded_licenses=("unknown",)), set(IMAGES), None),
        (Query(tags=("specialist",), kinds=("original", "merge")), set(IMAGES), None),
    ],
)
def test_each_constraint_keeps_out_the_starter_experts_that_do_not_meet_it(starter, query, kept, constraint):
    found = apply_constraints(starter, query, latency=unasked, lineage=())
    assert set(names(found.kept)) == kept
    assert names(found.kept) == [n for n in IMAGES if n in kept]
    assert set(found.excluded) == {e.id for e in starter if e.name not in kept}
    if constraint:
        assert set(found.excluded.values()) == {(constraint,)}


@pytest.mark.parametrize(
    ("query", "constraint"),
    [
        (Query(licenses=("mit",)), "`licenses=mit`"),
        (Query(licenses=("mit", "bsd-3-clause")), "`licenses=mit, bsd-3-clause`"),
        (Query(excluded_licenses=("mit", "apache-2.0")), "`excluded_licenses=apache-2.0`"),
        (Query(tags=("specialist", "medical")), "`tags=medical`"),
        (Query(kinds=("merge",)), "`kinds=merge`"),
        (Query(max_params=1_500), "`max_params=1.5k`"),
        (Query(max_params=25), "`max_params=25`"),
        (Query(max_bytes=12_500), "`max_bytes=12500`"),
    ],
)
def test_constraints_are_named_as_they_were_written_and_say_how_many_each_excludes(
    starter, query, constraint
):
    (only,) = {violations(e, query, latency=unasked, kind="original") for e in starter}
    assert only == (constraint,)
    with pytest.raises(NotFoundError) as caught:
        apply_constraints(starter, query, latency=unasked, lineage=())
    text = str(caught.value)
    asked = f"none of 5 experts meets the constraints; {constraint} alone excludes 5; relax one"
    # Of a tag or a licence that no expert has, it says which there are.
    licenses, tags = {e.license for e in starter}, {tag for e in starter for tag in e.tags}
    if query.licenses:
        asked += f"; licences there are: {', '.join(sorted(licenses))}"
    if query.tags:
        asked += f"; tags there are: {', '.join(sorted(tags))}"
    assert text == asked


def test_an_expert_names_all_that_keeps_it_out_and_only_one_alone_counts(starter):
    query = Query(max_params=450_000, min_dim=112)
    found = apply_constraints(starter, query, latency=unasked, lineage=())
    by_name = {e.name: found.excluded.get(e.id) for e in starter}
    assert by_name == {
        "clipart": ("`max_params=450k`",),
        "digits-in-fonts": ("`min_dim=112`",),
        "emoji": ("`max_params=450k`",),
        "fashion": None,
        "latin-letters": ("`max_params=450k`",),
    }
    both = apply_constraints(
        starter, Query(max_params=450_000, max_bytes=800_000), latency=unasked, lineage=()
    )
    assert {names for names in both.excluded.values()} == {("`max_params=450k`", "`max_bytes=800000`")}
    assert both.alone() == {"`max_params=450k`": [], "`max_bytes=800000`": []}
    ids = {e.name: e.id for e in starter}
    assert found.alone() == {
        "`max_params=450k`": [ids["clipart"], ids["emoji"], ids["latin-letters"]],
        "`min_dim=112`": [ids["digits-in-fonts"]],
    }


def test_where_nothing_is_left_one_line_says_which_constraint_costs_what(starter):
    query = Query(max_params=300_000, min_dim=112, licenses=("apache-2.0",))
    with pytest.raises(NotFoundError) as caught:
        apply_constraints(starter, query, latency=unasked, lineage=())
    assert str(caught.value) == (
        "none of 5 experts meets the constraints; `max_params=300k` alone excludes 4, "
        "`min_dim=112` alone excludes 1; relax one"
    )
    with pytest.raises(NotFoundError, match="every expert fails several, so relax more than one"):
        apply_constraints(starter, Query(max_params=1, max_bytes=1), latency=unasked, lineage=())
    nobody = apply_constraints([], Query(max_params=1), latency=unasked, lineage=())
    assert (nobody.kept, nobody.excluded) == ([], {})


@pytest.mark.parametrize(
    "query",
    [Query(max_params=10**12), Query(max_bytes=10**15), Query(min_dim=1), Query(max_dim=10**6)],
)
def test_what_is_not_known_does_not_meet_a_constraint(query):
    unknown = expert("a", source=METADATA, params=0, bytes=0, dim=0)
    known = expert("b", params=5)
    found = apply_constraints([unknown, known], query, latency=unasked, lineage=())
    assert names(found.kept) == ["b"]
    assert apply_constraints([unknown], Query(), latency=unasked, lineage=()).kept == [unknown]


def test_only_experts_that_meet_all_else_are_asked_for_their_latency(starter):
    asked, told = [], []

    def latency(given):
        asked.append(given.name)
        return {"clipart": 4.0, "fashion": 2.0}.get(given.name)

    query = Query(max_latency=2.0, min_dim=100, max_dim=120)
    found = apply_constraints(
        starter, query, latency=latency, lineage=(), progress=lambda *state: told.append(state)
    )
    assert asked == ["clipart", "fashion"]
    assert told == [("measuring latency", 1, 2), ("measuring latency", 2, 2)]
    assert names(found.kept) == ["fashion"]
    by_name = {e.name: found.excluded.get(e.id) for e in starter}
    assert by_name["clipart"] == ("`max_latency=2`",)
    assert by_name["digits-in-fonts"] == ("`min_dim=100`",)


def test_an_expert_without_a_latency_does_not_meet_a_limit(starter):
    found = apply_constraints(starter, Query(max_latency=0.25), latency=fixed(emoji=0.2), lineage=())
    assert names(found.kept) == ["emoji"]
    assert set(found.excluded.values()) == {("`max_latency=0.25`",)}
    slow = fixed(emoji=3.456, clipart=7.0)
    for latency, part in ((slow, "the fastest takes 3.46 ms"), (fixed(), "none of the others can be run")):
        with pytest.raises(NotFoundError) as caught:
            apply_constraints(starter, Query(max_latency=0.25), latency=latency, lineage=())
        assert str(caught.value) == (
            f"none of 5 experts meets the constraints; `max_latency=0.25` alone excludes 5, {part}; relax one"
        )


@pytest.mark.parametrize("kind", KINDS)
def test_only_experts_of_the_kinds_asked_for_are_kept(kind):
    nodes = [expert(name, meta={"relation": name}) for name in ("original", "adapter", "merge", "quantised")]
    edges = [lineage("dir:original", "dir:fine-tune", "lp-ft")]
    nodes.append(expert("fine-tune"))
    found = apply_constraints(nodes, Query(kinds=(kind,)), latency=unasked, lineage=edges)
    assert names(found.kept) == [kind]
    rest = tuple(k for k in KINDS if k != kind)
    found = apply_constraints(nodes, Query(kinds=rest), latency=unasked, lineage=edges)
    assert set(names(found.kept)) == set(rest)


def test_the_command_line_offers_all_kinds():
    assert OFFERED == KINDS
