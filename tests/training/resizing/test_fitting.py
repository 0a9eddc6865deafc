from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from expertise_graph.training.resizing.fitting import fit_layers
from expertise_graph.training.resizing.selection import chosen, picker, read_layouts, select_weights
from tests.training.resizing.material import chain, doubled


def uniform(name: str, sizes: tuple[int, int]) -> torch.Tensor:
    return chosen(name, 0, sizes, pick=picker("uniform"), layouts=({}, {}))


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_half_of_a_doubled_network_is_fitted_back_to_the_whole():
    small = chain(8)
    large = doubled(small)
    layouts = read_layouts(large), read_layouts(small)
    cut = chain(8, seed=5)
    cut.load_state_dict(select_weights(large.state_dict(), small.state_dict(), layouts=layouts))
    x = noise(32, 3, 12, 12)
    before = (cut(x) - small(x)).norm() / small(x).norm()
    missed = fit_layers(cut, large, {"x": x}, channels=uniform, strength=1e-9)
    after = (cut(x) - small(x)).norm() / small(x).norm()
    assert before > 0.2
    assert after < 1e-4
    assert set(missed) == {"stem", "depthwise", "grouped", "last"}
    assert all(b < 1e-8 for _, b in missed.values())


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(6, 8),
        nn.Linear(6, 8, bias=False),
        nn.Conv2d(6, 8, 3, stride=2, padding=1),
        nn.Conv2d(6, 8, (3, 1), padding=(1, 0), dilation=(2, 1), groups=2, bias=False),
        nn.Conv2d(6, 6, 3, groups=6),
    ],
    ids=str,
)
def test_a_layer_is_learnt_from_its_answers(layer):
    started = copy.deepcopy(layer)
    with torch.no_grad():
        for parameter in started.parameters():
            parameter.add_(1.0)
    x = noise(64, 6) + 1 if isinstance(layer, nn.Linear) else noise(32, 6, 7, 7) + 1
    wrapped = [nn.Sequential(started), nn.Sequential(layer)]
    missed = fit_layers(*wrapped, {"input": x}, channels=uniform, strength=1e-9)["0"]
    assert missed[0] > 0.1
    assert missed[1] < 1e-9
    assert torch.allclose(started.weight, layer.weight, atol=1e-3)
    assert torch.allclose(started(x), layer(x), atol=1e-4)


def test_a_strong_ridge_leaves_the_weights():
    small, large = chain(4), chain(8, seed=1)
    before = copy.deepcopy(small.state_dict())
    fit_layers(small, large, {"x": noise(8, 3, 12, 12)}, channels=uniform, strength=1e12)
    weights = [n for n in before if n.endswith("weight")]
    assert all(torch.allclose(small.state_dict()[n], before[n], atol=1e-6) for n in weights)


def test_a_fit_never_answers_worse_and_repeats_itself():
    large, x = chain(16, seed=1), noise(16, 3, 12, 12)
    found = []
    for _ in range(2):
        small = chain(8)
        missed = fit_layers(small, large, {"x": x}, channels=uniform)
        assert all(after <= before for before, after in missed.values())
        found.append(small(x))
    assert torch.equal(*found)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.shared, self.own = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        return self.own(self.shared(self.shared(x)))


def test_a_layer_that_runs_twice_is_left_alone():
    small, large = Twice(), Twice()
    before = copy.deepcopy(small.shared.weight)
    assert set(fit_layers(small, large, {"x": noise(16, 4)}, channels=uniform)) == {"own"}
    assert torch.equal(small.shared.weight, before)


def test_padding_has_no_say():
    x, mask = noise(16, 5, 4), (torch.arange(5) < 3).long().expand(16, 5)
    spoilt = x.clone()
    spoilt[:, 3:] = 100.0
    found = []
    for inputs in (x, spoilt):
        small, large = nn.Module(), nn.Module()
        for side, seed in ((small, 0), (large, 1)):
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                side.layer = nn.Linear(4, 4)
            side.forward = lambda x, attention_mask, side=side: side.layer(x)
        fit_layers(small, large, {"x": inputs, "attention_mask": mask}, channels=uniform)
        found.append(small.layer.weight.detach())
    assert torch.equal(*found)
