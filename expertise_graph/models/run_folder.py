"""The folder of a run: whose it is, whether it has finished, and what its files say.

::

    run.json                        identity of the run, and its result: null until it has finished
    model/                          the backbone, which the source ``dir`` reads
    head.safetensors, head.json     the linear classifier on it, and its description
    test.safetensors                logits of the test items, in the order of the split
    history.json                    a row for each epoch
    README.md                       the model card
    checkpoint/ tensorboard/ cold/  while it runs; the course; the cold start for comparison
    ensemble.json, members/         weights of several networks that answer together, and the others

Nothing here needs torch; see `classifier` for the tensors.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from expertise_graph.core import (
    InvalidInputError,
    NotFoundError,
    new_folder,
    read_json,
    read_json_object,
    remove,
    setting,
    write_json,
    write_text,
)
from expertise_graph.data import CLASS, KINDS

RECORD, DESCRIPTION, CARD, HISTORY, ENSEMBLE = (
    "run.json",
    "head.json",
    "README.md",
    "history.json",
    "ensemble.json",
)

# What a run may leave. run.json comes last: it marks the folder as a run's until all the rest is gone.
_OWN = (
    "checkpoint",
    "cold",
    "model",
    "tensorboard",
    "members",
    ENSEMBLE,
    "head.safetensors",
    DESCRIPTION,
    "test.safetensors",
    HISTORY,
    CARD,
    RECORD,
)

_MEMBER = re.compile(r"members/[0-9]+")
_ENSEMBLE_REMARK = (
    "{} networks answer together here, see `ensemble.json`: {:.4f} on the test split. What follows is of the "
    "first, in `model/`; the others are in `members/`."
)


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What run.json says.

    Attributes:
        identity: what the run is known by: settings, data, expert.
        result: what it reached; None until it has finished.
    """

    identity: Mapping[str, Any]
    result: Mapping[str, Any] | None

    @property
    def config(self) -> Mapping[str, Any]:
        """The settings of the run."""
        config = self.identity.get("config")
        return config if isinstance(config, dict) else {}

    @property
    def trained_in(self) -> tuple[tuple[str, int], ...]:
        """(task id, seed) of the training, which say what items were held out; none where it is not known."""
        data, seed = self.identity.get("data"), self.config.get("seed")
        return ((f"task:{data}", seed),) if isinstance(data, str) and isinstance(seed, int) else ()

    @property
    def n_train(self) -> int | None:
        """How many items it was trained on, where it says so."""
        n = (self.result or {}).get("n_train")
        return n if isinstance(n, int) and n > 0 else None


@dataclass(frozen=True, kw_only=True)
class ModelDescription:
    """What head.json says of a finished model.

    Attributes:
        classes: names of classes or labels, or of the value, in the order of the logits.
        kind: of the target: class (one an item), labels (several) or value (a number).
        temperature: what logits are divided by before they become probabilities.
        modality: of the inputs; older folders leave it out.
        dim: width of the features.
        metric: what `accuracy` is.
        accuracy: on the test split of its own data; None where nothing was measured.
        seen: items of that split that its expert had learnt from before.
        task: id of the task that it was made for.
        expert: id of what it was made from.
        strategy: how.
        trusted_code: whether a network of the user's own code is part of it.
        columns: which columns of its data hold what, as far as they were named.
    """

    classes: tuple[str, ...]
    kind: str = CLASS
    temperature: float = 1.0
    trusted_code: bool = False
    modality: str | None = None
    dim: int | None = None
    metric: str | None = None
    accuracy: float | None = None
    seen: int = 0
    task: str | None = None
    expert: str | None = None
    strategy: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        values = {**asdict(self), "classes": list(self.classes)}
        return {name: value for name, value in values.items() if name != "columns" or value}

    @classmethod
    def from_file(cls, path: Path) -> ModelDescription:
        """Read head.json; what older versions leave out has its default.

        Raises:
            InvalidInputError: when it is damaged, or says what cannot be.
        """
        values = read_json_object(path)
        found = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        classes = found.get("classes")
        if not isinstance(classes, list) or not classes or not all(isinstance(c, str) for c in classes):
            raise InvalidInputError(f"{path} names no classes: train the model again")
        description = cls(**{**found, "classes": tuple(classes)})
        description._check(path)
        return description

    def _check(self, path: Path) -> None:
        if self.kind not in KINDS:
            raise InvalidInputError(f"{path} has the kind {self.kind!r}; possible are {', '.join(KINDS)}")
        if not _is_positive(self.temperature):
            raise InvalidInputError(
                f"{path} has the temperature {self.temperature!r}; a number above 0 is needed"
            )
        if type(self.seen) is not int:
            raise InvalidInputError(f"{path} has {self.seen!r} items seen before; a whole number is needed")
        _check_score(path, self.accuracy)
        if not isinstance(self.columns, dict):
            raise InvalidInputError(f"{path} has the columns {self.columns!r}; an object is needed")


@dataclass(frozen=True, kw_only=True)
class EnsembleDescription:
    """What ensemble.json says: weights by folder of the network, "." first, and the score of all together."""

    weights: Mapping[str, float]
    accuracy: float | None


@dataclass(frozen=True)
class RunFolder:
    """The folder at `path`; whether anything is there is asked by its methods."""

    path: Path

    @property
    def model(self) -> Path:
        """Where the backbone is."""
        return self.path / "model"

    @property
    def head(self) -> Path:
        """The weights of the head."""
        return self.path / "head.safetensors"

    @property
    def tested(self) -> Path:
        """The logits of the test items."""
        return self.path / "test.safetensors"

    @property
    def checkpoint(self) -> Path:
        """Where checkpoints are while it runs."""
        return self.path / "checkpoint"

    @property
    def is_run(self) -> bool:
        """Whether a run has taken the folder."""
        try:
            return (self.path / RECORD).is_file()
        except (OSError, ValueError):  # a name that no file can have
            return False

    @property
    def has_model(self) -> bool:
        """Whether a finished model is described here."""
        return (self.path / DESCRIPTION).is_file()

    def record(self) -> RunRecord | None:
        """Return what run.json says, None where there is none.

        Raises:
            InvalidInputError: when it is damaged.
        """
        path = self.path / RECORD
        if not self.is_run:
            return None
        try:
            content = read_json_object(path)
        except InvalidInputError as error:
            raise InvalidInputError(f"{path} is not the record of a run: {error}") from error
        identity, result = content.get("identity"), content.get("result", "")
        if not isinstance(identity, dict) or not isinstance(result, dict | None):
            raise InvalidInputError(f"{path} is not the record of a run: identity or result is missing")
        return RunRecord(identity=identity, result=result)

    def finished_record(self) -> RunRecord | None:
        """Return what run.json says of a finished run, None where there is none.

        Raises:
            InvalidInputError: when it is damaged, or the run has not finished.
        """
        record = self.record()
        if record is not None and record.result is None:
            raise InvalidInputError(
                f"the run in {self.path} has not finished: run the same command again to resume it"
            )
        return record

    def description(self) -> ModelDescription | None:
        """Return what head.json says, None where there is none.

        Raises:
            InvalidInputError: when it is damaged.
        """
        return ModelDescription.from_file(self.path / DESCRIPTION) if self.has_model else None

    def history(self) -> list[dict[str, Any]]:
        """Return a row for each epoch.

        Raises:
            InvalidInputError: when history.json is missing or damaged.
        """
        rows = read_json(self.path / HISTORY)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise InvalidInputError(f"{self.path / HISTORY} is not the history of a run")
        return rows

    def result_of(self, identity: Mapping[str, Any], *, replaceable: bool = False) -> dict[str, Any] | None:
        """Return the result when the run known by `identity` has finished here.

        Args:
            identity: values for JSON.
            replaceable: whether the caller has a setting `force` that replaces another run.

        Returns:
            None when it has not finished, or the folder is absent or empty.

        Raises:
            InvalidInputError: when the folder holds another run or other files.
        """
        record = self.record()
        if record is not None:
            # Through JSON, because tuples come back as lists.
            given = json.loads(json.dumps(dict(identity)))
            self._check_same(record.identity, given, replaceable=replaceable)
            return None if record.result is None else dict(record.result)
        if self.path.is_dir():
            # A record that was being written when its process was killed does not count.
            there = sorted(p.name for p in self.path.iterdir() if not p.name.startswith(".run."))
            if there:
                raise InvalidInputError(
                    f"{self.path} holds other files ({', '.join(there[:3])}): choose a new or empty folder "
                    f"as {setting('out')}"
                )
        elif self.path.exists() or self.path.is_symlink():
            raise InvalidInputError(
                f"{self.path} cannot be written (it is a file): choose another {setting('out')}"
            )
        return None

    def claim(self, identity: Mapping[str, Any]) -> dict[str, Any] | None:
        """Take the folder for the run known by `identity`, unless that has it already.

        Returns:
            The result when that run has finished here, otherwise None.

        Raises:
            InvalidInputError: when it holds another run or other files, or cannot be written.
        """
        result = self.result_of(identity, replaceable=True)
        if not self.is_run:
            self.begin(identity)
        return result

    def begin(self, identity: Mapping[str, Any]) -> None:
        """Record a run that has no result yet.

        Raises:
            InvalidInputError: when the folder cannot be written.
        """
        with self._writable():
            self.path.mkdir(parents=True, exist_ok=True)
            self._write_record(identity, None)

    def finish(self, identity: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """Record the result; from now on the run has finished."""
        self._write_record(identity, result)

    @contextmanager
    def written_whole(self) -> Iterator[RunFolder]:
        """Give a folder to write to, which takes the place of this one, absent or empty, at the end.

        Nothing is left when the block raises.

        Raises:
            InvalidInputError: when it cannot be written, or holds files by then.
        """
        with self._writable():
            self.path.parent.mkdir(parents=True, exist_ok=True)
        with new_folder(self.path) as temporary:
            yield RunFolder(temporary)

    def discard(self) -> None:
        """Remove what a run wrote into the folder, and nothing else.

        Raises:
            InvalidInputError: when the folder has files but no run.json, so belongs to no run.
        """
        if self.path.is_dir() and any(self.path.iterdir()) and not self.is_run:
            raise InvalidInputError(
                f"{self.path} is not the folder of a run: nothing was removed, choose another "
                f"{setting('out')}"
            )
        for name in _OWN:
            remove(self.path / name)

    def check_backbone(self) -> None:
        """Raise NotFoundError when there is no ``model/``, or nothing in it."""
        if not self.model.is_dir() or not any(self.model.iterdir()):
            raise NotFoundError(f"{self.path} holds no model/: train it again, with {setting('force')}")

    def check_complete(self) -> None:
        """Raise NotFoundError when a file of the finished model is missing or empty."""
        for path in (self.head, self.path / DESCRIPTION):
            if not path.is_file() or not path.stat().st_size:
                raise NotFoundError(f"{path} is missing or empty: train it again, with {setting('force')}")
        self.check_backbone()

    def write_description(self, description: ModelDescription) -> None:
        """Write head.json."""
        write_json(self.path / DESCRIPTION, description.as_dict())

    def write_history(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write history.json."""
        write_json(self.path / HISTORY, [dict(row) for row in rows])

    def write_card(self, text: str) -> None:
        """Write README.md."""
        write_text(self.path / CARD, text)

    def ensemble(self) -> EnsembleDescription | None:
        """Return how networks answer together here, None where there is one only.

        Raises:
            InvalidInputError: when ensemble.json is damaged, or names a folder that is not below this one.
        """
        path = self.path / ENSEMBLE
        if not path.is_file():
            return None
        content = read_json_object(path)
        weights = content.get("weights")
        if not isinstance(weights, dict) or not _are_members(list(weights)):
            raise InvalidInputError(f"{path} must give weights of ., members/2 and so on; it has {weights!r}")
        for name, weight in weights.items():
            if not _is_positive(weight):
                raise InvalidInputError(
                    f"{path} gives {name} the weight {weight!r}; a number above 0 is needed"
                )
        _check_score(path, content.get("accuracy"))
        return EnsembleDescription(weights=weights, accuracy=content.get("accuracy"))

    def write_ensemble(self, weights: Mapping[str, float], accuracy: float) -> None:
        """Make an ensemble of the model in this folder and others below it.

        Args:
            weights: by folder of the network: ``.``, ``members/2`` and so on.
            accuracy: of all together on the test split.
        """
        write_json(self.path / ENSEMBLE, {"weights": dict(weights), "accuracy": accuracy})
        remark = _ENSEMBLE_REMARK.format(len(weights), accuracy)
        self.write_card(_with_remark((self.path / CARD).read_text(encoding="utf-8"), remark))

    def _write_record(self, identity: Mapping[str, Any], result: Mapping[str, Any] | None) -> None:
        recorded = None if result is None else dict(result)
        write_json(self.path / RECORD, {"identity": dict(identity), "result": recorded})

    @contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InvalidInputError(
                f"{self.path} cannot be written ({error.strerror}): choose another {setting('out')}"
            ) from error

    def _check_same(
        self, recorded: Mapping[str, Any], given: Mapping[str, Any], *, replaceable: bool
    ) -> None:
        before, now = _flat(recorded), _flat(given)
        differing = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
        if len(differing) > 1 and "digest" in differing:
            differing.remove("digest")  # it sums up the others
        if differing:
            shown = ", ".join(f"{name} was {before.get(name)!r}, is {now.get(name)!r}" for name in differing)
            ways = [f"replace it with {setting('force')}"] if replaceable else []
            ways.append(f"choose another {setting('out')}")
            raise InvalidInputError(f"{self.path} holds another run ({shown}): {', or '.join(ways)}")


def _flat(identity: Mapping[str, Any]) -> dict[str, Any]:
    return {**identity.get("config", {}), **{k: v for k, v in identity.items() if k != "config"}}


def _with_remark(card: str, remark: str) -> str:
    """Return a model card with a paragraph below its title, in place of an earlier one."""
    before, title, after = card.partition("\n# ")
    name, _, rest = after.partition("\n")
    table = max(rest.find("| | |"), 0)
    return f"{before}{title}{name}\n\n{remark}\n\n{rest[table:].lstrip()}"


def _are_members(names: Sequence[str]) -> bool:
    """Tell whether these are folders of an ensemble; none may lie elsewhere."""
    return names[:1] == ["."] and len(names) > 1 and all(_MEMBER.fullmatch(name) for name in names[1:])


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _check_score(path: Path, value: object) -> None:
    if value is None or (
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    ):
        return
    raise InvalidInputError(f"{path} has the accuracy {value!r}; a number is needed")
