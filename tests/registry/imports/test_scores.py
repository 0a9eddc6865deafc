"""Scores of others, one a row or one a column; the last value counts."""

import pytest

from expertise_graph.core.errors import ExpertiseError
from expertise_graph.core.types import Score
from expertise_graph.registry.imports.options import ScoreOptions
from expertise_graph.registry.imports.values import import_scores

HEADER = "expert,task,estimator,value\n"


def scores(store):
    return {(s.expert, s.task, s.estimator): s.value for s in store.scores()}


def test_a_row_becomes_a_score(store, table):
    path = table("expert,task,estimator,value,seconds\norg/a,pets,LogME,-0.5,2.5\nb,pets,LogME,0.5,\n")
    report = import_scores(store, path)
    assert (report.kind, report.added, report.new_experts) == ("scores", 2, ("org/a", "b"))
    found = {s.expert: s for s in store.scores("task:meta:pets")}
    first = found["meta:org/a"]
    assert (first.estimator, first.version, first.value, first.n, first.seed, first.seconds) == (
        "LogME", "imported", -0.5, 0, 0, 2.5,
    )  # fmt: skip
    assert found["meta:b"].seconds == 0.0


def test_the_last_value_counts_and_the_same_file_adds_nothing(store, table):
    path = table(HEADER + "a,t,e,1\na,t,e,1\na,t,e,2\n")
    report = import_scores(store, path)
    assert (report.added, report.duplicates, report.repeats) == (1, 1, 1)
    assert list(scores(store).values()) == [2.0]
    again = import_scores(store, path)
    assert (again.added, again.duplicates + again.repeats) == (0, 3)
    other = import_scores(store, table(HEADER + "a,t,e,3\n"))
    assert (other.added, other.repeats) == (1, 1)
    assert list(scores(store).values()) == [3.0]


def test_scores_computed_here_stay_beside_imported_ones(store, table):
    import_scores(store, table(HEADER + "a,t,logme,1\n"))
    own = {"expert": "meta:a", "task": "task:meta:t", "estimator": "logme", "version": "1"}
    store.put_scores([Score(**own, value=5.0, n=9, seed=0, seconds=0.1)])
    import_scores(store, table(HEADER + "a,t,logme,2\n"))
    assert {(s.version, s.value) for s in store.scores()} == {("1", 5.0), ("imported", 2.0)}


def test_a_wide_table_and_another_name(store, table):
    path = table("model,task,acc,H-Score,LEEP\na,t,0.5,28.4,-4.3\na,u,0.6,,-4.2\n")
    columns, rename = {"expert": "model"}, {"H-Score": "hscore"}
    options = ScoreOptions(columns=columns, rename=rename, wide=True, ignore=("acc",))
    report = import_scores(store, path, options)
    assert report.left_out == {"without a value": 1}
    assert scores(store) == {
        ("meta:a", "task:meta:t", "hscore"): 28.4,
        ("meta:a", "task:meta:t", "LEEP"): -4.3,
        ("meta:a", "task:meta:u", "LEEP"): -4.2,
    }


def test_a_dry_run_writes_nothing(store, table):
    assert import_scores(store, table(HEADER + "a,t,e,1\n"), ScoreOptions(dry_run=True)).added == 1
    assert (store.experts(), store.tasks(), store.scores()) == ([], [], [])


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "is empty"),
        (HEADER, {}, "no rows below its header"),
        (HEADER + "a,t,e,\n", {}, "no value in any of its 1 rows"),
        ("expert,task,value\na,t,1\n", {}, "no column 'estimator'; .*`estimator_column=NAME`"),
        (HEADER + "a,t,e,1\na,t,e,inf\n", {}, "line 3: value 'inf' is not a finite number"),
        (HEADER + "a,t,,1\n", {}, "line 2: no estimator"),
        (HEADER + "a,t,e\n", {}, "line 2: 3 fields"),
        (
            "expert,task,estimator,value,seconds\na,t,e,1,-2\n",
            {},
            "seconds '-2' is not a finite number from 0",
        ),
        (HEADER + "a,t,e,1\n", {"rename": {"f": "g"}}, "no estimator 'f' to `rename`; there are: e"),
        ("expert,task,e\na,t,1\n", {"wide": True, "columns": {"value": "e"}}, "leave out `value_column`"),
        ("expert,task,e\na,t,x\n", {"wide": True}, "columns without numbers: e; leave them out: `ignore=e`"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_stored(store, table, text, options, message):
    with pytest.raises(ExpertiseError, match=message) as caught:
        import_scores(store, table(text), ScoreOptions(**options))
    assert len(str(caught.value).splitlines()) == 1
    assert (store.experts(), store.tasks(), store.scores()) == ([], [], [])
