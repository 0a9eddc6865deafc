"""Fetch packages by name with the ordinary clients (apt-get, npm, pip) and unpack them into a cache."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

ENVIRONMENT = "EXPERTISE_GRAPH_BUILD_CACHE"


def parser(description: str, names: Sequence[str]) -> argparse.ArgumentParser:
    """Return the command line that the build scripts share."""
    arguments = argparse.ArgumentParser(description=description)
    default = os.environ.get(ENVIRONMENT, "~/.cache/expertise_graph/build")
    arguments.add_argument("--cache", type=lambda p: Path(p).expanduser(), default=Path(default).expanduser())
    arguments.add_argument("--only", action="append", choices=names, help="build this one only (repeatable)")
    return arguments


def deb(name: str, cache: Path) -> Path:
    """Return the unpacked files of the Debian package `name`, in the version apt knows."""
    return _unpacked(cache / "deb" / name, lambda to: _fetch_deb(name, to))


def npm(package: str, cache: Path) -> Path:
    """Return the unpacked files of the npm `package`, written ``name@version``."""
    return _unpacked(cache / "npm" / package.replace("/", "+"), lambda to: _fetch_npm(package, to))


def wheel(requirement: str, cache: Path, *, python: str = "311") -> Path:
    """Return the unpacked files of a wheel, written ``name==version``; nothing is installed."""
    return _unpacked(cache / "pip" / requirement, lambda to: _fetch_wheel(requirement, to, python))


def _unpacked(folder: Path, fetch: Callable[[Path], None]) -> Path:
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=folder.parent))
        partial.chmod(0o755)
        fetch(partial)
        shutil.rmtree(partial / "download")
        # The rename comes last, so a folder that exists is complete.
        partial.rename(folder)
    return folder


def _fetch_deb(name: str, to: Path) -> None:
    _run(["apt-get", "download", name], to)
    _run(["dpkg-deb", "-x", str(_downloaded(to, "*.deb")), str(to)], to)


def _fetch_npm(package: str, to: Path) -> None:
    _run(["npm", "pack", "--silent", package], to)
    with tarfile.open(_downloaded(to, "*.tgz")) as archive:
        archive.extractall(to, filter="data")


def _fetch_wheel(requirement: str, to: Path, python: str) -> None:
    platforms = ["--platform=manylinux2014_x86_64", "--platform=manylinux_2_17_x86_64", "--platform=any"]
    options = ["--no-deps", "--only-binary=:all:", f"--python-version={python}", *platforms]
    _run([sys.executable, "-m", "pip", "download", "--quiet", *options, requirement], to)
    with zipfile.ZipFile(_downloaded(to, "*.whl")) as archive:
        archive.extractall(to)


def _run(command: list[str], to: Path) -> None:
    (to / "download").mkdir(exist_ok=True)
    subprocess.run(command, cwd=to / "download", check=True, stdout=subprocess.DEVNULL)


def _downloaded(to: Path, pattern: str) -> Path:
    return next((to / "download").glob(pattern))
