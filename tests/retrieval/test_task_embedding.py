"""A task lands near the expert that was planted for it."""

import numpy as np
import pytest

from expertise_graph.features.similarity import SKETCH_DIM, centred_gram, debiased_cka, sketch
from expertise_graph.retrieval.evidence import embed_task, respond
from expertise_graph.transferability.methods.ridge import ridge_accuracy, ridge_predict

EXPERTS, BLOCK, CLASSES = 8, 5, 4


class Zoo:
    """Experts that each see one block of the latent causes of inputs well, and the rest dimly."""

    def __init__(self, seed, n=160, probes=120):
        self.rng = np.random.default_rng(seed)
        self.inputs, self.probes = self.rng.normal(size=(2, max(n, probes), EXPERTS * BLOCK))
        self.inputs, self.probes = self.inputs[:n], self.probes[:probes]
        self.maps = [self._map(j) for j in range(EXPERTS)]

    def _map(self, j):
        weights = np.full(EXPERTS * BLOCK, 0.3)
        weights[j * BLOCK : (j + 1) * BLOCK] = 1.5
        return weights[:, None] * self.rng.normal(size=(EXPERTS * BLOCK, 64)) / 8

    def features(self, j, inputs):
        return np.tanh(inputs @ self.maps[j])

    def labels(self, j):
        teacher = self.rng.normal(size=(BLOCK, CLASSES))
        return (self.inputs[:, j * BLOCK : (j + 1) * BLOCK] @ teacher).argmax(axis=1)

    def response(self, j, labels):
        """Return what the task looks like to expert j, and how well j does."""
        seen = self.features(j, self.inputs)
        return respond(seen, labels, self.features(j, self.probes)), ridge_accuracy(seen, labels)

    def embedding(self, experts, labels):
        return embed_task(*zip(*(self.response(j, labels) for j in experts), strict=True))

    def affinities(self, vector):
        own = np.stack([sketch(centred_gram(self.features(j, self.probes))) for j in range(EXPERTS)])
        own /= np.linalg.norm(own, axis=1, keepdims=True)
        return own @ vector / np.linalg.norm(vector)


def places_of_the_true_expert(landmarks_include_it):
    places = []
    for seed in range(20):
        zoo, true = Zoo(seed), seed % EXPERTS
        labels = zoo.labels(true)
        others = [(true + step) % EXPERTS for step in (1, 3, 4, 6)]
        chosen = [true, *others[:3]] if landmarks_include_it else others
        affinity = zoo.affinities(zoo.embedding(chosen, labels))
        places.append(int((affinity > affinity[true]).sum()))
    return np.array(places)


@pytest.mark.parametrize("included", [True, False])
def test_the_expert_planted_for_a_task_has_the_highest_affinity(included):
    places = places_of_the_true_expert(included)
    # At random it would be first in 1 of 8 draws, and 3.5 places down on average.
    assert (places == 0).mean() >= (0.95 if included else 0.8)
    assert places.mean() + 3 * places.std() / np.sqrt(20) < 1.5


def test_one_response_is_the_sketch_of_what_the_expert_would_answer():
    zoo = Zoo(1)
    labels = zoo.labels(2)
    response, accuracy = zoo.response(2, labels)
    probes = zoo.features(2, zoo.probes)
    answers = ridge_predict(zoo.features(2, zoo.inputs), labels, probes).numpy()
    assert response.shape == (SKETCH_DIM,)
    np.testing.assert_allclose(response, sketch(centred_gram(answers)), atol=1e-6)
    vector = embed_task([response], [accuracy])
    np.testing.assert_allclose(vector, response, atol=1e-6)
    assert zoo.affinities(vector)[2] == pytest.approx(debiased_cka(answers, probes), abs=0.1)


@pytest.mark.parametrize("accuracies", [[0.9, 0.5], [0.2, 0.2], [1.0, 0.0], [0.3, 0.6]])
def test_experts_count_by_the_square_of_their_odds(accuracies):
    responses = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)
    odds = [np.clip(a, 0.01, 0.99) / (1 - np.clip(a, 0.01, 0.99)) for a in accuracies]
    expected = sum(o**2 * r for o, r in zip(odds, responses, strict=True)) / sum(o**2 for o in odds)
    np.testing.assert_allclose(embed_task(list(responses), accuracies), expected, rtol=1e-5)


def test_experts_that_see_nothing_count_little():
    zoo = Zoo(2)
    labels = zoo.labels(0)
    good, bad = zoo.response(0, labels), zoo.response(5, zoo.rng.permutation(labels))
    assert good[1] > 2 * bad[1]
    alone, both = embed_task([good[0]], [good[1]]), embed_task(*zip(good, bad, strict=True))
    assert alone @ both / np.linalg.norm(alone) / np.linalg.norm(both) > 0.95


def test_names_of_classes_and_order_of_items_do_not_matter():
    zoo = Zoo(3)
    labels = zoo.labels(1)
    expected, _ = zoo.response(1, labels)
    np.testing.assert_allclose(zoo.response(1, 10 - 3 * labels)[0], expected, atol=1e-6)
    order = zoo.rng.permutation(len(labels))
    features, probes = zoo.features(1, zoo.inputs), zoo.features(1, zoo.probes)
    np.testing.assert_allclose(respond(features[order], labels[order], probes), expected, atol=1e-6)


def test_a_task_without_structure_has_no_place():
    zoo = Zoo(4)
    one_class = np.zeros(len(zoo.inputs), dtype=int)
    assert embed_task([], []) is None
    response, accuracy = zoo.response(0, one_class)
    assert embed_task([response], [accuracy]) is None
    blind = respond(np.ones((160, 3)), zoo.labels(0), np.ones((120, 3)))
    assert embed_task([blind], [0.25]) is None
    seeing, better = zoo.response(0, zoo.labels(0))
    vector = embed_task([blind, seeing], [0.25, better])
    cosine = vector @ seeing / np.linalg.norm(vector) / np.linalg.norm(seeing)
    assert cosine == pytest.approx(1.0, abs=1e-6)
