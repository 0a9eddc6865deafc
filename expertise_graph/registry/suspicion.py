"""Lineage that nobody states, suspected from weights that are too close for chance.

Weights are compared by sketches of a thousand numbers (`models.sketch_weights`), which are kept in
``embeddings/weights`` by the names and shapes of the tensors: only models of the same shapes are looked at.
The distance is relative to the size of the weights. Measured on the experts that come with the package and on
networks trained from them (LOG.md, 2026-11-28): fine-tunes of a parent .02 to .10 with the default learning
rate, .08 to .40 with five and ten times as much; networks trained from one random initialisation .55 to 1.13,
from different ones 1.41. A merge of two children lies between them.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from expertise_graph.core import (
    ARRAYS,
    Edge,
    Expert,
    Progress,
    SourceError,
    path_part,
    sha256_of_texts,
    silent,
)
from expertise_graph.models import (
    WEIGHT_SKETCH_VERSION,
    WeightSketch,
    is_half_of,
    relative_distance,
    sketch_weights,
    weight_files,
)
from expertise_graph.registry.claims import is_unset
from expertise_graph.registry.families import Families
from expertise_graph.registry.lineage import CARD, origin_of
from expertise_graph.store import AS_ADDED, Arrays, Store

# Weights that are closer than this have an ancestor in common: half-way, by ratio, between the farthest
# fine-tune (.40) and the nearest training from the same random numbers (.55) that were measured.
CLOSE = 0.47

# Weights that are as far apart as this have as much in common as any two: random ones are at 1.41 +- .03.
UNRELATED = 1.35

# Experts of its shapes that a new one is compared with, those that were registered first: 1 MB of sketches.
COMPARED = 256

# Cosine of the ways from a model to two others, below which it lies between them: of a merge it is -1, of a
# parent of two children 0.
_BETWEEN = -0.9

# Nearest ones of each model that the whole zoo is joined by: more only help where hundreds are equally close.
_NEAREST = 8

# Models of the same shapes whose distances are computed at one time: 16 MB of numbers.
_BATCH = 2048

# A family of which no more is looked at when one is added.
_KIN = 2000

WEIGHTS_METHOD, VERSION = "weight sketch", WEIGHT_SKETCH_VERSION

Values: TypeAlias = NDArray[np.float32]

Sketched: TypeAlias = tuple[Expert, WeightSketch]

# State of the registry: by which version all experts that could be were sketched.
_SKETCHED = "weight_sketches"


@dataclass(frozen=True, kw_only=True)
class Suspicion:
    """Two experts whose weights are close.

    Attributes:
        expert: one of them; the child, where that is known.
        other: the other one.
        distance: of their weights, relative to their size.
        relation: fine-tune or quantised where something tells which came first; None where nothing does.
        reason: what tells it, in words; empty where nothing does.
        between: whether `expert` lies between this and another one, as a merge of the two does.
    """

    expert: Expert
    other: Expert
    distance: float
    relation: str | None = None
    reason: str = ""
    between: bool = False

    @property
    def edge(self) -> Edge:
        """The suspicion as a relation of the two."""
        meta: dict[str, Any] = {"distance": round(self.distance, 4)}
        told = {"relation": self.relation, "reason": self.reason, "between": self.between}
        return Edge(
            kind="suspected",
            source=self.other.id,
            target=self.expert.id,
            weight=max(0.0, 1.0 - self.distance),
            method=WEIGHTS_METHOD,
            version=VERSION,
            meta={**meta, **{name: value for name, value in told.items() if value}},
        )


class Sketches:
    """The sketches of the experts of one workspace, by what shapes their tensors have."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._folder = store.folder / ARRAYS / "weights"

    def get(self, expert: Expert) -> WeightSketch | None:
        """Return the sketch of an expert: made from its files, or that which is kept where they are gone."""
        try:
            sketch = sketch_weights(weight_files(expert))
        except (SourceError, OSError, ValueError, KeyError, TypeError):
            sketch = None  # damaged since it was registered: whoever runs it is told
        if sketch is None:
            places = self._folder.glob(f"*/*/{_key(expert)}.safetensors")
            return next((self.kept(path.parents[1].name, expert) for path in places), None)
        if self.kept(sketch.shapes, expert) is None:
            note = {"classifier": sketch.classifier, "rounded": sketch.rounded, "version": VERSION}
            self._place(sketch.shapes).put(_key(expert), sketch.values, note=json.dumps(note))
        return sketch

    def kept(self, shapes: str, expert: Expert) -> WeightSketch | None:
        """Return the sketch that is kept of an expert with tensors of some shapes; its files are not read."""
        place, key = self._place(shapes), _key(expert)
        values = place.get(key)
        try:
            told = json.loads(place.note(key)) if values is not None else {}
            if values is None or told["version"] != VERSION:
                return None
            flags = {name: bool(told[name]) for name in ("classifier", "rounded")}
            return WeightSketch(shapes=shapes, values=values, **flags)
        except (ValueError, KeyError, TypeError):
            return None

    def of_shapes(self, shapes: str, *, most: int | None = None) -> list[Sketched]:
        """Return the experts whose tensors have the same names and shapes, in the order they were registered.

        Args:
            shapes: the hash of these.
            most: how many at most; only their sketches are read.
        """
        keys = sorted(path.stem for path in self._place(shapes).folder.glob("*/*.safetensors"))
        experts = self._store.experts(where={"weights_sha": keys}, order=AS_ADDED, limit=most)
        found = ((expert, self.kept(shapes, expert)) for expert in experts)
        return [(expert, sketch) for expert, sketch in found if sketch is not None]

    def shapes(self) -> list[str]:
        """Return the hashes of all shapes that are there."""
        return sorted(path.name for path in self._folder.iterdir()) if self._folder.is_dir() else []

    def complete(self, progress: Progress = silent, *, again: bool = False) -> None:
        """Make the sketches that earlier versions did not make, of all experts whose files are here.

        Args:
            progress: called after each expert.
            again: whether to look for missing ones though that was done before.
        """
        done_before = self._store.state(_SKETCHED) == VERSION and not again
        if self._store.read_only or done_before:
            return
        there = {path.stem for path in self._folder.glob("*/*/*.safetensors")}
        missing = [e for e in self._store.experts() if e.runnable and _key(e) not in there]
        for done, expert in enumerate(missing, 1):
            self.get(expert)
            progress("sketching weights", done, len(missing))
        self._store.set_state(_SKETCHED, VERSION)

    def _place(self, shapes: str) -> Arrays:
        return Arrays(self._folder / path_part(shapes), read_only=self._store.read_only)


def suspect_new(store: Store, expert: Expert) -> None:
    """Compare a new expert with the parents that it claims or, if it claims none, with those of its shapes.

    At most `COMPARED` others are looked at. The nearest that is close becomes a suspicion; of an expert that
    lies between two others, both.
    """
    sketches = Sketches(store)
    sketch = sketches.get(expert)
    if sketch is None:
        return
    silent_card = not store.lineage(children=[expert.id])
    others = sketches.of_shapes(sketch.shapes, most=COMPARED) if silent_card else []
    with store.transaction():
        check_claims(store, sketches, expert, sketch)
        _record(store, _unstated(store, expert, sketch, others))


def suspect(store: Store, expert: Expert, *, progress: Progress = silent) -> list[Suspicion]:
    """Compare one expert with all of its shapes, and return those that are close, nearest first.

    Where nobody states its parents, what is close is recorded as by `suspect_new`.
    """
    sketches = Sketches(store)
    sketches.complete(progress)
    sketch = sketches.get(expert)
    if sketch is None:
        return []
    others = sketches.of_shapes(sketch.shapes)
    if not store.read_only:
        with store.transaction():
            check_claims(store, sketches, expert, sketch)
            if not store.lineage(children=[expert.id]):
                _record(store, _unstated(store, expert, sketch, others))
    return _close(expert, sketch, others)


def suspect_all(store: Store, *, progress: Progress = silent) -> list[Suspicion]:
    """Compare all experts of the same shapes, record what nobody states, and return it, nearest first.

    Families that statements leave apart are joined by their closest pairs; earlier suspicions go.
    """
    sketches, found = Sketches(store), list[Suspicion]()
    sketches.complete(progress, again=True)
    shapes = sketches.shapes()
    for done, name in enumerate(shapes, 1):
        group = sketches.of_shapes(name)
        suspicions = _joining(store, group) if len(group) > 1 else []
        if not store.read_only:
            with store.transaction():
                for expert, sketch in group:
                    store.drop_suspicions(expert.id)
                    check_claims(store, sketches, expert, sketch)
                _record(store, suspicions)
        found += suspicions
        progress("comparing weights", done, len(shapes))
    return sorted(found, key=lambda one: one.distance)


def agreement(store: Store, parent: Expert, child: Expert) -> float | None:
    """Return the distance of the weights of two experts, or None where they cannot be compared."""
    sketches = Sketches(store)
    one = sketches.get(child)
    other = sketches.kept(one.shapes, parent) if one else None
    return relative_distance(one.values, other.values) if one and other else None


def check_claims(store: Store, sketches: Sketches, expert: Expert, sketch: WeightSketch) -> None:
    """Note beside each claim on a card, of an expert or about it, what the weights say of it."""
    for edge in store.edges("lineage", expert.id):
        other = store.known_expert(edge.target if edge.source == expert.id else edge.source)
        known = sketches.kept(sketch.shapes, other) if other and origin_of(edge) == CARD else None
        if known is None:
            continue
        distance = relative_distance(sketch.values, known.values)
        told: dict[str, Any] = {"distance": round(distance, 4)}
        if distance < CLOSE or distance > UNRELATED:
            told["confirmed"] = distance < CLOSE
        meta = {k: v for k, v in edge.meta.items() if k not in ("distance", "confirmed")}
        store.put_claim(dataclasses.replace(edge, meta={**meta, **told}, created_at=""))


def _unstated(
    store: Store, expert: Expert, sketch: WeightSketch, others: Sequence[Sketched]
) -> list[Suspicion]:
    """Return the nearest expert outside the family that is close, or two that the expert lies between."""
    kin = store.kin(expert.id, _KIN)
    close = [
        one
        for one in _close(expert, sketch, others)
        if _other(one, expert).id not in kin and not _is_unset(store, expert, _other(one, expert))
    ]
    values = {other.id: kept.values for other, kept in others}
    near = [_other(one, expert) for one in close[:_NEAREST]]
    pair = _around(sketch.values, [values[other.id] for other in near])
    if pair is None:
        return close[:1]
    return [_between(expert, near[i], close[i].distance) for i in pair]


def _other(one: Suspicion, expert: Expert) -> Expert:
    return one.other if one.expert.id == expert.id else one.expert


def _between(expert: Expert, other: Expert, distance: float) -> Suspicion:
    return Suspicion(expert=expert, other=other, distance=distance, between=True)


def _close(expert: Expert, sketch: WeightSketch, others: Iterable[Sketched]) -> list[Suspicion]:
    """Return the others whose weights are close, nearest first; who has the same weights is no relative."""
    found = [
        _suspicion(expert, sketch, other, kept)
        for other, kept in others
        if other.weights_sha != expert.weights_sha
    ]
    return sorted((s for s in found if s.distance < CLOSE), key=lambda one: one.distance)


def _suspicion(a: Expert, of_a: WeightSketch, b: Expert, of_b: WeightSketch) -> Suspicion:
    """Return what two sketches say: how far they are, and who came first where precision or a head tells."""
    distance = relative_distance(of_a.values, of_b.values)
    for child, x, parent, y in ((a, of_a, b, of_b), (b, of_b, a, of_a)):
        relation, reason = "", ""
        if is_half_of(x.values, y.values):
            relation, reason = "quantised", "the same weights in half precision"
        elif x.rounded and not y.rounded:
            relation, reason = "quantised", "its weights are rounded to few values"
        elif x.classifier and not y.classifier and not y.rounded:
            relation, reason = "fine-tune", "it has a classifier, the other has none"
        if relation:
            return Suspicion(expert=child, other=parent, distance=distance, relation=relation, reason=reason)
    return Suspicion(expert=a, other=b, distance=distance)


def _around(values: Values, others: Sequence[Values]) -> tuple[int, int] | None:
    """Return which two of others a model lies between, as a merge of them does."""
    ways = [other.astype(np.float64) - values for other in others]
    ways = [way / max(float(np.linalg.norm(way)), 1e-30) for way in ways]
    cosines = {(i, j): float(ways[i] @ ways[j]) for j in range(len(ways)) for i in range(j)}
    least = min(cosines, key=lambda pair: cosines[pair], default=None)
    return least if least is not None and cosines[least] < _BETWEEN else None


def _is_unset(store: Store, a: Expert, b: Expert) -> bool:
    return is_unset(store, [a.id], b.id) or is_unset(store, [b.id], a.id)


def _record(store: Store, suspicions: Iterable[Suspicion]) -> None:
    for one in suspicions:
        store.put_claim(one.edge)


def _joining(store: Store, group: Sequence[Sketched]) -> list[Suspicion]:
    """Return the closest pairs that join what statements leave apart (Kruskal 1956).

    Of an expert without stated parents that lies between two others, both.
    """
    families = Families(edge for edge in store.family_edges() if edge.kind == "lineage")
    found, near = dict[int, list[int]](), dict[int, list[int]]()
    joined = []
    for i, j in _near_pairs([sketch.values for _, sketch in group]):
        a, b = group[i][0], group[j][0]
        if a.weights_sha == b.weights_sha or _is_unset(store, a, b):
            continue
        near.setdefault(i, []).append(j)
        near.setdefault(j, []).append(i)
        if families.of(a.id) != families.of(b.id):
            families.join(a.id, b.id)
            joined.append((i, j))
            found.setdefault(i, []).append(j)
            found.setdefault(j, []).append(i)
    between = {i: pair for i in found if (pair := _merged(store, group, i, near[i])) is not None}
    suspicions = [
        _suspicion(*group[i], *group[j]) for i, j in joined if i not in between and j not in between
    ]
    for i, pair in between.items():
        expert, sketch = group[i]
        for other, kept in (group[j] for j in {*pair, *(k for k in found[i] if k not in between)}):
            distance = relative_distance(sketch.values, kept.values)
            suspicions.append(_between(expert, other, distance))
    return suspicions


def _merged(store: Store, group: Sequence[Sketched], i: int, near: list[int]) -> tuple[int, int] | None:
    """Return which two of those near an expert without stated parents it lies between."""
    if store.lineage(children=[group[i][0].id]):
        return None
    close = near[:_NEAREST]
    pair = _around(group[i][1].values, [group[j][1].values for j in close])
    return None if pair is None else (close[pair[0]], close[pair[1]])


def _near_pairs(values: Sequence[Values]) -> list[tuple[int, int]]:
    """Return pairs of models that are close, nearest first: each with at most `_NEAREST` others."""
    stacked = np.stack(values).astype(np.float64)
    squares = np.square(stacked).sum(axis=1)
    pairs: dict[tuple[int, int], float] = {}
    for start in range(0, len(stacked), _BATCH):
        part = stacked[start : start + _BATCH]
        size = 0.5 * (squares[start : start + _BATCH, None] + squares[None, :])
        distance = np.sqrt(np.clip(2 * size - 2 * part @ stacked.T, 0, None) / size)
        distance[np.arange(len(part)), start + np.arange(len(part))] = np.inf
        nearest = np.argsort(distance, axis=1, kind="stable")[:, :_NEAREST]
        for row, columns in enumerate(nearest):
            for column in columns:
                if distance[row, column] < CLOSE:
                    pair = (min(start + row, int(column)), max(start + row, int(column)))
                    pairs[pair] = float(distance[row, column])
    return sorted(pairs, key=lambda pair: (pairs[pair], pair))


def _key(expert: Expert) -> str:
    """Return the key of an expert's sketch: the hash of its weights, as it can name a file."""
    sha = expert.weights_sha
    return sha if re.fullmatch("[0-9a-f]{64}", sha) else sha256_of_texts([sha])
