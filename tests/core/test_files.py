"""Files are there whole or not at all; JSON is strict; hashes are those of the content."""

import hashlib
import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import save_file

from expertise_graph.core import (
    InvalidInputError,
    new_folder,
    read_json,
    read_json_object,
    replacing,
    sha256_of_file,
    sha256_of_json,
    sha256_of_texts,
    write_bytes,
    write_json,
    write_text,
)
from expertise_graph.core.files import LEFT_AFTER_SECONDS, MAX_JSON_BYTES


def test_what_is_written_is_read_back(tmp_path):
    path = tmp_path / "new" / "values.json"
    write_json(path, {"name": "é", "values": [1, 2.5, None]})
    assert read_json(path) == {"name": "é", "values": [1, 2.5, None]}
    assert path.read_bytes().endswith(b"}\n")
    write_text(path, "[]")
    assert read_json(path) == []
    assert [p.name for p in path.parent.iterdir()] == ["values.json"]


def test_a_failed_write_leaves_the_old_content_and_nothing_else(tmp_path):
    path = tmp_path / "model.bin"
    write_bytes(path, b"old")

    def fail():
        with replacing(path) as temporary:
            temporary.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_nan_is_not_written_and_the_old_content_stays(tmp_path):
    path = tmp_path / "values.json"
    write_json(path, [1])
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, [float("nan")])
    assert read_json(path) == [1]


def test_a_folder_appears_with_all_its_files_or_not_at_all(tmp_path):
    out = tmp_path / "run"
    with new_folder(out) as folder:
        write_text(folder / "deep" / "a.txt", "a")
        assert not out.exists()
    assert (out / "deep" / "a.txt").read_text() == "a"

    def fail():
        with new_folder(tmp_path / "other") as folder:
            write_text(folder / "a.txt", "a")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_folder_with_files_is_not_replaced_and_an_empty_one_is(tmp_path):
    (tmp_path / "empty").mkdir()
    with new_folder(tmp_path / "empty") as folder:
        write_text(folder / "a.txt", "a")
    assert (tmp_path / "empty" / "a.txt").is_file()

    def again():
        with new_folder(tmp_path / "empty") as folder:
            write_text(folder / "b.txt", "b")

    with pytest.raises(InvalidInputError, match="is there already and is not empty"):
        again()
    assert [p.name for p in (tmp_path / "empty").iterdir()] == ["a.txt"]


def test_only_old_leftovers_of_the_same_file_are_removed(tmp_path):
    fresh, old = tmp_path / ".a.1234.tmp.txt", tmp_path / ".a.5678.tmp.txt"
    other = tmp_path / ".b.5678.tmp.txt"
    for path in (fresh, old, other):
        path.write_text("half")
    past = time.time() - LEFT_AFTER_SECONDS - 60
    os.utime(old, (past, past))
    os.utime(other, (past, past))
    write_text(tmp_path / "a.txt", "whole")
    assert {p.name for p in tmp_path.iterdir()} == {"a.txt", fresh.name, other.name}


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_files_are_as_readable_as_the_umask_says(tmp_path, umask):
    before = os.umask(umask)
    try:
        with replacing(tmp_path / "alone.safetensors") as temporary:
            save_file({"x": np.ones(2, np.float32)}, temporary)
        with new_folder(tmp_path / "folder") as folder:
            (folder / "inner").mkdir()
            save_file({"x": np.ones(2, np.float32)}, folder / "inner" / "model.safetensors")
    finally:
        os.umask(before)
    found = [tmp_path / "alone.safetensors", tmp_path / "folder" / "inner" / "model.safetensors"]
    assert [path.stat().st_mode & 0o777 for path in found] == [0o666 & ~umask] * 2


def test_what_a_killed_writer_left_is_removed_by_the_next_and_what_a_live_one_writes_stays(tmp_path):
    program = (
        "from pathlib import Path\nfrom expertise_graph.core.files import replacing\n"
        "with replacing(Path('a.txt')) as file: file.write_text('half'); print(flush=True); input()"
    )
    live, killed = (
        subprocess.Popen(
            [sys.executable, "-c", program], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(2)
    )
    with live, killed:
        for writer in (live, killed):
            assert writer.stdout.readline() == b"\n"
        assert len(list(tmp_path.iterdir())) == 2
        killed.kill()
        killed.wait()
        write_text(tmp_path / "a.txt", "whole")
        assert len(list(tmp_path.iterdir())) == 2, "the file and what the live writer is at"
        live.communicate(b"\n")
    assert (live.returncode, [p.name for p in tmp_path.iterdir()]) == (0, ["a.txt"])
    assert (tmp_path / "a.txt").read_text() == "half"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"a": NaN}', "is no JSON: NaN is not JSON"),
        (b'{"a": Infinity}', "is no JSON"),
        (b'{"a": ', "is no JSON"),
        (b"\xff\xfe", "is no JSON"),
        (b"[" * 100_000, "is nested too deeply"),
        (b"[1, 2]", "holds a list, an object is expected"),
    ],
)
def test_what_is_no_json_object_is_one_line(tmp_path, content, problem):
    path = tmp_path / "values.json"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=problem) as error:
        read_json_object(path)
    assert str(path) in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_missing_file_a_pipe_and_a_huge_file_are_refused(tmp_path):
    with pytest.raises(InvalidInputError, match=r"absent\.json is missing"):
        read_json(tmp_path / "absent.json")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidInputError, match="is not a regular file"):
        read_json(tmp_path / "pipe")
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(MAX_JSON_BYTES + 1)
    with pytest.raises(InvalidInputError, match="is larger than 64 MiB"):
        read_json(tmp_path / "huge.json")


def test_hashes_are_those_of_the_content(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"content")
    assert sha256_of_file(path) == hashlib.sha256(b"content").hexdigest()
    assert sha256_of_texts(["a", "b"]) == hashlib.sha256(b"a\nb").hexdigest()
    assert (
        sha256_of_json({"b": 1, "a": 2}) == hashlib.sha256(json.dumps({"a": 2, "b": 1}).encode()).hexdigest()
    )


@pytest.mark.parametrize(
    ("seconds", "left"), [(60, False), (-60, False), (2 * 3600, True), (-2 * 3600, True), (365 * 86400, True)]
)
def test_age_is_told_by_the_clock_of_the_files_whichever_way_it_was_set(tmp_path, seconds, left):
    """After the clock was set back a year, what was written before seems to come from the future."""
    other = tmp_path / f".x.00000000-1-{'0' * 32}.tmp"
    other.write_text("half")
    os.utime(other, (time.time() + seconds,) * 2)
    write_text(tmp_path / "x", "new")
    assert other.exists() is not left
