"""Low rank and 8 bits against what they are defined to lose, and parts that cannot be."""

import numpy as np
import pytest
import torch

from expertise_graph.core.errors import InvalidInputError
from expertise_graph.deltas.packing import Packing, check_parts, pack, relative_error, unpack

CONV, MATRIX, VECTOR = (16, 8, 3, 3), (20, 30), (16,)


def draw(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def shapes_of(parts):
    names = {torch.float32: "F32", torch.int8: "I8"}
    return {name: (tuple(t.shape), names[t.dtype]) for name, t in parts.items()}


@pytest.mark.parametrize("shape", [CONV, MATRIX, VECTOR, (3, 1), (1, 5)])
def test_plain_comes_back_bit_by_bit(shape):
    tensor = draw(shape)
    parts = pack(tensor, Packing())
    assert torch.equal(unpack(parts, tensor.shape), tensor)
    assert check_parts(shapes_of(parts), tensor.shape) == ""


@pytest.mark.parametrize("shape", [CONV, MATRIX, (3, 1), (1, 5)])
def test_eight_bits_are_off_by_half_a_step_of_the_row(shape):
    tensor = draw(shape)
    parts = pack(tensor, Packing(bits=8))
    assert parts["int8"].dtype == torch.int8
    found = unpack(parts, tensor.shape)
    step = tensor.flatten(1).abs().amax(dim=1) / 127
    worst = (found - tensor).flatten(1).abs().amax(dim=1)
    assert bool((worst <= step / 2 + 1e-7).all())
    assert torch.allclose(found.flatten(1).abs().amax(dim=1), tensor.flatten(1).abs().amax(dim=1))
    assert check_parts(shapes_of(parts), tensor.shape) == ""


def test_rows_of_zeros_and_tiny_rows_survive_eight_bits():
    tensor = torch.zeros(3, 4)
    tensor[1] = 1e-40
    tensor[2] = torch.tensor([1e-30, -2e-30, 0.0, 1e-38])
    found = unpack(pack(tensor, Packing(bits=8)), tensor.shape)
    assert bool(torch.isfinite(found).all())
    assert torch.equal(found[0], torch.zeros(4))
    assert torch.allclose(found[2], tensor[2], atol=1e-32, rtol=0)


@pytest.mark.parametrize("shape", [CONV, MATRIX])
def test_low_rank_is_the_best_of_its_rank(shape):
    tensor = draw(shape)
    parts = pack(tensor, Packing(rank=3))
    found = unpack(parts, tensor.shape).flatten(1).double().numpy()
    values = np.linalg.svd(tensor.flatten(1).double().numpy(), compute_uv=False)
    lost = np.linalg.norm(found - tensor.flatten(1).double().numpy())
    assert lost == pytest.approx(np.sqrt((values[3:] ** 2).sum()), rel=1e-5)
    assert np.linalg.matrix_rank(found, tol=1e-4) == 3
    assert sum(t.numel() for t in parts.values()) < tensor.numel()
    assert check_parts(shapes_of(parts), tensor.shape) == ""


def test_a_matrix_of_low_rank_comes_back():
    tensor = draw((40, 2)) @ draw((2, 60), 1)
    for bits, tolerance in ((None, 1e-5), (8, 0.02)):
        found = unpack(pack(tensor, Packing(rank=2, bits=bits)), tensor.shape)
        assert relative_error({"a": tensor}, {"a": found}) < tolerance


def test_factors_no_smaller_than_the_matrix_are_not_made():
    assert set(pack(draw((4, 4)), Packing(rank=2))) == {"value"}
    assert set(pack(draw(VECTOR), Packing(rank=1, bits=8))) == {"value"}


def test_relative_error_is_a_ratio_of_norms():
    true = {"a": torch.tensor([3.0, 4.0]), "b": torch.zeros(1)}
    assert relative_error(true, {"a": torch.tensor([3.0, 3.0]), "b": torch.zeros(1)}) == pytest.approx(0.2)
    assert relative_error({"a": torch.zeros(2)}, {"a": torch.zeros(2)}) == 0.0


@pytest.mark.parametrize(("values", "named"), [({"rank": 0}, "rank is 0"), ({"bits": 4}, "bits is 4")])
def test_packings_that_cannot_be(values, named):
    with pytest.raises(InvalidInputError, match=named):
        Packing(**values)


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"other": ((20, 30), "F32")},
        {"value": ((30, 20), "F32")},
        {"value": ((20, 30), "F64")},
        {"value": ((20, 30), "F32"), "int8": ((20, 30), "I8")},
        {"int8": ((20, 30), "I8")},
        {"int8": ((20, 30), "I8"), "scale": ((30,), "F32")},
        {"left.value": ((20, 2), "F32")},
        {"left.value": ((20, 2), "F32"), "right.value": ((3, 30), "F32")},
        {"left.value": ((20, 21), "F32"), "right.value": ((21, 30), "F32")},
        {"left.value": ((20, 0), "F32"), "right.value": ((0, 30), "F32")},
        {"left.value": ((10**9, 2), "F32"), "right.value": ((2, 30), "F32")},
        {"left.value": ((20,), "F32"), "right.value": ((2, 30), "F32")},
        {"left": ((20, 2), "F32"), "right": ((2, 30), "F32")},
        {"left.scale": ((20,), "F32"), "right.value": ((2, 30), "F32")},
    ],
)
def test_parts_that_stand_for_nothing(parts):
    assert check_parts(parts, torch.Size(MATRIX)) != ""
