"""Which experts surprise together: a low-rank model of results, experts on one side and tasks on the other.

The result of expert e on task t, with the levels of the tasks taken out, is

    z_et = a_t + b_t q_e + w_e . f_t + noise,    noise ~ N(0, psi_e tau_t),

with the quality q_e of the expert, R traits w_e in which experts differ, and what the task asks for: a level
a_t, a slope b_t and demands f_t. The posterior is worked out by variational EM, experts and tasks in turn,
every variance by evidence with weak priors, so that with few tasks or one common factor nothing is shared.
"""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Traits of experts at most. Six cost .021 of weighted tau on open_clip with eight scores and gain nowhere,
# two are not told apart, one costs .018 on model-recycling (LOG.md).
MOST_TRAITS = 3
# Rounds of EM; later ones change predictions by less than a hundredth of a deviation.
_ROUNDS = 40
# Imaginary tasks on which each expert differs on its own. With four of them, four scores no longer turn a
# history of nine tasks of the other kind; with one, four experts on six tasks have unequal variances.
_ALONE = 2.0
# Results further from the level than so many deviations are moved there: a broken run is no trait.
_FARTHEST = 4.0
# Until this round the variance of each trait is held: else traits die in sparse tables before they are found.
_HELD_ROUNDS, _HELD_PRECISION = 12, 10.0
# What the variances start from, and how many imaginary tasks, results or traits they count for.
_LEVEL_VARIANCE, _SLOPE_VARIANCE, _IMAGINARY_TASKS = 0.1, 0.05, 4.0
_IMAGINARY_RESULTS, _IMAGINARY_RESULTS_OF_EXPERT, _IMAGINARY_DEMANDS = 20.0, 6.0, 3.0
_LEAST_QUALITY_VARIANCE = 0.02
# Ridge of how the noise of an expert grows with its quality, and how far that may go, as a logarithm.
_NOISE_RIDGE, _NOISE_REACH = 10.0, 2.0


def residual_covariance(values: Array) -> Array:
    """Return the covariance (E, E) of what quality leaves open on a task that no expert was measured on.

    Its mean variance is 1 over the experts with results; one without shares nothing, and has the variance 1.
    Two imaginary tasks, on which each expert differs on its own, keep few tasks from telling much.
    What all experts gain or lose alike is left out: it is the level of the task.

    Args:
        values: (E, T) standardised results less the level of each task, with NaN.

    References:
        The factorised posterior and its updates: Lim and Teh 2007; variances that switch traits off: Bishop
        1999.
    """
    known = ~np.isnan(values)
    rows, columns = np.any(known, axis=1), np.any(known, axis=0)
    if not rows.any():
        return np.eye(len(values))
    inside = known[np.ix_(rows, columns)]
    row, column = np.nonzero(inside)
    results = np.clip(values[np.ix_(rows, columns)][row, column], -_FARTHEST, _FARTHEST)
    fit = _Fit(results, row, column, inside.shape)
    for number in range(_ROUNDS):
        fit.update_experts()
        fit.update_tasks()
        fit.update_variances(hold=number < _HELD_ROUNDS)
    shared = fit.covariance()
    if rows.all():
        return shared
    found = np.eye(len(values))
    found[np.ix_(rows, rows)] = shared
    return found


class _Fit:
    """The state of variational EM; experts are (q, w), tasks (a, b, f)."""

    def __init__(
        self, values: Array, row: NDArray[np.intp], column: NDArray[np.intp], shape: tuple[int, ...]
    ) -> None:
        n, m = shape
        # Results as (row, column, value): histories of many experts and tasks are nearly empty.
        self.row, self.column, self.values, self.shape = row, column, values, shape
        self.of_expert, self.of_task = np.bincount(row, minlength=n), np.bincount(column, minlength=m)
        self.starts = np.concatenate([[0], self.of_expert.cumsum()])
        r = self.rank = max(0, min(MOST_TRAITS, m - 2, n - 2))
        quality = np.bincount(row, values, n) / (self.of_expert + 1.0)
        left = self._matrix(values - quality[row])
        # The first right singular vectors: traits begin with what most of the rest is.
        right = np.linalg.eigh(np.asarray((left.T @ left).toarray()))[1][:, ::-1][:, :r]
        self.experts: Array = np.column_stack([quality, left @ right / np.sqrt(max(m, 1))])
        self.tasks: Array = np.column_stack([np.zeros(m), np.ones(m), right * np.sqrt(max(m, 1))])
        self.cov_experts: Array = np.tile(0.1 * np.eye(1 + r), (n, 1, 1))
        self.cov_tasks: Array = np.tile(0.1 * np.eye(2 + r), (m, 1, 1))
        self.psi: Array = np.full(n, 0.3)
        self.tau: Array = np.ones(m)
        self.level, self.slope = _LEVEL_VARIANCE, _SLOPE_VARIANCE
        self.quality = max(float(np.square(quality).mean()), _LEAST_QUALITY_VARIANCE)
        self.precision: Array = np.full(r, _HELD_PRECISION)

    def _matrix(self, of_results: Array) -> scipy.sparse.csr_array:
        """Return an (E, T) matrix with a number for each result."""
        return scipy.sparse.csr_array((of_results, self.column, self.starts), shape=self.shape)

    def _weights(self) -> Array:
        """Return the precision of each result."""
        return np.asarray(1.0 / (self.psi[self.row] * self.tau[self.column]))

    def update_experts(self) -> None:
        """Work out quality and traits given what the tasks ask for."""
        of_task, m = self.tasks[:, 1:], len(self.tasks)
        second = of_task[:, :, None] * of_task[:, None, :] + self.cov_tasks[:, 1:, 1:]
        size = 1 + self.rank
        weights = self._weights()
        precision = (self._matrix(weights) @ second.reshape(m, -1)).reshape(-1, size, size)
        precision += np.diag([1.0 / self.quality, *self.precision])
        pull = self._matrix(weights * (self.values - self.tasks[self.column, 0])) @ of_task
        self.cov_experts = np.asarray(np.linalg.inv(precision), dtype=np.float64)
        self.experts = np.asarray(np.einsum("eij,ej->ei", self.cov_experts, pull), dtype=np.float64)

    def update_tasks(self) -> None:
        """Work out level, slope and demands given the experts."""
        full, second = self._with_constant()
        size = 2 + self.rank
        weights = self._weights()
        precision = (self._matrix(weights).T @ second.reshape(len(full), -1)).reshape(-1, size, size)
        precision += np.diag([1.0 / self.level, 1.0 / self.slope, *np.ones(self.rank)])
        pull = self._matrix(weights * self.values).T @ full
        pull[:, 1] += 1.0 / self.slope
        self.cov_tasks = np.asarray(np.linalg.inv(precision), dtype=np.float64)
        self.tasks = np.asarray(np.einsum("tij,tj->ti", self.cov_tasks, pull), dtype=np.float64)

    def update_variances(self, *, hold: bool) -> None:
        """Choose every variance by evidence; those of the traits are held at first."""
        full, second = self._with_constant()
        m = len(self.tasks)
        of_tasks = self.tasks[:, :, None] * self.tasks[:, None, :] + self.cov_tasks
        fitted = np.einsum("ri,ri->r", full[self.row], self.tasks[self.column])
        expected = np.einsum("rij,rij->r", second[self.row], of_tasks[self.column])
        squares = np.clip(self.values**2 - 2.0 * self.values * fitted + expected, 1e-9, None)
        imaginary = _IMAGINARY_TASKS
        self.level = float(of_tasks[:, 0, 0].sum() + imaginary * _LEVEL_VARIANCE) / (m + imaginary)
        slopes = np.square(self.tasks[:, 1] - 1.0) + self.cov_tasks[:, 1, 1]
        self.slope = float(slopes.sum() + imaginary * _SLOPE_VARIANCE) / (m + imaginary)
        quality = float((np.square(self.experts[:, 0]) + self.cov_experts[:, 0, 0]).mean())
        self.quality = max(quality, _LEAST_QUALITY_VARIANCE)
        of_task = np.bincount(self.column, squares / self.psi[self.row], minlength=m)
        tau = (of_task + _IMAGINARY_RESULTS) / (self.of_task + _IMAGINARY_RESULTS)
        self.tau = tau / np.exp(np.log(tau).mean())
        of_expert = np.bincount(self.row, squares / self.tau[self.column], minlength=len(self.psi))
        self.psi = self._noise_of_experts(of_expert.astype(np.float64))
        if not hold:
            diagonal = np.diagonal(self.cov_experts, axis1=1, axis2=2)[:, 1:]
            self.precision = 1.0 / np.maximum((np.square(self.experts[:, 1:]) + diagonal).mean(axis=0), 1e-6)

    def _noise_of_experts(self, total: Array) -> Array:
        """Return the noise of each expert by the sum of its squares (E,), shrunk to that of its quality."""
        q = self.experts[:, 0]
        usual = float(total.sum()) / max(float(self.of_expert.sum()), 1.0)
        curve = np.column_stack([np.ones(len(q)), q, q * q])
        ratio = np.log(np.maximum(total / np.maximum(self.of_expert, 1.0) / usual, 1e-3))
        weighted = curve * self.of_expert[:, None]
        ridge = np.diag([1e-6, _NOISE_RIDGE, _NOISE_RIDGE])
        slopes = np.linalg.solve(curve.T @ weighted + ridge, weighted.T @ ratio)
        grown = np.exp(np.clip(curve @ slopes, -_NOISE_REACH, _NOISE_REACH))
        grown /= float(grown @ self.of_expert) / max(float(self.of_expert.sum()), 1.0)
        imaginary = _IMAGINARY_RESULTS_OF_EXPERT
        return np.asarray((total + imaginary * usual * grown) / (self.of_expert + imaginary))

    def _with_constant(self) -> tuple[Array, Array]:
        """Return (1, q, w) of each expert (E, 2 + R) and its expected outer product."""
        full = np.column_stack([np.ones(len(self.experts)), self.experts])
        second = full[:, :, None] * full[:, None, :]
        second[:, 1:, 1:] += self.cov_experts
        return full, second

    def covariance(self) -> Array:
        """Return the covariance (E, E) on a task that asks for something between what past ones asked for.

        Its mean variance is 1, imaginary tasks on which each expert differs on its own included.
        """
        demands, traits, quality = self.tasks[:, 2:], self.experts[:, 1:], self.experts[:, 0]
        summed = demands.T @ demands + self.cov_tasks[:, 2:, 2:].sum(axis=0)
        asked = summed + _IMAGINARY_DEMANDS * np.eye(self.rank)
        asked /= len(demands) + _IMAGINARY_DEMANDS
        own = self.psi + np.einsum("ij,eij->e", asked, self.cov_experts[:, 1:, 1:])
        shared = np.column_stack([traits @ np.linalg.cholesky(asked), np.sqrt(self.slope) * quality])
        weight = len(demands) / (len(demands) + _ALONE)
        scale = weight / float((own + np.square(shared).sum(axis=1)).mean())
        shared *= np.sqrt(scale)
        found: Array = np.asarray(shared @ shared.T)
        found[np.diag_indices(len(own))] += scale * own + 1.0 - weight
        return found
