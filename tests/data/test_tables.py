import contextlib
import json
import resource
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from expertise_graph.core.errors import DatasetError
from expertise_graph.data import arrow
from expertise_graph.data.dataset import Columns
from expertise_graph.data.modalities import image
from expertise_graph.data.reading import read_data
from tests.data.files import IMAGE_FEATURES, image_folder, image_table, picture, png, save_to_disk, text_csv

ROWS = [("one", "a"), ("two", "b"), ("three", "a"), ("four", "b")]


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_csv_with_quoted_newlines_bom_and_commas(tmp_path):
    (tmp_path / "t.csv").write_bytes(
        '\ufefftext,label\r\n"line one\nline two, ""quoted""",x\r\nb,y\r\nc,x\r\nü,y\r\n'.encode()
    )
    data = read_data(tmp_path / "t.csv")
    assert data.items == ('line one\nline two, "quoted"', "b", "c", "ü")
    assert [data.classes[i] for i in data.labels] == ["x", "y", "x", "y"]
    assert data.name == "t"


def test_tsv(tmp_path):
    (tmp_path / "t.tsv").write_text("sentence\tclass\na, b\t1\nc\t0\nd\t1\ne\t0\n")
    data = read_data(tmp_path / "t.tsv")
    assert data.items[0] == "a, b"
    assert data.classes == ("0", "1")


def test_integer_labels_are_in_natural_order(tmp_path):
    data = read_data(text_csv(tmp_path / "t.csv", [("a", 10), ("b", 9), ("c", 100), ("d", -1)]))
    assert data.classes == ("-1", "9", "10", "100")
    assert data.labels.tolist() == [2, 1, 3, 0]


def test_label_types_of_json(tmp_path):
    rows = [{"text": t, "label": v} for t, v in zip("abcd", [True, False, True, False], strict=True)]
    assert read_data(jsonl(tmp_path / "b.jsonl", rows)).classes == ("false", "true")
    rows = [{"text": t, "label": v} for t, v in zip("abcd", [1.0, 2, 1.0, 2.0], strict=True)]
    assert read_data(jsonl(tmp_path / "f.jsonl", rows)).classes == ("1", "2")
    rows = [{"text": t, "label": v} for t, v in zip("abcd", [[1], [1, 2], [1], [2]], strict=True)]
    with pytest.raises(DatasetError, match="several labels"):
        read_data(jsonl(tmp_path / "l.jsonl", rows), columns=Columns(target="class"))


def test_missing_labels_are_skipped_and_counted(tmp_path):
    rows = [*ROWS, ("five", ""), ("six", "NaN")]
    data = read_data(text_csv(tmp_path / "t.csv", rows))
    assert len(data) == 4
    assert data.skipped == (("t.csv row 5", "no label"), ("t.csv row 6", "no label"))
    objects = [{"text": t, "label": v} for t, v in ROWS] + [{"text": "x", "label": None}, {"text": "y"}]
    assert len(read_data(jsonl(tmp_path / "t.jsonl", objects)).skipped) == 2


def test_jsonl_skips_bad_lines_and_keeps_line_separators(tmp_path):
    lines = [json.dumps({"text": f"t\u2028{i}", "label": i % 2}, ensure_ascii=False) for i in range(4)]
    lines += ["[1]", "{broken", "[" * 100_000, '{"text": "\\ud800", "label": 1}', '{"text": 5, "label": 1}']
    (tmp_path / "t.jsonl").write_text("\n".join(lines), encoding="utf-8")
    data = read_data(tmp_path / "t.jsonl")
    assert data.items == tuple(f"t\u2028{i}" for i in range(4))
    assert [reason for _, reason in data.skipped][:3] == ["not a JSON object"] * 3
    assert len(data.skipped) == 5


def test_missing_columns_list_those_present(tmp_path):
    text_csv(tmp_path / "t.csv", ROWS)
    with pytest.raises(
        DatasetError, match=r"no column 'txt'; its columns are text, label\. Did you mean 'text'"
    ):
        read_data(tmp_path / "t.csv", columns=Columns(item="txt"))
    text_csv(tmp_path / "u.csv", ROWS, header="q1,q2")
    with pytest.raises(DatasetError, match="its columns are q1, q2"):
        read_data(tmp_path / "u.csv")
    assert read_data(tmp_path / "u.csv", columns=Columns(label="q2")).items[0] == "one"


def test_columns_are_guessed_only_when_one_fits(tmp_path):
    assert read_data(text_csv(tmp_path / "a.csv", ROWS, header="sms,Category")).classes == ("a", "b")
    (tmp_path / "b.csv").write_text("id,sentence,review,target\n1,a,b,0\n2,c,d,1\n3,e,f,0\n4,g,h,1\n")
    with pytest.raises(DatasetError, match="text may be 'sentence' or 'review'; name one with `text_column`"):
        read_data(tmp_path / "b.csv")
    assert read_data(tmp_path / "b.csv", columns=Columns(item="review")).items == ("b", "d", "f", "h")


def test_split_column(tmp_path):
    (tmp_path / "t.csv").write_text("text,label,split\na,0,train\nb,1,train\nc,0,dev\nd,1,test\n")
    data = read_data(tmp_path / "t.csv")
    assert {k: v.tolist() for k, v in data.splits.items()} == {
        "train": [0, 1],
        "validation": [2],
        "test": [3],
    }
    (tmp_path / "u.csv").write_text("text,label,fold\na,0,train\nb,1,train\nc,0,train\nd,1,test\ne,1,other\n")
    data = read_data(tmp_path / "u.csv", columns=Columns(split="fold"))
    assert data.skipped == (("u.csv row 5", "its split is not train, validation or test"),)


def test_split_files(tmp_path):
    text_csv(tmp_path / "train.csv", ROWS)
    text_csv(tmp_path / "test.csv", [("five", "b")])
    text_csv(tmp_path / "notes.csv", [("x", "y")], header="p,q")
    data = read_data(tmp_path)
    assert {k: v.tolist() for k, v in data.splits.items()} == {"train": [0, 1, 2, 3], "test": [4]}
    text_csv(tmp_path / "test.csv", [("five", "9")], header="text,id")
    data = read_data(tmp_path)
    assert list(data.splits) == ["train"]
    assert "no label column 'label'" in data.skipped[0][1]


def test_parquet_shards_of_the_hub_layout(tmp_path):
    (tmp_path / "data").mkdir()
    for i in range(2):
        table = pa.table({"text": [f"{i}a", f"{i}b"], "label": [0, 1]})
        pq.write_table(table, tmp_path / "data" / f"train-0000{i}-of-00002.parquet")
    pq.write_table(pa.table({"text": ["t"], "label": [1]}), tmp_path / "data" / "test-00000-of-00001.parquet")
    data = read_data(tmp_path)
    assert data.items == ("0a", "0b", "1a", "1b", "t")
    assert data.splits["test"].tolist() == [4]
    (tmp_path / "data" / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(DatasetError, match="1 of 2 shards"):
        read_data(tmp_path)


def test_one_split_in_two_formats(tmp_path):
    text_csv(tmp_path / "train.csv", ROWS)
    pq.write_table(pa.table({"text": ["t"], "label": ["a"]}), tmp_path / "train.parquet")
    with pytest.raises(DatasetError, match=r"as \.csv and as \.parquet"):
        read_data(tmp_path)


def test_image_paths_may_lead_elsewhere_but_not_in_a_table_that_was_downloaded(tmp_path):
    image_folder(tmp_path / "d", {"x": 4})
    (tmp_path / "out.png").write_bytes(png(1))
    paths = [
        "x/0.png",
        "x/1.png",
        "x/2.png",
        "x/3.png",
        "../out.png",
        str(tmp_path / "out.png"),
        "x/9.png",
        "",
    ]
    lines = ["file_name,label", *(f"{path},{'ab'[i % 2]}" for i, path in enumerate(paths))]
    (tmp_path / "d" / "labels.csv").write_text("\n".join(lines) + "\n")
    data = read_data(tmp_path / "d" / "labels.csv")
    assert (data.modality, len(data)) == ("image", 6)
    np.testing.assert_array_equal(np.asarray(image.decode(data.items[2])), np.asarray(picture(2)))
    assert [item.read_bytes() for item in data.items[4:]] == [png(1), png(1)]
    data = read_data("hf:org/name", download=lambda repo, revision: tmp_path / "d")
    assert len(data) == 4
    reasons = [reason for _, reason in data.skipped]
    assert sum("is outside the dataset's folder" in reason for reason in reasons) == 2
    assert sum("No such file" in reason for reason in reasons) == 1
    assert sum("no image" in reason for reason in reasons) == 1


def test_images_and_captions_need_a_choice(tmp_path):
    image_folder(tmp_path, {"x": 4})
    lines = ["image,text,label", *(f"x/{i}.png,caption {i},{i % 2}" for i in range(4))]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(DatasetError, match=r"both images \('image'\) and texts \('text'\)"):
        read_data(tmp_path / "t.csv")
    assert (
        read_data(tmp_path / "t.csv", columns=Columns(item="text", modality="text")).items[1] == "caption 1"
    )
    assert read_data(tmp_path / "t.csv", columns=Columns(item="image")).modality == "image"


def test_columns_say_as_settings_what_they_say():
    named = Columns(item="photo", modality="image", split="part", target="labels", separator="/")
    assert named.settings == {
        "image_column": "photo",
        "split_column": "part",
        "target": "labels",
        "separator": "/",
    }
    assert Columns(item="photo").settings == {"item_column": "photo"}
    # In a folder any name chooses the modality.
    assert list(Columns(modality="text").settings) == ["text_column"]
    assert Columns().settings == {}


def test_a_column_that_does_not_show_what_it_holds_needs_a_modality(tmp_path):
    (tmp_path / "t.jsonl").write_text("".join(f'{{"body": {i}, "label": "{i % 2}"}}\n' for i in range(6)))
    with pytest.raises(
        DatasetError, match="'body' does not show what it holds; say which modality: image, text"
    ):
        read_data(tmp_path / "t.jsonl", columns=Columns(item="body"))
    with pytest.raises(DatasetError, match=r"none of 6 items can be used; .* int where texts are expected"):
        read_data(tmp_path / "t.jsonl", columns=Columns(item="body", modality="text"))


def test_rows_keep_their_numbers_when_others_are_skipped(tmp_path):
    (tmp_path / "t.csv").write_text("text,label\na,0\nb\nc,\nd,1\ne,0\nf,1\n")
    assert {where for where, _ in read_data(tmp_path / "t.csv").skipped} == {"t.csv row 2", "t.csv row 3"}


def test_semicolons_of_spreadsheets(tmp_path):
    (tmp_path / "t.csv").write_text("text;label\na, b;1\nc;0\nd;1\ne;0\n")
    assert read_data(tmp_path / "t.csv").items == ("a, b", "c", "d", "e")


def test_one_column_has_one_role(tmp_path):
    text_csv(tmp_path / "t.csv", ROWS)
    with pytest.raises(DatasetError, match="'label' cannot be the text and something else"):
        read_data(tmp_path / "t.csv", columns=Columns(item="label", label="label"))


def test_tables_without_usable_rows(tmp_path):
    (tmp_path / "a.jsonl").write_text("x\ny\n")
    with pytest.raises(DatasetError, match=r"no rows that can be used: a\.jsonl row 1 is not a JSON object"):
        read_data(tmp_path / "a.jsonl")
    (tmp_path / "b.csv").write_text("text,label\n")
    with pytest.raises(DatasetError, match="holds no items"):
        read_data(tmp_path / "b.csv")


def test_parquet_columns_with_odd_names(tmp_path):
    columns = [pa.array(["a", "b", "c", "d"]), pa.array(["a", "b", "c", "d"]), pa.array([1, 0, 1, 0])]
    pq.write_table(pa.table(columns, names=["text", "text", "label"]), tmp_path / "p.parquet")
    with pytest.raises(DatasetError, match="two columns called 'text'"):
        read_data(tmp_path / "p.parquet")
    pq.write_table(pa.table(columns[1:], names=["my.text", "label"]), tmp_path / "q.parquet")
    assert read_data(tmp_path / "q.parquet").items == ("a", "b", "c", "d")


def test_encodings(tmp_path):
    (tmp_path / "t.csv").write_bytes("text,label\ncafé,1\n".encode("latin-1"))
    with pytest.raises(DatasetError, match=r"t\.csv is not UTF-8: byte 0xe9 at offset 14; convert it"):
        read_data(tmp_path / "t.csv")


def test_huge_headers_fields_and_open_quotes_end_soon(tmp_path):
    start = time.perf_counter()
    (tmp_path / "wide.csv").write_text(",".join(f"c{i}" for i in range(1_000_000)) + "\n")
    with pytest.raises(DatasetError, match="1,000,000 columns"):
        read_data(tmp_path / "wide.csv")
    (tmp_path / "long.csv").write_text("text,label\n" + "x" * 3_000_000 + ",1\n")
    with pytest.raises(DatasetError, match=r"line 2: field larger than field limit"):
        read_data(tmp_path / "long.csv")
    (tmp_path / "open.csv").write_text('text,label\n"never closed,1\nb,0\n')
    with pytest.raises(DatasetError, match="unexpected end of data; close the quotes"):
        read_data(tmp_path / "open.csv")
    (tmp_path / "wide.jsonl").write_text(json.dumps({f"c{i}": i for i in range(10_000)}) + "\n")
    with pytest.raises(DatasetError, match="10,000 columns"):
        read_data(tmp_path / "wide.jsonl")
    assert time.perf_counter() - start < 10


def test_a_line_of_hundreds_of_megabytes_is_skipped_before_it_is_parsed(tmp_path):
    with (tmp_path / "t.jsonl").open("w") as file:
        for i in range(4):
            file.write(json.dumps({"text": f"text {i}", "label": i % 2}) + "\n")
        # Parsed it would fill a gigabyte.
        file.write('{"text": "x", "label": 1, "v": [' + "1.5," * 26_000_000 + "1]}\n")
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    data = read_data(tmp_path / "t.jsonl")
    assert (len(data), data.skipped) == (
        4,
        (("t.jsonl row 5", "a line of 104.0 MB; the limit is 100.7 MB"),),
    )
    assert time.perf_counter() - start < 15
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000


def test_uneven_rows_and_bad_headers(tmp_path):
    (tmp_path / "t.csv").write_text("text,label\na,0\nb,1\nc\nd,0\n\ne,1\nf,1,2\n")
    data = read_data(tmp_path / "t.csv")
    assert data.items == ("a", "b", "d", "e")
    assert [reason for _, reason in data.skipped] == [
        "fewer fields than the header",
        "more fields than the header",
    ]
    assert [where for where, _ in data.skipped] == ["t.csv row 3", "t.csv row 7"]
    (tmp_path / "u.csv").write_text("text,text,label\na,b,0\n")
    with pytest.raises(DatasetError, match="two columns called 'text'"):
        read_data(tmp_path / "u.csv")
    (tmp_path / "v.csv").write_text("")
    with pytest.raises(DatasetError, match="no header"):
        read_data(tmp_path / "v.csv")


def test_parquet_with_embedded_images_and_class_names(tmp_path):
    metadata = {"huggingface": json.dumps({"info": {"features": IMAGE_FEATURES}})}
    table = image_table([1, 0, 1, 0, -1]).replace_schema_metadata(metadata)
    pq.write_table(table, tmp_path / "p.parquet")
    data = read_data(tmp_path / "p.parquet")
    assert (data.modality, data.classes) == ("image", ("cat", "dog"))
    assert data.labels.tolist() == [1, 0, 1, 0]
    assert data.items[2] == png(2)
    assert data.skipped == (("p.parquet row 5", "no label"),)


def test_parquet_with_plain_bytes_and_dictionary_labels(tmp_path):
    labels = pa.array(["x", "y", "x", "y"]).dictionary_encode()
    table = pa.table({"photo": pa.array([png(i) for i in range(4)]), "kind": labels})
    pq.write_table(table, tmp_path / "p.parquet")
    data = read_data(tmp_path / "p.parquet")
    assert data.items == tuple(png(i) for i in range(4))
    assert data.classes == ("x", "y")


def test_saved_dataset_and_dict(tmp_path):
    one = read_data(save_to_disk(tmp_path / "one", image_table([0, 1, 1, 0, 1]), IMAGE_FEATURES, shards=2))
    assert one.items == tuple(png(i) for i in range(5))
    assert [one.classes[i] for i in one.labels] == ["cat", "dog", "dog", "cat", "dog"]
    save_to_disk(tmp_path / "dd" / "test", image_table([1, 0], seed=9), IMAGE_FEATURES)
    save_to_disk(tmp_path / "dd" / "train", image_table([0, 1, 1]), IMAGE_FEATURES)
    save_to_disk(tmp_path / "dd" / "extra", image_table([0]), IMAGE_FEATURES)
    (tmp_path / "dd" / "dataset_dict.json").write_text('{"splits": ["test", "extra", "train"]}')
    both = read_data(tmp_path / "dd")
    assert {k: [both.items[i] for i in v] for k, v in both.splits.items()} == {
        "train": [png(0), png(1), png(2)],
        "test": [png(9), png(10)],
    }
    assert both.skipped == (("extra", "not one of the splits train, validation and test"),)


def test_saved_dataset_that_points_elsewhere_or_is_damaged(tmp_path):
    good = save_to_disk(tmp_path / "one", image_table([0, 1, 1, 0]), IMAGE_FEATURES)
    (tmp_path / "two").mkdir()
    for file in good.iterdir():
        (tmp_path / "two" / file.name).write_bytes(file.read_bytes())
    state = {"_data_files": [{"filename": "../one/data-00000-of-00001.arrow"}]}
    (tmp_path / "two" / "state.json").write_text(json.dumps(state))
    with pytest.raises(DatasetError, match="is outside"):
        read_data(tmp_path / "two")
    (good / "state.json").write_text("[" * 100_000)
    with pytest.raises(DatasetError, match="nested too deeply"):
        read_data(good)


def test_random_damage_of_columnar_files_is_one_clear_error(tmp_path):
    rng = np.random.default_rng(0)
    folder = save_to_disk(tmp_path / "one", image_table([0, 1, 1, 0]), IMAGE_FEATURES)
    arrow = folder / "data-00000-of-00001.arrow"
    parquet = tmp_path / "p.parquet"
    pq.write_table(image_table([0, 1, 1, 0]), parquet)
    for file, locator in [(arrow, folder), (parquet, parquet)]:
        good = file.read_bytes()
        for trial in range(25):
            bad = bytearray(good[: rng.integers(0, len(good))] if trial % 5 == 0 else good)
            for place in rng.integers(0, max(len(bad), 1), 8 if bad else 0):
                bad[place] = rng.integers(0, 256)
            file.write_bytes(bytes(bad))
            with contextlib.suppress(DatasetError):
                assert len(read_data(locator)) == 4


def same(n, value):
    """Return n times a value, which is held once."""
    return pa.DictionaryArray.from_arrays(np.zeros(n, np.int32), pa.array([value]))


def packed(path, kind):
    """Write a small Parquet file of many large values."""
    n = {"rows": 20_000_000}.get(kind, 600)
    columns = {"text": same(n, "t"), "label": same(n, "a")}
    if kind == "texts":
        columns["text"] = same(n, "x" * (1 << 20))
    elif kind == "bytes":
        columns["image"] = pa.StructArray.from_arrays([same(n, b"x" * (1 << 20))], ["bytes"])
    elif kind == "lists":
        lengths = np.linspace(0, 70_000_000, n + 1).astype(np.int32)
        columns["label"] = pa.ListArray.from_arrays(lengths, same(70_000_000, "z"))
    pq.write_table(pa.table(columns), path, compression="zstd", dictionary_pagesize_limit=1 << 26)
    return path


@pytest.mark.parametrize("kind", ["texts", "bytes", "rows", pytest.param("lists", marks=pytest.mark.slow)])
def test_a_small_file_of_gigabytes_is_refused_before_they_are_unpacked(tmp_path, kind):
    path = packed(tmp_path / "t.parquet", kind)
    assert path.stat().st_size < 1 << 20
    pool = pa.default_memory_pool()
    used = pool.bytes_allocated()
    began = time.perf_counter()
    with pytest.raises(DatasetError, match=r"of values, and 536.9 MB are possible: split it"):
        read_data(path, columns=Columns(item="image" if kind == "bytes" else "text"))
    assert time.perf_counter() - began < 10
    assert pool.bytes_allocated() - used < 1 << 26


def test_texts_that_may_be_long_are_read_where_they_are_not(tmp_path, monkeypatch):
    """The careful way gives what the quick one does."""
    rows = {
        "text": [f"text {i % 7}" for i in range(40)],
        "label": [["a"], ["a", "b"]] * 20,
        "image": [{"bytes": b"x", "path": f"{i}.png"} for i in range(40)],
    }
    pq.write_table(pa.table(rows), tmp_path / "t.parquet", row_group_size=16)
    columns = Columns(item="text", label="label")
    quick = read_data(tmp_path / "t.parquet", columns=columns)
    monkeypatch.setattr(arrow, "_MOST_EXPANDED", 1500)
    monkeypatch.setattr(arrow, "_MOST_TIMES", 0)
    careful = read_data(tmp_path / "t.parquet", columns=columns)
    assert (careful.items, careful.classes) == (quick.items, quick.classes)
    np.testing.assert_array_equal(careful.targets, quick.targets)


def saved(folder, table, compression=None):
    """A folder as `datasets.save_to_disk` leaves it."""
    folder.mkdir()
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data.arrow"}]}))
    (folder / "dataset_info.json").write_text("{}")
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with (
        pa.OSFile(str(folder / "data.arrow"), "wb") as file,
        pa.ipc.new_stream(file, table.schema, options=options) as to,
    ):
        to.write_table(table)
    return folder


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_compressed_streams_are_read_and_those_that_fill_the_memory_are_not(
    tmp_path, monkeypatch, compression
):
    labels = ["a", "b"] * 50
    small = pa.table({"text": [f"text {i}" for i in range(100)], "label": labels})
    read = read_data(saved(tmp_path / "small", small, compression), columns=Columns())
    assert (len(read), read.classes) == (100, ("a", "b"))
    large = pa.table({"text": pa.array(["x" * (1 << 20)] * 100), "label": labels})
    bomb = saved(tmp_path / "bomb", large, compression)
    assert (bomb / "data.arrow").stat().st_size < 1 << 20
    monkeypatch.setattr(arrow, "_MOST_EXPANDED", 1 << 26)
    pool = pa.default_memory_pool()
    used = pool.bytes_allocated()
    with pytest.raises(DatasetError, match=r"MB of values, and .* are possible"):
        read_data(bomb, columns=Columns())
    assert pool.bytes_allocated() - used < 1 << 24


def test_a_text_that_every_row_means_is_counted_for_each(tmp_path):
    rows = pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), pa.array(["x" * (1 << 20)]))
    folder = saved(tmp_path / "bomb", pa.table({"text": rows, "label": ["a", "b"] * 500}))
    with pytest.raises(DatasetError, match=r"of values, and .* are possible"):
        read_data(folder, columns=Columns())
