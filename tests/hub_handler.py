"""The HTTP side of `tests.hub_server`: routes, access, error marks, bodies."""

from __future__ import annotations

import json
import re
import socketserver
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, parse_qs, unquote, urlencode, urlsplit

from tests.hub_answers import (
    Query,
    byte_range,
    describe,
    expanded,
    matches,
    posted_paths,
    refs,
    tree,
    tree_entry,
)
from tests.hub_repos import Blob, Repository, Revision, find_repository, list_repositories

if TYPE_CHECKING:
    from tests.hub_server import HubServer

API = re.compile(
    r"/api/(?P<kind>models|datasets)"
    r"(?:/(?P<org>[^/]+)/(?P<name>[^/]+)(?:/(?P<verb>revision|tree|refs|paths-info)(?:/(?P<rev>[^/]+)(?:/(?P<path>.+))?)?)?)?"
)
FILE = re.compile(
    r"/(?:(?P<kind>datasets)/)?(?P<org>[^/]+)/(?P<name>[^/]+)/resolve/(?P<rev>[^/]+)/(?P<path>.+)"
)
STORAGE = re.compile(r"/storage/(?P<sha>[0-9a-f]{64})")


@dataclass(frozen=True)
class Request:
    """One line of the log. `host` is the host that the client addressed."""

    method: str
    path: str
    host: str
    authorized: bool
    range: str | None


class Refused(Exception):
    """An answer other than success."""

    def __init__(self, status: int, message: str, code: str = "", **headers: str) -> None:
        super().__init__(message)
        self.status = status
        line = " ".join(message.encode("ascii", "backslashreplace").decode().split())
        marks = {"X-Error-Code": code, "X-Error-Message": line}
        self.headers = {k: v for k, v in {**marks, **headers}.items() if v}


class HubHTTPServer(ThreadingHTTPServer):
    """The listening socket; a client that hangs up is nothing to report."""

    hub: HubServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            socketserver.BaseServer.handle_error(self, request, client_address)


class HubHandler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    server: HubHTTPServer

    def log_message(self, format: str, *args: object) -> None:
        """Write nothing: the log of the server object is the record."""

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub, headers = self.server.hub, self.headers
        host = headers.get("Host", "")
        authorized = "Authorization" in headers
        hub.log.append(Request(self.command, self.path, host, authorized, headers.get("Range")))
        posted = self.rfile.read(int(headers.get("Content-Length", 0)))
        try:
            if fault := hub.fault(self.path, body=False):
                raise Refused(fault.status, "told to fail")
            self._route(urlsplit(self.path), posted)
        except Refused as refused:
            self._send_json({"error": str(refused)}, status=refused.status, headers=refused.headers)

    def _route(self, url: SplitResult, posted: bytes) -> None:
        query = parse_qs(url.query)
        if matched := API.fullmatch(url.path):
            self._api(_parts(matched), query, posted)
        elif matched := FILE.fullmatch(url.path):
            self._resolve(_parts(matched))
        elif matched := STORAGE.fullmatch(url.path):
            self._stored(matched["sha"])
        else:
            raise Refused(404, "Not Found")

    def _api(self, asked: dict[str, str], query: Query, posted: bytes) -> None:
        if "name" not in asked:
            return self._list(asked["kind"], query)
        repository = self._repository(asked)
        revision = _revision(repository, asked.get("rev", "main"))
        match asked.get("verb", "revision"):
            case "revision":
                info = describe(repository, revision, blobs="blobs" in query)
                self._send_json(expanded(info, query))
            case "tree":
                deep = query.get("recursive", [""])[0].lower() == "true"
                self._send_json(tree(revision, asked.get("path", ""), recursive=deep))
            case "refs":
                self._send_json(refs(repository))
            case _:
                wanted = posted_paths(posted, self.headers.get("Content-Type", ""))
                self._send_json([tree_entry(b) for p, b in revision.blobs.items() if p in wanted])

    def _list(self, kind: str, query: Query) -> None:
        shown = [r for r in list_repositories(self.server.hub.root, kind) if self._may_see(r)]
        infos = [describe(r, r.revisions()["main"]) for r in shown]
        infos = [i for i in infos if matches(i, query)]
        start, limit = (
            int(query.get(key, [default])[0]) for key, default in (("cursor", "0"), ("limit", "1000"))
        )
        rest = urlencode({**query, "limit": limit, "cursor": start + limit}, doseq=True)
        link = f'<{self.server.hub.url}/api/{kind}?{rest}>; rel="next"'
        self._send_json(
            infos[start : start + limit], headers={"Link": link} if infos[start + limit :] else {}
        )

    def _token(self) -> str | None:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        return token if scheme == "Bearer" else None

    def _may_see(self, repository: Repository) -> bool:
        tokens = repository.tokens(".private")
        return tokens is None or self._token() in tokens

    def _repository(self, asked: Mapping[str, str]) -> Repository:
        name = f"{asked['org']}/{asked['name']}"
        repository = find_repository(self.server.hub.root, asked.get("kind", "models"), name)
        if repository is not None and self._may_see(repository):
            return repository
        # The client takes a 401 without this code for a missing repository on https only.
        if self._token() is None:
            raise Refused(401, "Invalid username or password.", "RepoNotFound")
        raise Refused(404, "Repository not found", "RepoNotFound")

    def _resolve(self, asked: Mapping[str, str]) -> None:
        repository = self._repository(asked)
        revision = _revision(repository, asked["rev"])
        at = {"X-Repo-Commit": revision.commit}
        granted = repository.tokens(".gated")
        if granted is not None and self._token() not in granted:
            status = 401 if self._token() is None else 403
            raise Refused(
                status, f"Access to {repository.kind}/{repository.id} is restricted.", "GatedRepo", **at
            )
        if asked["path"] not in revision.blobs:
            raise Refused(404, "Entry not found", "EntryNotFound", **at)
        blob = revision.blobs[asked["path"]]
        if blob.lfs:
            at |= {"X-Linked-Etag": f'"{blob.etag}"', "X-Linked-Size": str(blob.size)}
        if blob.lfs and self.server.hub.redirect_storage:
            storage = f"http://localhost:{self.server.hub.port}/storage/{blob.sha256}"
            return self._send(b"", status=302, headers={**at, "Location": storage})
        self._send_blob(blob, at)

    def _stored(self, sha: str) -> None:
        root = self.server.hub.root
        repositories = (r for kind in ("models", "datasets") for r in list_repositories(root, kind))
        blobs = (b for r in repositories for v in r.revisions().values() for b in v.blobs.values())
        found = next((b for b in blobs if b.sha256 == sha), None)
        if found is None:
            raise Refused(404, "no such object")
        self._send_blob(found, {})

    def _send_blob(self, blob: Blob, headers: Mapping[str, str]) -> None:
        content = blob.file.read_bytes()
        status, part, ranged = byte_range(content, self.headers.get("Range"))
        fixed = {
            "ETag": f'"{blob.etag}"',
            "Accept-Ranges": "bytes",
            "Content-Type": "application/octet-stream",
        }
        self._send(part, status=status, headers={**headers, **fixed, **ranged})

    def _send_json(
        self, value: object, *, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        typed = {"Content-Type": "application/json; charset=utf-8", **(headers or {})}
        self._send(json.dumps(value, allow_nan=False).encode(), status=status, headers=typed)

    def _send(self, body: bytes, *, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault := self.server.hub.fault(self.path, body=True):
            body, self.close_connection = body[: fault.after], True
        self.wfile.write(body)


def _parts(matched: re.Match[str]) -> dict[str, str]:
    return {key: unquote(value) for key, value in matched.groupdict().items() if value is not None}


def _revision(repository: Repository, name: str) -> Revision:
    found = repository.find(name)
    if found is None:
        raise Refused(404, f"Invalid rev id: {name}", "RevisionNotFound")
    return found
