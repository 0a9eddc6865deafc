"""The forecast against the Gaussian process that its module describes, and what must not change it."""

import dataclasses

import numpy as np
import pytest

from expertise_graph.retrieval.covariates import Covariate, weigh
from expertise_graph.retrieval.factors import fit_factors
from expertise_graph.retrieval.forecast import NOISE, forecast, residuals_of, shares
from expertise_graph.retrieval.history import History
from expertise_graph.retrieval.scale import joint_levels, standardised_columns

NAN = np.nan


def history(seed, *, experts=12, tasks=7, missing=0.0, covariates=()):
    rng = np.random.default_rng(seed)
    place = rng.normal(size=(tasks, 2))
    outcomes = rng.normal(size=(experts, 1)) + rng.normal(size=(experts, 2)) @ place.T
    outcomes += 0.5 * rng.normal(size=outcomes.shape)
    outcomes[rng.random(outcomes.shape) < missing] = NAN
    far = np.square(place[:, None] - place[None, :]).sum(axis=2)
    return History(
        experts=tuple(f"e{i}" for i in range(experts)),
        tasks=tuple(f"t{j}" for j in range(tasks)),
        outcomes=outcomes,
        likeness={"distance": np.exp(-far)},
        covariates=covariates,
    )


def dense(given, target):
    """Condition all results of all experts at once; experts are independent."""
    values = joint_levels(standardised_columns(given.without(target).outcomes)[0])
    # A single result on a task tells nothing: it is the task's mean.
    values[:, (~np.isnan(values)).sum(axis=0) == 1] = NAN
    factors = fit_factors(values, given.likeness, target)
    cover = np.outer(factors.loadings, factors.loadings) + factors.own
    experts, tasks = values.shape
    prior = np.kron(np.eye(experts), cover)
    noise = np.kron(np.ones(experts), factors.noise)
    seen = np.flatnonzero(~np.isnan(values.ravel()))
    wanted = np.arange(experts) * tasks + target
    gain = np.linalg.solve(prior[np.ix_(seen, seen)] + np.diag(noise[seen]), prior[np.ix_(seen, wanted)]).T
    mean = gain @ values.ravel()[seen]
    covariance = prior[np.ix_(wanted, wanted)] - gain @ prior[np.ix_(seen, wanted)]
    return mean, covariance, max(float(factors.noise[target]) - NOISE, 0.0)


@pytest.mark.parametrize("missing", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("seed", range(3))
def test_forecast_is_the_joint_gaussian_given_the_results(seed, missing):
    given = history(seed, missing=missing)
    mean, covariance, fit = dense(given, 2)
    found = forecast(given, 2)
    np.testing.assert_allclose(found.mean, mean, atol=1e-8)
    np.testing.assert_allclose(found.alone, mean, atol=1e-8)
    np.testing.assert_allclose(found.covariance, covariance + fit * residuals_of(given, 2), atol=1e-5)
    np.testing.assert_allclose(found.variance, np.diag(found.covariance) + NOISE)


def test_experts_of_like_covariates_share_what_is_known():
    family = np.arange(12) % 3
    given = history(5, missing=0.4, covariates=(Covariate("family", family.astype(float), ordered=False),))
    given.outcomes[:] += 2.0 * family[:, None]
    alone, covariance, fit = dense(given, 1)
    found = forecast(given, 1)
    values = joint_levels(standardised_columns(given.without(1).outcomes)[0])
    factors = fit_factors(values, given.likeness, 1)
    worth = factors.loadings[1] ** 2 + factors.own[1, 1]
    variance = np.minimum(np.diag(covariance), worth * (1 - 1e-9))
    precision = 1.0 / variance - 1.0 / worth
    kernel, share, weights = weigh(given.covariates, alone, precision * (precision > 1e-6))
    assert weights == pytest.approx(found.covariates)
    share = min(share, 0.9)
    prior = worth * ((1.0 - share) * np.eye(12) + share * kernel)
    # In the form of precisions, which add.
    expected = np.linalg.inv(np.linalg.inv(prior) + np.diag(precision))
    np.testing.assert_allclose(found.covariance, expected + fit * residuals_of(given, 1), atol=1e-6)
    np.testing.assert_allclose(found.mean, expected @ (alone / variance), atol=1e-6)


def test_an_expert_without_results_is_forecast_from_its_family():
    family = np.arange(30) % 2
    given = history(6, experts=30, covariates=(Covariate("family", family.astype(float), ordered=False),))
    given.outcomes[:] += 3.0 * family[:, None]
    cold = given.without_experts(np.arange(30) < 2)
    found = forecast(cold, 0)
    assert found.mean[1] > 0.3
    assert found.mean[0] < -0.3
    assert list(found.results[:3]) == [0, 0, 6]
    assert found.variance[0] > found.variance[2]


def test_shares_add_up_to_what_the_expert_has_alone():
    given = history(7, missing=0.3)
    found = forecast(given, 3)
    for row in range(12):
        parts, _, claimed = shares(given, 3, row)
        assert not claimed.any()
        assert parts.sum() == pytest.approx(found.alone[row], abs=1e-9)
        assert (parts[np.isnan(given.without(3).outcomes[row])] == 0).all()


def test_results_on_the_target_are_not_looked_at():
    given = history(8)
    changed = dataclasses.replace(given, outcomes=given.outcomes.copy())
    changed.outcomes[:, 4] = 1e6 * np.arange(12.0)
    one, other = forecast(given, 4), forecast(changed, 4)
    np.testing.assert_array_equal(one.mean, other.mean)
    np.testing.assert_array_equal(one.covariance, other.covariance)


def moved(given, rows, columns):
    return dataclasses.replace(
        given,
        experts=tuple(given.experts[i] for i in rows),
        tasks=tuple(given.tasks[j] for j in columns),
        outcomes=given.outcomes[np.ix_(rows, columns)],
        likeness={k: v[np.ix_(columns, columns)] for k, v in given.likeness.items()},
        covariates=tuple(Covariate(t.name, t.values[rows], t.ordered) for t in given.covariates),
    )


def test_order_of_experts_and_tasks_does_not_matter():
    covariate = Covariate("family", (np.arange(12) % 3).astype(float), ordered=False)
    given = history(9, missing=0.2, covariates=(covariate,))
    rng = np.random.default_rng(0)
    rows, columns = rng.permutation(12), rng.permutation(7)
    other = forecast(moved(given, rows, columns), int(np.flatnonzero(columns == 2)[0]))
    np.testing.assert_allclose(other.mean, forecast(given, 2).mean[rows], atol=1e-3)


@pytest.mark.parametrize(("scale", "shift"), [(100.0, 0.0), (1e-3, 7.0)])
def test_the_unit_of_a_tasks_results_does_not_matter(scale, shift):
    given = history(10)
    changed = dataclasses.replace(given, outcomes=given.outcomes.copy())
    changed.outcomes[:, 1] = scale * given.outcomes[:, 1] + shift
    np.testing.assert_allclose(forecast(changed, 0).mean, forecast(given, 0).mean, atol=1e-6)


def test_an_expert_of_which_nothing_is_known_changes_nothing_for_the_others():
    given = history(11, missing=0.2)
    more = dataclasses.replace(
        given, experts=(*given.experts, "new"), outcomes=np.vstack([given.outcomes, np.full((1, 7), NAN)])
    )
    one, other = forecast(given, 0), forecast(more, 0)
    np.testing.assert_allclose(other.mean[:12], one.mean, atol=1e-12)
    np.testing.assert_allclose(other.covariance[:12, :12], one.covariance, atol=1e-12)
    assert other.mean[12] == 0.0


def test_lower_is_better_turns_the_forecast_round():
    given = history(12)
    turned = dataclasses.replace(given, outcomes=-given.outcomes)
    np.testing.assert_allclose(forecast(turned, 0).mean, -forecast(given, 0).mean, atol=1e-9)


@pytest.mark.parametrize(
    "outcomes",
    [
        np.full((4, 3), NAN),
        np.full((4, 3), 0.5),
        np.array([[1.0, 2.0, 3.0]]),
        np.array([[1.0], [2.0], [3.0]]),
        np.where(np.eye(4, 3) > 0, 1.0, NAN),
        np.array([[0.0, 1.0, 2.0], [1.0, 1e12, 0.0], [2.0, 0.0, -1e12], [0.5, 1.0, 1.0]]),
    ],
    ids=["nothing known", "all equal", "one expert", "one task", "one result each", "absurd results"],
)
def test_extremes_have_a_finite_forecast(outcomes):
    experts, tasks = outcomes.shape
    given = History(
        experts=tuple(map(str, range(experts))), tasks=tuple(map(str, range(tasks))), outcomes=outcomes
    )
    found = forecast(given, 0)
    assert np.isfinite(found.mean).all()
    assert np.isfinite(found.covariance).all()
    assert (found.variance >= NOISE).all()
    assert np.linalg.eigvalsh(found.covariance).min() > -1e-9


def test_without_any_results_all_experts_are_average():
    given = History(experts=("a", "b"), tasks=("x",), outcomes=np.full((2, 1), NAN))
    found = forecast(given, 0)
    np.testing.assert_array_equal(found.mean, np.zeros(2))
    assert found.variance == pytest.approx(np.ones(2))


def test_a_task_with_a_single_result_tells_nothing():
    given = history(0)
    more = np.full((12, 8), NAN)
    more[:, :7], more[3, 7] = given.outcomes, 2.0
    single = dataclasses.replace(
        given, tasks=(*given.tasks, "alone"), outcomes=more, likeness={}, covariates=given.covariates
    )
    without = dataclasses.replace(given, likeness={})
    one, other = forecast(single, 2), forecast(without, 2)
    np.testing.assert_allclose(one.mean, other.mean, atol=1e-12)
    np.testing.assert_allclose(one.covariance, other.covariance, atol=1e-12)
    np.testing.assert_array_equal(one.results, other.results)
