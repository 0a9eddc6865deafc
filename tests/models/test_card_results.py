"""What authors claim in cards and beside them: read as far as it can be, whatever stands there."""

import time

import pytest

from expertise_graph.models.card import read_card
from expertise_graph.models.card_results import Claim, claims_from, claims_in, claims_in_list

CARD = """---
license: mit
datasets: [org/pets]
model-index:
- name: net
  results:
  - task: {type: text-classification, name: Text Classification}
    dataset: {name: Emotion, type: dair-ai/emotion, config: split, split: test}
    metrics:
    - {type: accuracy, value: 0.927, name: Accuracy, verified: true, verifyToken: abc}
    - {type: f1, value: "92.1%"}
    source: {name: somebody, url: https://example.org/board}
  - task: {type: text-generation}
    dataset: {type: gsm8k, args: {num_few_shot: 5, split: test}}
    metrics: [{type: acc, value: "20.0 ± 1.2"}]
---
# Net
"""


def card(folder, text):
    folder.mkdir(exist_ok=True)
    (folder / "README.md").write_text(text, encoding="utf-8")
    return read_card(folder / "README.md")


def test_results_of_a_model_index_are_read_with_what_is_said_of_them(tmp_path):
    found = card(tmp_path, CARD)
    assert (found.license, found.datasets) == ("mit", ("org/pets",))
    about = {
        "dataset": "dair-ai/emotion",
        "name": "Emotion",
        "config": "split",
        "split": "test",
        "task": "text-classification",
        "source": "https://example.org/board",
    }
    assert found.claims == (
        Claim(**about, metric="accuracy", value=0.927, verified=True),
        Claim(**about, metric="f1", value=92.1, percent=True),
        Claim(dataset="gsm8k", split="test", task="text-generation", metric="acc", value=20.0),
    )
    assert claims_from(found.meta) == list(found.claims)


def test_results_in_their_own_files_are_read_beside_the_card(tmp_path):
    (tmp_path / ".eval_results").mkdir()
    (tmp_path / ".eval_results" / "b.yaml").write_text(
        "- dataset: {id: cais/hle, task_id: hle, revision: abc}\n  value: 20.9\n  verifyToken: t\n"
        "  date: 2026-01-15\n  source: {url: 'https://example.org/logs', name: logs}\n  notes: no tools\n"
    )
    (tmp_path / ".eval_results" / "a.yaml").write_text("- dataset: [")
    (tmp_path / ".eval_results" / "c.yaml").write_text("- dataset: {id: x}\n  value: 1\n" * 20_000)
    found = card(tmp_path, "---\nlicense: mit\n---\n")
    assert found.claims == (
        Claim(
            dataset="cais/hle",
            config="hle",
            value=20.9,
            verified=True,
            day="2026-01-15",
            source="https://example.org/logs",
        ),
    )


@pytest.mark.parametrize(
    "value",
    [".nan", ".inf", "-.inf", "true", "null", "[0.9]", "{a: 1}", "good", "''", "1" + "0" * 400, "'12,5'"],
)
def test_a_value_that_is_no_number_is_left_out(tmp_path, value):
    text = CARD.replace("0.927", value)
    assert [claim.metric for claim in card(tmp_path, text).claims] == ["f1", "acc"]


@pytest.mark.parametrize(
    "index",
    [3, "text", None, {}, [], [1, "a", None], [{"results": 1}], [{"results": [[]]}], [{"results": [{}]}],
     [{"results": [{"metrics": [{"value": 1}]}]}],
     [{"results": [{"dataset": [], "metrics": [{"value": 1}]}]}],
     [{"results": [{"dataset": {"type": "a\nb"}, "metrics": [{"value": 1}]}]}],
     [{"results": [{"dataset": {"type": "a" * 500}, "metrics": [{"value": 1}]}]}]],
)  # fmt: skip
def test_a_model_index_of_another_shape_states_nothing(index):
    assert claims_in(index) == []
    assert claims_in_list(index) == []


def test_ten_thousand_entries_are_bounded(tmp_path):
    entries = "".join(
        f"  - dataset: {{type: d{i}}}\n    metrics: [{{type: accuracy, value: 0.5}}]\n" for i in range(10_000)
    )
    found = card(tmp_path, f"---\nlicense: mit\nmodel-index:\n- results:\n{entries}---\n")
    assert (found.license, len(found.claims)) == ("mit", 4_000)


@pytest.mark.parametrize(
    "text",
    [
        "---\nmodel-index: " + "[" * 200_000 + "]" * 200_000 + "\n---\n",
        "---\n" + "\n".join(" " * i + "a:" for i in range(1_000)) + "\n---\n",
        "---\nx: " + "y" * (10 << 20) + "\n---\n",
        "---\n: : :\n---\n",
        "---\nlicense: mit\n",
    ],
    ids=["deep lists", "deep mappings", "10 MB", "no YAML", "no end"],
)
def test_a_card_that_cannot_be_read_states_nothing(tmp_path, text):
    found = card(tmp_path, text)
    assert (found.license, found.claims) == ("unknown", ())


def test_lists_that_are_the_same_one_many_times_take_no_longer(tmp_path):
    same = ", ".join(["*r"] * 20_000)
    empty = ", ".join(["x"] * 20_000)
    text = f"---\na: &a [{empty}]\nr: &r {{results: *a}}\nmodel-index: [{same}]\n---\n"
    started = time.perf_counter()
    assert card(tmp_path, text).claims == ()
    # Each by each would be 400 million.
    assert time.perf_counter() - started < 30
