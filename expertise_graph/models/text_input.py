"""Texts on their way into a model: prompt, lower case, tokens, and how many texts had to be cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from expertise_graph.core import SourceError, count
from expertise_graph.models.architectures import padded_to_full_length
from expertise_graph.models.base import Batch, TextLengths
from expertise_graph.models.modules import TextModules
from expertise_graph.models.recipe import Recipe
from expertise_graph.models.transformers_backend import load_tokenizer, set_lower_case
from expertise_graph.models.weights import read_object

if TYPE_CHECKING:
    from transformers import PretrainedConfig

# Their position embeddings start behind the padding index.
_OFFSET_POSITIONS = (
    *("roberta", "xlm-roberta", "xlm-roberta-xl", "roberta-prelayernorm", "camembert", "longformer", "mpnet"),
    *("data2vec-text", "xmod", "ibert", "luke", "lilt", "layoutlmv3", "markuplm", "esm"),
)

# A text is cut to so many characters a token before it is tokenised: no word is as long, and a text of many
# megabytes takes neither time nor memory.
_CHARACTERS = 1000

# What libraries write for "no limit" is far above.
_UNLIMITED = 1 << 30


def declared_limit(
    config: PretrainedConfig, folder: Path, recipe: Recipe, modules: TextModules | None
) -> int:
    """Return how many tokens texts will be cut to, as far as the files say without opening the tokenizer."""
    path = folder / "tokenizer_config.json"
    declared = read_object(path).get("model_max_length") if path.is_file() else None
    named = modules.max_length if modules and modules.max_length else _UNLIMITED
    whole = int(declared) if isinstance(declared, int | float) and 0 < declared < _UNLIMITED else _UNLIMITED
    return min(named, whole, _positions(config) or _UNLIMITED, recipe.max_tokens)


def text_collate(
    config: PretrainedConfig, folder: Path, recipe: Recipe, modules: TextModules | None
) -> tuple[Callable[[Sequence[Any]], Batch], TextLengths]:
    """Return a function from texts to tokens, and what it counts of their lengths.

    Args:
        config: of the model.
        folder: of the tokenizer.
        recipe: how features are made.
        modules: what sentence-transformers adds.
    """
    tokenizer = load_tokenizer(folder)
    named = modules.max_length if modules and modules.max_length else _UNLIMITED
    own = min(named, tokenizer.model_max_length, _positions(config) or _UNLIMITED)
    lengths = TextLengths(limit=min(own, recipe.max_tokens), model=min(own, _UNLIMITED))
    if modules and modules.lower:
        set_lower_case(tokenizer)
    full, prompt = padded_to_full_length(config), prompt_of(recipe, modules)
    most = _CHARACTERS * lengths.limit

    def tokens(items: Sequence[Any]) -> Batch:
        batch = tokenizer(
            [prompt + text[:most] for text in items],
            padding="max_length" if full else True,
            truncation=True,
            max_length=lengths.limit,
            return_tensors="pt",
        )
        lengths.seen += len(items)
        lengths.cut += sum(map(_was_cut, batch.encodings or (), items))
        return {name: tensor for name, tensor in batch.items() if not (full and name == "attention_mask")}

    def _was_cut(encoding: Any, text: str) -> bool:
        return bool(encoding.overflowing) or len(text) > most

    return tokens, lengths


def prompt_of(recipe: Recipe, modules: TextModules | None) -> str:
    """Return what is put before each text: what was asked for, by its name or as it is, or the default."""
    if recipe.prompt is None:
        return modules.prompt if modules else ""
    return modules.prompts.get(recipe.prompt, recipe.prompt) if modules else recipe.prompt


def check_vocabulary(folder: Path, model: nn.Module) -> None:
    """Refuse a tokenizer that knows tokens which the model has no embedding for.

    Raises:
        SourceError: naming the first of them.
    """
    rows = model.get_input_embeddings().num_embeddings  # type: ignore[operator]
    beyond = {i: token for token, i in load_tokenizer(folder).get_vocab().items() if i >= rows}
    if beyond:
        raise SourceError(
            f"the tokenizer in {folder} knows {count(len(beyond), 'token')} more than the {rows} of the "
            f"model's embedding, e.g. {beyond[min(beyond)]!r}: call model.resize_token_embeddings("
            "len(tokenizer)), train or merge it so, and save both again"
        )


def _positions(config: PretrainedConfig) -> int | None:
    """Return how many tokens the position embeddings take; RoBERTa's start behind the padding index."""
    positions = getattr(config, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions < 1:
        return None
    return positions - 2 if config.model_type in _OFFSET_POSITIONS else positions
