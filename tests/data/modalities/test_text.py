import subprocess
import sys
import zlib

import numpy as np
import pytest

from expertise_graph.core.errors import DatasetError, NotFoundError
from expertise_graph.data.modalities import text
from expertise_graph.data.modalities.base import known_modalities


def test_string_file_and_bytes_give_the_same_hashable_bytes(tmp_path):
    (tmp_path / "a.txt").write_bytes("\ufeffgrüße\n".encode())
    for item in ["grüße\n", tmp_path / "a.txt", "grüße\n".encode()]:
        assert text.decode(item) == "grüße\n"
        assert text.to_bytes(item) == "grüße\n".encode()


def test_encoding_errors_name_offset_and_way_out():
    with pytest.raises(DatasetError, match=r"byte 0xe9 at offset 3; .*iconv -f ISO-8859-1"):
        text.decode("caf\xe9".encode("latin-1"))
    with pytest.raises(DatasetError, match="UTF-16"):
        text.decode("abc".encode("utf-16"))


@pytest.mark.parametrize("blank", ["", "  \n\t", b"\xef\xbb\xbf"])
def test_blank_texts_are_refused(blank):
    with pytest.raises(DatasetError, match="empty"):
        text.decode(blank)


def test_half_a_surrogate_pair_is_refused():
    with pytest.raises(DatasetError, match="surrogate"):
        text.to_bytes("a\ud800")


def test_raw_features_equal_their_definition():
    grams = ["word cat", " ca", "cat", "at ", " cat", "cat ", " cat "]
    expected = np.zeros(2048)
    for gram in grams:
        code = zlib.crc32(gram.encode())
        expected[code % 2048] += 1 if code >> 31 else -1
    expected /= np.linalg.norm(expected)
    np.testing.assert_allclose(text.raw_features(["Cat"])[0], expected, atol=1e-6)
    # Counts are damped, so that a repeated word is the same direction.
    np.testing.assert_allclose(text.raw_features(["cat CAT  cat"])[0], expected, atol=1e-6)


def test_raw_features_place_related_texts_nearer():
    features = text.raw_features(
        ["the dogs were barking", "a dog barks at the dogs", "quarterly revenue fell"]
    )
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-6)
    assert features[0] @ features[1] > 0.2 > abs(features[0] @ features[2])


def test_raw_features_of_texts_without_words_are_zero():
    assert not text.raw_features(["!!! ..."]).any()
    assert text.raw_features([]).shape == (0, 2048)


def test_raw_features_are_the_same_in_another_process():
    code = (
        "from expertise_graph.data.modalities import text; "
        "print(text.raw_features(['привет world'])[0].nonzero()[0].tolist())"
    )
    out = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "7", "PYTHONPATH": ":".join(sys.path)},
    )
    assert out.stdout.strip() == str(text.raw_features(["привет world"])[0].nonzero()[0].tolist())


def test_modalities_are_registered():
    assert {"image", "text"} <= set(known_modalities)
    with pytest.raises(NotFoundError, match="Did you mean 'image'"):
        known_modalities["imge"]


def test_a_text_is_as_much_work_as_its_tokens(tmp_path):
    (file := tmp_path / "a.txt").write_text("x" * 115)
    usual = known_modalities["text"].usual_inputs(["x" * 115, file, b"x" * 115])
    assert usual == pytest.approx(3.0)
    short, long, longest = (known_modalities["text"].usual_inputs(["x" * n]) for n in (10, 1000, 10**6))
    assert short == pytest.approx(35 / 140)
    assert long == pytest.approx(1025 / 140)
    assert longest == pytest.approx(2225 / 140)  # the rest is cut
    assert known_modalities["text"].usual_inputs(["\u0436" * 10]) == pytest.approx(45 / 140)
    assert known_modalities["text"].usual_inputs([tmp_path / "gone.txt"]) == 1.0


def test_images_are_alike_in_work():
    assert known_modalities["image"].usual_inputs([b"a", b"b"]) == 2.0
