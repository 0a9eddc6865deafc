"""The schema of registry.db as a list of steps; a step that has been released is never edited.

``PRAGMA user_version`` is the only record of which steps a file has had.
"""

from __future__ import annotations

import sqlite3

ALIASED = "meta LIKE '%\"aliases\"%'"
"""What is true of experts that have a second name; a question with it is answered by an index."""


def schema_version(db: sqlite3.Connection) -> int:
    """Return how many of the steps a database has had."""
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def migrate(db: sqlite3.Connection, *, to: int | None = None) -> None:
    """Take the steps that a database has not had, up to version `to`; call it within a transaction."""
    for version, step in enumerate(_STEPS[:to], 1):
        if version > schema_version(db):
            step(db)
            db.execute(f"PRAGMA user_version={version}")


def _script(db: sqlite3.Connection, *statements: str) -> None:
    for statement in statements:
        db.execute(statement)


def m001_nodes(db: sqlite3.Connection) -> None:
    """Experts, tasks and probe sets."""
    _script(
        db,
        """CREATE TABLE experts (
            id TEXT PRIMARY KEY, name TEXT NOT NULL, source TEXT NOT NULL, locator TEXT NOT NULL,
            revision TEXT, modality TEXT NOT NULL, architecture TEXT NOT NULL, params INTEGER NOT NULL,
            bytes INTEGER NOT NULL, dim INTEGER NOT NULL, license TEXT NOT NULL,
            weights_sha TEXT NOT NULL, preprocessing_sha TEXT NOT NULL, weights_format TEXT NOT NULL,
            base_model TEXT, datasets TEXT NOT NULL, tags TEXT NOT NULL,
            trusted_code INTEGER NOT NULL, meta TEXT NOT NULL, created_at TEXT NOT NULL)""",
        "CREATE INDEX experts_weights ON experts (weights_sha)",
        """CREATE TABLE tasks (
            id TEXT PRIMARY KEY, name TEXT NOT NULL, modality TEXT NOT NULL, classes TEXT NOT NULL,
            n INTEGER NOT NULL, locator TEXT NOT NULL, created_at TEXT NOT NULL)""",
        """CREATE TABLE probe_sets (
            id TEXT PRIMARY KEY, name TEXT NOT NULL, version TEXT NOT NULL, modality TEXT NOT NULL,
            n INTEGER NOT NULL, license TEXT NOT NULL, created_at TEXT NOT NULL)""",
    )


def m002_vectors(db: sqlite3.Connection) -> None:
    """Embeddings, and the nearest experts of each expert by exact CKA."""
    _script(
        db,
        """CREATE TABLE embeddings (
            id INTEGER PRIMARY KEY AUTOINCREMENT, owner TEXT NOT NULL, kind TEXT NOT NULL,
            probe_set TEXT NOT NULL REFERENCES probe_sets (id), method TEXT NOT NULL,
            version TEXT NOT NULL, vector BLOB NOT NULL, sha256 TEXT NOT NULL, seed INTEGER NOT NULL,
            n INTEGER NOT NULL, created_at TEXT NOT NULL,
            UNIQUE (owner, probe_set, method, version))""",
        """CREATE TABLE neighbours (
            expert TEXT NOT NULL REFERENCES experts (id) ON DELETE CASCADE,
            neighbour TEXT NOT NULL REFERENCES experts (id) ON DELETE CASCADE,
            probe_set TEXT NOT NULL REFERENCES probe_sets (id), cka REAL NOT NULL,
            PRIMARY KEY (expert, neighbour, probe_set)) WITHOUT ROWID""",
        "CREATE INDEX neighbours_reverse ON neighbours (neighbour)",
    )


def m003_relations(db: sqlite3.Connection) -> None:
    """Edges, training runs, scores, events, and single values such as the generation."""
    _script(
        db,
        """CREATE TABLE edges (
            id INTEGER PRIMARY KEY, kind TEXT NOT NULL, source TEXT NOT NULL, target TEXT NOT NULL,
            weight REAL NOT NULL, method TEXT NOT NULL, version TEXT NOT NULL, metric TEXT,
            probe_set TEXT, seed INTEGER, n INTEGER, seconds REAL, run TEXT, meta TEXT NOT NULL,
            created_at TEXT NOT NULL)""",
        "CREATE INDEX edges_source ON edges (source, kind)",
        "CREATE INDEX edges_target ON edges (target, kind)",
        """CREATE TABLE runs (
            id TEXT PRIMARY KEY, expert TEXT NOT NULL, task TEXT NOT NULL, child TEXT,
            status TEXT NOT NULL, strategy TEXT NOT NULL, seed INTEGER NOT NULL, path TEXT NOT NULL,
            config TEXT NOT NULL, result TEXT NOT NULL, started_at TEXT NOT NULL, finished_at TEXT)""",
        """CREATE TABLE scores (
            expert TEXT NOT NULL REFERENCES experts (id) ON DELETE CASCADE,
            task TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
            estimator TEXT NOT NULL, version TEXT NOT NULL, value REAL NOT NULL, n INTEGER NOT NULL,
            seed INTEGER NOT NULL, seconds REAL NOT NULL, created_at TEXT NOT NULL,
            PRIMARY KEY (expert, task, estimator, version, n, seed)) WITHOUT ROWID""",
        """CREATE TABLE events (
            id INTEGER PRIMARY KEY, at TEXT NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL,
            detail TEXT NOT NULL)""",
        "CREATE TABLE state (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    )


def m004_imports(db: sqlite3.Connection) -> None:
    """Covariates of experts and distances of tasks, as users bring them along."""
    _script(
        db,
        """CREATE TABLE covariates (
            expert TEXT NOT NULL REFERENCES experts (id) ON DELETE CASCADE,
            name TEXT NOT NULL, value TEXT NOT NULL, origin TEXT NOT NULL, created_at TEXT NOT NULL,
            PRIMARY KEY (expert, name)) WITHOUT ROWID""",
        """CREATE TABLE distances (
            task TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
            other TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
            value REAL NOT NULL, method TEXT NOT NULL, created_at TEXT NOT NULL,
            PRIMARY KEY (task, other, method)) WITHOUT ROWID""",
        "CREATE INDEX distances_other ON distances (other)",
        "CREATE INDEX scores_task ON scores (task)",
    )


def m005_timings(db: sqlite3.Connection) -> None:
    """How long experts take on a machine: in all their runs together, and for a single input."""
    _script(
        db,
        """CREATE TABLE timings (
            weights_sha TEXT NOT NULL, preprocessing_sha TEXT NOT NULL, machine TEXT NOT NULL,
            items INTEGER NOT NULL, seconds REAL NOT NULL, created_at TEXT NOT NULL,
            PRIMARY KEY (weights_sha, preprocessing_sha, machine)) WITHOUT ROWID""",
        """CREATE TABLE latencies (
            weights_sha TEXT NOT NULL, preprocessing_sha TEXT NOT NULL, machine TEXT NOT NULL,
            milliseconds REAL NOT NULL, created_at TEXT NOT NULL,
            PRIMARY KEY (weights_sha, preprocessing_sha, machine)) WITHOUT ROWID""",
    )


def m006_seen(db: sqlite3.Connection) -> None:
    """The items that runs have learnt from, by task and seed: 64 bits of the hash of each content."""
    _script(
        db,
        """CREATE TABLE seen (
            task TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE, seed INTEGER NOT NULL,
            n INTEGER NOT NULL, items BLOB NOT NULL, created_at TEXT NOT NULL,
            PRIMARY KEY (task, seed)) WITHOUT ROWID""",
    )


def m007_answers(db: sqlite3.Connection) -> None:
    """Indices for what is asked of one node, and the experts whose neighbours are to be found."""
    _script(
        db,
        "CREATE INDEX experts_name ON experts (name)",
        "CREATE INDEX experts_locator ON experts (locator)",
        "CREATE INDEX experts_base ON experts (base_model)",
        "CREATE INDEX tasks_name ON tasks (name)",
        "CREATE INDEX embeddings_probe_set ON embeddings (probe_set, kind, owner)",
        "CREATE INDEX neighbours_cka ON neighbours (probe_set, cka)",
        "CREATE INDEX edges_kind ON edges (kind)",
        "CREATE INDEX edges_run ON edges (run)",
        "CREATE INDEX runs_task ON runs (task)",
        "CREATE INDEX runs_child ON runs (child)",
        """CREATE TABLE unlinked (
            expert TEXT NOT NULL, probe_set TEXT NOT NULL,
            PRIMARY KEY (expert, probe_set)) WITHOUT ROWID""",
        # Every version kept five neighbours of each expert; a process that was killed left some out.
        """INSERT INTO unlinked
            WITH whole AS (SELECT probe_set, MIN(5, COUNT(*) - 1) AS length FROM embeddings
                WHERE kind = 'expert' GROUP BY probe_set)
            SELECT DISTINCT e.owner, e.probe_set FROM embeddings AS e
            JOIN experts ON experts.id = e.owner JOIN whole ON whole.probe_set = e.probe_set
            WHERE e.kind = 'expert' AND whole.length > (SELECT COUNT(*) FROM neighbours AS n
                WHERE n.expert = e.owner AND n.probe_set = e.probe_set)""",
        # Earlier versions also kept a table of the steps taken.
        "DROP TABLE IF EXISTS _sqlite_migrations",
    )


def m008_pending(db: sqlite3.Connection) -> None:
    """What was begun and is to be finished by whoever opens the workspace next; keys of saved indexes."""
    _script(
        db,
        """CREATE TABLE pending (
            kind TEXT NOT NULL, subject TEXT NOT NULL, detail TEXT NOT NULL, owner TEXT NOT NULL,
            created_at TEXT NOT NULL, PRIMARY KEY (kind, subject)) WITHOUT ROWID""",
        """CREATE TABLE index_keys (
            probe_set TEXT NOT NULL, generation INTEGER NOT NULL, key TEXT NOT NULL,
            PRIMARY KEY (probe_set, generation)) WITHOUT ROWID""",
    )


def m009_failures(db: sqlite3.Connection) -> None:
    """Which experts raised something when they were run on a task, and with which software; aliases."""
    _script(
        db,
        """CREATE TABLE failures (
            task TEXT NOT NULL, expert TEXT NOT NULL REFERENCES experts (id) ON DELETE CASCADE,
            reason TEXT NOT NULL, software TEXT NOT NULL, created_at TEXT NOT NULL,
            PRIMARY KEY (task, expert)) WITHOUT ROWID""",
        # The few experts that have a second name are found without a look at all others.
        f"CREATE INDEX experts_aliased ON experts (id) WHERE {ALIASED}",
    )


_STEPS = (
    m001_nodes,
    m002_vectors,
    m003_relations,
    m004_imports,
    m005_timings,
    m006_seen,
    m007_answers,
    m008_pending,
    m009_failures,
)

SCHEMA_VERSION = len(_STEPS)
