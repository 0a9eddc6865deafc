"""Each rule of the advice fires on its finding, and on the finding alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from expertise_graph.core import Command
from expertise_graph.diagnostics.advice import advise, next_command
from expertise_graph.diagnostics.findings import (
    Accuracy,
    Baselines,
    DataFindings,
    DatasetSummary,
    DuplicateGroup,
    Duplicates,
    LabelErrors,
    LearningCurve,
    SuspectedError,
    UnusualItems,
)


def findings(classes=None, *, per_class=40, expert="cats@12345678", accuracy=0.8, gain_low=0.1, **changes):
    classes = classes or {"cat": 100, "dog": 90}
    summary = {
        "name": "pets",
        "modality": "image",
        "items": sum(classes.values()),
        "classes": classes,
        "splits": {"train": sum(classes.values())},
        "imbalance": max(classes.values()) / min(classes.values()) if classes else 1.0,
        "per_class": per_class,
        "traits": (),
    } | changes.pop("summary", {})
    methods = {
        name: Accuracy(method=name, value=value, low=value - 0.05, high=value + 0.04)
        for name, value in (("majority", 0.5), ("centroid", 0.55), ("raw", 0.7), ("expert", accuracy))
        if expert or name != "expert"
    }
    baselines = Baselines(
        methods=methods, items=190, folds=5, gain=accuracy - 0.7, gain_low=gain_low, gain_high=0.3
    )
    curve = LearningCurve(
        method="cats", sizes=(38, 76, 152), accuracies=(0.7, 0.75, 0.8), doubled=0.84, low=0.82, high=0.87
    )
    return DataFindings(
        names=(),
        labels=np.zeros(0, dtype=np.int64),
        class_names=(),
        items=(),
        summary=DatasetSummary(**summary),
        **{"baselines": baselines, "learning_curve": curve, "expert": expert} | changes,
    )


def copies(**changes):
    group = DuplicateGroup(items=(0, 1), exact=True, leak=False, conflict=changes.pop("conflict", False))
    values = {"exact_copies": 1, "near_copies": 0, "leaked": (), "held_out": 50, "confirmed_by": "pixels"}
    return Duplicates(groups=(group,), **values | changes)


def suspected(number, misclassified):
    found = (SuspectedError(item=0, given="cat", suggested="dog", confidence=0.9),) * number
    return LabelErrors(
        suspected=found, found=number, checked=190, misclassified=misclassified, recall=0.9, estimated=number
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "Nothing has to be fixed first."),
        ({"classes": {"cat": 50}}, "add items of a second class"),
        (
            {"duplicates": copies(leaked=(3, 4))},
            "remove the 2 leaked items from training or from validation and test",
        ),
        ({"duplicates": copies(conflict=True)}, "one label for 1 group of duplicates"),
        ({"label_errors": suspected(20, 40)}, "review the 20 labels that look wrong"),
        ({"label_errors": suspected(20, 60)}, "Nothing"),
        ({"label_errors": suspected(2, 3)}, "Nothing"),
        (
            {"summary": {"only_in_test": ("cow", "pig")}},
            "add items of 2 classes that only the test set has to training",
        ),
        ({"summary": {"skipped": (("x", "no image"),) * 12}}, "repair or remove the 12 items"),
        ({"summary": {"skipped": (("x", "no image"),) * 5}}, "Nothing"),
        (
            {"classes": {"cat": 100, "cow": 1}},
            "collect more of 1 class with fewer than 5 items, such as 'cow' with 1",
        ),
        ({"classes": {"cat": 100, "cow": 9}}, "'cat' has 11 times the items of 'cow'"),
        ({"duplicates": copies(exact_copies=8, near_copies=4)}, "remove the 12 copies"),
        ({"duplicates": copies()}, "Nothing"),
        (
            {"unusual": (UnusualItems(kind="of a single colour", items=tuple(range(12))),)},
            "12 are of a single colour",
        ),
        ({"unusual": (UnusualItems(kind="of a single colour", items=(1,)),)}, "Nothing"),
    ],
)
def test_what_to_fix_first(changes, words):
    first, _, _ = advise(findings(**changes))
    assert words in first


def test_the_repair_that_concerns_the_most_items_comes_first():
    conflict = copies(conflict=True)
    assert "one label for 1 group" in advise(findings(duplicates=conflict))[0]
    both = {"duplicates": conflict, "label_errors": suspected(62, 100)}
    assert "62 labels that look wrong" in advise(findings(**both))[0]
    leaked = copies(leaked=tuple(range(70)), conflict=True)
    assert "70 leaked items" in advise(findings(**both | {"duplicates": leaked}))[0]
    assert "80 copies" in advise(findings(**both | {"duplicates": copies(exact_copies=80)}))[0]
    even = {"duplicates": copies(leaked=tuple(range(20))), "label_errors": suspected(20, 40)}
    assert "leaked" in advise(findings(**even))[0], "of equally many the one that spoils the measure"
    rare = {"classes": {"cat": 100, "cow": 1}}
    assert "labels that look wrong" in advise(findings(**both | rare))[0], "repairs come before collecting"


def test_where_nothing_is_learnt_that_is_said_and_no_training_advised():
    methods = {
        name: Accuracy(method=name, value=value, low=value - 0.04, high=value + 0.04)
        for name, value in (("majority", 0.348), ("centroid", 0.33), ("raw", 0.35), ("expert", 0.36))
    }
    baselines = Baselines(methods=methods, items=500, folds=5, gain=0.01, gain_low=0.005, gain_high=0.05)
    random = findings(baselines=baselines)
    _, start, expect = advise(random)
    assert start.startswith("Nothing beats always guessing the most frequent class (35 %)")
    assert expect == "Expect no more than the 35 % of that guess."
    assert next_command(random, "d", {}) is None


@pytest.mark.parametrize(
    ("changes", "words", "settings"),
    [
        ({"per_class": 9}, "as 9 items per class are too few to train more", {"strategy": "linear-probe"}),
        ({"per_class": 10}, "a linear probe and then fine-tuning, as suits 10 items per class", {}),
        ({"per_class": 499}, "and then fine-tuning", {}),
        ({"per_class": 500}, "with full fine-tuning", {"strategy": "full"}),
        ({"accuracy": 0.98}, "which leaves little to gain", {"strategy": "linear-probe"}),
    ],
)
def test_what_to_start_from(changes, words, settings):
    found = findings(**changes)
    _, second, _ = advise(found)
    assert second.startswith("Start from cats@12345678 with ")
    assert words in second
    read = {"label_column": "species"}
    expected = {"expert": "cats@12345678", **read, **settings, "out": "runs/first"}
    assert next_command(found, "my pets", read) == Command("warm_start", ("my pets",), expected)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"baselines": None}, "too few items to tell what to start from"),
        ({"expert": None}, "Register experts for images and check again, to see whether they beat the 70 %"),
        ({"gain_low": -0.02}, "Begin without a network, as a simple model on the raw input reaches 70 %"),
    ],
)
def test_what_to_do_without_a_good_expert(changes, words):
    found = findings(**changes)
    assert words in advise(found)[1]
    assert next_command(found, "pets", {}) is None


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({}, ("about 80 % (75 % to 84 %) or more after fine-tuning", "add about 4 points (2 to 7)")),
        ({"gain_low": -0.1, "accuracy": 0.69}, ("about 70 % (65 % to 74 %) on items", "about 4 points")),
        ({"accuracy": 0.98}, ("about 98 % (93 % to 102 %) on items",)),
        ({"learning_curve": None}, ("whether more data helps is not known",)),
        ({"baselines": None}, ("What accuracy to expect is not known yet.",)),
        (
            {
                "learning_curve": LearningCurve(
                    method="", sizes=(1, 2, 4), accuracies=(0.5, 0.6, 0.7), reason="it is flat"
                )
            },
            ("what more data would add is not known, as it is flat.",),
        ),
        (
            {
                "learning_curve": LearningCurve(
                    method="", sizes=(1, 2, 4), accuracies=(0.79, 0.79, 0.8), doubled=0.8, low=0.8, high=0.805
                )
            },
            ("twice as many items would add under one point.",),
        ),
    ],
)
def test_what_to_expect(changes, parts):
    third = advise(findings(**changes))[2]
    assert all(part in third for part in parts), third


def test_there_are_three_sentences_always():
    for changes in (
        {},
        {"baselines": None, "learning_curve": None, "expert": None},
        {"expert": None},
        {"gain_low": -1.0},
    ):
        advice = advise(findings(**changes))
        assert len(advice) == 3
        assert all(s.endswith(".") and ". " not in s and s[0].isupper() for s in advice)


def test_without_experts_one_baseline_is_beaten_and_expected():
    found = findings(expert=None, gain_low=None)
    noisy = dict(found.baselines.methods)
    # The better of two by chance: it is within the interval of the other.
    noisy["centroid"] = Accuracy(method="centroids", value=0.73, low=0.66, high=0.8)
    found = dataclasses.replace(found, baselines=dataclasses.replace(found.baselines, methods=noisy))
    _, start, expect = advise(found)
    assert "beat the 70 % of a linear model on the raw input" in start
    assert "an accuracy of about 70 % (65 % to 74 %)" in expect
    noisy["centroid"] = Accuracy(method="centroids", value=0.85, low=0.8, high=0.9)
    _, start, expect = advise(found)
    assert "beat the 85 % of centroids" in start
    assert "an accuracy of about 85 %" in expect


def test_where_a_simple_model_leaves_no_error_no_experts_are_asked_for():
    found = findings(expert=None, gain_low=None)
    solved = dict(found.baselines.methods) | {"raw": Accuracy(method="raw", value=1.0, low=0.96, high=1.0)}
    found = dataclasses.replace(found, baselines=dataclasses.replace(found.baselines, methods=solved))
    _, start, _ = advise(found)
    assert start == (
        "Begin without a network, as a linear model on the raw input reaches 100 %, which leaves little "
        "to gain."
    )
