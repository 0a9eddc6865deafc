"""`auto` with an expert that raises something: it is named, and the model is made of the others."""

from __future__ import annotations

import pytest

from expertise_graph import AutoSettings, Query, Workspace
from tests import materials, moody


@pytest.fixture
def letters(tmp_path):
    return materials.pictures(tmp_path / "letters", 3, 8)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["KeyError", "Panic"])
def test_one_that_fails_in_training_is_a_failed_trial_and_the_others_go_on(blank, letters, kind):
    moody.register(blank, "a", "b")
    moody.moods(blank, a=(kind, "training"))
    with Workspace() as opened:
        settings = AutoSettings(time_budget=12.0 * materials.pace(), query=Query(budget=4))
        result = opened.auto(letters, blank / "out", settings=settings, trust_code=True)
        failures = opened.store.failures(result.model.task)
        kept = {e.source for e in opened.history()}
    raised = {t.name for t in result.trials if t.note.startswith("a failed: ")}
    assert raised == {"a"}
    assert [reason.partition(":")[0] for reason in failures.values()] == ["a failed"]
    assert result.model.expert not in failures
    assert not kept & set(failures)
