"""The verbs of the package on one workspace: register, similar, query, warm_start and the rest."""

from __future__ import annotations

import dataclasses
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from expertise_graph import probes, registration, training
from expertise_graph.advice import DataFindings, Lens, RunFindings, RunRecord, check_data, check_run
from expertise_graph.data import (
    CLASS,
    VALUE,
    Columns,
    Inputs,
    LabelledData,
    holdout,
    probe_set_from,
    read_data,
    stratified_sample,
    write_probe_set,
)
from expertise_graph.errors import InvalidInputError, NotFoundError
from expertise_graph.graph import Graph, build_graph, export
from expertise_graph.imports import (
    DistanceOptions,
    File,
    HistoryOptions,
    ImportOptions,
    ImportReport,
    ScoreOptions,
    import_distances,
    import_history,
    import_meta,
    import_scores,
)
from expertise_graph.latency import Meter
from expertise_graph.merging import (
    Applied,
    ApplySettings,
    DeltaReport,
    MergeResult,
    MergeSettings,
    Packing,
    apply_deltas,
    merge,
    share,
)
from expertise_graph.neighbours import similar
from expertise_graph.probing import Prober, Progress, silent
from expertise_graph.race import Race
from expertise_graph.retrieval.cost import Timings
from expertise_graph.retrieval.engine import Registry, answer_query
from expertise_graph.retrieval.evidence import ProbeRunner, Sample
from expertise_graph.sources import SourceOptions, resolve
from expertise_graph.sources.client import download_dataset
from expertise_graph.starter import probe_files
from expertise_graph.store import Store, find_workspace
from expertise_graph.types import Expert, Neighbour, ProbeSet, Query, Ranking, Run, WarmStart
from expertise_graph.warmstart import TrainConfig

_NO_OPTIONS = SourceOptions()
_NO_COLUMNS = Columns()
_DEFAULT_QUERY = Query()
# Enough to look through; where to start from is what `query` is for.
_CHECK_QUERY = Query(budget=4, sample=256)
_DEFAULT_IMPORT = ImportOptions()
_DEFAULT_HISTORY = HistoryOptions()
_DEFAULT_SCORES = ScoreOptions()
_DEFAULT_DISTANCES = DistanceOptions()
_DEFAULT_CONFIG = TrainConfig()
_DEFAULT_MERGE = MergeSettings()
_DEFAULT_PACKING = Packing()
_DEFAULT_APPLY = ApplySettings()


class Workspace:
    """A folder with a registry.db and its embeddings/.

    Args:
        path: the folder; by default $EXPERTISE_GRAPH_HOME, else the nearest folder from the
            current one upwards that holds a registry.db.
        progress: told what is being run, and how far it is.

    Raises:
        NotFoundError: when there is no registry.db.
        StoreError: when it cannot be opened.
    """

    def __init__(self, path: str | Path | None = None, *, progress: Progress = silent) -> None:
        self.folder = find_workspace(path)
        self.store = Store(self.folder)
        self.progress = progress

    @classmethod
    def init(cls, path: str | Path = ".", *, progress: Progress = silent) -> Workspace:
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

    def __enter__(self) -> Workspace:
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

    def query(
        self,
        data: str | Path | LabelledData,
        query: Query = _DEFAULT_QUERY,
        *,
        columns: Columns = _NO_COLUMNS,
        trust_code: bool = False,
    ) -> Ranking:
        """Return the experts ranked by predicted accuracy on the dataset.

        Items that a warm start with the same seed would test on are not looked at.

        Raises:
            DatasetError: when the dataset cannot be used.
            NotFoundError: when no expert fits.
        """
        labelled = self.read(data, columns=columns)
        registry, runner, meter = self._retrieval(labelled.modality, trust_code)
        after = self._race(labelled.as_classes, query, trust_code)
        ranking = answer_query(registry, runner, draw_sample(labelled, query), query, after=after)
        return dataclasses.replace(
            ranking,
            command=self._command(labelled, columns, ranking),
            candidates=ranking.candidates[: query.top],
            notes=(*ranking.notes, *meter.unusable.values(), *_stand_in(labelled)),
        )

    def warm_start(
        self,
        data: str | Path | LabelledData,
        out: str | Path,
        *,
        expert: str | None = None,
        config: TrainConfig = _DEFAULT_CONFIG,
        compare_cold: bool = False,
        columns: Columns = _NO_COLUMNS,
        trust_code: bool = False,
        tracker: str = "tensorboard",
        launcher: tuple[str, ...] | None = None,
        report: training.Report | None = None,
    ) -> WarmStart:
        """Fine-tune from an expert, by default the best of a query, and register the child.

        `launcher` holds arguments for ``accelerate launch``, for training by several processes.

        Raises:
            DatasetError, NotFoundError: as `query`.
            InvalidInputError: when `out` holds something else.
        """
        labelled, out = self.read(data, columns=columns), Path(out).absolute()
        if expert is not None:
            chosen = self.store.find_runnable(expert)
        elif (begun := training.begun_from(self.store, labelled, out, config)) is not None:
            chosen = begun
        else:
            asked = Query(seed=config.seed)
            ranking = self.query(labelled, asked, columns=columns, trust_code=trust_code)
            if ranking.interrupted:
                raise KeyboardInterrupt
            chosen = ranking.start or self.store.find_runnable(ranking.best.expert.id)
        plan = training.Plan(
            expert=chosen,
            data=labelled,
            out=out,
            config=config,
            compare_cold=compare_cold,
            trust_code=trust_code,
            tracker=tracker,
            launcher=launcher,
            architecture=self._architecture(config.into),
            columns=columns,
        )
        return training.execute(self.store, self._prober(trust_code), plan, report)

    def merge(
        self,
        experts: Sequence[str],
        data: str | Path | LabelledData,
        out: str | Path,
        *,
        settings: MergeSettings = _DEFAULT_MERGE,
        columns: Columns = _NO_COLUMNS,
        trust_code: bool = False,
    ) -> MergeResult:
        """Merge children of one parent, measured on the dataset, and register the result.

        Args:
            experts: registered experts, or folders of finished runs.
            data: decides on its validation split, and measures on its test split.
            out: folder to write, new or empty.
            settings: method and numbers.
            columns: which columns of a table hold what.
            trust_code: whether code that comes with an expert may be run.

        Raises:
            InvalidInputError: when they do not fit each other or the data, or `out` is taken.
            NotFoundError, DatasetError: as `warm_start`.
        """
        return merge(
            self.store,
            self._prober(trust_code),
            experts,
            self.read(data, columns=columns),
            out=Path(out),
            settings=settings,
            trust_code=trust_code,
        )

    def make_delta(
        self,
        child: str,
        out: str | Path,
        *,
        parent: str | None = None,
        packing: Packing = _DEFAULT_PACKING,
        head: bool = True,
        items: int | None = None,
        trust_code: bool = False,
    ) -> DeltaReport:
        """Write what a child learnt since its parent as a small file; see `merging.share`."""
        return share(
            self.store,
            child,
            Path(out),
            parent=parent,
            packing=packing,
            head=head,
            items=items,
            trust_code=trust_code,
        )

    def apply_deltas(
        self,
        parent: str,
        files: Sequence[str | Path],
        out: str | Path,
        *,
        settings: ApplySettings = _DEFAULT_APPLY,
        trust_code: bool = False,
    ) -> Applied:
        """Add deltas, averaged, to their parent and register the result; see `merging.apply_deltas`."""
        return apply_deltas(
            self.store,
            self._prober(trust_code),
            parent,
            [Path(file) for file in files],
            out=Path(out),
            settings=settings,
            trust_code=trust_code,
        )

    def check(
        self,
        data: str | Path | LabelledData,
        *,
        test: str | Path | LabelledData | None = None,
        expert: str | None = None,
        columns: Columns = _NO_COLUMNS,
        seed: int = 0,
        trust_code: bool = False,
    ) -> DataFindings:
        """Return what is wrong with a dataset, how hard it is, and what to do; see `advice.check_data`.

        Raises:
            NotFoundError: when the data, or the named expert, are not there.
            DatasetError: when the data cannot be read at all.
        """
        named = None if expert is None else self.store.find_runnable(expert)
        labelled = self._read_anything(data, columns).as_classes

        def choose() -> Lens:
            chosen, reason = named, "as asked for"
            if chosen is None:
                ranking = self.query(
                    labelled, dataclasses.replace(_CHECK_QUERY, seed=seed), trust_code=trust_code
                )
                if ranking.interrupted:
                    raise KeyboardInterrupt
                chosen, reason = ranking.start, f"best of a query that ran {ranking.experts_run} experts"
            if chosen is None or chosen.modality != labelled.modality:
                raise NotFoundError(f"there is no such expert for {labelled.modality}s; register one")
            prober = self._prober(trust_code)
            return Lens(expert=chosen.short, reason=reason, features=lambda x: prober.features(chosen, x))

        others = None if test is None else self._read_anything(test, columns).as_classes
        return check_data(labelled, test=others, choose=choose, seed=seed, progress=self.progress)

    def check_run(
        self,
        folder: str | Path,
        *,
        data: str | Path | LabelledData | None = None,
        columns: Columns = _NO_COLUMNS,
        trust_code: bool = False,
    ) -> RunFindings:
        """Return how a finished warm start went, where it fails, and what to try; see `advice.check_run`.

        Args:
            folder: the `out` of the warm start.
            data: it was trained on; by default where the registry knows them to be.
            columns: of the data.
            trust_code: whether a model built by code of the user may be loaded.

        Raises:
            InvalidInputError: when the run has not finished.
        """

        def find(record: RunRecord) -> LabelledData:
            if data is not None:
                return self.read(data, columns=columns)
            found = self.read(self.store.find_task(record.task).locator, columns=columns)
            if found.task.id != record.task:
                raise InvalidInputError(
                    f"{found.locator} has changed since the run: give the data as they were with --data"
                )
            return found

        return check_run(Path(folder).absolute(), find, trust_code=trust_code, progress=self.progress)

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

    def runs(self) -> list[Run]:
        """Return all training runs, oldest first."""
        return self.store.runs()

    def remove(self, expert: str) -> Expert:
        """Take the named expert out of the graph and return it; measured history stays."""
        node = self.store.find_expert(expert)
        registration.remove(self.store, node)
        return node

    def import_history(self, file: File, options: HistoryOptions = _DEFAULT_HISTORY) -> ImportReport:
        """Store a table of measured results as transfer edges; see `imports.import_history`."""
        return import_history(self.store, file, options)

    def import_scores(self, file: File, options: ScoreOptions = _DEFAULT_SCORES) -> ImportReport:
        """Store a table of transferability scores; see `imports.import_scores`."""
        return import_scores(self.store, file, options)

    def import_meta(self, file: File, options: ImportOptions = _DEFAULT_IMPORT) -> ImportReport:
        """Store a table of covariates of experts; see `imports.import_meta`."""
        return import_meta(self.store, file, options)

    def import_distances(self, file: File, options: DistanceOptions = _DEFAULT_DISTANCES) -> ImportReport:
        """Store distances between tasks; see `imports.import_distances`."""
        return import_distances(self.store, file, options)

    def graph(self) -> Graph:
        """Return the graph for networkx: experts, tasks, and their relations."""
        return build_graph(self.store.experts(), self.store.tasks(), self.store.edges())

    def export(self, path: str | Path, kind: str = "graphml") -> None:
        """Write the graph as graphml, gexf, gml or json."""
        export(self.graph(), Path(path), kind)

    def read(self, data: str | Path | LabelledData, *, columns: Columns = _NO_COLUMNS) -> LabelledData:
        """Return a dataset in memory, from wherever it is."""
        if isinstance(data, LabelledData):
            return data
        return read_data(data, columns=columns, download=download_dataset)

    def _read_anything(self, data: str | Path | LabelledData, columns: Columns) -> LabelledData:
        """Return a dataset in memory, even one that nothing can be learnt from."""
        if isinstance(data, LabelledData):
            return data
        return read_data(data, columns=columns, download=download_dataset, strict=False)

    def _architecture(self, named: str | None) -> Expert | None:
        """Return the registered expert that is named as an architecture; other names have a scheme."""
        if named is None or named.partition(":")[0] in ("shrink", "hf", "dir", "timm", "factory"):
            return None
        return self.store.find_runnable(named)

    def _prober(self, trust_code: bool) -> Prober:
        return Prober(
            arrays=self.store.features,
            trust_code=trust_code,
            progress=self.progress,
            ran=Timings(self.store).note,
        )

    def _retrieval(self, modality: str, trust_code: bool) -> tuple[Registry, ProbeRunner, Meter]:
        probe_set = probes.current(self.store, modality)
        inputs = probes.inputs(self.store, probe_set)
        meter = Meter(store=self.store, probes=inputs, trust_code=trust_code)
        registry = Registry(store=self.store, probe_set=probe_set.id, latency=meter, progress=self.progress)
        runner = ProbeRunner(
            store=self.store,
            prober=self._prober(trust_code),
            probes=inputs,
            timings=Timings(self.store),
        )
        return registry, runner, meter

    def _race(self, data: LabelledData, query: Query, trust_code: bool) -> Race | None:
        if not query.race:
            return None
        return Race(
            store=self.store,
            data=data,
            size=query.race,
            seed=query.seed,
            trust_code=trust_code,
            progress=self.progress,
        )

    def _command(self, data: LabelledData, columns: Columns, ranking: Ranking) -> str:
        """Return what to type next: start from the best, or register it where only its name is known."""
        expert = ranking.best.expert
        if not expert.runnable:
            reference = expert.name if ":" in expert.name else f"hf:{expert.name}"
            return shlex.join(["expertise-graph", "register", reference])
        words = ["expertise-graph", "warm-start", data.locator, "--expert", expert.short]
        for option, value in dataclasses.asdict(columns).items():
            flag = f"--{option}" if option in ("target", "separator") else f"--{option}-column"
            words += [flag, value] if value else []
        words += ["--trust-code"] if expert.trusted_code else []
        return shlex.join([*words, "--out", f"runs/{data.name}"])


def _stand_in(data: LabelledData) -> list[str]:
    """Return a line that says by what experts were ranked, where the data have no classes."""
    if data.kind == CLASS:
        return []
    what = "ranges of values" if data.kind == VALUE else "labels, for each item its rarest"
    return [f"experts were ranked by how well they tell apart {len(data.classes)} {what}"]


def draw_sample(data: LabelledData, query: Query) -> Sample:
    """Return the stratified sample of a dataset that experts are run on, test items left out."""
    splits = holdout(data, seed=query.seed)
    pool = np.sort(np.concatenate([splits.train, splits.validation]))
    chosen = pool[stratified_sample(data.labels[pool], query.sample, seed=query.seed)]
    items = tuple(data.items[i] for i in chosen)
    return Sample(
        task=data.task,
        inputs=Inputs(
            items=items, modality=data.modality, sha256=f"{data.sha256}:{query.sample}:{query.seed}"
        ),
        labels=data.labels[chosen],
        seed=query.seed,
    )
