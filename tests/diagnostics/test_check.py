"""The whole check: on the command line, on bad input, cut short, and as a page."""

from __future__ import annotations

import csv
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from expertise_graph.data.reading import read_data
from expertise_graph.diagnostics import data_check as examine
from expertise_graph.diagnostics.data_check import check_data
from expertise_graph.diagnostics.data_report import data_json, report_on_data
from expertise_graph.diagnostics.items import FeatureExtractor
from tests.diagnostics.planted import letters, single_colour
from tests.materials import GLOSSES, LETTERS, gloss_rows, glosses
from tests.program import invoke

EVIL = '"><script>alert(1)</script><img src=x onerror=alert(2)>'


class Reader(HTMLParser):
    """Collects the tags and attributes of a page."""

    def __init__(self):
        super().__init__()
        self.tags, self.sources, self.handlers, self.open = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [v for k, v in attrs if k in ("src", "href", "action", "data")]
        self.handlers += [k for k, _ in attrs if k.startswith("on")]
        if tag not in ("meta", "img", "br", "circle", "rect", "line", "polyline"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in ("circle", "rect", "line", "polyline"):
            return
        assert self.open.pop() == tag


def read_page(path):
    text = path.read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    assert "script" not in reader.tags
    assert reader.handlers == []
    assert all(source.startswith("data:image/png;base64,") for source in reader.sources)
    assert not re.search(r"url\(|@import|http-equiv=.refresh", text)
    return text, reader


@pytest.fixture
def planted(tmp_path):
    root = letters(tmp_path / "letters")
    shutil.copy(root / "train" / "ayb" / "00.png", root / "test" / "ayb" / "leak.png")
    for k in range(3):
        (root / "train" / "ben" / f"broken{k}.png").write_bytes(b"\x89PNG")
    return root


def test_the_terminal_says_it_in_a_screen(workspace, planted):
    done = invoke("check", planted, "--expert", "latin-letters").worked()
    assert 12 <= len(done.lines) <= 25
    assert done.lines[0] == "letters: 177 images in 8 classes (97 test, 80 train)"
    assert (
        "1 of 97 validation and test items also in training: test/ayb/leak.png = train/ayb/00.png" in done.out
    )
    assert "unusable    3 items: train/ben/broken0.png (" in done.out
    advice_lines = done.lines[done.lines.index("Advice") + 1 :]
    assert [line[:5] for line in advice_lines[:3]] == ["  1. ", "  2. ", "  3. "]
    assert "remove the 1 leaked item" in advice_lines[0]
    assert "latin-letters" in advice_lines[1]
    assert advice_lines[3].startswith(f"  expertise-graph warm-start {planted} --expert latin-letters@")


def test_json_has_the_documented_keys(workspace, planted):
    found = invoke("check", planted, "--json").worked().json
    assert " ".join(found) == (
        "kind name modality items classes splits imbalance per_class traits strange skipped odd duplicates "
        "noise need growth expert expert_reason sampled advice command notes interrupted data"
    )
    assert found["kind"] == "data"
    assert found["duplicates"]["leaked_items"] == ["test/ayb/leak.png"]
    assert found["sampled"] == 80
    assert found["need"]["methods"]["expert"]["value"] > 0.85
    assert len(found["advice"]) == 3
    assert re.fullmatch(r"best of a query that ran [1-4] experts", found["expert_reason"])
    again = invoke("check", planted, "--json").worked().json
    assert {**again, "expert_reason": ""} == {**found, "expert_reason": ""}


def test_texts_are_checked_as_well(workspace, tmp_path):
    table = glosses(tmp_path / "glosses.csv", 20)
    with table.open("a", encoding="utf-8", newline="") as file:
        text, label = gloss_rows(1)[0]
        other = next(name for _, name in gloss_rows(1) if name != label)
        csv.writer(file).writerows([(text.upper(), label), (text, other), ("<p>hello &amp; bye</p>", label)])
    found = invoke("check", table, "--expert", "languages", "--json").worked().json
    (group,) = found["duplicates"]["groups"]
    assert (len(group["items"]), group["conflict"], group["exact"]) == (3, True, False)
    assert found["odd"] == [
        {"kind": "with leftovers of HTML", "count": 1, "items": ['item 83 "<p>hello &amp; bye</p>"']}
    ]
    assert "one label" in found["advice"][0]


def test_the_page_is_one_harmless_file(workspace, tmp_path):
    root = letters(tmp_path / "letters", 3)
    evil = root / "train" / EVIL.replace("/", "\u2215")
    shutil.copytree(root / "train" / "ayb", evil)
    shutil.copy(evil / "00.png", evil / f"{EVIL.replace('/', '_')}.png")
    report = tmp_path / "report.html"
    done = invoke("check", root, "--out", report).worked()
    assert "report in" in done.err
    text, reader = read_page(report)
    assert "&lt;script&gt;" in text
    assert "<script" not in text
    assert 0 < reader.tags.count("img") <= 60
    assert {"svg", "title", "caption", "th"} <= set(reader.tags)
    assert len(text) < 400_000
    assert "prefers-color-scheme: dark" in text


def test_evil_texts_stay_texts(workspace, tmp_path):
    rows = [(f"{EVIL} {text}", EVIL if k % 2 else "plain") for k, (text, _) in enumerate(gloss_rows(10))]
    table = tmp_path / "evil.csv"
    with table.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows, rows[0]])
    report = tmp_path / "report.html"
    done = invoke("check", table, "--out", report).worked()
    text, _ = read_page(report)
    assert "&lt;img src=x onerror=alert(2)&gt;" in text
    assert "\x1b" not in done.out


def test_an_earlier_report_is_replaced_and_nothing_else_is(workspace, tmp_path):
    root, report = letters(tmp_path / "letters", 2), tmp_path / "report.html"
    invoke("check", root, "--out", report).worked()
    invoke("check", root, "--out", report).worked()
    other = tmp_path / "thesis.html"
    other.write_text("<!doctype html> my work")
    invoke("check", root, "--out", other).failed("is not a report of an earlier check")
    assert other.read_text() == "<!doctype html> my work"
    invoke("check", root, "--out", tmp_path).failed("is a folder")
    invoke("check", root, "--out", tmp_path / "no" / "r.html").failed("there is no folder")
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []


def test_one_class_still_has_its_files_checked(workspace, tmp_path):
    shutil.copytree(LETTERS / "train" / "ayb", tmp_path / "d" / "ayb")
    shutil.copy(tmp_path / "d" / "ayb" / "00.png", tmp_path / "d" / "ayb" / "copy.png")
    found = invoke("check", tmp_path / "d", "--json").worked().json
    assert found["duplicates"]["exact_copies"] == 1
    assert (found["need"], found["noise"], found["growth"]) == (None, None, None)
    assert "there is one class only" in found["notes"][0]
    assert "add items of a second class" in found["advice"][0]


def test_one_item_a_class_and_three_items(workspace, tmp_path):
    for letter in sorted((LETTERS / "train").iterdir())[:12]:
        (tmp_path / "d" / letter.name).mkdir(parents=True)
        shutil.copy(letter / "00.png", tmp_path / "d" / letter.name)
    found = invoke("check", tmp_path / "d", "--json").worked().json
    assert "fewer than two classes have two items" in found["notes"][0]
    assert "12 classes with fewer than 5 items" in found["advice"][0]
    for folder in sorted((tmp_path / "d").iterdir())[3:]:
        shutil.rmtree(folder)
    found = invoke("check", tmp_path / "d", "--json").worked().json
    assert "3 items are too few" in found["notes"][0]


def test_all_corrupt(workspace, tmp_path):
    for name in ("a", "b"):
        (tmp_path / "d" / name).mkdir(parents=True)
        for k in range(3):
            (tmp_path / "d" / name / f"{k}.png").write_bytes(b"nothing")
    done = invoke("check", tmp_path / "d", "--out", tmp_path / "r.html").worked()
    assert "d: 0 images in 0 classes" in done.out
    assert "unusable    6 items: a/0.png" in done.out
    assert "First make the items readable: none of 6 can be used." in done.out
    read_page(tmp_path / "r.html")


def test_missing_data_and_other_kinds_fail_in_one_line(workspace, tmp_path):
    invoke("check", tmp_path / "nowhere").failed("there is no")
    root = letters(tmp_path / "letters", 2)
    invoke("check", root, "--test", GLOSSES / "test.csv").failed("holds images", "holds texts")
    invoke("check", root, "--expert", "nobody").failed("nobody")
    done = invoke("check", root, "--expert", "languages").worked()
    assert "no such expert for images" in done.out


@pytest.mark.slow
def test_many_classes(blank, tmp_path):
    with (tmp_path / "many.csv").open("w", newline="") as file:
        rows = [
            (f"words number {k} and {k * k % 977} of {k * 31 % 1009}", f"class {k % 1000}")
            for k in range(1100)
        ]
        csv.writer(file).writerows([("text", "label"), *rows])
    found = invoke("check", tmp_path / "many.csv", "--json").worked().json
    assert len(found["classes"]) == 1000
    assert found["need"]["items"] == 1100
    assert found["expert"] is None
    assert any("no expert was used" in note for note in found["notes"])


def test_without_a_workspace_the_files_are_checked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = letters(tmp_path / "letters", 3)
    done = invoke("check", root).worked()
    assert "note: no expert was used" in done.out
    assert "expertise-graph init" in done.out
    assert "Register experts for images" in done.out


def test_a_large_folder_is_sampled_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(examine, "LOOKED_AT", 20)
    monkeypatch.setattr(examine, "LEARNT_FROM", 16)
    root = letters(tmp_path / "letters", 4)
    shutil.copy(root / "train" / "ayb" / "00.png", root / "train" / "ben" / "copy.png")
    found = check_data(read_data(root))
    assert found.notes[0] == "sizes, unusual items and near-duplicates rest on 20 of 89 items"
    assert "rest on 16 of 41 items" in found.notes[1]
    assert found.baselines.items == 16
    assert found.duplicates.exact_copies == 1


@pytest.mark.parametrize(
    "moment", ["looking at the items", "measuring baselines", "searching for label errors"]
)
def test_an_interrupted_check_tells_what_is_known(tmp_path, moment):
    def stop(label, done, total):
        if label == moment:
            raise KeyboardInterrupt

    found = check_data(read_data(letters(tmp_path / "letters", 3)), progress=stop)
    assert found.interrupted
    assert found.summary.items == 66
    assert (found.duplicates is not None) == (moment != "looking at the items")
    assert (found.baselines is not None) == (moment == "searching for label errors")
    assert found.advice == ()
    assert list(report_on_data(found).lines())[-1] == "interrupted: this is what was known until then"
    json.dumps(data_json(found), allow_nan=False)
    assert "was interrupted" in report_on_data(found).page()


def test_a_file_that_vanishes_meanwhile_is_named(tmp_path):
    root = letters(tmp_path / "letters", 3)
    data = read_data(root)
    (root / "train" / "ayb" / "00.png").unlink()
    found = check_data(data)
    assert [(o.kind, [found.names[i] for i in o.items]) for o in found.unusual] == [
        ("no longer readable", ["train/ayb/00.png"])
    ]
    assert found.baselines.items == 29


def test_odd_images_have_their_kind(tmp_path):
    root = letters(tmp_path / "letters", 2)
    single_colour(root / "train" / "ayb" / "white.png")
    Image.new("L", (8, 90)).save(root / "train" / "ben" / "strip.png")
    done = list(report_on_data(check_data(read_data(root))).lines())
    assert "  unusual     1 tiny (a side under 16 pixels): train/ben/strip.png" in done
    assert "  unusual     2 of a single colour: train/ayb/white.png, train/ben/strip.png" in done


def test_ctrl_c_prints_what_is_known(workspace, planted, monkeypatch):
    def stop(bars, label, done, total):
        if label == "searching for label errors":
            raise KeyboardInterrupt

    monkeypatch.setattr("expertise_graph.cli.output.Bars.update", stop)
    done = invoke("check", planted, "--expert", "latin-letters")
    assert done.code == 130
    assert "leakage     1 of 97" in done.out
    assert done.lines[-1] == "interrupted: this is what was known until then"


def test_a_named_expert_needs_a_workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = letters(tmp_path / "letters", 2)
    invoke("check", root, "--expert", "latin-letters").failed("no workspace")


def test_the_better_features_are_learnt_from(tmp_path):
    """Texts that a few words decide: hashed words see them, noise for features does not."""
    rows = [
        (f"{text} {'north' if k % 2 else 'south'}", f"{k % 2}") for k, (text, _) in enumerate(gloss_rows(12))
    ]
    with (tmp_path / "d.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    blind = FeatureExtractor(
        expert="blind", reason="", features=lambda x: np.random.default_rng(0).normal(size=(len(x.items), 8))
    )
    found = check_data(read_data(tmp_path / "d.csv"), choose=lambda: blind)
    assert found.baselines.gain_high < 0
    assert found.learning_curve.method == "ridge, raw input"
    assert found.label_errors.misclassified == round(
        (1 - found.baselines.methods["raw"].value) * found.baselines.items
    )
    assert found.advice[1].startswith("Begin without a network")
    assert found.command is None
