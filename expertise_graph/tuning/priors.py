"""What is tried first: defaults, from scratch, further experts, and settings that worked on similar tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from expertise_graph.core import Edge, Run
from expertise_graph.data import LabelledData
from expertise_graph.features import probe_sets as probes
from expertise_graph.retrieval import AUTO, task_vectors
from expertise_graph.store import Store
from expertise_graph.training import DEFAULT_LR, TrainConfig
from expertise_graph.tuning.model_selection import scratch_gain
from expertise_graph.tuning.settings import SCRATCH
from expertise_graph.tuning.space import ADAPTERS_FROM, Contender, Space

_SETTINGS = ("strategy", "lr", "weight_decay", "epochs", "augment", "prior", "rank")


def settings_of_similar_tasks(store: Store, data: LabelledData, seed: int) -> list[TrainConfig]:
    """Return the best settings of other tasks of the modality, the most similar task first.

    Of each task counts the run with the highest accuracy among the fine-tunes here, and the search
    with the lowest loss on it; a task that was trained on with the defaults alone teaches nothing.
    Similar is by the embeddings of the tasks; those without one come last.
    """
    nearness = _nearness(store, data)
    known = {t.id for t in store.tasks(modality=data.modality) if t.id != data.task.id}
    found = [(nearness.get(task, -1.0), values) for task, values in _best(store) if task in known]
    usual = TrainConfig(seed=seed)
    configs = [_config(values, usual) for _, values in sorted(found, key=lambda pair: -pair[0])]
    return [c for i, c in enumerate(configs) if c != usual and c not in configs[:i]]


def _nearness(store: Store, data: LabelledData) -> dict[str, float]:
    vectors = task_vectors(store, probes.current(store, data.modality).id)
    own = vectors.get(data.task.id)
    return {} if own is None else {task: float(vector @ own) for task, vector in vectors.items()}


def _best(store: Store) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield tasks with the settings that did best on them."""
    runs: dict[str, tuple[float, dict[str, Any]]] = {}
    for run in store.runs(status="done"):
        accuracy = run.result.get("accuracy")
        if accuracy is None or run.strategy == SCRATCH:
            continue
        if run.task not in runs or accuracy > runs[run.task][0]:
            runs[run.task] = (float(accuracy), _settings(run))
    trials: dict[str, Edge] = {}
    for edge in store.edges("transfer"):
        # An imported result may be called so as well; it has no settings.
        if edge.method == AUTO and edge.meta.get("status") == "done":
            best = trials.get(edge.target)
            if best is None or edge.meta["loss"] < best.meta["loss"]:
                trials[edge.target] = edge
    yield from ((task, {**e.meta["settings"], "strategy": e.meta["strategy"]}) for task, e in trials.items())
    yield from ((task, config) for task, (_, config) in runs.items() if task not in trials)


def _settings(run: Run) -> dict[str, Any]:
    """Return the settings of a run, with the learning rate that was chosen where it was searched for."""
    values = dict(run.config)
    if isinstance(values.get("lr"), str):
        values["lr"] = run.result.get("lr") or DEFAULT_LR
    return values


def _config(values: dict[str, Any], usual: TrainConfig) -> TrainConfig:
    wanted = {name: values[name] for name in _SETTINGS if name in values}
    return TrainConfig(**{**usual.as_dict(), **wanted})


def first_trials(
    space: Space, similar: list[TrainConfig], raw_accuracy: float | None
) -> list[tuple[str, Contender, TrainConfig]]:
    """Return what to try first: defaults on the best expert, from scratch, the others, what worked elsewhere.

    Where the best expert is expected to be worse than the raw input, from scratch comes before it.

    Args:
        space: the experts, the best first, and the strategies that may be tried.
        similar: settings that did best on similar tasks.
        raw_accuracy: accuracy of a ridge on the raw input; None where the query predicts no accuracies.
    """
    best, *others = space.contenders
    defaults = space.defaults
    chosen = [("defaults", best, defaults)]
    smallest = min(space.contenders, key=lambda e: e.expert.params)
    if (
        SCRATCH in space.strategies
        and defaults.strategy != SCRATCH
        and smallest.expert.params < ADAPTERS_FROM
    ):
        from_scratch = ("from scratch", smallest, replace(defaults, strategy=SCRATCH))
        chosen.insert(0 if scratch_gain(best, raw_accuracy) > 0 else 1, from_scratch)
    if not defaults.way.pretrained:
        others = _of_other_architectures(best, others)
    further = [("next expert", other, defaults) for other in others]
    proven = [("similar task", best, c) for c in similar if c.strategy in space.strategies][:2]
    for pair in zip(further, proven, strict=False):
        chosen += pair
    shorter = min(len(further), len(proven))
    chosen += further[shorter:] + proven[shorter:]
    return [(why, contender, replace(config, seed=space.seed)) for why, contender, config in chosen]


def _of_other_architectures(best: Contender, others: Sequence[Contender]) -> list[Contender]:
    """Return one of each further architecture: from random weights the others would be the same."""
    chosen = {(e.expert.architecture, e.expert.params): e for e in reversed([best, *others])}
    return [e for e in others if e in chosen.values()]
