"""A task lands near the expert that was planted for it."""

import numpy as np
import pytest

from expertise_graph.retrieval.task_embedding import Landmark, embed_task
from expertise_graph.similarity import SKETCH_DIM, centred_gram, debiased_cka, sketch
from expertise_graph.transferability import ridge_accuracy, ridge_predict

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

    def landmark(self, j, labels):
        seen = self.features(j, self.inputs)
        return Landmark(
            task_features=seen,
            probe_features=self.features(j, self.probes),
            accuracy=ridge_accuracy(seen, labels),
        )

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
        affinity = zoo.affinities(embed_task([zoo.landmark(j, labels) for j in chosen], labels))
        places.append(int((affinity > affinity[true]).sum()))
    return np.array(places)


@pytest.mark.parametrize("included", [True, False])
def test_the_expert_planted_for_a_task_has_the_highest_affinity(included):
    places = places_of_the_true_expert(included)
    # At random it would be first in 1 of 8 draws, and 3.5 places down on average.
    assert (places == 0).mean() >= (0.95 if included else 0.8)
    assert places.mean() + 3 * places.std() / np.sqrt(20) < 1.5


def test_one_landmark_is_the_sketch_of_what_it_would_answer():
    zoo = Zoo(1)
    labels = zoo.labels(2)
    landmark = zoo.landmark(2, labels)
    vector = embed_task([landmark], labels)
    answers = ridge_predict(landmark.task_features, labels, landmark.probe_features).numpy()
    expected = sketch(centred_gram(answers)) * (landmark.accuracy - 1 / CLASSES)
    assert vector.shape == (SKETCH_DIM,)
    np.testing.assert_allclose(vector, expected, atol=1e-6)
    cosine = zoo.affinities(vector)[2]
    assert cosine == pytest.approx(debiased_cka(answers, landmark.probe_features), abs=0.1)


def test_landmarks_that_see_nothing_count_little():
    zoo = Zoo(2)
    labels = zoo.labels(0)
    good, bad = zoo.landmark(0, labels), zoo.landmark(5, zoo.rng.permutation(labels))
    alone, both = embed_task([good], labels), embed_task([good, bad], labels)
    weights = [max(x.accuracy - 1 / CLASSES, 0.01) for x in (good, bad)]
    assert weights[0] > 4 * weights[1]
    assert alone @ both / np.linalg.norm(alone) / np.linalg.norm(both) > 0.95


def test_names_of_classes_and_order_of_items_do_not_matter():
    zoo = Zoo(3)
    labels = zoo.labels(1)
    landmark = zoo.landmark(1, labels)
    expected = embed_task([landmark], labels)
    np.testing.assert_allclose(embed_task([landmark], 10 - 3 * labels), expected, atol=1e-6)
    order = zoo.rng.permutation(len(labels))
    shuffled = Landmark(
        task_features=landmark.task_features[order],
        probe_features=landmark.probe_features,
        accuracy=landmark.accuracy,
    )
    np.testing.assert_allclose(embed_task(iter([shuffled]), labels[order]), expected, atol=1e-6)


def test_a_task_without_structure_has_no_place():
    zoo = Zoo(4)
    one_class = np.zeros(len(zoo.inputs), dtype=int)
    assert embed_task([], zoo.labels(0)) is None
    assert embed_task([zoo.landmark(0, one_class)], one_class) is None
    blind = Landmark(task_features=np.ones((160, 3)), probe_features=np.ones((120, 3)), accuracy=0.25)
    assert embed_task([blind], zoo.labels(0)) is None
