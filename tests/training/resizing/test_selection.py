from __future__ import annotations

import pytest
import torch

from expertise_graph.core.errors import InvalidInputError
from expertise_graph.training.resizing.selection import (
    SELECTIONS,
    TensorLayout,
    picker,
    read_layouts,
    select_weights,
)
from tests.training.resizing.material import Chain, chain, doubled, starter


@pytest.mark.parametrize("selection", SELECTIONS)
def test_a_pick_is_sorted_without_repeats_and_the_same_again(selection):
    pick = picker(selection, seed=3)
    for n, k in ((7, 7), (8, 4), (10, 7), (96, 48), (5, 1)):
        index = pick(n, k).tolist()
        assert index == sorted(set(index))
        assert len(index) == k
        assert 0 <= index[0] <= index[-1] < n
        assert pick(n, k).tolist() == index
    assert picker("uniform")(9, 3).tolist() == [0, 3, 6]
    assert picker("first")(9, 3).tolist() == [0, 1, 2]
    assert picker("random", seed=0)(96, 48).tolist() != picker("random", seed=1)(96, 48).tolist()


@pytest.mark.parametrize("name", ["latin-letters", "languages", "mobilenet-v2-imagenet"])
@pytest.mark.parametrize("selection", SELECTIONS)
def test_a_network_of_the_same_size_is_the_same_network(name, selection):
    module = starter(name)[1].module
    state = module.state_dict()
    layouts = read_layouts(module)
    found = select_weights(state, state, selection=selection, layouts=(layouts, layouts))
    assert list(found) == list(state)
    assert all(torch.equal(found[n], t) and found[n] is not t for n, t in state.items())


def test_what_a_layer_gives_is_what_the_next_one_takes():
    # Weights that name their channels: entry (o, i) is 100 o + i.
    large, small = chain(8, groups=1), chain(4, groups=1)
    with torch.no_grad():
        for tensor in large.state_dict().values():
            if tensor.ndim:
                rows = 100.0 * torch.arange(tensor.shape[0])
                columns = torch.arange(tensor.shape[1]) if tensor.ndim > 1 else torch.zeros(1)
                shape = (*([-1] if tensor.ndim == 1 else [tensor.shape[0], -1]), *[1] * (tensor.ndim - 2))
                tensor.copy_((rows[:, None] + columns).reshape(shape).expand_as(tensor))
    found = select_weights(large.state_dict(), small.state_dict())
    kept = torch.tensor([0, 2, 4, 6])
    assert torch.equal(found["stem.weight"][:, 1, 0, 0], 100.0 * kept + 1)
    for name in ("stem.bias", "norm.weight", "norm.running_mean", "norm.running_var", "grouped.bias"):
        assert torch.equal(found[name], 100.0 * kept), name
    assert torch.equal(found["depthwise.weight"][:, 0, 0, 0], 100.0 * kept)
    assert torch.equal(found["grouped.weight"][:, :, 2, 2], 100.0 * kept[:, None] + kept)
    assert torch.equal(found["last.weight"], 100.0 * torch.arange(0, 16, 2)[:, None] + kept)


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("groups", [(4, 4), (4, 2), (8, 4), (2, 4)])
def test_a_grouped_kernel_is_cut_as_the_full_matrix_would_be(selection, groups):
    pick = picker(selection, seed=1)
    large = torch.nn.Conv2d(16, 16, 3, groups=groups[0])
    small = torch.nn.Conv2d(8, 8, 3, groups=groups[1])
    found = select_weights(
        large.state_dict(),
        small.state_dict(),
        selection=selection,
        seed=1,
        layouts=({"weight": TensorLayout(groups=groups[0])}, {"weight": TensorLayout(groups=groups[1])}),
    )
    full = _full(large.weight, groups[0])[pick(16, 8)][:, pick(16, 8)]
    inside = _full(torch.ones_like(small.weight), groups[1])
    assert torch.equal(_full(found["weight"], groups[1]), full * inside)


def _full(weight: torch.Tensor, groups: int) -> torch.Tensor:
    out, width = weight.shape[0], weight.shape[1]
    full = torch.zeros(out, width * groups, *weight.shape[2:])
    for o in range(out):
        group = o // (out // groups)
        full[o, group * width : (group + 1) * width] = weight[o]
    return full.detach()


def test_half_of_a_doubled_network_has_its_channels():
    small = chain(8)
    large = doubled(small)
    found = select_weights(
        large.state_dict(), small.state_dict(), layouts=(read_layouts(large), read_layouts(small))
    )
    for name, tensor in small.state_dict().items():
        halved = name in ("grouped.weight", "last.weight")
        assert torch.equal(found[name] * (2 if halved else 1), tensor), name


def test_attention_heads_stay_whole():
    large = starter("languages")[1].module
    layouts = read_layouts(large)
    name = "model.encoder.layer.0.attention.self.query.weight"
    assert layouts[name].factors == {0: (4, 24)}
    assert layouts["model.encoder.layer.1.attention.output.dense.weight"].factors == {1: (4, 24)}
    state = large.state_dict()
    target = {name: torch.empty(48, 48)}
    halves = {name: TensorLayout({0: (2, 24)})}
    found = select_weights(state, target, layouts=(layouts, halves))[name]
    heads = state[name].reshape(4, 24, 96)[[0, 2]][:, :, ::2].reshape(48, 48)
    assert torch.equal(found, heads)


def test_fused_projections_are_cut_part_by_part():
    attention = torch.nn.Module()
    attention.self_attn = torch.nn.MultiheadAttention(8, 4)
    layouts = read_layouts(attention)
    assert layouts["self_attn.in_proj_weight"].factors == {0: (3, 4, 2)}
    assert layouts["self_attn.in_proj_bias"].factors == {0: (3, 4, 2)}
    assert layouts["self_attn.out_proj.weight"].factors == {1: (4, 2)}
    half = torch.nn.Module()
    half.self_attn = torch.nn.MultiheadAttention(4, 2)
    found = select_weights(attention.state_dict(), half.state_dict(), layouts=(layouts, read_layouts(half)))
    rows = [0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21]
    expected = attention.self_attn.in_proj_weight[rows][:, [0, 2, 4, 6]]
    assert torch.equal(found["self_attn.in_proj_weight"], expected)


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        ({"a": (4, 2)}, {"a": (8, 2)}, r"a is \(8, 2\) in the architecture and only \(4, 2\)"),
        ({"a": (4, 2)}, {"b": (4, 2)}, "no tensor b: the architecture is of another family, or deeper"),
        ({"a": (4, 2, 3, 3)}, {"a": (4, 2, 1, 1)}, r"\(4, 2, 1, 1\) in the architecture and \(4, 2, 3, 3\)"),
        ({"a": (4, 2)}, {"a": (4,)}, r"a is \(4,\) in the architecture and \(4, 2\)"),
    ],
)
def test_what_does_not_fit_is_refused(source, target, reason):
    states = [{n: torch.zeros(s) for n, s in side.items()} for side in (source, target)]
    with pytest.raises(InvalidInputError, match=reason):
        select_weights(*states)


def test_an_unknown_selection_is_refused():
    with pytest.raises(InvalidInputError, match="'best': possible are uniform, first, random"):
        select_weights({}, {}, selection="best")


def test_sources_are_not_changed():
    large = chain(8)
    before = {n: t.clone() for n, t in large.state_dict().items()}
    found = select_weights(large.state_dict(), Chain(4).state_dict())
    for tensor in found.values():
        tensor.zero_()
    assert all(torch.equal(t, before[n]) for n, t in large.state_dict().items())
