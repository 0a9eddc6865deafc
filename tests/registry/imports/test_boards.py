"""Results of public leaderboards as they are published: JSON of MTEB and Every Eval Ever, tables of timm."""

import json

import pytest

from expertise_graph.core.errors import InvalidInputError
from expertise_graph.registry.imports.history import import_history
from expertise_graph.registry.imports.options import HistoryOptions
from expertise_graph.registry.provenance import known_from
from tests.nodes import expert
from tests.program import invoke


def stored(store):
    names = store.names({end for e in store.edges("transfer") for end in (e.source, e.target)})
    return {(names[e.source], names[e.target], e.metric, e.weight, e.method) for e in store.edges("transfer")}


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def scores(**given):
    return {"languages": ["eng-Latn"], "evaluation_time": 3.2, **given}


BANKING = {
    "dataset_revision": "0fd18e25",
    "task_name": "Banking77Classification",
    "mteb_version": "1.12.75",
    "scores": {"test": [scores(accuracy=0.8012, f1=0.79, main_score=0.8012, hf_subset="default")]},
}
MTOP = {
    "task_name": "MTOPDomainClassification",
    "scores": {
        "validation": [scores(accuracy=0.1, main_score=0.1, hf_subset="en")],
        "test": [
            scores(accuracy=0.9, f1=0.88, main_score=0.9, hf_subset="en"),
            scores(accuracy=0.7, f1=0.69, main_score=0.7, hf_subset="de") | {"languages": ["deu-Latn"]},
        ],
    },
}
SENTIMENT = {
    "task_name": "NusaParagraphEmotionClassification",
    "scores": {
        "test": [
            scores(accuracy=0.5, f1=0.31, main_score=0.31, hf_subset="jav") | {"languages": ["jav-Latn"]},
            scores(accuracy=0.5, f1=0.33, main_score=0.33, hf_subset="min") | {"languages": ["min-Arab"]},
        ]
    },
}
ARGUANA = {"task_name": "ArguAna", "scores": {"test": [scores(ndcg_at_10=0.5, main_score=0.5)]}}
OLDEST = {"mteb_dataset_name": "AmazonReviewsClassification", "mteb_version": "1.0.2",
          "test": {"en": {"accuracy": 0.4}, "de": {"accuracy": 0.2}, "evaluation_time": 9.1}}  # fmt: skip
OLD = {"mteb_dataset_name": "ImdbClassification", "mteb_version": "1.0.2",
       "test": {"accuracy": 0.83, "ap": 0.7, "f1": 0.82, "evaluation_time": 9.1}}  # fmt: skip


@pytest.fixture
def results(tmp_path):
    """A folder as that of embeddings-benchmark/results: ORG__MODEL/REVISION/TASK.json."""
    folder = tmp_path / "results"
    here = folder / "acme__small" / "abc123"
    for content in (BANKING, MTOP, SENTIMENT, ARGUANA):
        write(here / f"{content['task_name']}.json", content)
    write(here / "model_meta.json", {"name": "acme/small-v2", "revision": "abc123"})
    write(folder / "org__other" / "no_revision_available" / "ImdbClassification.json", OLD)
    write(folder / "org__other" / "no_revision_available" / "AmazonReviewsClassification.json", OLDEST)
    write(folder / "org__other" / "no_revision_available" / "broken.json", "{")
    return folder


MTEB = "mteb-linear-probe"
IN_FOLDER = {
    ("hf:acme/small-v2", "mteb/Banking77Classification", "accuracy", 0.8012, MTEB),
    ("hf:acme/small-v2", "mteb/MTOPDomainClassification", "accuracy", 0.9, MTEB),
    ("hf:acme/small-v2", "mteb/NusaParagraphEmotionClassification", "f1", 0.32, MTEB),
    ("hf:org/other", "mteb/ImdbClassification", "accuracy", 0.83, MTEB),
    ("hf:org/other", "mteb/AmazonReviewsClassification", "accuracy", 0.4, MTEB),
}


@pytest.mark.parametrize("source", ["mteb", None])
def test_a_folder_of_mteb_results_meets_the_names_of_published_tables(store, results, source):
    report = import_history(store, results, HistoryOptions(source=source, modality="text"))
    assert stored(store) == IN_FOLDER
    assert report.left_out == {"of other metrics": 1, "files that hold no results": 1}
    assert {known_from(edge) for edge in store.edges("transfer")} == {"published"}
    again = import_history(store, results, HistoryOptions(source=source, modality="text"))
    assert (again.added, again.duplicates) == (0, 5)


def test_a_result_of_a_registered_model_becomes_its_own(store, results):
    here = expert("small", id="hf:acme/small-v2@1", source="hf", locator="acme/small-v2", modality="text")
    store.put_expert(here)
    import_history(store, results / "acme__small" / "abc123" / "Banking77Classification.json")
    (edge,) = store.edges("transfer")
    assert (edge.source, edge.weight) == (here.id, 0.8012)


def test_a_published_table_of_mteb_is_read_with_its_own_names(store, table):
    text = f"expert,task,metric,value,method\nhf:a/b,mteb/Banking77Classification,accuracy,0.7,{MTEB}\n"
    import_history(store, table(text), HistoryOptions(source="mteb", modality="text"))
    assert stored(store) == {("hf:a/b", "mteb/Banking77Classification", "accuracy", 0.7, MTEB)}
    assert {known_from(edge) for edge in store.edges("transfer")} == {"published"}


def every_eval(*results, relationship="third_party", model="acme/net"):
    return {
        "schema_version": "0.2.1",
        "evaluation_id": "x",
        "evaluation_timestamp": "1761001924.0",
        "source_metadata": {"source_type": "evaluation_run", "evaluator_relationship": relationship},
        "model_info": {"name": "Net", "id": model},
        "evaluation_results": list(results),
    }


def result(score, name="accuracy", repo="allenai/ai2_arc", most=1.0, **more):
    return {
        "evaluation_name": name,
        "source_data": {"source_type": "hf_dataset", "dataset_name": "arc", "hf_repo": repo,
                        "samples_number": 2376},
        "metric_config": {"evaluation_description": "accuracy", "lower_is_better": False,
                          "score_type": "continuous", "min_score": 0, "max_score": most, **more},
        "score_details": {"score": score},
    }  # fmt: skip


def test_results_of_every_eval_ever_are_fractions_with_items_and_day(store, tmp_path):
    other = result(12.0, "perplexity", evaluation_description="perplexity", lower_is_better=True, most=1e9)
    elo = result(1200.0, "elo", evaluation_description="arena elo of the model", most=3000.0)
    path = write(
        tmp_path / "a.json", every_eval(result(0.25), result(62.5, repo="b/c", most=100), other, elo)
    )
    report = import_history(store, path, HistoryOptions(modality="text"))
    assert stored(store) == {
        ("hf:acme/net", "allenai/ai2_arc", "accuracy", 0.25, "imported"),
        ("hf:acme/net", "b/c", "accuracy", 0.625, "imported"),
    }
    assert {(e.n, e.meta["date"]) for e in store.edges("transfer")} == {(2376, "2025-10-20")}
    assert report.left_out == {"of metrics that are better when lower": 1, "of other metrics": 1}


def test_what_the_maker_of_a_model_measured_is_self_reported(store, tmp_path):
    path = write(tmp_path / "a.json", every_eval(result(0.99), relationship="first_party"))
    import_history(store, path, HistoryOptions(source="eval-ever", modality="text"))
    (edge,) = store.edges("transfer")
    assert edge.is_claim
    assert known_from(edge) == "self-reported"
    # A card of the model has no say in it.
    store.replace_claims(edge.source, [])
    assert len(store.edges("transfer")) == 1


def test_several_evaluations_of_one_data_set_are_tasks_of_their_own(store, tmp_path):
    path = write(tmp_path / "a.json", every_eval(result(0.5, "easy"), result(0.25, "hard")))
    import_history(store, path, HistoryOptions(modality="text"))
    assert {(task, value) for _, task, _, value, _ in stored(store)} == {
        ("allenai/ai2_arc/easy", 0.5),
        ("allenai/ai2_arc/hard", 0.25),
    }


def test_a_table_of_timm_names_what_register_takes(store, table):
    text = "model,img_size,top1,top1_err,top5,param_count\nresnet50.a1_in1k,224,80.2,19.8,94.6,25.56\n"
    for name in ("results-imagenet.csv", "results-imagenet-a-clean.csv"):
        import_history(store, table(text, name), HistoryOptions(source="timm", modality="image"))
    assert stored(store) == {
        ("timm:resnet50.a1_in1k", "imagenet", "accuracy", 0.802, "imported"),
        ("timm:resnet50.a1_in1k", "imagenet-a-clean", "accuracy", 0.802, "imported"),
    }
    assert {known_from(edge) for edge in store.edges("transfer")} == {"published"}


@pytest.mark.parametrize(
    ("content", "source", "said"),
    [
        ({"a": 1, "b": 2}, None, "holds an object with the keys a, b; files of MTEB"),
        ([1, 2], None, "holds a list; files of MTEB"),
        ("{", "mteb", "holds no JSON that can be read, and no results of MTEB"),
        (BANKING, "eval-ever", "mteb_version, scores, task_name, and no results of Every"),
        (BANKING, "mteb", "does not say which model it is about: keep it in its folder"),
        (every_eval(), None, "has no result of Every Eval Ever that counts"),
        (every_eval(result("good")), None, "has no value in any of its 1 rows"),
    ],
)  # fmt: skip
def test_files_of_another_kind_are_one_line_that_says_what_is_in_them(store, tmp_path, content, source, said):
    path = write(tmp_path / "plain" / "a.json", content)
    with pytest.raises(InvalidInputError, match=said) as caught:
        import_history(store, path, HistoryOptions(source=source))
    assert "\n" not in str(caught.value)
    assert store.edges("transfer") == []


def test_an_empty_folder_is_refused(store, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInputError, match=r"holds no \.json file with results"):
        import_history(store, tmp_path / "empty", HistoryOptions(source="mteb"))


def test_on_the_command_line(workspace, results):
    done = invoke("history", "import", results, "--from", "mteb", "--modality", "text").worked()
    assert "results: 5 rows, 5 results added" in done.out
    assert "results of MTEB" in done.out
    listed = json.loads(invoke("history", "ls", "--task", "mteb/ImdbClassification", "--json").worked().out)
    assert [(r["expert"], r["known_from"], r["origin"]) for r in listed] == [
        ("hf:org/other", "published", "results")
    ]
    wrong = invoke("history", "import", "x.csv", "--from", "elsewhere")
    assert wrong.code == 2
    assert "eval-ever" in wrong.err
