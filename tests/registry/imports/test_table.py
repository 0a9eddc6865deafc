"""Tables as tools write them: separators, frames, encodings; a line keeps its number."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expertise_graph.core.errors import ExpertiseError
from expertise_graph.registry.imports.history import import_history
from expertise_graph.registry.imports.options import (
    DistanceOptions,
    HistoryOptions,
    ImportOptions,
    ScoreOptions,
)
from expertise_graph.registry.imports.table import read_table
from expertise_graph.registry.imports.values import import_distances, import_meta, import_scores

GERMAN = (
    "expert;task;metric;value;n;seconds\na;t;Accuracy;0,931;1.000;12,5\nb;t;Accuracy;0,9;10.000;1.200,5\n"
)


def results(store):
    names = {e.id: e.name for e in store.experts()}
    return {names[e.source]: (e.metric, e.weight, e.n, e.seconds) for e in store.edges("transfer")}


def test_a_table_of_a_german_spreadsheet_is_read(store, table):
    report = import_history(store, table(GERMAN))
    assert results(store) == {"a": ("accuracy", 0.931, 1000, 12.5), "b": ("accuracy", 0.9, 10_000, 1200.5)}
    assert "'value' has a decimal comma" in report.notes


@pytest.mark.parametrize("first", ["sep=;\n", "sep=;\r\n", '"sep=;"\n', "SEP=;\n"])
def test_the_line_that_names_the_separator_is_no_header(store, table, first):
    import_history(store, table(first + GERMAN))
    assert set(results(store)) == {"a", "b"}
    with pytest.raises(ExpertiseError, match="line 5: value 'x'"):
        import_history(store, table(first + GERMAN + "c;t;Accuracy;x;;\n"))


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_the_separator_parts_the_lines_evenly(table, mark):
    text = mark.join(("expert", "name; or, other", "value")) + "\n" + mark.join(("a", "b", "1")) + "\n"
    quoted = text if mark in "\t|" else text.replace("name; or, other", '"name; or, other"')
    assert read_table(table(quoted)).rows == [["a", "b", "1"]]


def test_a_table_of_markdown_is_read(store, table):
    text = (
        "| expert | task | metric | value |\n|:-------|:----:|--------|------:|\n"
        "| [a](http://x.org/a) | t | acc | **93.1** |\n| b | t | acc | 90.5 ± .4 |\n| c | t | acc | - |\n"
    )
    report = import_history(store, table(text, "t.md"))
    assert {name: round(found[1], 6) for name, found in results(store).items()} == {"a": 0.931, "b": 0.905}
    assert report.left_out == {"without a value": 1}
    assert "1 deviations in 'value' are left out" in report.notes
    with pytest.raises(ExpertiseError, match="line 6: value 'x'"):
        import_history(store, table(text + "| d | t | acc | x |\n"))


def test_a_frame_of_plus_and_minus_is_left_out(store, table):
    rule = "+---+---+---+---+\n"
    text = f"{rule}| expert | task | metric | value |\n{rule}| a | t | f1 | 0.5 |\n{rule}"
    import_history(store, table(text))
    assert results(store) == {"a": ("f1", 0.5, None, None)}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_what_spreadsheets_save_as_unicode_is_read(store, table, encoding):
    mark = "\ufeff" if encoding.endswith("e") else ""
    text = mark + "expert\ttask\tmetric\tvalue\nnaïve\tt\tf1\t0.5\n"
    import_history(store, table(text, "t.txt", encoding))
    assert set(results(store)) == {"naïve"}


def test_damaged_utf_16_is_one_line(store, tmp_path):
    (tmp_path / "t.csv").write_bytes("\ufeffexpert".encode("utf-16-le")[:-1])
    with pytest.raises(ExpertiseError, match=r"t\.csv is damaged: its UTF-16 breaks off"):
        import_history(store, tmp_path / "t.csv")


def test_all_imports_read_such_numbers(store, table):
    options = HistoryOptions(wide=True, metric="accuracy")
    import_history(store, table("expert;pets;cars\na;91,5 %;80,25%\n"), options)
    assert sorted(e.weight for e in store.edges()) == pytest.approx([0.8025, 0.915])
    import_scores(store, table("expert|task|estimator|value\na|pets|logme|-1,5\n"), ScoreOptions())
    assert [s.value for s in store.scores()] == [-1.5]
    import_meta(store, table('expert,params,name\na,"1,013.01","x, y"\n'), ImportOptions())
    assert store.covariates()["meta:a"] == {"params": 1013.01, "name": "x, y"}
    import_distances(store, table("task;other;distance\npets;cars;1,5\n"), DistanceOptions())
    assert [d.value for d in store.distances()] == [1.5]


def test_a_task_on_which_every_run_crashed_is_left_out(store, table):
    options = HistoryOptions(wide=True, metric="accuracy")
    report = import_history(store, table("expert,pets,cars\na,0.5,nan\nb,0.6,\n"), options)
    assert report.left_out == {"without a value": 2}
    assert [t.name for t in store.tasks()] == ["pets"]


def test_commas_between_thousands_are_said(store, table):
    report = import_scores(store, table('expert,task,estimator,value\na,t,x,"1,234"\nb,t,x,"12,345"\n'))
    assert [s.value for s in store.scores()] == [1234.0, 12345.0]
    assert report.notes == ("commas in 'value' separate thousands, as in 1,234",)


def test_names_with_commas_and_digits_stay_names(store, table):
    import_history(store, table("expert;task;metric;value\n1,5;2.000;f1;0,5\n"))
    assert [e.name for e in store.experts()] == ["1,5"]
    assert [t.name for t in store.tasks()] == ["2.000"]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["", "sep=;\n", "a,b\n", "| a | b |\n|---|---|\n", "\ufeff"]))
def test_no_bytes_break_the_reader(tmp_path_factory, content, before):
    path = tmp_path_factory.mktemp("fuzz") / "t.csv"
    path.write_bytes(before.encode() + content)
    try:
        found = read_table(path, skip_invalid=True)
    except ExpertiseError:
        return
    for column in range(len(found.columns)):
        assert len(found.texts(column)) == len(found.rows)
