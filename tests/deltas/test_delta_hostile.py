"""Delta files by strangers: one clear line, nothing written, nothing in the registry."""

import json
import os
import shutil
import struct

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests import materials
from tests.program import invoke

NAME = "model.embedder.embedder.convolution.weight"
KEY = f"value:backbone.{NAME}"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(trained_family, tmp_path_factory):
    """A delta file that is in order."""
    path = tmp_path_factory.mktemp("deltas") / "good.safetensors"
    workspace = shutil.copytree(trained_family.workspace, path.parent / "workspace")
    invoke("--workspace", workspace, "delta", "make", trained_family.runs[0], "--out", path).worked()
    return path


@pytest.fixture
def good(family, made):
    """That file, and what is in it, which a test may change."""
    with safe_open(made, framework="pt") as file:
        metadata = file.metadata()
    return made, load_file(made), metadata


@pytest.fixture
def refused(family, good):
    """Write a changed file, apply it, and check that it came to nothing."""

    def check(tensors, metadata, *parts):
        path = family.workspace / "bad.safetensors"
        save_file(tensors, path, metadata=metadata)
        return apply_refused(path, *parts)

    def apply_refused(path, *parts):
        counted = materials.counts(family.workspace)
        files = sorted(p.name for p in family.workspace.iterdir())
        invoke("delta", "apply", "emoji", path, "--out", "applied").failed(*parts)
        invoke("delta", "apply", "emoji", good[0], path, "--out", "applied").failed(*parts)
        assert materials.counts(family.workspace) == counted
        assert sorted(p.name for p in family.workspace.iterdir()) == files

    check.file = apply_refused
    return check


def test_a_delta_to_other_weights_names_both_hashes(family, good):
    ours = good[2]["parent_sha256"][:16]
    done = invoke("delta", "apply", "hebrew-letters", good[0], "--out", "applied")
    done.failed(ours, "those of hebrew-letters", "apply it to zoo:emoji@resnet")
    assert not (family.workspace / "applied").exists()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda t: t | {KEY: torch.zeros(3, 3)}, "is expected"),
        (lambda t: t | {KEY: t[KEY].double()}, "F64"),
        (lambda t: t | {KEY: torch.full_like(t[KEY], float("nan"))}, "NaN or infinite"),
        (lambda t: t | {KEY: torch.full_like(t[KEY], float("inf"))}, "NaN or infinite"),
        (lambda t: t | {"value:backbone.extra": torch.zeros(1)}, "the parent has no such tensor"),
        (lambda t: t | {"value:../../etc/passwd": torch.zeros(1)}, "the parent has no such tensor"),
        (lambda t: t | {"__proto__": torch.zeros(1)}, "which no delta has"),
        (lambda t: t | {"value:head.weight": torch.zeros(4, 5)}, "is expected"),
        (lambda t: t | {f"int8:backbone.{NAME}": torch.zeros(1, dtype=torch.int8)}, "do not belong together"),
        (lambda t: {k: v for k, v in t.items() if k != "value:head.bias"}, "lacks its bias"),
    ],
    ids=["shape", "type", "nan", "inf", "extra", "path", "proto", "head", "parts", "half-a-head"],
)
def test_tensors_that_do_not_fit(good, refused, change, named):
    _, tensors, metadata = good
    refused(change(tensors), metadata, named)


def test_factors_that_would_be_huge(good, refused):
    _, tensors, metadata = good
    rows = tensors.pop(KEY).shape[0]
    huge = {f"left.value:backbone.{NAME}": torch.zeros(rows, 4000),
            f"right.value:backbone.{NAME}": torch.zeros(4000, 27)}  # fmt: skip
    refused(tensors | huge, metadata, "no possible rank")


def test_scales_that_overflow(good, refused):
    _, tensors, metadata = good
    shape = tensors.pop(KEY).shape
    parts = {f"int8:backbone.{NAME}": torch.full(shape, 127, dtype=torch.int8),
             f"scale:backbone.{NAME}": torch.full(shape[:1], 3e38)}  # fmt: skip
    refused(tensors | parts, metadata, "NaN or infinite")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"format": "other"}, "it is not a delta file"),
        ({"version": "9"}, "version '9'"),
        ({"items": "many"}, "classes or items"),
        ({"items": "-5"}, "not possible"),
        ({"items": str(10**30)}, "not possible"),
        ({"classes": "[1, 2]"}, "not possible"),
        ({"classes": '["a", "a"]'}, "not possible"),
        ({"classes": "["}, "cannot be read"),
        ({"classes": json.dumps([str(i) for i in range(200_000)])}, "200000 classes"),
        ({"head": "both"}, "does not say what head"),
        ({"head": "difference"}, "a head that emoji"),
        ({"head": "none"}, "the parent has no such tensor"),
    ],
)
def test_a_header_that_lies(good, refused, changes, named):
    _, tensors, metadata = good
    refused(tensors, metadata | changes, named)


def test_a_file_without_metadata(good, refused):
    refused(good[1], None, "it is not a delta file")


def test_files_that_are_no_safetensors(family, good, refused):
    path = family.workspace / "bad.safetensors"
    whole = good[0].read_bytes()
    for content in (
        b"",
        b"PK\x03\x04" + b"\0" * 100,
        struct.pack("<Q", 2**62) + b"{}",
        struct.pack("<Q", 10**9) + b"{}",
        whole[: len(whole) // 2],
        whole[:-1],
        struct.pack("<Q", 2) + b"[]",
        b"\x80\x04\x95" + b"x" * 50,
    ):
        path.write_bytes(content)
        refused.file(path, "is not a safetensors file")


def test_a_header_with_a_huge_tensor_that_is_not_there(family, refused):
    header = json.dumps({KEY: {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    path = family.workspace / "bad.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    refused.file(path, "is not a safetensors file")


def test_what_is_no_file(family, refused):
    os.mkfifo(family.workspace / "pipe")
    refused.file(family.workspace / "pipe", "is not a regular file")
    refused.file(family.workspace / "missing", "no delta at")
    (family.workspace / "folder").mkdir()
    refused.file(family.workspace / "folder", "is not a regular file")


def test_unknown_numbers_of_items_need_weights(family, good, refused):
    _, tensors, metadata = good
    path = family.workspace / "silent.safetensors"
    save_file(tensors, path, metadata=metadata | {"items": "0"})
    invoke("delta", "apply", "emoji", good[0], path, "--out", "applied").failed(
        "one weight for each delta as --weights"
    )
    invoke("delta", "apply", "emoji", path, "--out", "applied").worked()


def test_control_characters_do_not_reach_the_terminal(family, good):
    _, tensors, metadata = good
    path = family.workspace / "loud.safetensors"
    save_file(tensors, path, metadata=metadata | {"parent_sha256": "\x1b[31mred", "parent": "\x1b]0;x\x07"})
    done = invoke("delta", "apply", "emoji", path, "--out", "applied")
    done.failed("apply it to")
    assert "\x1b" not in done.err
    assert "\x07" not in done.err


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--weights", "1,1"), "do not fit 1 models"),
        (("--weights", "-1"), "do not fit"),
        (("--scale", "nan"), "scale is nan"),
    ],
)
def test_numbers_that_mean_nothing(family, good, options, named):
    invoke("delta", "apply", "emoji", good[0], "--out", "applied", *options).failed(named)
    assert not (family.workspace / "applied").exists()
