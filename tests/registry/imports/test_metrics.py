"""What the name of a metric says."""

import pytest

from expertise_graph.registry.imports.metrics import is_fraction, is_lower, known_as


@pytest.mark.parametrize(
    ("name", "fraction", "lower"),
    [
        ("accuracy", True, False),
        ("eval_acc", True, False),
        ("Top-5", True, False),
        ("F1", True, False),
        ("macroF1", True, False),
        ("ROC AUC", True, False),
        ("mAP", True, False),
        ("map@50", True, False),
        ("evalLoss", False, True),
        ("top-1 error", False, True),
        ("RMSE", False, True),
        ("perplexity", False, True),
        ("WER", False, True),
        ("val_nll", False, True),
        ("FID", False, True),
        ("mcc", False, False),
        ("pearson", False, False),
        ("terror", False, False),
        ("factor", False, False),
    ],
)
def test_names(name, fraction, lower):
    assert (is_fraction(name), is_lower(name)) == (fraction, lower)


def test_accuracy_has_one_name():
    for name in (
        "acc",
        "ACC",
        "Accuracy",
        "top-1 acc",
        "top1",
        "val/acc",
        "eval_accuracy",
        "testAcc",
        "acc (%)",
    ):
        assert known_as(name) == "accuracy"
    for name in (
        "train_acc",
        "balanced accuracy",
        "top-5 acc",
        "top5",
        "acc_class_3",
        "mAP",
        "accuracy gain",
    ):
        assert known_as(name) == name
