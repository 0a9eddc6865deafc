"""Commands on file systems of their own, in a namespace of their own: read-only, or small and full."""

from __future__ import annotations

import shlex
import subprocess
from functools import cache
from pathlib import Path

from tests.program import Done, environment


@cache
def possible() -> bool:
    """Tell whether mounts can be made here; containers often do not allow it."""
    try:
        return _shell("mount -t tmpfs tmpfs /mnt", Path("/")).returncode == 0
    except FileNotFoundError:
        return False


def read_only(folder: Path, command: list[str], *, cwd: Path) -> Done:
    """Run a command while `folder` is on a read-only file system."""
    where = shlex.quote(str(folder))
    mount = f"mount --bind {where} {where} && mount -o remount,ro,bind {where}"
    return _run(f"{mount} && {shlex.join(command)}", cwd)


def full(folder: Path, command: list[str], *, cwd: Path, room: int = 0) -> Done:
    """Run a command on a copy of `folder` on a disk of its own that has `room` bytes left.

    What the copy is like afterwards comes back into `folder`.
    """
    where = shlex.quote(str(folder))
    steps = (
        f"mkdir -p {where}.disk && mount -t tmpfs -o size=16m tmpfs {where}.disk",
        f"cp -r {where}/. {where}.disk",
        f"head -c {room} /dev/zero > {where}.disk/room",
        f"(cat /dev/zero > {where}.disk/rest 2>/dev/null || true)",
        f"rm {where}.disk/room",
        f"mount --bind {where}.disk {where}",
        f"{{ {shlex.join(command)}; code=$?; }}",
        f"umount {where}",
        f"rm {where}.disk/rest",
        f"rm -rf {where}/* && cp -r {where}.disk/. {where}",
        "exit $code",
    )
    return _run("; ".join(steps), cwd)


def _run(script: str, cwd: Path) -> Done:
    done = _shell(script, cwd)
    return Done(done.returncode, done.stdout, done.stderr)


def _shell(script: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["unshare", "-rm", "sh", "-c", script],
        cwd=cwd,
        env=environment(cwd / "home") if cwd != Path("/") else None,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
