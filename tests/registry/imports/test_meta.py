"""Covariates of experts; those of the obvious names describe experts that have no weights here."""

import pytest

from expertise_graph.core.errors import ExpertiseError
from expertise_graph.registry.imports.options import ImportOptions
from expertise_graph.registry.imports.values import import_meta
from tests.store.nodes import expert


def test_every_other_column_is_a_covariate(store, table):
    path = table(
        "model,dataset,accuracy,labels,note\norg/a,imagenet,0.5,\"['x', 'y']\",=1+1\nb,,nan,None,-\n"
    )
    report = import_meta(store, path, ImportOptions(columns={"expert": "model"}, modality="image"))
    assert store.covariates() == {
        "meta:org/a": {"accuracy": 0.5, "dataset": "imagenet", "labels": "['x', 'y']", "note": "=1+1"}
    }
    assert (report.rows, report.added, report.new_experts) == (2, 4, ("org/a", "b"))
    assert [(e.name, e.modality) for e in store.experts()] == [("b", "image"), ("org/a", "image")]


def test_the_same_file_adds_nothing_and_another_value_replaces(store, table):
    path = table("expert,a,b\nx,1,2\nx,1,3\n")
    first = import_meta(store, path)
    assert (first.added, first.duplicates, first.repeats) == (2, 1, 1)
    again = import_meta(store, path)
    assert (again.added, again.duplicates, again.repeats) == (0, 3, 1)
    third = import_meta(store, table("expert,b,c\nx,4,5\n"))
    assert (third.added, third.repeats) == (2, 1)
    assert store.covariates() == {"meta:x": {"a": 1.0, "b": 4.0, "c": 5.0}}


@pytest.mark.parametrize(
    ("text", "expected"), [("25M", 25_000_000), ("1.5 b", 1_500_000_000), ("7", 7), ("-7", 0), ("big", 0)]
)
def test_sizes_may_have_a_suffix(store, table, text, expected):
    import_meta(store, table(f"expert,params\nx,{text}\n"))
    assert store.expert("meta:x").params == expected


@pytest.mark.parametrize("name", ["params", "#params", "number_of_parameters", "Parameters"])
def test_obvious_names_describe_a_metadata_only_expert(store, table, name):
    store.put_expert(expert("dir:1", name="real", license="mit"))
    rows = "x,8.5e6,['ViT'],Apache-2.0\nreal,1,other,gpl\n"
    import_meta(store, table(f"expert,{name},architectures,license\n{rows}"))
    node, real = store.expert("meta:x"), store.expert("dir:1")
    assert (node.params, node.architecture, node.license) == (8_500_000, "ViT", "apache-2.0")
    assert (real.params, real.architecture, real.license) == (10, "resnet", "mit")
    assert store.covariates()["dir:1"]["architectures"] == "other"


def test_what_is_not_said_stays(store, table):
    import_meta(store, table("expert,params,license\nx,5,mit\n"))
    import_meta(store, table("expert,params,year\nx,many,2020\n"))
    node = store.expert("meta:x")
    assert (node.params, node.license, node.architecture) == (5, "mit", "unknown")


def test_a_dry_run_writes_nothing(store, table):
    assert import_meta(store, table("expert,a\nx,1\n"), ImportOptions(dry_run=True)).added == 1
    assert (store.experts(), store.covariates()) == ([], {})


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "is empty"),
        ("expert,a\n", {}, "no rows below its header"),
        ("model,a\nx,1\n", {}, "no column 'expert'; there are: model, a; .*`expert_column=NAME`"),
        ("expert\nx\n", {}, "no column beside the expert's; there are: expert"),
        ("expert,a\nx,1\n", {"ignore": ("a",)}, "no column beside the expert's"),
        ("expert,a\nx,1\n,2\n", {}, "line 3: no expert"),
        ("expert,a\nx,1,2\n", {}, "line 2: 3 fields where the header has 2"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_stored(store, table, text, options, message):
    with pytest.raises(ExpertiseError, match=message) as caught:
        import_meta(store, table(text), ImportOptions(**options))
    assert len(str(caught.value).splitlines()) == 1
    assert (store.experts(), store.covariates()) == ([], {})
