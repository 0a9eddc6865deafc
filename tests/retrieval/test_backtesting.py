"""The back-test: nothing hidden is seen, the same answer every time, and a planted history is found."""

import csv
import dataclasses

import numpy as np
import pytest

from expertise_graph.core.errors import InvalidInputError
from expertise_graph.retrieval.backtest_plan import read_plan
from expertise_graph.retrieval.backtesting import backtest
from expertise_graph.retrieval.ranking_metrics import gain, pearson, regret, weighted_tau
from expertise_graph.store.store import Store
from tests.program import invoke
from tests.retrieval.planted import bring, planted, write


def arrays(values, kind, folder, **options):
    """Return history and plan of a planted history, with covariates and scores beside the results."""
    rng = np.random.default_rng(99)
    bring(folder, values, kind)
    experts, tasks = values.shape
    scores = [
        {"expert": f"e{i:02}", "task": f"t{j:02}", "estimator": name, "value": float(rng.normal())}
        for name in ("logme", "knn")
        for i in range(experts)
        for j in range(tasks)
    ]
    invoke("scores", "import", write(folder / "scores.csv", scores)).worked()
    about = [
        {"expert": f"e{i:02}", "params": 1000 + i, "family": "ab"[i % 2], "source": f"t{i % tasks:02}"}
        for i in range(experts)
    ]
    invoke("meta", "import", write(folder / "models.csv", about)).worked()
    with_store = Store(folder)
    try:
        return read_plan(with_store, **options)
    finally:
        with_store.close()


def predictions(report, task):
    found = next(t for t in report.tasks if t.name == task)
    return {name: dict(zip(found.experts, v, strict=True)) for name, v in found.predicted.items()}


@pytest.mark.parametrize("by", ["task", "expert"])
def test_hidden_results_change_no_prediction(by, home, monkeypatch):
    values, kind = planted(1, experts=20, tasks=6)
    corrupted = values.copy()
    corrupted[:, 2] = np.random.default_rng(7).permutation(values[:, 2]) * 0.3
    found = []
    for name, given in (("true", values), ("false", corrupted)):
        (home / name).mkdir()
        Store(home / name).close()
        monkeypatch.chdir(home / name)
        found.append(predictions(backtest(*arrays(given, kind, home / name, by=by, folds=3)), "t02"))
    one, other = found
    assert one.pop("oracle") != other.pop("oracle")
    assert one == other


@pytest.mark.slow
def test_results_of_held_out_experts_change_nothing_said_of_them(home):
    values, kind = planted(2, experts=18, tasks=5)
    history, plan = arrays(values, kind, home, by="expert", folds=3)
    report = backtest(history, plan)
    for fold in report.folds:
        rows = np.isin(history.experts, fold)
        outcomes, truth = history.outcomes.copy(), plan.truth.copy()
        outcomes[rows], truth[rows] = -(outcomes[rows] ** 2), -truth[rows]
        changed = backtest(
            dataclasses.replace(history, outcomes=outcomes), dataclasses.replace(plan, truth=truth)
        )
        for before, after in zip(report.tasks, changed.tasks, strict=True):
            inside = np.isin(before.experts, fold)
            for name in before.predicted.keys() - {"oracle"}:
                np.testing.assert_array_equal(before.predicted[name][inside], after.predicted[name][inside])


@pytest.mark.slow
def test_every_expert_is_in_one_fold_and_the_seed_decides_which(home):
    values, kind = planted(3, experts=17, tasks=3)
    history, plan = arrays(values, kind, home, by="expert", folds=4)
    folds = backtest(history, plan).folds
    assert sorted(e for fold in folds for e in fold) == sorted(history.experts)
    assert max(map(len, folds)) - min(map(len, folds)) <= 1
    assert backtest(history, dataclasses.replace(plan, seed=1)).folds != folds
    assert len(backtest(history, dataclasses.replace(plan, folds=99)).folds) == 17


def test_the_same_registry_gives_the_same_report(home):
    values, kind = planted(4, experts=15, tasks=5)
    bring(home, values, kind)
    one, other = (invoke("backtest", "--json").worked().out for _ in range(2))
    assert one == other


def test_a_planted_history_is_found(home):
    values, kind = planted(5, experts=60, tasks=14)
    bring(home, values, kind)
    report = invoke("backtest", "--json").worked().json
    ours, mean = report["methods"]["ours"], report["methods"]["history mean"]
    assert ours["tau_w"] > mean["tau_w"] + 0.05
    assert report["ours_minus"]["history mean"]["tau_w"]["low"] > 0
    assert report["ours_minus"]["history mean"]["pearson"]["low"] > 0
    assert report["ours_minus"]["random"]["rel@1"]["low"] > 0
    assert 0.7 < ours["coverage"] < 0.95


def test_metrics_are_those_of_the_predictions_written(home):
    values, kind = planted(6, experts=12, tasks=4)
    bring(home, values, kind)
    write(home / "vanilla.csv", [{"task": f"t{j:02}", "mean": 0.4 + 0.01 * j} for j in range(4)])
    done = invoke(
        *("backtest", "--json", "--predictions", home / "p"),
        *("--baseline", home / "vanilla.csv", "--baseline-column", "mean"),
    )
    report = done.worked().json
    found = []
    for j in range(4):
        with (home / "p" / f"t{j:02}.csv").open(newline="") as lines:
            score = {row["model"]: float(row["score"]) for row in csv.DictReader(lines)}
        names, x = list(score), np.array([score[f"e{i:02}"] for i in range(12)])
        listed, y = -np.array([names.index(f"e{i:02}") for i in range(12)]), values[:, j]
        for part in (list(score.values())[:5], list(score.values())[5:]):
            assert part == sorted(part, reverse=True)
        found.append(
            {
                "pearson": pearson(x, y),
                "tau_w": weighted_tau(listed, y),
                "rel@1": 1.0 - regret(listed, y, k=1),
                "regret@3": regret(listed, y, k=3),
                "gain@5": gain(listed, y, k=5, baseline=0.4 + 0.01 * j),
            }
        )
        own = report["tasks"][j]
        assert (own["name"], own["experts"]) == (f"t{j:02}", 12)
        assert own["pick"] == f"meta:e{x.argmax():02}"
        assert own["best"] == f"meta:e{y.argmax():02}"
        assert own["baseline"] == pytest.approx(0.4 + 0.01 * j)
        for name, value in found[-1].items():
            assert own["methods"]["ours"][name] == pytest.approx(value, abs=1e-6)
    for name in found[0]:
        assert report["methods"]["ours"][name] == pytest.approx(np.mean([f[name] for f in found]), abs=1e-6)


def test_the_complementary_set_is_judged_by_the_best_of_its_members(home):
    values, kind = planted(7, experts=12, tasks=9)
    bring(home, values, kind)
    write(home / "vanilla.csv", [{"task": f"t{j:02}", "value": 0.5} for j in range(9)])
    report = invoke("backtest", "--json", "--baseline", home / "vanilla.csv").worked().json
    for j, task in enumerate(report["tasks"]):
        members = [int(e.removeprefix("meta:e")) for e in task["complementary"]]
        assert len(set(members)) == 5
        found = task["methods"]["ours, complementary set"]
        assert found["gain@1"] == pytest.approx(values[members[0], j] - 0.5)
        assert found["gain@5"] == pytest.approx(values[members, j].max() - 0.5)


def test_an_expert_trained_on_the_task_is_not_asked_about_it(home):
    values, kind = planted(8, experts=8, tasks=4)
    bring(home, values, kind)
    own = [{"expert": "e03", "source_task": "t01"}, {"expert": "e05", "source_task": "t02"}]
    invoke("meta", "import", write(home / "own.csv", own)).worked()
    report = invoke("backtest", "--json", "--predictions", home / "p").worked().json
    assert [task["experts"] for task in report["tasks"]] == [8, 7, 7, 8]
    written = {j: (home / "p" / f"t{j:02}.csv").read_text() for j in range(4)}
    assert "e03" not in written[1]
    assert "e05" not in written[2]
    assert "e03" in written[2]


def test_each_estimator_is_a_row_and_the_best_is_the_one_that_ranks_the_other_tasks_best(home):
    values, _ = planted(9, experts=15, tasks=5)
    bring(home, values)
    rng = np.random.default_rng(0)
    noisy = {
        "good": np.log(values) + 0.1 * rng.normal(size=values.shape),
        "bad": rng.normal(size=values.shape),
    }
    rows = [
        {"expert": f"e{i:02}", "task": f"t{j:02}", "estimator": name, "value": float(array[i, j])}
        for name, array in noisy.items()
        for i in range(15)
        for j in range(5)
        if not (name == "good" and j == 4)
    ]
    invoke("scores", "import", write(home / "scores.csv", rows)).worked()
    report = invoke("backtest", "--json").worked().json
    for j, task in enumerate(report["tasks"]):
        chosen = "bad" if j == 4 else "good"
        assert task["methods"]["best single estimator"] == task["methods"][chosen]
        for name, array in noisy.items():
            if name in task["methods"]:
                expected = weighted_tau(array[:, j], values[:, j])
                assert task["methods"][name]["tau_w"] == pytest.approx(expected)
    assert "good" not in report["tasks"][4]["methods"]


def test_nearness_of_the_source_is_a_row_but_no_estimator(home):
    values, _ = planted(20, experts=10, tasks=4)
    bring(home, values)
    near = [
        {"task": f"s{i}", "other": f"t{j:02}", "distance": 1.0 - values[i, j]}
        for i in range(10)
        for j in range(4)
    ]
    invoke("tasks", "import-distance", write(home / "distances.csv", near)).worked()
    about = [{"expert": f"e{i:02}", "trained": f"s{i}"} for i in range(10)]
    invoke("meta", "import", write(home / "models.csv", about)).worked()
    methods = invoke("backtest", "--json").worked().json["methods"]
    assert methods["nearness of the source data"]["tau_w"] == pytest.approx(1.0)
    assert "best single estimator" not in methods


def test_an_estimator_called_like_one_of_the_rows_does_not_take_its_place(home):
    values, _ = planted(10, experts=10, tasks=4)
    bring(home, values)
    before = invoke("backtest", "--json").worked().json["methods"]
    rows = [
        {"expert": f"e{i:02}", "task": "t00", "estimator": name, "value": float(i)}
        for name in ("ours", "oracle", "random")
        for i in range(10)
    ]
    invoke("scores", "import", write(home / "scores.csv", rows)).worked()
    after = invoke("backtest", "--json").worked().json["methods"]
    assert after["oracle"] == before["oracle"]
    assert after["random"] == before["random"]
    assert after["oracle"]["pearson"] == pytest.approx(1.0)


def test_parameters_come_from_covariates(home):
    values, _ = planted(11, experts=10, tasks=3)
    bring(home, values)
    about = [{"expert": f"e{i:02}", "params": 10.0 + values[i, 0]} for i in range(9)]
    invoke("meta", "import", write(home / "models.csv", about)).worked()
    report = invoke("backtest", "--json", "--task", "t00").worked().json
    size = np.array([*(10.0 + values[:9, 0]), np.median(10.0 + values[:9, 0])])
    assert report["methods"]["parameters"]["pearson"] == pytest.approx(pearson(size, values[:, 0]))


def test_a_loss_is_ranked_from_the_lowest_and_has_no_relative_metrics(home):
    values, kind = planted(12, experts=12, tasks=5)
    loss = -np.log(values)
    bring(home, loss, kind, metric="loss", options=("--lower-is-better", "loss"))
    write(home / "vanilla.csv", [{"task": f"t{j:02}", "value": 0.7} for j in range(5)])
    report = invoke("backtest", "--json", "--baseline", home / "vanilla.csv").worked().json
    assert report["tasks"][0]["best"] == f"meta:e{loss[:, 0].argmin():02}"
    assert "rel@1" not in report["methods"]["ours"]
    assert report["methods"]["ours"]["pearson"] > 0.3
    expected = np.mean([0.7 - loss[:, j].min() for j in range(5)])
    assert report["methods"]["oracle"]["gain@1"] == pytest.approx(expected)


def test_equal_results_have_defined_metrics(home):
    values, _ = planted(13, experts=6, tasks=3)
    values[:, 1] = 0.5
    bring(home, values)
    report = invoke("backtest", "--json").worked().json
    found = report["tasks"][1]["methods"]["ours"]
    assert (found["pearson"], found["tau_w"], found["ndcg"], found["regret@1"]) == (0.0, 0.0, 1.0, 0.0)


def test_one_task_can_be_asked_for(home):
    values, kind = planted(14, experts=8, tasks=4)
    bring(home, values, kind)
    every = invoke("backtest", "--json").worked().json
    one = invoke("backtest", "--json", "--task", "t02").worked().json
    assert [t["name"] for t in one["tasks"]] == ["t02"]
    assert one["tasks"][0] == every["tasks"][2]
    assert one["methods"]["ours"] == every["tasks"][2]["methods"]["ours"]


def test_tasks_and_experts_of_one_name_are_told_apart(home):
    rows = [
        {"expert": expert, "task": task, "metric": "accuracy", "value": 0.1 * i + 0.05 * j}
        for i, expert in enumerate(("org/a", "org/b", "=c", "d"))
        for j, task in enumerate(("x/y", "x_y", "z"))
    ]
    invoke("history", "import", write(home / "results.csv", rows)).worked()
    invoke("backtest", "--predictions", home / "p").worked()
    names = sorted(path.name for path in (home / "p").iterdir())
    assert names == ["x_y-2.csv", "x_y.csv", "z.csv"]
    with (home / "p" / "z.csv").open(newline="") as lines:
        assert {row["model"] for row in csv.DictReader(lines)} == {"org/a", "org/b", "=c", "d"}


def test_the_table_for_people_says_what_was_held_out(home):
    values, kind = planted(15, experts=8, tasks=4)
    bring(home, values, kind)
    done = invoke("backtest", "--by", "expert", "--folds", 2).worked()
    assert "4 tasks, a task and a fold of the experts held out" in done.out
    assert "tau_w of ours minus random:" in done.out
    assert "history mean" not in done.out
    assert "tau_w of ours minus history mean:" in invoke("backtest").worked().out


def test_a_history_of_too_little_is_refused(home):
    invoke("backtest").failed("0 of 0 tasks", "a back-test needs two", "history import")
    values, _ = planted(16, experts=5, tasks=1)
    bring(home, values)
    invoke("backtest").failed("1 of 1 task with measured results")
    few = np.full((5, 3), np.nan)
    few[:2, 1:] = 0.5
    bring(home, few)
    invoke("backtest").failed("1 of 3 tasks", "at least 3 experts")


def test_a_task_without_enough_results_cannot_be_asked_for(home):
    values, _ = planted(17, experts=6, tasks=3)
    values[2:, 2] = np.nan
    bring(home, values)
    invoke("backtest", "--task", "t02").failed("t02", "fewer than 3 experts", "t00, t01")

    invoke("backtest", "--task", "tree").failed("no task 'tree'")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("task,mean\nt00,0.5\n", ["no column 'value'", "task, mean"]),
        ("dataset,value\nt00,0.5\n", ["no column 'task'", "dataset, value"]),
        ("task,value\nt00,high\n", ["line 2", "'high'"]),
        ("task,value\nt00,nan\n", ["line 2", "'nan'"]),
        ("task,value\nt00,0.5\nt00,0.6\n", ["line 3", "comes twice"]),
        ("task,value\nt00,55\n", ["t00 is 55", "divide it by 100"]),
        ("task,value\nother,0.5\n", ["names none of the tasks", "t00"]),
        ("task,value\n", ["no rows"]),
        ("", ["empty"]),
    ],
)
def test_a_baseline_that_cannot_be_used_is_refused(home, text, said):
    values, _ = planted(18, experts=5, tasks=3)
    bring(home, values)
    (home / "vanilla.csv").write_text(text)
    invoke("backtest", "--baseline", home / "vanilla.csv").failed(*said)


def test_a_baseline_that_is_not_there_is_one_line(home):
    invoke("backtest", "--baseline", home / "none.csv").failed("none.csv")


def test_a_baseline_of_some_tasks_gives_gains_on_those(home):
    values, _ = planted(19, experts=6, tasks=3)
    bring(home, values)
    (home / "vanilla.csv").write_text("task;value\nt01;0.25\nunknown;0.5\n")
    report = invoke("backtest", "--json", "--baseline", home / "vanilla.csv").worked().json
    assert [("gain@1" in t["methods"]["ours"]) for t in report["tasks"]] == [False, True, False]
    assert report["methods"]["oracle"]["gain@1"] == pytest.approx(values[:, 1].max() - 0.25)


def test_the_function_refuses_what_the_command_refuses(store):
    history, plan = read_plan(store)
    with pytest.raises(InvalidInputError, match="0 of 0 tasks"):
        backtest(history, plan)
