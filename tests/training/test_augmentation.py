from __future__ import annotations

import pytest
import torch

from expertise_graph.training.augmentation import (
    DEGREES,
    DRAWS,
    LIGHT,
    SCALE,
    SHIFT,
    augmented,
    mirrored,
    mirroring_harms,
)


@pytest.fixture
def images():
    rows = torch.linspace(-1, 1, 32)
    picture = rows[None, :, None] + 0.1 * rows[None, None, :] + torch.zeros(3, 1, 1)
    return picture.expand(200, 3, 32, 32).clone()


def changed(images, seed=0, *, mirror=False):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        draws = torch.rand(len(images), DRAWS)
    return augmented({"pixel_values": images, "mask": torch.ones(200, 4)}, draws, mirror=mirror)


def test_images_are_changed_a_little_by_the_seed_alone(images):
    found = changed(images)
    assert torch.equal(found["mask"], torch.ones(200, 4))
    pixels = found["pixel_values"]
    assert torch.equal(pixels, changed(images)["pixel_values"])
    assert not torch.equal(pixels, changed(images, 1)["pixel_values"])
    assert pixels.shape == images.shape
    apart = (pixels - images).abs()
    assert 0.02 < apart.mean().item() < 0.2
    assert (apart.amax(dim=(1, 2, 3)) > 0.01).float().mean() > 0.95


def test_one_image_is_changed_as_a_whole(images):
    # A constant picture can only become lighter, darker, or another contrast of itself.
    flat = torch.full_like(images, 0.5)
    found = changed(flat)["pixel_values"]
    assert (found.amax(dim=(1, 2, 3)) - found.amin(dim=(1, 2, 3)) < 1e-5).all()
    assert found.mean().item() == pytest.approx(0.5, abs=0.03)
    assert (found.mean(dim=(1, 2, 3)) - 0.5).abs().max() <= LIGHT * 1.5 + 1e-6


def test_half_of_the_images_are_mirrored_where_that_is_allowed(images):
    ramp = images.transpose(2, 3).contiguous()

    def falling(pixels):
        return (pixels[..., 8:24, 4].mean(dim=(1, 2)) > pixels[..., 8:24, 27].mean(dim=(1, 2))).float().mean()

    assert falling(changed(ramp)["pixel_values"]) == 0.0
    assert 0.35 < falling(changed(ramp, mirror=True)["pixel_values"]) < 0.65
    assert torch.equal(mirrored({"x": ramp})["x"], ramp.flip(-1))


def test_a_dot_moves_no_further_than_stated():
    dots = torch.zeros(300, 1, 65, 65)
    dots[:, :, 32, 48] = 1.0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        moved = augmented({"x": dots}, torch.rand(300, DRAWS), mirror=False)["x"]
    weight = moved - moved.amin(dim=(2, 3), keepdim=True)
    total = weight.sum(dim=(2, 3))
    axis = torch.arange(65.0)
    y = (weight.sum(dim=3) * axis).sum(dim=2) / total
    x = (weight.sum(dim=2) * axis).sum(dim=2) / total
    reach = 65 * SHIFT * 2**0.5 + 16 * SCALE * 1.2 + 16 * DEGREES * 3.1416 / 180 + 3
    far = ((x - 48) ** 2 + (y - 32) ** 2).sqrt()
    assert far.max() < reach
    assert far.max() > 0.3 * reach


def test_mirroring_is_given_up_only_when_it_is_seen_to_harm():
    right = torch.tensor([True] * 8 + [False] * 4)
    assert not mirroring_harms(right, right)
    worse = right.clone()
    worse[:2] = False
    assert mirroring_harms(right, worse)
    worse[8] = True
    assert not mirroring_harms(right, worse)
    assert not mirroring_harms(worse, right)
