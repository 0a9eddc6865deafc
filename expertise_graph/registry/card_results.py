"""Results that cards claim, as edges: which of them count, on which task, and in which unit."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import isclose
from statistics import fmean
from typing import Any

from expertise_graph.core import CARD_METHOD, SELF_REPORTED, UNKNOWN, Edge, Expert, Task
from expertise_graph.models import CLAIMS, Claim, claims_from
from expertise_graph.registry.imports.boards import WHOLE, board_task
from expertise_graph.registry.imports.metrics import ACCURACY, OF_CLASSES, is_fraction, known_as
from expertise_graph.registry.imports.names import data_key, named_task
from expertise_graph.store import Store

VERSION = "1"
LEFT_OUT = "claims_left_out"
"""Where the meta of an expert says how many results of its card do not count, by reason."""

# What boards call the metric that a task is about.
_MAIN = "main_score"
# The metric of benchmarks that define their own, of which a claim says the value alone.
_SCORE = "score"
# What is claimed of classes, the plainest first; of several the first one there counts.
_PREFERRED = (*OF_CLASSES, _SCORE)
# Reasons to leave out a claim.
OTHER_TASK, OTHER_METRIC, NO_UNIT, OUT_OF_RANGE, TRAINED, AGAIN = (
    "of other kinds of task",
    "of other metrics",
    "of unknown unit",
    "out of range",
    "on data that it was trained on",
    "given again",
)

# How leaderboards of embedding models call a data set in cards: MTEB NAME (PART).
_BOARD = re.compile(r"MTEB (?P<name>[\w.-]+)(?: \((?P<part>.*)\))?")
# The split that results are on unless something else is said.
_TEST = "test"
# Of one data set that goes by several names the one that others publish results under; everybody tests on the
# split that is called validation.
_SAME = {
    "imagenet-1k": "imagenet",
    "ilsvrc/imagenet-1k": "imagenet",
    "timm/imagenet-1k-wds": "imagenet",
    "imagenet": "imagenet",
}


def task_name(claim: Claim) -> str:
    """Return the name of the task that a claim is about, by which published and imported results meet it.

    Example:
        >>> board = {"dataset": "mteb/banking77", "value": 0.8, "split": "test"}
        >>> task_name(Claim(**board, name="MTEB Banking77Classification (default)", config="default"))
        'mteb/Banking77Classification'
        >>> task_name(Claim(**board, name="MTEB MTOPDomainClassification (de)", config="de"))
        'mteb/MTOPDomainClassification (de)'
        >>> task_name(Claim(dataset="glue", config="sst2", split="validation", value=0.9))
        'glue/sst2 [validation]'
        >>> task_name(Claim(dataset="imagenet-1k", split="validation", value=0.8)), task_name(
        ...     Claim(dataset="org/emotion", config="org/emotion", value=0.9))
        ('imagenet', 'org/emotion')
    """
    split = "" if claim.split.casefold() in ("", _TEST) else f" [{claim.split}]"
    if board := _BOARD.fullmatch(claim.name):
        return board_task(board["name"], claim.config or board["part"] or "", claim.split)
    if same := _SAME.get(claim.dataset.casefold()):
        return same
    own = (claim.dataset.casefold(), claim.dataset.rpartition("/")[2].casefold())
    whole = claim.config.casefold() in WHOLE or claim.config.casefold() in own
    return f"{claim.dataset}{'' if whole else f'/{claim.config}'}{split}"


def without_claims(expert: Expert) -> Expert:
    """Return an expert that was just resolved without what its author claims."""
    return replace(expert, meta={name: value for name, value in expert.meta.items() if name != CLAIMS})


def put_known(store: Store, node: Expert) -> Expert:
    """Store a model that is known by what the Hub says of it, with what its author claims; return it.

    Args:
        store: the registry.
        node: as it was described just now.
    """
    with store.transaction():
        store.put_expert(without_claims(node))
        return keep_claims(store, store.expert(node.id), claims_from(node.meta))


def keep_claims(store: Store, expert: Expert, claims: Sequence[Claim]) -> Expert:
    """Put what an expert's author claims in the place of what was claimed before; return the expert.

    Claims never become results of a data set that somebody has: their tasks are known by name only.

    Args:
        store: the registry; the expert is in it.
        expert: whose author it is.
        claims: as its card has them.
    """
    chosen, left_out = _chosen(claims, expert)
    tasks = [_task(claim, expert.modality) for claim in chosen]
    edges = [_edge(expert, task, claim) for task, claim in zip(tasks, chosen, strict=True)]
    meta = {name: value for name, value in expert.meta.items() if name != LEFT_OUT}
    told = replace(expert, meta={**meta, **({LEFT_OUT: dict(left_out)} if left_out else {})})
    with store.transaction():
        if dict(told.meta) != dict(expert.meta):
            store.put_expert(told)
        if tasks:
            store.add_nodes([], tasks)
        store.replace_claims(expert.id, edges)
    return told


def _chosen(claims: Iterable[Claim], expert: Expert) -> tuple[list[Claim], Counter[str]]:
    """Return one claim for each data set, its value a fraction, and how many are left out by reason."""
    left_out: Counter[str] = Counter()
    given = [replace(claim, metric=_metric(claim)) for claim in claims]
    # Cards have one unit: where something is above 1, a value below it may be .9 percent.
    percent = any(c.value > 1 for c in given if _is_fraction(c))
    of_task: dict[str, dict[str, Claim]] = {}
    for claim in given:
        reason = _refusal(claim, expert, percent=percent)
        if reason is not None:
            left_out[reason] += 1
            continue
        found = of_task.setdefault(task_name(claim), {})
        if claim.metric in found and (found[claim.metric].verified or not claim.verified):
            left_out[AGAIN] += 1
            continue
        left_out[AGAIN] += claim.metric in found
        found[claim.metric] = replace(claim, value=claim.value / (100.0 if percent or claim.percent else 1.0))
    main = {task_name(c): c.value / (100.0 if percent else 1.0) for c in given if c.metric == _MAIN}
    chosen = []
    for name, metrics in of_task.items():
        there = [metric for metric in _PREFERRED if metric in metrics]
        # Where a board says which value is the main one, published tables have that.
        first = next((m for m in there if name in main and isclose(metrics[m].value, main[name])), there[0])
        chosen.append(metrics[first])
        left_out[OTHER_METRIC] += len(metrics) - 1
    return _whole(chosen), +left_out


def _whole(claims: list[Claim]) -> list[Claim]:
    """Return claims about parts of a board's data set as one, where none is about the English part.

    It is their mean, which is what published tables have.
    """
    parts: dict[tuple[str, str, str], list[Claim]] = {}
    for claim in claims:
        if board := _BOARD.fullmatch(claim.name):
            parts.setdefault((board["name"], claim.metric, claim.split), []).append(claim)
    means = {
        key: replace(of[0], name=f"MTEB {key[0]}", config="", value=fmean(c.value for c in of))
        for key, of in parts.items()
        if all(task_name(c) != board_task(key[0], "", c.split) for c in of)
    }
    joined = {id(claim) for key in means for claim in parts[key]}
    return [*(claim for claim in claims if id(claim) not in joined), *means.values()]


def _metric(claim: Claim) -> str:
    if not claim.metric:
        return _SCORE
    name = known_as(claim.metric)
    return name if name == ACCURACY else re.sub(r"[^a-z0-9]+", "_", name.casefold()).strip("_")


def _is_fraction(claim: Claim) -> bool:
    return claim.metric == _SCORE or is_fraction(claim.metric)


def _refusal(claim: Claim, expert: Expert, *, percent: bool) -> str | None:
    """Return why a claim does not count; None for one that does."""
    kind = re.sub(r"[^a-z]", "", claim.task.casefold())
    if kind not in ("", "classification", f"{expert.modality}classification"):
        return OTHER_TASK
    if claim.metric not in _PREFERRED:
        return OTHER_METRIC
    known = data_key(claim.dataset) in map(data_key, expert.datasets)
    if known or claim.split.casefold().startswith("train"):
        return TRAINED
    in_percent = percent or claim.percent
    if not 0.0 <= claim.value <= (100.0 if in_percent else 1.0):
        return OUT_OF_RANGE
    return NO_UNIT if percent and not claim.percent and 0.0 < claim.value <= 1.0 else None


def _task(claim: Claim, modality: str) -> Task:
    return replace(named_task(task_name(claim)), modality=modality or UNKNOWN)


def _edge(expert: Expert, task: Task, claim: Claim) -> Edge:
    details: dict[str, Any] = {
        "verified": claim.verified,
        "source": claim.source,
        "date": claim.day,
        "commit": expert.revision,
    }
    return Edge(
        kind="transfer",
        source=expert.id,
        target=task.id,
        weight=claim.value,
        metric=claim.metric,
        method=SELF_REPORTED,
        version=VERSION,
        meta={**{k: v for k, v in details.items() if v}, "origin": CARD_METHOD},
    )
