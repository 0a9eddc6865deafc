"""Estimators written down as their definitions read, with loops, in numpy."""

import math

import numpy as np
import torch


def one_hot(labels):
    return np.eye(labels.max() + 1)[labels]


def unit_variance(x):
    """Centred, mean squared row norm one; nothing where all rows are alike."""
    x = x - x.mean(axis=0)
    size = np.sqrt((x**2).sum(axis=1).mean())
    return x / size if size > 0 else x


def principal(x, most=None):
    """Coordinates along the principal axes; in each the largest is positive."""
    u, s, _ = np.linalg.svd(unit_variance(x), full_matrices=False)
    axes = [u[:, j] * s[j] for j in range(len(s)) if s[j] > 1e-7 * s[0]][:most]
    return np.array([a * np.sign(a[np.abs(a).argmax()]) for a in axes]).T.reshape(len(x), -1)


def h_score(x, labels):
    x = x - x.mean(axis=0)
    n, d = x.shape
    covariance = x.T @ x / n
    target = np.trace(covariance) / d * np.eye(d)
    distance = ((covariance - target) ** 2).sum()
    error = sum(((np.outer(row, row) - covariance) ** 2).sum() for row in x) / n**2
    shrinkage = min(error / distance, 1.0) if d > 1 else 0.0
    shrunk = (1 - shrinkage) * covariance + shrinkage * target
    between = np.zeros((d, d))
    for c in range(labels.max() + 1):
        mean = x[labels == c].mean(axis=0)
        between += (labels == c).mean() * np.outer(mean, mean)
    return np.trace(np.linalg.pinv(shrunk, rcond=1e-12) @ between) * (1 - shrinkage)


def kernel_target_alignment(x, labels):
    n = len(x)
    h = np.eye(n) - 1 / n
    k, t = (h @ m @ m.T @ h for m in (x, one_hot(labels)))
    return (k * t).sum() / np.linalg.norm(k) / np.linalg.norm(t)


def debiased_alignment(x, labels):
    k, t = (u_centred(m @ m.T) for m in (x, one_hot(labels)))
    return (k * t).sum() / np.linalg.norm(k) / np.linalg.norm(t)


def u_centred(gram):
    n, out = len(gram), np.zeros_like(gram)
    gram = gram - np.diag(np.diag(gram))
    rows, total = gram.sum(axis=1), gram.sum()
    for i in range(n):
        for j in range(n):
            if i != j:
                out[i, j] = gram[i, j] - (rows[i] + rows[j]) / (n - 2) + total / ((n - 1) * (n - 2))
    return out


def transrate(x, labels, eps=0.1):
    def rate(z):
        return np.linalg.slogdet(np.eye(z.shape[1]) + z.T @ z / (len(z) * eps))[1] / 2

    z = unit_variance(x)
    return rate(z) - sum((labels == c).mean() * rate(z[labels == c]) for c in range(labels.max() + 1))


def gbc(x, labels):
    z = principal(x, 64)
    floor = 1e-4 * (z**2).mean()
    total = 0.0
    for c in range(labels.max() + 1):
        for e in range(labels.max() + 1):
            if c == e:
                continue
            distance = 0.0
            for a, b in zip(z[labels == c].T, z[labels == e].T, strict=True):
                v, w = max(a.var(), floor), max(b.var(), floor)
                distance += (a.mean() - b.mean()) ** 2 / (4 * (v + w))
                distance += math.log((v + w) / 2 / math.sqrt(v * w)) / 2
            total += math.exp(-distance)
    return -total


def mean_ranks(values):
    return np.array([(values < v).sum() + ((values == v).sum() + 1) / 2 for v in values])


def parc(x, labels):
    z, y = principal(x, 32), one_hot(labels)
    if z.shape[1] < 2:
        return 0.0
    pairs = [(i, j) for i in range(len(z)) for j in range(i)]
    near = np.array([1 - np.corrcoef(z[i], z[j])[0, 1] for i, j in pairs]).round(10)
    alike = np.array([1 - np.corrcoef(y[i], y[j])[0, 1] for i, j in pairs]).round(10)
    return np.corrcoef(mean_ranks(near), mean_ranks(alike))[0, 1]


def leep(probabilities, labels):
    n, z = probabilities.shape
    joint = np.zeros((labels.max() + 1, z))
    for i in range(n):
        joint[labels[i]] += probabilities[i] / n
    total = 0.0
    for i in range(n):
        total += math.log(
            sum(
                joint[labels[i], j] / joint[:, j].sum() * probabilities[i, j]
                for j in range(z)
                if joint[:, j].any()
            )
        )
    return total / n


def nce(source, labels):
    """Mean over items of the log share of their label among the items of their source class."""
    return np.mean([math.log((labels[source == z] == y).mean()) for z, y in zip(source, labels, strict=True)])


def nleep(x, labels, seed=0):
    centred = unit_variance(x)
    z = principal(x)
    held = np.cumsum((z**2).sum(axis=0)) / (z**2).sum()
    z = z[:, : int(np.argmax(held >= 0.8)) + 1]
    k = min(5 * (labels.max() + 1), len(x))
    order = np.argsort((centred**2).sum(axis=1), kind="stable")
    shuffle = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed)).numpy()
    return leep(mixture(z, z[order[shuffle]][:k]), labels)


def mixture(z, start):
    """Posterior of a Gaussian mixture after k-means from `start`, component by component."""
    k, floor = len(start), 1e-6 * (z**2).mean()
    nearest = np.array([((start - row) ** 2).sum(axis=1).argmin() for row in z])
    for _ in range(10):
        centres = [z[nearest == j].mean(axis=0) if (nearest == j).any() else start[j] for j in range(k)]
        nearest = np.array([((np.array(centres) - row) ** 2).sum(axis=1).argmin() for row in z])
    posterior, before = np.eye(k)[nearest], -np.inf
    for _ in range(100):
        joint = np.full((len(z), k), -np.inf)
        for j in range(k):
            weight = posterior[:, j]
            if weight.sum() == 0:
                continue
            mean = weight @ z / weight.sum()
            variance = weight @ (z - mean) ** 2 / weight.sum() + floor
            density = -0.5 * ((z - mean) ** 2 / variance + np.log(2 * np.pi * variance)).sum(axis=1)
            joint[:, j] = np.log(weight.mean()) + density
        likelihood = np.logaddexp.reduce(joint, axis=1)
        posterior = np.exp(joint - likelihood[:, None])
        if likelihood.mean() - before < 1e-3:
            break
        before = likelihood.mean()
    return posterior


def sfda(x, labels, a=5.0):
    """In Fisher space: project on the discriminants, then classify by distance to the means."""
    weight = max(math.exp(-a * np.linalg.eigvalsh(within(x, labels)).max()), 1e-10)
    p = fisher_probabilities(x, labels, weight)
    sure = np.exp(p) / np.exp(p).sum(axis=1, keepdims=True)
    means = np.array([x[labels == c].mean(axis=0) for c in range(labels.max() + 1)])
    mixed = np.empty_like(x)
    for i, c in enumerate(labels):
        mixed[i] = sure[i, c] * x[i] + (1 - sure[i, c]) * np.delete(means, c, 0).mean(axis=0)
    p = fisher_probabilities(mixed, labels, weight)
    return np.mean([math.log(p[i, c]) for i, c in enumerate(labels)])


def within(x, labels):
    return sum(
        (labels == c).mean() * np.cov(x[labels == c].T, bias=True) for c in range(labels.max() + 1)
    ).reshape(x.shape[1], -1)


def fisher_probabilities(x, labels, weight):
    d, classes = x.shape[1], labels.max() + 1
    inner = within(x, labels)
    inner = (1 - weight) * inner + weight * np.trace(inner) / d * np.eye(d)
    deviations = np.array([x[labels == c].mean(axis=0) - x.mean(axis=0) for c in range(classes)])
    share = np.array([(labels == c).mean() for c in range(classes)])
    root = np.linalg.inv(np.linalg.cholesky(inner))
    _, axes = np.linalg.eigh(root @ (deviations.T * share) @ deviations @ root.T)
    u = root.T @ axes[:, ::-1][:, : classes - 1]
    z, means = (x - x.mean(axis=0)) @ u, deviations @ u
    scores = np.array([z @ m - m @ m / 2 + math.log(q) for m, q in zip(means, share, strict=True)]).T
    return np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)


def knn_accuracy(x, labels, k=5):
    hits = 0
    for i in range(len(x)):
        cosine = [x[i] @ row / np.linalg.norm(x[i]) / np.linalg.norm(row) for row in x]
        near = [j for j in np.argsort(cosine)[::-1] if j != i][:k]
        votes = {c: (sum(labels[near] == c), sum(cosine[j] for j in near if labels[j] == c)) for c in labels}
        hits += max(votes, key=votes.get) == labels[i]
    return hits / len(x)


def linear_probe_accuracy(x, labels, folds):
    hits = 0
    for f in range(folds.max() + 1):
        train, test = folds != f, folds == f
        mean, deviation = x[train].mean(axis=0), x[train].std(axis=0)
        seen = np.unique(labels[train])
        w = newton((x[train] - mean) / deviation, (labels[train][:, None] == seen).astype(float))
        inputs = np.column_stack([(x[test] - mean) / deviation, np.ones(test.sum())])
        hits += (seen[(inputs @ w).argmax(axis=1)] == labels[test]).sum()
    return hits / len(x)


def newton(x, y, l2=1.0):
    """Multinomial logistic regression by Newton steps on all weights; the last row is the bias."""
    n, c = y.shape
    x = np.column_stack([x, np.ones(n)])
    d = x.shape[1]
    w, penalty = np.zeros((d, c)), np.repeat([l2] * (d - 1) + [1e-9], c)
    for _ in range(30):
        scores = x @ w
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        gradient = (x.T @ (p - y)).ravel() + penalty * w.ravel()
        curvature = np.array([np.diag(row) - np.outer(row, row) for row in p])
        hessian = np.einsum("ia,ijk,ib->ajbk", x, curvature, x, optimize=True).reshape(d * c, d * c)
        w = w - np.linalg.solve(hessian + np.diag(penalty), gradient).reshape(d, c)
    return w
