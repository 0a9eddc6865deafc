"""Whatever is in a model folder: it is described and run, or one line says why not, within bounds."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import transformers
from hypothesis import given
from hypothesis import strategies as st

from expertise_graph.core import expert_errors
from expertise_graph.features.running import extract, try_out
from expertise_graph.models.base import SourceOptions
from expertise_graph.models.loading import load, resolve_all
from tests import materials
from tests.compat import material
from tests.fuzz import FILE_DAMAGE, SCALARS, STEP, amounts, attempt, contents, damage_file, fuzzed
from tests.models.test_kinds_of_models import SMALL, VISION, made, square
from tests.models.test_sentence_transformers import dense, flags, folder_of

NONE = SourceOptions()
TEXTS = ["a short one", "a text that is longer than the others here", "\U0001f642 \u200b tokens unheard of"]


@pytest.fixture(scope="session")
def folders(tmp_path_factory) -> dict[str, Path]:
    """Small folders of models of many kinds."""
    root = tmp_path_factory.mktemp("models")
    clip = transformers.CLIPConfig(
        text_config={**SMALL, "vocab_size": 3200, "max_position_embeddings": 24, "eos_token_id": 3},
        vision_config=VISION,
        projection_dim=8,
    )
    t5 = transformers.T5Config(
        vocab_size=3200, d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2, decoder_start_token_id=0
    )
    layers = [("Dense", {"in_features": 24, "out_features": 10}), ("Normalize", None)]
    prompts = {"prompts": {"query": "query: "}, "default_prompt_name": "query"}
    encoder = folder_of(root / "encoder", pooling=flags("mean_tokens"), after=layers, prompts=prompts)
    dense(encoder / "2_Dense", (24, 10))
    sharded = materials.bert(root / "sharded", 1)
    bert = transformers.BertModel.from_pretrained(sharded)
    (sharded / "model.safetensors").unlink()
    bert.save_pretrained(sharded, max_shard_size="100KB")
    return {
        "bert": materials.bert(root / "bert", 1),
        "resnet": materials.resnet(root / "resnet", 1),
        "vit": made("ViTModel", transformers.ViTConfig(**VISION), root / "vit", image=square()),
        "clip": made("CLIPModel", clip, root / "clip", text=True, image=square()),
        "t5": made("T5EncoderModel", t5, root / "t5", text=True),
        "encoder": encoder,
        "sharded": sharded,
        "adapter": Path(shutil.copytree(material.RUNS / "lora" / "model", root / "adapter")),
    }


def test_all_of_them_are_described_and_run(folders):
    for folder in folders.values():
        for expert in resolve_all(f"dir:{folder}", NONE):
            assert np.isfinite(features(expert)).all()


def features(expert):
    """Return what a loaded expert gives for inputs of its kind, as when it is registered."""
    with expert_errors(expert.name):
        backbone = load(expert)
        try_out(backbone)
        return extract(backbone, TEXTS if expert.modality == "text" else backbone_inputs())


def backbone_inputs():
    return [PICTURE] * 2


PICTURE = material.LETTERS.rglob("*.png").__next__()

FILES = ["config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json", "modules.json"]
# Keys of any of these files that libraries look at, whether or not a folder has them.
NAMES = st.sampled_from(
    [
        *("model_type", "architectures", "auto_map", "hidden_size", "num_attention_heads", "vocab_size"),
        *("num_hidden_layers", "intermediate_size", "hidden_act", "max_position_embeddings", "pad_token_id"),
        *("type_vocab_size", "layer_norm_eps", "initializer_range", "torch_dtype", "dtype", "num_labels"),
        *("id2label", "label2id", "problem_type", "quantization_config", "attn_implementation", "is_decoder"),
        *("_attn_implementation", "tie_word_embeddings", "pruned_heads", "chunk_size_feed_forward"),
        *(
            "image_size",
            "patch_size",
            "num_channels",
            "depths",
            "hidden_sizes",
            "embedding_size",
            "out_features",
        ),
        *(
            "text_config",
            "vision_config",
            "projection_dim",
            "backbone",
            "use_timm_backbone",
            "feature_pooling",
        ),
        *(
            "image_processor_type",
            "feature_extractor_type",
            "processor_class",
            "size",
            "crop_size",
            "do_resize",
        ),
        *("resample", "do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std", "do_pad"),
        *(
            "do_center_crop",
            "do_convert_rgb",
            "tokenizer_class",
            "model_max_length",
            "padding_side",
            "pad_token",
        ),
        *(
            "truncation_side",
            "eos_token",
            "unk_token",
            "added_tokens_decoder",
            "chat_template",
            "extra_special",
        ),
        *("normalizer", "pre_tokenizer", "post_processor", "decoder", "model", "added_tokens", "truncation"),
        *("padding", "d_model", "num_layers", "relative_attention_num_buckets", "feed_forward_proj"),
    ]
)
TYPES = st.sampled_from(
    [
        "bert",
        "vit",
        "resnet",
        "clip",
        "t5",
        "gpt2",
        "roberta",
        "convnext",
        "swin",
        "siglip",
        "whisper",
        "mamba",
    ]
)
CHANGES = st.one_of(
    st.tuples(STEP, FILE_DAMAGE),
    st.tuples(STEP, FILE_DAMAGE),
    st.tuples(st.sampled_from(FILES), st.tuples(st.just("key"), st.tuples(NAMES, SCALARS))),
    st.tuples(st.just("config.json"), st.tuples(st.just("key"), st.tuples(st.just("model_type"), TYPES))),
)


def damaged(folder, changes):
    """Damage the files of a folder, each by its place among them or by its name."""
    for which, (kind, what) in changes:
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        path = folder / which if isinstance(which, str) else files[int(which * len(files))]
        with suppress(ValueError, OSError):
            if kind != "key":
                damage_file(path, files, (kind, what))
            elif path.is_file():
                content = json.loads(path.read_bytes())
                if isinstance(content, dict):
                    path.write_text(json.dumps({**content, what[0]: what[1]}))


@amounts(16)
def test_damaged_folders_of_models(amount, folders, tmp_path):
    place = tmp_path / "model"
    (tmp_path / "outside").write_text("x")

    @fuzzed(amount)
    @given(
        st.sampled_from(sorted(folders)),
        st.lists(CHANGES, min_size=1, max_size=2),
        st.integers(0, 7),
    )
    def run(name, changes, runs):
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(folders[name], place)
        damaged(place, changes)
        before = contents(tmp_path)
        for expert in attempt(lambda: resolve_all(f"dir:{place}", NONE)) or ():
            if runs == 1:
                found = attempt(lambda: features(expert))  # noqa: B023
                assert found is None or found.shape[1] == expert.dim
        assert contents(tmp_path) == before

    run()
