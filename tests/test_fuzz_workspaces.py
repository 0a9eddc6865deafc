"""Whatever state a workspace or a run folder is in: a command answers, or one line says why not."""

from __future__ import annotations

import hmac
import json
import shutil
import sqlite3
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from expertise_graph.core import Query, sha256_of_bytes
from expertise_graph.store.migrations import migrate
from expertise_graph.workspace import Workspace
from tests.compat import material
from tests.fuzz import (
    BYTE_DAMAGE,
    FILE_DAMAGE,
    JSON_DAMAGE,
    SCALARS,
    STEP,
    amounts,
    command,
    contents,
    damage_file,
    damaged_bytes,
    damaged_json,
    fuzzed,
)
from tests.program import invoke


@pytest.fixture(scope="session")
def whole(tmp_path_factory) -> Path:
    """A folder with a workspace that has experts, results, a probe set, an index, scores and runs."""
    root = tmp_path_factory.mktemp("whole")
    made = material.workspace("schema8", root).rename(root / "workspace")
    for name in ("half", "quarter"):
        shutil.copytree(material.EXPERTS / name, root / "models" / name)
        invoke("--workspace", made, "register", f"dir:{root / 'models' / name}", "--name", name).worked()
    shutil.copytree(material.RUNS / "one", made / "run")
    with Workspace.init(made) as opened:  # the shipped probe sets
        opened.query(material.LETTERS, Query(budget=2))
    return root


@pytest.fixture
def place(whole, tmp_path, monkeypatch) -> Path:
    """A folder for copies of the workspace, from which commands are run."""
    (tmp_path / "x").write_text("outside")
    (tmp_path / "workspace").mkdir()
    monkeypatch.chdir(tmp_path / "workspace")
    return tmp_path


def copied(whole: Path, place: Path) -> Path:
    """Put a fresh copy of the workspace in place."""
    made = place / "workspace"
    for path in made.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    shutil.copytree(whole / "workspace", made, dirs_exist_ok=True)
    return made


# What is asked

READING = [
    ("ls", "-q"),
    ("ls", "--tag", "t", "--sort", "params", "--json"),
    ("ls", "--modality", "image", "--sort", "name", "--json"),
    ("show", "half"),
    ("show", "half", "--json"),
    ("show", "digits-in-fonts", "--json"),
    ("show", "vit-little", "--json"),
    ("similar", "half", "-k", 4, "--json"),
    ("similar", "digits-in-fonts", "--all", "--json"),
    ("runs",),
    ("runs", "--json"),
    ("history", "ls", "--json"),
    ("history", "ls", "--task", "thai", "--json"),
    ("tasks", "ls", "--json"),
    ("probe", "ls", "--json"),
    ("probe", "show", "small"),
    ("query", material.LETTERS, "--budget", 0),
    ("query", material.LETTERS, "--budget", 0, "--max-params", "300k", "--kind", "original", "--json"),
    ("query", material.WORDS, "--budget", 0, "--top", 2, "--json"),
    ("explain", material.LETTERS, "digits-in-fonts"),
    ("explain", "thai", "half", "--json"),
    ("backtest", "--json"),
]
CHANGING = [
    ("rm", "half"),
    ("rm", "digits-in-fonts"),
    ("history", "rm", "--task", "thai"),
    ("runs", "rm", "run"),
    ("probe", "use", "small"),
    ("probe", "use", "text"),
    ("export", "graph.json"),
    ("export", "graph.graphml"),
    ("export", "graph.gexf"),
    ("export", "graph.gml"),
    ("register", "half"),
    ("query", material.LETTERS, "--budget", 2),
    ("init",),
    ("predict", "half-letters", material.LETTERS / "vo"),
    ("check", material.LETTERS, "--expert", "half"),
]
VERBS = st.lists(st.sampled_from(READING * 6 + CHANGING), min_size=1, max_size=2)


def asked(whole: Path, place: Path, verbs: list[tuple[object, ...]]) -> None:
    """Ask a workspace: each command works or says in a line why not, and nothing outside is changed."""
    before = contents(place, but=place / "workspace"), contents(whole)
    for verb in verbs:
        words = ("register", f"dir:{whole / 'models' / 'half'}") if verb[0] == "register" else verb
        command("--workspace", place / "workspace", *words)
    assert (contents(place, but=place / "workspace"), contents(whole)) == before


# Damages of the registry by SQL: cells, rows, and what is there beside the tables


def _schema() -> dict[str, list[str]]:
    db = sqlite3.connect(":memory:")
    migrate(db)
    tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {t: [c[1] for c in db.execute(f"PRAGMA table_info({t})")] for t in tables}


SCHEMA = _schema()
JSON_CELLS = [
    (table, column)
    for table, columns in SCHEMA.items()
    for column in columns
    if column in ("meta", "config", "result", "detail", "datasets", "tags", "classes", "value")
]
ROW = st.integers(0, 50) | st.just(-1)
RAW = st.sampled_from(
    [
        *(b"", b"\0" * 8, b"\xff\xfe", b"[1, 2", b"\x00\x00\x80\x3f", b"x" * 4096),
        *("CAST(x'ff61' AS TEXT)", "CAST(x'6100ff' AS TEXT)", "9e999", "-9e999", "NULL", "zeroblob(1 << 20)"),
    ]
)
LETTERS_OF_IDS = st.sampled_from(["dir:", "zoo:", "task:", "probe:", "run:", "meta:", "hf:", "adapter:", ""])
IDS = st.builds(
    str.__add__,
    LETTERS_OF_IDS,
    st.sampled_from(["../../x", "..", "/tmp/x", "a" * 64, "\0", "", "%", "_", "x y"]),
)
STATEMENTS = st.sampled_from(
    [
        *(
            "PRAGMA user_version=0",
            "PRAGMA user_version=5",
            "PRAGMA user_version=99",
            "PRAGMA user_version=-1",
        ),
        *("PRAGMA application_id=0", "DROP TABLE scores", "DROP INDEX experts_name", "DROP TABLE state"),
        "CREATE TRIGGER evil AFTER INSERT ON events BEGIN DELETE FROM runs; END",
        "CREATE VIEW more AS SELECT 1",
        "ALTER TABLE tasks RENAME COLUMN n TO m",
        "INSERT INTO experts SELECT id || 'x', name, source, locator, revision, modality, architecture, "
        "params, "
        "bytes, dim, license, weights_sha, preprocessing_sha, weights_format, base_model, datasets, tags, "
        "trusted_code, meta, created_at FROM experts",
        "INSERT INTO edges SELECT id + 1000, kind, target, source, weight, method, version, metric, "
        "probe_set, "
        "seed, n, seconds, run, meta, created_at FROM edges",
        "UPDATE edges SET target = source",
        "UPDATE experts SET base_model = id",
        "UPDATE embeddings SET id = -id",
        "UPDATE embeddings SET id = id + (1 << 62)",
        "UPDATE neighbours SET cka = 1 - cka",
        "INSERT OR IGNORE INTO unlinked SELECT owner, probe_set FROM embeddings",
        "INSERT OR IGNORE INTO unlinked VALUES ('dir:gone', 'probe:gone')",
        "PRAGMA journal_mode=DELETE",
        "PRAGMA encoding='UTF-16'",
    ]
)
MADE = {
    "folder": "run",
    "identity": {},
    "origin": {
        **{
            "parent": "dir:x",
            "sources": ["dir:x"],
            "method": "delta",
            "relation": "finetune",
            "run": "run:x",
        },
        **{"name": "n", "license": "mit", "modality": "image", "datasets": [], "seed": 0},
    },
    "task": None,
    "run": None,
    "n_test": 0,
}
DAMAGES = st.one_of(
    st.tuples(
        st.just("cell"), st.sampled_from([(t, c) for t in SCHEMA for c in SCHEMA[t]]), ROW, SCALARS | RAW
    ),
    st.tuples(st.just("json"), st.sampled_from(JSON_CELLS), ROW, JSON_DAMAGE),
    st.tuples(st.just("json"), st.sampled_from(JSON_CELLS), ROW, JSON_DAMAGE),
    st.tuples(st.just("id"), st.sampled_from([(t, c) for t in SCHEMA for c in SCHEMA[t][:4]]), ROW, IDS),
    st.tuples(st.just("swap"), st.sampled_from([(t, c) for t in SCHEMA for c in SCHEMA[t]]), ROW, ROW),
    st.tuples(st.just("rows"), st.sampled_from([(t, "") for t in SCHEMA]), ROW, st.none()),
    st.tuples(st.just("vector"), st.just(("embeddings", "")), ROW, st.lists(st.floats(width=32), max_size=3)),
    st.tuples(
        st.just("state"),
        st.just(("state", "")),
        st.sampled_from(["generation", "vector_index", "probe_set:image"]),
        SCALARS,
    ),
    st.tuples(
        st.just("pending"),
        st.just(("pending", "")),
        st.sampled_from(["embeddings", "model", "x"]),
        JSON_DAMAGE,
    ),
    st.tuples(st.just("sql"), st.just(("", "")), STATEMENTS, st.none()),
)


def damage_registry(db, kind, where, row, value):
    """Change a registry as another program could; what SQLite itself refuses is left as it is."""
    table, _ = where
    if kind == "sql":
        db.execute(row)
    elif kind == "pending":
        detail = json.dumps(damaged_json(MADE, value) if row == "model" else {})
        new = [row, "run:x" if row == "model" else "probe:x", detail]
        db.execute("INSERT OR REPLACE INTO pending VALUES (?, ?, ?, '', 'now')", new)
    elif kind == "state":
        db.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", [row, bound(value)])
    elif kind == "rows":
        which, values = row_of(db, table, row)
        db.execute(f"DELETE FROM {table} {which}", values)
    elif kind == "vector":
        blob = np.asarray(value, "<f4").tobytes()
        which, values = row_of(db, table, row)
        change = f"UPDATE {table} SET vector = ?, sha256 = ? {which}"
        db.execute(change, [blob, sha256_of_bytes(blob), *values])
    else:
        damage_cell(db, kind, where, row, value)


def damage_cell(db, kind, where, row, value):
    """Put a value, a damaged one, or that of another row into one cell or into a column."""
    table, column = where
    which, values = row_of(db, table, row)
    if kind == "json":
        old = db.execute(f"SELECT {column} FROM {table} {which} LIMIT 1", values).fetchone()
        value = json.dumps(damaged_json(json.loads(old[0]), value))
    if kind == "swap":
        others = db.execute(f"SELECT {column} FROM {table}").fetchall()
        value = others[value % len(others)][0] if others else None
    if isinstance(value, str) and value.startswith(("CAST(", "9e9", "-9e9", "NULL", "zeroblob(")):
        db.execute(f"UPDATE {table} SET {column} = {value} {which}", values)
    else:
        db.execute(f"UPDATE {table} SET {column} = ? {which}", [bound(value), *values])


def row_of(db, table, row):
    """Return the condition that is true of one row, and its values; of every row for -1."""
    keys = ["rowid"] if table in _WITH_ROWID else SCHEMA[table][:2]
    found = db.execute(f"SELECT {', '.join(keys)} FROM {table} ORDER BY {', '.join(keys)}").fetchall()
    if row < 0 or not found:
        return "", []
    return "WHERE " + " AND ".join(f"{key} = ?" for key in keys), list(found[row % len(found)])


_WITH_ROWID = ("experts", "tasks", "probe_sets", "embeddings", "edges", "runs", "events")


def bound(value):
    """Return a value that SQLite takes."""
    return str(value) if isinstance(value, int) and abs(value) >= 2**63 else value


@amounts(16)
def test_registries_that_others_changed(amount, whole, place):
    @fuzzed(amount)
    @given(st.lists(DAMAGES, min_size=1, max_size=3), VERBS)
    def run(damages, verbs):
        made = copied(whole, place)
        db = sqlite3.connect(made / "registry.db", isolation_level=None)
        for damage in damages:
            with suppress(sqlite3.Error, OverflowError, TypeError, ValueError, UnicodeEncodeError):
                damage_registry(db, *damage)
        db.close()
        asked(whole, place, verbs)

    run()


@amounts(6)
def test_registries_with_damaged_bytes(amount, whole, place):
    @fuzzed(amount)
    @given(st.sampled_from(["registry.db", "registry.db", "registry.db-wal"]), BYTE_DAMAGE, VERBS)
    def run(name, damage, verbs):
        path = copied(whole, place) / name
        path.write_bytes(damaged_bytes(path.read_bytes() if path.is_file() else b"x" * 4096, damage))
        asked(whole, place, verbs)

    run()


@amounts(6)
def test_damaged_arrays_probe_sets_and_indexes(amount, whole, place):
    @fuzzed(amount)
    @given(st.lists(st.tuples(STEP, FILE_DAMAGE), min_size=1, max_size=3), st.booleans(), VERBS)
    def run(damages, resealed, verbs):
        made = copied(whole, place) / "embeddings"
        for where, damage in damages:
            files = sorted(p for p in made.rglob("*") if p.is_file())
            if files:
                with suppress(ValueError, OSError):
                    damage_file(files[int(where * len(files))], files, damage)
        if resealed:
            reseal(made / "index", made.parent / "registry.db")
        asked(whole, place, verbs)

    run()


def reseal(indexes, registry):
    """Give what is in place of an index a side-car that fits."""
    db = sqlite3.connect(registry)
    keys = dict(db.execute("SELECT generation, key FROM index_keys").fetchall())
    db.close()
    for path in indexes.glob("*.faiss"):
        with suppress(ValueError, KeyError, OSError, TypeError):
            car = json.loads((indexes / f"{path.name}.json").read_text())
            content = b"generation %d " % car["generation"] + path.read_bytes()
            car["sha256"] = hmac.new(keys[car["generation"]].encode(), content, "sha256").hexdigest()
            (indexes / f"{path.name}.json").write_text(json.dumps(car))


# Folders of runs, deltas

RUN_VERBS = [
    ("predict", "RUN", "INPUT", "--json"),
    ("predict", "RUN", "INPUT", "--top", 2),
    ("evaluate", "RUN", "DATA", "--json"),
    ("check", "RUN", "--data", "DATA"),
    ("delta", "make", "RUN", "--parent", "half", "--out", "made.safetensors"),
    ("register", "MODEL"),
    ("runs", "rm", "RUN"),
]
RUN_WORDS = [*RUN_VERBS[:3] * 4, *RUN_VERBS]
RUNS = ["one", "labels", "values", "auto", "lora", "text", "probe", "merged"]


@amounts(4)
def test_damaged_folders_of_runs(amount, whole, place):
    @fuzzed(amount)
    @given(
        st.sampled_from(RUNS),
        st.lists(st.tuples(STEP, FILE_DAMAGE), min_size=1, max_size=2),
        st.sampled_from(RUN_WORDS),
    )
    def run(name, damages, words):
        made = copied(whole, place)
        shutil.rmtree(made / "run")
        shutil.copytree(material.RUNS / name, made / "run")
        files = sorted(p for p in (made / "run").rglob("*") if p.is_file())
        for where, damage in damages:
            path = files[int(where * len(files))]
            if path.is_file():
                with suppress(ValueError, OSError):
                    damage_file(path, [p for p in files if p.is_file()], damage)
        data = material.data(name)
        told = {
            "RUN": (made / "run",),
            "MODEL": (f"dir:{made / 'run' / 'model'}",),
            "DATA": data,
            "INPUT": data[:1],
        }
        asked(whole, place, [tuple(w for word in words for w in told.get(word, (word,)))])

    run()


@amounts(2)
def test_damaged_deltas(amount, whole, place):
    @fuzzed(amount)
    @given(st.lists(FILE_DAMAGE, min_size=1, max_size=2), st.booleans())
    def run(damages, both):
        made = copied(whole, place)
        files = [Path(shutil.copy(material.DELTAS / f"{n}.delta.safetensors", made)) for n in ("one", "two")]
        for damage in damages:
            if files[0].is_file():
                with suppress(ValueError, OSError):
                    damage_file(files[0], [files[1], made / "registry.db"], damage)
        words = ("delta", "apply", "half", *files[: 1 + both], "--out", made / "applied", "--no-register")
        asked(whole, place, [words])

    run()
