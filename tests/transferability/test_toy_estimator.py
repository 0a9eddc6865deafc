"""An estimator of another package: registered by name, it is scored in a query that names it."""

import numpy as np
import pytest

from expertise_graph.core.errors import NotFoundError
from expertise_graph.core.types import Query
from expertise_graph.transferability import Estimator, estimators
from expertise_graph.workspace import Workspace
from tests import materials
from tests.conftest import IMAGE_EXPERTS

TOY = "distance_of_means"


def distance_of_means(features, labels):
    """Return how far the means of the first two classes are apart."""
    x, y = np.asarray(features), np.asarray(labels)
    return float(np.linalg.norm(x[y == 0].mean(0) - x[y == 1].mean(0)))


@pytest.fixture
def registered_toy():
    estimators.register(TOY, Estimator(name=TOY, function=distance_of_means, version="7"))
    yield estimators[TOY]
    del estimators._entries[TOY]


@pytest.fixture
def letters(tmp_path):
    return materials.pictures(tmp_path / "letters", 3, 8)


def test_a_query_that_names_a_registered_estimator_scores_with_it(workspace, letters, registered_toy):
    with Workspace(workspace) as zoo:
        plain = zoo.query(letters, Query(budget=4))
        assert TOY not in {s.estimator for s in zoo.store.scores(plain.task.id)}
        ranking = zoo.query(letters, Query(budget=4, estimators=(TOY,)))
        scores = {s.expert: s for s in zoo.store.scores(ranking.task.id) if s.estimator == TOY}
        again = zoo.query(letters, Query(budget=4, estimators=(TOY,)))
    assert (ranking.experts_run, again.experts_run) == (4, 0)
    assert {s.version for s in scores.values()} == {"7"}
    assert len(scores) == len(IMAGE_EXPERTS)
    # The only score that orders these experts is the toy's, so its best comes first.
    assert ranking.best.expert.id == max(scores, key=lambda e: scores[e].value)
    best = scores[ranking.best.expert.id].value
    assert ranking.best.evidence[0].endswith(f", {TOY} {best:.2f}")
    assert [c.expert.id for c in again.candidates] == [c.expert.id for c in ranking.candidates]


def test_scores_of_an_estimator_that_a_query_does_not_name_have_no_part_in_it(
    workspace, letters, registered_toy
):
    with Workspace(workspace) as zoo:
        before = zoo.query(letters, Query(budget=4))
        zoo.query(letters, Query(budget=4, estimators=(TOY, "parc")))
        after = zoo.query(letters, Query(budget=4))
    assert after.candidates == before.candidates


def test_without_it_the_name_is_refused_before_anything_is_run(workspace, letters):
    with Workspace(workspace) as zoo:
        before = materials.counts(zoo.folder)
        with pytest.raises(NotFoundError, match=f"no estimator called '{TOY}'"):
            zoo.query(letters, Query(budget=4, estimators=(TOY,)))
        assert materials.counts(zoo.folder) == before
