import contextlib
import io
import struct
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from expertise_graph.core.errors import DatasetError
from expertise_graph.data.modalities import image, image_codec
from tests.data.files import picture, png


def encoded(picture_: Image.Image, form: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    picture_.save(buffer, format=form, **options)
    return buffer.getvalue()


def test_decode_gives_the_same_pixels_from_path_and_bytes(tmp_path):
    (tmp_path / "a.png").write_bytes(png(3))
    expected = np.asarray(picture(3))
    np.testing.assert_array_equal(np.asarray(image.decode(tmp_path / "a.png")), expected)
    np.testing.assert_array_equal(np.asarray(image.decode(png(3))), expected)
    assert image.to_bytes(tmp_path / "a.png") == png(3)


def test_alpha_is_laid_on_white():
    half = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    half.putpixel((1, 0), (255, 0, 0, 255))
    np.testing.assert_array_equal(np.asarray(image.decode(encoded(half)))[0], [[255, 255, 255], [255, 0, 0]])


def test_transparent_palette_is_laid_on_white():
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 100, 50] + [0] * 750)
    palette.putpixel((1, 0), 1)
    data = encoded(palette, transparency=0)
    np.testing.assert_array_equal(np.asarray(image.decode(data))[0], [[255, 255, 255], [200, 100, 50]])
    data = encoded(palette, transparency=b"\x00\xff")
    np.testing.assert_array_equal(np.asarray(image.decode(data))[0], [[255, 255, 255], [200, 100, 50]])


def test_sixteen_bits_are_scaled_to_eight():
    deep = Image.fromarray(np.array([[0, 257 * 100, 65535]], dtype=np.uint16))
    assert np.asarray(image.decode(encoded(deep)))[0, :, 0].tolist() == [0, 100, 255]


def test_floating_point_has_one_scale_for_all_images_and_nan_is_refused():
    ramp = Image.fromarray(np.array([[0.0, 0.5, 1.0]], dtype=np.float32))
    assert np.asarray(image.decode(encoded(ramp, "TIFF")))[0, :, 0].tolist() == [0, 128, 255]
    dark = Image.fromarray(np.full((2, 2), 0.2, dtype=np.float32))
    assert set(np.asarray(image.decode(encoded(dark, "TIFF"))).ravel().tolist()) == {51}
    broken = Image.fromarray(np.array([[np.nan, 1.0]], dtype=np.float32))
    with pytest.raises(DatasetError, match="NaN"):
        image.decode(encoded(broken, "TIFF"))


@pytest.mark.parametrize(
    "values",
    [np.float32([[-1.0, 0.5]]), np.float32([[0.0, 812.0]]), np.int32([[0, 70_000]]), np.int32([[-3, 9]])],
)
def test_numbers_outside_of_the_scale_are_refused_with_what_they_are(values):
    with pytest.raises(DatasetError, match="scale all images alike"):
        image.decode(encoded(Image.fromarray(values), "TIFF"))


def test_images_of_twelve_bits_in_sixteen_are_pointed_out(tmp_path):
    for kind, top in (("dim", 4000), ("full", 60_000)):
        (tmp_path / kind).mkdir()
        for i in range(4):
            noise = np.random.default_rng(i).integers(0, top, (32, 32), dtype=np.uint16)
            Image.fromarray(noise).save(tmp_path / kind / f"{i}.png")
    inspection = image.IMAGE.inspection()
    items = sorted(tmp_path.glob("*/*.png"))
    for i, item in enumerate(items):
        inspection.look(i, item, modality=image.IMAGE)
    found = {u.kind: u.items for u in inspection.unusual()}
    assert [items for kind, items in found.items() if kind.startswith("nearly black")] == [(0, 1, 2, 3)]
    assert any("8 images of more than 8 bits" in line for line in inspection.traits())


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "PNG", "WEBP"])
def test_pages_behind_the_first_are_pointed_out(tmp_path, kind):
    pages = [Image.fromarray(np.full((16, 16, 3), 60 * i, np.uint8)) for i in range(1, 4)]
    pages[0].save(tmp_path / "0", format=kind, save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "1", format=kind)
    inspection = image.IMAGE.inspection()
    for i in range(2):
        inspection.look(i, tmp_path / str(i), modality=image.IMAGE)
    lines = [line for line in inspection.traits() if "several frames" in line]
    assert lines == ["1 image of several frames or pages, of which the first is read"]
    np.testing.assert_allclose(np.asarray(image.decode(tmp_path / "0")), 60, atol=4)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "YCbCr", "RGBA", "I;16", "I"])
@pytest.mark.parametrize("size", [(1, 1), (3, 40)])
def test_every_mode_becomes_rgb_of_the_same_size(mode, size):
    form = "TIFF" if mode in ("CMYK", "YCbCr", "I") else "PNG"
    base = picture(1, size=size)
    given = base.convert("L").convert(mode) if mode.startswith("I") else base.convert(mode)
    result = image.decode(encoded(given, form))
    assert (result.mode, result.size) == ("RGB", size)


def test_cmyk_keeps_its_colours():
    red = Image.new("RGB", (4, 4), (250, 10, 10)).convert("CMYK")
    pixel = np.asarray(image.decode(encoded(red, "JPEG", quality=95)))[0, 0].astype(int)
    assert np.abs(pixel - [250, 10, 10]).max() < 12


def test_exif_rotation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = picture(2, size=(6, 4))
    upright = image.decode(encoded(lying, "PNG", exif=exif))
    np.testing.assert_array_equal(np.asarray(upright), np.rot90(np.asarray(lying), -1))


def test_bombs_are_refused_and_no_warning_leaks(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for size in [(12, 10), (40, 40)]:  # a warning and an error of the decoder
        with pytest.raises(DatasetError, match="more than 100 pixels"):
            image.decode(encoded(picture(0, size=size)))


def test_a_picture_that_says_it_has_400_megapixels_is_refused_by_its_header():
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 9)) + chunk(b"IEND", b"")
    with pytest.raises(DatasetError, match="more than 89,478,485 pixels; scale it down"):
        image.decode(data)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK", "I;16", "F"])
def test_photographs_too_large_to_hold_many_of_are_reduced_whatever_their_mode(monkeypatch, mode):
    monkeypatch.setattr(image_codec, "MOST_PIXELS", 24)
    small = Image.new("RGB", (4, 2), (200, 100, 0))
    small.putpixel((0, 0), (0, 0, 0))
    if mode == "I;16":
        large = Image.fromarray(
            (np.asarray(small.convert("L")).astype(np.uint16) * 257).repeat(3, 0).repeat(3, 1)
        )
    elif mode == "F":
        large = Image.fromarray((np.asarray(small.convert("L")) / np.float32(255)).repeat(3, 0).repeat(3, 1))
    else:
        large = Image.fromarray(np.asarray(small).repeat(3, 0).repeat(3, 1)).convert(mode)
    whole = image.decode(encoded(large.resize((4, 2), Image.Resampling.NEAREST), "TIFF"))
    reduced = image.decode(encoded(large, "TIFF"))
    assert reduced.size == (6, 3)
    assert np.asarray(reduced)[0, 0].tolist() == np.asarray(whole)[0, 0].tolist()
    assert np.asarray(reduced)[-1, -1].tolist() == np.asarray(whole)[-1, -1].tolist()


def test_threads_leave_the_warning_filters_as_they_were():
    before = list(warnings.filters)
    data = encoded(picture(0, size=(200, 200)), "JPEG")

    def work() -> None:
        for _ in range(20):
            image.decode(data)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == before


@pytest.mark.parametrize(
    "data",
    [b"", b"not an image", png(0)[:60], b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"],
    ids=["empty", "text", "truncated", "postscript"],
)
def test_what_is_no_image_is_one_clear_error(data):
    with pytest.raises(DatasetError) as caught:
        image.decode(data)
    assert "\n" not in str(caught.value)


def test_random_damage_never_raises_anything_else():
    rng = np.random.default_rng(0)
    for form in ["PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP"]:
        good = encoded(picture(5, size=(24, 24)), form)
        for _ in range(40):
            bad = bytearray(good)
            for place in rng.integers(0, len(bad), 6):
                bad[place] = rng.integers(0, 256)
            with contextlib.suppress(DatasetError):
                assert image.decode(bytes(bad)).mode == "RGB"


def test_texts_and_missing_files_are_no_images(tmp_path):
    with pytest.raises(DatasetError, match="not as the text 'hello'"):
        image.to_bytes("hello")
    with pytest.raises(DatasetError, match="No such file"):
        image.decode(Path(tmp_path / "none.png"))


def test_raw_features_of_known_images():
    black = Image.new("RGB", (40, 30))
    red = Image.new("RGB", (5, 5), (255, 0, 0))
    features = image.raw_features([black, red])
    assert features.shape == (2, 320)
    assert features.dtype == np.float32
    assert features[0, :256].max() == 0
    assert features[0, 256] == 1
    np.testing.assert_allclose(features[1, :256], 76 / 255, atol=1e-6)
    assert features[1, 256 + 3 * 16] == 1
    assert features[:, 256:].sum(axis=1).tolist() == [1, 1]


def test_raw_features_of_nothing():
    assert image.raw_features([]).shape == (0, 320)


def test_compact_keeps_small_images_and_shrinks_large_ones():
    np.testing.assert_array_equal(np.asarray(image.decode(image.compact(picture(1)))), np.asarray(picture(1)))
    assert image.decode(image.compact(picture(1, size=(448, 100)))).size == (224, 50)
