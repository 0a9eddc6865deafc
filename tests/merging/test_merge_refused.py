"""What cannot be merged is refused with one line, and leaves neither a folder nor a row."""

import dataclasses
import json
import shutil

import pytest

from expertise_graph.workspace import Workspace
from tests import materials
from tests.merging.test_merge import broken, merge
from tests.program import invoke

pytestmark = pytest.mark.slow


@pytest.fixture
def unchanged(family):
    before = materials.counts(family.workspace)
    files = sorted(p.name for p in family.workspace.iterdir())
    yield
    assert materials.counts(family.workspace) == before
    assert sorted(p.name for p in family.workspace.iterdir()) == files


@pytest.mark.usefixtures("unchanged")
class TestRefused:
    def test_other_parents_are_named(self, family):
        done = merge(family, models=(family.runs[0], family.stranger))
        done.failed("no parent in common", "zoo:emoji@resnet", "zoo:hebrew-letters@resnet", "--force")

    def test_another_width_is_named_by_its_first_tensor(self, family):
        done = merge(family, "--force", models=("emoji", "greek-letters"))
        done.failed("cannot be merged", "model.encoder", "in the first and", "in the second")

    def test_another_architecture(self, family):
        materials.bert(family.root / "bert", 0)
        invoke("init", family.root / "elsewhere").worked()
        with Workspace(family.root / "elsewhere") as opened:
            opened.register(f"dir:{family.root / 'bert'}")
            opened.register("zoo:emoji")
        texts = materials.glosses(family.root / "table.csv", 8, 3)
        done = invoke(
            "--workspace", family.root / "elsewhere", "merge", "bert", "emoji", "--data", texts, "--out", "x",
            "--text-column", "text", "--label-column", "label",
        )  # fmt: skip
        done.failed("modality text and image")

    def test_one_model_or_the_same_twice(self, family):
        merge(family, models=family.runs[:1]).failed("at least two")
        merge(family, models=(family.runs[0], family.runs[0])).failed("are the same weights")

    def test_a_quantised_model(self, family):
        with Workspace() as opened, opened.store.transaction():
            child = next(e for e in opened.experts() if e.locator == str(family.runs[1] / "model"))
            opened.store.put_expert(dataclasses.replace(child, tags=("gptq",)))
        done = merge(family, models=(family.runs[0], child.id))
        done.failed("is quantised", "full-precision")

    def test_a_missing_or_damaged_model(self, family):
        merge(family, models=(family.runs[0], "nobody")).failed("no expert 'nobody'")
        merge(family, models=(family.runs[0], family.data)).failed("not the folder of a finished run")
        damaged = broken(family.runs[1], family.root / "damaged", lambda tensors: None)
        (damaged / "head.safetensors").write_bytes(b"PK\x03\x04")
        merge(family, models=(family.runs[0], damaged)).failed("head.safetensors is not a safetensors file")

    @pytest.mark.parametrize(
        ("options", "named"),
        [
            (("--scale", 1), "--scale has no effect on mean"),
            (("--method", "fisher", "--density", 0.5), "--density has no effect on fisher"),
            (("--method", "ties", "--weights", "1,1,1"), "--weights has no effect on ties"),
            (("--weights", "1,1"), "do not fit 3 models"),
            (("--method", "ties", "--density", 0), "density is 0"),
            (("--method", "ties", "--scale", "nan"), "scale is nan"),
        ],
    )
    def test_numbers_that_mean_nothing(self, family, options, named):
        merge(family, *options).failed(named)

    def test_a_folder_with_something_in_it(self, family):
        (family.root / "mine").mkdir()
        (family.root / "mine" / "thesis.txt").write_text("years of work")
        merge(family, out=family.root / "mine").failed("holds other files", "thesis.txt")
        assert (family.root / "mine" / "thesis.txt").read_text() == "years of work"

    def test_test_items_that_a_child_has_learnt(self, family):
        data = materials.pictures(family.root / "undeclared", 3, 8)
        with Workspace() as opened:
            sha = opened.read(data).sha256
        # A run says what it was trained on; here, that it was these data with another seed.
        runs = []
        for number, seed in ((0, 0), (1, 7)):
            folder = family.root / f"seeded-{number}"
            shutil.copytree(family.runs[number], folder)
            record = json.loads((folder / "run.json").read_text())
            record["identity"]["data"], record["identity"]["config"]["seed"] = sha, seed
            (folder / "run.json").write_text(json.dumps(record))
            runs.append(folder)
        merge(family, models=runs, data=data).failed("with --seed 7", "declare validation and test splits")
