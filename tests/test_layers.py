"""Imports point one way, each third-party package has one owner, and some things are nowhere."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "expertise_graph"

# A room (module or folder of the package) may import rooms of a lower rank only.
RANKS = {
    "errors": 0,
    "types": 0,
    "metrics": 1,
    "plugins": 1,
    "similarity": 1,
    "transferability": 2,
    "starter": 1,
    "sources": 2,
    "data": 2,
    "index": 2,
    "store": 2,
    "graph": 2,
    "imports": 3,
    "latency": 3,
    "probing": 3,
    "resizing": 3,
    "neighbours": 3,
    "warmstart": 4,
    "probes": 4,
    "registration": 5,
    "retrieval": 5,
    "evaluate": 5,
    "inference": 5,
    "advice": 6,
    "backtest": 6,
    "merging": 6,
    "race": 6,
    "training": 6,
    "auto": 7,
    "workspace": 8,
    "demo": 9,
    "pictures": 9,
    "server": 9,
    "cli": 10,
    "__main__": 11,
}

OWNERS = {
    "click": {"cli"},
    "rich": {"cli"},
    "yaml": {"cli"},
    "sqlite_utils": {"store"},
    "sqlite3": {"store"},
    "faiss": {"index"},
    "huggingface_hub": {"sources"},
    "transformers": {"sources"},
    "networkx": {"graph"},
    "peft": {"sources"},
    "matplotlib": {"pictures"},
    "pyarrow": {"data"},
    "accelerate": {"warmstart"},
    "optuna": {"auto"},
    "tensorboardX": {"warmstart"},
    "onnxruntime": {"inference"},
    "onnxscript": {"inference"},
}

# Known in several rooms: arrays, tensors and their files, pictures.
SHARED = {"numpy", "torch", "safetensors", "PIL"}

PICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "print",
    "os.system",
    "os.popen",
    "torch.save",
}

# These read pickles unless they are told not to.
SAFE_ONLY_WITH = {"torch.load": "weights_only=True", "np.load": "allow_pickle=False"}


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(node):
    """Return the dotted names a statement imports; a name from the package itself counts as a room."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and not node.level:
        if node.module == "expertise_graph":
            return [f"expertise_graph.{alias.name}" for alias in node.names]
        return [str(node.module)]
    return []


def violations(source, room):
    tree = ast.parse(source)
    found = [] if ast.get_docstring(tree) else ["no docstring"]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            found.append("relative import")
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and room != "cli":
            found += [f"import in {getattr(node, 'name', 'lambda')}" for n in ast.walk(node) if imports(n)]
        for name in imported(node):
            found += import_violations(name.split("."), room)
        if isinstance(node, ast.Call):
            found += call_violations(node)
    return found


def imports(node):
    return isinstance(node, ast.Import | ast.ImportFrom)


def import_violations(parts, room):
    if parts[0] in PICKLES:
        return [f"{parts[0]} is not used anywhere"]
    if parts[0] in OWNERS:
        return [] if room in OWNERS[parts[0]] else [f"{room} does not own {parts[0]}"]
    if parts[0] != "expertise_graph" or room == "__init__":
        known = {*sys.stdlib_module_names, *SHARED, "expertise_graph"}
        return [] if parts[0] in known else [f"{parts[0]} has no owner"]
    other = parts[1] if len(parts) > 1 else "__version__"
    # The version is all that the package itself defines.
    if other in (room, "__version__"):
        return []
    return [] if RANKS[room] > RANKS[other] else [f"{room} imports {other}"]


def call_violations(node):
    name, given = ast.unparse(node.func), [f"{k.arg}={ast.unparse(k.value)}" for k in node.keywords]
    found = [f"calls {name}"] if name in FORBIDDEN_CALLS else []
    if name in SAFE_ONLY_WITH and SAFE_ONLY_WITH[name] not in given:
        found.append(f"{name} without {SAFE_ONLY_WITH[name]}")
    return found + ["shell" for keyword in given if keyword.startswith("shell=") and keyword != "shell=False"]


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_file_keeps_to_the_rules(path):
    assert violations(path.read_text(encoding="utf-8"), room_of(path)) == []


def test_every_room_has_a_rank():
    rooms = {room_of(path) for path in FILES}
    assert len(rooms) > 15
    assert rooms - {"__init__"} <= set(RANKS)


def test_every_owner_uses_what_it_owns():
    used = {
        (name.split(".")[0], room_of(path))
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in imported(node)
    }
    assert {(package, room) for package, rooms in OWNERS.items() for room in rooms} <= used


@pytest.mark.parametrize(
    ("source", "room", "expected"),
    [
        ("x = 1", "store", ["no docstring"]),
        ("'''D.'''\nfrom expertise_graph.sources import load", "store", ["store imports sources"]),
        ("'''D.'''\nimport expertise_graph.cli.app", "workspace", ["workspace imports cli"]),
        ("'''D.'''\nfrom expertise_graph import probes", "probing", ["probing imports probes"]),
        ("'''D.'''\nfrom expertise_graph.types import Expert", "errors", ["errors imports types"]),
        ("'''D.'''\nfrom expertise_graph.store import Store", "probing", []),
        ("'''D.'''\nfrom expertise_graph.store.rows import now", "store", []),
        ("'''D.'''\nfrom .rows import now", "store", ["relative import"]),
        ("'''D.'''\nimport faiss", "neighbours", ["neighbours does not own faiss"]),
        ("'''D.'''\nfrom sqlite3 import connect", "probing", ["probing does not own sqlite3"]),
        ("'''D.'''\nimport click", "cli", []),
        ("'''D.'''\nimport pandas", "data", ["pandas has no owner"]),
        ("'''D.'''\nfrom pickle import loads", "store", ["pickle is not used anywhere"]),
        ("'''D.'''\ndef f():\n    import json", "store", ["import in f"]),
        ("'''D.'''\ndef f():\n    import json", "cli", []),
        ("'''D.'''\ntorch.save(x, path)\nmodel.eval()", "sources", ["calls torch.save"]),
        ("'''D.'''\neval('1')\nexec('1')\nprint(1)", "data", ["calls eval", "calls exec", "calls print"]),
        ("'''D.'''\ntorch.load(p)", "sources", ["torch.load without weights_only=True"]),
        ("'''D.'''\nnp.load(p, allow_pickle=True)", "data", ["np.load without allow_pickle=False"]),
        ("'''D.'''\nrun(['ls'], shell=True)", "data", ["shell"]),
        ("'''D.'''\nrun('ls', shell=choice)", "data", ["shell"]),
    ],
)
def test_the_rules_catch_what_breaks_them(source, room, expected):
    assert violations(source, room) == expected
