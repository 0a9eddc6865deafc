"""``dir:`` against transformers itself: the same features, whatever the layout."""

import json
import shutil

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from expertise_graph.core.errors import SourceError, UntrustedError
from expertise_graph.features.running import extract
from expertise_graph.models.base import SourceOptions
from expertise_graph.models.loading import load, resolve
from tests import materials

TEXTS = ["a short one", "a text that is quite a bit longer than the others here", "third"]
NONE = SourceOptions()


def features(reference, items, options=NONE):
    return extract(load(resolve(reference, options)), items)


def images():
    return sorted((materials.LETTERS / "test" / "ayb").iterdir())[:3]


def states(folder, texts):
    """Token states and mask, computed with transformers alone."""
    tokens = AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        return AutoModel.from_pretrained(folder, dtype=torch.float32)(**tokens).last_hidden_state, tokens[
            "attention_mask"
        ]


def test_image_features_are_the_mean_of_the_last_feature_map(tmp_path):
    folder = materials.starter("emoji", tmp_path)
    pictures = [Image.open(path).convert("RGB") for path in images()]
    pixels = AutoImageProcessor.from_pretrained(folder)(pictures, return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        maps = AutoModel.from_pretrained(folder, dtype=torch.float32)(pixel_values=pixels).last_hidden_state
    found = features(f"dir:{folder}", images())
    np.testing.assert_allclose(found, maps.mean(dim=(2, 3)).numpy(), rtol=1e-5, atol=1e-5)
    assert found.std() > 0.01


def test_text_features_are_the_mean_over_the_tokens_that_are_there(tmp_path):
    folder = materials.bert(tmp_path / "bert", 1)
    hidden, mask = states(folder, TEXTS)
    expected = [hidden[i, : int(mask[i].sum())].mean(dim=0).numpy() for i in range(len(TEXTS))]
    np.testing.assert_allclose(features(f"dir:{folder}", TEXTS), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["cls", "mean", "max"])
def test_sentence_transformers_layout_is_pooled_as_it_says(tmp_path, mode):
    folder = materials.starter("emoji-names", tmp_path)
    keys = {
        "cls": "pooling_mode_cls_token",
        "mean": "pooling_mode_mean_tokens",
        "max": "pooling_mode_max_tokens",
    }
    materials.change_json(folder / "1_Pooling" / "config.json", **{key: mode == m for m, key in keys.items()})
    hidden, mask = states(folder, TEXTS)
    pool = {
        "cls": lambda states, n: states[0],
        "mean": lambda states, n: states[:n].mean(dim=0),
        "max": lambda states, n: states[:n].amax(dim=0),
    }[mode]
    expected = [pool(hidden[i], int(mask[i].sum())).numpy() for i in range(len(TEXTS))]
    np.testing.assert_allclose(features(f"dir:{folder}", TEXTS), expected, rtol=1e-4, atol=1e-5)


def test_the_pooling_is_part_of_what_an_expert_is(tmp_path):
    folder = materials.starter("emoji-names", tmp_path)
    before = resolve(f"dir:{folder}", NONE)
    materials.change_json(
        folder / "1_Pooling" / "config.json", pooling_mode_cls_token=True, pooling_mode_mean_tokens=False
    )
    after = resolve(f"dir:{folder}", NONE)
    assert after.weights_sha == before.weights_sha
    assert after.id != before.id
    assert after.preprocessing_sha != before.preprocessing_sha


def test_a_folder_inside_sentence_transformers_layout(tmp_path):
    whole = materials.starter("emoji-names", tmp_path)
    split = tmp_path / "split"
    shutil.copytree(whole / "1_Pooling", split / "1_Pooling")
    (split / "0_Transformer").mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(whole / name, split / "0_Transformer")
    modules = json.loads((whole / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (split / "modules.json").write_text(json.dumps(modules))
    np.testing.assert_array_equal(features(f"dir:{split}", TEXTS), features(f"dir:{whole}", TEXTS))
    backbone = load(resolve(f"dir:{split}", NONE))
    backbone.save(backbone.module, tmp_path / "saved")
    np.testing.assert_array_equal(
        features(f"dir:{tmp_path / 'saved'}", TEXTS), features(f"dir:{whole}", TEXTS)
    )


def test_sharded_weights_give_the_same_features_as_one_file(tmp_path):
    folder = materials.resnet(tmp_path / "one", 3)
    sharded = tmp_path / "sharded"
    model = AutoModel.from_pretrained(folder)
    model.save_pretrained(sharded, max_shard_size="20KB")
    shutil.copy(folder / "preprocessor_config.json", sharded)
    assert len(list(sharded.glob("*.safetensors"))) > 1
    one, many = resolve(f"dir:{folder}", NONE), resolve(f"dir:{sharded}", NONE)
    assert (
        many.params == one.params == sum(t.numel() for t in load_file(folder / "model.safetensors").values())
    )
    np.testing.assert_array_equal(features(f"dir:{sharded}", images()), features(f"dir:{folder}", images()))


@pytest.mark.parametrize(("name", "items"), [("hebrew-letters", images()), ("languages", TEXTS)])
def test_what_is_saved_is_read_back_with_equal_features(tmp_path, name, items):
    folder = materials.starter(name, tmp_path)
    backbone = load(resolve(f"dir:{folder}", NONE))
    backbone.save(backbone.module, tmp_path / "saved")
    again = resolve(f"dir:{tmp_path / 'saved'}", NONE)
    np.testing.assert_array_equal(extract(load(again), items), extract(backbone, items))
    assert again.preprocessing_sha == resolve(f"dir:{folder}", NONE).preprocessing_sha


def test_fresh_weights_depend_on_the_seed_alone(tmp_path):
    backbone = load(resolve(f"dir:{materials.resnet(tmp_path / 'r', 5)}", NONE))
    before = torch.get_rng_state()
    one, same, other = (backbone.fresh(seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    weights = "model.embedder.embedder.convolution.weight"
    assert torch.equal(one[weights], same[weights])
    assert not torch.equal(one[weights], other[weights])
    assert not torch.equal(one[weights], backbone.module.state_dict()[weights])


def test_the_same_content_elsewhere_is_the_same_expert(tmp_path):
    one = materials.resnet(tmp_path / "one", 1)
    two = shutil.copytree(one, tmp_path / "two")
    other = materials.resnet(tmp_path / "other", 2)
    ids = [resolve(f"dir:{folder}", NONE).id for folder in (one, two, other)]
    assert ids[0] == ids[1] != ids[2]


def test_metadata_comes_from_configuration_and_card(tmp_path):
    folder = materials.starter("latin-letters", tmp_path)
    expert = resolve(f"dir:{folder}", SourceOptions(tags=("mine",)))
    tensors = load_file(folder / "model.safetensors").values()
    assert expert.params == sum(t.numel() for t in tensors)
    assert expert.bytes == (folder / "model.safetensors").stat().st_size
    assert (expert.modality, expert.architecture, expert.dim) == ("image", "resnet", 128)
    assert expert.license == "apache-2.0"
    assert expert.tags[0] == "mine"
    (folder / "README.md").unlink()
    bare = resolve(f"dir:{folder}", NONE)
    assert (bare.license, bare.datasets, bare.base_model) == ("unknown", (), None)
    assert resolve(f"dir:{folder}", SourceOptions(license="MIT")).license == "mit"


def test_a_text_longer_than_the_positions_is_cut(tmp_path):
    folder = materials.bert(tmp_path / "bert", 1, positions=16)
    materials.change_json(folder / "tokenizer_config.json", model_max_length=10**9)
    long = " ".join(["word"] * 400)
    found = features(f"dir:{folder}", [long, "word"])
    assert np.isfinite(found).all()


@pytest.mark.parametrize("kind", ["Roberta", "Data2VecText", "XLMRobertaXL", "IBert"])
def test_so_it_is_where_positions_start_behind_the_padding(tmp_path, kind):
    folder = materials.bert(tmp_path / "model", 1, positions=16)
    words = len(transformers.AutoTokenizer.from_pretrained(folder))
    config = getattr(transformers, f"{kind}Config")(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=words,
        max_position_embeddings=18, pad_token_id=0,
    )  # fmt: skip
    getattr(transformers, f"{kind}Model")(config).save_pretrained(folder)
    materials.change_json(folder / "tokenizer_config.json", model_max_length=10**9)
    assert np.isfinite(features(f"dir:{folder}", [" ".join(["word"] * 400), "word"])).all()


def test_weights_that_changed_since_registration_are_refused(tmp_path):
    folder = materials.resnet(tmp_path / "r", 1)
    expert = resolve(f"dir:{folder}", NONE)
    materials.resnet(folder, 2)
    with pytest.raises(SourceError, match="are not the registered ones"):
        load(expert)


def test_an_unknown_layer_of_sentence_transformers_is_refused(tmp_path):
    folder = materials.starter("emoji-names", tmp_path)
    modules = json.loads((folder / "modules.json").read_text())
    modules.append({"idx": 2, "name": "2", "path": "1_Pooling", "type": "evil.package.LSTM"})
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(UntrustedError, match="LSTM"):
        resolve(f"dir:{folder}", NONE)


@pytest.mark.parametrize("path", ["../elsewhere", "/etc", "missing"])
def test_a_module_outside_of_the_folder_is_refused(tmp_path, path):
    folder = materials.starter("emoji-names", tmp_path)
    (tmp_path / "elsewhere").mkdir()
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["path"] = path
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(SourceError, match="no folder inside it"):
        resolve(f"dir:{folder}", NONE)


def test_images_and_text_together_need_a_choice(tmp_path):
    folder = materials.bert(tmp_path / "both", 1)
    shutil.copy(materials.starter("emoji", tmp_path) / "preprocessor_config.json", folder)
    with pytest.raises(SourceError, match="choose one as `modality`"):
        resolve(f"dir:{folder}", NONE)
    assert resolve(f"dir:{folder}", SourceOptions(modality="text")).modality == "text"
