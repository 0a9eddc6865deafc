"""What an input costs a network, counted on shapes: against direct sums, and what a pass on numbers keeps."""

import pytest
import torch
import transformers
from torch import nn

from expertise_graph.core import FOOTPRINT, Footprint
from expertise_graph.models.base import SourceOptions
from expertise_graph.models.footprint import footprint_of_images, footprint_of_texts
from expertise_graph.models.loading import resolve
from expertise_graph.models.pooled import PooledModel


class Small(nn.Module):
    """A convolution, a norm, a layer: everything can be counted by hand."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        return self.head(torch.relu(self.norm(self.conv(x))).mean(dim=(2, 3)))


def test_products_and_what_is_kept_are_those_of_a_direct_sum():
    network = Small()
    found = footprint_of_images(network, channels=3, side=16, name="x")
    assert found.params == sum(p.numel() for p in network.parameters())
    assert found.convolved == 8 * 16 * 16 * 3 * 9
    assert found.linear == 8 * 5
    assert found.numbers == 3 * 16 * 16
    maps = 4 * 8 * 16 * 16
    # The image for the convolution, its output for the norm, what ReLU gave, and the mean.
    assert found.kept == pytest.approx(4 * 3 * 16 * 16 + maps + maps + 4 * 8, rel=0.01)


def test_a_network_is_not_changed_and_needs_no_memory_for_its_weights():
    network = Small().eval()
    before = {name: t.clone() for name, t in network.state_dict().items()}
    footprint_of_images(network, channels=3, side=8, name="x")
    assert not network.training
    assert all(torch.equal(before[name], t) for name, t in network.state_dict().items())
    with torch.device("meta"):
        skeleton = Small()
    assert footprint_of_images(skeleton, channels=3, side=16, name="x") == footprint_of_images(
        network, channels=3, side=16, name="x"
    )


def test_a_network_that_needs_numbers_to_run_has_none():
    class Asks(nn.Module):
        def forward(self, x):
            return x * int(x.sum().item())

    assert footprint_of_images(Asks(), channels=3, side=8, name="x") is None


def bert(**given):
    sizes = {"vocab_size": 600, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.BertConfig(**{**sizes, "intermediate_size": 64, **given})
    with torch.device("meta"):
        return PooledModel(transformers.AutoModel.from_config(config), "mean")


def test_texts_cost_by_token_and_by_pair_of_tokens():
    found = footprint_of_texts(bert())
    # Four square matrices and two of the feed-forward block in each layer, for each token.
    assert found.linear == pytest.approx(2 * (4 * 32 * 32 + 2 * 32 * 64), rel=0.3)
    # Scores and weighted sums: two products of the width for each pair, in each layer.
    assert found.pair_linear == pytest.approx(2 * 2 * 32, rel=0.03)
    assert found.vocabulary == 600
    assert found.lookup == (600 + 512 + 2) * 32
    deeper = footprint_of_texts(bert(num_hidden_layers=4))
    assert deeper.pair_kept == pytest.approx(2 * found.pair_kept, rel=0.01)
    assert deeper.of("kept", 64) > 1.9 * found.of("kept", 64)
    assert footprint_of_texts(bert(vocab_size=5000)).of("kept", 64) == pytest.approx(found.of("kept", 64))


def test_what_is_kept_is_what_a_training_pass_on_numbers_keeps():
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=32,
        patch_size=8,
    )  # fmt: skip
    network = PooledModel(transformers.AutoModel.from_config(config), "cls").train()
    own = {t.untyped_storage().data_ptr() for t in network.state_dict().values()}
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        output = network(pixel_values=torch.randn(4, 3, 32, 32))
    real = sum(t.untyped_storage().nbytes() for at, t in kept.items() if at not in own) / 4
    assert output.shape == (4, 32)
    assert footprint_of_images(network, channels=3, side=32).kept == pytest.approx(real, rel=0.05)


def test_an_expert_is_registered_with_its_footprint():
    letters, names = (resolve(f"zoo:{name}", SourceOptions()) for name in ("latin-letters", "emoji-names"))
    known = Footprint.from_dict(letters.meta[FOOTPRINT])
    # Statistics of batch normalisation are in the file, and are no parameters.
    assert known.params == pytest.approx(letters.params, rel=0.01)
    assert known.numbers == 3 * 64 * 64
    assert known.convolved > known.linear
    words = Footprint.from_dict(names.meta[FOOTPRINT])
    assert words.vocabulary == 3200
    assert words.numbers == 0


@pytest.mark.parametrize(
    "values",
    [None, {}, [1], {"params": "x"}, {"params": 1, "moved": -1}, {"params": 1, "moved": float("nan")}],
)
def test_damaged_numbers_are_none(values):
    assert Footprint.from_dict(values) is None


def test_numbers_survive_json():
    found = footprint_of_texts(bert())
    assert Footprint.from_dict(found.as_dict()) == found
