"""Which experts surprise together: planted groups, one common factor, gaps, and what must not change it."""

import numpy as np
import pytest

from expertise_graph.retrieval.history import History
from expertise_graph.retrieval.predict import predict
from expertise_graph.retrieval.residuals import residual_covariance
from expertise_graph.retrieval.scale import joint_levels, standardised_columns

NAN = np.nan


def correlation(values):
    shared = residual_covariance(values)
    scale = np.sqrt(np.diag(shared))
    return shared / np.outer(scale, scale)


def grouped(seed, *, experts=24, tasks=20, groups=3, noise=0.4, missing=0.0):
    """Return results of experts that are good at tasks by groups, quality aside, and the groups."""
    rng = np.random.default_rng(seed)
    group = np.arange(experts) % groups
    values = rng.normal(size=(experts, 1)) + rng.normal(size=(groups, tasks))[group]
    values += noise * rng.normal(size=values.shape)
    values[rng.random(values.shape) < missing] = NAN
    return standardised_columns(values)[0], group


@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("seed", range(3))
def test_experts_of_a_planted_group_share_their_surprises(seed, missing):
    values, group = grouped(seed, missing=missing)
    found = correlation(values)
    alike = group[:, None] == group[None, :]
    np.fill_diagonal(alike, False)
    assert found[alike].mean() > 0.4
    # Standardised by task, what one group gains the other two lose: -.5 each.
    assert -0.6 < found[group[:, None] != group[None, :]].mean() < 0.1


@pytest.mark.parametrize("seed", range(3))
def test_with_one_common_factor_hardly_anything_is_shared(seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(30, 1)) + 0.7 * rng.normal(size=(30, 15))
    found = correlation(standardised_columns(values)[0])
    assert np.abs(found[~np.eye(30, dtype=bool)]).mean() < 0.12


def test_with_one_common_factor_the_order_is_that_of_the_mean():
    rng = np.random.default_rng(7)
    values = rng.normal(size=(30, 1)) + 0.7 * rng.normal(size=(30, 15))
    names = [tuple(map(str, range(n))) for n in values.shape]
    found = predict(History(experts=names[0], tasks=names[1], outcomes=values), 3).mean
    mean = np.delete(standardised_columns(values)[0], 3, axis=1).mean(axis=1)
    assert np.corrcoef(found, mean)[0, 1] > 0.995


@pytest.mark.parametrize("seed", range(8))
def test_four_scores_turn_a_history_of_the_other_kind(seed):
    """Nine tasks are alike, the target and one more are of another kind: groups of experts change places."""
    rng = np.random.default_rng(seed)
    group = np.arange(24) % 2
    kind = np.array([0] * 9 + [1, 1])
    values = np.where(group[:, None] == kind[None, :], 1.5, 0.0) + 0.3 * rng.normal(size=(24, 11))
    target = 10
    scores = np.full_like(values, NAN)
    scores[:4, target] = values[:4, target]
    names = [tuple(map(str, range(n))) for n in values.shape]
    known = History(experts=names[0], tasks=names[1], outcomes=values, scores={"logme": scores})
    found = predict(known, target).mean
    assert found[4:][group[4:] == 1].min() > found[4:][group[4:] == 0].max()


def test_levels_of_tasks_that_were_tried_by_quality_do_not_become_traits():
    rng = np.random.default_rng(3)
    quality = np.sort(rng.normal(size=60))
    values = quality[:, None] + 0.3 * rng.normal(size=(60, 30))
    for task in range(30):
        first = rng.integers(0, 40)
        values[:first, task] = values[first + 20 :, task] = NAN
    found = correlation(joint_levels(standardised_columns(values)[0]))
    assert np.abs(found[~np.eye(60, dtype=bool)]).mean() < 0.12


def test_it_is_finite_and_positive_whatever_is_missing():
    for values in (
        np.full((4, 3), NAN),
        np.zeros((4, 3)),
        np.array([[1.0, -1.0, 0.5]]),
        np.array([[1.0], [-1.0]]),
        np.where(np.eye(4, 3) > 0, 1.0, NAN),
    ):
        shared = residual_covariance(values)
        assert np.isfinite(shared).all()
        np.testing.assert_allclose(shared, shared.T)
        assert np.linalg.eigvalsh(shared).min() > 0


def test_an_expert_without_results_is_on_its_own_and_changes_nothing_for_the_others():
    values, _ = grouped(4, missing=0.2)
    one = residual_covariance(values)
    more = residual_covariance(np.vstack([values, np.full((1, values.shape[1]), NAN)]))
    np.testing.assert_allclose(more[:24, :24], one, atol=1e-12)
    assert (more[24, :24] == 0).all()
    assert more[24, 24] == 1.0
    assert np.diag(one).mean() == pytest.approx(1.0)


def test_order_of_experts_and_tasks_does_not_matter():
    values, _ = grouped(5)
    rng = np.random.default_rng(0)
    rows, columns = rng.permutation(24), rng.permutation(20)
    moved = residual_covariance(values[np.ix_(rows, columns)])
    np.testing.assert_allclose(moved, residual_covariance(values)[np.ix_(rows, rows)], atol=1e-6)
