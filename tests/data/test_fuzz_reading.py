"""Whatever the data are like: they are read, or one line says why not, and it is said soon."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from expertise_graph.core import ExpertiseError
from expertise_graph.data import Columns, describe, examples, read_argument, read_data
from expertise_graph.data.dataset import KINDS, NAMES, TYPED, WRITTEN
from expertise_graph.data.label_columns import typed_cells
from expertise_graph.data.label_lists import parse_list
from expertise_graph.data.splits import chosen_splits
from tests.data.files import png
from tests.fuzz import amounts, attempt, bounded, folder, fuzzed

SOURCES = (WRITTEN, TYPED, NAMES)
cases = amounts(60, 1000)

PNG = png(1)
CELLS = st.one_of(
    st.sampled_from(
        [
            *(
                "",
                " ",
                "nan",
                "NaN",
                "<NA>",
                "inf",
                "-inf",
                "1e999",
                "1E50",
                "0.5",
                "1.0",
                "1.10",
                "007",
                "-1",
            ),
            *(
                "9" * 400,
                "1" * 5000,
                "0x1F",
                "1_000",
                "1,5",
                "٣",
                "½",
                "1e-400",
                "+",
                "-",
                ".",
                "e",
                "1e",
                "--1",
            ),
            *(
                "[",
                "]",
                "[]",
                "['a']",
                "['a', 'b']",
                '["a"]',
                "['a' 'b']",
                "{1, 2}",
                "()",
                "[[1]]",
                "{'a': 1}",
            ),
            *("[" * 5000, "['", "[a b]", "[None]", "[1e999]", "['\\x00']", "array(['a'], dtype=object)"),
            *(
                "a;b",
                "a|b",
                "a, b",
                ";",
                "|;,",
                "a/b",
                "train",
                "test",
                "val",
                "unsup",
                "Cat",
                "cat",
                "ca\u200bt",
            ),
            *(
                "img/0.png",
                "0",
                "../x.png",
                "/etc/passwd",
                "a\0b",
                "~",
                "C:\\x\\0.png",
                "https://e.org/0.png?w=1",
            ),
            *(
                "data:image/png;base64,AAAA",
                "data:image/png;base64,%%%",
                "iVBORw0KGgo" + "A" * 80,
                "/9j/4" * 40,
            ),
            *("\ud83d\ude42", "\u2028", "\x1b[31m", "=cmd()", "x" * 300, "true", "False", "2020-01-01"),
        ]
    ),
    st.text(max_size=12),
    st.integers(-5, 5).map(str),
    st.floats(allow_nan=True).map(str),
)
HEADERS = st.sampled_from(
    [
        *(
            "text",
            "label",
            "image",
            "Image",
            "image_id",
            "id",
            "split",
            "is_valid",
            "set",
            "file_name",
            "class",
        ),
        *("", " ", "target", "y", "xmin", "body", "labels", "path", "ä", "a" * 60, "sentence"),
    ]
)
COLUMNS = st.builds(
    Columns,
    item=st.none() | HEADERS,
    label=st.none() | HEADERS,
    split=st.none() | HEADERS,
    target=st.none() | st.sampled_from(KINDS),
    separator=st.none() | st.sampled_from([";", ",", " ", "||"]),
    splits=st.none()
    | st.sampled_from(["none", "train=a,test=b", "train=train", "x", "train=", "=", "test=../.."]),
    no_label=st.none() | st.sampled_from(["-1", "", "cat"]),
    modality=st.none() | st.sampled_from(["image", "text"]),
)
PLAIN = st.just(Columns())


def check(path, columns):
    """Read what is there: data that hold together, or one line; in bounded time."""
    with bounded():
        data = attempt(lambda: read_data(path, columns=columns, strict=False))
        if data is None:
            return
        said = describe(data)
        assert "\n" not in said.line
        assert said.items == len(data) == len(data.labels)
        assert sum(said.skipped.values()) == len(data.skipped)
        assert all(label < len(data.classes) for label in data.labels)
        assert data.targets is None or np.isfinite(data.targets).all()
        assert columns.target == "class" or not {"nan", ""} & {name.lower() for name in data.classes}
        assert len(set(data.classes)) == len(data.classes)
        examples(data)
        json.dumps(dict(said.skipped), allow_nan=False)


def tables(values):
    """Draw the names of columns, and rows of values for them."""
    return st.lists(HEADERS, min_size=1, max_size=4).flatmap(
        lambda names: st.tuples(
            st.just(names), st.lists(st.lists(values, min_size=len(names), max_size=len(names)), max_size=12)
        )
    )


@cases
def test_text_tables(amount):
    @fuzzed(amount)
    @given(tables(CELLS), COLUMNS | PLAIN, st.sampled_from([",", ";", "\t", "|"]), st.booleans())
    def run(table, columns, mark, quoted):
        names, rows = table
        lines = [names, *rows]
        if quoted:
            lines = [['"' + cell.replace('"', '""') + '"' for cell in line] for line in lines]
        text = "\n".join(mark.join(line) for line in lines)
        with folder() as place:
            (place / "0.png").write_bytes(PNG)
            (place / "t.csv").write_bytes(text.encode("utf-8", "surrogatepass"))
            check(place / "t.csv", columns)
            check(place, columns)

    run()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | CELLS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(CELLS, inner, max_size=3),
    max_leaves=5,
)


@cases
def test_json_tables(amount):
    @fuzzed(amount)
    @given(tables(JSON), COLUMNS | PLAIN)
    def run(table, columns):
        names, rows = table
        lines = [json.dumps(dict(zip(names, row, strict=True))) for row in rows]
        with folder() as place:
            (place / "t.jsonl").write_text("\n".join(lines), encoding="utf-8", errors="surrogatepass")
            check(place / "t.jsonl", columns)

    run()


def test_names_with_line_breaks_stay_in_one_line(tmp_path):
    rows = [{"text": text, "label": {"x\ny": "", "z": ""}} for text in "ab"]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(ExpertiseError, match="with the fields x y, z; write the label"):
        read_data(tmp_path / "t.jsonl", columns=Columns())


TYPES = st.sampled_from(
    [
        *(
            pa.string(),
            pa.binary(),
            pa.large_string(),
            pa.string_view(),
            pa.binary(16),
            pa.bool_(),
            pa.null(),
        ),
        *(
            pa.int8(),
            pa.uint64(),
            pa.float16(),
            pa.float32(),
            pa.float64(),
            pa.decimal128(10, 2),
            pa.date32(),
        ),
        *(pa.timestamp("ns"), pa.time64("us"), pa.duration("s"), pa.dictionary(pa.int8(), pa.string())),
        *(
            pa.list_(pa.string()),
            pa.list_(pa.int64()),
            pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
        ),
        *(
            pa.list_(pa.struct([("bytes", pa.binary())])),
            pa.struct([("id", pa.int64()), ("name", pa.string())]),
        ),
        *(pa.map_(pa.string(), pa.string()), pa.list_(pa.list_(pa.uint8())), pa.month_day_nano_interval()),
    ]
)
FEATURES = st.sampled_from(
    [
        *(None, {}, [], "x", {"_type": "ClassLabel", "names": ["a", "b"]}, {"_type": "ClassLabel"}),
        *({"_type": "Image"}, [{"_type": "ClassLabel", "names": [1, None]}], {"feature": {"feature": []}}),
        {"feature": {"_type": "ClassLabel", "names": ["a"]}, "_type": "List"},
    ]
)


WORDS = ["a", "b", "1.5", "['a']", "0.png", ""]
RAW = [PNG, b"text", b"\xff\xfe\0", b"", b"x" * 16]
FLOATS = [0.0, 1.0, 0.5, np.nan, np.inf]
# The first that a type takes gives its values.
GENERATORS = (
    lambda rng: str(rng.choice(WORDS)),
    lambda rng: RAW[rng.integers(len(RAW))],
    lambda rng: float(rng.choice(FLOATS)),
    lambda rng: int(rng.integers(3)),
    lambda rng: bool(rng.integers(2)),
    lambda rng: rng.bytes(16),
    lambda rng: [int(rng.integers(3)) for _ in range(rng.integers(3))],
    lambda rng: [str(rng.choice(WORDS)) for _ in range(rng.integers(3))],
    lambda rng: {"bytes": RAW[rng.integers(len(RAW))], "path": "0.png"},
    lambda rng: [{"bytes": RAW[rng.integers(len(RAW))]}],
    lambda rng: {"id": int(rng.integers(3)), "name": str(rng.choice(WORDS))},
    lambda rng: [("a", "b")],
    lambda rng: [[1, 2], [3, 4]],
    lambda rng: (1, 2, 3),
)


def column(kind, seed, n):
    """Return n values of an Arrow type, drawn by seed, some of them missing."""
    for generator in GENERATORS:
        rng = np.random.default_rng(seed)
        try:
            return pa.array([None if rng.random() < 0.1 else generator(rng) for _ in range(n)], kind)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            continue
    return pa.nulls(n, kind)


@cases
def test_parquet_tables(amount):
    @fuzzed(amount)
    @given(
        st.dictionaries(HEADERS, st.tuples(TYPES, FEATURES), min_size=1, max_size=4),
        st.integers(0, 1000),
        st.integers(0, 10),
        COLUMNS | PLAIN,
    )
    def run(kinds, seed, n, columns):
        arrays = {name: column(kind, seed + i, n) for i, (name, (kind, _)) in enumerate(kinds.items())}
        features = {name: feature for name, (_, feature) in kinds.items()}
        table = pa.table(arrays).replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": features}})}
        )
        with folder() as place:
            try:
                pq.write_table(table, place / "t.parquet")
            except pa.ArrowException:
                return
            check(place / "t.parquet", columns)

    run()


FOLDERS = st.sampled_from(
    [
        *(
            "train",
            "test",
            "val",
            "seg_train",
            "Test_Set",
            "holdout",
            "eval",
            "unsup",
            "cat",
            "Cat",
            "dog",
            "images",
        ),
        *(
            "labels",
            "annotations",
            "@eaDir",
            "__MACOSX",
            ".git",
            "data",
            "part1",
            "part2",
            " cat",
            "c\u200bat",
            "\ud83d",
        ),
    ]
)
FILES = st.sampled_from(
    [
        *(
            "0.png",
            "1.PNG",
            "2",
            "3.txt",
            "train.csv",
            "test.jsonl",
            "labels.csv",
            "data.yaml",
            "Thumbs.db",
            "x.npz",
        ),
        *(
            "4.jpg",
            "part-0.csv",
            "part-1.csv",
            "a_annotations.coco.json",
            ".hidden",
            "state.json",
            "dataset_info.json",
        ),
        *("dataset_dict.json", "5.parquet"),
    ]
)
CONTENT = st.sampled_from(
    [
        PNG,
        PNG[:30],
        b"",
        b"text,label\na,b\nc,d\n",
        b"image,label\n0,a\n1,b\n",
        b"{}",
        b"\xff\xd8\xff" + b"\0" * 40,
    ]
)
TREE = st.lists(st.tuples(st.lists(FOLDERS, max_size=3), FILES, CONTENT), min_size=1, max_size=14)
LINKS = st.lists(
    st.tuples(st.lists(FOLDERS, min_size=1, max_size=2), st.lists(FOLDERS, max_size=2)), max_size=3
)


@cases
def test_folders(amount):
    @fuzzed(amount)
    @given(TREE, LINKS, COLUMNS | PLAIN, st.sampled_from(["image", "text"]))
    def run(tree, links, columns, modality):
        with folder() as place:
            for parts, name, content in tree:
                target = Path(
                    os.fsdecode(os.fsencode(place)), *(p.encode("utf-8", "ignore").decode() for p in parts)
                )
                if any(parent.is_file() for parent in [target, *target.parents]):
                    continue
                target.mkdir(parents=True, exist_ok=True)
                if not (target / name).is_dir():
                    (target / name).write_bytes(content)
            for source, target in links:
                link = place.joinpath(*(p.encode("utf-8", "ignore").decode() for p in source))
                if link.parent.is_dir() and not link.exists() and not link.is_symlink():
                    link.symlink_to(place.joinpath(*(p.encode("utf-8", "ignore").decode() for p in target)))
            check(place, columns)
            attempt(lambda: read_argument(str(place), modality=modality, columns=columns))

    run()


@cases
def test_damaged_files(amount):
    """Real files with some bytes replaced, and cut."""
    with folder() as place:
        pq.write_table(pa.table({"text": ["a", "b"] * 4, "label": [0.5, 1.0] * 4}), place / "t.parquet")
        np.savez(place / "t.npz", x=np.zeros((4, 3, 3), np.uint8), y=[0, 1, 0, 1])
        (place / "t.csv").write_text("text,label\n" + "a,1\nb,2\n" * 4)
        (place / "t.jsonl").write_text('{"text": "a", "label": [1, 2]}\n' * 5)
        good = {path.suffix: path.read_bytes() for path in place.iterdir()}

    @fuzzed(amount)
    @given(
        st.sampled_from(sorted(good)),
        st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6),
        st.floats(0.2, 1),
    )
    def run(suffix, changes, kept):
        data = bytearray(good[suffix])
        for where, byte in changes:
            data[int(where * (len(data) - 1))] = byte
        with folder() as place:
            (place / f"t{suffix}").write_bytes(bytes(data[: int(kept * len(data))]))
            check(place / f"t{suffix}", Columns())

    run()


@cases
def test_cells_of_labels(amount):
    @fuzzed(amount)
    @given(st.lists(CELLS, max_size=12), st.sampled_from(SOURCES), COLUMNS | PLAIN, st.text(max_size=40))
    def run(cells, source, columns, text):
        typed = attempt(lambda: typed_cells(cells, columns, source=source))
        assert typed is None or len(typed.cells) == len(cells)
        for cell in (*cells, text, f"[{text}]"):
            found = parse_list(cell)
            assert found is None or isinstance(found, list)
        attempt(lambda: chosen_splits(text))

    run()
