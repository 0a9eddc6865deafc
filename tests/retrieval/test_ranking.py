"""From a belief to an answer: order, ties, chances, units, what was excluded, and why."""

import dataclasses
import re

import numpy as np
import pytest

from expertise_graph.core.types import METADATA, Baseline
from expertise_graph.retrieval.posterior import infer
from expertise_graph.retrieval.ranking import rank
from expertise_graph.retrieval.results import Measured
from expertise_graph.retrieval.scale import accuracy_of
from tests.nodes import expert
from tests.retrieval.searches import ran, search

BASELINE = Baseline(name="raw", predicted=0.4)


def answer(found, *, mean=None, covariance=None, known=None):
    """Return the ranking of a search, with other numbers in place of what is believed."""
    belief = infer(found)
    if mean is not None:
        covariance = np.diag(np.full(len(mean), 0.01)) if covariance is None else covariance
        belief = dataclasses.replace(belief, mean=np.asarray(mean, dtype=float), covariance=covariance)
    if known is not None:
        belief = dataclasses.replace(belief, scale=dataclasses.replace(belief.scale, known=known))
    return rank(found, belief, BASELINE)


def names(ranking):
    return [c.expert.name for c in ranking.candidates]


def test_the_best_mean_comes_first_as_an_accuracy_with_its_interval(store):
    mean = [0.0, 2.0, 1.0, -1.0]
    ranking = answer(ran(search(store, np.eye(4)), e0=0.5), mean=mean)
    assert names(ranking) == ["e1", "e2", "e0", "e3"]
    assert ranking.unit == "accuracy"
    for candidate in ranking.candidates:
        centre = mean[int(candidate.expert.name[1])]
        ends = accuracy_of(np.array([centre - 0.12815515655446004, centre, centre + 0.12815515655446004]))
        assert [candidate.low, candidate.predicted, candidate.high] == pytest.approx(list(ends))
    assert ranking.baseline == BASELINE
    assert str(ranking.command) == "warm_start('pets', expert='e1@sha of e', out='runs/pets')"
    assert 0 < ranking.seconds < 60


def test_equal_experts_keep_the_order_of_their_ids(store):
    assert names(answer(ran(search(store, np.eye(3)), e1=0.5), mean=[1.0, 1.0, 1.0])) == ["e0", "e1", "e2"]


def test_chances_are_shares_of_draws_and_ties_those_that_may_well_be_better(store):
    covariance = np.diag([1.0, 1.0, 1e-6])
    ranking = answer(ran(search(store, np.eye(3)), e0=0.5), mean=[0.5, 0.0, -9.0], covariance=covariance)
    chance = [c.p_best for c in ranking.candidates]
    # P(N(.5, 1) > N(0, 1)) is .638.
    assert chance == pytest.approx([0.638, 0.362, 0.0], abs=0.03)
    assert [c.tied for c in ranking.candidates] == [False, True, False]
    apart = answer(ran(search(store, np.eye(3)), e0=0.5), mean=[2.0, 0.0, -9.0], covariance=covariance)
    assert not any(c.tied for c in apart.candidates)


def test_without_a_level_the_unit_is_the_place_among_the_candidates(store):
    found = ran(search(store, np.eye(3)), e0=0.5)
    ranking = answer(found, mean=[9.0, 5.0, 1.0], known=False)
    assert ranking.unit == "percentile"
    assert [c.predicted for c in ranking.candidates] == pytest.approx([1.0, 0.5, 0.0], abs=0.01)
    blurred = answer(found, mean=[0.0, 0.0, 0.0], covariance=np.eye(3), known=False)
    assert [c.predicted for c in blurred.candidates] == pytest.approx([0.5] * 3, abs=0.05)
    assert [(c.low, c.high) for c in blurred.candidates] == [(0.0, 1.0)] * 3
    assert "percentiles among the candidates" in ranking.notes[-1]


def test_an_excluded_expert_is_no_candidate_and_the_best_of_each_constraint_is_told(store):
    reasons = {
        "dir:e0": ("`max_bytes=1000000`",),
        "dir:e1": ("`max_bytes=1000000`",),
        "dir:e2": ("`tags=x`",),
        "dir:e3": ("`tags=x`", "`max_bytes=1000000`"),
    }
    found = ran(search(store, np.eye(6), excluded=reasons), e4=0.5)
    ranking = answer(found, mean=[1.0, 2.0, 3.0, 4.0, 0.5, 0.0])
    assert names(ranking) == ["e4", "e5"]
    told = {e.constraint: e.candidate.expert.name for e in ranking.excluded}
    assert told == {"`max_bytes=1000000`": "e1", "`tags=x`": "e2"}
    assert sum(c.p_best for c in ranking.candidates) == pytest.approx(1.0)
    assert {e.name for e in ranking.together} == {"e4", "e5"}
    assert not ranking.candidates[0].tied


def test_together_are_the_best_and_those_that_may_beat_it_never_one_without_weights(store):
    experts = [expert(f"e{i}", source=METADATA if i == 0 else "dir") for i in range(5)]
    # e1 and e2 rise and fall together, e3 alone; e4 hardly moves.
    covariance = np.eye(5)
    covariance[1, 2] = covariance[2, 1] = 0.999
    covariance[4, 4] = 1e-4
    found = ran(search(store, np.eye(5), experts=experts), e1=0.5)
    ranking = answer(found, mean=[5.0, 1.0, 0.95, 0.8, 0.0], covariance=covariance)
    assert names(ranking)[0] == "e0"
    assert ranking.start.name == "e1"
    assert [e.name for e in ranking.together][:2] == ["e1", "e3"]
    assert "e0" not in {e.name for e in ranking.together}


def test_each_candidate_says_what_it_rests_on(store):
    experts = [expert("e0"), expert("e1"), expert("e2"), expert("e3", source=METADATA)]
    vectors = [[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [0.0, 0.0]]
    outcomes = np.array([[1.0, 1.2], [0.0, 0.1], [np.nan, np.nan], [np.nan, np.nan]])
    found = search(
        store,
        vectors,
        experts=experts,
        outcomes=outcomes,
        measured={"dir:e0": Measured(0.75, 40, "run:1")},
        stands_for={"dir:e2": ("dir:copy",)},
    )
    ran(found, e0=0.7, e2=0.5)
    found.responses["dir:e0"] = np.array([1.0, 0.0], dtype=np.float32)
    why = {c.expert.name: c for c in answer(found).candidates}
    e0, e1, e2, e3 = (why[f"e{i}"] for i in range(4))
    assert e0.evidence[0] == "measured 0.750 on 40 test items in run:1"
    assert e0.evidence[1] == "probe 0.700 on 100 items, LogME 0.40"
    assert e0.evidence[2].endswith("from 2 tasks")
    assert e0.evidence[3] == "similarity to the task 1.00"
    assert e1.evidence[0] == "CKA 0.80 to e2, which was run"
    assert e1.evidence[1].endswith("from 2 tasks")
    assert e1.evidence[-1] == "similarity to the task 0.60"
    assert (e2.same_as, e2.ran, e1.ran) == (("dir:copy",), True, False)
    assert e3.evidence == ("known from imported metadata only",)


def test_notes_say_what_went_wrong_and_what_the_numbers_are(store):
    found = ran(search(store, np.eye(3)), e0=0.3)
    found.unusable["dir:e1"] = "e1 was not run: no folder"
    found.interrupted, found.stopped = True, "decided"
    notes = answer(found).notes
    assert notes[0] == "e1 was not run: no folder"
    assert notes[1].startswith("interrupted: ")
    assert notes[2] == "stopped before the budget was used up: decided"
    assert re.fullmatch(
        r"predictions are accuracies after fine-tuning, calibrated on [\d,]+ fine-tunes that come with the "
        "package",
        notes[3],
    )
    assert notes[4].startswith("no expert that was run beats the raw input")
    better = answer(ran(search(store, np.eye(3)), e0=0.5)).notes
    assert len(better) == 1


@pytest.mark.parametrize("tasks", [2, 5])
def test_without_a_run_the_numbers_are_of_results_like_those_elsewhere(store, tasks):
    outcomes = np.random.default_rng(0).normal(size=(6, tasks))
    (note,) = answer(search(store, np.eye(6), outcomes=outcomes)).notes
    assert note == "predictions are based on results on other tasks: no expert was run on this one"
