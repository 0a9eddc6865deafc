from __future__ import annotations

import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from expertise_graph.workspace import Workspace
from tests import materials
from tests.once import once

IMAGE_EXPERTS = ("clipart", "emoji", "latin-letters", "hebrew-letters")
TEXT_EXPERTS = ("emoji-names", "languages")


def pytest_configure(config):
    """Point everything that reads or writes a user's files elsewhere, before it is imported."""
    home = tempfile.mkdtemp(prefix="expertise-graph-tests-")
    config.add_cleanup(lambda: shutil.rmtree(home, ignore_errors=True))
    for name in [n for n in os.environ if n.startswith(("HF_", "EXPERTISE_GRAPH_"))]:
        del os.environ[name]
    # A drawn case may fail a change that it has nothing to do with; a long run (FUZZ_CASES) draws new ones.
    settings.register_profile("repeatable", derandomize="FUZZ_CASES" not in os.environ, deadline=None)
    settings.load_profile("repeatable")
    # A shell starts what runs in its background with Ctrl-C ignored, and so are the processes of that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Workers of pytest-xdist are told the width of no terminal; tables have one of their own then.
    os.environ.pop("COLUMNS", None)
    os.environ["HF_HOME"] = f"{home}/hf"
    os.environ["EXPERTISE_GRAPH_CACHE"] = f"{home}/cache"
    # To start a process takes seconds; tests that are about it ask for it.
    os.environ["EXPERTISE_GRAPH_ISOLATE"] = "0"
    # Nothing listens there: a test in this process that asks the Hub is offline.
    os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"
    # Rankings of tests are about the experts that they register; those of known models ask for them.
    os.environ["EXPERTISE_GRAPH_CATALOGUE"] = "none"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    # To start a thread for each tensor takes longer than to read the few small ones of the tests.
    os.environ["HF_DEACTIVATE_ASYNC_LOAD"] = "1"


@pytest.fixture(autouse=True, scope="session")
def _one_torch_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def registered(tmp_path_factory) -> Path:
    """A workspace with six shipped experts; not to be written to."""

    def make(folder: Path) -> None:
        with Workspace.init(folder) as made:
            for name in (*IMAGE_EXPERTS, *TEXT_EXPERTS):
                made.register(f"zoo:{name}")

    return once(tmp_path_factory, "registered", make)


@pytest.fixture
def workspace(registered, tmp_path, monkeypatch) -> Path:
    """A copy of that workspace, which is the current folder."""
    folder = tmp_path / "workspace"
    shutil.copytree(registered, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def _initialised(tmp_path_factory) -> Path:
    """A workspace without experts whose image probe set is small; not to be written to."""

    def make(folder: Path) -> None:
        data = materials.pictures(tmp_path_factory.mktemp("probes") / "letters", 12, 5)
        with Workspace.init(folder) as made:
            made.create_probe_set(data, name="small", n=48, seed=0, license="CC0-1.0")

    return once(tmp_path_factory, "initialised", make)


@pytest.fixture
def blank(_initialised, tmp_path, monkeypatch) -> Path:
    """A copy of a workspace without experts, which is the current folder."""
    folder = tmp_path / "blank"
    shutil.copytree(_initialised, folder)
    monkeypatch.chdir(folder)
    return folder
