"""What a model hub answers about a repository: metadata, listings, byte ranges."""

from __future__ import annotations

import base64
import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import yaml

from tests.hub_repos import LFS_SUFFIXES, Blob, Repository, Revision


def describe(repository: Repository, revision: Revision, *, blobs: bool = False) -> dict[str, Any]:
    """What ``/api/models/{id}`` answers."""
    card = card_data(revision.text("README.md"))
    extra = repository.folder / ".hub.json"
    return {
        "_id": revision.commit[:24],
        "id": repository.id,
        "author": repository.id.split("/")[0],
        "sha": revision.commit,
        "createdAt": "2026-01-02T03:04:05.000Z",
        "lastModified": "2026-02-03T04:05:06.000Z",
        "private": repository.tokens(".private") is not None,
        "gated": "manual" if repository.tokens(".gated") is not None else False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": card_tags(card),
        "cardData": card,
        "siblings": [_sibling(blob, full=blobs) for blob in revision.blobs.values()],
        "usedStorage": sum(blob.size for blob in revision.blobs.values()),
        **(_model_fields(repository, revision, card) if repository.kind == "models" else {}),
        **(json.loads(extra.read_text(encoding="utf-8")) if extra.is_file() else {}),
    }


def _model_fields(repository: Repository, revision: Revision, card: dict[str, Any]) -> dict[str, Any]:
    config = json.loads(revision.text("config.json") or "{}")
    fields = {
        "modelId": repository.id,
        "pipeline_tag": card.get("pipeline_tag"),
        "library_name": card.get("library_name"),
        "model-index": card.get("model-index"),
        "config": {k: config[k] for k in ("architectures", "model_type") if k in config} or None,
        "safetensors": parameter_counts(revision),
    }
    return {key: value for key, value in fields.items() if value is not None}


def _sibling(blob: Blob, *, full: bool) -> dict[str, Any]:
    if not full:
        return {"rfilename": blob.path}
    lfs = {"lfs": {"sha256": blob.sha256, **blob.pointer}} if blob.lfs else {}
    return {"rfilename": blob.path, "size": blob.size, "blobId": blob.oid, **lfs}


def tree_entry(blob: Blob) -> dict[str, Any]:
    """A file as ``/tree`` and ``/paths-info`` list it."""
    lfs = {"lfs": {"oid": blob.sha256, **blob.pointer}} if blob.lfs else {}
    return {"type": "file", "oid": blob.oid, "size": blob.size, "path": blob.path, **lfs}


def card_data(card: str) -> dict[str, Any]:
    """The YAML front matter of a card; broken ones state nothing."""
    matched = re.match(r"---\r?\n(.*?)\r?\n---", card, flags=re.DOTALL)
    try:
        data = yaml.safe_load(matched[1]) if matched else None
    except yaml.YAMLError:
        return {}
    return data if isinstance(data, dict) else {}


def card_tags(card: Mapping[str, Any]) -> list[str]:
    """The tags that the hub derives from a card."""
    tags = [*_many(card.get("tags")), *_many(card.get("language"))]
    tags += [f"license:{name}" for name in _many(card.get("license"))]
    tags += [f"dataset:{name}" for name in _many(card.get("datasets"))]
    tags += [f"base_model:{name}" for name in _many(card.get("base_model"))]
    return [*tags, *(str(card[key]) for key in ("library_name", "pipeline_tag") if card.get(key))]


def _many(value: object) -> list[str]:
    return [] if value is None else [str(v) for v in (value if isinstance(value, list) else [value])]


def parameter_counts(revision: Revision) -> dict[str, Any] | None:
    """Parameters by data type, read from the headers of the safetensors files at the top."""
    counts: Counter[str] = Counter()
    for blob in revision.blobs.values():
        if blob.path.endswith(".safetensors") and "/" not in blob.path:
            counts.update(_header_counts(blob.file))
    return {"parameters": dict(counts), "total": counts.total()} if counts else None


def _header_counts(file: Path) -> Counter[str]:
    counts: Counter[str] = Counter()
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(min(length, file.stat().st_size)))
        for name, tensor in header.items():
            if name != "__metadata__":
                counts[tensor["dtype"]] += math.prod(tensor["shape"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return Counter()
    return counts


Query = Mapping[str, list[str]]


def expanded(info: dict[str, Any], query: Query) -> dict[str, Any]:
    """Only the properties asked for by ``expand``, if any are."""
    asked = {"_id", "id", *query.get("expand", []), *query.get("expand[]", [])}
    return {k: v for k, v in info.items() if k in asked} if len(asked) > 2 else info


def matches(info: Mapping[str, Any], query: Query) -> bool:
    """Tell whether a repository belongs to a listing narrowed by author, search and filter."""
    author, search = query.get("author", [""])[0], query.get("search", [""])[0]
    tags = {tag for value in query.get("filter", []) for tag in value.split(",")}
    return (
        author in ("", info["author"]) and search.lower() in info["id"].lower() and tags <= set(info["tags"])
    )


def tree(revision: Revision, folder: str, *, recursive: bool) -> list[dict[str, Any]]:
    """The entries under `folder`; without `recursive` its folders stand for what they hold."""
    start = f"{folder.strip('/')}/" if folder.strip("/") else ""
    inside = [b for b in revision.blobs.values() if b.path.startswith(start)]
    files = [b for b in inside if recursive or "/" not in b.path[len(start) :]]
    folders = sorted({start + b.path[len(start) :].split("/")[0] for b in inside if b not in files})
    listed = [{"type": "directory", "oid": revision.commit, "size": 0, "path": path} for path in folders]
    return [*listed, *map(tree_entry, files)]


def refs(repository: Repository) -> dict[str, Any]:
    """Branches and tags; a revision called ``v1...`` counts as a tag."""
    found = {name: revision.commit for name, revision in repository.revisions().items()}
    rows = {n: {"name": n, "ref": f"refs/heads/{n}", "targetCommit": c} for n, c in found.items()}
    tags = {n for n in rows if re.match(r"v\d", n)}
    for name in tags:
        rows[name]["ref"] = f"refs/tags/{name}"
    return {
        "branches": [rows[n] for n in rows if n not in tags],
        "tags": [rows[n] for n in rows if n in tags],
        "converts": [],
    }


def posted_paths(posted: bytes, content_type: str) -> list[str]:
    """The ``paths`` of a posted form or JSON document."""
    form = json.loads(posted) if "json" in content_type else parse_qs(posted.decode())
    return list(form.get("paths", []))


def byte_range(content: bytes, asked: str | None) -> tuple[int, bytes, dict[str, str]]:
    """Status, part and headers for a Range header; what is no single range gets everything."""
    matched = re.fullmatch(r"bytes=(\d*)-(\d*)", asked or "")
    if matched is None or matched[0] == "bytes=-":
        return 200, content, {}
    size, (first, last) = len(content), matched.groups()
    start = int(first) if first else max(0, size - int(last))
    stop = min(size, int(last) + 1) if first and last else size
    if start >= size or start >= stop:
        return 416, b"", {"Content-Range": f"bytes */{size}"}
    return 206, content[start:stop], {"Content-Range": f"bytes {start}-{stop - 1}/{size}"}


def upload_modes(revision: Revision, files: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How the hub wants each file: large ones and those of some suffixes by way of the large file storage."""
    found = []
    for file in files:
        large = Path(file["path"]).suffix in LFS_SUFFIXES
        there = revision.blobs.get(file["path"])
        oid = None if there is None else there.etag
        mode = {"uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": oid}
        found.append({"path": file["path"], **mode})
    return found


def changes(lines: list[dict[str, Any]], uploads: Path) -> tuple[dict[str, bytes], list[str]]:
    """The files that the lines of a commit add, and those that they delete."""
    files, deleted = {}, []
    for line in lines:
        value = line["value"]
        match line["key"]:
            case "file":
                files[value["path"]] = base64.b64decode(value["content"])
            case "lfsFile":
                files[value["path"]] = (uploads / value["oid"]).read_bytes()
            case "deletedFile":
                deleted.append(value["path"])
    return files, deleted
