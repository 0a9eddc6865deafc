"""Bad input: one clear line, the documented exit code, nothing stored half-way."""

import os
import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from tests import materials
from tests.data.files import text_csv
from tests.program import invoke


@pytest.fixture(autouse=True)
def nothing_stored(workspace):
    before = materials.counts(workspace)
    yield
    assert materials.counts(workspace) == before


def refused(data, *parts, options=()):
    invoke("query", data, *options).failed(*parts)
    invoke("warm-start", data, "--out", "out", *options).failed(*parts)
    assert not os.path.exists("out")


def test_a_missing_path(tmp_path):
    (tmp_path / "pictures").mkdir()
    refused(tmp_path / "picture", "there is no", "Did you mean", "pictures")


def test_an_empty_folder(tmp_path):
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "holds no folder per class")


def test_one_class(tmp_path):
    refused(materials.pictures(tmp_path / "one", 1, 8), "one class", "at least two are needed")


def test_one_item_a_class(tmp_path):
    refused(materials.pictures(tmp_path / "single", 5, 1), "one item per class")


def test_two_rows(tmp_path):
    refused(text_csv(tmp_path / "two.csv", [("a", "x"), ("b", "y")]), "2 usable items", "at least")


def test_a_table_without_the_named_column(tmp_path):
    table = materials.glosses(tmp_path / "t.csv", 5)
    refused(table, "no column 'txt'", "text", "label", options=("--text-column", "txt"))
    refused(table, "no column 'y'", "text, label", options=("--label-column", "y"))


def test_columns_of_two_modalities(tmp_path):
    table = materials.glosses(tmp_path / "t.csv", 5)
    both = ("--text-column", "text", "--image-column", "text")
    done = invoke("query", table, *both)
    assert done.code == 2
    assert "--image-column and --text-column both name the column of the inputs; give one" in done.err


def test_a_table_without_a_clear_label(tmp_path):
    path = text_csv(tmp_path / "t.csv", [(f"t{i}", f"{i},{i}") for i in range(9)], header="a,b,c")
    refused(path, "name one with --image-column or --text-column")


def test_an_unreadable_encoding(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"text,label\n" + b"\x81\x8d\xff\xfe\x00,\x00a\n" * 20)
    refused(path, "t.csv")


def test_measurements_that_are_all_alike(tmp_path):
    path = text_csv(tmp_path / "t.csv", [(f"text {i}", 1.5) for i in range(9)])
    refused(path, "all 9 values are 1.5", "nothing to learn")


def test_files_of_no_known_kind(tmp_path):
    (tmp_path / "data.xyz").write_text("?")
    refused(tmp_path / "data.xyz", "data.xyz")
    np.savez(tmp_path / "data.npz", weights=np.zeros(4))
    refused(tmp_path / "data.npz", "images or texts with labels")
    (tmp_path / "data.parquet").write_bytes(b"PAR1garbagePAR1")
    refused(tmp_path / "data.parquet", "data.parquet")


def test_pickled_arrays(tmp_path):
    np.savez(tmp_path / "data.npz", texts=np.array([{"a": 1}] * 9, dtype=object), labels=np.arange(9) % 3)
    refused(tmp_path / "data.npz", "cannot be read as plain arrays")


def test_only_corrupt_images(tmp_path):
    data = materials.pictures(tmp_path / "bad", 3, 4)
    for picture in data.rglob("*.png"):
        picture.write_bytes(b"no image at all")
    refused(data, "none of 12 items can be used")


def test_a_pipe_or_a_device_in_place_of_data(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    refused(tmp_path / "pipe.csv", "pipe.csv")
    refused("/dev/zero", "/dev/zero")


def test_a_budget_of_nothing_without_history(tmp_path):
    data = materials.pictures(tmp_path / "data", 3, 6)
    for budget in (0, "0s", "0.000001s"):
        invoke("query", data, "--budget", budget).failed("runs no expert", "--budget 1", "import results")


def test_an_unknown_expert(tmp_path):
    data = materials.pictures(tmp_path / "data", 3, 6)
    invoke("warm-start", data, "--out", "out", "--expert", "emojis").failed("Did you mean 'emoji'?")
    for command in ("show", "similar", "rm"):
        invoke(command, "emojis").failed("Did you mean 'emoji'?")


def test_an_expert_of_another_modality(tmp_path):
    data = materials.pictures(tmp_path / "data", 3, 6)
    invoke("warm-start", data, "--out", "out", "--expert", "languages").failed("choose an expert for image")


@pytest.mark.parametrize(
    "options",
    [
        ("--budget", "-1"),
        ("--top", "0"),
        ("--sample", "1"),
        ("--max-params", "many"),
        ("--seed", "x"),
        ("--no-such-option",),
    ],
)
def test_options_that_cannot_be_are_usage_errors(options):
    assert invoke("query", "x", *options).code == 2


WITHOUT_TORCH = """
import sys
from expertise_graph.cli import main
try:
    main()
finally:
    print("torch" in sys.modules)
"""


@pytest.mark.parametrize(
    ("options", "code", "part"),
    [
        (("--strategy", "freeze"), 2, "no strategy called 'freeze'; there are: bitfit, from-scratch"),
        (("--tracker", "tb"), 2, "no tracker called 'tb'; there are: tensorboard"),
        (("--epochs", "0"), 1, "epochs is 0"),
        (("--class-weights", "balanced", "--lr", "0"), 1, "lr is 0"),
    ],
)
def test_settings_are_checked_before_anything_is_loaded_or_read(options, code, part):
    command = [sys.executable, "-c", WITHOUT_TORCH, "warm-start", "nowhere", "--out", "out", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (code, "False\n")
    assert part in done.stderr


def test_names_of_strategies_are_completed():
    arguments = {"COMP_WORDS": "expertise-graph warm-start data --strategy l", "COMP_CWORD": "4"}
    environment = {**os.environ, "_EXPERTISE_GRAPH_COMPLETE": "bash_complete", **arguments}
    program = "import sys; sys.argv[0] = 'expertise-graph'; from expertise_graph.cli import main; main()"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    found = [line.split(",")[1] for line in done.stdout.splitlines()]
    assert found == ["l2-sp", "linear-probe", "lora", "lp-ft"], done.stderr


CTRL_C_AT_THE_START = """
import sys

class Pressed:
    def find_spec(self, name, path, target=None):
        if name == "click":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Pressed())
from expertise_graph.__main__ import main
main()
"""


def test_ctrl_c_while_the_program_starts_ends_quietly():
    command = [sys.executable, "-c", CTRL_C_AT_THE_START]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("--epochs", 0), "epochs"),
        (("--batch-size", 0), "batch_size"),
        (("--lr", "nan"), "lr"),
        (("--lr", -1), "lr"),
        (("--seed", -1), "seed"),
        (("--strategy", "from-scratch", "--compare-cold"), "from-scratch"),
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path, options, part):
    data = materials.pictures(tmp_path / "data", 3, 6)
    invoke("warm-start", data, "--out", "out", "--expert", "emoji", *options).failed(part)


def test_usage(workspace):
    assert invoke("query").code == 2
    assert invoke("warm-start", "x").code == 2
    assert invoke("warm-start", "x", "--out", "o", "--time-budget", "soon").code == 2
    assert invoke("no-such-command").code == 2


def test_a_registry_of_a_newer_version(workspace):
    db = sqlite3.connect("registry.db")
    version = db.execute("PRAGMA user_version").fetchone()[0]
    db.execute("PRAGMA user_version=99")
    db.close()
    for command in (["ls"], ["query", "x"], ["register", "zoo:emoji"], ["runs"]):
        invoke(*command).failed("schema version 99", "pip install -U")
    db = sqlite3.connect("registry.db")
    db.execute(f"PRAGMA user_version={version}")
    db.close()


def test_no_network():
    invoke("register", "hf:org/name").failed("needs the network")
    invoke("query", "hf:org/data").failed("network")
