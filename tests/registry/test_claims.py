"""Lineage that cards and users state: which edges it makes, what wins, and what never follows from it."""

import dataclasses
import json
import random

import pytest

from expertise_graph.core.errors import InvalidInputError, NotFoundError
from expertise_graph.core.types import CARD_METHOD, Edge, Run
from expertise_graph.models.card import read_card
from expertise_graph.registry.aliases import joined
from expertise_graph.registry.ancestry import lineage_of
from expertise_graph.registry.claims import claims_of, connect, reference_of
from expertise_graph.registry.families import families_of
from expertise_graph.registry.lineage import learnt_from, origin_of, relation_of, trained_on
from expertise_graph.registry.parents import set_parent, unset_parent
from expertise_graph.registry.removal import remove
from expertise_graph.sharing.gather import gather
from expertise_graph.sharing.privacy import Cleaner
from expertise_graph.store.store import Store
from tests.nodes import expert, task

SHA = 40 * "a"


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path) as opened:
        yield opened


def enter(store, node):
    """Register a node as far as lineage goes; again, it keeps what was known."""
    node = joined(store, node)
    with store.transaction():
        store.put_expert(node)
        connect(store, node)
    return store.expert(node.id)


def claiming(label, *bases, relation=None, **changes):
    meta = {"base_models": list(bases), **({"base_model_relation": relation} if relation else {})}
    return expert(label, base_model=bases[0] if bases else None, meta=meta, **changes)


def of_hub(repo, sha=SHA, **changes):
    own = {"id": f"hf:{repo}@{sha}", "source": "hf", "locator": repo, "revision": sha}
    return expert(repo.rpartition("/")[2], **(own | changes))


def edge(kind, source, target, *, method="m", **more):
    return Edge(kind=kind, source=source, target=target, weight=1.0, method=method, version="2", **more)


def parents(store, label):
    found = store.lineage(children=[f"dir:{label}"])
    return [(one.source, origin_of(one), relation_of(one)) for one in found]


@pytest.mark.parametrize(
    ("front", "bases", "relation"),
    [
        ("base_model: org/base", ("org/base",), None),
        ("base_model: [org/a, org/b, org/a]", ("org/a", "org/b"), None),
        ("base_model: org/base\nbase_model_relation: quantized", ("org/base",), "quantized"),
        ("base_model: [a, 3, null, {x: y}, '']", ("a",), None),
        ("base_model: {org: base}", (), None),
        ("base_model: 7", (), None),
        ("license: mit", (), None),
        ('base_model: "two\\nlines"', (), None),
        (f"base_model: {'x' * 5000}", (), None),
        (
            f"base_model: {json.dumps([f'org/{i}' for i in range(90)])}",
            tuple(f"org/{i}" for i in range(32)),
            None,
        ),
        ("base_model: [org/a", (), None),
        ("base_model: &a [*a]", (), None),
    ],
)
def test_what_a_card_names_as_base_models(front, bases, relation, tmp_path):
    (tmp_path / "README.md").write_text(f"---\n{front}\n---\n# Model\n")
    card = read_card(tmp_path / "README.md")
    assert (card.base_models, card.relation) == (bases, relation)
    assert card.base_model == (bases[0] if bases else None)
    assert card.meta.get("base_models", []) == list(bases)


def test_a_card_of_ten_megabytes_states_nothing(tmp_path):
    (tmp_path / "README.md").write_text("---\nbase_model: org/base\n---\n" + 10_000_000 * "x")
    assert read_card(tmp_path / "README.md").base_models == ()


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("org/base", "hf:org/base"),
        (" bert-base-uncased ", "hf:bert-base-uncased"),
        ("https://huggingface.co/org/base", "hf:org/base"),
        ("https://hf.co/org/base/blob/main/README.md?x=1", "hf:org/base"),
        ("https://example.org/org/base", "https://example.org/org/base"),
        ("hf:org/base@main", "hf:org/base"),
        (f"hf:org/base@{SHA}", f"hf:org/base@{SHA}"),
        ("zoo:emoji@resnet", "zoo:emoji@resnet"),
        ("/data/models/base/", "dir:/data/models/base"),
        ("./base", "dir:./base"),
        ("C:\\models\\base", "dir:C:\\models\\base"),
        ("the model of our team", "the model of our team"),
    ],
)
def test_the_ways_to_name_a_model(text, reference):
    assert reference_of(text) == reference
    assert reference_of(reference) == reference


@pytest.mark.parametrize(
    ("bases", "stated", "tags", "edges"),
    [
        (["org/base"], None, (), [("hf:org/base", "card", "fine-tune")]),
        (["org/base"], "adapter", (), [("hf:org/base", "card", "adapter")]),
        (["org/base"], "quantized", (), [("hf:org/base", "card", "quantised")]),
        (["org/base"], "something else", (), [("hf:org/base", "card", "fine-tune")]),
        (["org/base"], None, ("base_model:quantized:org/base",), [("hf:org/base", "card", "quantised")]),
        (["a/b", "c/d"], None, (), [("hf:a/b", "card", "merge"), ("hf:c/d", "card", "merge")]),
        (["dir:x"], None, (), []),
        (
            ["x", "zoo/x", "org/base"],
            None,
            (),
            [("hf:zoo/x", "card", "merge"), ("hf:org/base", "card", "merge")],
        ),
        ([], None, (), []),
    ],
)
def test_each_base_model_of_a_card_is_an_edge(store, bases, stated, tags, edges):
    enter(store, claiming("x", *bases, relation=stated, tags=tags))
    assert parents(store, "x") == edges
    before = store.edges()
    enter(store, claiming("x", *bases, relation=stated, tags=tags))
    assert store.edges() == before
    assert all(e.meta["claimed"] in bases and e.version == "2" for e in before)


PARENTS = {
    "by its repository": ("org/base", of_hub("org/base")),
    "by its address": ("https://huggingface.co/org/base", of_hub("org/base")),
    "by a bare name": ("base", of_hub("org/base")),
    "by its id": (f"hf:org/base@{SHA}", of_hub("org/base")),
    "by another revision": (f"hf:org/base@{SHA[:39]}b", None),
    "by its folder": ("/models/base", expert("base", locator="/models/base")),
    "by a name with an organisation": ("org/base", expert("base", name="org/base")),
    "by a name from metadata": (
        "org/base",
        expert("m", id="meta:org/base", name="org/base", source="metadata"),
    ),
    "as a model of timm": ("timm/vit.x", expert("v", id="timm:vit.x@1", source="timm", locator="vit.x")),
    "by its second name": (
        "org/mirror",
        expert(
            "base",
            meta={"aliases": [{"name": "m", "source": "hf", "locator": "org/mirror", "revision": SHA}]},
        ),
    ),
}


@pytest.mark.parametrize("first", ["parent", "child"])
@pytest.mark.parametrize("way", PARENTS)
def test_a_claim_is_connected_whichever_is_registered_first(store, way, first):
    claimed, parent = PARENTS[way]
    for node in (parent, claiming("x", claimed))[:: 1 if first == "parent" else -1]:
        if node is not None:
            enter(store, node)
    expected = parent.id if parent else reference_of(claimed)
    assert parents(store, "x") == [(expected, "card", "fine-tune")]
    (found,) = store.lineage(children=["dir:x"])
    assert found.meta["claimed"] == claimed


def test_another_commit_of_the_parent_takes_over_only_when_the_first_is_gone(store):
    enter(store, of_hub("org/base"))
    enter(store, claiming("x", "org/base"))
    newer = of_hub("org/base", 40 * "b", weights_sha="newer")
    enter(store, newer)
    assert parents(store, "x") == [(f"hf:org/base@{SHA}", "card", "fine-tune")]
    store.remove_expert(f"hf:org/base@{SHA}")
    enter(store, claiming("x", "org/base"))
    assert parents(store, "x") == [(newer.id, "card", "fine-tune")]


def test_what_a_card_says_now_counts_where_it_was_changed(store):
    enter(store, claiming("x", "org/wrong"))
    again = enter(store, claiming("x", "org/right", relation="adapter"))
    assert claims_of(again) == ["org/right"]
    assert parents(store, "x") == [("hf:org/right", "card", "adapter")]
    silent = enter(store, expert("x"))
    assert (silent.base_model, parents(store, "x")) == (None, [])


def test_a_run_says_more_than_the_card_beside_its_model(store):
    """The card in a run's folder names the repository that the parent is from."""
    parent = enter(store, of_hub("org/base"))
    store.put_edges(
        [
            edge(
                "lineage",
                parent.id,
                "dir:x",
                method="lora",
                run="r",
            )
        ]
    )
    enter(store, of_hub("org/base", 40 * "b", weights_sha="newer"))
    enter(store, claiming("x", "org/base"))
    assert parents(store, "x") == [(parent.id, "run", "adapter")]


def test_claims_that_go_in_a_circle_are_shown_and_never_followed_for_ever(store):
    for child, base in (("a", "dir:b"), ("b", "dir:c"), ("c", "dir:a")):
        enter(store, claiming(child, base))
    found = lineage_of(store, store.expert("dir:a"))
    assert [(one.id, one.generation, one.again) for one in found.ancestors] == [
        ("dir:b", -1, False),
        ("dir:c", -2, False),
        ("dir:a", -3, True),
    ]
    assert [one.id for one in found.descendants] == ["dir:c", "dir:b", "dir:a"]
    assert found.circular
    itself = lineage_of(store, enter(store, claiming("s", "dir:s")))
    assert (itself.ancestors, itself.circular, itself.claims_itself) == ((), False, True)


def test_a_claim_alone_never_makes_an_expert_one_that_saw_the_data(store):
    """A card that names a child of our run as its base model says nothing about what was learnt."""
    enter(store, expert("famous"))
    put_run(store, "dir:famous")
    enter(store, claiming("forged", "dir:famous"))
    assert parents(store, "forged") == [("dir:famous", "card", "fine-tune")]
    assert trained_on(store, task("pets"), seen={}) == {"dir:famous"}
    assert not learnt_from(store, ["dir:forged"], []).any()
    set_parent(store, store.expert("dir:forged"), "famous")
    assert trained_on(store, task("pets"), seen={}) == {"dir:famous", "dir:forged"}


def put_run(store, child):
    fields = {
        "expert": "dir:base",
        "task": "task:pets",
        "child": child,
        "status": "done",
        "strategy": "lp-ft",
    }
    fields |= {"seed": 0, "path": "", "config": {}, "result": {}, "started_at": "t", "finished_at": "t"}
    store.put_run(Run(id="run:1", **fields))


def test_weights_that_agree_make_more_of_a_claim_and_others_less(store):
    enter(store, expert("famous"))
    put_run(store, "dir:famous")
    enter(store, claiming("x", "dir:famous"))
    (found,) = store.lineage(children=["dir:x"])

    def note(confirmed):
        store.put_claim(dataclasses.replace(found, meta={**found.meta, "confirmed": confirmed}))
        family = families_of(store, store.experts())
        return trained_on(store, task("pets"), seen={}), family["dir:x"] == family["dir:famous"]

    assert note(True) == ({"dir:famous", "dir:x"}, True)
    assert note(False) == ({"dir:famous"}, False)


# What the user says


def test_what_the_user_says_survives_registering_again_and_rm(store):
    for node in (expert("a"), expert("b"), claiming("x", "dir:a", "org/gone")):
        enter(store, node)
    unset_parent(store, store.expert("dir:x"), "a")
    unset_parent(store, store.expert("dir:x"), "org/gone")
    stated = set_parent(store, store.expert("dir:x"), "b", relation="adapter")
    assert (stated.edge.meta["relation"], stated.others, stated.before) == ("adapter", (), False)
    said = [("dir:b", "user", "adapter")]
    assert parents(store, "x") == said
    enter(store, claiming("x", "dir:a", "org/gone"))
    assert parents(store, "x") == said
    for name in ("a", "b", "x"):
        remove(store, [name])
    for node in (claiming("x", "dir:a", "org/gone", "dir:b"), expert("b"), expert("a"), of_hub("org/gone")):
        enter(store, node)
    assert parents(store, "x") == said


def test_setting_takes_unsetting_back_and_both_can_be_said_twice(store):
    for node in (expert("a"), claiming("x", "dir:a")):
        enter(store, node)
    child = store.expert("dir:x")
    assert [unset_parent(store, child, "a").before for _ in range(2)] == [False, True]
    assert parents(store, "x") == []
    assert [set_parent(store, child, "a").before for _ in range(2)] == [False, True]
    assert parents(store, "x") == [("dir:a", "user", "fine-tune")]
    assert store.edges("unset") == []


def test_a_parent_that_is_not_registered_is_connected_later(store):
    child = enter(store, expert("x"))
    stated = set_parent(store, child, "org/base")
    assert (stated.parent, stated.known) == ("hf:org/base", None)
    parent = enter(store, of_hub("org/base"))
    assert parents(store, "x") == [(parent.id, "user", "fine-tune")]


def test_what_cannot_be_said_is_told_in_one_line(store):
    for node in (expert("a"), expert("x"), expert("y")):
        enter(store, node)
    x = store.expert("dir:x")
    set_parent(store, x, "a")
    with pytest.raises(InvalidInputError, match="cannot be its own parent"):
        set_parent(store, x, "x")
    with pytest.raises(InvalidInputError, match=r"x@.* descends from a@.*lineage unset x@.* a@"):
        set_parent(store, store.expert("dir:a"), "x")
    with pytest.raises(NotFoundError, match=r"no expert 'nobody'.*hf:ORG/NAME or dir:PATH"):
        set_parent(store, x, "nobody")
    with pytest.raises(NotFoundError, match=r"x@.* is no child of 'y'; its parents are: a@"):
        unset_parent(store, x, "y")
    with pytest.raises(NotFoundError, match="nothing says that it has a parent"):
        unset_parent(store, store.expert("dir:y"), "a")
    with pytest.raises(InvalidInputError, match="`relation=sibling` is no relation; there are: fine-tune"):
        set_parent(store, x, "a", relation="sibling")
    assert parents(store, "x") == [("dir:a", "user", "fine-tune")]


def test_what_a_run_left_is_not_unset(store):
    for node in (expert("a"), expert("x")):
        enter(store, node)
    store.put_edges(
        [
            edge(
                "lineage",
                "dir:a",
                "dir:x",
                method="full",
                run="run:7",
            )
        ]
    )
    child = store.expert("dir:x")
    with pytest.raises(InvalidInputError, match=r"by run:7, which is on record.*runs rm run:7"):
        unset_parent(store, child, "a")
    assert set_parent(store, child, "a", relation="merge").before
    assert parents(store, "x") == [("dir:a", "run", "fine-tune")]


# Families


def test_a_family_is_whoever_lineage_connects(store):
    """Stated, suspected, by one parent that is nowhere registered, and by the same weights."""
    for node in (
        expert("a"),
        claiming("b", "dir:a"),
        claiming("c", "org/base"),
        claiming("d", "org/base"),
        expert("e"),
        expert("f", weights_sha="sha of e", preprocessing_sha="larger images"),
        expert("g"),
        expert("h", name="hf:org/other", source="metadata", base_model="org/base"),
        of_hub("org/other", id="dir:i"),
    ):
        enter(store, node)
    store.put_edges([edge("suspected", "dir:a", "dir:g", method="m")])
    store.put_edges([edge("similarity", "dir:a", "dir:e", method="m")])
    found = families_of(store, [store.expert(f"dir:{name}") for name in "abcdefghi"])
    groups = {}
    for name, family in found.items():
        groups.setdefault(family, set()).add(name.removeprefix("dir:"))
    assert sorted(map(sorted, groups.values())) == [["a", "b", "g"], ["c", "d", "h", "i"], ["e", "f"]]


# Scale


def test_the_line_of_one_of_ten_thousand_is_read_without_the_others(store):
    """No statement goes through a table, and no more rows are read than the line has."""
    rng = random.Random(0)
    store.add_nodes([expert(f"e{i}", base_model="org/base") for i in range(10_000)])
    store.put_edges(
        edge("lineage", f"dir:e{rng.randrange(i)}", f"dir:e{i}", method=CARD_METHOD, meta={"claimed": "x"})
        for i in range(2_000, 10_000)
    )
    child = enter(store, claiming("child", "dir:e9999"))
    statements = []
    store.db.conn.set_trace_callback(statements.append)
    found = lineage_of(store, child)
    enter(store, child)
    set_parent(store, child, "e5")
    unset_parent(store, child, "e5")
    store.kin("dir:child", 50)
    store.db.conn.set_trace_callback(None)
    assert 1 <= len(found.ancestors) < 30
    assert found.ancestors[0].id == "dir:e9999"
    assert not found.left_out
    for statement in statements:
        if statement.split()[0] in ("SELECT", "WITH"):
            steps = [row[3] for row in store.db.execute(f"EXPLAIN QUERY PLAN {statement}")]
            assert not {"SCAN experts", "SCAN edges", "SCAN tasks"} & {*steps}, (statement, steps)
    famous = lineage_of(store, store.expert("dir:e0"), most=25)
    assert len(famous.descendants) <= 25


def test_what_others_say_is_a_claim(store):
    """A registry that was merged into this one marks its rows."""
    enter(store, expert("famous"))
    put_run(store, "dir:famous")
    enter(store, claiming("x", "org/base"))
    of_others = {"origin": "hf:org/registry"}
    store.put_edges([edge("lineage", "dir:famous", "dir:x", method="user", meta=of_others)])
    store.put_edges([edge("unset", "hf:org/base", "dir:x", method="user", meta=of_others)])
    assert trained_on(store, task("pets"), seen={}) == {"dir:famous"}
    enter(store, claiming("x", "org/base"))
    assert ("hf:org/base", "card", "fine-tune") in parents(store, "x")


def test_suspicions_and_denials_do_not_leave_the_workspace(store):
    """Who pulls a registry checks the kinds of its relations, and compares the weights anew."""
    for node in (expert("a"), claiming("x", "org/base", "/data/me/secret")):
        enter(store, node)
    store.put_edges([edge("suspected", "dir:a", "dir:x"), edge("unset", "dir:a", "dir:x", method="user")])
    shared = gather(store, Cleaner(store.folder, "salt", anonymous=False)).tables["edges"]
    assert {row["kind"] for row in shared} == {"lineage"}
    assert "secret" not in json.dumps(shared)
