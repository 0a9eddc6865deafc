"""Predicted running time: from the expert's own runs, from others by size, and before any."""

import math
import time

import numpy as np
import pytest

from expertise_graph.data.dataset import Inputs
from expertise_graph.data.probe_sets import read_probe_set
from expertise_graph.features.cost import Fit, Timings, cached, predicted_seconds, seconds_now
from expertise_graph.features.probing import Prober
from expertise_graph.features.running import extract
from expertise_graph.models.base import SourceOptions
from expertise_graph.models.loading import load, resolve
from expertise_graph.starter.contents import probe_files
from expertise_graph.store.runs import Timing
from expertise_graph.store.store import Store
from tests.nodes import expert

SPECIALISTS = ("latin-letters", "digits-in-fonts", "clipart", "fashion", "emoji", "hebrew-letters")
ITEMS = 48


@pytest.fixture
def store(tmp_path):
    opened = Store(tmp_path)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def probes():
    (file,) = (p for p in map(read_probe_set, probe_files()) if p.probe_set.modality == "image")
    return file.items[:ITEMS]


def timing(label, params, seconds_per_item, architecture="resnet", items=100):
    return Timing(label, "plain", "image", architecture, params, items, seconds_per_item * items)


def measured(node, items):
    """Loading and running, the fastest of three each: other processes only ever add to it."""

    def fastest(work):
        found = []
        for _ in range(3):
            start = time.perf_counter()
            work()
            found.append(time.perf_counter() - start)
        return min(found)

    backbone = load(node)
    return fastest(lambda: load(node)), fastest(lambda: extract(backbone, items))


@pytest.mark.slow
def test_specialists_are_predicted_within_a_factor_of_three_after_two_were_measured(store, probes):
    zoo = [resolve(f"zoo:{name}", SourceOptions()) for name in SPECIALISTS]
    for node in zoo:
        store.put_expert(node)
    measured(zoo[0], probes)
    timings, taken = Timings(store), {node.name: measured(node, probes) for node in zoo}
    for node in zoo[:2]:
        timings.note(node, ITEMS, taken[node.name][1])
    for node in zoo:
        ratio = timings.seconds_per_item(node) * ITEMS / taken[node.name][1]
        assert 1 / 3 < ratio < 3, node.name
        assert 1 / 3 < predicted_seconds(node, ITEMS, timings) / sum(taken[node.name]) < 3, node.name


def test_an_expert_that_was_run_takes_what_it_took(store):
    node, other = expert("a", params=10**6), expert("b", params=10**6)
    for each in (node, other):
        store.put_expert(each)
    timings, another = Timings(store), Timings(store)
    assert another.seconds_per_item(node) != pytest.approx(0.02)
    timings.note(node, 100, 2.0)
    # Whoever asks knows of it, not only who noted it.
    for each in (timings, another):
        assert each.seconds_per_item(node) == pytest.approx(0.02)
    timings.note(node, 300, 10.0)
    timings.note(other, 10, 7.0)
    assert timings.seconds_per_item(node) == pytest.approx(12 / 400)
    assert Timings(store).seconds_per_item(node) == pytest.approx(12 / 400)
    more = predicted_seconds(node, 1000, timings) - predicted_seconds(node, 0, timings)
    assert more == pytest.approx(1000 * 12 / 400)


def test_runs_since_a_mark_tell_the_pace_and_what_each_takes_now(store):
    slow, quick, idle, new = (expert(name, params=10**6) for name in "abcd")
    for each in (slow, quick, idle, new):
        store.put_expert(each)
    Timings(store).note(slow, 384, 19.2)
    Timings(store).note(quick, 100, 0.1)
    Timings(store).note(idle, 100, 1.0)
    timings = Timings(store)
    timings.mark()
    assert timings.pace is None
    assert [timings.measured(e) for e in (slow, quick, idle, new)] == [None] * 4
    timings.note(quick, 50, 0.04)
    # Too short to tell how fast the machine is.
    assert timings.pace is None
    # Another asks and notes as well: a query.
    Timings(store).note(slow, 200, 2.0)
    assert timings.measured(slow) == pytest.approx(0.01)
    assert timings.measured(quick) == pytest.approx(0.0008)
    assert timings.pace == pytest.approx(2.04 / (200 * 0.05 + 50 * 0.001))
    Timings(store).note(new, 10, 0.5)
    assert timings.measured(new) == pytest.approx(0.05)
    assert timings.measured(idle) is None
    # What was on record stays what the pace is measured by.
    assert timings.seconds_per_item(slow) == pytest.approx(0.05)
    assert timings.seconds_per_item(idle) == pytest.approx(0.01)
    assert Timings(store).seconds_per_item(slow) == pytest.approx(21.2 / 584)


def test_what_a_run_takes_now_counts_the_pace_and_what_comes_before_the_first(store):
    slow, other = (expert(name, params=10**6, bytes=10**8) for name in "ab")
    for each in (slow, other):
        store.put_expert(each)
    Timings(store).note(slow, 100, 5.0)
    Timings(store).note(other, 100, 1.0)
    timings = Timings(store)
    timings.mark()
    # As on record, with what comes before, while nothing tells how busy the machine is.
    loading = predicted_seconds(other, 0, timings)
    assert seconds_now(other, 200, timings, starting=4.0) == pytest.approx(4.0 + loading + 2.0)
    # The other one takes a tenth of what is on record, as the record is of a busy machine.
    Timings(store).note(slow, 100, 0.5)
    assert seconds_now(slow, 200, timings, starting=0.0) == pytest.approx(loading + 1.0)
    assert seconds_now(other, 200, timings, starting=0.0) == pytest.approx(loading + 0.2)


def test_beside_other_work_all_takes_longer_and_the_first_work_tells(store):
    timings, worked = Timings(store), time.process_time()
    timings.mark()
    time.sleep(1.0)
    while time.process_time() - worked < 0.5:
        pass
    first = timings.slowdown
    assert first >= 2.9
    node = expert("a", params=5 * 10**6, bytes=0)
    twice = 2 * timings.seconds_per_item(node)  # what is on record may be of a busy machine, too
    assert seconds_now(node, 10, timings, starting=1.0) == pytest.approx(first * 1.05 + 10 * twice)
    time.sleep(2.0)  # waiting for a process of its own is no sign of a busy machine
    assert timings.slowdown == first


def test_loading_takes_longer_the_larger_the_file(store):
    timings = Timings(store)
    small, large = (predicted_seconds(expert("a", bytes=b), 0, timings) for b in (10**6, 10**9))
    assert 0 < small < 0.2
    assert 1 < large - small < 10


def test_nothing_is_noted_of_a_run_without_items_or_time(store):
    node = expert("a")
    store.put_expert(node)
    timings = Timings(store)
    before = timings.seconds_per_item(node)
    for items, seconds in ((0, 1.0), (5, 0.0), (5, -1.0), (5, math.nan), (5, math.inf)):
        timings.note(node, items, seconds)
    assert timings.seconds_per_item(node) == before


def test_before_anything_was_timed_larger_experts_take_longer():
    fit = Fit.of([])
    rates = [fit.seconds_per_item(expert("a", params=p)) for p in (5 * 10**5, 5 * 10**6, 5 * 10**7)]
    assert rates[1] == pytest.approx(5e-3)
    assert rates[2] / rates[1] == pytest.approx(10**0.8)
    assert rates[1] / rates[0] == pytest.approx(10**0.8)
    # Of unknown size it counts as the usual one.
    assert fit.seconds_per_item(expert("a", params=0)) == rates[1]


def test_the_line_is_the_posterior_mean_of_its_regression():
    """Against ordinary least squares with the prior as two further rows of data."""
    rng = np.random.default_rng(0)
    params = rng.integers(10**5, 10**9, size=12)
    seconds = np.exp(rng.normal(-5, 1, size=12)) * (params / 5e6) ** 0.6
    fit = Fit.of([timing(str(i), int(p), s) for i, (p, s) in enumerate(zip(params, seconds, strict=True))])
    rows = np.column_stack([np.ones(12), np.log(params / 5e6)]) / 0.4
    rows = np.vstack([rows, [1 / 1.2, 0], [0, 1 / 0.2]])
    values = np.concatenate([np.log(seconds) / 0.4, [math.log(5e-3) / 1.2, 0.8 / 0.2]])
    expected, *_ = np.linalg.lstsq(rows, values, rcond=None)
    assert (fit.level, fit.slope) == pytest.approx(tuple(expected))
    residuals = np.log(seconds) - expected[0] - expected[1] * np.log(params / 5e6)
    assert fit.steps == {"resnet": pytest.approx(residuals.sum() / 13)}


def test_architectures_that_are_slow_for_their_size_stay_slow():
    known = [timing(f"r{i}", 10**6, 0.001) for i in range(4)]
    known += [timing(f"m{i}", 10**6, 0.05, "mobilenet_v2") for i in range(4)]
    fit = Fit.of(known)
    fast, slow, other = (
        fit.seconds_per_item(expert("x", params=2 * 10**6, architecture=a))
        for a in ("resnet", "mobilenet_v2", "vit")
    )
    assert fast < 0.004
    assert slow > 0.03
    assert fast < other < slow


def test_modalities_and_machines_are_kept_apart(store):
    text, image = expert("t", modality="text"), expert("i")
    for node in (text, image):
        store.put_expert(node)
    untouched = Fit.of([]).seconds_per_item(image)
    Timings(store).note(text, 10, 50.0)
    store.add_timing(image, "another machine", items=1, seconds=100.0)
    assert Timings(store).seconds_per_item(image) == pytest.approx(untouched)
    assert Timings(store).seconds_per_item(text) == 5.0


def test_inputs_are_cached_once_an_expert_was_run_on_it(store, probes):
    node = resolve("zoo:digits-in-fonts", SourceOptions())
    inputs = Inputs(items=probes[:4], modality="image", sha256="four probes")
    assert not cached(node, inputs, store.features)
    Prober(arrays=store.features).features(node, inputs)
    assert cached(node, inputs, store.features)
    assert not cached(expert("other"), inputs, store.features)
