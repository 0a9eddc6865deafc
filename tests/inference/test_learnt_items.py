"""What a model has learnt from is not what it is measured on, in whatever data its items are."""

from __future__ import annotations

import csv
import shutil

import numpy as np
import pytest

from expertise_graph.core import SourceError
from expertise_graph.data.reading import read_data
from expertise_graph.data.sampling import holdout
from expertise_graph.inference.evaluation import evaluate
from expertise_graph.inference.items import choose
from expertise_graph.inference.opening import open_model
from expertise_graph.models.base import SourceOptions
from expertise_graph.models.learnt_items import learnt_by, read_learnt_items
from expertise_graph.models.loading import load, resolve
from expertise_graph.models.run_folder import RunFolder
from expertise_graph.training.config import TrainConfig
from expertise_graph.training.trainer import train
from tests import materials
from tests.program import invoke

SEED = 3
"""Of the runs of the fixtures."""


def files_of(folder, split):
    """The files of the items in a split of the run on a folder."""
    data = read_data(folder)
    return [data.items[i] for i in getattr(holdout(data, seed=SEED), split)]


def copy_without(folder, out, *files):
    shutil.copytree(folder, out)
    for file in files:
        (out / file.relative_to(folder)).unlink()
    return out


def measured(run, data, *options):
    return invoke("evaluate", run, data, *options, "--json").worked().json


@pytest.mark.parametrize(
    ("split", "left", "learnt"), [("train", 10, 39), ("validation", 10, 39), ("test", 9, 40)]
)
def test_with_one_file_less_only_the_items_it_has_not_learnt_from_count(
    split, left, learnt, image_run, letters, tmp_path
):
    gone = files_of(letters, split)[0]
    data = copy_without(letters, tmp_path / "minus", gone)
    found = measured(image_run, data)
    assert (found["n"], found["split"], found["learnt"], found["left_out"]) == (
        left,
        "unseen",
        learnt,
        learnt,
    )
    assert found["notes"] == [
        f"{learnt} of these 49 items were trained on or validated with; measured on the other {left}"
    ]
    model, kept = open_model(image_run), set(files_of(letters, "test")) - {gone}
    labelled = read_data(data)
    chosen = {labelled.items[i].name for i in choose(model, labelled, None).rows}
    assert chosen == {file.name for file in kept}


def test_with_more_files_the_new_ones_count_too(image_run, letters, tmp_path):
    data = copy_without(letters, tmp_path / "plus")
    more = materials.pictures(tmp_path / "more", 2, 1, splits=("test",))
    for file in more.rglob("*.png"):
        shutil.copy(file, data / file.parent.name / f"new-{file.name}")
    found = measured(image_run, data)
    assert (found["n"], found["learnt"]) == (12, 40)


def test_of_a_subset_that_it_has_learnt_from_all_is_measured_and_called_no_estimate(
    image_run, letters, tmp_path
):
    held_out = files_of(letters, "test")
    data = copy_without(letters, tmp_path / "seen", *held_out)
    found = measured(image_run, data)
    assert (found["n"], found["split"], found["learnt"], found["left_out"]) == (40, "all", 40, 0)
    assert found["notes"][0] == (
        "all 40 items; all of them were trained on or validated with, so this is no estimate for new data"
    )


def test_a_split_that_is_asked_for_is_measured_whole_with_a_warning(image_run, letters, tmp_path):
    data = copy_without(letters, tmp_path / "minus", files_of(letters, "train")[0])
    found = measured(image_run, data, "--split", "all")
    assert (found["n"], found["split"], found["learnt"], found["left_out"]) == (49, "all", 39, 0)
    assert "39 of them were trained on or validated with, so this is no estimate" in found["notes"][0]
    own = measured(image_run, letters, "--split", "all")
    assert own["notes"][0] == "all 50 items; the model was trained on or validated with 40 of them"
    assert (own["learnt"], own["left_out"]) == (40, 0)
    assert measured(image_run, letters)["learnt"] == 0


def test_rows_of_a_table_are_told_in_another_table(text_run, glosses, tmp_path):
    with glosses.open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)

    def table(name, rows):
        with (tmp_path / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([head, *rows])
        return tmp_path / name

    data = read_data(glosses)
    held_out = set(holdout(data, seed=SEED).test.tolist())
    dropped = next(i for i in range(len(rows)) if i not in held_out)
    found = measured(text_run, table("fewer.csv", rows[:dropped] + rows[dropped + 1 :]))
    assert (found["n"], found["learnt"]) == (8, 31)
    added = [
        cell if name != "text" else "a text that nobody has seen"
        for name, cell in zip(head, rows[0], strict=True)
    ]
    found = measured(text_run, table("more.csv", [*rows[::-1], added]))
    assert (found["n"], found["learnt"]) == (9, 32)


def test_what_its_parent_has_learnt_from_counts_too(image_run, letters, tmp_path):
    expert = resolve(f"dir:{image_run / 'model'}", SourceOptions(modality="image"))
    others = read_data(materials.pictures(tmp_path / "others", 4, 6, splits=("test",)))
    config = TrainConfig(epochs=1, batch_size=8, seed=SEED)
    train(load(expert), others, out=tmp_path / "child", config=config, expert=expert)
    learnt = read_learnt_items(RunFolder(tmp_path / "child"))
    data = read_data(letters)
    assert learnt.complete
    assert learnt.among(data.digests).sum() == 40
    splits = holdout(others, seed=SEED)
    assert learnt.among([others.digests[i] for i in splits.train]).all()
    assert not learnt.among([others.digests[i] for i in splits.test]).any()
    chosen = choose(open_model(tmp_path / "child"), data, None)
    assert (len(chosen.rows), chosen.learnt, chosen.split) == (10, 40, "unseen")
    assert set(chosen.rows) == set(holdout(data, seed=SEED).test)
    # Weights that are drawn anew have learnt from nothing before.
    train(load(expert), others, out=tmp_path / "cold", config=config.cold(), expert=expert)
    assert not read_learnt_items(RunFolder(tmp_path / "cold")).among(data.digests).any()


def test_items_of_the_own_test_split_that_its_parent_has_learnt_from_are_left_out(
    image_run, letters, tmp_path
):
    expert = resolve(f"dir:{image_run / 'model'}", SourceOptions(modality="image"))
    data = read_data(letters)
    config = TrainConfig(epochs=1, batch_size=8, seed=SEED + 1)
    train(load(expert), data, out=tmp_path / "child", config=config, expert=expert)
    model = open_model(tmp_path / "child")
    new = set(holdout(data, seed=SEED).test) & set(holdout(data, seed=SEED + 1).test)
    assert 0 < len(new) < 10
    found = evaluate(model, data)
    assert (found.n, found.left_out, found.split) == (len(new), 10 - len(new), "test")
    assert (
        f"the test split of the run without {10 - len(new)} that it, or what it was made from"
        in found.notes[0]
    )
    whole = evaluate(model, data, split="test")
    assert (whole.n, whole.learnt, whole.left_out) == (10, 10 - len(new), 0)


def test_an_ensemble_has_learnt_from_what_its_members_have(image_run, letters, tmp_path):
    shutil.copytree(image_run, tmp_path / "both")
    member = shutil.copytree(image_run, tmp_path / "both" / "members" / "2")
    (member / "learnt.safetensors").unlink()
    RunFolder(tmp_path / "both").write_ensemble({".": 1.0, "members/2": 1.0}, 0.5)
    model, data = open_model(tmp_path / "both"), read_data(letters)
    assert model.learnt.among(data.digests).sum() == 40
    assert not model.learnt.complete


def test_a_folder_of_an_earlier_version_opens_and_says_that_it_kept_no_record(run, letters, tmp_path):
    (run / "learnt.safetensors").unlink()
    assert measured(run, letters)["n"] == 10
    found = measured(run, copy_without(letters, tmp_path / "minus", files_of(letters, "train")[0]))
    assert (found["n"], found["split"], found["learnt"]) == (49, "all", 0)
    assert found["notes"][0] == (
        "all 49 items; the run kept no full record of what it learnt from, so it may know some of them"
    )


def test_a_damaged_record_is_named(run, letters):
    (run / "learnt.safetensors").write_bytes(b"not tensors")
    with pytest.raises(SourceError, match=r"learnt\.safetensors"):
        open_model(run)
    shutil.copy(run / "head.safetensors", run / "learnt.safetensors")
    with pytest.raises(SourceError, match="does not say which items the model has learnt from"):
        open_model(run)


def test_the_record_takes_eight_bytes_an_item(image_run):
    assert (image_run / "learnt.safetensors").stat().st_size < 40 * 8 + 300
    assert len(read_learnt_items(RunFolder(image_run)).keys) == 40


def test_experts_that_no_run_left_have_learnt_from_nothing_known(image_run):
    published = learnt_by(resolve("zoo:emoji", SourceOptions()))
    assert (len(published.keys), published.complete) == (0, True)
    left = resolve(f"dir:{image_run / 'model'}", SourceOptions(modality="image"))
    assert np.array_equal(learnt_by(left).keys, read_learnt_items(RunFolder(image_run)).keys)
