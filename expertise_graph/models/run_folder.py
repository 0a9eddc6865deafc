"""The folder of a run: whose it is, whether it has finished, and what its files say.

::

    run.json                        identity of the run, and its result: null until it has finished
    model/                          the backbone, which the source ``dir`` reads
    head.safetensors, head.json     the linear classifier on it, and its description
    test.safetensors                logits of the test items, in the order of the split
    learnt.safetensors              the items it has learnt from, see `learnt_items`
    history.json                    a row for each epoch
    README.md                       the model card
    checkpoint/ tensorboard/ cold/  while it runs; the course; the cold start for comparison
    ensemble.json, members/         weights of several networks that answer together, and the others

Nothing here needs torch; see `classifier` for the tensors.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expertise_graph.core import (
    InvalidInputError,
    NotFoundError,
    check_no_workspace,
    locked,
    new_folder,
    read_json,
    refuse_in_use,
    setting,
    write_json,
    write_text,
)
from expertise_graph.models.descriptions import EnsembleDescription, ModelDescription, RunRecord
from expertise_graph.models.run_files import (
    CARD,
    DESCRIPTION,
    ENSEMBLE,
    HISTORY,
    LEARNT,
    LOCK,
    RECORD,
    TESTED,
    files_below,
    manifest,
    own_files,
)

_ENSEMBLE_REMARK = (
    "{} networks answer together here, see `ensemble.json`: {:.4f} on the test split. What follows is of the "
    "first, in `model/`; the others are in `members/`."
)


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
        return self.path / TESTED

    @property
    def learnt(self) -> Path:
        """The items that the model has learnt from."""
        return self.path / LEARNT

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
        return RunRecord.from_file(self.path / RECORD) if self.is_run else None

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
        check_no_workspace(self.path)
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

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep other processes out of the folder while the block runs; it is made where it is not there.

        Raises:
            InvalidInputError: when another process is at work in it, or it cannot be written.
        """
        check_no_workspace(self.path)
        try:
            str(self.path).encode()
        except UnicodeEncodeError as error:  # safetensors takes no such path
            raise InvalidInputError(
                f"the name of {self.path} is not UTF-8: choose another {setting('out')}"
            ) from error
        if self.path.exists() and not self.path.is_dir():
            yield  # refused by whoever looks into it
            return
        with self._writable():
            self.path.mkdir(parents=True, exist_ok=True)
            lock = ExitStack()
            lock.enter_context(locked(self.path / LOCK, str(self.path)))
        try:
            with lock:
                yield
        finally:
            with suppress(OSError):  # it is not empty
                self.path.rmdir()

    def refuse_in_use(self, what: str = "") -> None:
        """Raise InvalidInputError where another process is at work in the folder.

        Args:
            what: is in use then, for the message; by default the folder.
        """
        refuse_in_use(self.path / LOCK, what or str(self.path))

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

    def discard(self, also: Sequence[str] = ()) -> None:
        """Remove what a run wrote into the folder; where anything else is there, nothing is removed.

        Args:
            also: names of files that belong to the folder as well, and stay.

        Raises:
            InvalidInputError: when the folder belongs to no run, or holds files that no run wrote.
        """
        there = files_below(self.path) - {*also}
        if not there:
            return
        if not self.is_run:
            raise InvalidInputError(
                f"{self.path} is not the folder of a run: nothing was removed, choose another "
                f"{setting('out')}"
            )
        others = sorted(there - own_files(self.path))
        if others:
            raise InvalidInputError(
                f"{self.path} holds files that its run did not write, or that were changed since "
                f"({', '.join(others[:3])}): nothing was removed; move them, or choose another "
                f"{setting('out')}"
            )
        # run.json comes last: it marks the folder as a run's until all the rest is gone.
        for name in sorted(there, key=lambda name: (name == RECORD, name)):
            (self.path / name).unlink(missing_ok=True)
        for folder in sorted((p for p in self.path.rglob("*") if p.is_dir()), reverse=True):
            folder.rmdir()

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
        return EnsembleDescription.from_file(path) if path.is_file() else None

    def write_ensemble(self, weights: Mapping[str, float], accuracy: float) -> None:
        """Make an ensemble of the model in this folder and others below it.

        Args:
            weights: by folder of the network: ``.``, ``members/2`` and so on.
            accuracy: of all together on the test split.
        """
        write_json(self.path / ENSEMBLE, {"weights": dict(weights), "accuracy": accuracy})
        remark = _ENSEMBLE_REMARK.format(len(weights), accuracy)
        self.write_card(_with_remark((self.path / CARD).read_text(encoding="utf-8"), remark))
        record = self.record()
        if record is not None:
            self._write_record(record.identity, record.result)

    def _write_record(self, identity: Mapping[str, Any], result: Mapping[str, Any] | None) -> None:
        content = {"identity": dict(identity), "result": None if result is None else dict(result)}
        if result is not None:
            content["files"] = manifest(self.path)
        write_json(self.path / RECORD, content)

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
            # What deletes a model is never the first thing to try.
            ways = [f"choose another {setting('out')}"]
            ways += [f"replace it with {setting('force')}"] if replaceable else []
            raise InvalidInputError(f"{self.path} holds another run ({shown}): {', or '.join(ways)}")


def _flat(identity: Mapping[str, Any]) -> dict[str, Any]:
    return {**identity.get("config", {}), **{k: v for k, v in identity.items() if k != "config"}}


def _with_remark(card: str, remark: str) -> str:
    """Return a model card with a paragraph below its title, in place of an earlier one."""
    before, title, after = card.partition("\n# ")
    name, _, rest = after.partition("\n")
    table = max(rest.find("| | |"), 0)
    return f"{before}{title}{name}\n\n{remark}\n\n{rest[table:].lstrip()}"
