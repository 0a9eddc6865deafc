"""The folder of a run: whose it is, what its files say, and one line for each that is damaged."""

import json

import pytest
import torch

from expertise_graph.core.errors import InvalidInputError, NotFoundError
from expertise_graph.models.classifier import Head, read_head
from expertise_graph.models.descriptions import EnsembleDescription, ModelDescription, RunRecord
from expertise_graph.models.run_folder import RunFolder
from expertise_graph.models.tensors import write_tensors

IDENTITY = {"config": {"lr": 0.1, "seed": 3}, "digest": "d1", "data": "f00", "expert": None}


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run")


def test_a_run_takes_a_folder_finishes_in_it_and_reads_its_result_back(folder):
    assert not folder.is_run
    assert folder.record() is None
    assert folder.claim(IDENTITY) is None
    assert folder.claim(IDENTITY) is None
    assert folder.record() == RunRecord(identity=IDENTITY, result=None)
    with pytest.raises(InvalidInputError, match="has not finished: run the same command again"):
        folder.finished_record()
    folder.finish(IDENTITY, {"accuracy": 0.5, "n_train": 12})
    assert folder.claim(IDENTITY) == {"accuracy": 0.5, "n_train": 12}
    record = folder.finished_record()
    assert (record.trained_in, record.n_train) == ((("task:f00", 3),), 12)


def test_tuples_in_an_identity_are_the_lists_they_are_read_as(folder):
    folder.claim({"config": {"weights": (1, 2)}})
    assert folder.claim({"config": {"weights": (1, 2)}}) is None
    with pytest.raises(InvalidInputError, match=r"weights was \[1, 2\], is \[2, 1\]"):
        folder.claim({"config": {"weights": (2, 1)}})


def test_what_differs_from_another_run_is_named(folder):
    folder.claim(IDENTITY)
    other = {**IDENTITY, "config": {"lr": 0.2, "seed": 3}, "digest": "d2"}
    expected = r"another run \(lr was 0.1, is 0.2\): choose another `out`, or replace it with `force`"
    with pytest.raises(InvalidInputError, match=expected):
        folder.claim(other)
    with pytest.raises(InvalidInputError, match=r"is 0.2\): choose another `out`"):
        folder.result_of(other)


def test_other_files_are_not_touched(folder):
    folder.path.mkdir()
    (folder.path / "thesis.txt").write_text("years of work")
    for attempt in (folder.claim, folder.result_of):
        with pytest.raises(InvalidInputError, match=r"holds other files \(thesis.txt\)"):
            attempt(IDENTITY)
    with pytest.raises(InvalidInputError, match="not the folder of a run: nothing was removed"):
        folder.discard()
    assert [p.name for p in folder.path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    "content",
    [
        *("{", "[]", "{}", '{"identity": 1, "result": null}', '{"identity": {}}'),
        '{"identity": {"config": null}, "result": null}',
        '{"identity": {"config": {"seed": "0"}}, "result": null}',
        '{"identity": {"config": {"seed": -1}}, "result": null}',
    ],
)
def test_a_damaged_record_is_one_line(content, folder):
    folder.path.mkdir()
    (folder.path / "run.json").write_text(content)
    for read in (folder.record, folder.finished_record, lambda: folder.claim(IDENTITY)):
        with pytest.raises(InvalidInputError, match=r"run\.json is not the record of a run") as caught:
            read()
        assert "\n" not in str(caught.value)


def test_a_folder_written_whole_is_there_at_the_end_or_not_at_all(folder):
    def write(fails):
        with folder.written_whole() as temporary:
            temporary.write_history([{"epoch": 0}])
            if fails:
                raise ValueError("in the middle")
            temporary.finish(IDENTITY, {"accuracy": 1.0})

    with pytest.raises(ValueError, match="in the middle"):
        write(True)
    assert list(folder.path.parent.iterdir()) == []
    write(False)
    assert folder.history() == [{"epoch": 0}]
    assert folder.result_of(IDENTITY) == {"accuracy": 1.0}
    with pytest.raises(InvalidInputError, match="not empty"):
        write(False)


def test_a_description_comes_back_and_older_ones_are_filled_in(folder):
    folder.path.mkdir()
    description = ModelDescription(
        classes=("a", "b"), temperature=1.5, modality="text", accuracy=0.5, columns={"label": "shelf"}
    )
    folder.write_description(description)
    assert folder.description() == description
    content = json.loads((folder.path / "head.json").read_text())
    assert content["columns"] == {"label": "shelf"}
    (folder.path / "head.json").write_text('{"classes": ["a"], "a_later_version": "says more"}')
    assert folder.description() == ModelDescription(classes=("a",))
    assert "columns" not in ModelDescription(classes=("a",)).as_dict()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"classes": []}, "names no classes"),
        ({"classes": ["a", 1]}, "names no classes"),
        ({"kind": "ordinal"}, "possible are class, labels, value"),
        ({"temperature": -1}, "a number above 0"),
        ({"seen": True}, "a whole number"),
        ({"accuracy": "high"}, "a number is needed"),
        ({"columns": ["label"]}, "an object is needed"),
    ],
)
def test_a_description_of_what_cannot_be_is_refused(changes, expected, folder):
    folder.path.mkdir()
    content = {**ModelDescription(classes=("a", "b")).as_dict(), **changes}
    (folder.path / "head.json").write_text(json.dumps(content))
    with pytest.raises(InvalidInputError, match=f"head.json.*{expected}"):
        folder.description()


def test_a_head_comes_back_with_its_classes(folder):
    folder.path.mkdir()
    assert read_head(folder) is None
    folder.write_description(ModelDescription(classes=("a", "b"), kind="labels"))
    with pytest.raises(NotFoundError, match=r"head\.safetensors is missing"):
        read_head(folder)
    weight = torch.arange(6.0).reshape(2, 3)
    write_tensors(folder.head, {"weight": weight, "bias": torch.tensor([1.0, -1.0])})
    head = read_head(folder)
    assert (head.classes, head.kind) == (("a", "b"), "labels")
    turned = head.ordered(["b", "a"])
    torch.testing.assert_close(turned.weight, weight[[1, 0]])
    x = torch.tensor([[1.0, 2.0, 3.0]])
    torch.testing.assert_close(turned.linear()(x), torch.tensor([[25.0, 9.0]]))
    assert isinstance(head, Head)


@pytest.mark.parametrize(
    ("tensors", "expected"),
    [
        ({"weight": torch.ones(3, 2), "bias": torch.ones(3)}, "a head for 3 classes and names 2"),
        ({"weight": torch.ones(2, 2)}, "not a linear head"),
        ({"weight": torch.ones(2, 2), "bias": torch.ones(3)}, "not a linear head"),
        ({"weight": torch.ones(2), "bias": torch.ones(2)}, "not a linear head"),
    ],
)
def test_a_head_that_does_not_fit_its_description_is_refused(tensors, expected, folder):
    folder.path.mkdir()
    folder.write_description(ModelDescription(classes=("a", "b")))
    write_tensors(folder.head, tensors)
    with pytest.raises(InvalidInputError, match=expected):
        read_head(folder)


def test_an_ensemble_is_described_beside_its_first_network(folder):
    folder.path.mkdir()
    (folder.path / "README.md").write_text(
        "---\nlicense: mit\n---\n\n# A model\n\n| | |\n|---|---|\n| a | b |\n"
    )
    assert folder.ensemble() is None
    folder.write_ensemble({".": 0.75, "members/2": 0.25}, 0.9)
    assert folder.ensemble() == EnsembleDescription(weights={".": 0.75, "members/2": 0.25}, accuracy=0.9)
    card = (folder.path / "README.md").read_text()
    assert card.startswith("---\nlicense: mit\n---\n\n# A model\n\n2 networks answer together here")
    assert card.endswith("in `members/`.\n\n| | |\n|---|---|\n| a | b |\n")


@pytest.mark.parametrize("lost", ["head.json", "head.safetensors", "model"])
def test_a_model_that_lost_a_file_is_named(lost, folder):
    folder.path.mkdir()
    folder.write_description(ModelDescription(classes=("a",)))
    folder.head.write_bytes(b"x")
    folder.model.mkdir()
    (folder.model / "config.json").write_text("{}")
    folder.check_complete()
    if lost == "model":
        (folder.model / "config.json").unlink()
    else:
        (folder.path / lost).write_bytes(b"")
    with pytest.raises(NotFoundError, match=f"{lost}.*train it again, with `force`"):
        folder.check_complete()
