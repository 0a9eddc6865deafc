"""Lineage that nobody states, from weights: planted fine-tunes, seeds, copies and merges in real files."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from expertise_graph.core.types import Edge
from expertise_graph.models.weight_sketch import SKETCH_SIZE, relative_distance, sketch_weights
from expertise_graph.registry.claims import connect
from expertise_graph.registry.families import families_of
from expertise_graph.registry.parents import set_parent, unset_parent
from expertise_graph.registry.suspicion import (
    CLOSE,
    COMPARED,
    UNRELATED,
    Sketches,
    suspect,
    suspect_all,
    suspect_new,
)
from expertise_graph.starter.contents import shipped
from expertise_graph.store.store import Store
from tests.nodes import expert

LAYERS, WIDTH = 3, 32


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path) as opened:
        yield opened


def weights(seed, *, width=WIDTH):
    """Tensors of a small transformer, drawn at random; the ones and zeros of its norms are those of all."""
    draw = torch.Generator().manual_seed(seed)
    found = {"embeddings.word.weight": torch.randn(50, width, generator=draw)}
    for i in range(LAYERS):
        for name, rows in (("attention.query", width), ("attention.value", width), ("mlp.up", 4 * width)):
            scale = 0.02 * (i + 1)
            found[f"encoder.layer.{i}.{name}.weight"] = scale * torch.randn(rows, width, generator=draw)
            found[f"encoder.layer.{i}.{name}.bias"] = torch.zeros(rows)
        found[f"encoder.layer.{i}.norm.weight"] = torch.ones(width)
    return found


def tuned(base, seed, share):
    """Move every matrix by a random one of `share` of its size."""
    draw = torch.Generator().manual_seed(1000 + seed)
    return {
        name: t + share * t.std() * torch.randn(t.shape, generator=draw) if t.ndim > 1 else t.clone()
        for name, t in base.items()
    }


def write(folder, tensors):
    """Write a checkpoint folder: the files that say where weights are, and those."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    save_file({name: t.contiguous() for name, t in tensors.items()}, folder / "model.safetensors")
    return folder


def enter(store, label, tensors, **changes):
    """Register a model of these tensors as far as lineage goes."""
    folder = write(store.folder / "models" / label, tensors)
    sha = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    node = expert(label, locator=str(folder), weights_sha=sha, **changes)
    with store.transaction():
        store.put_expert(node)
        connect(store, node)
    suspect_new(store, node)
    return node


def suspected(store):
    """Return the suspicions: parent or other, child, distance to one digit, relation."""
    return [
        (e.source[4:], e.target[4:], round(e.meta["distance"], 1), e.meta.get("relation"))
        for e in store.edges("suspected")
    ]


def file_of(tmp_path, name, tensors):
    return [write(tmp_path / name, tensors) / "model.safetensors"]


# Sketches


@pytest.mark.parametrize("share", [0.01, 0.1, 0.4])
def test_the_distance_of_sketches_is_that_of_the_weights(tmp_path, share):
    a = weights(0)
    b = tuned(a, 1, share)
    inside = [name for name, t in a.items() if t.ndim > 1 and "layer" in name]
    x, y = (torch.cat([t[name].flatten() for name in inside]).numpy() for t in (a, b))
    one, other = (sketch_weights(file_of(tmp_path, n, t)) for n, t in (("a", a), ("b", b)))
    assert one.shapes == other.shapes
    assert one.values.shape == (SKETCH_SIZE,)
    assert set(one.values.tolist()) <= set(x.tolist())
    assert relative_distance(one.values, other.values) == pytest.approx(relative_distance(x, y), rel=0.15)
    assert relative_distance(x, y) == pytest.approx(share, rel=0.05)


def test_heads_and_what_stands_before_the_blocks_do_not_matter(tmp_path):
    a = weights(0)
    plain = sketch_weights(file_of(tmp_path, "plain", a))
    prefixed = {f"bert.{name}": t for name, t in a.items()}
    prefixed |= {"classifier.weight": torch.randn(7, WIDTH), "classifier.0.weight": torch.randn(2, 2)}
    headed = sketch_weights(file_of(tmp_path, "headed", prefixed))
    assert headed.shapes == plain.shapes
    assert headed.values.tolist() == plain.values.tolist()
    assert (plain.classifier, headed.classifier) == (False, True)
    grown = {**a, "embeddings.word.weight": torch.randn(60, WIDTH)}
    assert sketch_weights(file_of(tmp_path, "grown", grown)).shapes == plain.shapes
    wider = sketch_weights(file_of(tmp_path, "wider", weights(0, width=2 * WIDTH)))
    assert wider.shapes != plain.shapes


def test_shards_are_read_as_one_and_odd_files_have_no_sketch(tmp_path):
    a = weights(0)
    whole = sketch_weights(file_of(tmp_path, "whole", a))
    names = sorted(a)
    parts = [file_of(tmp_path, f"part{i}", {n: a[n] for n in names[i::2]})[0] for i in range(2)]
    assert sketch_weights(parts).values.tolist() == whole.values.tolist()
    assert sketch_weights([]) is None
    assert sketch_weights(file_of(tmp_path, "flat", {"layer.0.bias": torch.ones(9)})) is None
    assert (
        sketch_weights(file_of(tmp_path, "whole numbers", {"layer.0.w": torch.ones(3, 3, dtype=torch.int8)}))
        is None
    )
    broken = {"layer.0.w": torch.full((3, 3), float("nan"))}
    assert sketch_weights(file_of(tmp_path, "nan", broken)) is None
    unnamed = sketch_weights(file_of(tmp_path, "unnamed", {"fc1.weight": torch.randn(9, 9)}))
    assert unnamed.values.shape == (SKETCH_SIZE,)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_read_as_torch_reads_them(tmp_path, kind):
    a = {name: t.to(kind) for name, t in weights(0).items()}
    found = sketch_weights(file_of(tmp_path, "a", a))
    same = sketch_weights(file_of(tmp_path, "b", {name: t.float() for name, t in a.items()}))
    assert found.values.tolist() == same.values.tolist()


# Planted relatives


def test_a_fine_tune_is_suspected_and_an_independent_seed_is_not(store):
    enter(store, "base", weights(0))
    enter(store, "seed", weights(1))
    enter(store, "child", tuned(weights(0), 2, 0.1))
    enter(store, "far", tuned(weights(0), 3, 0.44))
    enter(store, "wide", weights(0, width=2 * WIDTH))
    assert suspected(store) == [
        ("base", "child", 0.1, None),
        ("base", "far", 0.4, None),
    ]
    close = suspect(store, store.expert("dir:base"))
    assert [(s.other.name, s.relation) for s in close] == [("child", None), ("far", None)]
    assert suspect(store, store.expert("dir:seed")) == []


def test_the_thresholds_lie_between_what_was_measured(tmp_path):
    """Experts that ship with the package: trained from the same random numbers, they are no relatives."""
    found = {
        name: sketch_weights([shipped()[name] / "model.safetensors"])
        for name in ("emoji", "hebrew-letters", "devanagari-letters", "fashion", "greek-letters", "languages")
    }
    same_start = [
        relative_distance(found[a].values, found[b].values)
        for a, b in (
            ("emoji", "hebrew-letters"),
            ("emoji", "devanagari-letters"),
            ("fashion", "greek-letters"),
        )
    ]
    assert CLOSE < 0.5 < min(same_start)
    assert max(same_start) < 0.65
    random = [sketch_weights(file_of(tmp_path, str(i), weights(i))).values for i in range(6)]
    apart = [relative_distance(a, b) for i, a in enumerate(random) for b in random[:i]]
    assert min(apart) > UNRELATED
    assert max(apart) < 1.48


@pytest.mark.parametrize("first", ["copy", "base"])
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_a_copy_in_half_precision_tells_which_came_first(store, kind, first):
    base = weights(0)
    made = {"base": base, "copy": {name: t.to(kind) for name, t in base.items()}}
    for name in (first, *(made.keys() - {first})):
        enter(store, name, made[name])
    assert suspected(store) == [("base", "copy", 0.0, "quantised")]
    (edge,) = store.edges("suspected")
    assert edge.meta["reason"] == "the same weights in half precision"


def test_weights_of_few_values_tell_which_came_first(store):
    base = weights(0)
    steps = {n: t.abs().max() / 7 for n, t in base.items()}
    four_bits = {n: (t / steps[n]).round() * steps[n] if t.ndim > 1 else t for n, t in base.items()}
    enter(store, "small", four_bits)
    enter(store, "base", base)
    (found,) = suspected(store)
    assert (found[:2], found[3]) == (("base", "small"), "quantised")


def test_a_classifier_tells_which_came_first(store):
    child = tuned(weights(0), 1, 0.1) | {"classifier.weight": torch.randn(3, WIDTH)}
    enter(store, "child", child)
    enter(store, "base", weights(0))
    assert suspected(store) == [("base", "child", 0.1, "fine-tune")]


@pytest.mark.parametrize("parent", [False, True])
def test_a_merge_lies_between_the_two_that_it_was_made_of(store, parent):
    base = weights(0)
    a, b = tuned(base, 1, 0.2), tuned(base, 2, 0.2)
    if parent:
        enter(store, "base", base)
    enter(store, "a", a)
    enter(store, "b", b, base_model="dir:a" if parent else None)
    store.drop_claims("lineage", "dir:a", "dir:b")
    enter(store, "merge", {name: 0.5 * (a[name] + b[name]) for name in a})
    between = [e for e in store.edges("suspected") if e.meta.get("between")]
    assert {(e.source, e.target) for e in between} == {("dir:a", "dir:merge"), ("dir:b", "dir:merge")}
    suspect_all(store)
    between = [e for e in store.edges("suspected") if e.meta.get("between")]
    assert {(e.source, e.target) for e in between} >= {("dir:a", "dir:merge"), ("dir:b", "dir:merge")}
    assert len(set(families_of(store, store.experts()).values())) == 1


def test_a_parent_that_comes_late_takes_its_place_when_all_are_compared(store):
    base = weights(0)
    for i in range(4):
        enter(store, f"child{i}", tuned(base, i, 0.1))
    enter(store, "base", base)
    enter(store, "stranger", weights(9))
    assert len(set(families_of(store, store.experts()).values())) == 2
    found = suspect_all(store)
    assert {frozenset((s.expert.name, s.other.name)) for s in found} == {
        frozenset(("base", f"child{i}")) for i in range(4)
    }
    assert len(store.edges("suspected")) == 4
    before = store.edges("suspected")
    assert len(suspect_all(store)) == 4
    assert [(e.source, e.target, e.meta) for e in store.edges("suspected")] == [
        (e.source, e.target, e.meta) for e in before
    ]


# What is stated


def test_where_a_card_speaks_nothing_is_suspected_and_the_claim_is_checked(store):
    enter(store, "base", weights(0))
    enter(store, "honest", tuned(weights(0), 1, 0.1), base_model="dir:base")
    enter(store, "forged", weights(5), base_model="dir:base")
    enter(store, "vague", tuned(weights(0), 2, 0.8), base_model="dir:base")
    assert suspected(store) == []
    told = {
        e.target: (e.meta.get("confirmed"), e.meta["distance"]) for e in store.lineage(parents=["dir:base"])
    }
    assert told["dir:honest"] == (True, pytest.approx(0.1, abs=0.02))
    assert told["dir:forged"] == (False, pytest.approx(2**0.5, abs=0.06))
    assert told["dir:vague"][0] is None
    family = families_of(store, store.experts())
    assert family["dir:honest"] == family["dir:vague"] == family["dir:base"] != family["dir:forged"]


def test_a_claim_is_checked_when_the_parent_comes_later(store):
    enter(store, "forged", weights(5), base_model="dir:base")
    enter(store, "base", weights(0))
    (edge,) = store.lineage(children=["dir:forged"])
    assert edge.meta["confirmed"] is False


def test_what_the_user_unset_is_not_suspected_again(store):
    enter(store, "base", weights(0))
    child = enter(store, "child", tuned(weights(0), 1, 0.1))
    assert len(suspected(store)) == 1
    unset_parent(store, child, "base")
    assert suspected(store) == []
    suspect_new(store, child)
    suspect_all(store)
    suspect(store, store.expert("dir:base"))
    assert suspected(store) == []
    stated = set_parent(store, child, "base")
    assert stated.edge.meta["distance"] == pytest.approx(0.1, abs=0.02)


def test_a_suspicion_goes_with_its_experts_and_comes_back(store):
    enter(store, "base", weights(0))
    child = enter(store, "child", tuned(weights(0), 1, 0.1))
    store.remove_expert("dir:base")
    assert store.edges() == []
    enter(store, "base", weights(0))
    assert suspected(store) == [("child", "base", 0.1, None)]
    set_parent(store, child, "base")
    assert suspected(store) == []


# Files, and how much is read


def test_files_that_are_gone_or_changed_are_no_obstacle(store):
    enter(store, "base", weights(0))
    child = enter(store, "child", tuned(weights(0), 1, 0.1))
    shutil.rmtree(child.locator)
    assert [s.other.name for s in suspect(store, child)] == ["base"]
    shutil.rmtree(store.folder / "embeddings")
    assert suspect(store, child) == []
    assert suspect_all(store) == []
    garbage = expert("garbage", locator=str(store.folder / "models" / "base"), weights_sha=64 * "0")
    (store.folder / "models" / "base" / "model.safetensors").write_bytes(b"no weights")
    suspect_new(store, garbage)
    assert Sketches(store).get(garbage) is None


def test_sketches_of_earlier_versions_are_made_once(store):
    enter(store, "base", weights(0))
    enter(store, "child", tuned(weights(0), 1, 0.1))
    shutil.rmtree(store.folder / "embeddings")
    store.db.execute("DELETE FROM edges")
    steps = []
    assert (
        len(suspect_all(store, progress=lambda label, done, total: steps.append((label, done, total)))) == 1
    )
    assert steps == [("sketching weights", 1, 2), ("sketching weights", 2, 2), ("comparing weights", 1, 1)]


def test_a_new_one_among_ten_thousand_reads_few_sketches_and_no_weights(store, monkeypatch):
    """Those of other shapes are not looked at, and of its own shapes the first ones only."""
    base, sketches = weights(0), Sketches(store)
    first = enter(store, "base", base)
    place = sketches._place(sketches.get(first).shapes)
    note, rng = place.note(first.weights_sha), np.random.default_rng(0)
    others = [
        expert(f"e{i}", weights_sha=hashlib.sha256(str(i).encode()).hexdigest(), locator="/nowhere")
        for i in range(10_000)
    ]
    store.add_nodes(others)
    for i, other in enumerate(others[:600]):
        place.put(other.weights_sha, rng.normal(size=SKETCH_SIZE), note=note if i < 400 else "")
    read = []
    get = type(place).get
    monkeypatch.setattr(type(place), "get", lambda self, key: read.append(key) or get(self, key))
    enter(store, "child", tuned(base, 1, 0.1))
    assert suspected(store) == [("base", "child", 0.1, None)]
    assert len(read) <= COMPARED + 5
    read.clear()
    store.set_state("weight_sketches", "1")
    assert [s.other.name for s in suspect(store, store.expert("dir:child"))] == ["base"]
    assert len(read) <= 600 + 5


def test_no_network_and_no_torch_are_needed_to_compare(store):
    """A model of the Hub that is not in the cache has no sketch, and nobody is asked for it."""
    remote = expert("r", id=f"hf:org/r@{40 * 'a'}", source="hf", locator="org/r", revision=40 * "a")
    store.put_expert(remote)
    suspect_new(store, remote)
    assert Sketches(store).get(remote) is None


def test_a_suspicion_counts_for_families_only(store):
    enter(store, "base", weights(0))
    enter(store, "child", tuned(weights(0), 1, 0.1))
    assert store.with_descendants(["dir:base"]) == {"dir:base"}
    assert store.lineage() == []
    store.put_edges(
        [Edge(kind="lineage", source="dir:child", target="dir:z", weight=1, method="x", version="1")]
    )
    assert store.kin("dir:base", 10) == {"dir:base", "dir:child", "dir:z"}


def test_real_fine_tunes_keep_their_blocks(tmp_path):
    """The files that transformers and our trainer write have the same blocks under other names."""
    tensors = load_file(shipped()["emoji"] / "model.safetensors")
    bare = {name.removeprefix("resnet."): t for name, t in tensors.items()}
    known = sketch_weights([shipped()["emoji"] / "model.safetensors"])
    assert sketch_weights(file_of(tmp_path, "bare", bare)).values.tolist() == known.values.tolist()
