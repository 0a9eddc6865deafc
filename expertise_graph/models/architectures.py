"""Which class of transformers computes the features of a configuration, and of which inputs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from expertise_graph.core import SourceError, setting
from expertise_graph.models.weights import read_object

if TYPE_CHECKING:
    from transformers import PretrainedConfig

IMAGE, TEXT = "image", "text"
_PROCESSORS = {
    IMAGE: ("preprocessor_config.json", "processor_config.json"),
    TEXT: ("tokenizer.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model", "vocab.json"),
}
# Models of images and texts whose two towers can be used apart: the part of the configuration of each.
_TWO_TOWERS = ("clip", "siglip", "metaclip_2")
_TOWER = {IMAGE: "vision_config", TEXT: "text_config"}
# Encoders of encoder-decoders that are of use without the decoder, and towers that `AutoModel` does not know.
_CLASSES = {
    "t5": "T5EncoderModel",
    "mt5": "MT5EncoderModel",
    "umt5": "UMT5EncoderModel",
    "siglip_text_model": "SiglipTextModel",
    "metaclip_2_text_model": "MetaClip2TextModel",
    "metaclip_2_vision_model": "MetaClip2VisionModel",
}
_AUDIO = (
    "audio-spectrogram-transformer",
    "clap",
    "data2vec-audio",
    "encodec",
    "hubert",
    "mctct",
    "moonshine",
    "seamless_m4t",
    "sew",
    "speech_to_text",
    "speecht5",
    "unispeech",
    "wav2vec2",
    "wavlm",
    "whisper",
)
_CHANNELS = (1, 3)


def class_of(config: PretrainedConfig) -> str:
    """Return the name of the class that gives features for a configuration, or AutoModel."""
    return _CLASSES.get(config.model_type, "AutoModel")


def is_tower(config: PretrainedConfig) -> bool:
    """Tell whether a configuration is one of the two towers of an image-text model."""
    kind, _, part = config.model_type.rpartition("_")[0].rpartition("_")
    return kind in _TWO_TOWERS and part in ("vision", "text")


def tower_of(config: PretrainedConfig, modality: str) -> PretrainedConfig:
    """Return the configuration of the tower for inputs of a modality; others are returned as they are."""
    if config.model_type not in _TWO_TOWERS:
        return config
    part: PretrainedConfig = getattr(config, _TOWER[modality])
    return part


def padded_to_full_length(config: PretrainedConfig) -> bool:
    """Tell whether texts were padded to the longest in training, and the last token stands for them."""
    return config.model_type == "siglip_text_model"


def modalities_of(folder: Path, *, chosen: str | None) -> tuple[str, ...]:
    """Return what the model in a folder takes, by its configuration and the files of its preprocessing.

    Args:
        folder: of the model.
        chosen: what the user named; needed where both are there and the model has no towers.

    Raises:
        SourceError: for audio, for images of other than 1 or 3 channels, and where preprocessing is missing.
    """
    config = read_object(folder / "config.json")
    kind = str(config.get("model_type"))
    _refuse_audio(folder, kind)
    found = tuple(m for m, names in _PROCESSORS.items() if any((folder / n).is_file() for n in names))
    for modality, part in ((IMAGE, "_vision_model"), (TEXT, "_text_model")):
        # The saved tower of an image-text model may lie beside the files of both.
        found = (modality,) if kind.endswith(part) and modality in found else found
    if not found:
        raise SourceError(
            f"{folder} has neither preprocessor_config.json nor tokenizer.json; add the one it needs"
        )
    if IMAGE in found:
        _check_channels(folder, {**config, **_part(config, _TOWER[IMAGE])})
    if len(found) > 1 and kind not in _TWO_TOWERS and chosen is None:
        raise SourceError(
            f"{folder} takes images and text, and of such models ({kind}) only {', '.join(_TWO_TOWERS)} are "
            f"read tower by tower: choose one as {setting('modality')}"
        )
    return found


def _refuse_audio(folder: Path, kind: str) -> None:
    path = folder / "preprocessor_config.json"
    sampled = path.is_file() and "sampling_rate" in read_object(path)
    if sampled or kind.startswith(_AUDIO):
        raise SourceError(
            f"audio is not supported yet, and {folder} is a model of it ({kind}): images and texts are "
            "possible"
        )


def _check_channels(folder: Path, config: dict[str, Any]) -> None:
    channels = config.get("num_channels", 3)
    if channels not in _CHANNELS:
        raise SourceError(
            f"{folder} takes images of {channels} channels; grey (1) and colour images (3) are possible"
        )


def _part(config: dict[str, Any], name: str) -> dict[str, Any]:
    part = config.get(name)
    return part if isinstance(part, dict) else {}
