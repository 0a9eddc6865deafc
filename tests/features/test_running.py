"""Features come out in the order of the items, whatever is batched with what."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from expertise_graph.features import running
from expertise_graph.features.running import FastLinear, at_once, extract, forward
from expertise_graph.models.base import SourceOptions
from expertise_graph.models.loading import load, resolve
from tests import materials


@pytest.fixture(scope="module")
def backbone():
    return load(resolve("zoo:languages", SourceOptions()))


@pytest.fixture(scope="module")
def texts():
    """Of one word to thirty, in scripts in which tokens are as short as letters or as long as words."""
    words = ["house", "maison", "Haus", "дом", "σπίτι", "casa", "nhà", "internationalisation"]
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(words, size)) for size in rng.integers(1, 31, 150)]


def alone(backbone, items):
    """Each item by itself: nothing is padded, and no other linear layer is put in place."""
    with torch.inference_mode():
        return np.concatenate([backbone.module(**backbone.collate([item])).numpy() for item in items])


@pytest.mark.parametrize(("tokens", "window"), [(2048, 2048), (64, 2048), (300, 64), (1, 40)])
def test_texts_give_what_they_give_alone(monkeypatch, backbone, texts, tokens, window):
    monkeypatch.setattr(running, "_TOKENS", tokens)
    monkeypatch.setattr(running, "_WINDOW", window)
    np.testing.assert_allclose(extract(backbone, texts), alone(backbone, texts), rtol=1e-4, atol=1e-5)


def test_batches_hold_few_pads_and_as_many_tokens(monkeypatch, backbone, texts):
    monkeypatch.setattr(running, "_TOKENS", 512)
    mask = backbone.collate(texts)["attention_mask"]
    batches = [batch["attention_mask"] for _, batch in running._batches(backbone, texts, 32)]
    assert sum(int(b.sum()) for b in batches) == int(mask.sum())
    assert sum(b.numel() for b in batches) < 1.15 * int(mask.sum()) < 0.8 * mask.numel()
    assert max(b.numel() for b in batches) <= running._TOKENS
    assert len(batches) == pytest.approx(int(mask.sum()) / running._TOKENS, abs=3)
    lengths = [b.shape[1] for b in batches]
    assert lengths == sorted(lengths, reverse=True)


def test_progress_tells_how_many_items_are_done(backbone, texts):
    told = []
    extract(backbone, texts, label="languages", progress=lambda *state: told.append(state))
    assert told[-1] == ("languages", 150, 150)
    assert [done for _, done, _ in told] == sorted({done for _, done, _ in told})


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_padding_that_all_rows_have_is_cut_on_either_side(side):
    ids = torch.tensor([[5, 6, 0, 0], [7, 0, 0, 0], [1, 2, 3, 4]])
    ids = ids if side == "right" else ids.flip(1)
    tokens = {"input_ids": ids, "attention_mask": (ids > 0).long(), "group": torch.tensor([0, 1, 2])}
    cut = running._cut(tokens, [1, 0])
    expected = torch.tensor([[7, 0], [5, 6]])
    assert torch.equal(cut["input_ids"], expected if side == "right" else expected.flip(1))
    assert torch.equal(cut["attention_mask"], (cut["input_ids"] > 0).long())
    assert cut["group"].tolist() == [1, 0]
    assert torch.equal(running._cut(tokens, [0, 2])["input_ids"], ids[[0, 2]])


class Codes(torch.nn.Module):
    """Sums and lengths of codes, with no mask: zeros pad."""

    def forward(self, x):
        return torch.stack([x.sum(1), (x > 0).sum(1)], dim=1).float()


def codes(items):
    longest = max(map(len, items))
    return {"x": torch.tensor([[*map(ord, item), *[0] * (longest - len(item))] for item in items])}


def test_texts_without_a_mask_are_run_in_batches_of_their_own(backbone, texts):
    sizes = []

    def collate(items):
        sizes.append(len(items))
        return codes(items)

    plain = dataclasses.replace(backbone, module=Codes(), collate=collate, dim=2)
    expected = [[sum(map(ord, text)), len(text)] for text in texts]
    np.testing.assert_array_equal(extract(plain, texts, batch_size=16), expected)
    assert sizes[1:] == [16] * 9 + [6]


class Small(torch.nn.Module):
    """Memory for three rows."""

    def __init__(self, module, most=3):
        super().__init__()
        self.module, self.most = module, most

    def forward(self, **batch):
        if len(batch["input_ids"]) > self.most:
            raise torch.OutOfMemoryError("too small")
        return self.module(**batch)


def test_a_batch_too_large_for_the_memory_is_halved(backbone, texts):
    small = dataclasses.replace(backbone, module=Small(backbone.module))
    np.testing.assert_allclose(extract(small, texts[:20]), alone(backbone, texts[:20]), rtol=1e-4, atol=1e-5)
    none = dataclasses.replace(backbone, module=Small(backbone.module, most=0))
    with pytest.raises(torch.OutOfMemoryError):
        extract(none, texts[:20])


def test_images_are_run_in_their_order(tmp_path):
    backbone = load(resolve("zoo:emoji", SourceOptions()))
    items = sorted(materials.pictures(tmp_path / "letters", 3, 4).rglob("*.png"))
    with torch.inference_mode():
        decoded = [running.known_modalities["image"].decode(item) for item in items]
        expected = np.concatenate([backbone.module(**backbone.collate([one])).numpy() for one in decoded])
    np.testing.assert_allclose(extract(backbone, items, batch_size=5), expected, rtol=1e-4, atol=1e-5)


def test_a_cpu_computes_a_few_large_images_at_a_time(monkeypatch):
    backbone = load(resolve("zoo:emoji", SourceOptions()))
    batch = {"pixel_values": torch.randn(11, 3, 64, 64, generator=torch.Generator().manual_seed(0))}
    large = {"pixel_values": torch.zeros(9, 3, 224, 224)}
    tokens = {"input_ids": torch.zeros(9, 128, dtype=torch.long)}
    assert [at_once(b) for b in (batch, large, tokens)] == [11, 4, 9]
    assert at_once({"pixel_values": torch.zeros(2, 3, 4000, 4000)}) == 1
    assert at_once({"pixel_values": torch.zeros(9, 3, 224, 224, device="meta")}) == 9
    seen = []
    backbone.module.register_forward_pre_hook(
        lambda module, args, batch: seen.append(len(batch["pixel_values"])), with_kwargs=True
    )
    with torch.inference_mode():
        whole = forward(backbone.module, batch)
        monkeypatch.setattr(running, "AT_ONCE_NUMBERS", 4 * 3 * 64 * 64)
        np.testing.assert_allclose(forward(backbone.module, batch), whole, rtol=1e-4, atol=1e-5)
    assert seen == [11, 4, 4, 3]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(7,), (5, 7), (2, 5, 7), (0, 7)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_layers_give_what_they_give_elsewhere(dtype, shape, bias):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator).to(dtype)
    weight = torch.randn(4, 7, generator=generator).to(dtype)
    shift = torch.randn(4, generator=generator).to(dtype) if bias else None
    expected = torch.nn.functional.linear(x, weight, shift)
    with torch.inference_mode(), FastLinear():
        found = torch.nn.functional.linear(x, weight, shift)
        layer = torch.nn.functional.linear(x, weight, bias=shift)
    assert found.dtype == dtype
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(layer, expected, rtol=1e-5, atol=1e-5)


def test_the_faster_layer_is_taken_where_there_is_one(monkeypatch):
    if not running._ONEDNN:
        pytest.skip("torch was built without oneDNN")
    taken = []
    fits = running._fits_onednn
    monkeypatch.setattr(running, "_fits_onednn", lambda *given: taken.append(fits(*given)) or taken[-1])
    layer = torch.nn.Linear(7, 4)
    for inference, x in itertools.product((True, False), (torch.ones(2, 7), torch.ones(7))):
        with torch.inference_mode(inference), FastLinear():
            layer(x)
    assert taken == [True, False, False, False]


def test_gradients_outside_inference_are_those_of_torch():
    layer, x = torch.nn.Linear(3, 2), torch.ones(4, 3)
    with FastLinear():
        layer(x).sum().backward()
    torch.testing.assert_close(layer.weight.grad, torch.full((2, 3), 4.0))
