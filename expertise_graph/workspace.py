"""The facade: every verb of the package on one workspace.

Opening a workspace is cheap: what runs or trains models is imported by the verb that needs it.
"""

from __future__ import annotations

import dataclasses
import math
import os
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from expertise_graph import data as datasets
from expertise_graph import (
    deltas,
    diagnostics,
    features,
    inference,
    merging,
    models,
    registry,
    retrieval,
    sharing,
    starter,
    training,
    tuning,
)
from expertise_graph.core import (
    METADATA,
    BoolArray,
    Candidate,
    Command,
    Edge,
    Expert,
    ExpertiseError,
    InvalidInputError,
    Neighbour,
    NotFoundError,
    ProbeSet,
    Progress,
    Proposal,
    Query,
    Ranking,
    Run,
    Task,
    WarmStart,
    count,
    did_you_mean,
    setting,
    silent,
)
from expertise_graph.store import HOME_VARIABLE, Store, find_workspace

if TYPE_CHECKING:
    from expertise_graph.data import Columns, LabelledData, RawData, Skip
    from expertise_graph.deltas import Applied, ApplySettings, DeltaReport, Packing
    from expertise_graph.diagnostics import DataFindings, FeatureExtractor, RunFindings
    from expertise_graph.inference import Evaluation, Exported, Model, Prediction
    from expertise_graph.merging import Folded, MergeResult, MergeSettings
    from expertise_graph.models import HubSearch, SourceOptions
    from expertise_graph.registry import (
        Catalogue,
        CatalogueUpdate,
        DistanceOptions,
        File,
        Graph,
        HistoryOptions,
        ImportOptions,
        ImportReport,
        Lineage,
        Removed,
        ScoreOptions,
        Stated,
        Suspicion,
        Synced,
        Withdrawn,
    )
    from expertise_graph.retrieval import Backtest, Explanation
    from expertise_graph.sharing import Draw, PublishedModel, Pulled, Pushed, Reprobed
    from expertise_graph.training import OnProgress, TrainConfig
    from expertise_graph.tuning import AutoResult, AutoSettings

# A check only needs some good expert to look through; which is best to start from is what `query` is for.
_CHECK_BUDGET, _CHECK_SAMPLE = 4, 256

ISOLATE_VARIABLE = "EXPERTISE_GRAPH_ISOLATE"

# Of experts that are known by name only.
_METADATA = {"source": METADATA}

_NOT_EXPERTS = ("shrink", "hf", "dir", "timm", "factory")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExpertDetails:
    """All that the registry knows about one expert.

    Attributes:
        relations: its edges, oldest first.
        names: what people call the nodes at the ends of the relations, by id.
        places: that registries were pulled from.
    """

    expert: Expert
    covariates: Mapping[str, str | float]
    relations: tuple[Edge, ...]
    names: Mapping[str, str]
    places: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class KnownModel:
    """A model of the catalogue.

    Attributes:
        model: the node.
        results: public ones, as transfer edges; `meta` names task and origin.
        experts: those of this registry that were registered from it.
    """

    model: Expert
    results: tuple[Edge, ...]
    experts: tuple[Expert, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeSetDetails:
    """A probe set: whether it is the current one of its modality, and how many experts it was run on."""

    probe_set: ProbeSet
    current: bool
    experts: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeSetContent:
    """A probe set with the origin, license and sha256 of each input."""

    probe_set: ProbeSet
    items: tuple[Mapping[str, Any], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class KnownTask:
    """A task with the number of measured results and of transferability scores on it."""

    task: Task
    results: int
    scores: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Predictions:
    """The answers of a model, the inputs that could not be read, each with the reason, and what to know."""

    model: Model
    predictions: tuple[Prediction, ...]
    skipped: tuple[Skip, ...]
    notes: tuple[str, ...] = ()


class Workspace:
    """A folder with a registry.db and its embeddings/.

    Args:
        path: the folder; by default $EXPERTISE_GRAPH_HOME, else the nearest folder from the
            current one upwards that holds a registry.db.
        progress: called with a label, the work done and the work in total.
        must_exist: whether a missing registry.db is an error now, or only when a verb needs it. Reading,
            predicting, evaluating and exporting a model from its folder need none.
        isolate: whether experts from outside, all but those of ``zoo:``, are loaded and run in a process of
            their own when they are registered and ranked; by default unless $EXPERTISE_GRAPH_ISOLATE is 0.
        memory_limit: bytes that this process may take; by default 0.8 of what is free.
        time_limit: seconds that an expert may take to be loaded and for each batch; by default 120, and 0.2
            for each megabyte of its weights.

    Raises:
        NotFoundError: when there is no registry.db.
        StoreError: when it cannot be opened.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        progress: Progress = silent,
        must_exist: bool = True,
        isolate: bool | None = None,
        memory_limit: float | None = None,
        time_limit: float | None = None,
    ) -> None:
        self.progress = progress
        self._path = path
        by_default = os.environ.get(ISOLATE_VARIABLE) != "0"
        # The system's means that it takes are not those of Windows.
        self._isolate = (by_default if isolate is None else isolate) and os.name != "nt"
        self._limits = {"memory": memory_limit, "seconds": time_limit}
        if must_exist:
            self.store.generation()

    @classmethod
    def init(cls, path: str | Path | None = None, *, progress: Progress = silent) -> Self:
        """Make a folder a workspace with the shipped probe sets; one that is there already stays.

        Args:
            path: the folder; by default $EXPERTISE_GRAPH_HOME, else the current one.
            progress: as of the class.
        """
        folder = Path(path or os.environ.get(HOME_VARIABLE) or ".").expanduser().resolve()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInputError(f"{folder} cannot be made: {error.strerror}; choose another") from error
        store = Store(folder)
        try:
            for file in starter.probe_files():
                features.probe_sets.install(store, file)
        finally:
            store.close()
        return cls(folder, progress=progress)

    @cached_property
    def folder(self) -> Path:
        """Where the workspace is."""
        return find_workspace(self._path)

    @cached_property
    def store(self) -> Store:
        """The registry, opened when it is first needed."""
        return Store(self.folder)

    @property
    def exists(self) -> bool:
        """Whether there is a registry."""
        try:
            return bool(self.folder)
        except NotFoundError:
            return False

    @cached_property
    def _isolation(self) -> features.Isolation:
        """Where experts from outside are run, one process for all verbs."""
        return features.Isolation(**self._limits)

    @cached_property
    def catalogue(self) -> Catalogue | None:
        """The published models that are known from the start, with their results; None where switched off.

        Raises:
            NotFoundError, DatasetError: when the catalogue that was chosen is missing or damaged.
        """
        return registry.find_catalogue(self.folder)

    def _end_isolation(self) -> None:
        if "_isolation" in self.__dict__:
            self._isolation.close()

    def close(self) -> None:
        """Close the registry."""
        self._end_isolation()
        if "store" in self.__dict__:
            self.store.close()

    def __enter__(self) -> Self:
        """Return the workspace itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the registry."""
        self.close()

    # Experts

    def register(self, reference: str, *, options: SourceOptions | None = None) -> Expert:
        """Register the expert that ``scheme:locator`` names, and return its node.

        Of a model of images and texts both towers are registered unless `options.modality` names one; the
        node of images is returned.

        Raises:
            ExpertiseError: see the sources; nothing is stored then.
        """
        options = options or models.SourceOptions()
        self._tidy(options.trust_code)
        prober = self._prober(options.trust_code)
        found = self._resolve(prober, reference, options)
        with registry.registering(self.store) as add:
            first, *_ = [add(expert, prober) for expert in found]
        return first

    def register_many(
        self, sources: Iterable[tuple[str, SourceOptions]], *, max_download: int | None = None
    ) -> list[tuple[str, Expert | ExpertiseError]]:
        """Register several experts; one that fails does not keep the others out.

        Those on the Hub are downloaded a few at a time, in the order given, while others are run. Their
        neighbours are found together at the end. A known model that turns out not to be had is remembered,
        so that a query does not propose it again.

        Args:
            sources: references and options.
            max_download: most bytes to download for all of them together; what does not fit any more fails.

        Returns:
            Each reference with its node, or with the error.

        Raises:
            KeyboardInterrupt: saying how many were registered before it.
        """
        done: list[tuple[str, Expert | ExpertiseError]] = []
        wanted, failed = self._expand(sources)
        registered = 0
        try:
            self._tidy(False)
            downloads = models.Downloads(wanted, most_bytes=max_download, progress=self.progress)
            with downloads, registry.registering(self.store) as add:
                for index, (reference, given) in enumerate(wanted):
                    if index in failed:
                        done.append(failed[index])
                        continue
                    prober = self._prober(given.trust_code)
                    try:
                        with self._remembering(reference, given, found=False):
                            options = downloads.wait_for(index)
                            found = self._resolve(prober, reference, options)
                        with self._remembering(reference, given, found=True):
                            for expert in found:
                                done.append((reference, add(expert, prober)))
                        registered += 1
                    except ExpertiseError as error:
                        done.append((reference, error))
                    self.progress("registered", index + 1, len(wanted))
        except KeyboardInterrupt as interrupt:
            of_all = f"{registered} of {count(len(wanted), 'source')} registered"
            raise KeyboardInterrupt(of_all) from interrupt
        return done

    def _expand(
        self, given: Iterable[tuple[str, SourceOptions]]
    ) -> tuple[list[tuple[str, SourceOptions]], dict[int, tuple[str, ExpertiseError]]]:
        """Return the sources with those that patterns mean, and by their place those that mean nothing."""
        wanted: list[tuple[str, SourceOptions]] = []
        failed: dict[int, tuple[str, ExpertiseError]] = {}
        for reference, options in given:
            try:
                found = models.matching(reference)
                if options.name and len(found) > 1:
                    raise InvalidInputError(
                        f"{setting('name')} is that of one expert, and {count(len(found), 'source')} match"
                    )
                wanted += [(one, options) for one in found]
            except ExpertiseError as error:
                failed[len(wanted)] = reference, error
                wanted.append(("", options))
        return wanted, failed

    def matching(self, reference: str) -> list[str]:
        """Return the sources that one with wildcards means, ``dir:checkpoints/*`` or ``timm:resnet18*``.

        Raises:
            NotFoundError: when nothing matches.
        """
        return models.matching(reference)

    def _remembering(
        self, reference: str, options: SourceOptions, *, found: bool
    ) -> AbstractContextManager[None]:
        """Remember why a known model cannot be had, unless that may be due to what was asked of it."""
        name = Expert.named(reference).id
        if options.has_settings or options.trust_code or self.store.known_expert(name) is None:
            return nullcontext()
        return registry.remembering(self.store, reference, revision=options.revision, found=found)

    def _resolve(self, prober: Any, reference: str, options: SourceOptions) -> list[Expert]:
        """Return the experts of a reference; a name that was chosen for them is not that of others."""
        found: list[Expert] = prober.resolve(reference, options)
        for expert in found if options.name else ():
            registry.refuse_taken_name(self.store, expert)
        return found

    def experts(
        self, modality: str | None = None, *, tag: str | None = None, license: str | None = None
    ) -> list[Expert]:
        """Return the registered experts in the order of registration, filtered where asked."""
        return self.store.experts(modality, where=_where(tag, license))

    def expert_ids(
        self,
        modality: str | None = None,
        *,
        tag: str | None = None,
        license: str | None = None,
        order: str = "created_at",
    ) -> list[str]:
        """Return the ids of the registered experts, filtered where asked, in the order of a field."""
        return self.store.expert_ids(modality, where=_where(tag, license), order=order)

    def expert(self, name: str) -> Expert:
        """Return the expert that a name, an id, name@hash or a unique beginning of these names.

        Raises:
            NotFoundError: for none or several.
        """
        return self.store.find_expert(name)

    def names(self, ids: Iterable[str] | None = None) -> dict[str, str]:
        """Return what people call experts and tasks, by id: all, or those of `ids` that are known."""
        return self.store.names(ids)

    def show(self, name: str) -> ExpertDetails:
        """Return all that is known about the named expert.

        Raises:
            NotFoundError: when there is no such expert.
        """
        expert = self.store.find_expert(name)
        # What is no relation, by what the user said, is none here either.
        relations = [edge for edge in self.store.edges(node=expert.id) if edge.kind != "unset"]
        ends = {end for edge in relations for end in (edge.source, edge.target)}
        return ExpertDetails(
            expert=expert,
            covariates=self.store.covariates([expert.id]).get(expert.id, {}),
            relations=tuple(relations),
            names=self.store.names(ends),
            places=tuple(self.store.shared_places()),
        )

    def similar(self, expert: str, k: int = 5, *, fold: bool = False) -> list[Neighbour]:
        """Return the k experts nearest to the named one by debiased CKA, nearest first.

        Args:
            expert: as for `expert`.
            k: how many.
            fold: whether of near-duplicates only the nearest is listed, which names the others.

        Raises:
            NotFoundError: when there is no such expert.
        """
        node = self.store.find_runnable(expert)
        probe_set = features.probe_sets.current(self.store, node.modality)
        return registry.similar(self.store, probe_set.id, node, k, fold=fold)

    def experts_called(self, name: str) -> list[Expert]:
        """Return all experts that a whole name, id or name@hash leads to; second names where no first is."""
        return self.store.experts_called(name)

    def remove(self, expert: str) -> Expert:
        """Take the named expert out of the graph and return it; measured results stay.

        Of a second name that is all that goes, see `remove_many`.

        Raises:
            NotFoundError: when there is no such expert, or not any more: the beginning of a name never stands
                for another one then.
            InvalidInputError: when a training from it is under way.
        """
        (removed,) = self.remove_many([expert])
        if removed is None:
            raise NotFoundError(f"{expert} was removed before")
        return removed.expert

    def remove_many(self, experts: Sequence[str]) -> list[Removed | None]:
        """Take experts out of the graph; all are looked up first, and one that cannot go keeps all.

        A second name of an expert, given as such, is taken from it, and the expert stays.

        Returns:
            What each name took out; None where it was removed before.

        Raises:
            NotFoundError, InvalidInputError: as `remove`.
        """
        self._tidy(False)
        return registry.remove(self.store, experts)

    # Known models

    def add_known_models(self, search: HubSearch) -> list[Expert]:
        """Find models on the Hub, and keep what is written about them; nothing is downloaded.

        They take part in queries like those of the catalogue. One that is registered stays as it is; of one
        that was found before the description is replaced.

        Returns:
            The nodes that were added or replaced.

        Raises:
            OfflineError, SourceError: when the Hub cannot be asked; those found before stay.
        """
        self._tidy(False)
        found = []
        for node in models.search_hub(search):
            if self.store.experts(where={"source": "hf", "locator": node.name.removeprefix("hf:")}, limit=1):
                continue
            found.append(registry.put_known(self.store, node))
            self.progress("models found", len(found), search.limit)
        return found

    def register_known(
        self, *, limit: int | None = None, max_download: int | None = None
    ) -> list[tuple[str, Expert | ExpertiseError]]:
        """Download, run and register the known models of the registry that anybody can download.

        Args:
            limit: most models, those found first come first; by default all.
            max_download: as `register_many`.

        Returns:
            As `register_many`.
        """
        unavailable = self.store.unavailable()
        found = (registry.as_remembered(m, unavailable) for m in self.store.experts(where=_METADATA))
        free = [m for m in found if retrieval.is_known_model(m) and retrieval.is_free(m)][:limit]
        wanted = [(m.name, models.SourceOptions(modality=m.modality, revision=m.revision)) for m in free]
        return self.register_many(wanted, max_download=max_download)

    def sync(self, names: Sequence[str] = ()) -> list[Synced]:
        """Ask the Hub what became of experts and known models, and keep that; experts stay as they are.

        Args:
            names: of experts, or of known models; by default all of the registry that are from the Hub.

        Returns:
            What the Hub says of each.

        Raises:
            NotFoundError, InvalidInputError: for a name that is not there, or not from the Hub.
            OfflineError: when the Hub cannot be reached; nothing is changed then.
        """
        self._tidy(False)
        return registry.sync_with_hub(
            self.store, names, catalogue=self.catalogue if names else None, progress=self.progress
        )

    def known_models(
        self,
        *,
        modality: str | None = None,
        license: str | None = None,
        language: str | None = None,
        max_params: int | None = None,
        task: str | None = None,
    ) -> list[KnownModel]:
        """Return the models of the catalogue, filtered where asked.

        Args:
            modality: of the models.
            license: as an SPDX identifier in any case.
            language: code of ISO 639, of two or three letters.
            max_params: most parameters; models of unknown size are left out then.
            task: name of a task that they were measured on.

        Raises:
            NotFoundError: when there is no such task.
        """
        found = self._known(self.catalogue.models) if self.catalogue else []
        if task is not None:
            measured = {edge.meta["task"] for model in found for edge in model.results}
            if task not in measured:
                raise NotFoundError(f"no known model was measured on {task!r}.{did_you_mean(task, measured)}")
            found = [m for m in found if any(edge.meta["task"] == task for edge in m.results)]
        return [
            m
            for m in found
            if (modality is None or m.model.modality == modality)
            and (license is None or m.model.license == license.lower())
            and (language is None or registry.speaks(m.model, language))
            and (max_params is None or 0 < m.model.params <= max_params)
        ]

    def known_model(self, name: str) -> list[KnownModel]:
        """Return what is known of a model, for each modality that it takes.

        Raises:
            NotFoundError: for no such model, or several.
        """
        if self.catalogue is None:
            raise NotFoundError("no catalogue is in use")
        return self._known(self.catalogue.find(name))

    def _known(self, found: Sequence[Expert]) -> list[KnownModel]:
        """Return models with the results on them, and the experts that were registered from them."""
        unavailable = self.store.unavailable()
        here: dict[tuple[str, str], list[Expert]] = {}
        for expert in self.store.experts(where={"locator": {m.name.partition(":")[2] for m in found}}):
            here.setdefault((f"{expert.source}:{expert.locator}", expert.modality), []).append(expert)
        return [
            KnownModel(
                model=registry.as_remembered(model, unavailable),
                results=tuple(self.catalogue.results_of(model) if self.catalogue else ()),
                experts=tuple(here.get((model.name, model.modality), ())),
            )
            for model in found
        ]

    def update_catalogue(
        self, source: str | None = None, *, origin: str | None = None, revision: str | None = None
    ) -> CatalogueUpdate:
        """Use another catalogue in this workspace, or bring the one in use up to date from its origins.

        Args:
            source: folder, or ``hf:org/name[@revision]`` of a dataset repository.
            origin: "hub" for what the Hub says of the models that are known, or "mteb" for results on them.
            revision: of the repository of MTEB; by default main.

        Raises:
            InvalidInputError: unless one of `source` and `origin` is given.
            NotFoundError, OfflineError: when it cannot be had.
            DatasetError: when it is damaged, or of a later format; nothing changes then.
        """
        if (source is None) == (origin is None):
            raise InvalidInputError("give either a catalogue, or one of its origins: hub, mteb")
        before = self.catalogue
        if source is not None:
            done = self._take_catalogue(source, before)
        elif before is None or os.environ.get(registry.CATALOGUE_VARIABLE):
            named = f": unset {registry.CATALOGUE_VARIABLE}, which names another" if before else ""
            raise InvalidInputError(
                f"no catalogue of this workspace is in use that could be brought up to date{named}"
            )
        else:
            folder, made = registry.catalogue_folder(self.folder), {"progress": self.progress}
            done = (
                registry.update_from_hub(self.store, folder, before, **made)
                if origin == "hub"
                else registry.update_from_mteb(
                    self.store, folder, before, revision=revision or "main", **made
                )
            )
        self.__dict__.pop("catalogue", None)
        return done

    def _take_catalogue(self, source: str, before: Catalogue | None) -> CatalogueUpdate:
        repo, _, revision = source.removeprefix("hf:").partition("@")
        hub = source.startswith("hf:") and not Path(source).exists()
        folder = models.download_dataset(repo, revision or None) if hub else Path(source)
        after = registry.install_catalogue(folder, self.folder)
        return registry.CatalogueUpdate(before=before, after=after, origin=source, changes={})

    # Lineage

    def lineage(self, expert: str, *, depth: int | None = None, most: int | None = None) -> Lineage:
        """Return whom an expert descends from, who descends from it, and what its weights make suspect.

        Args:
            expert: as for `expert`.
            depth: generations in each direction; by default all.
            most: relatives in each direction; by default 200.

        Raises:
            NotFoundError: when there is no such expert.
        """
        return registry.lineage_of(self.store, self.store.find_expert(expert), depth=depth, most=most)

    def set_lineage(self, child: str, parent: str, *, relation: str | None = None) -> Stated:
        """Say that an expert is a child of another one; that counts more than cards, and stays.

        Args:
            child: as for `expert`.
            parent: the same, or the reference of one that is not registered: ``hf:org/name``.
            relation: fine-tune, adapter, merge or quantised; by default what the card of the child says.

        Raises:
            NotFoundError: when one of them is not there.
            InvalidInputError: when the parent is the child, or descends from it.
        """
        node = self.store.find_expert(child)
        return registry.set_parent(self.store, node, parent, relation=relation)

    def unset_lineage(self, child: str, parent: str) -> Stated:
        """Say that an expert is no child of another one; claims and suspicions of that do not come back.

        Args:
            child: as for `expert`.
            parent: the same, or as the card of the child names it.

        Raises:
            NotFoundError: when nothing says that it is one.
            InvalidInputError: when a run of ours trained the one from the other.
        """
        return registry.unset_parent(self.store, self.store.find_expert(child), parent)

    def suspect_lineage(self, expert: str | None = None) -> list[Suspicion]:
        """Compare weights of experts with the same shapes, and record who is close though nobody states it.

        Args:
            expert: as for `expert`; by default all are compared.

        Returns:
            Of one expert all that are close, nearest first; of all what was recorded.

        Raises:
            NotFoundError: when there is no such expert.
            InvalidInputError: when its weights cannot be read here.
        """
        if expert is None:
            return registry.suspect_all(self.store, progress=self.progress)
        return registry.suspect(self.store, self.store.find_runnable(expert), progress=self.progress)

    # Probe sets

    def probe_sets(self) -> list[ProbeSetDetails]:
        """Return the probe sets, oldest first."""
        return [
            ProbeSetDetails(
                probe_set=p,
                current=features.probe_sets.current(self.store, p.modality).id == p.id,
                experts=self.store.count_vectors(p.id),
            )
            for p in self.store.probe_sets()
        ]

    def probe_set(self, name: str) -> ProbeSetContent:
        """Return the named probe set with what its inputs are.

        Raises:
            NotFoundError: when there is no such probe set.
            DatasetError: when its file is missing or damaged.
        """
        found = features.probe_sets.find(self.store, name)
        items = features.probe_sets.read(self.store, found).manifest["items"]
        return ProbeSetContent(probe_set=found, items=tuple(items))

    def create_probe_set(
        self, data: str | Path | LabelledData | RawData, *, name: str, n: int, seed: int, license: str
    ) -> tuple[ProbeSet, list[str]]:
        """Sample a probe set from a folder or dataset, make it current, and embed the experts on it.

        Args:
            data: as `read_unlabelled` takes it, or what that returned.
            name: of the probe set.
            n: number of inputs.
            seed: of the sample.
            license: of the inputs.

        Returns:
            The probe set, and a line for each expert that could not be run.

        Raises:
            DatasetError: when fewer than four inputs are there.
        """
        self._tidy(False)
        source = self.read_unlabelled(data) if isinstance(data, str | Path) else data
        draft = datasets.probe_set_from(source, n, seed=seed, license=license)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "probes.zip"
            datasets.write_probe_set(file, name=name, version="1", modality=draft.modality, items=draft.items)
            probe_set = features.probe_sets.install(self.store, file, use=True)
        return probe_set, registry.embed_missing(self.store, self._prober(False), probe_set)

    def read_unlabelled(self, data: str | Path) -> LabelledData | RawData:
        """Return the files of a folder whatever its sub-folders are, and another dataset as `read` does.

        Raises:
            NotFoundError, DatasetError: as `read`.
        """
        path = Path(data)
        return datasets.read_unlabelled(path) if path.is_dir() else self.read(data)

    def use_probe_set(self, name: str) -> tuple[ProbeSet, list[str]]:
        """Make a probe set current, and embed the experts that lack it; returns as `create_probe_set`.

        Raises:
            NotFoundError: when there is no such probe set.
        """
        self._tidy(False)
        probe_set = features.probe_sets.find(self.store, name)
        features.probe_sets.make_current(self.store, probe_set)
        return probe_set, registry.embed_missing(self.store, self._prober(False), probe_set)

    def use_index(self, name: str) -> None:
        """Search for neighbours with another vector index, e.g. one that a package adds; `faiss` by default.

        Raises:
            NotFoundError: when there is no index of this name.
        """
        registry.use_index(self.store, name)

    # Ranking

    def read(
        self,
        data: str | Path | LabelledData,
        *,
        columns: Columns | None = None,
        modality: str | None = None,
        strict: bool = True,
    ) -> LabelledData:
        """Return a dataset in memory, from wherever it is.

        Args:
            data: a folder, a table, or ``hf:org/dataset``; a dataset in memory is returned as it is.
            columns: which columns of a table hold what.
            modality: refuse data of another modality.
            strict: refuse data that nothing can be learnt from.

        Raises:
            NotFoundError: when nothing is there.
            DatasetError: when it cannot be read.
        """
        if modality is not None:
            _ = datasets.known_modalities[modality]  # names those there are, and the nearest
        if isinstance(data, datasets.LabelledData):
            return data
        found = datasets.read_data(
            data,
            columns=columns or datasets.NO_COLUMNS,
            # The Hub's client is imported when something is downloaded.
            download=lambda repo, revision: models.download_dataset(repo, revision),
            strict=strict,
        )
        if modality not in (None, found.modality):
            raise InvalidInputError(
                f"{setting('modality', modality)}: {data} holds {datasets.plural_of(found.modality)}; leave "
                f"it out, or name the column with {setting(f'{modality}_column')}"
            )
        return found

    def query(
        self,
        data: str | Path | LabelledData,
        query: Query | None = None,
        *,
        columns: Columns | None = None,
        trust_code: bool = False,
    ) -> Ranking:
        """Return the experts ranked by predicted accuracy on the dataset.

        Items that a warm start with the same seed would test on are not looked at.

        Raises:
            DatasetError: when the dataset cannot be used.
            NotFoundError: when no expert fits.
        """
        query, labelled = query or Query(), self.read(data, columns=columns)
        self._finish_unfinished(trust_code)
        try:
            ranking = self._answer(labelled, query, columns, trust_code)
        except NotFoundError as error:
            raise self._with_proposal(error, labelled, query, columns) from error
        best = ranking.best.predicted
        if ranking.unit != "accuracy":
            return ranking
        proposal = self._smaller(labelled, query, columns, ranking.too_large, best)
        return dataclasses.replace(ranking, proposal=proposal)

    def _with_proposal(
        self, error: NotFoundError, labelled: LabelledData, query: Query, columns: Columns | None
    ) -> NotFoundError:
        """Return an error with a smaller network that meets the limits of a query, where there is one."""
        free = dataclasses.replace(
            query, max_params=None, max_bytes=None, max_memory=None, max_minutes=None, budget=0, seconds=None,
            fetch=0, race=0, here=True,
        )  # fmt: skip
        if not any((query.max_params, query.max_bytes, query.max_memory, query.max_minutes)):
            return error
        try:
            ranking = self._answer(labelled, free, columns, trust_code=False)
        except ExpertiseError:
            return error
        found = self._smaller(labelled, query, columns, ranking.candidates, -math.inf)
        if found is None or ranking.unit != "accuracy":
            return error
        how = f"{setting('expert', found.expert.short)} and {setting('into', found.into)} of a warm start"
        return NotFoundError(f"{error}; {found.reason} {how}")

    def _smaller(
        self,
        labelled: LabelledData,
        query: Query,
        columns: Columns | None,
        candidates: Sequence[Candidate],
        best: float,
    ) -> Proposal | None:
        """Return a smaller network that meets the limits of a query, where it promises more than `best`."""
        if not candidates:
            return None
        needs = retrieval.estimates_for(
            self.store, labelled, query, plan_of=training.plan_of, may_calibrate=False
        )
        settings = {**(columns.settings if columns else {}), "out": f"runs/{labelled.task.name}"}
        return training.propose(
            [c for c in candidates if c.expert.runnable],
            best=best,
            fits=lambda expert: retrieval.within_limits(expert, query, needs),
            needs=needs,
            command=Command("warm_start", (labelled.task.locator,), settings),
        )

    def _answer(
        self, labelled: LabelledData, query: Query, columns: Columns | None, trust_code: bool
    ) -> Ranking:
        probe_set = features.probe_sets.current(self.store, labelled.modality)
        return retrieval.answer_query(
            self._context(trust_code, query.seed),
            labelled,
            query,
            probes=features.probe_sets.inputs(self.store, probe_set),
            catalogue=self.catalogue if query.starter_knowledge else None,
            columns=columns,
            race=self._race(labelled, query, trust_code),
            plan_of=training.plan_of,
        )

    def _asker(self, trust_code: bool) -> retrieval.Ask:
        """Return what answers queries before a training, which may need the memory that experts took."""

        def ask(labelled: LabelledData, query: Query) -> Ranking:
            # A training starts from what is here.
            query = dataclasses.replace(query, here=True)
            try:
                self._finish_unfinished(trust_code)
                return self._answer(labelled, query, None, trust_code)
            finally:
                self._end_isolation()

        return ask

    def _race(
        self, labelled: LabelledData, query: Query, trust_code: bool
    ) -> training.SuccessiveHalving | None:
        if not query.race:
            return None
        context = self._context(trust_code, query.seed)
        return training.SuccessiveHalving(context=context, data=labelled.as_classes, size=query.race)

    def explain(self, task: str, expert: str) -> Explanation:
        """Return how the predicted score of an expert on a task comes about.

        Args:
            task: name or id of a task, or the path of a dataset that was queried before.
            expert: as for `expert`.

        Raises:
            NotFoundError: when there is no such task or expert, or nothing is known about the task.
        """
        known, node = self._task(task), self._expert_or_known(expert)
        modality = known.modality if known.modality != "unknown" else node.modality
        sets = self.store.probe_sets(modality)
        probe_set = features.probe_sets.current(self.store, modality).id if sets else ""
        knowledge = retrieval.Knowledge(self.store, self.catalogue, modality)
        return retrieval.explain(knowledge, probe_set, known, node)

    def _expert_or_known(self, name: str) -> Expert:
        """Return the expert, or the known model, that a name means.

        Raises:
            NotFoundError: for neither, or for several experts.
        """
        try:
            return self.store.find_expert(name)
        except NotFoundError:
            if self.catalogue is None or self.store.experts_called(name):
                raise
            try:
                return self.catalogue.find(name)[0]
            except NotFoundError:
                pass
            raise

    def _task(self, text: str) -> Task:
        """Return the task that the path it was read from, its name or its id names.

        Where there is something at that path, or a path is written, however, that counts first.
        """
        is_path = Path(text).exists() or _is_written_path(text)
        found = self.store.tasks(locator=datasets.locator_of(text) if is_path else text)
        return found[-1] if text and found else self.store.find_task(text)

    def _task_with_results(self, text: str) -> Task:
        """Return the task that its name, its id or a written path names.

        A folder that happens to have the name counts for nothing: results may be taken back.
        """
        return self._task(text) if _is_written_path(text) else self.store.find_task(text)

    def backtest(
        self,
        *,
        by: str = "task",
        folds: int = 5,
        seed: int = 0,
        baseline: str | Path | None = None,
        baseline_column: str = "value",
        tasks: Sequence[str] = (),
    ) -> Backtest:
        """Predict each measured task from the others, and compare with what was measured.

        Args:
            by: task, or expert to hold out a fold of the experts too.
            folds: of experts.
            seed: of folds and confidence intervals.
            baseline: a CSV file with the result of the standard starting point on each task.
            baseline_column: its column with the results.
            tasks: hold out these only, by name, id or the path of a dataset.

        Raises:
            NotFoundError: when a task is not there.
            InvalidInputError: when there are too few results, or the baseline fits no task.
        """
        values = retrieval.read_baseline(str(baseline), baseline_column) if baseline else {}
        only = [self._task_with_results(name).id for name in tasks]
        history, plan = retrieval.read_plan(
            self.store, by=by, folds=folds, seed=seed, baseline=values, only=only
        )
        return retrieval.backtest(history, plan, self.progress)

    # Training

    def warm_start(
        self,
        data: str | Path | LabelledData,
        out: str | Path,
        *,
        expert: str | None = None,
        config: TrainConfig | None = None,
        compare_cold: bool = False,
        columns: Columns | None = None,
        trust_code: bool = False,
        tracker: str = "tensorboard",
        launcher: tuple[str, ...] | None = None,
        report: OnProgress | None = None,
        started: float | None = None,
        force: bool = False,
    ) -> WarmStart:
        """Fine-tune from an expert, by default the best of a query, and register the child.

        Args:
            data: the labelled data.
            out: folder of the run, new or empty; of the same run, it is resumed or read back.
            expert: as for `expert`.
            config: how to train.
            compare_cold: also train from scratch on the same budget.
            columns: which columns of a table hold what.
            trust_code: whether code that comes with an expert may be run.
            tracker: experiment tracker, e.g. tensorboard or wandb.
            launcher: arguments of ``accelerate launch``, to train with several processes.
            report: called with a `TrainingProgress` after each step.
            started: when the time budget began, by `time.perf_counter`; by default now.
            force: delete an earlier run in `out` first.

        Raises:
            DatasetError, NotFoundError: as `query`.
            InvalidInputError: when `out` holds something else.
        """
        started = time.perf_counter() if started is None else started
        config, out = config or training.TrainConfig(), Path(out).absolute()
        labelled = self.read(data, columns=columns)
        self._tidy(trust_code)
        with models.RunFolder(out).in_use():
            if force:
                models.RunFolder(out).discard()
            elif expert is None and (
                done := training.finished_run(self.store, labelled, out, config, compare_cold=compare_cold)
            ):
                return done
            left = None if config.time_budget is None else started + config.time_budget - time.perf_counter()
            starts = self._starts(expert, labelled, config, out, left, trust_code=trust_code)
            spec = training.RunSpec(
                expert=starts[0],
                config=config,
                out=out,
                architecture=self._architecture(config.into),
                compare_cold=compare_cold,
                tracker=tracker,
                columns=columns or datasets.NO_COLUMNS,
                launcher=launcher,
                started=started,
            )
            return training.warm_start_from_first(self._context(trust_code), labelled, spec, starts, report)

    def describe_run(self, out: str | Path) -> str | None:
        """Return what run a folder holds, e.g. "a finished run from emoji@0a1b2c3d"; None where it has none.

        Raises:
            InvalidInputError: when its record is damaged.
        """
        return training.describe_run(self.store, Path(out).absolute())

    def _starts(
        self,
        named: str | None,
        labelled: LabelledData,
        config: TrainConfig,
        out: Path,
        left: float | None,
        *,
        trust_code: bool,
    ) -> list[Expert]:
        """Return the expert named, else the one that this run began from, else those of a query in order.

        The query takes a share of the seconds that are left for everything, where those are limited.
        """
        if named is not None:
            return [self.store.find_runnable(named)]
        if (begun := training.expert_of_run(self.store, out)) is not None:
            return [begun]
        query = Query(seed=config.seed)
        ask = self._asker(trust_code)
        if left is None:
            ranking = ask(labelled, query)
        else:
            ranking, _ = retrieval.ask_within(ask, labelled, query, left=left)
        if ranking.interrupted:
            raise KeyboardInterrupt
        runnable = [c.expert for c in ranking.candidates if c.expert.runnable]
        return runnable or [self.store.find_runnable(ranking.best.expert.id)]

    def _architecture(self, named: str | None) -> Expert | None:
        """Return the registered expert that is named as an architecture; other names have a scheme."""
        if named is None or named.partition(":")[0] in _NOT_EXPERTS:
            return None
        return self.store.find_runnable(named)

    def runs(self) -> list[Run]:
        """Return all training runs, oldest first."""
        return self.store.runs()

    def remove_run(self, run: str, *, descendants: bool = False, dry_run: bool = False) -> Withdrawn:
        """Take back a training run: its results, the expert it left, and what was derived from that.

        Its folder stays.

        Args:
            run: id of the run, the beginning of it, or its folder.
            descendants: also take back the runs that started from that expert, and what they left.
            dry_run: change nothing.

        Raises:
            NotFoundError: when there is no such run, and was none.
            InvalidInputError: when other runs started from its expert, or it is under way.
        """
        folder = Path(run).expanduser()
        there = [r.path for r in self.store.runs() if _is_same_folder(folder, Path(r.path))]
        named = there[0] if there else str(folder.absolute()) if folder.is_dir() else run
        return registry.withdraw_run(self.store, named, descendants=descendants, dry_run=dry_run)

    def auto(
        self,
        data: str | Path | LabelledData,
        out: str | Path,
        *,
        settings: AutoSettings,
        columns: Columns | None = None,
        trust_code: bool = False,
        started: float | None = None,
        force: bool = False,
    ) -> AutoResult:
        """Choose expert and settings together within a time budget, and register the child.

        Args:
            data: the labelled data.
            out: folder for the model.
            settings: the time budget and what may be tried.
            columns: which columns of a table hold what.
            trust_code: whether code that comes with an expert may be run.
            started: when the time budget began, by `time.perf_counter`; by default now.
            force: delete an earlier search in `out` first.

        Raises:
            DatasetError, NotFoundError: as `query`.
            InvalidInputError: when `out` holds something else.
        """
        started = time.perf_counter() if started is None else started
        labelled, out = self.read(data, columns=columns), Path(out).absolute()
        with models.RunFolder(out).in_use():
            if force:
                tuning.discard_result(out)
            return tuning.auto(
                self._context(trust_code),
                labelled,
                ask=self._asker(trust_code),
                out=out,
                settings=settings,
                started=started,
            )

    # Merging and deltas

    def merge(
        self,
        experts: Sequence[str],
        data: str | Path | LabelledData,
        out: str | Path,
        *,
        settings: MergeSettings | None = None,
        columns: Columns | None = None,
        trust_code: bool = False,
    ) -> MergeResult:
        """Merge children of one parent, measure the result on the dataset, and register it.

        Args:
            experts: registered experts, or folders of finished runs.
            data: its validation split decides, its test split measures.
            out: folder to write, new or empty.
            settings: method and numbers.
            columns: which columns of a table hold what.
            trust_code: whether code that comes with an expert may be run.

        Raises:
            InvalidInputError: when they do not fit each other or the data, or `out` is taken.
            NotFoundError, DatasetError: as `warm_start`.
        """
        self._tidy(trust_code)
        return merging.merge(
            self._context(trust_code),
            experts,
            self.read(data, columns=columns),
            out=Path(out),
            settings=settings or merging.MergeSettings(),
        )

    def fold(self, adapter: str, out: str | Path, *, trust_code: bool = False) -> Folded:
        """Write an adapter and the weights beside it as one model of the usual form, and register it.

        Args:
            adapter: a registered expert, or the folder of a run with the strategy lora.
            out: folder to write, new or empty.
            trust_code: whether code that comes with an expert may be run.

        Raises:
            InvalidInputError: for a model that is no adapter, or when `out` is taken.
            NotFoundError: when there is no such model.
        """
        return merging.fold_adapter(self._context(trust_code), adapter, out=Path(out))

    def make_delta(
        self,
        child: str,
        out: str | Path,
        *,
        parent: str | None = None,
        packing: Packing | None = None,
        head: bool = True,
        items: int | None = None,
        trust_code: bool = False,
    ) -> DeltaReport:
        """Write the weight difference between a model and its parent as a small file.

        Args:
            child: a registered expert, or the folder of a finished run.
            out: new .safetensors file.
            parent: by default the parent in the lineage.
            packing: how the numbers are compressed.
            head: whether the classification head is included.
            items: number of training items of the child, where its run does not record it.
            trust_code: whether code that comes with an expert may be run.

        Raises:
            NotFoundError: when the child or its parent is not there.
            InvalidInputError: when they do not fit each other, or `out` is taken.
        """
        return deltas.make_delta_file(
            self._context(trust_code),
            child,
            Path(out),
            parent=parent,
            packing=packing or deltas.Packing(),
            head=head,
            items=items,
        )

    def apply_deltas(
        self,
        parent: str,
        files: Sequence[str | Path],
        out: str | Path,
        *,
        settings: ApplySettings | None = None,
        trust_code: bool = False,
    ) -> Applied:
        """Add the average of some deltas to their parent, and register the result.

        Raises:
            NotFoundError: when the parent or a file is not there.
            InvalidInputError: when a delta belongs to other weights, or `out` is taken.
        """
        self._tidy(trust_code)
        return deltas.apply_deltas(
            self._context(trust_code),
            parent,
            [Path(file) for file in files],
            out=Path(out),
            settings=settings or deltas.ApplySettings(),
        )

    # Inference

    def model(self, name: str | Path | Model, *, trust_code: bool = False) -> Model:
        """Open a finished model.

        Args:
            name: the folder of a run; or the id of a run or the name of its child in the registry.
            trust_code: whether code that comes with the model may be run.

        Raises:
            NotFoundError: when there is no such model.
        """
        if not isinstance(name, str | Path):
            return name
        folder = Path(name).expanduser()
        if not folder.is_dir():
            # Looked up before torch is loaded: a mistyped name should not wait for it.
            folder = self._model_folder(str(name))
        return inference.open_model(folder, trust_code=trust_code)

    def _model_folder(self, name: str) -> Path:
        try:
            store = self.store
        except NotFoundError as error:
            raise NotFoundError(
                f"there is no folder {name}, and no registry to look the name up in: {error}"
            ) from error
        return inference.find_model(store, name)

    def predict(
        self,
        model: str | Path | Model,
        inputs: Sequence[str | Path] | RawData = (),
        *,
        texts: Sequence[str] = (),
        lines: str = "",
        columns: Columns | None = None,
        top: int = 1,
        threshold: float = 0.5,
        trust_code: bool = False,
    ) -> Predictions:
        """Classify inputs with a finished model.

        Args:
            model: as for `model`.
            inputs: files, folders and tables; for a model that reads texts also texts themselves; or what
                `read_inputs` gave for all of them.
            texts: texts, for a model that reads texts.
            lines: one input a line: a text, or for other models a file or folder.
            columns: which column of a table holds the inputs; by default as in the data of its run.
            top: how many classes to name for each input, likeliest first.
            threshold: least probability of a label, for a model that gives several.
            trust_code: whether code that comes with the model may be run.

        Raises:
            NotFoundError: when the model is not there, or the only input is a table or folder that is not.
            DatasetError: when the only input cannot hold any; of several they are skipped.
            InvalidInputError: when the model does not read texts.
        """
        opened = self.model(model, trust_code=trust_code)
        given = inputs
        if not isinstance(given, datasets.RawData):
            given = self.read_inputs(opened, given, texts=texts, lines=lines, columns=columns)
        found, unread = inference.predict(
            opened, given.records, top=top, threshold=threshold, progress=self.progress
        )
        return Predictions(
            model=opened, predictions=tuple(found), skipped=(*given.skipped, *unread), notes=opened.cut
        )

    def read_inputs(
        self,
        model: Model,
        inputs: Sequence[str | Path],
        *,
        texts: Sequence[str] = (),
        lines: str = "",
        columns: Columns | None = None,
    ) -> RawData:
        """Return inputs for a model, and what cannot be used; arguments and errors as of `predict`."""
        opened, modality = model, model.modality
        if texts and not datasets.known_modalities[modality].written_out:
            raise InvalidInputError(
                f"{opened.folder} takes {datasets.plural_of(modality)}: give files or folders, not texts"
            )

        def read(name: str) -> datasets.RawData:
            return inference.read_as_trained(
                opened.columns,
                lambda named: datasets.read_argument(name, modality=modality, columns=named),
                columns,
            )

        names = [str(name) for name in inputs]
        alone = len(names) == 1 and not texts and not lines
        # Of several inputs those that can be read are answered; a single one that cannot is an error.
        given = read(names[0]) if alone else datasets.read_each(names, read, modality=modality)
        parts = [given, datasets.read_lines(lines, modality=modality)]
        records = [datasets.Record(where=text, item=text, label=None) for text in texts]
        records += [record for part in parts for record in part.records]
        skipped = [skip for part in parts for skip in part.skipped]
        reading = next((part.reading for part in parts if part.reading.columns), datasets.NOT_RECORDED)
        return datasets.RawData(modality=modality, records=records, skipped=skipped, reading=reading)

    def read_as_trained(
        self, model: Model, data: str | Path | LabelledData, *, columns: Columns | None = None
    ) -> LabelledData:
        """Read a labelled dataset, by default by the columns of the data that a model was trained on.

        Raises:
            NotFoundError, DatasetError: as `read`.
        """
        return inference.read_as_trained(model.columns, lambda named: self.read(data, columns=named), columns)

    def evaluate(
        self,
        model: str | Path | Model,
        data: str | Path | LabelledData,
        *,
        split: str | None = None,
        columns: Columns | None = None,
        trust_code: bool = False,
    ) -> Evaluation:
        """Measure a finished model on labelled data.

        Args:
            model: as for `model`.
            data: of the model's modality, with classes of the same names.
            split: test, validation, train or all; by default the items that the model was not trained on.
            columns: which columns of a table hold what; by default as in the data of its run.
            trust_code: whether code that comes with the model may be run.

        Raises:
            NotFoundError: when the model or the data are not there.
            DatasetError: when they do not fit each other.
        """
        opened = self.model(model, trust_code=trust_code)
        labelled = self.read_as_trained(opened, data, columns=columns)
        return inference.evaluate(
            opened,
            labelled,
            split=split,
            recorded=self._learnt_by(opened, labelled),
            progress=self.progress,
        )

    def _learnt_by(self, model: Model, data: LabelledData) -> BoolArray | None:
        """Return which items a model has learnt from by the registry, where its folder says too little.

        A model needs no registry to be used, so one that cannot be read is none.
        """
        if model.learnt.complete or not data.digests or not self.exists:
            return None
        try:
            return inference.learnt_in_registry(self.store, model, data)
        except ExpertiseError:
            return None

    def export_model(
        self,
        model: str | Path | Model,
        out: str | Path,
        *,
        format: str,
        force: bool = False,
        trust_code: bool = False,
    ) -> Exported:
        """Write a finished model as a file for other programs, checked on real inputs.

        Args:
            model: as for `model`.
            out: file with the suffix of the format; a description is written beside it, with .json appended.
            format: onnx or torch-export.
            force: replace a file that is there.
            trust_code: whether code that comes with the model may be run.

        Raises:
            NotFoundError: when the model or the format is not there.
            MissingExtraError: when a package that the format needs is not installed.
            InvalidInputError: when `out` cannot be written.
            SourceError: when the network cannot be exported.
        """
        # A package that is missing is named before anything is loaded.
        _ = inference.formats[format]
        opened = self.model(model, trust_code=trust_code)
        return inference.export_model(opened, Path(out), kind=format, force=force)

    # The graph

    def graph(self, *, around: str | None = None, radius: int = 1) -> Graph:
        """Return the graph for networkx: experts, tasks, and their relations.

        Args:
            around: only the part near this node, by id.
            radius: how many edges away.
        """
        whole = registry.build_graph(self.store.experts(), self.store.tasks(), self.store.edges())
        return whole if around is None else registry.ego(whole, around, radius)

    def export_graph(self, path: str | Path, format: str | None = None, *, force: bool = False) -> Graph:
        """Write the graph to a file and return it.

        Args:
            path: the file.
            format: graphml, gexf, gml or json; by default that of the suffix.
            force: replace a file that is there.

        Raises:
            InvalidInputError: for an unknown format or suffix, or a path that may not be written.
        """
        if format is None and self.is_run(path):
            raise InvalidInputError(
                f"{path} is the folder of a run: to export its model, set {setting('format', 'onnx')} or "
                f"{setting('format', 'torch-export')}, and the file to write as {setting('out')}"
            )
        graph = self.graph()
        registry.export(graph, Path(path), format, force=force)
        return graph

    # Diagnostics

    def check(
        self,
        data: str | Path | LabelledData,
        *,
        test: str | Path | LabelledData | None = None,
        expert: str | None = None,
        columns: Columns | None = None,
        seed: int = 0,
        trust_code: bool = False,
    ) -> DataFindings:
        """Return what is wrong with a dataset, how hard it is, and what to do.

        Without a registry the parts that need an expert are left out.

        Args:
            data: the labelled data; even data that nothing can be learnt from.
            test: a test set of its own, compared with the data.
            expert: whose features are used; by default the best of a short query.
            columns: which columns of a table hold what.
            seed: of samples and folds.
            trust_code: whether code that comes with an expert may be run.

        Raises:
            NotFoundError: when the data, or the named expert, are not there.
            DatasetError: when the data cannot be read at all.
        """
        named = None if expert is None else self.store.find_runnable(expert)
        labelled = self.read(data, columns=columns, strict=False)

        def choose() -> FeatureExtractor:
            if named is None and not self.exists:
                return diagnostics.no_expert()
            return self._extractor(labelled, named, seed=seed, trust_code=trust_code)

        return diagnostics.check_data(
            labelled,
            test=None if test is None else self.read(test, columns=columns, strict=False),
            choose=choose,
            settings=_reading(columns, trust_code),
            seed=seed,
            progress=self.progress,
        )

    def _extractor(
        self, labelled: LabelledData, named: Expert | None, *, seed: int, trust_code: bool
    ) -> FeatureExtractor:
        chosen, reason = named, "as asked for"
        if chosen is None:
            query = Query(budget=_CHECK_BUDGET, sample=_CHECK_SAMPLE, seed=seed, starter_knowledge=False)
            ranking = self.query(labelled, query, trust_code=trust_code)
            if ranking.interrupted:
                raise KeyboardInterrupt
            chosen, reason = ranking.start, f"best of a query that ran {ranking.experts_run} experts"
        if chosen is None or chosen.modality != labelled.modality:
            inputs = datasets.plural_of(labelled.modality)
            raise NotFoundError(f"there is no such expert for {inputs}; register one")
        prober, expert = self._prober(trust_code), chosen
        return diagnostics.FeatureExtractor(
            expert=expert.short,
            reason=reason,
            features=lambda inputs: prober.features(expert, inputs),
            note=lambda inputs: prober.note(expert, inputs),
        )

    def check_run(
        self,
        folder: str | Path,
        *,
        data: str | Path | LabelledData | None = None,
        columns: Columns | None = None,
        trust_code: bool = False,
    ) -> RunFindings:
        """Return how a finished warm start went, where it fails, and what to try.

        Args:
            folder: of the run.
            data: its data; by default where the registry last saw them.
            columns: which columns of a table hold what; by default as when it was trained.
            trust_code: whether a model built by code of the user may be loaded.

        Raises:
            InvalidInputError: when the run has not finished.
        """

        def find(run: diagnostics.FinishedRun) -> LabelledData:
            given = self.store.find_task(run.task).locator if data is None else data
            found = inference.read_as_trained(
                run.columns, lambda named: self.read(given, columns=named), columns
            )
            if data is None and found.task.id != run.task:
                raise InvalidInputError(
                    f"{found.locator} gives other items or labels than the run had: name its columns "
                    f"as then, e.g. {setting('target')}, or give the data as they were with {setting('data')}"
                )
            return found

        return diagnostics.check_run(
            Path(folder).absolute(),
            find,
            settings=_reading(columns, trust_code),
            trust_code=trust_code,
            progress=self.progress,
        )

    @staticmethod
    def is_run(folder: str | Path) -> bool:
        """Tell whether a folder is that of a training run."""
        return models.RunFolder(Path(folder)).is_run

    @staticmethod
    def check_report_path(path: str | Path) -> None:
        """Refuse a path for a report that holds anything but an earlier report.

        Raises:
            InvalidInputError: when `path` is a folder, another file, or in no folder.
        """
        diagnostics.check_writable(Path(path))

    # History

    def tasks(self) -> list[KnownTask]:
        """Return the tasks, oldest first, with how much is known about each."""
        counts = self.store.task_counts()
        return [
            KnownTask(task=task, results=results, scores=scores)
            for task in self.store.tasks()
            for results, scores in [counts.get(task.id, (0, 0))]
        ]

    def history(self, *, task: str | None = None, expert: str | None = None) -> list[Edge]:
        """Return the measured results, by task and metric, the best first.

        Args:
            task: only on this task, by name or id.
            expert: only of this expert, by name or id.

        Raises:
            NotFoundError: when there is no such task or expert.
        """
        source, target = self._ends(expert, task)
        edges = self.store.edges("transfer", source=source, target=target)
        names = self.store.names({edge.target for edge in edges})

        def order(edge: Edge) -> tuple[str, str, float]:
            sign = 1 if edge.meta.get("lower_is_better") else -1
            return names.get(edge.target, edge.target), edge.metric or "", sign * edge.weight

        return sorted(edges, key=order)

    def known_from(self, edge: Edge) -> str:
        """Return who stands behind a result: measured here, imported, published, pulled or self-reported."""
        return registry.known_from(edge, self._places)

    @cached_property
    def _places(self) -> list[str]:
        return self.store.shared_places()

    def remove_results(
        self,
        *,
        task: str | None = None,
        expert: str | None = None,
        metric: str | None = None,
        method: str | None = None,
        origin: str | None = None,
        dry_run: bool = False,
    ) -> Withdrawn:
        """Take back the measured results that meet all conditions given, at least one.

        Args:
            task: on this task, by name or id.
            expert: of this expert, by name or id.
            metric: of this metric.
            method: imported, race, auto, or a training strategy.
            origin: the file that they were imported from, or the id of the run that left them.
            dry_run: change nothing.

        Raises:
            InvalidInputError: without any condition.
            NotFoundError: when there is no such task, expert or result.
        """
        source, target = self._ends(expert, task)
        return registry.withdraw_results(
            self.store,
            task=target,
            expert=source,
            metric=metric,
            method=method,
            origin=origin,
            dry_run=dry_run,
        )

    def _ends(self, expert: str | None, task: str | None) -> tuple[str | None, str | None]:
        """Return the ids of an expert and a task with results; a node that was removed is known by its id."""
        source = target = None
        if expert is not None:
            known = self.store.edges("transfer", source=expert)
            source = expert if known else self.store.find_expert(expert).id
        if task is not None:
            known = self.store.edges("transfer", target=task)
            target = task if known else self._task_with_results(task).id
        return source, target

    def import_history(self, file: File, options: HistoryOptions | None = None) -> ImportReport:
        """Store a table of measured results.

        Raises:
            InvalidInputError: when it cannot be read as one; nothing is stored then.
        """
        return registry.import_history(self.store, file, options or registry.HistoryOptions())

    def import_scores(self, file: File, options: ScoreOptions | None = None) -> ImportReport:
        """Store a table of transferability scores; raises as `import_history`."""
        return registry.import_scores(self.store, file, options or registry.ScoreOptions())

    def import_meta(self, file: File, options: ImportOptions | None = None) -> ImportReport:
        """Store a table of covariates of experts; raises as `import_history`."""
        return registry.import_meta(self.store, file, options or registry.ImportOptions())

    def import_distances(self, file: File, options: DistanceOptions | None = None) -> ImportReport:
        """Store a table of distances between tasks; raises as `import_history`."""
        return registry.import_distances(self.store, file, options or registry.DistanceOptions())

    # Sharing

    def push(
        self, target: str | Path, *, public: bool = False, anonymous: bool = False, draw: Draw | None = None
    ) -> Pushed:
        """Show the registry to others: what it knows of experts and tasks, and no data, paths or weights.

        Args:
            target: ``ORG/NAME``, a repository of data on the Hub; or a folder, written as a path: ./graph.
            public: whether a repository that is made is public; one that is there stays as it is.
            anonymous: whether names of tasks and classes are replaced by hashes.
            draw: writes a picture of the graph to a file, for the card.

        Raises:
            InvalidInputError: when the target holds something else, or what others have pushed since the last
                pull.
            SourceError: when the Hub refuses it.
        """
        self._tidy(False)
        options = sharing.SharingOptions(anonymous=anonymous, draw=draw)
        return sharing.push(self.store, str(target), options, public=public, progress=self.progress)

    def pull(self, source: str | Path, *, revision: str | None = None) -> Pulled:
        """Merge a registry that was pushed; what is measured here stays, and what is merged bears its origin.

        Args:
            source: as for `push`.
            revision: commit, branch or tag of a repository.

        Raises:
            NotFoundError: when it is not there.
            InvalidInputError: when it is not a whole registry; nothing is merged then.
        """
        self._tidy(False)
        return sharing.pull(self.store, str(source), revision=revision, progress=self.progress)

    def merge_registry(self, source: str | Path) -> Pulled:
        """Merge another workspace on this machine, or a pushed folder; as `pull`.

        Raises:
            NotFoundError, InvalidInputError: as `pull`.
        """
        self._tidy(False)
        return sharing.merge_folder(self.store, Path(source).expanduser(), progress=self.progress)

    def reprobe(self, n: int, *, seed: int = 0) -> list[Reprobed]:
        """Run pulled experts on the probe set again, and compare their embeddings with what was said.

        Args:
            n: how many, drawn at random.
            seed: of the draw.

        Raises:
            NotFoundError: when none was pulled that can be run.
        """
        return sharing.reprobe(self._context(False), n, seed=seed)

    def publish(
        self, model: str | Path, repository: str, *, public: bool = True, license: str | None = None
    ) -> PublishedModel:
        """Commit a finished model to a model repository on the Hub, with a card.

        Args:
            model: the folder of a run, its id, or the name of its child in the registry.
            repository: ``ORG/NAME``, made if it is not there.
            public: whether a repository that is made is public.
            license: of the model; by default that of what it was made from.

        Raises:
            NotFoundError: when there is no such model.
            InvalidInputError: when its licence is not known or not allowed, or the repository is of others.
            SourceError: when the Hub refuses it.
        """
        name = repository.removeprefix("hf:")
        if not sharing.is_repository(name):
            raise InvalidInputError(f"{repository!r} is not the name of a repository; the form is ORG/NAME")
        folder = Path(model).expanduser()
        folder = folder.absolute() if folder.is_dir() else self._model_folder(str(model))
        known = self.store if self.exists else None
        return sharing.publish(known, folder, name, public=public, license=license, progress=self.progress)

    def _tidy(self, trust_code: bool) -> None:
        """Finish what a process that was killed had begun, before the graph is changed again."""
        self._finish_unfinished(trust_code)
        registry.tidy(self.store)

    def _finish_unfinished(self, trust_code: bool) -> None:
        if self.store.read_only or not self.store.abandoned():
            return
        finishers = {
            registry.PROBE_SET: registry.finish_probe_set,
            merging.MADE_MODEL: merging.finish_model,
            training.TRAINED: training.finish_run,
        }
        registry.finish_unfinished(self._context(trust_code), finishers)

    def _context(self, trust_code: bool, seed: int = 0) -> features.Context:
        return features.Context(
            store=self.store,
            prober=self._prober(trust_code),
            trust_code=trust_code,
            progress=self.progress,
            seed=seed,
        )

    def _prober(self, trust_code: bool) -> features.Prober:
        return features.Prober(
            arrays=self.store.features,
            trust_code=trust_code,
            progress=self.progress,
            ran=features.Timings(self.store).note,
            outside=self._isolation if self._isolate else None,
        )


def _reading(columns: Columns | None, trust_code: bool) -> dict[str, str | bool]:
    """Return the settings that a command needs to read the same data."""
    return {**(columns.settings if columns else {}), **({"trust_code": True} if trust_code else {})}


def _is_written_path(text: str) -> bool:
    """Tell whether a text is a path by how it is written, whatever is there."""
    return os.sep in text or text.startswith((".", "~"))


def _is_same_folder(folder: Path, other: Path) -> bool:
    return folder.is_dir() and folder.resolve() == other.resolve()


def _where(tag: str | None, license: str | None) -> dict[str, str]:
    return {name: value for name, value in (("tags", tag), ("license", license)) if value is not None}
