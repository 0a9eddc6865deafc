"""Imports point one way, each third-party package has one owner, and some things are nowhere."""

import ast
import importlib
import re
import sys
from collections import Counter
from pathlib import Path

import pytest

import expertise_graph
from expertise_graph.core.door import offered

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "expertise_graph"

# A room (module or folder of the package) may import rooms of a lower rank only, and by their doors.
RANKS = {
    "core": 0,
    "data": 1,
    "starter": 1,
    "store": 1,
    "transferability": 1,
    "models": 2,
    "features": 3,
    "registry": 4,
    "retrieval": 5,
    "sharing": 5,
    "training": 6,
    # Beside training, so that using a model cannot come to need what trains one.
    "inference": 6,
    "merging": 7,
    "deltas": 8,
    "diagnostics": 8,
    "tuning": 8,
    "workspace": 9,
    "views": 10,
    "demo": 10,
    "plots": 10,
    "cli": 11,
    "__main__": 12,
}

OWNERS = {
    "click": {"cli"},
    "rich": {"cli"},
    # Settings that users write; metadata that authors of models write.
    "yaml": {"cli", "models"},
    "sqlite_utils": {"store"},
    "sqlite3": {"store"},
    "faiss": {"features"},
    "huggingface_hub": {"models"},
    "transformers": {"models"},
    "networkx": {"registry"},
    "peft": {"models"},
    "matplotlib": {"plots"},
    "jinja2": {"diagnostics"},
    "pyarrow": {"data"},
    "accelerate": {"training"},
    "optuna": {"tuning"},
    "tensorboardX": {"training"},
    "onnxruntime": {"inference"},
    "onnxscript": {"inference"},
}

# Known in several rooms: arrays, statistics, tensors and their files, pictures.
SHARED = {"numpy", "scipy", "sklearn", "torch", "safetensors", "PIL"}

# The command line is a face: it knows the facade, the views, and what everybody may use.
FACES = {"cli": {"core", "workspace", "views", "plots", "demo"}}

# What a door is made of; each room's own door imports it.
DOOR = ["core", "door"]

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
    other = parts[1] if len(parts) > 1 else room
    if other == room or (room in FACES and other not in RANKS):
        # A face may take the public names from the package itself.
        return []
    if other not in RANKS:
        return [f"{room} imports {other}, which is no room"]
    if other not in FACES.get(room, RANKS):
        return [f"{room} goes past the facade to {other}"]
    if RANKS[room] <= RANKS[other]:
        return [f"{room} imports {other}"]
    return [] if len(parts) == 2 or parts[1:] == DOOR else [f"{room} goes past the door of {other}"]


def call_violations(node):
    name, given = ast.unparse(node.func), [f"{k.arg}={ast.unparse(k.value)}" for k in node.keywords]
    found = [f"calls {name}"] if name in FORBIDDEN_CALLS else []
    if name in SAFE_ONLY_WITH and SAFE_ONLY_WITH[name] not in given:
        found.append(f"{name} without {SAFE_ONLY_WITH[name]}")
    return found + ["shell" for keyword in given if keyword.startswith("shell=") and keyword != "shell=False"]


# A flag as a word of its own, or quoted: not a dash between words.
FLAG = re.compile(r"(^|[\s`(])--[a-z]")
# Programs with flags of their own: pip, and `accelerate launch`.
OTHERS = re.compile(
    r"pip install|^--(cpu|standalone|nproc_per_node|mpirun_hostfile|num_processes)|--num_processes 2$"
)

FILES = sorted(PACKAGE.rglob("*.py"))
ROOMS = sorted({room_of(path) for path in FILES})
DOORS = [room for room in ROOMS if (PACKAGE / room).is_dir() and room != "cli"]


@pytest.mark.parametrize("room", ROOMS)
def test_the_files_of_a_room_keep_to_the_rules(room):
    found = {
        str(path.relative_to(PACKAGE)): violations(path.read_text(encoding="utf-8"), room)
        for path in FILES
        if room_of(path) == room
    }
    assert {path: broken for path, broken in found.items() if broken} == {}


def test_every_room_has_a_rank():
    assert set(ROOMS) - {"__init__"} == set(RANKS)


@pytest.mark.parametrize("room", DOORS)
def test_what_a_door_offers_is_there_and_no_module_stands_in_its_way(room):
    door = importlib.import_module(f"expertise_graph.{room}")
    modules = {path.stem for path in (PACKAGE / room).iterdir()}
    offers = offered((PACKAGE / room / "__init__.py").read_text(encoding="utf-8"))
    for name in door.__all__:
        assert getattr(door, name) is not None
        # A module that is imported takes the place of anything else of its name.
        assert name not in modules or offers[name] == f"expertise_graph.{room}"
    with pytest.raises(AttributeError, match="nothing_like_this"):
        door.nothing_like_this  # noqa: B018


def test_every_owner_uses_what_it_owns():
    used = {
        (name.split(".")[0], room_of(path))
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in imported(node)
    }
    assert {(package, room) for package, rooms in OWNERS.items() for room in rooms} <= used


# What names a modality: elsewhere its properties decide, so that a further one needs no change there.
NAMES_OF_MODALITIES = {"image", "text"}
MODALITIES_ARE_NAMED_IN = ("data/modalities", "models", "starter")


def named_modalities(source):
    """Return the lines of the string constants that are the name of a modality."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and node.value in NAMES_OF_MODALITIES
    ]


def test_modalities_are_named_where_they_are_defined_loaded_or_shipped():
    lines = {
        path.relative_to(PACKAGE).as_posix(): named_modalities(path.read_text("utf-8")) for path in FILES
    }
    assert [n for n in lines if lines[n] and not n.startswith(MODALITIES_ARE_NAMED_IN)] == []
    assert named_modalities("x = {'image': 1,\n'an image': 2, 'y': 'text'}") == [1, 2]


@pytest.mark.parametrize(
    ("source", "room", "expected"),
    [
        ("x = 1", "store", ["no docstring"]),
        ("'''D.'''\nfrom expertise_graph.models import load", "store", ["store imports models"]),
        ("'''D.'''\nimport expertise_graph.cli.app", "workspace", ["workspace imports cli"]),
        ("'''D.'''\nfrom expertise_graph import retrieval", "registry", ["registry imports retrieval"]),
        ("'''D.'''\nfrom expertise_graph.training import train", "inference", ["inference imports training"]),
        ("'''D.'''\nfrom expertise_graph.store import Store", "features", []),
        ("'''D.'''\nfrom expertise_graph.store.rows import now", "store", []),
        (
            "'''D.'''\nfrom expertise_graph.store.rows import now",
            "registry",
            ["registry goes past the door of store"],
        ),
        ("'''D.'''\nfrom .rows import now", "store", ["relative import"]),
        ("'''D.'''\nimport faiss", "registry", ["registry does not own faiss"]),
        ("'''D.'''\nfrom sqlite3 import connect", "features", ["features does not own sqlite3"]),
        ("'''D.'''\nimport click", "cli", []),
        ("'''D.'''\nfrom expertise_graph import Query, views", "cli", []),
        ("'''D.'''\nfrom expertise_graph import __version__", "cli", []),
        ("'''D.'''\nfrom expertise_graph import Query", "demo", ["demo imports Query, which is no room"]),
        (
            "'''D.'''\nfrom expertise_graph.store import Store",
            "cli",
            ["cli goes past the facade to store"],
        ),
        ("'''D.'''\nimport pandas", "data", ["pandas has no owner"]),
        ("'''D.'''\nfrom pickle import loads", "store", ["pickle is not used anywhere"]),
        ("'''D.'''\ndef f():\n    import json", "store", ["import in f"]),
        ("'''D.'''\ndef f():\n    import json", "cli", []),
        ("'''D.'''\ntorch.save(x, path)\nmodel.eval()", "models", ["calls torch.save"]),
        ("'''D.'''\neval('1')\nexec('1')\nprint(1)", "data", ["calls eval", "calls exec", "calls print"]),
        ("'''D.'''\ntorch.load(p)", "models", ["torch.load without weights_only=True"]),
        ("'''D.'''\nnp.load(p, allow_pickle=True)", "data", ["np.load without allow_pickle=False"]),
        ("'''D.'''\nrun(['ls'], shell=True)", "data", ["shell"]),
        ("'''D.'''\nrun('ls', shell=choice)", "data", ["shell"]),
    ],
)
def test_the_rules_catch_what_breaks_them(source, room, expected):
    assert violations(source, room) == expected


def test_one_class_name_is_one_class():
    names = Counter(
        node.name
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert [name for name, times in names.items() if times > 1] == []


def flags_named(source):
    """Return the strings that name a flag of the command line, documentation included."""
    constants = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Constant)]
    texts = [c.value for c in constants if isinstance(c.value, str)]
    return [text for text in texts if FLAG.search(text) and not OTHERS.search(text)]


@pytest.mark.parametrize("room", [room for room in ROOMS if room not in ("cli", "server")])
def test_nothing_below_the_command_line_names_a_flag(room):
    found = {
        str(path.relative_to(PACKAGE)): flags_named(path.read_text(encoding="utf-8"))
        for path in FILES
        if room_of(path) == room
    }
    assert {path: flags for path, flags in found.items() if flags} == {}


def test_a_flag_would_be_noticed():
    assert flags_named("x = 'give another --out'") == ["give another --out"]
    assert flags_named("x = 'a -- b'; y = 'epoch--5'") == []


def test_the_command_line_stands_on_the_facade():
    """What it may import besides: results as JSON, and the nouns, errors and texts that all may use."""
    allowed = {"cli", "core", "workspace", "views", "demo", "plots", "__version__"}
    offered = set(expertise_graph.__all__)
    used = {
        parts[1] if len(parts) > 1 else "__version__"
        for path in FILES
        if room_of(path) == "cli"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for parts in [name.split(".") for name in imported(node)]
        if parts[0] == "expertise_graph"
    }
    assert used - allowed - offered == set()
