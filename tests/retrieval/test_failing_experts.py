"""One expert that raises something, of whatever class: named, passed over, remembered; the others go on."""

from __future__ import annotations

import pytest

from expertise_graph import Workspace
from tests import materials, moody
from tests.program import invoke

KINDS = ["KeyError", "RuntimeError", "Panic"]


@pytest.fixture
def letters(tmp_path):
    return materials.pictures(tmp_path / "letters", 3, 8)


def query(data, *options):
    return invoke("query", data, "--trust-code", "--json", *options).worked().json


def names(answer):
    return {c["name"] for c in answer["candidates"]}


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_a_row_and_no_candidate_and_is_not_run_again(blank, letters, kind):
    moody.register(blank, "a", "b", "c")
    moody.moods(blank, a=(kind, "always"))
    answer = query(letters)
    (failed,) = answer["failed"]
    assert failed["reason"].startswith(f"a failed: {kind}: ")
    assert "it is the wrong day" in failed["reason"]
    assert "details" not in failed["reason"]
    assert failed["reason"] in answer["notes"]
    assert names(answer) == {"b", "c"}
    assert failed["expert"] not in answer["together"]
    assert answer["experts_run"] == 2
    moody.moods(blank)
    again = query(letters, "--sample", 12)
    assert again["failed"] == answer["failed"]
    assert names(again) == {"b", "c"}
    assert moody.calls(blank) == ["b", "c"]


def test_on_other_data_it_is_run_as_any(blank, letters, tmp_path):
    moody.register(blank, "a", "b")
    moody.moods(blank, a=("KeyError", "always"))
    query(letters)
    moody.moods(blank)
    answer = query(materials.pictures(tmp_path / "others", 4, 6))
    assert answer["failed"] == []
    assert names(answer) == {"a", "b"}


def test_registered_anew_or_with_other_libraries_it_is_tried_again(blank, letters):
    module = moody.register(blank, "a", "b")
    moody.moods(blank, a=("KeyError", "always"))
    query(letters)
    with Workspace() as opened:
        (known,) = opened.store.failures(opened.tasks()[0].task.id)
        opened.store.db.execute("UPDATE failures SET software = 'torch 1.0 transformers 4.0'")
    moody.moods(blank)
    assert names(query(letters)) == {"a", "b"}
    moody.moods(blank, a=("KeyError", "always"))
    query(letters, "--sample", 13)
    assert [e["name"] for e in query(letters)["candidates"]] == ["b"]
    moody.register(blank, "a", module=module)
    with Workspace() as opened:
        assert opened.store.failures(opened.tasks()[0].task.id) == {}
        assert opened.expert("a").id == known
    assert names(query(letters)) == {"a", "b"}


def test_short_memory_is_named_but_not_remembered(blank, letters):
    moody.register(blank, "a", "b")
    moody.moods(blank, a=("MemoryError", "always"))
    assert names(query(letters)) == {"b"}
    moody.moods(blank)
    assert names(query(letters)) == {"a", "b"}


def test_where_all_fail_each_is_named_in_one_line(blank, letters):
    moody.register(blank, "a", "b")
    moody.moods(blank, a=("KeyError", "always"), b=("Panic", "always"))
    for _ in range(2):
        done = invoke("query", letters, "--trust-code")
        done.failed("no expert could be run: ", "a failed: KeyError", "b failed: Panic")


def test_a_near_duplicate_of_it_is_a_candidate_again(blank, letters):
    """It stood for the other one, which would otherwise go with it."""
    moody.register(blank, "a")
    with Workspace() as opened:
        first = opened.expert("a").id
    moody.register(blank, "a", more="-again")
    with Workspace() as opened:
        (second,) = {e.id for e in opened.experts()} - {first}
    invoke("register", "zoo:hebrew-letters").worked()
    moody.moods(blank, a=("KeyError", "always"))
    with Workspace() as opened:
        opened.store.put_failure(first, opened.read(letters).task.id, "a failed: KeyError: x")
    moody.moods(blank)
    ran = {c["expert"]: c["ran"] for c in query(letters)["candidates"]}
    assert ran[second]
    assert first not in ran


def test_a_warm_start_goes_on_with_the_next_and_says_so(blank, letters):
    moody.register(blank, "a", "b")
    best = query(letters)["candidates"][0]["name"]
    other = {"a": "b", "b": "a"}[best]
    moody.moods(blank, **{best: ("RuntimeError", "training")})
    done = (
        invoke("warm-start", letters, "--out", "out", "--epochs", 1, "--trust-code", "--json").worked().json
    )
    with Workspace() as opened:
        assert opened.store.expert(done["expert"]).name == other
    assert done["note"].startswith(f"{best} failed: RuntimeError: it is the wrong day")
    assert names(query(letters)) == {other}


def test_a_warm_start_from_it_by_name_says_why_in_one_line(blank, letters):
    moody.register(blank, "a", "b")
    moody.moods(blank, a=("KeyError", "training"))
    done = invoke("warm-start", letters, "--expert", "a", "--out", "out", "--trust-code")
    done.failed("a failed: KeyError")


def test_where_the_only_one_that_is_allowed_fails_none_is_ranked(blank, letters):
    moody.register(blank, "a", "b")
    with Workspace() as opened:
        opened.store.db.execute("UPDATE experts SET license = 'mit' WHERE name = 'a'")
    moody.moods(blank, a=("KeyError", "always"))
    done = invoke("query", letters, "--trust-code", "--license", "mit")
    done.failed("no expert could be run: a failed: KeyError")
