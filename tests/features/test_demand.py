"""What fine-tuning takes: by strategy, batch, data and machine, and corrected by runs here."""

import dataclasses
import math

import pytest

from expertise_graph.core import FOOTPRINT, Footprint, Run
from expertise_graph.features import (
    Plan,
    Speed,
    Workload,
    calibrate,
    corrections_from,
    footprint_of,
    rough_speed,
)
from expertise_graph.features.demand import estimated
from expertise_graph.features.laws import law
from expertise_graph.features.needs import Corrections, Estimates, speed_of
from expertise_graph.features.processor import speed_key
from expertise_graph.store.store import Store
from expertise_graph.training import plan_of
from tests.nodes import expert


@pytest.fixture
def store(tmp_path):
    opened = Store(tmp_path)
    yield opened
    opened.close()


SPEED = Speed(linear=1e10, convolved=1e10, moved=1e10, kernel=1e-6)
IMAGES = Footprint(
    params=10_000_000,
    linear=0,
    convolved=1e9,
    moved=1e7,
    kept=2e7,
    widest=1e6,
    kernels=50,
    numbers=3 * 224**2,
)
TEXTS = Footprint(
    params=30_000_000, linear=1e7, moved=1e5, kept=1e5, widest=1e4, kernels=80, lookup=12_000_000,
    vocabulary=30522, pair_kept=1e3,
)  # fmt: skip
FEW = Workload(train=8, validation=1, test=1)
DATA = Workload(train=800, validation=100, test=100)


def demand(footprint=IMAGES, *, speed=SPEED, work=DATA, **plan):
    return estimated(footprint, plan=Plan(**plan), workload=work, speed=speed)


def test_memory_is_weights_states_and_what_a_step_keeps():
    found, probe = demand(work=FEW), demand(fine_tunes=False, work=FEW)
    assert found.memory > probe.memory > 4e8 + 8 * IMAGES.params
    # Gradient, two moments and two copies of the best epoch; four images of 224 pixels at a time.
    assert found.memory - probe.memory == pytest.approx(20 * IMAGES.params + 4 * IMAGES.kept, rel=0.05)
    assert demand(batch_size=64, work=FEW).memory == found.memory
    assert demand(trained=0.03, adapts=True, work=FEW).memory < found.memory
    # Of small images a whole batch is computed at once.
    assert demand(dataclasses.replace(IMAGES, numbers=3 * 64**2), work=FEW).memory > found.memory
    # Preprocessed images are kept in memory while all of them take less than 512 MB.
    more = demand(work=Workload(train=80, validation=10, test=10)).memory - found.memory
    assert more == pytest.approx(90 * 4 * 3 * 224**2)
    assert demand().memory < found.memory


def test_memory_of_texts_grows_with_the_batch_and_the_longest_text():
    short, long = (Workload(train=100, validation=10, test=10, lengths=(n,) * 20) for n in (50, 1000))
    found = demand(TEXTS, work=short)
    assert demand(TEXTS, work=short, batch_size=64).memory > found.memory
    assert demand(TEXTS, work=long).memory > found.memory + 1e8
    # Token tables are not trained.
    assert demand(TEXTS, work=short).memory - demand(
        dataclasses.replace(TEXTS, lookup=0), work=short
    ).memory == pytest.approx(-20 * TEXTS.lookup)


def test_time_is_of_all_epochs_on_this_machine():
    found = demand()
    # Three forward passes a training item an epoch, one a validation item, and those around it.
    passes = 20 * (3 * 800 + 100) + 900 + 100 + 200
    assert found.seconds == pytest.approx(3 + 1.4 * passes * 1e9 / 1e10, rel=0.1)
    assert demand(epochs=10).seconds < 0.6 * found.seconds
    twice = dataclasses.replace(SPEED, linear=2e10, convolved=2e10, moved=2e10, kernel=5e-7)
    assert demand(speed=twice).seconds == pytest.approx(found.seconds / 2, rel=0.05)
    assert demand(fine_tunes=False).seconds < found.seconds / 20


def test_texts_are_padded_to_the_longest_of_their_batch():
    few = dataclasses.replace(TEXTS, vocabulary=3200)
    mixed = Workload(train=1000, validation=0, test=0, lengths=(10,) * 99 + (1000,))
    assert mixed.padded(1, TEXTS) == pytest.approx(2 + (0.99 * 10 + 0.01 * 1000) / 4.9, rel=0.01)
    assert mixed.padded(1, TEXTS) < mixed.padded(32, TEXTS) < mixed.longest(TEXTS)
    # Small vocabularies cut words into more pieces.
    assert mixed.longest(dataclasses.replace(TEXTS, longest=64)) == 64
    assert mixed.longest(few) > 1.5 * mixed.longest(TEXTS)


def test_an_expert_without_a_footprint_is_estimated_by_its_size():
    known = expert("a", params=10_000_000, meta={FOOTPRINT: IMAGES.as_dict()})
    assert footprint_of(known) == (IMAGES, "configuration")
    by_size, why = footprint_of(expert("b", params=25_000_000))
    assert why == "size"
    # ResNet-50 at 224 pixels: 4.1 billion multiply-adds, and 86 MB are kept for an image.
    assert by_size.linear + by_size.convolved == pytest.approx(4.1e9, rel=0.5)
    assert by_size.kept == pytest.approx(8.6e7, rel=0.5)
    # BERT base: 85 million parameters outside the tables, 673 kB a token.
    words = law("text", 109_482_240, 768)
    assert words.linear == pytest.approx(8.5e7, rel=0.05)
    assert words.kept == pytest.approx(6.7e5, rel=0.15)
    assert law("image", 0, 0) is None


def finished(store, node, *, factor=1.0, config=None, epochs=4):
    """A run that took `factor` times the estimate."""
    plan = dataclasses.replace(plan_of(config or {}), epochs=epochs)
    own = estimated(footprint_of(node)[0], plan=plan, workload=DATA, speed=SPEED)
    result = {
        "n_train": 800, "n_validation": 100, "n_test": 100, "epochs": epochs,
        "seconds": factor * own.seconds, "peak_memory": own.memory,
    }  # fmt: skip
    count = len(store.runs())
    store.put_run(
        Run(
            id=f"run:{count}", expert=node.id, task="task:x", child=None, status="done",
            strategy="lp-ft", seed=0, path="x", config=config or {}, result=result, started_at="",
            finished_at=None,
        )
    )  # fmt: skip


def test_own_runs_correct_the_estimate_of_their_architecture(store):
    slow, other = (
        expert(name, architecture=kind, params=10_000_000, meta={FOOTPRINT: IMAGES.as_dict()})
        for name, kind in (("a", "slow"), ("b", "quick"))
    )
    store.put_expert(slow)
    assert corrections_from(store, plan_of, lengths={}, speed=SPEED) == Corrections()
    for _ in range(3):
        finished(store, slow, factor=2.0)
    found = corrections_from(store, plan_of, lengths={}, speed=SPEED)
    needs = Estimates(plan=Plan(), workload=DATA, speed=SPEED, corrections=found)
    before = Estimates(plan=Plan(), workload=DATA, speed=SPEED)
    ratio = needs(slow).minutes / before(slow).minutes
    assert 1.6 < ratio < 2.0
    assert 1.0 < needs(other).minutes / before(other).minutes < ratio
    assert needs(slow).memory == pytest.approx(before(slow).memory)
    assert (needs(slow).known_by, needs(other).known_by) == ("runs", "configuration")


def test_runs_that_tell_of_something_else_do_not_count(store):
    node = expert("a", architecture="slow", params=10_000_000, meta={FOOTPRINT: IMAGES.as_dict()})
    store.put_expert(node)
    finished(store, node, factor=9.0)
    found = corrections_from(store, plan_of, lengths={}, speed=SPEED)
    assert found.seconds == {}
    assert plan_of({"into": "shrink:0.5"}) is None
    assert plan_of({"of a later version": 1}) is None


def test_the_machine_is_timed_once_and_kept(store):
    rough = speed_of(store, may_calibrate=False)
    assert not rough.calibrated
    assert rough == rough_speed()
    assert store.speed(speed_key()) is None
    measured = speed_of(store, may_calibrate=True)
    assert measured == calibrate()
    assert measured.calibrated
    assert speed_of(store, may_calibrate=False) == measured
    # Numbers of one thread of any machine of the last years, and of the process that trains.
    assert 1e8 < measured.linear < 1e13
    assert 1e8 < measured.moved < 1e13
    assert 1e-8 < measured.kernel < 1e-3


@pytest.mark.parametrize("damaged", ["{", "[1]", '{"linear": 1}', '{"linear": "x"}', "null"])
def test_a_damaged_record_of_the_machine_counts_as_none(store, damaged):
    with store.transaction():
        store.db.execute("INSERT INTO state (name, value) VALUES (?, ?)", [f"speed:{speed_key()}", damaged])
    assert not speed_of(store, may_calibrate=False).calibrated


def test_plans_follow_the_strategy():
    assert plan_of({}) == Plan()
    assert plan_of({"strategy": "linear-probe"}).fine_tunes is False
    lora = plan_of({"strategy": "lora"})
    assert lora.adapts
    assert lora.trained < 0.1
    assert plan_of({"strategy": "full"}).probes is False
    assert plan_of({"strategy": "bitfit"}).trained < 0.1
    assert math.isclose(plan_of({"strategy": "from-scratch"}).trained, 1.0)
