"""What the files of a run say, typed and checked: run.json, head.json, ensemble.json."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from expertise_graph.core import MOST_SEED, InvalidInputError, read_json_object
from expertise_graph.data import CLASS, KINDS, Columns

_MEMBER = re.compile(r"members/[0-9]+")


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What run.json says.

    Attributes:
        identity: what the run is known by: settings, data, expert.
        result: what it reached; None until it has finished.
        files: the sizes of the files that it wrote, by their paths in the folder; None where it does not say.
    """

    identity: Mapping[str, Any]
    result: Mapping[str, Any] | None
    files: Mapping[str, int] | None = None

    @classmethod
    def from_file(cls, path: Path) -> RunRecord:
        """Read run.json.

        Raises:
            InvalidInputError: when it is damaged.
        """
        try:
            content = read_json_object(path)
        except InvalidInputError as error:
            raise InvalidInputError(f"{path} is not the record of a run: {error}") from error
        identity, result = content.get("identity"), content.get("result", "")
        if not isinstance(identity, dict) or not isinstance(result, dict | None):
            raise InvalidInputError(f"{path} is not the record of a run: identity or result is missing")
        config = identity.get("config", {})
        if not isinstance(config, dict) or not _is_seed(config.get("seed", 0)):
            raise InvalidInputError(f"{path} is not the record of a run: its settings are damaged")
        files = content.get("files")
        return cls(identity=identity, result=result, files=files if isinstance(files, dict) else None)

    @property
    def config(self) -> Mapping[str, Any]:
        """The settings of the run."""
        config: Mapping[str, Any] = self.identity.get("config", {})
        return config

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


def _is_seed(value: object) -> bool:
    return isinstance(value, int) and 0 <= value <= MOST_SEED


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
        columns: of its data, as far as they were named: the fields of `data.Columns`.
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

    @property
    def named_columns(self) -> Columns:
        """Its `columns`, without what another version of this package calls otherwise."""
        known = {field.name for field in fields(Columns)}
        return Columns(**{name: value for name, value in self.columns.items() if name in known})

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
        known = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        classes = known.get("classes")
        if not isinstance(classes, list) or not classes or not all(isinstance(c, str) for c in classes):
            raise InvalidInputError(f"{path} names no classes: train the model again")
        description = cls(**{**known, "classes": tuple(classes)})
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

    @classmethod
    def from_file(cls, path: Path) -> EnsembleDescription:
        """Read ensemble.json.

        Raises:
            InvalidInputError: when it is damaged, or names a folder that is not below its own.
        """
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
        return cls(weights=weights, accuracy=content.get("accuracy"))


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
