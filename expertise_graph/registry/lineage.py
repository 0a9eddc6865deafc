"""Lineage: what an expert has learnt from, itself or by its ancestors, and what kind of model it is."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from expertise_graph.core import CARD_METHOD, USER_METHOD, BoolArray, Edge, Expert, Task
from expertise_graph.store import Split, Store

KINDS = ("original", "fine-tune", "adapter", "merge", "quantised")
RELATIONS = KINDS[1:]
"""What a child can be to its parent."""

RUN, CARD, USER, WEIGHTS = "run", "card", "user", "weights"
"""Where a relation of two experts is known from: a run, the child's card, the user, the weights alone."""

# An expert that has learnt from more than this share of a task's items counts as trained on the task. A few
# items that two datasets have in common do not exclude an expert; from many its score would be inflated.
LEAKAGE_SHARE = 0.05

# What model cards, tags and lineage edges call the relation to a base model.
_RELATIONS = {
    "original": "original",
    "finetune": "fine-tune",
    "finetuned": "fine-tune",
    "warmstart": "fine-tune",
    "adapter": "adapter",
    "peft": "adapter",
    "lora": "adapter",
    "qlora": "adapter",
    "merge": "merge",
    "merged": "merge",
    "mergekit": "merge",
    "soup": "merge",
    "quantized": "quantised",
    "quantised": "quantised",
}
_QUANTISED = re.compile(
    r"(?<![a-z0-9])(quanti[sz]ed|gptq|awq|gguf|ggml|exl2|hqq|aqlm|bitsandbytes|bnb|nf4|fp8|int[248]|"
    r"[248][- ]?bit)(?![a-z0-9])"
)
_RELATION_KEYS = ("base_model_relation", "relation")
_QUANTISATION_KEYS = ("quantization_config", "quantization", "quantisation", "quant_method")


def kind_of(expert: Expert, lineage: Iterable[Edge]) -> str:
    """Return which of `KINDS` an expert is.

    What its metadata say of the relation to the base model counts first, then signs of quantisation,
    then its lineage, then its tags. One with a base model of which nothing else is known is a fine-tune.

    Args:
        expert: any expert.
        lineage: lineage edges; those that do not end at the expert are ignored.
    """
    stated = _relation(str(expert.meta.get(key) or "") for key in _RELATION_KEYS)
    if stated is not None:
        return stated
    if _is_quantised(expert):
        return "quantised"
    parents = [e for e in lineage if e.target == expert.id and e.source != expert.id]
    words = [str(e.meta.get(key) or "") for e in parents for key in _RELATION_KEYS]
    noted = _relation([*words, *(e.method for e in parents), *map(_without_base, expert.tags)])
    return noted or ("fine-tune" if parents or expert.base_model else "original")


def stated_relation(expert: Expert, *, parents: int) -> str:
    """Return what an expert is to the base models of its card, by its card, its tags and their number."""
    kind = kind_of(dataclasses.replace(expert, base_model=None), ())
    if kind != "original":
        return kind
    return "merge" if parents > 1 else "fine-tune"


def origin_of(edge: Edge) -> str:
    """Return where a relation is known from: run, card, user or weights."""
    if edge.run is not None:
        return RUN
    if edge.method == CARD_METHOD:
        return CARD
    if edge.kind == "suspected":
        return WEIGHTS
    # Edges of a run whose record is gone keep the strategy as their method.
    return USER if edge.method == USER_METHOD else RUN


def relation_of(edge: Edge) -> str:
    """Return what the child is to the parent: one of `RELATIONS`."""
    words = [str(edge.meta.get(key) or "") for key in _RELATION_KEYS]
    found = _relation([*words, edge.method])
    return found if found in RELATIONS else RELATIONS[0]


def _relation(words: Iterable[str]) -> str | None:
    """Return the kind that the first known word stands for."""
    plain = ("".join(filter(str.isalnum, word.lower())) for word in words)
    return next((_RELATIONS[word] for word in plain if word in _RELATIONS), None)


def _without_base(tag: str) -> str:
    """Return the relation in a tag of the Hub such as base_model:adapter:org/name, else the tag."""
    match = re.fullmatch(r"base_model:(\w+):.+", tag)
    return match[1] if match else tag


def _is_quantised(expert: Expert) -> bool:
    described = (expert.weights_format, expert.architecture, *map(_without_base, expert.tags))
    return any(expert.meta.get(key) for key in _QUANTISATION_KEYS) or any(
        _QUANTISED.search(text.lower()) for text in described
    )


def trained_on(store: Store, task: Task, *, seen: Mapping[Split, BoolArray]) -> set[str]:
    """Return the ids of experts that have learnt from a task: children of its runs, and their descendants.

    Args:
        store: where runs and lineage are recorded.
        task: whose labels they may have seen.
        seen: which of the task's items runs on other tasks, or with other splits, have learnt from, under
            other labels too: (n,) bool by task and seed, see `Store.seen`.
    """
    leaking = {split for split, items in seen.items() if items.mean() > LEAKAGE_SHARE}
    runs = [*store.runs(task=task.id), *(r for t, s in leaking for r in store.runs(task=t) if r.seed == s)]
    children = [run.child for run in runs if run.child]
    return store.with_descendants([*children, *store.trained_elsewhere(task.id)])


def learnt_from(store: Store, experts: Iterable[str], digests: Sequence[str]) -> BoolArray:
    """Return which of n items experts, or those that they descend from, have learnt from: (n,) bool.

    Args:
        store: where runs and lineage are recorded.
        experts: ids; of one that is not registered nothing is known.
        digests: of the n items' contents.
    """
    runs = [run for child in store.with_ancestors(experts) for run in store.runs(child=child)]
    seen = store.seen(digests) if runs else {}
    used = [seen[run.task, run.seed] for run in runs if (run.task, run.seed) in seen]
    learnt: BoolArray = np.any([np.zeros(len(digests), dtype=np.bool_), *used], axis=0)
    return learnt
