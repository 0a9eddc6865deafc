"""A workspace opened: its store, its experts, its graph and probe sets."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from expertise_graph.core import Expert, InvalidInputError, Neighbour, ProbeSet, Progress, Run, silent
from expertise_graph.data import Columns, LabelledData, probe_set_from, read_data, write_probe_set
from expertise_graph.features import Prober, Timings
from expertise_graph.features import probe_sets as probes
from expertise_graph.models import SourceOptions, download_dataset, resolve
from expertise_graph.registry import Graph, build_graph, export, registration, similar
from expertise_graph.starter import probe_files
from expertise_graph.store import Store, find_workspace

NO_COLUMNS = Columns()
_NO_OPTIONS = SourceOptions()


class Opened:
    """What every verb works on; see `Workspace`."""

    def __init__(self, path: str | Path | None = None, *, progress: Progress = silent) -> None:
        self.folder = find_workspace(path)
        self.store = Store(self.folder)
        self.progress = progress

    @classmethod
    def init(cls, path: str | Path = ".", *, progress: Progress = silent) -> Self:
        """Make `path` a workspace with the shipped probe sets; one that is there already stays."""
        folder = Path(path).expanduser().resolve()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInputError(f"{folder} cannot be made: {error.strerror}; choose another") from error
        store = Store(folder)
        try:
            for file in probe_files():
                probes.install(store, file)
        finally:
            store.close()
        return cls(folder, progress=progress)

    def __enter__(self) -> Self:
        """Return the workspace itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the registry."""
        self.store.close()

    def register(self, reference: str, *, options: SourceOptions = _NO_OPTIONS) -> Expert:
        """Register the expert that ``scheme:locator`` names, and return its node.

        Raises:
            ExpertiseError: see the sources; nothing is stored then.
        """
        expert = resolve(reference, options)
        return registration.register(self.store, self._prober(options.trust_code), expert)

    def experts(self, modality: str | None = None) -> list[Expert]:
        """Return the registered experts."""
        return self.store.experts(modality)

    def similar(self, expert: str, k: int = 5) -> list[Neighbour]:
        """Return the k experts nearest to the named one, nearest first.

        Raises:
            NotFoundError: when there is no such expert.
        """
        node = self.store.find_runnable(expert)
        return similar(self.store, probes.current(self.store, node.modality).id, node, k)

    def runs(self) -> list[Run]:
        """Return all training runs, oldest first."""
        return self.store.runs()

    def remove(self, expert: str) -> Expert:
        """Take the named expert out of the graph and return it; measured history stays."""
        node = self.store.find_expert(expert)
        registration.remove(self.store, node)
        return node

    def create_probe_set(
        self, data: str | Path, *, name: str, n: int, seed: int, license: str
    ) -> tuple[ProbeSet, list[str]]:
        """Draw a probe set from a folder or dataset, make it current, and embed the experts on it.

        Returns:
            The probe set, and a line for each expert that could not be run.

        Raises:
            DatasetError: when fewer than four inputs are there.
        """
        draft = probe_set_from(probes.drawn_from(data), n, seed=seed, license=license)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "probes.zip"
            write_probe_set(file, name=name, version="1", modality=draft.modality, items=draft.items)
            probe_set = probes.install(self.store, file, use=True)
        return probe_set, registration.embed_missing(self.store, self._prober(False), probe_set)

    def use_probe_set(self, name: str) -> tuple[ProbeSet, list[str]]:
        """Make a probe set current, and embed the experts that lack it; returns as `create_probe_set`.

        Raises:
            NotFoundError: when there is no such probe set.
        """
        probe_set = probes.find(self.store, name)
        probes.make_current(self.store, probe_set)
        return probe_set, registration.embed_missing(self.store, self._prober(False), probe_set)

    def graph(self) -> Graph:
        """Return the graph for networkx: experts, tasks, and their relations."""
        return build_graph(self.store.experts(), self.store.tasks(), self.store.edges())

    def export(self, path: str | Path, kind: str = "graphml") -> None:
        """Write the graph as graphml, gexf, gml or json."""
        export(self.graph(), Path(path), kind)

    def read(self, data: str | Path | LabelledData, *, columns: Columns = NO_COLUMNS) -> LabelledData:
        """Return a dataset in memory, from wherever it is."""
        if isinstance(data, LabelledData):
            return data
        return read_data(data, columns=columns, download=download_dataset)

    def _prober(self, trust_code: bool) -> Prober:
        return Prober(
            arrays=self.store.features,
            trust_code=trust_code,
            progress=self.progress,
            ran=Timings(self.store).note,
        )
