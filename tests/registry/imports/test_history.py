"""Results of others become transfer edges, once, in fractions, and with what is known about them."""

import dataclasses
import io

import pytest

from expertise_graph.core.errors import ExpertiseError, InvalidInputError
from expertise_graph.core.types import Edge
from expertise_graph.registry.imports.history import import_history
from expertise_graph.registry.imports.options import HistoryOptions
from tests.store.nodes import expert, task

HEADER = "expert,task,metric,value\n"


def edges(store):
    return [(e.source, e.target, e.metric, e.weight) for e in store.edges("transfer")]


def test_a_row_with_everything_becomes_an_edge_with_everything(store, table):
    path = table(
        "expert,task,metric,value,seed,n_train,method,seconds,date,n\n"
        "org/a,pets,F1,0.875,3.0,1000,lora,12.5,2024-01-02,50\n"
    )
    report = import_history(store, path)
    (edge,) = store.edges()
    assert dataclasses.replace(edge, created_at="") == Edge(
        kind="transfer", source="meta:org/a", target="task:meta:pets", weight=0.875, metric="F1",
        method="lora", version="1", seed=3, n=50, seconds=12.5,
        meta={"n_train": 1000, "date": "2024-01-02", "origin": "t.csv"},
    )  # fmt: skip
    (node,) = store.experts()
    assert (node.id, node.name, node.source, node.locator) == ("meta:org/a", "org/a", "metadata", "org/a")
    assert (node.modality, node.architecture, node.params, node.weights_sha) == ("unknown", "unknown", 0, "")
    assert [(t.id, t.name, t.n, t.classes) for t in store.tasks()] == [("task:meta:pets", "pets", 0, ())]
    assert (report.rows, report.added, report.new_experts, report.new_tasks) == (1, 1, ("org/a",), ("pets",))


def test_a_row_with_the_least(store, table):
    import_history(store, table(HEADER + "a,t,mcc,-0.5\n"))
    (edge,) = store.edges()
    assert (edge.weight, edge.method, edge.seed, edge.n, edge.seconds, edge.run) == (
        -0.5, "imported", None, None, None, None,
    )  # fmt: skip
    assert edge.meta == {"origin": "t.csv"}


def test_importing_twice_under_any_name_adds_nothing(store, table):
    text = HEADER + "a,t,accuracy,50\na,u,accuracy,60\n"
    assert import_history(store, table(text)).added == 2
    again = import_history(store, table(text, "other.csv"))
    assert (again.added, again.duplicates, again.experts_known, again.new_experts) == (0, 2, 1, ())
    assert edges(store) == [
        ("meta:a", "task:meta:t", "accuracy", 0.5),
        ("meta:a", "task:meta:u", "accuracy", 0.6),
    ]


def test_duplicate_rows_are_left_out_and_repeated_settings_kept(store, table):
    rows = "a,t,accuracy,0.5,1\na,t,accuracy,0.5,1\na,t,accuracy,0.6,1\na,t,accuracy,0.5,2\n"
    report = import_history(store, table("expert,task,metric,value,seed\n" + rows))
    assert (report.rows, report.added, report.duplicates, report.repeats) == (4, 3, 1, 1)
    assert [(e.weight, e.seed) for e in store.edges()] == [(0.5, 1), (0.6, 1), (0.5, 2)]
    assert "1 known already" in report.lines()[1]
    assert "1 repeat an earlier row with another value (all kept)" in report.lines()[1]


def test_a_result_measured_here_is_not_taken_for_an_imported_one(store, table):
    common = {"kind": "transfer", "metric": "accuracy", "method": "imported", "version": "1"}
    store.put_edges([Edge(source="meta:a", target="task:meta:t", weight=0.5, run="run:1", **common)])
    assert import_history(store, table(HEADER + "a,t,accuracy,0.5\n")).added == 1


def test_dry_run_reports_the_same_and_writes_nothing(store, table):
    path = table(HEADER + "a,t,accuracy,0.5\n")
    dry = import_history(store, path, HistoryOptions(dry_run=True))
    assert (store.experts(), store.tasks(), store.edges(), store.events()) == ([], [], [], [])
    assert dataclasses.replace(dry, dry_run=False) == import_history(store, path)
    assert "would be added" in dry.lines()[0]


def test_columns_can_be_named_and_unknown_ones_are_said(store, table):
    path = table(",Model,data,acc,epochs\n0,a,t,0.5,30\n")
    options = HistoryOptions(columns={"expert": "model", "task": "data", "value": "acc"}, metric="accuracy")
    report = import_history(store, path, options)
    assert edges(store) == [("meta:a", "task:meta:t", "accuracy", 0.5)]
    assert report.notes == ("columns ignored: epochs", "accuracy is in fractions of 1")
    silent = dataclasses.replace(options, ignore=("epochs",))
    assert import_history(store, path, silent).notes == ("accuracy is in fractions of 1",)


@pytest.mark.parametrize("mark", ["\t", ";"])
def test_tabs_and_semicolons(store, table, mark):
    path = table((HEADER + "a,t,accuracy,0.5\n").replace(",", mark), "t.tsv" if mark == "\t" else "t.csv")
    import_history(store, path)
    assert edges(store) == [("meta:a", "task:meta:t", "accuracy", 0.5)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_stream_with_and_without_byte_order_mark(store, encoding):
    stream = io.BytesIO((HEADER + "naïve 🙂,t,accuracy,0.5\r\n").encode(encoding))
    assert import_history(store, stream).file == "stdin"
    assert edges(store) == [("meta:naïve 🙂", "task:meta:t", "accuracy", 0.5)]


def test_blank_rows_and_missing_values_are_left_out_and_counted(store, table):
    missing = "".join(
        f"a,u{i},accuracy,{v}\n" for i, v in enumerate(("", "NaN", "None", "N/A", "-", "#DIV/0!"))
    )
    report = import_history(store, table(HEADER + "a,t,accuracy,0.5\n\n,,,\n" + missing))
    assert (report.added, report.left_out) == (1, {"blank": 1, "without a value": 6})
    assert report.lines()[1] == "left out: 1 blank, 6 without a value; accuracy is in fractions of 1"
    assert len(store.tasks()) == 1


def test_names_with_commas_formulas_and_control_characters_are_kept(store, table):
    import_history(store, table(HEADER + '"=a,\x1b[31m",t,accuracy,0.5\n'))
    assert store.experts()[0].name == "=a,\x1b[31m"


@pytest.mark.parametrize(
    ("values", "expected", "note"),
    [
        (("0.5", "1", "0"), [0.5, 1.0, 0.0], "in fractions of 1"),
        (("50", "100", "0"), [0.5, 1.0, 0.0], "in percent, divided by 100"),
        (("0", "0", "0"), [0.0, 0.0, 0.0], "in fractions of 1"),
        (("50%", "100 %", "0"), [0.5, 1.0, 0.0], "in percent, divided by 100"),
        (("0.5%", "1%", "0.25 %"), [0.005, 0.01, 0.0025], "in percent, divided by 100"),
        (("50%", "100", "0%"), [0.5, 1.0, 0.0], "in percent, divided by 100"),
    ],
)
def test_the_unit_is_told_from_the_values(store, table, values, expected, note):
    rows = "".join(f"a{i},t,acc,{v}\n" for i, v in enumerate(values))
    report = import_history(store, table(HEADER + rows))
    assert [e.weight for e in store.edges()] == expected
    assert {e.metric for e in store.edges()} == {"accuracy"}
    assert report.notes == ("acc is stored as accuracy", f"accuracy is {note}")


def test_each_metric_has_its_unit_and_other_metrics_none(store, table):
    rows = "a,t,accuracy,50\na,t,macro F1,0.5\na,t,pearson,0.5\na,t,elo,1200\n"
    import_history(store, table(HEADER + rows))
    assert [(e.metric, e.weight) for e in store.edges()] == [
        ("accuracy", 0.5), ("macro F1", 0.5), ("pearson", 0.5), ("elo", 1200.0),
    ]  # fmt: skip


def test_a_unit_that_is_given_settles_what_the_values_leave_open(store, table):
    path = table(HEADER + "a,t,accuracy,0.5\nb,t,accuracy,50\n")
    import_history(store, path, HistoryOptions(unit="percent"))
    assert [e.weight for e in store.edges()] == [0.005, 0.5]
    with pytest.raises(InvalidInputError, match=r"line 3: 50 is no accuracy \(0 to 1"):
        import_history(store, path, HistoryOptions(unit="fraction"))


def test_lower_is_better_is_declared_and_remembered(store, table):
    path = table(HEADER + "a,t,eval_loss,2.5\na,t,accuracy,0.5\n")
    import_history(store, path, HistoryOptions(lower_is_better=("eval_loss",)))
    assert [(e.weight, e.meta.get("lower_is_better")) for e in store.edges()] == [(2.5, True), (0.5, None)]


def test_a_metric_called_like_a_loss_may_be_higher_is_better(store, table):
    path = table(HEADER + "a,t,negative loss,-2.5\n")
    import_history(store, path, HistoryOptions(higher_is_better=("negative loss",)))
    assert "lower_is_better" not in store.edges()[0].meta


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "t.csv is empty; its first line must name the columns"),
        ("\n\n", {}, "t.csv is empty"),
        (HEADER, {}, "t.csv has no rows below its header"),
        (HEADER + "a,t,accuracy,\n", {}, "no value in any of its 1 rows"),
        ("model,task,metric,value\na,t,m,1\n", {},
         "no column 'expert'; there are: model, task, metric, value; say which .* `expert_column=NAME`"),
        ("expert,task,value\na,t,1\n", {}, "no column 'metric'.*`metric_column=NAME`, or give `metric=NAME`"),
        (HEADER + "a,t,m,1\n", {"columns": {"expert": "modl"}}, "no column 'modl'; there are: expert"),
        (HEADER + "a,t,m,1\n", {"columns": {"expert": "tsk"}}, "Did you mean 'task'"),
        (HEADER + "a,t,m,1\n", {"ignore": ("valu",)}, "no column 'valu'.*Did you mean 'value'"),
        ("expert,expert,task,metric,value\na,a,t,m,1\n", {}, "names the column 'expert' more than once"),
        (HEADER + "a,t,m,1\na,t,m\n", {}, "line 3: 3 fields where the header has 4; .*`skip_invalid`"),
        (HEADER + "a,t,m,one\n", {}, "line 2: value 'one' is not a finite number"),
        (HEADER + "a,t,m,1_0\n", {}, "value '1_0' is not a finite number"),
        (HEADER + "a,t,m,1\nb,t,m,oom\n", {}, "line 3: value 'oom'"),
        (HEADER + "a,t,acc,50%\nb,t,acc,0.5\n", {},
         "accuracy is 0.5 at line 3 and 50 at line 2; say which unit"),
        (HEADER + "a,t,acc,101%\n", {}, "line 2: 101 is no accuracy"),
        ("expert;task;metric;value\na;t;m;0,5\nb;t;m;0.5\n", {},
         "column 'value' has '0,5' with a decimal comma and '0.5' with a decimal point; write all in one"),
        (HEADER + "a,t,m,-inf\n", {}, "line 2: value '-inf'"),
        (HEADER + '"a\nb",t,m,1\nb,t,m,x\n', {}, "line 4: value 'x'"),
        (HEADER + " ,t,m,1\n", {}, "line 2: no expert"),
        (HEADER + "a,,m,1\n", {}, "line 2: no task"),
        (HEADER + "a,t,,1\n", {}, "line 2: no metric"),
        (HEADER + '"a,t,m,1\n', {}, "t.csv line 2: unexpected end of data; close the quotes"),
        ("expert,task,metric,value,seed\na,t,m,1,0.5\n", {}, "seed '0.5' is not a whole number from 0"),
        ("expert,task,metric,value,seconds\na,t,m,1,-1\n", {}, "seconds '-1' is negative"),
        (HEADER + "a,t,accuracy,0.9\nb,t,accuracy,91\n", {},
         "accuracy is 0.9 at line 2 and 91 at line 3; .*`unit=fraction` or `unit=percent`"),
        (HEADER + "a,t,accuracy,-0.1\n", {}, "line 2: -0.1 is no accuracy"),
        (HEADER + "a,t,accuracy,90\nb,t,accuracy,101\n", {}, "line 3: 101 is no accuracy"),
        (HEADER + "a,t,accuracy,101\n", {}, "line 2: 101 is no accuracy"),
        (HEADER + "a,t,wer,0.1\n", {},
         "of 'wer' a lower value seems .*`lower_is_better=wer`, or `higher_is_better=wer`"),
        (HEADER + "a,t,m,1\n", {"lower_is_better": ("n",)}, "no metric 'n'; there are: m"),
        (HEADER + "a,t,m,1\n", {"lower_is_better": ("m",), "higher_is_better": ("m",)}, "declared both"),
        (HEADER + "a,t,m,1\n", {"modality": "smell"}, "no modality called 'smell'; there are: image, text"),
        ('{"expert": "a", "task": "t", "accuracy": 0.9}\n', {}, "t.csv holds JSON: save it as .csv"),
        ('[\n  {"expert": "a"}\n]', {}, "t.csv holds JSON: save it as .csv"),
        ("expert,t\na,1\n", {"wide": True}, "`wide` needs `metric=NAME`"),
        ("expert,t\na,1\n", {"wide": True, "metric": "m", "columns": {"task": "t"}},
         "`wide` reads one column for each task; leave out `task_column`"),
        ("expert\na\n", {"wide": True, "metric": "m"}, "no column with values; there are: expert"),
        ("expert,t,kind,base\na,1,x,y\n", {"wide": True, "metric": "m"},
         "columns without numbers: kind, base; leave them out: `ignore=kind` `ignore=base`"),
        ("expert,t,layers\na,0.5,12\n", {"wide": True, "metric": "accuracy"},
         "12 at line 2, column 'layers'; .*leave out columns that are no tasks with `ignore`"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_nothing_is_stored(store, table, text, options, message):
    with pytest.raises(ExpertiseError, match=message) as caught:
        import_history(store, table(text), HistoryOptions(**options))
    assert len(str(caught.value).splitlines()) == 1
    assert (store.experts(), store.tasks(), store.edges(), store.events()) == ([], [], [], [])


def test_text_that_is_not_utf8_is_said_with_the_way_out(store, table):
    with pytest.raises(InvalidInputError, match=r"t.csv is not UTF-8: byte 0xef.*iconv"):
        import_history(store, table(HEADER + "naïve,t,m,1\n", encoding="latin-1"))


def test_invalid_rows_can_be_skipped_and_are_counted(store, table):
    rows = "a,t,accuracy,0.5\nb,t\nc,t,accuracy,x\n,t,accuracy,0.5\nd,t,accuracy,-3\n"
    report = import_history(store, table(HEADER + rows), HistoryOptions(skip_invalid=True))
    assert edges(store) == [("meta:a", "task:meta:t", "accuracy", 0.5)]
    assert report.left_out == {
        "with another number of fields": 1,
        "with something else than a number": 1,
        "without expert": 1,
        "out of range": 1,
    }
    assert [e.name for e in store.experts()] == ["a"]


def test_a_wide_table_has_a_task_a_column(store, table):
    path = table("model,params,cola,mrpc\na,7,0.5,0.6\nb,8,,0.7\n")
    options = HistoryOptions(wide=True, metric="accuracy", ignore=("params",), modality="text")
    report = import_history(store, path, options)
    assert edges(store) == [
        ("meta:a", "task:meta:cola", "accuracy", 0.5),
        ("meta:a", "task:meta:mrpc", "accuracy", 0.6),
        ("meta:b", "task:meta:mrpc", "accuracy", 0.7),
    ]
    assert (report.rows, report.added, report.left_out) == (2, 3, {"without a value": 1})
    assert {e.modality for e in store.experts()} == {t.modality for t in store.tasks()} == {"text"}


def test_names_are_those_of_the_registry_where_it_knows_them(store, table):
    store.add_nodes(
        [
            expert("hf:org/vit@1", name="vit", source="hf", locator="org/vit"),
            expert("dir:2", name="resnet", weights_sha="c" * 64),
        ],
        [dataclasses.replace(task("pets"), id="task:5", n=9)],
    )
    names = ("hf:org/vit@1", "hf:org/vit", "org/vit", "vit@aaaaaaaa", "vit", "resnet")
    pairs = [(name, task_name) for name in names for task_name in ("pets", "task:5")]
    rows = "".join(f"{name},{task_name},accuracy,0.5,{i}\n" for i, (name, task_name) in enumerate(pairs))
    report = import_history(store, table("expert,task,metric,value,seed\n" + rows))
    assert {e.source for e in store.edges()} == {"hf:org/vit@1", "dir:2"}
    assert {e.target for e in store.edges()} == {"task:5"}
    assert (report.experts_known, report.new_experts, report.tasks_known, report.new_tasks) == (2, (), 1, ())


def test_a_name_of_several_is_one_clear_line(store, table):
    store.add_nodes([expert("dir:1", name="net"), expert("dir:2", name="net")])
    with pytest.raises(InvalidInputError, match=r"t.csv: 'net' names 2 experts: dir:1, dir:2; write the id"):
        import_history(store, table(HEADER + "net,t,accuracy,0.5\n"))
    store.add_nodes(tasks=[task("t"), dataclasses.replace(task("t"), id="task:2")])
    with pytest.raises(InvalidInputError, match="'t' names 2 tasks"):
        import_history(store, table(HEADER + "dir:1,t,accuracy,0.5\n"))
    assert store.edges() == []


def test_new_nodes_have_the_modality_of_the_known_ones_when_they_agree(store, table):
    store.add_nodes([expert("dir:1", name="a"), expert("dir:2", name="b", modality="text")])
    import_history(store, table(HEADER + "a,t,accuracy,0.5\nc,t,accuracy,0.5\n"))
    import_history(store, table(HEADER + "a,u,accuracy,0.5\nb,u,accuracy,0.5\n"))
    assert {t.name: t.modality for t in store.tasks()} == {"t": "image", "u": "unknown"}
    assert store.expert("meta:c").modality == "image"
    import_history(store, table(HEADER + "d,u,accuracy,0.7\n"), HistoryOptions(modality="text"))
    assert {t.name: t.modality for t in store.tasks()} == {"t": "image", "u": "text"}
    assert store.expert("dir:1").modality == "image"


@pytest.mark.slow
def test_a_large_file_takes_one_transaction(store, table):
    rows = "".join(f"e{i % 300},t{i // 300},accuracy,0.{i % 1000:03d},{i % 7}\n" for i in range(30_000))
    report = import_history(store, table("expert,task,metric,value,seed\n" + rows))
    assert report.added == len(store.edges()) == 30_000
    assert [e["detail"] for e in store.events()] == [{"kind": "results", "added": 30_000}]
