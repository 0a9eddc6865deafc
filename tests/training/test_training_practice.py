"""What a practitioner asks of a training command: settings in a file, several processes, little memory."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
import torch
import yaml
from accelerate.tracking import get_available_trackers

from expertise_graph.core import is_out_of_memory
from expertise_graph.training.config import TrainConfig
from expertise_graph.training.trainer import Trainer
from tests import materials
from tests.program import invoke
from tests.training.material import CYRILLIC, backbone
from tests.training.material import letters as drawn

QUICK = ("--epochs", 2, "--batch-size", 8)
TWO = ("--cpu", "--num_processes", 2)


@pytest.fixture
def letters(tmp_path):
    return materials.pictures(tmp_path / "letters", 4, 8)


def start(data, out, *options):
    return invoke("warm-start", data, "--out", out, "--expert", "hebrew-letters", *options)


@pytest.mark.slow
def test_settings_are_written_and_read_back_and_the_command_line_wins(workspace, letters):
    first = start(letters, "a", *QUICK, "--strategy", "bitfit", "--save-config", "run.yaml", "--json")
    first.worked()
    kept = yaml.safe_load((workspace / "run.yaml").read_text())
    assert (kept["strategy"], kept["epochs"], kept["batch_size"]) == ("bitfit", 2, 8)
    assert not {"config", "save_config", "out", "as_json", "force"} & set(kept)
    again = invoke("warm-start", letters, "--out", "b", "--config", "run.yaml", "--epochs", 1, "--json")
    result = again.worked().json
    assert (result["strategy"], result["epochs"], result["expert"]) == ("bitfit", 1, first.json["expert"])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("epoch: 3", "sets 'epoch', which is no option of warm-start"),
        ("- epochs", "holds no options; write lines such as epochs: 10"),
        ("{", "cannot be read as YAML"),
        ("epochs: many", "Invalid value for '--epochs'"),
    ],
)
def test_settings_that_cannot_be_are_refused(workspace, letters, text, problem):
    (workspace / "run.yaml").write_text(text)
    found = start(letters, "out", "--config", "run.yaml")
    assert found.code != 0
    assert problem in found.err
    assert not (workspace / "out").exists()


@pytest.mark.slow
def test_two_processes_train_one_model(workspace, letters):
    alone = start(letters, "one", *QUICK, "--no-augment", "--json").worked().json
    both = start(letters, "two", *QUICK, "--no-augment", "--json", "--launcher", "accelerate", "--", *TWO)
    result = both.worked().json
    assert (result["epochs"], result["strategy"]) == (2, "lp-ft")
    assert abs(result["accuracy"] - alone["accuracy"]) <= 0.25
    rows = [json.loads((workspace / out / "history.json").read_text()) for out in ("one", "two")]
    for one, two in zip(*rows, strict=True):
        assert two["step"] == one["step"]
        assert two["validation_loss"] == pytest.approx(one["validation_loss"], rel=0.02)
    statuses = {run["status"] for run in invoke("runs", "--json").worked().json}
    assert statuses == {"done"}


@pytest.mark.slow
def test_two_processes_train_a_network_of_which_a_part_takes_no_part(workspace, tmp_path):
    """The pooler of a BERT gets no gradient when its token vectors are averaged."""
    data = materials.glosses(tmp_path / "glosses.csv", 8)
    expert = materials.bert(tmp_path / "bert", 3)
    invoke("register", f"dir:{expert}").worked()
    line = ("warm-start", data, "--out", "out", "--expert", "bert", *QUICK, "--strategy", "full", "--json")
    result = invoke(*line, "--launcher", "accelerate", "--", *TWO).worked().json
    assert result["epochs"] == 2
    assert len(json.loads((workspace / "out" / "history.json").read_text())) >= 2


@pytest.mark.slow
def test_more_processes_than_items_of_a_batch_are_refused(workspace, letters):
    found = start(letters, "out", "--batch-size", 1, "--launcher", "accelerate", "--", *TWO)
    assert found.code == 1
    assert "2 processes share batches of 1 of" in found.err
    assert [run["status"] for run in invoke("runs", "--json").worked().json] == ["failed"]


def test_arguments_for_no_launcher_are_refused(workspace, letters):
    found = start(letters, "out", "--", "--num_processes", 2)
    assert found.code == 2
    assert "arguments after -- need --launcher accelerate" in found.err


@pytest.mark.slow
def test_an_unknown_tracker_and_fp16_without_a_gpu_are_refused(workspace, letters):
    refused = start(letters, "a", "--tracker", "tb")
    assert refused.code == 2
    assert "no tracker called 'tb'; there are: tensorboard, trackio, mlflow, wandb" in refused.err
    if not torch.cuda.is_available():
        refused = start(letters, "a", "--precision", "fp16").err
        assert "needs a GPU, and there is none: give bf16, no or auto" in refused
    result = start(letters, "b", *QUICK, "--precision", "bf16", "--json").worked().json
    assert result["accuracy"] > 0.5


@pytest.mark.parametrize("name", ["trackio", "mlflow", "wandb"])
def test_what_a_tracker_says_stays_out_of_the_result(workspace, letters, name):
    if name not in {str(found) for found in get_available_trackers()}:
        pytest.skip(f"{name} is not installed")
    command = ["warm-start", letters, "--out", "a", "--expert", "hebrew-letters", *QUICK, "--tracker", name]
    program = [sys.executable, "-m", "expertise_graph", *map(str, command), "--json"]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["epochs"] == 2


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the limit is one of Linux")
def test_a_disk_that_is_full_is_one_line_and_loses_nothing(workspace, letters):
    command = ["warm-start", letters, "--out", "a", "--expert", "hebrew-letters", *QUICK]
    program = [sys.executable, "-m", "expertise_graph", *map(str, command)]
    limited = ["bash", "-c", 'ulimit -f 1000; exec "$@"', "limited", *program]
    found = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert found.stderr.strip().splitlines()[-1] == (
        "Error: File too large; free some space and re-run the same command"
    )
    assert "Traceback" not in found.stderr
    assert [p.name for p in (workspace / "a").rglob("*") if p.is_file()] == ["run.json"]
    result = start(letters, "a", *QUICK, "--json").worked().json
    assert result["epochs"] == 2


@pytest.mark.slow
def test_what_was_special_is_said(workspace, tmp_path):
    data = materials.pictures(tmp_path / "data", 4, 6, splits=("train", "test"))
    unseen = sorted((data / "train").iterdir())[0]
    shutil.rmtree(unseen)
    done = start(data, "a", *QUICK).worked()
    assert f"note: no training items for 1 of 4 classes ({unseen.name})" in done.out
    done = start(data, "b", *QUICK, "--lr", 1e30).worked()
    assert "note: loss became NaN " in done.out
    assert "epoch 0 was kept" in done.out
    assert (
        start(data, "b", *QUICK, "--lr", 1e30, "--json")
        .worked()
        .json["note"]
        .startswith("loss became NaN at step")
    )


SHORT_OF_MEMORY = """
import resource, sys
import torch
torch.set_num_threads(1)
from expertise_graph.training.config import TrainConfig
from expertise_graph.training.trainer import Trainer
from tests.training.material import LATIN, backbone, letters

class Wide(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner
    def forward(self, pixel_values):
        big = pixel_values.repeat(1, 1, 12, 12)
        return self.inner(pixel_values) + big.exp().mean() * 0

expert = backbone()
expert.module = Wide(expert.module)
config = TrainConfig(batch_size=96, augment=False, strategy="full")
trainer = Trainer.for_data(expert, letters(LATIN[:4], 40), config)
trainer.model.training_mode()
rows = trainer.rows["train"][:96]
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 550 * 2**20,) * 2)
loss, outputs = trainer.model.step(rows, fraction=0.5, lr_scale=1.0)
print(trainer.model.parts, len(outputs), loss)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the limit is one of Linux")
def test_batches_are_parted_when_memory_is_short():
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SHORT_OF_MEMORY], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr[-2000:]
    parts, n, loss = found.stdout.split()
    assert int(parts) in (2, 4, 8, 16)
    assert int(n) == 96
    assert 0.5 < float(loss) < 5


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak of the parent is in it")
@pytest.mark.slow
def test_peak_memory_is_that_of_the_process_alone():
    told = "from expertise_graph.training.device import peak_memory; print(peak_memory())"
    parent = (
        "import subprocess, sys\nimport numpy as np\nheld = np.ones(10**8)\n"
        f"print(subprocess.run([sys.executable, '-c', {told!r}], capture_output=True, text=True).stdout)"
    )
    found = subprocess.run([sys.executable, "-c", parent], capture_output=True, text=True, check=True)
    assert 100e6 < int(found.stdout) < 750e6


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    trainer = Trainer.for_data(backbone(), drawn(CYRILLIC[:3], 8), TrainConfig())
    with pytest.raises(RuntimeError, match="shapes"):
        trainer.model._within_memory(lambda: torch.ones(2, 3) @ torch.ones(2, 3), 8)
    assert trainer.model.parts == 1
