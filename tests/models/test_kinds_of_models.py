"""Models of many kinds against transformers and peft; what cannot be read is one line that helps."""

from __future__ import annotations

import json
import shutil
import warnings

import numpy as np
import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model
from PIL import Image
from transformers import AutoImageProcessor, AutoTokenizer

from expertise_graph import Workspace
from expertise_graph.core.errors import SourceError
from expertise_graph.features.running import extract, try_out
from expertise_graph.models.base import SourceOptions
from expertise_graph.models.loading import load, resolve, resolve_all
from expertise_graph.starter.contents import shipped
from tests import materials
from tests.program import invoke

pytestmark = pytest.mark.slow

TEXTS = ["a short one", "a text that is quite a bit longer than the others here", "third"]
SMALL = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
VISION = {**SMALL, "image_size": 32, "patch_size": 8}


def made(kind, config, folder, **files):
    """Write a small network of transformers, with the tokenizer or image processor of a shipped expert."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        getattr(transformers, kind)(config).save_pretrained(folder)
    if files.get("text"):
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(shipped()["languages"] / name, folder)
    if processor := files.get("image"):
        processor.save_pretrained(folder)
    return folder


def features(reference, items, **options):
    return extract(load(resolve(reference, SourceOptions(**options))), items)


def tokens(folder, **options):
    return AutoTokenizer.from_pretrained(folder)(TEXTS, return_tensors="pt", **options)


def pictures(tmp_path, sizes=((40, 40), (40, 40), (40, 40))):
    paths = []
    for i, size in enumerate(sizes):
        noise = np.random.default_rng(i).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(noise).save(paths[-1])
    return paths


def square(side=32, **more):
    return transformers.ViTImageProcessor(size={"height": side, "width": side}, **more)


@pytest.fixture
def clip(tmp_path):
    config = transformers.CLIPConfig(
        text_config={**SMALL, "vocab_size": 3200, "max_position_embeddings": 24, "eos_token_id": 3},
        vision_config=VISION,
        projection_dim=8,
    )
    return made("CLIPModel", config, tmp_path / "clip", text=True, image=square())


@pytest.mark.parametrize("kind", ["T5Model", "T5EncoderModel"])
def test_of_t5_the_encoder_is_read_whether_or_not_a_decoder_is_there(tmp_path, kind):
    config = transformers.T5Config(
        vocab_size=3200, d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2, decoder_start_token_id=0
    )
    folder = made(kind, config, tmp_path / "t5", text=True)
    batch = tokens(folder, padding=True)
    with torch.inference_mode():
        states = transformers.T5EncoderModel.from_pretrained(folder)(**batch).last_hidden_state
    mask = batch["attention_mask"].unsqueeze(-1)
    expected = (states * mask).sum(1) / mask.sum(1)
    np.testing.assert_allclose(features(f"dir:{folder}", TEXTS), expected.numpy(), atol=1e-5)


def test_both_towers_of_clip_are_experts_that_fit_their_data(blank, clip, tmp_path):
    assert invoke("register", f"dir:{clip}", "-q").worked().out.count("\n") == 2
    with Workspace() as opened:
        nodes = {e.modality: e for e in opened.experts()}
        assert {m: e.name for m, e in nodes.items()} == {"image": "clip-image", "text": "clip-text"}
        assert nodes["image"].params + nodes["text"].params <= sum(
            p.numel() for p in transformers.CLIPModel.from_pretrained(clip).parameters()
        )
    invoke("query", materials.pictures(tmp_path / "data", 2, 5), "-q").worked()
    invoke("query", materials.glosses(tmp_path / "g.csv", 6), "-q").worked()


def test_the_towers_of_clip_give_what_transformers_gives(clip, tmp_path):
    items = pictures(tmp_path)
    pixels = AutoImageProcessor.from_pretrained(clip)([Image.open(i) for i in items], return_tensors="pt")
    with torch.inference_mode():
        seen = transformers.CLIPVisionModel.from_pretrained(clip)(**pixels).pooler_output
        read = transformers.CLIPTextModel.from_pretrained(clip)(**tokens(clip, padding=True)).pooler_output
    np.testing.assert_allclose(features(f"dir:{clip}", items), seen.numpy(), atol=1e-5)
    np.testing.assert_allclose(features(f"dir:{clip}", TEXTS, modality="text"), read.numpy(), atol=1e-5)


def test_a_tower_that_is_named_is_the_only_one_and_its_child_is_read_back(blank, clip, tmp_path):
    invoke("register", f"dir:{clip}", "--tower", "text").worked()
    with Workspace() as opened:
        (node,) = opened.experts()
        assert node.modality == "text"
    backbone = load(node)
    backbone.save(backbone.module, tmp_path / "saved")
    again = resolve(f"dir:{tmp_path / 'saved'}", SourceOptions())
    assert (again.modality, again.architecture) == ("text", "clip_text_model")
    np.testing.assert_allclose(extract(load(again), TEXTS), extract(backbone, TEXTS), atol=1e-6)
    invoke("register", f"dir:{clip}", "--tower", "sound").failed("takes images and texts")


def test_siglip_reads_texts_padded_as_in_training(tmp_path):
    config = transformers.SiglipConfig(
        text_config={**SMALL, "vocab_size": 3200, "max_position_embeddings": 24, "projection_size": 12},
        vision_config=VISION,
    )
    folder = made("SiglipModel", config, tmp_path / "siglip", text=True, image=square())
    batch = tokens(folder, padding="max_length", max_length=24)
    with torch.inference_mode():
        model = transformers.SiglipTextModel.from_pretrained(folder)
        expected = model(input_ids=batch["input_ids"]).pooler_output
    found = features(f"dir:{folder}", TEXTS, modality="text")
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)
    assert found.shape == (3, 12)
    assert [e.modality for e in resolve_all(f"dir:{folder}", SourceOptions())] == ["image", "text"]


def test_a_model_of_grey_images_gets_grey_images(tmp_path):
    config = transformers.ViTConfig(**VISION, num_channels=1)
    folder = made("ViTModel", config, tmp_path / "grey", image=square(image_mean=[0.5], image_std=[0.5]))
    items = pictures(tmp_path)
    grey = torch.stack(
        [
            torch.from_numpy(np.asarray(Image.open(i).convert("L").resize((32, 32), 2), dtype=np.float32))
            for i in items
        ]
    )
    with torch.inference_mode():
        model = transformers.ViTModel.from_pretrained(folder).eval()
        expected = model(pixel_values=(grey[:, None] / 255 - 0.5) / 0.5).last_hidden_state[:, 0]
    np.testing.assert_allclose(features(f"dir:{folder}", items), expected.numpy(), atol=1e-4)


@pytest.mark.parametrize("given", [{"size": {"height": 64, "width": 64}}, {"do_resize": False}])
def test_a_preprocessing_of_another_size_than_the_model_takes_is_refused_with_what_to_do(tmp_path, given):
    processor = transformers.ViTImageProcessor(**given)
    folder = made("ViTModel", transformers.ViTConfig(**VISION), tmp_path / "vit", image=processor)
    said = "takes images of 32 x 32 pixels.*set do_resize to true and size to 32"
    with pytest.raises(SourceError, match=said):
        try_out(load(resolve(f"dir:{folder}", SourceOptions())))


def test_images_that_stay_of_several_shapes_have_the_features_they_have_alone(tmp_path):
    folder = materials.resnet(tmp_path / "net", 1)
    transformers.BitImageProcessor(size={"shortest_edge": 24}, do_center_crop=False).save_pretrained(folder)
    items = pictures(tmp_path, ((40, 40), (40, 30), (30, 40), (90, 40), (40, 30)))
    together = features(f"dir:{folder}", items)
    for item, row in zip(items, together, strict=True):
        np.testing.assert_allclose(features(f"dir:{folder}", [item])[0], row, atol=1e-5)


def test_a_warm_start_from_images_of_several_shapes(blank, tmp_path):
    folder = materials.resnet(tmp_path / "net", 1)
    transformers.BitImageProcessor(size={"shortest_edge": 24}, do_center_crop=False).save_pretrained(folder)
    data = materials.pictures(tmp_path / "data", 3, 6)
    for i, path in enumerate(sorted(data.glob("*/*"))):
        Image.open(path).convert("RGB").resize(((40, 40), (60, 40), (40, 60))[i % 3]).save(path)
    invoke("register", f"dir:{folder}").worked()
    done = (
        invoke("warm-start", data, "--expert", "net", "--out", "out", "--epochs", 2, "--json").worked().json
    )
    assert done["epochs"] == 2


def adapted(kind, folder, base, targets, **options):
    """Train-free peft adapter of a base in a folder, with matrices that change something."""
    with torch.random.fork_rng(), warnings.catch_warnings():
        # peft asks transformers for what has another name now.
        warnings.simplefilter("ignore", FutureWarning)
        torch.manual_seed(1)
        model = getattr(transformers, kind).from_pretrained(base)
        peft = get_peft_model(model, LoraConfig(r=2, lora_alpha=8, target_modules=targets, **options))
        for name, parameter in peft.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.3)
        peft.save_pretrained(folder)
    return peft.merge_and_unload()


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_an_adapter_of_peft_is_its_base_with_the_change_added(tmp_path, kind):
    base, folder = tmp_path / "base", tmp_path / "adapter"
    if kind == "bert":
        materials.bert(base, 1)
        merged = adapted(
            "BertForSequenceClassification", folder, base, ["query", "value"], task_type="SEQ_CLS"
        ).bert
    else:
        config = transformers.GPT2Config(vocab_size=3200, n_embd=16, n_layer=1, n_head=2, n_positions=64)
        made("GPT2Model", config, base, text=True)
        merged = adapted("GPT2Model", folder, base, ["c_attn"], fan_in_fan_out=True)
    batch = tokens(base, padding=True)
    with torch.inference_mode():
        states = merged.eval()(**batch).last_hidden_state
    mask = batch["attention_mask"].unsqueeze(-1)
    expected = ((states * mask).sum(1) / mask.sum(1)).numpy()
    found = features(f"dir:{folder}", TEXTS)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(found - features(f"dir:{base}", TEXTS)).max() > 0.01
    assert resolve(f"dir:{folder}", SourceOptions()).base_model == resolve(f"dir:{base}", SourceOptions()).id


def test_an_adapter_without_its_base_says_which_it_needs(blank, tmp_path):
    materials.bert(tmp_path / "base", 1)
    adapted("BertModel", tmp_path / "adapter", tmp_path / "base", ["query"])
    path = tmp_path / "adapter" / "adapter_config.json"
    for base, said in (("org/there-is-none", "org/there-is-none"), (None, "names no base model")):
        materials.change_json(path, base_model_name_or_path=base)
        invoke("register", f"dir:{tmp_path / 'adapter'}").failed("is an adapter", said)
    materials.change_json(path, base_model_name_or_path=str(tmp_path / "base"), peft_type="IA3")
    invoke("register", f"dir:{tmp_path / 'adapter'}").failed("kind 'IA3'")
    materials.change_json(path, peft_type="LORA", use_dora=True)
    invoke("register", f"dir:{tmp_path / 'adapter'}").failed("use_dora")


def test_the_output_of_a_trainer_names_its_last_checkpoint(blank, tmp_path):
    model = materials.bert(tmp_path / "bert", 1)
    for step in (20, 100):
        shutil.copytree(model, tmp_path / "out" / f"checkpoint-{step}")
    (tmp_path / "out" / "runs").mkdir()
    invoke("register", f"dir:{tmp_path / 'out'}").failed(f"give dir:{tmp_path / 'out' / 'checkpoint-100'}")
    invoke("register", f"dir:{tmp_path / 'out' / 'checkpoint-100'}").worked()


def test_a_folder_around_the_only_model_names_it(blank, tmp_path):
    materials.resnet(tmp_path / "around" / "model", 1)
    invoke("register", f"dir:{tmp_path / 'around'}").failed(f"give dir:{tmp_path / 'around' / 'model'}")


@pytest.mark.parametrize("told_by", ["its preprocessing", "its architecture"])
def test_a_model_of_audio_is_refused_as_such(blank, tmp_path, told_by):
    folder = materials.resnet(tmp_path / "sound", 1)
    if told_by == "its preprocessing":
        materials.change_json(folder / "preprocessor_config.json", sampling_rate=16000)
    else:
        materials.change_json(folder / "config.json", model_type="whisper")
    invoke("register", f"dir:{folder}").failed("audio is not supported yet")


def test_images_of_many_channels_are_refused_by_number(blank, tmp_path):
    folder = materials.resnet(tmp_path / "net", 1)
    materials.change_json(folder / "config.json", num_channels=13)
    invoke("register", f"dir:{folder}").failed("13 channels", "grey (1)")


def test_weights_under_other_names_are_named(blank, tmp_path):
    folder = materials.resnet(tmp_path / "net", 1)
    (folder / "model.safetensors").rename(folder / "model.fp16.safetensors")
    invoke("register", f"dir:{folder}").failed("model.fp16.safetensors", "rename it")
    (folder / "model.fp16.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    invoke("register", f"dir:{folder}").failed("no model.safetensors.index.json")


def test_a_tokenizer_without_padding_is_padded_with_what_is_left_out(tmp_path):
    config = transformers.GPT2Config(vocab_size=3200, n_embd=16, n_layer=1, n_head=2, n_positions=64)
    folder = made("GPT2Model", config, tmp_path / "gpt2", text=True)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    tokens = ("pad_token", "eos_token", "bos_token", "sep_token", "cls_token")
    kept = {k: v for k, v in settings.items() if k not in tokens}
    (folder / "tokenizer_config.json").write_text(json.dumps(kept))
    together = features(f"dir:{folder}", TEXTS)
    for text, row in zip(TEXTS, together, strict=True):
        np.testing.assert_allclose(features(f"dir:{folder}", [text])[0], row, atol=1e-5)


def test_names_with_brackets_are_never_markup(blank, tmp_path):
    materials.resnet(tmp_path / "[red]net", 1)
    invoke("register", f"dir:{tmp_path / '[red]net'}").worked()
    data = materials.pictures(tmp_path / "[bold]letters [", 2, 5)
    done = invoke("query", data).worked()
    assert "[red]net@" in done.out
    assert "[bold]letters [: 10 items" in done.out


def test_a_tower_of_another_model_of_both_is_chosen_by_hand(tmp_path):
    folder = materials.bert(tmp_path / "both", 1)
    shutil.copy(shipped()["emoji"] / "preprocessor_config.json", folder)
    with pytest.raises(SourceError, match="takes images and text"):
        resolve(f"dir:{folder}", SourceOptions())
