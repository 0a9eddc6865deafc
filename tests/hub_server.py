"""A model hub on 127.0.0.1 for tests, spoken to by the real client through HF_ENDPOINT.

It serves the folders described in `tests.hub_repos`, keeps a log of requests, and can move
``main``, cut downloads and answer with errors::

    with HubServer(root) as hub:
        environment = hub.environment(tmp_path / "home")

or, by hand, ``python -m tests.hub_server --port 0 --root DIR``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.hub_handler import HubHandler, HubHTTPServer, Request
from tests.hub_repos import find_repository


@dataclass
class Fault:
    """Something that goes wrong `times` times on paths that contain `part`."""

    part: str
    times: int
    status: int = 0
    after: int = 0


@dataclass
class HubServer:
    """The server; as a context manager it listens in a thread until the block ends.

    Tokens in `writers` may make repositories and commit, those in `readers` are known and may not.
    With `redirect_storage` large files are answered by a redirect to another host name, as the
    public hub does.
    """

    root: Path
    port: int = 0
    redirect_storage: bool = False
    writers: set[str] = field(default_factory=set)
    readers: set[str] = field(default_factory=set)
    log: list[Request] = field(default_factory=list)
    _faults: list[Fault] = field(default_factory=list)
    writing: threading.Lock = field(default_factory=threading.Lock)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> HubServer:
        self._server = HubHTTPServer(("127.0.0.1", self.port), HubHandler)
        self._server.hub = self
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment(self, home: Path, **more: str) -> dict[str, str]:
        """Variables that point a client process at this server, with an empty cache in `home`."""
        fixed = {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
        quiet = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        return {**fixed, **quiet, **more}

    def commit(self, repository: str, revision: str = "main") -> str:
        """The commit that `revision` of ``models/<org>/<name>`` is at."""
        kind, _, name = repository.partition("/")
        found = find_repository(self.root, kind, name)
        pinned = found.find(revision) if found else None
        if pinned is None:
            raise KeyError(f"{repository}@{revision}")
        return pinned.commit

    @property
    def uploads(self) -> Path:
        """Where large files are, by their hash, before and after they are committed."""
        return self.root / ".uploads"

    def move_main(self, repository: str, files: Mapping[str, bytes], delete: Iterable[str] = ()) -> str:
        """Add `files` to ``main`` and return its new commit; the old one stays reachable."""
        folder = self.root / repository
        old = folder / f"@{self.commit(repository)}"
        shutil.copytree(folder, old, ignore=shutil.ignore_patterns("@*"), dirs_exist_ok=True)
        for path in delete:
            (folder / path).unlink()
        for path, content in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        return self.commit(repository)

    def cut(self, part: str, *, after: int, times: int = 1) -> None:
        """Close the connection `after` (at least one) bytes into the body, for paths that contain `part`."""
        self._faults.append(Fault(part, times, after=after))

    def fail(self, part: str = "", *, status: int = 500, times: int = 1_000_000) -> None:
        """Answer `status` to paths that contain `part`."""
        self._faults.append(Fault(part, times, status=status))

    def heal(self) -> None:
        """Forget all faults."""
        self._faults.clear()

    def fault(self, path: str, *, body: bool) -> Fault | None:
        """Take the next fault for `path` off its count: a cut of a body, or an error before it."""
        with self._lock:
            for fault in self._faults:
                if fault.part in path and fault.times > 0 and bool(fault.after) == body:
                    fault.times -= 1
                    return fault
        return None


def main() -> None:
    """Serve a folder until interrupted; the URL is printed first, then one JSON line a request."""
    parser = argparse.ArgumentParser(description="Serve folders as a model hub on 127.0.0.1.")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--redirect-storage", action="store_true")
    options = parser.parse_args()
    with HubServer(options.root, options.port, options.redirect_storage) as hub:
        sys.stdout.write(f"{hub.url}\n")
        shown = 0
        try:
            while True:
                lines = [json.dumps(asdict(request)) + "\n" for request in hub.log[shown:]]
                shown += len(lines)
                sys.stdout.write("".join(lines))
                sys.stdout.flush()
                time.sleep(0.1)
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
