"""Distances between tasks, from long tables and matrices."""

import pytest

from expertise_graph.core.errors import ExpertiseError
from expertise_graph.registry.imports.options import DistanceOptions
from expertise_graph.registry.imports.values import import_distances


def distances(store):
    names = {t.id: t.name for t in store.tasks()}
    return {(names[d.task], names[d.other]): d.value for d in store.distances()}


def test_a_long_table(store, table):
    report = import_distances(store, table("task,other,distance,x\nt,u,1.5,\nu,t,2,\nt,t,0,\n"))
    assert report.notes == ("columns ignored: x",)
    assert distances(store) == {("t", "u"): 1.5, ("u", "t"): 2.0}
    assert (report.added, report.left_out, report.new_tasks) == (2, {"of a task to itself": 1}, ("t", "u"))
    assert {d.method for d in store.distances()} == {"imported"}
    assert [(t.id, t.n) for t in store.tasks()] == [("task:meta:t", 0), ("task:meta:u", 0)]


def test_columns_of_a_long_table_can_be_named(store, table):
    path = table("a,b,emd\nt,u,1.5\n")
    columns = {"task": "a", "other": "b", "distance": "emd"}
    assert import_distances(store, path, DistanceOptions(columns=columns, method="emd")).notes == ()
    assert distances(store) == {("t", "u"): 1.5}
    assert store.distances()[0].method == "emd"


def test_a_square_matrix(store, table):
    report = import_distances(store, table(",t,\"['u', 'v']\"\nt,0,2\n\"['u', 'v']\",3,0\n"))
    assert distances(store) == {("t", "['u', 'v']"): 2.0, ("['u', 'v']", "t"): 3.0}
    assert report.left_out == {"of a task to itself": 2}


def test_a_rectangular_matrix_with_gaps(store, table):
    report = import_distances(store, table("target\timagenet\tplaces\npets\t1\t\ndtd\t2\t3\n", "d.tsv"))
    assert distances(store) == {("pets", "imagenet"): 1.0, ("dtd", "imagenet"): 2.0, ("dtd", "places"): 3.0}
    assert report.left_out == {"without a value": 1}


def test_the_last_value_counts_and_the_same_file_adds_nothing(store, table):
    path = table("task,other,distance\nt,u,1\nt,u,1\nt,u,2\n")
    first = import_distances(store, path)
    assert (first.added, first.duplicates, first.repeats) == (1, 1, 1)
    again = import_distances(store, path)
    assert (again.added, again.duplicates, again.repeats) == (0, 2, 1)
    assert import_distances(store, path, DistanceOptions(method="other")).added == 1
    third = import_distances(store, table("task,other,distance\nt,u,5\nt,u,5\n"))
    assert (third.added, third.duplicates, third.repeats) == (1, 1, 1)
    assert sorted(d.value for d in store.distances()) == [2.0, 5.0]


def test_a_dry_run_writes_nothing(store, table):
    path = table("task,other,distance\nt,u,1\n")
    assert import_distances(store, path, DistanceOptions(dry_run=True)).added == 1
    assert (store.tasks(), store.distances()) == ([], [])


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "is empty"),
        ("task,other,distance\n", {}, "no rows below its header"),
        ("task,other,distance\nt,t,0\n", {}, "no distance between two different tasks"),
        ("task,other,distance\nt,u,1\nt,v,far\n", {}, "line 3: distance 'far' is not a finite number from 0"),
        ("task,other,distance\nt,u,-1\n", {}, "line 2: distance '-1'"),
        ("task,other,distance\nt,u,far\n", {}, "line 2: distance 'far'"),
        ("task,other,distance\nt,,1\n", {}, "line 2: no task"),
        ("task,other,dist\nt,u,1\n", {}, "column 'other': distance 'u' .*a long table has the columns task"),
        (
            "task,other,dist\nt,u,1\n",
            {"columns": {"task": "task"}},
            "no column 'distance'; .*`distance_column=NAME`",
        ),
        (",t,t\nt,0,1\n", {}, "names the column 't' more than once"),
        (",t,u\nt,0\n", {}, "line 2: 2 fields where the header has 3"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_stored(store, table, text, options, message):
    with pytest.raises(ExpertiseError, match=message) as caught:
        import_distances(store, table(text), DistanceOptions(**options))
    assert len(str(caught.value).splitlines()) == 1
    assert (store.tasks(), store.distances()) == ([], [])
