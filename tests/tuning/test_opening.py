"""What a search begins with, by the seconds that each step takes; no clock takes part."""

import dataclasses

import pytest

from expertise_graph.tuning.opening import Foreseen, Step, opening

PROBE, RAW, TUNE = Step.PROBE, Step.RAW, Step.TUNE

TINY = Foreseen(left=46.0, raw=1.8, probe=1.6, probe_end=1.5, epoch=0.5, tune_end=2.1)
"""A tiny expert on an idle machine, after start and query of a search of a minute."""

BUSY = Foreseen(left=18.0, raw=9.0, probe=5.0, probe_end=4.0, epoch=4.0, tune_end=8.0)
"""The same, three times as slow."""

TEXTS = Foreseen(left=45.8, raw=1.7, probe=2.2, probe_end=3.5, epoch=4.1, tune_end=8.5)
"""A published network of texts; an epoch takes as long as eight of a tiny expert."""


def images(times, **more):
    return opening(times, **{"epochs": 20, "least": 20, "raw_promises": False, **more})


def texts(times, **more):
    return opening(times, **{"epochs": 20, "least": 0.5, "raw_promises": False, **more})


def test_with_time_for_a_whole_fine_tune_the_raw_input_is_tried_before_it():
    assert images(TINY) == texts(TINY) == [RAW]
    assert images(dataclasses.replace(TINY, left=1000.0)) == [RAW]


def test_on_a_busy_machine_the_probe_comes_first_and_the_raw_input_does_not_take_its_time():
    assert images(BUSY) == [PROBE]
    # 9 s of raw input beside twice the probe and its end, 14 s, do not fit into 18 s.
    assert images(dataclasses.replace(BUSY, left=22.9)) == [PROBE]
    assert images(dataclasses.replace(BUSY, left=23.1)) == [PROBE, RAW]


def test_texts_are_fine_tuned_as_far_as_time_goes_as_a_warm_start_does():
    assert texts(TEXTS) == [PROBE, RAW, TUNE]
    assert texts(dataclasses.replace(TEXTS, raw=9.0)) == [PROBE, TUNE]
    assert texts(BUSY) == [PROBE, TUNE]
    # Less than half an epoch is left after the probe: 8.0 - 4.2 = 3.8 s, of epochs of 4.1 and of 9 s.
    assert texts(dataclasses.replace(TEXTS, left=14.5)) == [PROBE, RAW, TUNE]
    assert texts(dataclasses.replace(TEXTS, left=14.5, epoch=9.0)) == [PROBE, RAW]


def test_images_whose_epochs_do_not_all_fit_keep_to_the_probe():
    assert images(TEXTS) == [PROBE, RAW]
    assert images(dataclasses.replace(TEXTS, epoch=1.8)) == [PROBE, RAW]
    # All epochs fit, but not beside the raw input.
    assert images(dataclasses.replace(TEXTS, epoch=1.7)) == [PROBE, RAW, TUNE]
    assert images(dataclasses.replace(TEXTS, epoch=1.6)) == [RAW]


def test_the_raw_input_is_first_where_as_much_is_expected_of_it_or_the_probe_has_no_time():
    assert images(BUSY, raw_promises=True) == [RAW, PROBE]
    assert texts(TEXTS, raw_promises=True) == [RAW, PROBE, TUNE]
    for least in (0.5, 20):
        assert opening(dataclasses.replace(BUSY, left=8.9), epochs=20, least=least, raw_promises=False) == [
            RAW
        ]
    assert images(dataclasses.replace(BUSY, left=-3.0)) == [RAW]


@pytest.mark.parametrize("slower", [1.0, 2.0, 4.0, 8.0, 16.0])
def test_a_slower_machine_never_brings_the_raw_input_before_a_probe_that_has_time(slower):
    for times in (TINY, TEXTS):
        slow = Foreseen(**{n: v if n == "left" else slower * v for n, v in dataclasses.asdict(times).items()})
        whole = slow.raw + slow.probe + 20 * slow.epoch + slow.tune_end <= slow.left
        fits = slow.probe + slow.probe_end <= slow.left
        assert images(slow)[0] is (RAW if whole or not fits else PROBE)
