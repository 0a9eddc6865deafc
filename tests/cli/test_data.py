"""Every command that reads data first says what it understood; `data show` says it at length."""

import shutil

import pytest

from tests import materials
from tests.data.files import image_folder, png, text_csv
from tests.program import invoke

KEYS = {"modality", "items", "classes", "target", "splits", "columns", "skipped", "notes"}


@pytest.fixture
def letters(tmp_path):
    """Letters in folders called seg_train and seg_test, with a broken file and folders of systems."""
    plain = materials.pictures(tmp_path / "plain", 3, 8, splits=("train", "test"))
    root = tmp_path / "letters"
    root.mkdir()
    for split in ("train", "test"):
        shutil.move(plain / split, root / f"seg_{split}")
        (root / f"seg_{split}" / "@eaDir").mkdir()
        (root / f"seg_{split}" / "@eaDir" / "thumb.png").write_bytes(png(1))
    broken = next((root / "seg_train").rglob("*.png"))
    broken.write_bytes(b"no image")
    return root


LINE = "letters: 47 images with 3 classes; train 23 (seg_train/), test 24 (seg_test/)"


@pytest.mark.parametrize(
    "command",
    [
        ("query", "DATA", "--budget", 1),
        ("check", "DATA"),
        (
            "warm-start",
            "DATA",
            "--out",
            "out",
            "--expert",
            "emoji",
            "--epochs",
            1,
            "--strategy",
            "linear-probe",
        ),
        ("auto", "DATA", "--out", "out", "--time-budget", "3s", "--experts", 1),
        ("data", "show", "DATA"),
    ],
    ids=lambda words: words[0],
)
def test_the_line_comes_first_and_json_carries_the_same(workspace, letters, command):
    words = [letters if word == "DATA" else word for word in command]
    done = invoke(*words, "--json").worked()
    assert done.err.splitlines()[0].startswith(LINE)
    assert "1 skipped (the image is not a readable image) [change: --splits]" in done.err.splitlines()[0]
    found = done.json if command[0] == "data" else done.json["data"]
    assert set(found) >= KEYS
    assert {key: found[key] for key in KEYS} == {
        "modality": "image",
        "items": 47,
        "classes": 3,
        "target": "class",
        "splits": {"train": 23, "test": 24},
        "columns": {},
        "skipped": {"the image is not a readable image": 1},
        "notes": [],
    }


def test_evaluate_and_predict_say_what_they_read(workspace, letters, tmp_path):
    options = ("--out", "out", "--expert", "emoji", "--epochs", 1, "--strategy", "linear-probe")
    invoke("warm-start", letters, *options).worked()
    done = invoke("evaluate", "out", letters, "--json").worked()
    assert done.err.startswith(LINE)
    assert set(done.json["data"]) == KEYS
    done = invoke("predict", "out", letters / "seg_test").worked()
    assert done.err == "24 images\n"
    (letters / "seg_test" / "notes.md").write_text("hello")
    done = invoke("predict", "out", letters, "--json")
    assert done.code == 1
    assert done.err.splitlines()[0] == "48 images; 1 skipped (no image file)"
    first, second = (skip["input"].rpartition("/")[2] for skip in done.json["skipped"])
    assert (first, second[-4:]) == ("notes.md", ".png")


@pytest.mark.slow
def test_notes_are_the_same_for_query_check_and_warm_start(workspace, tmp_path):
    root = materials.pictures(tmp_path / "data", 2, 8)
    first = min(root.iterdir())
    shutil.copytree(first, root / f"{first.name}\u200b")
    shutil.copytree(first, root / "unsup")
    notes = []
    options = ("--out", "out", "--expert", "emoji", "--epochs", 1, "--strategy", "linear-probe")
    for words in (("query", root, "--budget", 1), ("check", root), ("warm-start", root, *options)):
        done = invoke(*words, "--json").worked()
        notes.append(done.json["data"]["notes"])
        said = [line.removeprefix("note: ") for line in done.err.splitlines() if line.startswith("note: ")]
        assert said == notes[-1]
    assert notes[0] == notes[1] == notes[2]
    assert "8 files in unsup/ have no label and are left out: set --no-label -" in notes[0][0]
    assert "differ only by case, blanks or invisible characters" in notes[0][1]


def test_show_lists_classes_examples_and_what_was_skipped(letters, tmp_path, monkeypatch):
    """No workspace is needed."""
    monkeypatch.chdir(tmp_path)
    done = invoke("data", "show", letters).worked()
    assert done.out.startswith(LINE)
    assert "seg_test/" in done.out
    assert "the image is not a readable image" in done.out.splitlines()[-1]
    found = invoke("data", "show", letters, "--json").worked().json
    assert sum(found["items_by_class"].values()) == 47
    assert {example["label"] for example in found["examples"]} == set(found["items_by_class"])
    assert found["origins"] == {"train": "seg_train/", "test": "seg_test/"}


def test_show_of_a_table_with_every_kind_of_guess(tmp_path):
    rows = [(f"text {i}", ["x", "y", "", "NaN"][i % 4]) for i in range(12)]
    table = text_csv(tmp_path / "t.csv", rows, header="body,kind")
    found = invoke("data", "show", table, "--json").worked().json
    assert found["columns"] == {"text": "body", "label": "kind"}
    assert found["skipped"] == {"no label": 6}
    assert found["change_with"] == ["--text-column", "--label-column"]
    found = invoke("data", "show", table, "--no-label", "x", "--json").worked().json
    assert (found["classes"], found["skipped"]) == (1, {"no label": 9})


@pytest.mark.parametrize(
    ("rows", "header", "why"),
    [
        ([("one", "a"), ("two", "a"), ("three", "a"), ("four", "a")], "text,label", "has the one class 'a'"),
        ([(f"a text of {i} words", "smith") for i in range(9)], "text,author", "has the one class 'smith'"),
        ([("one", "a"), ("two", "b")], "text,label", "has 2 usable items and 0 skipped; at least 4"),
        ([("one", ""), ("two", "")], "text,label", "none of 2 items has a label"),
    ],
)
def test_show_says_what_no_other_verb_will_take_and_what_to_do(rows, header, why, tmp_path):
    table = text_csv(tmp_path / "t.csv", rows, header=header)
    done = invoke("data", "show", table).worked()
    (note,) = [line for line in done.out.splitlines() if "nothing can be ranked or trained on" in line]
    assert note.startswith("note: ")
    assert why in note
    assert ("name another column with --label-column if that one is wrong" in note) == ("class" in why)
    notes = invoke("data", "show", table, "--json").worked().json["notes"]
    assert any(why in note for note in notes)
    invoke("query", table).failed(why)


def test_reasons_are_told_in_plain_words_with_the_first_item(tmp_path):
    rows = [f"words number {i},{'ab'[i % 2]}" for i in range(8)] + ["one,a,more", "less", "x,", "y,"]
    (tmp_path / "t.csv").write_text("\n".join(["text,label", *rows]))
    done = invoke("data", "show", tmp_path / "t.csv").worked()
    line = done.out.splitlines()[0]
    assert "4 skipped (no label: 2, more fields than the header: 1, fewer fields than the header: 1)" in line
    assert "2 skipped: no label (first: t.csv row 11)" in done.out
    assert "1 skipped: more fields than the header (first: t.csv row 9)" in done.out
    (tmp_path / "t.csv").write_text("\n".join(["text,label", *rows[:8], *rows[-2:]]))
    assert "2 skipped (no label)" in invoke("data", "show", tmp_path / "t.csv").worked().out


def test_an_unknown_modality_is_named_with_those_there_are(workspace, tmp_path):
    data = image_folder(tmp_path / "d", {"a": 3, "b": 3})
    invoke("query", data, "--modality", "imge").failed("no modality called 'imge'", "image, text", "'image'?")


def test_the_folder_of_a_run_is_no_file_for_the_graph(workspace, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    invoke("export", tmp_path / "run").failed("is the folder of a run", "--format onnx", "--out")


def test_the_option_of_the_line_corrects_the_guess(tmp_path):
    image_folder(tmp_path / "d" / "seg_train", {"a": 3, "b": 3})
    image_folder(tmp_path / "d" / "seg_test", {"a": 3, "b": 3}, seed=20)
    found = invoke("data", "show", tmp_path / "d", "--splits", "none", "--json").worked().json
    assert (found["splits"], list(found["items_by_class"])) == ({}, ["seg_test", "seg_train"])
    swapped = invoke("data", "show", tmp_path / "d", "--splits", "train=seg_test", "--json").worked().json
    assert swapped["splits"] == {"train": 6}
    invoke("query", tmp_path / "d", "--splits", "seg_test").failed("--splits seg_test does not say which")


def test_what_was_named_goes_into_the_next_command(workspace, tmp_path):
    image_folder(tmp_path / "d" / "part1", {"a": 6, "b": 6})
    image_folder(tmp_path / "d" / "part2", {"a": 6, "b": 6}, seed=20)
    invoke("query", tmp_path / "d").failed("--splits train=part1,test=part2, or --splits none")
    answer = (
        invoke("query", tmp_path / "d", "--splits", "train=part1,test=part2", "--budget", 1, "--json")
        .worked()
        .json
    )
    assert "--splits train=part1,test=part2" in answer["command"]


def test_a_probe_set_says_what_it_was_drawn_from(blank, letters):
    made = invoke("probe", "create", letters, "--name", "mine", "-n", 8, "--json").worked()
    assert made.err.splitlines()[0] == "48 images"
    assert made.json["data"] == {
        **{"modality": "image", "items": 48, "classes": 0, "target": None},
        **{"splits": {}, "columns": {}, "skipped": {}, "notes": []},
    }
    assert (made.json["name"], made.json["n"], made.json["current"], made.json["failed"]) == (
        "mine",
        8,
        True,
        [],
    )


def test_a_probe_set_of_a_table_carries_its_columns(blank, tmp_path):
    rows = [(f"words of number {i}", ["a", "b"][i % 2]) for i in range(12)]
    made = invoke("probe", "create", text_csv(tmp_path / "t.csv", rows), "--name", "mine", "-n", 8, "--json")
    assert made.worked().err.startswith("t: 12 texts from 'text' with 2 classes from 'label'")
    assert made.json["data"]["columns"] == {"text": "text", "label": "label"}


@pytest.mark.parametrize(
    ("option", "value", "changed"),
    [
        ("--text-column", "headline", {"columns": {"text": "headline", "label": "label", "split": "split"}}),
        (
            "--label-column",
            "desk",
            {"columns": {"text": "text", "label": "desk", "split": "split"}, "classes": 2},
        ),
        ("--split-column", "fold", {"splits": {"train": 6, "test": 6}}),
        ("--target", "value", {"target": "value", "classes": 0}),
    ],
)
def test_every_option_that_the_line_names_overrides_its_guess(tmp_path, option, value, changed):
    parts = ("train", "test")
    rows = [f"text {i},head {i},{i % 3},{'ab'[i % 2]},{parts[i % 4 == 3]},{parts[i % 2]}" for i in range(12)]
    (tmp_path / "t.csv").write_text("\n".join(["text,headline,label,desk,split,fold", *rows]))
    guessed = invoke("data", "show", tmp_path / "t.csv", "--json").worked().json
    assert guessed["change_with"] == ["--text-column", "--label-column", "--split-column", "--target"]
    assert (guessed["classes"], guessed["splits"]) == (3, {"train": 9, "test": 3})
    told = invoke("data", "show", tmp_path / "t.csv", option, value, "--json").worked().json
    assert {key: told[key] for key in changed} == changed
    assert option not in told["change_with"]
