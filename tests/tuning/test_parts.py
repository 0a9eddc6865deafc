"""The parts of the search: its space, its suggestions, the choice, the probe on all items, the record."""

import dataclasses
import time

import numpy as np
import pytest
import torch

from expertise_graph.core.types import Query, Run
from expertise_graph.data.reading import read_data
from expertise_graph.features.cost import Timings, predicted_seconds
from expertise_graph.features.running import machine
from expertise_graph.models.base import SourceOptions
from expertise_graph.models.loading import load, resolve
from expertise_graph.models.raw_input import raw_expert
from expertise_graph.training.batches import training_splits
from expertise_graph.training.config import TrainConfig
from expertise_graph.training.linear_probe import fit_linear_head
from expertise_graph.training.preparation import probe
from expertise_graph.training.trainer import Trainer
from expertise_graph.tuning.ensemble import select, weights_of, within
from expertise_graph.tuning.model_selection import (
    SETTINGS_DEVIATION,
    SETTINGS_GAIN,
    TUNING_GAIN,
    TrialRecord,
    choose,
    compare,
)
from expertise_graph.tuning.priors import first_trials, settings_of_similar_tasks
from expertise_graph.tuning.record import failed_outcome
from expertise_graph.tuning.space import Between, Contender, OneOf, Space, differences
from expertise_graph.tuning.study import RUNGS, Study
from expertise_graph.tuning.time_budget import (
    FITTING,
    FITTING_EACH,
    MARGIN,
    SearchBudget,
    TrainingSpeed,
)
from expertise_graph.tuning.trial import all_to_train, may_be_judged, train_on_all, without_test
from expertise_graph.workspace import Workspace
from tests import materials
from tests.nodes import task


@pytest.fixture(scope="module")
def letters(tmp_path_factory):
    return read_data(materials.pictures(tmp_path_factory.mktemp("parts") / "letters", 4, 8))


@pytest.fixture(scope="module")
def experts():
    return [resolve(f"zoo:{name}", SourceOptions()) for name in ("clipart", "emoji")]


def contenders(experts, *predicted, deviation=0.05):
    shares = (0.75, 0.25)
    return [Contender(e, p, m, deviation) for e, p, m in zip(experts, shares, predicted, strict=True)]


OTHER = TrainConfig(lr=2e-3)


def tried(contender, fits, data, *, status="done", config=OTHER):
    outcome = dataclasses.replace(failed_outcome(data, ""), fits=np.asarray(fits), kept=1)
    run = f"{contender.expert.id} {np.sum(fits)}"
    return TrialRecord(run=run, contender=contender, config=config, outcome=outcome, status=status)


@pytest.mark.parametrize(
    ("result", "rates"), [({"lr": 3e-3}, [3e-3]), ({"lr": 1e-3}, []), ({"lr": None}, []), ({}, [])]
)
def test_a_rate_that_was_searched_for_on_another_task_is_tried_as_found(tmp_path, letters, result, rates):
    with Workspace.init(tmp_path) as workspace:
        workspace.store.put_task(task("other"))
        done = Run(
            id="run:other",
            expert="dir:base",
            task="task:other",
            child=None,
            status="done",
            strategy="lp-ft",
            seed=0,
            path="",
            config=TrainConfig(lr="auto").as_dict(),
            result={"accuracy": 0.9, **result},
            started_at="t",
            finished_at="t",
        )
        workspace.store.put_run(done)
        found = settings_of_similar_tasks(workspace.store, letters, 0)
    assert [config.lr for config in found] == rates


def test_parameters_mean_the_settings_they_stand_for(experts, letters):
    space = Space(contenders(experts, 0.8, 0.7), letters, ("lp-ft", "l2-sp"), seed=3)
    config = TrainConfig(strategy="l2-sp", lr=2e-3, epochs=40, prior=0.1, augment=False, seed=3)
    for contender in space.contenders:
        assert space.meaning(space.parameters(contender, config)) == (contender, config)
        usual = TrainConfig(seed=3)
        assert space.meaning(space.parameters(contender, usual)) == (contender, usual)
    assert differences(config) == {
        "strategy": "l2-sp", "lr": 2e-3, "epochs": 40, "prior": 0.1, "augment": False
    }  # fmt: skip
    far = space.parameters(space.contenders[0], TrainConfig(lr=1.0, epochs=33))
    assert (far["lr"], far["epochs"]) == (5e-3, 40)


def test_an_even_draw_gives_experts_with_their_probabilities(experts, letters):
    space = Space(contenders(experts, 0.8, 0.7), letters, ("lp-ft",), seed=0)
    params = space.parameters(space.contenders[0], TrainConfig())
    draws = [space.meaning({**params, "expert": u})[0] for u in np.linspace(0, 1, 1001)]
    assert np.mean([d is space.contenders[0] for d in draws]) == pytest.approx(0.75, abs=0.01)


def test_the_same_seed_asks_the_same(experts):
    dimensions = {"lr": Between(1e-4, 1e-2, log=True), "augment": OneOf((True, False))}

    def asked(seed):
        study, found = Study(dimensions, seed), []
        study.enqueue({"lr": 3e-3, "augment": False})
        for _ in range(12):
            suggestion = study.ask()
            found.append(suggestion.params)
            suggestion.tell(abs(np.log(suggestion.params["lr"] / 1e-3)))
        return found

    first = asked(0)
    assert first[0] == {"lr": 3e-3, "augment": False}
    assert asked(0) == first
    assert asked(1)[1:] != first[1:]


@pytest.mark.parametrize(("lr", "judged"), [(3e-4, (3, 7, 15, 31)), (1e-3, (3, 7, 15, 31)), (3e-2, (15, 31))])
def test_a_high_learning_rate_is_not_judged_before_it_has_fallen(lr, judged):
    config = TrainConfig(lr=lr, epochs=20)
    assert tuple(epochs for epochs in RUNGS if may_be_judged(config, epochs)) == judged


def test_what_is_behind_after_as_many_epochs_is_given_up():
    study = Study({"lr": Between(0.0, 1.0)}, 0)
    for loss in (0.5, 0.6):
        suggestion = study.ask()
        assert not suggestion.should_prune(2, 9.0)
        behind = [suggestion.should_prune(epochs, loss) for epochs in (3, 7, 15)]
        suggestion.tell(loss, pruned=any(behind))
        assert behind[0] == (loss == 0.6)


def test_noise_does_not_replace_the_first_trial_and_evidence_does(experts, letters):
    (contender, _), rng = contenders(experts, 0.8, 0.8), np.random.default_rng(0)
    fits = rng.uniform(0.2, 0.9, size=40)
    first = tried(contender, fits, letters, config=TrainConfig())
    swing = np.where(np.arange(40) % 2, 0.3, -0.3)
    lucky = tried(contender, fits + swing + 0.04, letters)
    kept, reason = choose([first, lucky], raw_accuracy=0.5)
    assert kept is first
    assert reason == "the first trial stays: none of 1 others is expected to be better"
    better = tried(contender, fits + 0.08, letters)
    chosen, reason = choose([first, lucky, better], raw_accuracy=0.5)
    assert chosen is better
    assert reason.startswith("expected to be better than the first trial by ")
    assert reason.endswith("points, with probability 1.00")
    only, reason = choose([first, dataclasses.replace(better, status="pruned")], raw_accuracy=0.5)
    assert only is first
    assert reason == "the first trial is taken: nothing else was finished on 40 validation items"


def test_the_comparison_is_the_mean_of_what_was_known_and_measured_by_precision(experts, letters):
    one, other = contenders(experts, 0.8, 0.7)
    fits = np.linspace(0.1, 0.9, 30)
    change = np.where(np.arange(30) % 2, 0.2, -0.1)
    first = tried(one, fits, letters, config=TrainConfig())
    found = compare(first, tried(other, fits + change, letters), raw_accuracy=0.5)
    known = SETTINGS_DEVIATION**2 + 2 * 0.05**2
    measured = change.var(ddof=1) / 30
    weights = 1 / measured + 1 / known
    expected = (0.05 / measured + (SETTINGS_GAIN - 0.1) / known) / weights
    assert found.advantage == pytest.approx(expected)
    alike = tried(other, fits + change, letters, config=TrainConfig())
    unknown = compare(first, alike, raw_accuracy=None)
    assert unknown.advantage == pytest.approx((0.05 / measured) / (1 / measured + 1 / (2 * 0.05**2)))


def test_a_probe_is_expected_to_be_worse_than_fine_tuned_texts_and_no_worse_than_images(experts, letters):
    probe, usual = TrainConfig(strategy="linear-probe"), TrainConfig()
    fits = np.linspace(0.1, 0.9, 30)
    text = dataclasses.replace(experts[0], modality="text")
    for expert, gain in ((experts[0], 0.0), (text, TUNING_GAIN)):
        contender = Contender(expert, 0.5, 0.7, 0.05)
        first = tried(contender, fits, letters, config=probe)
        tuned = tried(contender, fits, letters, status="cut", config=usual)
        # Equal fits: one item's worth of error.
        weight = SETTINGS_DEVIATION**2 / (SETTINGS_DEVIATION**2 + (1 / 30) ** 2 / 30)
        found = compare(first, tuned, raw_accuracy=0.5).advantage
        assert found == pytest.approx((1 - weight) * gain)
        # Cut before an epoch was better, it is the probe, which is not fitted on validation items any more.
        outcome = dataclasses.replace(tuned.outcome, kept=0, stopped="time")
        cut = dataclasses.replace(tuned, outcome=outcome)
        found = compare(first, cut, raw_accuracy=0.5).advantage
        assert found == pytest.approx((1 - weight) * SETTINGS_GAIN)
        assert choose([first, cut], raw_accuracy=0.5)[0] is first


NO_LIMITS = Query()


def chosen_with(first, all_tried, most=5, query=NO_LIMITS):
    def allowed(team):
        return len(team) <= most and within(query, team)

    return select(first, all_tried, weights=weights_of(first, all_tried, raw_accuracy=0.5), allowed=allowed)


def test_an_ensemble_takes_those_that_complement_each_other(experts, letters):
    one, other = contenders(experts, 0.8, 0.8)
    half = np.arange(40) % 2
    first = tried(one, np.where(half, 0.9, 0.2), letters)
    alike = tried(one, np.where(half, 0.95, 0.25), letters)
    complement = tried(other, np.where(half, 0.2, 0.8), letters)
    useless = tried(other, np.full(40, 1e-4), letters, config=TrainConfig(strategy="from-scratch"))
    assert chosen_with(first, [first, alike, useless, complement]) == [first, complement]
    assert chosen_with(first, [first, complement], most=1) == [first]
    lost = dataclasses.replace(complement, status="pruned")
    assert chosen_with(first, [first, lost]) == [first]


def test_an_expert_counts_once_and_random_weights_each_time(experts, letters):
    one, other = contenders(experts, 0.8, 0.8)
    rng, scratch = np.random.default_rng(0), TrainConfig(strategy="from-scratch")
    first, *others = (tried(e, rng.uniform(0.4, 0.9, 30), letters) for e in (one, one, other, other))
    cold = [tried(one, rng.uniform(0.4, 0.9, 30), letters, config=scratch) for _ in range(3)]
    team = chosen_with(first, [first, *others, *cold], most=9)
    assert team[0] is first
    assert len([t for t in team if t in others[1:]]) == 1
    assert others[0] not in team
    assert all(t in team for t in cold)


def test_an_answer_counts_by_how_good_it_is_expected_to_be(experts, letters):
    one, other = contenders(experts, 0.8, 0.7)
    fits = np.linspace(0.1, 0.9, 30)
    first, worse = tried(one, fits, letters), tried(other, fits - 0.05, letters)
    weights = weights_of(first, [first, worse], raw_accuracy=0.5)
    assert weights[first.run] == 1
    assert weights[worse.run] == pytest.approx(np.exp(15 * compare(first, worse, raw_accuracy=0.5).advantage))
    assert 0.2 < weights[worse.run] < 0.7
    turned = weights_of(worse, [first, worse], raw_accuracy=0.5)
    assert (turned[worse.run], turned[first.run]) == (1, pytest.approx(1 / weights[worse.run]))
    hopeless = tried(other, fits * 0.1, letters)
    assert chosen_with(first, [first, hopeless]) == [first]


def test_limits_are_for_all_networks_together(experts, letters):
    one, other = contenders(experts, 0.8, 0.8)
    first, second = (tried(e, np.full(20, 0.7), letters) for e in (one, other))
    params, size = (sum(getattr(e, name) for e in experts) for name in ("params", "bytes"))
    for query, together in (
        (Query(), True),
        (Query(max_params=params), True),
        (Query(max_params=params - 1), False),
        (Query(max_bytes=size), True),
        (Query(max_bytes=size - 1), False),
        (Query(max_latency=1e9), False),
    ):
        assert len(chosen_with(first, [first, second], query=query)) == 1 + together


def test_trials_have_no_test_items_to_look_at(letters):
    splits = training_splits(letters, 0)
    slim = without_test(letters, splits)
    assert len(slim) == len(splits.train) + len(splits.validation)
    for name in ("train", "validation"):
        mine = [slim.items[i] for i in slim.splits[name]]
        assert mine == [letters.items[i] for i in getattr(splits, name)]
        assert slim.labels[slim.splits[name]].tolist() == letters.labels[getattr(splits, name)].tolist()
    left_out = {letters.items[i] for i in splits.test}
    assert not left_out & set(slim.items)


def test_the_probe_on_all_items_has_the_strength_of_the_one_on_some(experts, letters):
    backbone, slim = load(experts[1]), without_test(letters, training_splits(letters, 0))
    config = TrainConfig(augment=False)
    honest = Trainer.for_data(backbone, slim, config)
    on_all = Trainer.for_data(backbone, all_to_train(slim), config)
    some, features = probe(honest.model, honest.rows, honest.model.classifier.backbone)
    whole, _ = probe(on_all.model, on_all.rows, on_all.model.classifier.backbone)
    assert whole.strength == some.strength
    assert not torch.allclose(whole.weight, some.weight)
    # Chosen on items that it was fitted to, the weakest regularisation would win.
    rows, objective = torch.arange(len(slim)), on_all.model.objective
    naive = fit_linear_head(
        features, objective.targets, train=rows, validation=rows, outputs=objective.outputs
    )
    assert naive.strength < some.strength


def test_a_probe_that_was_best_is_fitted_on_all_items(experts, letters):
    backbone, slim = load(experts[1]), without_test(letters, training_splits(letters, 0))
    config, everything = TrainConfig(augment=False), all_to_train(slim)
    found = train_on_all(backbone, everything, config, known={}, epochs=0, loss=np.inf, progress=None)
    trainer = Trainer.for_data(backbone, everything, config)
    head, _ = probe(trainer.model, trainer.rows, trainer.model.classifier.backbone)
    assert torch.allclose(found["head.weight"], head.weight, atol=1e-6)


def test_a_training_on_all_items_that_fails_is_told_by_items_it_has_seen(experts, letters):
    backbone, everything = load(experts[1]), all_to_train(without_test(letters, training_splits(letters, 0)))
    config = TrainConfig(epochs=2)
    assert train_on_all(backbone, everything, config, known={}, epochs=2, loss=1.0, progress=None)
    wild = dataclasses.replace(config, strategy="from-scratch", lr=1e4)
    assert train_on_all(backbone, everything, wild, known={}, epochs=2, loss=1.0, progress=None) is None


def test_what_is_known_of_training_from_scratch_does_not_depend_on_whose_shape_it_is(experts, letters):
    fits, cold = np.linspace(0.1, 0.9, 30), TrainConfig(strategy="from-scratch")
    usual = TrainConfig()
    for predicted, promised in ((0.8, -0.1), (0.6, 0.0), (0.45, 0.05), (0.3, 0.1)):
        one, other = contenders(experts, predicted, 0.1)
        first = tried(one, fits, letters, config=usual)
        for shape in (one, other):
            found = compare(first, tried(shape, fits, letters, config=cold), raw_accuracy=0.5)
            # Equal fits: one item's worth of error.
            weight = 0.1**2 / (0.1**2 + (1 / 30) ** 2 / 30)
            assert found.advantage == pytest.approx((1 - weight) * promised)
    back = compare(tried(one, fits, letters, config=cold), first, raw_accuracy=0.5)
    assert back.advantage == pytest.approx(-(1 - weight) * 0.1)


def test_from_scratch_comes_second_or_first_where_no_expert_is_worth_more_than_the_raw_input(
    experts, letters
):
    space = Space(contenders(experts, 0.8, 0.7), letters, ("lp-ft", "from-scratch"), seed=0)
    smallest = min(experts, key=lambda e: e.params).name
    expected = [
        ("defaults", "clipart", "lp-ft"),
        ("from scratch", smallest, "from-scratch"),
        ("next expert", "emoji", "lp-ft"),
    ]
    for raw in (None, 0.75):
        assert [(w, e.expert.name, c.strategy) for w, e, c in first_trials(space, [], raw)] == expected
    turned = [why for why, _, _ in first_trials(space, [], 0.85)]
    assert turned == ["from scratch", "defaults", "next expert"]
    twin = dataclasses.replace(space.contenders[0], expert=dataclasses.replace(experts[0], id="dir:twin"))
    cold = Space([twin, *space.contenders], letters, ("from-scratch",), seed=0)
    assert [e.expert.name for _, e, _ in first_trials(cold, [], 0.85)] == ["clipart", "emoji"]
    fits = np.linspace(0.1, 0.6, 40)
    first = tried(space.contenders[0], fits, letters, config=TrainConfig())
    scratch = tried(space.contenders[0], fits + 0.1, letters, config=TrainConfig(strategy="from-scratch"))
    assert choose([first, scratch], raw_accuracy=0.5)[0] is scratch
    # The same fits: from scratch is expected to add what a ridge on the raw input has over the expert.
    alike = tried(space.contenders[0], fits, letters, config=TrainConfig(strategy="from-scratch"))
    priors = [compare(first, alike, raw_accuracy=raw).advantage for raw in (None, 0.7, 0.85, 0.9, 0.99)]
    assert priors[:2] == [0.0, 0.0]
    assert 0 < priors[2] < priors[3] == pytest.approx(priors[4])


def test_items_that_take_longer_than_those_timed_before_have_their_time_kept(experts, tmp_path):
    """Texts of one task are longer than those of another: a trial tells what the final measurement takes."""
    setting = (experts[0], TrainConfig())
    with Workspace.init(tmp_path / "zoo") as workspace:
        budget = SearchBudget(100.0, time.perf_counter())
        speed = TrainingSpeed(Timings(workspace.store), budget, train=100, measured=50, probes=0, outputs=4)
        usual = Timings(workspace.store).seconds_per_item(experts[0])
        before = speed.finishing_seconds(setting)
        speed.add(experts[0], epochs=2, seconds=3.0, forward=usual)
        assert speed.finishing_seconds(setting) == pytest.approx(before)
        speed.add(experts[0], epochs=2, seconds=3.0, forward=usual + 0.02)
        assert speed.finishing_seconds(setting) == pytest.approx(before + MARGIN * 50 * 0.02)
        assert speed.epoch_seconds(experts[0]) == 1.5
        whole, two = (speed.trial_seconds(*setting, epochs) for epochs in (20, 2))
        assert whole - two == pytest.approx(18 * 1.5)
        assert speed.trial_seconds(raw_expert("image"), TrainConfig(strategy="linear-probe"), 0) < 3.0


def test_what_the_query_measured_counts_and_not_what_a_busy_machine_left_on_record(experts, tmp_path):
    """Registered beside other work, an expert took five times as long."""
    run, other = experts
    setting = (run, TrainConfig())
    with Workspace.init(tmp_path / "zoo") as workspace:
        store = workspace.store
        for expert in experts:
            store.put_expert(expert)
            store.add_timing(expert, machine(), items=400, seconds=20.0)
        timings = Timings(store)
        timings.mark()
        speed = TrainingSpeed(
            timings,
            SearchBudget(100.0, time.perf_counter()),
            train=100,
            measured=50,
            probes=400,
            outputs=4,
        )
        before, longer = speed.finishing_seconds(setting), speed.trial_seconds(*setting, 2)
        store.add_timing(run, machine(), items=200, seconds=2.0)
        assert speed.item_seconds(run) == pytest.approx(0.01)
        # The other was not run: it is as much faster as this one.
        assert speed.item_seconds(other) == pytest.approx(0.05 * 0.2)
        assert before - speed.finishing_seconds(setting) == pytest.approx(MARGIN * 450 * 0.04, rel=0.02)
        saved = (MARGIN * (450 + 100) + 2 * 3 * 100) * 0.04
        assert longer - speed.trial_seconds(*setting, 2) == pytest.approx(saved, rel=0.02)
        known = speed.trial_seconds(*setting, 2) - speed.trial_seconds(*setting, 2, known=80)
        assert known == pytest.approx(MARGIN * 80 * 0.01, rel=0.05)
        fit = MARGIN * (FITTING + FITTING_EACH * 100 * min(run.dim, 100) * 4)
        loading = MARGIN * predicted_seconds(run, 0, timings)
        assert speed.head_seconds(run, 0) == pytest.approx(fit + loading, rel=0.05)
        speed.add(run, epochs=0, seconds=1.0, forward=0.02)
        assert speed.item_seconds(run) == 0.02


def test_items_of_more_work_than_a_probe_take_longer_and_probes_do_not(experts, tmp_path):
    with Workspace.init(tmp_path / "zoo") as workspace:
        budget = SearchBudget(100.0, time.perf_counter())
        timings = Timings(workspace.store)
        usual, thrice = (
            TrainingSpeed(timings, budget, train=100, measured=50, probes=400, outputs=4, work=work)
            for work in (1.0, 3.0)
        )
        each = timings.seconds_per_item(experts[0])
        assert usual.item_seconds(experts[0]) == pytest.approx(each)
        assert thrice.item_seconds(experts[0]) == pytest.approx(3 * each)
        setting = (experts[0], TrainConfig())
        longer = thrice.finishing_seconds(setting) - usual.finishing_seconds(setting)
        assert longer == pytest.approx(MARGIN * 50 * 2 * each, rel=1e-6)


def test_a_busy_machine_is_told_by_the_time_that_passes_without_work():
    budget = SearchBudget(100.0, time.perf_counter())
    assert budget.slowdown == 1.0
    with budget.spending("work"):
        done = time.process_time() + 0.35
        while time.process_time() < done:
            pass
        idle = budget.slowdown
        time.sleep(0.7)
        assert budget.slowdown >= idle + 1.0


def test_the_raw_input_is_beaten_by_an_expert_that_is_better_and_beats_one_that_is_not(experts, letters):
    (one, _), fits = contenders(experts, 0.8, 0.7), np.linspace(0.1, 0.7, 40)
    raw = tried(Contender(raw_expert("image"), 0.0, 0.5, 0.05), fits, letters)
    better, worse = (tried(one, fits + d, letters, config=TrainConfig()) for d in (0.1, -0.25))
    assert choose([raw, better], raw_accuracy=0.5)[0] is better
    chosen, reason = choose([raw, worse], raw_accuracy=0.5)
    assert chosen is raw
    assert reason.startswith("expected to be better than the first trial")
    assert choose([raw], raw_accuracy=None)[0] is raw
