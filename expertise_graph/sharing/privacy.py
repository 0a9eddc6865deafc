"""What leaves a workspace: nothing that says where it is, whose it is, or what is in the data."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from expertise_graph.core import METADATA, InvalidInputError
from expertise_graph.store import LEARNT_TASKS, SharedRow

PUBLIC_SOURCES: Mapping[str, re.Pattern[str]] = {
    "hf": re.compile(r"[0-9A-Za-z][\w.-]{0,95}/[0-9A-Za-z][\w.-]{0,95}", re.ASCII),
    "timm": re.compile(r"[0-9A-Za-z_]+(\.[0-9A-Za-z_.-]+)?"),
    "zoo": re.compile(r"[0-9A-Za-z][0-9A-Za-z_.-]{0,95}"),
}
"""Sources whose experts anybody can load by their locator, and what locators look like."""

# In the meta of experts: what running or telling them apart needs.
META = (
    "recipe",
    "former_id",
    "former_preprocessing_sha",
    "newer_preprocessing_sha",
    "towers",
    "timm",
    "input",
    "relation",
    "base_model_relation",
    LEARNT_TASKS,
)
# In the meta of edges: texts that this program itself chooses among a few.
_TEXTS_OF_EDGES = ("metric", "stopped", "split", "status", "relation", "base_model_relation", "date")

# The beginning of a path, at that of a text or behind what paths stand behind in texts.
_PATH = re.compile(r"(?:^|[\s:=,;'\"(\[])(?:~?/[^/\s]|\.{1,2}[\\/]|[A-Za-z]:[\\/]|\\\\[^\\\s])")
# Locators of data on the Hub and addresses have slashes as well.
_ADDRESS = re.compile(r"\b(?:https?://|hf:)[^\s]*")
# Hexadecimal digits of a hash that stands for a name: names of one registry stay apart.
_DIGITS = 12
# Tags that this program gives.
_OWN_TAGS = ("warm-start", "from-scratch", "expertise-graph")


class Cleaner:
    """Takes out of rows what is not to leave the workspace.

    Args:
        folder: of the workspace.
        salt: secret that hashes of names are made with.
        anonymous: whether names of tasks and classes are replaced by hashes.
        secrets: texts that nothing may hold, such as tokens.
    """

    def __init__(self, folder: Path, salt: str, *, anonymous: bool, secrets: Iterable[str] = ()) -> None:
        self.salt, self.anonymous = salt, anonymous
        places = {str(folder), str(folder.resolve()), str(Path.home()), str(Path.home().resolve())}
        # A home folder that is the root of the disk says nothing.
        self.secrets = tuple(sorted({p for p in (*places, *secrets) if len(p) > 3}, key=len, reverse=True))
        self.names: frozenset[str] = frozenset()

    def learn_names(self, tasks: Iterable[SharedRow]) -> None:
        """Note the names that are to be replaced wherever they stand."""
        self.names = frozenset(name for task in tasks for name in (task["name"], *task["classes"]))

    def digest(self, text: str) -> str:
        """Return the hash that stands for a text, the same in every push of this workspace."""
        content = text.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(content, key=self.salt.encode(), digest_size=16).hexdigest()[:_DIGITS]

    def text(self, text: str) -> str:
        """Return a text, or a hash of one that holds a path or a secret."""
        if any(secret in text for secret in self.secrets) or _PATH.search(_ADDRESS.sub("", text)):
            return f"path:{self.digest(text)}"
        return text.encode("utf-8", "backslashreplace").decode()

    def name(self, text: str) -> str:
        """Return the name of a task or a class."""
        return self.digest(text) if self.anonymous else self.text(text)

    def mention(self, text: str) -> str:
        """Return a text that may be the name of a task or a class."""
        return self.digest(text) if self.anonymous and text in self.names else self.text(text)

    def node(self, node: str) -> str:
        """Return the id of a node; of what is known by name only the name is in it."""
        for begin, clean in (("task:meta:", self.name), ("meta:", self.text)):
            if node.startswith(begin):
                return begin + clean(node.removeprefix(begin))
        return self.text(node)

    def clean(self, table: str, row: SharedRow) -> SharedRow:
        """Return a row as it may leave the workspace."""
        return _CLEANERS[table](self, row)

    def expert(self, row: SharedRow) -> SharedRow:
        """Return an expert: of one that others cannot load by its locator, all but where it is."""
        public = is_public(row)
        hidden = self.anonymous and not public and row["weights_sha"]
        tags = [t for t in row["tags"] if not hidden or t in _OWN_TAGS]
        meta = {key: value for key, value in row["meta"].items() if key in META}
        if row["source"] != "timm":
            meta = {key: value for key, value in meta.items() if key not in ("timm", "input")}
        return {
            **{key: self.text(value) if isinstance(value, str) else value for key, value in row.items()},
            "id": self.node(row["id"]),
            "name": f"expert-{self.digest(row['name'])}" if hidden else self.mention(row["name"]),
            "source": row["source"] if public else METADATA,
            "locator": row["locator"] if public else self.node(row["id"]),
            "revision": row["revision"] if public else None,
            "base_model": None if row["base_model"] is None else self.node(row["base_model"]),
            "datasets": [self.digest(d) if hidden else self.mention(d) for d in row["datasets"]],
            "tags": [self.mention(tag) for tag in tags],
            "meta": json.loads(json.dumps(meta)),
        }

    def task(self, row: SharedRow) -> SharedRow:
        """Return a task; data on the Hub are named, others are known by the hash of their content."""
        id_, name = self.node(row["id"]), self.name(row["name"])
        public = re.fullmatch(r"hf:[\w.-]+/[\w.-]+(@[0-9a-f]{40})?", row["locator"], re.ASCII)
        locator = row["locator"] if public and not self.anonymous else id_ if row["locator"] else ""
        classes = [self.name(c) for c in row["classes"]]
        return {**row, "id": id_, "name": name, "classes": classes, "locator": locator}

    def edge(self, row: SharedRow) -> SharedRow:
        """Return a relation with the numbers in its meta, and few of its texts."""
        meta = {
            key: self.text(value) if isinstance(value, str) else value
            for key, value in row["meta"].items()
            if isinstance(value, int | float) or (isinstance(value, str) and key in _TEXTS_OF_EDGES)
        }
        texts = {key: self.text(value) for key, value in row.items() if isinstance(value, str)}
        ends = {key: self.node(row[key]) for key in ("source", "target")}
        return {**row, **texts, **ends, "meta": meta}

    def covariate(self, row: SharedRow) -> SharedRow:
        """Return what is known of an expert under a name."""
        value = json.loads(row["value"])
        kept = json.dumps(self.mention(value) if isinstance(value, str) else value)
        return {**row, "expert": self.node(row["expert"]), "name": self.text(row["name"]), "value": kept}

    def plain(self, row: SharedRow) -> SharedRow:
        """Return a row of nodes and numbers."""
        nodes = ("owner", "expert", "task", "other")
        return {
            key: self.node(value) if key in nodes else self.text(value) if isinstance(value, str) else value
            for key, value in row.items()
        }


_CLEANERS: Mapping[str, Callable[[Cleaner, SharedRow], SharedRow]] = {
    "probe_sets": Cleaner.plain,
    "experts": Cleaner.expert,
    "tasks": Cleaner.task,
    "embeddings": Cleaner.plain,
    "edges": Cleaner.edge,
    "scores": Cleaner.plain,
    "covariates": Cleaner.covariate,
    "distances": Cleaner.plain,
}


def is_public(row: Mapping[str, Any]) -> bool:
    """Tell whether anybody can load an expert by its locator, without code that is not of a library."""
    form = PUBLIC_SOURCES.get(row["source"])
    own_code = row["trusted_code"] or (row["meta"].get("input") or {}).get("transform") is not None
    pinned = row["source"] == "zoo" or re.fullmatch("[0-9a-f]{40}", row["revision"] or "")
    return bool(form and form.fullmatch(row["locator"]) and pinned and not own_code)


def refuse_secrets(files: Iterable[Path], secrets: Iterable[str]) -> None:
    """Raise InvalidInputError where the bytes of a file hold a secret."""
    wanted = [(secret, secret.encode("utf-8", "surrogateescape")) for secret in secrets]
    for path in files:
        content = path.read_bytes()
        for secret, sought in wanted:
            if sought in content:
                what = "a folder of this machine" if "/" in secret or "\\" in secret else "a token"
                raise InvalidInputError(
                    f"{path.name} would hold {what}, in a name that was given to an expert, a class or a "
                    "column: nothing was shared; rename it"
                )
