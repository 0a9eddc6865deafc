"""What a run of a real expert leaves behind, when it is used again, and the task as a point."""

import dataclasses

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from expertise_graph.core.errors import InvalidInputError, NotFoundError
from expertise_graph.core.types import Edge, Query
from expertise_graph.data.reading import read_data
from expertise_graph.features import probe_sets as probes
from expertise_graph.features.context import Context
from expertise_graph.features.cost import Timings
from expertise_graph.features.probing import Prober
from expertise_graph.features.similarity import SKETCH_DIM, centred_gram, debiased_cka, sketch
from expertise_graph.retrieval.evidence import (
    ProbeRunner,
    draw_sample,
    embed_task,
    respond,
    score_column,
    stored_evidence,
    versions_of,
)
from expertise_graph.retrieval.reliability import ALIGNMENT, LOGME, RIDGE
from expertise_graph.retrieval.results import Measured, measured
from expertise_graph.transferability.methods.alignment import kernel_target_alignment
from expertise_graph.transferability.methods.logme import logme
from expertise_graph.transferability.methods.parc import parc
from expertise_graph.transferability.methods.ridge import ridge_accuracy, ridge_predict
from expertise_graph.workspace import Workspace
from tests import materials

ESTIMATORS = Query().estimators


@pytest.fixture
def zoo(workspace):
    with Workspace(workspace) as opened:
        yield opened


@pytest.fixture
def sample(tmp_path):
    return draw_sample(read_data(materials.pictures(tmp_path / "letters", 4, 8)), Query())


@pytest.fixture
def runner(zoo):
    inputs = probes.inputs(zoo.store, probes.current(zoo.store, "image"))
    context = Context(store=zoo.store, prober=Prober(arrays=zoo.store.features))
    return ProbeRunner(context=context, probes=inputs, estimators=ESTIMATORS, timings=Timings(context.store))


def test_a_run_gives_three_scores_of_the_features_and_stores_them(zoo, runner, sample):
    node = zoo.store.find_expert("emoji")
    evidence = runner.run(node, sample)
    features = Prober(arrays=zoo.store.features).features(node, sample.inputs)
    expected = {
        LOGME: logme(features, sample.labels),
        RIDGE: ridge_accuracy(features, sample.labels),
        ALIGNMENT: kernel_target_alignment(features, sample.labels),
    }
    assert evidence == pytest.approx(expected)
    stored = zoo.store.scores(sample.task.id)
    assert {s.estimator: s.value for s in stored} == pytest.approx(expected)
    assert {(s.expert, s.n, s.seed) for s in stored} == {(node.id, len(sample.labels), 0)}
    assert [t.id for t in zoo.store.tasks()] == [sample.task.id]
    assert stored_evidence(zoo.store, sample, ESTIMATORS) == {node.id: evidence}


def test_a_run_that_was_had_costs_nothing_and_answers_the_same(zoo, runner, sample):
    node = zoo.store.find_expert("emoji")
    assert runner.seconds(node, sample) > 0
    first = runner.run(node, sample)
    assert runner.seconds(node, sample) == 0.0
    assert runner.run(node, sample) == first
    inside = (
        runner.context.prober.features(node, sample.inputs),
        runner.context.prober.features(node, runner.probes),
    )
    expected = respond(inside[0], sample.labels, inside[1])
    np.testing.assert_allclose(runner.response(node, sample), expected, atol=1e-6)


def test_a_response_is_computed_once_and_again_where_it_is_lost(zoo, runner, sample):
    node = zoo.store.find_expert("emoji")
    runner.run(node, sample)
    before = set(zoo.store.features.folder.rglob("*.safetensors"))
    first = runner.response(node, sample)
    (kept,) = [
        path
        for path in zoo.store.features.folder.rglob("*.safetensors")
        if load_file(path)["features"].ndim == 1
    ]
    assert kept not in before
    # What is kept is what is answered: another array in its place is given as it is, a damaged one is not.
    save_file({"features": 2 * first}, kept)
    np.testing.assert_array_equal(runner.response(node, sample), 2 * first)
    kept.write_bytes(kept.read_bytes()[:50])
    np.testing.assert_array_equal(runner.response(node, sample), first)
    other = dataclasses.replace(
        sample, inputs=dataclasses.replace(sample.inputs, sha256="0" * 64), labels=np.roll(sample.labels, 1)
    )
    assert not np.allclose(runner.response(node, other), first)


def test_scores_of_another_sample_or_version_are_no_evidence(zoo, runner, sample):
    runner.run(zoo.store.find_expert("emoji"), sample)
    assert stored_evidence(zoo.store, dataclasses.replace(sample, seed=1), ESTIMATORS) == {}
    assert (
        stored_evidence(zoo.store, dataclasses.replace(sample, labels=sample.labels[:-1]), ESTIMATORS) == {}
    )
    (some, *_) = zoo.store.scores(sample.task.id)
    zoo.store.put_scores([dataclasses.replace(some, estimator="elsewhere", expert=some.expert)])
    assert len(stored_evidence(zoo.store, sample, ESTIMATORS)) == 1
    other = zoo.store.find_expert("clipart").id
    zoo.store.put_scores([dataclasses.replace(some, expert=other)])
    # One of three scores is not enough.
    assert other not in stored_evidence(zoo.store, sample, ESTIMATORS)


def test_results_on_the_task_are_found_by_expert(zoo, sample):
    zoo.store.put_task(sample.task)
    first, second, third = (zoo.store.find_expert(n).id for n in ("emoji", "clipart", "latin-letters"))
    edge = Edge(
        kind="transfer",
        source=first,
        target=sample.task.id,
        weight=0.7,
        method="imported",
        version="1",
        metric="accuracy",
        n=50,
        seed=0,
        meta={"origin": "a.csv"},
    )
    zoo.store.put_edges([edge])
    zoo.store.put_edges([dataclasses.replace(edge, source=second, weight=0.2, n=None, meta={})])
    zoo.store.put_edges([dataclasses.replace(edge, source=third, metric="loss", weight=3.0)])
    found = measured(zoo.store, sample.task)
    assert found == {first: Measured(0.7, 50, "a.csv"), second: Measured(0.2, 200, "imported")}
    zoo.store.put_edges([dataclasses.replace(edge, weight=0.8, seed=1)])
    assert measured(zoo.store, sample.task)[first].accuracy == 0.8


def test_scores_are_laid_out_by_expert(zoo, runner, sample):
    node = zoo.store.find_expert("emoji")
    evidence = {node.id: runner.run(node, sample)}
    column = score_column(evidence, ("dir:x", node.id), RIDGE)
    np.testing.assert_array_equal(column, [np.nan, evidence[node.id][RIDGE]])


def test_other_estimators_are_scored_when_they_are_named_and_only_what_is_missing_is_evidence(
    zoo, runner, sample
):
    node = zoo.store.find_expert("emoji")
    runner.run(node, sample)
    assert stored_evidence(zoo.store, sample, ("parc", LOGME)) == {}
    other = dataclasses.replace(runner, estimators=("parc", LOGME))
    evidence = other.run(node, sample)
    assert list(evidence) == ["parc", LOGME, RIDGE]
    assert evidence["parc"] == parc(
        Prober(arrays=zoo.store.features).features(node, sample.inputs), sample.labels
    )
    assert stored_evidence(zoo.store, sample, ("parc", LOGME)) == {node.id: evidence}
    assert set(stored_evidence(zoo.store, sample, ESTIMATORS)[node.id]) == set(ESTIMATORS)


def test_an_estimator_that_is_unknown_or_needs_more_than_features_is_refused():
    with pytest.raises(NotFoundError, match=r"no estimator called 'logm'; there are: gbc, .*'logme'"):
        versions_of(("logm",))
    with pytest.raises(InvalidInputError, match="`estimators=leep` needs source probabilities, and a query"):
        versions_of(("leep",))


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


@pytest.mark.slow
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
