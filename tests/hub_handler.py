"""The HTTP side of `tests.hub_server`: routes, access, error marks, bodies."""

from __future__ import annotations

import hashlib
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
    changes,
    describe,
    expanded,
    matches,
    posted_paths,
    refs,
    tree,
    tree_entry,
    upload_modes,
)
from tests.hub_repos import Blob, Repository, Revision, find_repository, list_repositories

if TYPE_CHECKING:
    from tests.hub_server import HubServer

API = re.compile(
    r"/api/(?P<kind>models|datasets)"
    r"(?:/(?P<org>[^/]+)/(?P<name>[^/]+)(?:/(?P<verb>revision|tree|refs|paths-info|preupload|commit)(?:/(?P<rev>[^/]+)(?:/(?P<path>.+))?)?)?)?"
)
FILE = re.compile(
    r"/(?:(?P<kind>datasets)/)?(?P<org>[^/]+)/(?P<name>[^/]+)/resolve/(?P<rev>[^/]+)/(?P<path>.+)"
)
LFS = re.compile(r"/(?:(?P<kind>datasets)/)?(?P<org>[^/]+)/(?P<name>[^/]+)\.git/info/lfs/objects/batch")
UPLOAD = re.compile(r"/upload/(?P<sha>[0-9a-f]{64})")
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

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub, headers = self.server.hub, self.headers
        host = headers.get("Host", "")
        authorized = "Authorization" in headers
        hub.log.append(Request(self.command, self.path, host, authorized, headers.get("Range")))
        posted = self._body()
        try:
            if fault := hub.fault(self.path, body=False):
                raise Refused(fault.status, "told to fail")
            self._route(urlsplit(self.path), posted)
        except Refused as refused:
            self._send_json({"error": str(refused)}, status=refused.status, headers=refused.headers)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _route(self, url: SplitResult, posted: bytes) -> None:
        query = parse_qs(url.query)
        if url.path == "/api/repos/create":
            self._create(json.loads(posted))
        elif url.path == "/api/validate-yaml":
            self._send_json({"errors": [], "warnings": []})
        elif matched := LFS.fullmatch(url.path):
            self._batch(_parts(matched), json.loads(posted))
        elif matched := UPLOAD.fullmatch(url.path):
            self._upload(matched["sha"], posted)
        elif matched := API.fullmatch(url.path):
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
            case "preupload":
                self._check_writer()
                self._send_json({"files": upload_modes(revision, json.loads(posted)["files"])})
            case "commit":
                self._check_writer()
                self._commit(repository, revision, [json.loads(line) for line in posted.splitlines()])
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

    def _check_writer(self) -> None:
        hub, token = self.server.hub, self._token()
        if token is None or token not in {*hub.writers, *hub.readers}:
            raise Refused(401, "Invalid username or password.")
        if token not in hub.writers:
            raise Refused(403, "You do not have the rights to write here.")

    def _create(self, asked: Mapping[str, Any]) -> None:
        self._check_writer()
        hub, kind = self.server.hub, f"{asked['type']}s"
        name = f"{asked['organization']}/{asked['name']}"
        with hub.writing:
            if find_repository(hub.root, kind, name) is not None:
                raise Refused(409, "You already created this repository")
            folder = hub.root / kind / name
            folder.mkdir(parents=True)
            (folder / ".gitattributes").write_text("*.parquet filter=lfs diff=lfs merge=lfs -text\n")
            if asked.get("visibility") == "private":
                (folder / ".private").write_text("\n".join([*hub.writers, *hub.readers]))
        self._send_json({"url": f"{hub.url}/{'datasets/' if kind == 'datasets' else ''}{name}"})

    def _batch(self, asked: Mapping[str, str], wanted: Mapping[str, Any]) -> None:
        self._check_writer()
        self._repository(asked)
        hub = self.server.hub
        objects = []
        for one in wanted["objects"]:
            href = {"href": f"{hub.url}/upload/{one['oid']}", "header": {}}
            there = (hub.uploads / one["oid"]).is_file()
            objects.append({**one, **({} if there else {"actions": {"upload": href}})})
        self._send_json({"transfer": "basic", "objects": objects})

    def _upload(self, sha: str, content: bytes) -> None:
        if hashlib.sha256(content).hexdigest() != sha:
            raise Refused(400, "the content has another hash")
        self.server.hub.uploads.mkdir(exist_ok=True)
        (self.server.hub.uploads / sha).write_bytes(content)
        self._send(b"", status=200, headers={})

    def _commit(self, repository: Repository, revision: Revision, lines: list[Any]) -> None:
        hub = self.server.hub
        with hub.writing:
            repository = find_repository(hub.root, repository.kind, repository.id) or repository
            head = repository.revisions()["main"].commit
            (header,) = [line["value"] for line in lines if line["key"] == "header"]
            if header.get("parentCommit") not in (None, head):
                raise Refused(412, "A commit has happened since. Please refresh and try again.")
            commit = hub.move_main(f"{repository.kind}/{repository.id}", *changes(lines, hub.uploads))
        self._send_json({"commitUrl": f"{hub.url}/{repository.id}/commit/{commit}", "commitOid": commit})

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
