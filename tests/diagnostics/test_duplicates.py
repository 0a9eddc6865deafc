"""Copies, near copies, leakage and conflicting labels, planted in real data."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from expertise_graph.data.modalities.base import known_modalities
from expertise_graph.data.modalities.image_codec import decode
from expertise_graph.data.modalities.image_inspection import ImageInspection, perceptual_hash
from expertise_graph.data.modalities.text_inspection import TextInspection, jaccard, normal_form, shingles_of
from expertise_graph.data.reading import read_data
from expertise_graph.diagnostics.data_check import check_data
from expertise_graph.diagnostics.duplicates import confirm, cosines, group_duplicates, group_numbers
from expertise_graph.diagnostics.items import SEPARATE_TEST, checked_items
from tests.diagnostics.planted import letters, saved_anew, single_colour
from tests.materials import LETTERS, gloss_rows

IMAGE = known_modalities["image"]


def groups_of(found):
    return {frozenset(found.names[i] for i in g.items): g for g in found.duplicates.groups}


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Letters with a copy and a near copy in the test split, and two copies under other labels."""
    root = letters(tmp_path_factory.mktemp("planted") / "letters")
    train, test = root / "train", root / "test"
    shutil.copy(train / "ayb" / "00.png", test / "ayb" / "leak.png")
    saved_anew(train / "ben" / "01.png", test / "ben" / "leak.jpg", side=80)
    shutil.copy(train / "ca" / "02.png", train / "da" / "wrong.png")
    saved_anew(train / "da" / "03.png", train / "ech" / "wrong.jpg", quality=40)
    shutil.copy(train / "cha" / "04.png", train / "cha" / "copy.png")
    (train / "ayb" / "broken.png").write_bytes((train / "ayb" / "00.png").read_bytes()[:60])
    single_colour(train / "ben" / "white.png")
    single_colour(train / "ca" / "white.png")
    Image.new("RGB", (9, 200)).save(train / "da" / "strip.png")
    return root


def test_all_that_was_planted_is_found_and_nothing_else(planted):
    found = check_data(read_data(planted))
    groups = groups_of(found)
    expected = {
        ("train/ayb/00.png", "test/ayb/leak.png"): (True, True, False),
        ("train/ben/01.png", "test/ben/leak.jpg"): (False, True, False),
        ("train/ca/02.png", "train/da/wrong.png"): (True, False, True),
        ("train/da/03.png", "train/ech/wrong.jpg"): (False, False, True),
        ("train/cha/04.png", "train/cha/copy.png"): (True, False, False),
        ("train/ben/white.png", "train/ca/white.png"): (True, False, True),
    }
    assert {key: (g.exact, g.leak, g.conflict) for key, g in groups.items()} == {
        frozenset(key): value for key, value in expected.items()
    }
    assert {found.names[i] for i in found.duplicates.leaked} == {"test/ayb/leak.png", "test/ben/leak.jpg"}
    assert (found.duplicates.exact_copies, found.duplicates.near_copies) == (4, 2)
    assert found.duplicates.held_out == 98
    odd = {o.kind: {found.names[i] for i in o.items} for o in found.unusual}
    assert odd["of a single colour"] == {"train/ben/white.png", "train/ca/white.png", "train/da/strip.png"}
    assert odd["tiny (a side under 16 pixels)"] == {"train/da/strip.png"}
    assert odd["extremely long or high (over 4 : 1)"] == {"train/da/strip.png"}
    assert [what for what, _ in found.summary.skipped] == ["train/ayb/broken.png"]


def test_real_letters_are_not_taken_for_copies(armenian):
    images = ImageInspection()
    for i, item in enumerate(armenian.items):
        images.look(i, item, modality=IMAGE)
    assert images.near_duplicates() == []


def test_pictures_saved_anew_are_recognised(tmp_path):
    images, originals = ImageInspection(), sorted(LETTERS.glob("train/*/0[0-1].png"))
    for k, path in enumerate(originals):
        images.look(2 * k, path, modality=IMAGE)
        side = (None, 48, 96)[k % 3]
        images.look(2 * k + 1, saved_anew(path, tmp_path / f"{k}.jpg", side=side), modality=IMAGE)
    pairs = images.near_duplicates()
    assert min(r for _, _, r in pairs) >= 0.95
    found = {(a, b) for a, b, _ in confirm(pairs, {}, certain=0.97)}
    assert len(found & {(2 * k, 2 * k + 1) for k in range(len(originals))}) >= 0.85 * len(originals)
    assert all(b == a + 1 and a % 2 == 0 for a, b in found)


def test_the_hash_survives_brightness_and_tells_letters_apart():
    a, b = (decode(LETTERS / "train" / name / "00.png") for name in ("ayb", "ben"))
    brighter = perceptual_hash(ImageEnhance.Brightness(a).enhance(0.8))
    assert perceptual_hash(a) == brighter
    assert (perceptual_hash(a) ^ perceptual_hash(b)).bit_count() > 20


def test_features_confirm_what_pixels_leave_open():
    pairs = [(0, 1, 0.99), (0, 2, 0.96), (0, 3, 0.96)]
    rows = {0: 0, 2: 1, 3: 2}
    features = np.array([[1.0, 0.0], [1.0, 0.1], [-1.0, 0.5], [1.0, 0.0], [-2.0, -0.6]])
    near = cosines(pairs, rows, features)
    assert set(near) == {(0, 2), (0, 3)}
    assert near[0, 2] > 0.95 > near[0, 3]
    assert [(a, b) for a, b, _ in confirm(pairs, near, certain=0.97)] == [(0, 1), (0, 2)]


def test_a_separate_test_set_is_compared(tmp_path):
    root = letters(tmp_path / "letters", 3)
    extra = tmp_path / "extra"
    for letter in ("ayb", "ben"):
        shutil.copytree(root / "test" / letter, extra / letter)
    shutil.copytree(LETTERS / "test" / "zhe", extra / "zhe")
    shutil.copy(root / "train" / "ayb" / "00.png", extra / "ayb" / "again.png")
    data, test = read_data(root / "train"), read_data(extra)
    found = check_data(data, test=test)
    (group,) = found.duplicates.groups
    assert {found.names[i] for i in group.items} == {"ayb/00.png", f"{SEPARATE_TEST} ayb/again.png"}
    assert found.summary.splits == {"train": 30, SEPARATE_TEST: 37}
    assert found.summary.only_in_test == ("zhe",)
    assert found.baselines.items == 30


def test_groups_keep_their_number():
    assert group_numbers(5, []) == [0, 1, 2, 3, 4]
    data = checked_items(read_data(LETTERS))
    found = group_duplicates(data, [str(i // 2) for i in range(len(data))], [(1, 4, 1.0)], confirmed_by="")
    assert found.groups[0].items in {(0, 1, 4, 5), (0, 1)} or len(found.groups) == 329
    assert {g.items for g in found.groups} >= {(0, 1, 4, 5), (2, 3), (6, 7)}
    assert group_numbers(8, [g for g in found.groups if g.items[0] < 8]) == [0, 0, 2, 2, 0, 0, 6, 6]


def look_at(texts):
    found = TextInspection()
    for i, text in enumerate(texts):
        found.look(i, text, modality=known_modalities["text"])
    return found


def test_near_texts_are_found_as_an_exhaustive_search_finds_them():
    rows = [text for text, _ in gloss_rows(30, 12)]
    texts = [*rows, rows[0].upper() + "!", rows[5] + " indeed", rows[7].replace(" ", "  ", 1), rows[9][1:]]
    found = {(a, b) for a, b, _ in look_at(texts).near_duplicates()}
    plain = [shingles_of(normal_form(text)) for text in texts]
    wanted = {(a, b) for b in range(len(texts)) for a in range(b) if jaccard(plain[a], plain[b]) >= 0.8}
    assert wanted >= {(0, len(rows)), (7, len(rows) + 2)}
    assert found == wanted


def test_odd_texts_are_named():
    texts = [
        "a plain sentence",
        "<b>bold</b> words",
        "caf\u00c3\u00a9 culture",
        "?!...",
        "ab",
        "x" * 5000,
        "a\x07bell",
    ]
    odd = {o.kind: o.items for o in look_at(texts).unusual()}
    assert odd == {
        "with leftovers of HTML": (1,),
        "with signs of a wrong encoding": (2,),
        "without any letter or digit": (3,),
        "of fewer than 3 characters": (4,),
        "over 20 times as long as the median": (5,),
        "with control characters": (6,),
    }
    assert look_at(["caf\u00e9", "na\u00efve \u00c3ra", "1 < 2 & 3 > 2"]).unusual() == ()
