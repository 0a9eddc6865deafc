"""Experts from outside in a process of their own: the same results, and whatever they do is one line."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from expertise_graph import Query, Workspace
from expertise_graph.core.errors import (
    FailedError,
    NotFoundError,
    SourceError,
    TemporaryError,
    UntrustedError,
)
from expertise_graph.core.progress import silent
from expertise_graph.data.dataset import Inputs
from expertise_graph.features import watch, worker
from expertise_graph.features.executors import Here
from expertise_graph.features.isolation import Isolation, _raised
from expertise_graph.features.probing import Prober
from expertise_graph.models.base import InputSpec, SourceOptions
from expertise_graph.models.loading import fetch, resolve
from tests import materials
from tests.program import environment, invoke, program

ISOLATED = {"EXPERTISE_GRAPH_ISOLATE": "1"}
NONE = SourceOptions()

CODE = """
import ctypes, os, re, sys, time
from pathlib import Path

import torch
from torch import nn

HERE = Path(__file__).parent


def fill_pipes():
    for handle in os.listdir("/proc/self/fd"):
        try:
            if int(handle) > 2 and "pipe" in os.readlink(f"/proc/self/fd/{handle}"):
                os.write(int(handle), bytes(100))
        except OSError:
            pass


def hog():
    kept = []
    while True:
        kept.append(torch.ones(5_000_000))


def leave_a_child():
    if os.fork() == 0:
        time.sleep(1000)
    os.abort()


def exhaust():
    raise MemoryError("no room")


MOODS = {
    "abort": os.abort,
    "crash": lambda: ctypes.string_at(0),
    "exit": lambda: os._exit(3),
    "leave": lambda: sys.exit(4),
    "hang": lambda: re.match("(a+)+b", "a" * 60),
    "sleep": lambda: time.sleep(1000),
    "hog": hog,
    "fork": leave_a_child,
    "pipes": fill_pipes,
    "killed": lambda: os.kill(os.getpid(), 9),
    "stopped": lambda: os.kill(os.getpid(), 19),
    "exhaust": exhaust,
    "": lambda: None,
}


class Net(nn.Module):
    def __init__(self, name):
        super().__init__()
        self.name, self.body = name, nn.Sequential(nn.Conv2d(1, 6, 3, stride=2), nn.ReLU())

    def forward(self, x):
        print("garbage", flush=True)
        os.write(1, b"more of it")
        with (HERE / "pids.txt").open("a") as pids:
            pids.write(f"{self.name} {os.getpid()}\\n")
        if (HERE / self.name).is_file():
            MOODS[(HERE / self.name).read_text()]()
        return self.body(x)
"""


def factory(folder, *names):
    """Write a module of networks that do what a file of their name says; return it and their options."""
    module = f"net_{uuid.uuid4().hex[:8]}"
    made = "".join(f"\n\ndef {name}():\n    return Net({name!r})\n" for name in names)
    (folder / f"{module}.py").write_text(CODE + made)
    options = {}
    for seed, name in enumerate(names):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            body = nn.Conv2d(1, 6, 3, stride=2)
        save_file({f"body.0.{n}": t for n, t in body.state_dict().items()}, folder / f"{name}.safetensors")
        options[f"factory:{module}:{name}"] = SourceOptions(
            name=name,
            weights=str(folder / f"{name}.safetensors"),
            input=InputSpec(size=12, channels=1, mean=(0.5,), std=(0.25,)),
            trust_code=True,
        )
    return options


def pids(folder, name):
    lines = (folder / "pids.txt").read_text().splitlines() if (folder / "pids.txt").exists() else []
    return [int(line.split()[1]) for line in lines if line.split()[0] == name]


def is_running(process):
    with contextlib.suppress(OSError):
        status = Path(f"/proc/{process}/status").read_text()
        return "State:\tZ" not in status
    return False


def becomes(condition, seconds=20.0):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.05)
    return False


# What travels between the processes


@pytest.fixture
def pipe():
    there, here = os.pipe()
    with os.fdopen(there, "rb") as reader, os.fdopen(here, "wb") as writer:
        yield reader, writer


def test_a_message_arrives_as_it_was_sent(pipe):
    reader, writer = pipe
    items = ["a text \udc80", b"\x00\xff", Path(os.fsdecode(b"odd\xff/name.png"))]
    kinds = list(worker.in_bytes(items))
    worker.send(writer, {"items": [(k, len(d)) for k, d in kinds], "x": 0.1}, (d for _, d in kinds))
    header = worker.receive(reader)
    assert header["x"] == 0.1
    assert [worker._item(k, worker.exactly(reader, n)) for k, n in header["items"]] == items


@pytest.mark.parametrize(
    "sent",
    [
        (1 << 40).to_bytes(8, "big"),
        (4).to_bytes(8, "big") + b"\xff\xff\xff\xff",
        (2).to_bytes(8, "big") + b"[]",
        (99_999).to_bytes(8, "big") + b"[" * 99_999,
    ],
)
def test_what_is_no_message_is_refused_before_memory_is_taken(pipe, sent):
    reader, writer = pipe
    threading.Thread(target=lambda: (writer.write(sent), writer.flush()), daemon=True).start()
    with pytest.raises((ValueError, RecursionError)):
        worker.receive(reader, 1_000_000)


def test_a_pipe_that_ends_within_a_message_is_an_end(pipe):
    reader, writer = pipe
    writer.write((10).to_bytes(8, "big") + b"{}")
    writer.close()
    with pytest.raises(EOFError):
        worker.receive(reader)


@pytest.mark.parametrize(
    ("told", "kind", "text"),
    [
        ({"error": "FailedError", "message": "a failed: x\nb"}, FailedError, "a failed: x b"),
        ({"error": "UntrustedError", "message": "code"}, UntrustedError, "code"),
        ({"error": "Expert", "message": "no error"}, SourceError, "no error"),
        ({"error": "door", "message": "x" * 9999}, SourceError, str(SourceError("x" * 9999))),
        ({"error": "OSError", "errno": 28, "message": "full", "file": "w"}, OSError, "[Errno 28] full: 'w'"),
    ],
)
def test_errors_of_the_other_process_are_raised_as_the_same_here(told, kind, text):
    error = _raised(told)
    assert type(error) is kind
    assert str(error) == text


# What is measured and chosen


def test_memory_is_that_which_the_machine_cannot_take_back(tmp_path):
    before = watch._taken_by(os.getpid())
    kept = np.ones(10_000_000)
    assert 0.9 * kept.nbytes < watch._taken_by(os.getpid()) - before < 1.2 * kept.nbytes
    (tmp_path / "f").write_bytes(bytes(80_000_000))
    before = watch._taken_by(os.getpid())
    mapped = np.memmap(tmp_path / "f", mode="r", dtype=np.uint8)
    assert int(mapped[::4096].sum()) == 0
    assert watch._taken_by(os.getpid()) - before < 20_000_000


@pytest.mark.skipif(shutil.which("ps") is None, reason="needs ps")
def test_without_proc_another_program_tells_the_memory():
    assert watch._resident(os.getpid()) > 20_000_000
    assert watch._resident(1 << 30) == 0


def test_free_memory_is_less_than_the_machine_has():
    assert 0 < watch.free_memory() < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


class Counting(Here):
    """An executor that notes what it was asked for."""

    def __init__(self):
        self.asked = []

    def features(self, expert, items, **given):
        self.asked.append(expert.name)
        return super().features(expert, items, **given)

    def resolve(self, reference, options):
        self.asked.append(reference)
        return super().resolve(reference, options)


def test_what_was_shipped_is_run_here_and_all_else_outside(blank, tmp_path):
    folder = materials.resnet(tmp_path / "model", 1)
    outside = Counting()
    with Workspace() as opened:
        prober = Prober(arrays=opened.store.features, outside=outside)
        inputs = Inputs(items=materials_items(tmp_path), modality="image", sha256="0" * 64)
        for reference in ("zoo:emoji", f"dir:{folder}"):
            (expert,) = prober.resolve(reference, NONE)
            prober.features(expert, inputs)
            prober.here().features(expert, dataclasses.replace(inputs, sha256="1" * 64))
        with pytest.raises(NotFoundError, match="no source called"):
            prober.resolve("nothing:x", NONE)
    assert outside.asked == [f"dir:{folder}", "model"]


def materials_items(folder):
    root = materials.pictures(folder / "pictures", 2, 3)
    return sorted(root.rglob("*.png"))


def test_what_is_fetched_has_a_size_and_an_adapter_may_need_more(tmp_path):
    folder = materials.resnet(tmp_path / "model", 1)
    size = sum(f.stat().st_size for f in folder.iterdir())
    assert fetch(f"dir:{folder}", NONE) == size
    (folder / "config.json").rename(folder / "adapter_config.json")
    assert fetch(f"dir:{folder}", NONE) is None
    with pytest.raises(NotFoundError, match="no folder at"):
        fetch(f"dir:{tmp_path / 'missing'}", NONE)


def test_the_command_line_sets_the_limits_and_a_file_does_not(blank, tmp_path):
    with Workspace(isolate=True, memory_limit=2e9, time_limit=9) as opened:
        limits = opened._prober(False).outside
        assert (limits._memory, limits._seconds) == (2e9, 9)
    with Workspace() as opened:  # the tests' variable
        assert opened._prober(False).outside is None
    invoke("query", "x", "--memory-limit", 0).failed("above zero", code=2)
    (tmp_path / "options.yaml").write_text("isolate: false\n")
    invoke("warm-start", "x", "--out", "y", "--config", tmp_path / "options.yaml").failed("no option of")


# With the process itself


@pytest.fixture(scope="module")
def isolated():
    executor = Isolation(memory=2e9, seconds=30)
    yield executor
    executor.close()


@pytest.mark.slow
@pytest.mark.parametrize("form", [str, Path.read_bytes])
def test_features_of_images_are_the_same_to_the_bit(isolated, tmp_path, form):
    folder = materials.resnet(tmp_path / "model", 1)
    items = [form(path) if form is Path.read_bytes else path for path in materials_items(tmp_path)] * 20
    same(isolated, f"dir:{folder}", NONE, items)


@pytest.mark.slow
def test_features_of_texts_are_the_same_to_the_bit(isolated, tmp_path):
    folder = materials.bert(tmp_path / "model", 1)
    texts = [text for text, _ in materials.gloss_rows(60)] + ["\U0001f600 \u0416", "long " * 300]
    same(isolated, f"dir:{folder}", SourceOptions(max_tokens=48, tags=("a", "b"), license="mit"), texts)


def same(isolated, reference, options, items):
    expert = resolve(reference, options)
    (described,) = isolated.resolve(reference, options)
    assert json.dumps(dataclasses.asdict(described)) == json.dumps(dataclasses.asdict(expert))
    seen = []
    given = {"trust_code": options.trust_code, "new": True}
    here = Here().features(expert, items, **given, progress=silent)
    there = isolated.features(
        described, items, **given, progress=lambda label, done, total: seen.append((label, done, total))
    )
    assert there.features.dtype == here.features.dtype
    assert there.features.tobytes() == here.features.tobytes()
    assert there.features.flags.writeable
    assert there.note == here.note
    assert seen[-1] == (expert.name, len(items), len(items))
    assert isolated.latency(described, items[0], trust_code=options.trust_code, repeats=5) > 0


@pytest.mark.slow
def test_a_network_of_the_user_is_the_same_and_what_it_prints_is_no_result(
    isolated, tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)
    ((reference, options),) = factory(tmp_path, "net").items()
    items = materials_items(tmp_path)
    same(isolated, reference, options, items)
    capfd.readouterr()
    (expert,) = isolated.resolve(reference, options)
    assert isolated.latency(expert, items[0], trust_code=True, repeats=5) > 0
    assert capfd.readouterr().out == ""
    assert os.getpid() not in pids(tmp_path, "net")[-5:]
    with pytest.raises(UntrustedError, match="code that would be run"):
        isolated.resolve(reference, dataclasses.replace(options, trust_code=False))
    with pytest.raises(UntrustedError, match="code that would be run"):
        isolated.latency(expert, items[0], trust_code=False, repeats=5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mood", "kind", "text"),
    [
        ("abort", FailedError, "net failed: its process ended with signal 6 (SIGABRT)"),
        ("crash", FailedError, "net failed: its process ended with signal 11 (SIGSEGV)"),
        ("exit", FailedError, "net failed: its process ended with code 3"),
        ("leave", FailedError, "net failed: SystemExit: 4"),
        ("hang", FailedError, "net failed: took longer than 6 s; `time_limit` sets another limit"),
        ("sleep", FailedError, "net failed: took longer than 6 s; `time_limit` sets another limit"),
        ("stopped", FailedError, "net failed: took longer than 6 s; `time_limit` sets another limit"),
        ("fork", FailedError, "net failed: its process ended with signal 6 (SIGABRT)"),
        ("pipes", FailedError, "net failed: its process did not answer as it should"),
        ("killed", TemporaryError, "net failed: its process was killed, as systems short of memory do"),
        ("exhaust", TemporaryError, "net failed: MemoryError: no room"),
    ],
)
def test_whatever_an_expert_does_is_one_line_and_the_next_one_is_run(tmp_path, monkeypatch, mood, kind, text):
    monkeypatch.chdir(tmp_path)
    with contextlib.closing(Isolation(memory=4e9, seconds=6)) as isolated:
        ((reference, options), *_) = factory(tmp_path, "net").items()
        expert, items = resolve(reference, options), materials_items(tmp_path)
        given = {"trust_code": True, "new": False, "progress": silent}
        (tmp_path / "net").write_text(mood)
        with pytest.raises(SourceError) as caught:
            isolated.features(expert, items, **given)
        assert type(caught.value) is kind
        assert str(caught.value).startswith(text)
        assert len(str(caught.value).splitlines()) == 1
        (tmp_path / "net").unlink()
        process = pids(tmp_path, "net")[-1]
        assert isolated.features(expert, items, **given).features.shape == (6, 6)
        assert (pids(tmp_path, "net")[-1] == process) == (mood in ("leave", "exhaust"))


@pytest.mark.slow
def test_more_memory_than_the_limit_ends_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ((reference, options),) = factory(tmp_path, "net").items()
    expert = resolve(reference, options)
    (tmp_path / "net").write_text("hog")
    with contextlib.closing(Isolation(memory=9e8, seconds=300)) as isolated:
        with pytest.raises(SourceError, match=r"net failed: needed more than 900\.0 MB of memory; `memory_l"):
            isolated.latency(expert, materials_items(tmp_path)[0], trust_code=True, repeats=5)
        assert not is_running(pids(tmp_path, "net")[-1])


@pytest.mark.slow
def test_a_process_that_was_killed_meanwhile_is_started_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ((reference, options),) = factory(tmp_path, "net").items()
    with contextlib.closing(Isolation()) as isolated:
        (expert,) = isolated.resolve(reference, options)
        os.kill(isolated._worker.process.pid, signal.SIGKILL)
        isolated._worker.process.wait()
        (again,) = isolated.resolve(reference, options)
        assert again == expert


@pytest.mark.slow
def test_a_query_goes_on_names_it_and_does_not_run_it_again(blank, tmp_path):
    letters = materials.pictures(tmp_path / "letters", 3, 8)
    known = factory(blank, "a", "b", "c")
    first, *_ = known
    with Workspace(isolate=True, time_limit=10) as opened:
        registered = opened.register_many(known.items())
        assert [expert.name for _, expert in registered] == ["a", "b", "c"]
        (blank / "a").write_text("abort")
        (blank / "b").write_text("hang")
        ranking = opened.query(letters, trust_code=True)
        assert [c.expert.name for c in ranking.candidates] == ["c"]
        reasons = sorted(ranking.failed.values())
        assert reasons[0] == "a failed: its process ended with signal 6 (SIGABRT)"
        assert reasons[1].startswith("b failed: took longer than 10 s")
        for name in ("a", "b"):
            (blank / name).unlink()
        (blank / "pids.txt").unlink()
        again = opened.query(letters, Query(sample=20), trust_code=True)
        assert [c.expert.name for c in again.candidates] == ["c"]
        assert pids(blank, "a") == pids(blank, "b") == []
        opened.register(first, options=known[first])
        assert {c.expert.name for c in opened.query(letters, trust_code=True).candidates} == {"a", "c"}


@contextlib.contextmanager
def hanging(blank, mood):
    """Start a command whose expert does not come to an end; return it and the process of the expert."""
    ((reference, options),) = factory(blank, "net").items()
    (blank / "net").write_text(mood)
    given = ("--weights", options.weights, "--input-size", 12, "--channels", 1, "--trust-code", "--json")
    with subprocess.Popen(
        program("--workspace", blank, "register", reference, *given),
        cwd=blank,
        env=environment(blank / "home", ISOLATED),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as command:
        assert becomes(lambda: pids(blank, "net"), 120)
        (process,) = pids(blank, "net")
        assert process != command.pid
        assert is_running(process)
        yield command, process


@pytest.mark.slow
@pytest.mark.parametrize("mood", ["hang", "sleep"])
def test_ctrl_c_ends_both_at_once(blank, mood):
    with hanging(blank, mood) as (command, process):
        command.send_signal(signal.SIGINT)
        assert command.wait(timeout=10) == 130
        assert "interrupted; 0 of 1 source registered: re-run" in command.stderr.read()
        assert not is_running(process)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_command_leaves_no_process(blank, number):
    with hanging(blank, "sleep") as (command, process):
        command.send_signal(number)
        command.wait(timeout=10)
        assert becomes(lambda: not is_running(process))


@pytest.mark.slow
def test_the_output_of_a_command_holds_its_results_only(blank):
    ((reference, options),) = factory(blank, "net").items()
    given = ("--weights", options.weights, "--input-size", 12, "--channels", 1, "--trust-code", "--json")
    done = subprocess.run(
        program("--workspace", blank, "register", reference, *given),
        cwd=blank,
        env=environment(blank / "home", ISOLATED),
        capture_output=True,
        check=True,
    )
    (row,) = json.loads(done.stdout)
    assert row["error"] is None
    assert b"garbage" in done.stderr


@pytest.mark.slow
def test_files_of_the_current_folder_are_no_modules(blank, tmp_path):
    """A process started with -m would import them in place of those of Python."""
    (blank / "json.py").write_text("from pathlib import Path\nPath('was_run').touch()\n")
    folder = materials.resnet(tmp_path / "model", 1)
    with Workspace(isolate=True) as opened:
        assert opened.register(f"dir:{folder}").name == "model"
    assert not (blank / "was_run").exists()
    assert "expertise_graph" in sys.modules
