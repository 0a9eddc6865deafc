"""How the features of a checkpoint are made: by the rules that an expert was registered under."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expertise_graph.core import Expert, InvalidInputError, SourceError, setting, write_json
from expertise_graph.models.base import SourceOptions
from expertise_graph.models.weights import read_object

FILE = "features.json"
"""Beside a model that was trained here: under which rules."""
FIRST, NEWEST = 1, 2
"""1: at most 128 tokens, the first pooling that modules.json names, nothing after it, no prompt. 2: all that
a folder of sentence-transformers says, and the architecture is part of what an expert is."""

# Texts are cut to so many tokens, or to what the model takes: time and memory grow with the length.
MAX_TOKENS = 512
_FIRST_MAX_TOKENS = 128
_MOST_TOKENS = 1 << 17
# Of a run of ours: what was trained there before the rules were noted was trained under the first.
_RUN_FILES = ("run.json", "head.json")

# Repositories whose encoders were trained with a prefix that their configuration does not name.
_PREFIXED = ("intfloat/e5-", "intfloat/multilingual-e5-")
_PREFIX = "query: "


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How features are made.

    Attributes:
        version: of the rules.
        max_tokens: texts are cut to so many, if the model takes as many.
        prompt: what is put before each text; None for what the folder names as its default.
    """

    version: int = NEWEST
    max_tokens: int = MAX_TOKENS
    prompt: str | None = None

    @classmethod
    def of(cls, expert: Expert) -> Recipe:
        """Return the recipe that an expert was registered under."""
        if "recipe" not in expert.meta:
            return FIRST_RECIPE
        return cls(**expert.meta["recipe"])

    @classmethod
    def chosen(cls, root: Path, options: SourceOptions, *, default: Recipe | None, repository: str) -> Recipe:
        """Return the recipe for a folder that is to be registered: what is asked for, or is noted there.

        Args:
            root: the folder.
            options: what the user declared.
            default: where neither says it; None for the newest rules.
            repository: name on the Hub, by which some encoders are known to need a prompt.

        Raises:
            InvalidInputError: for a number of tokens that cannot be.
        """
        if options.max_tokens is not None and not 1 <= options.max_tokens <= _MOST_TOKENS:
            raise InvalidInputError(
                f"{setting('max_tokens', options.max_tokens)} was given: 1 to {_MOST_TOKENS} are possible"
            )
        prefixed = repository.startswith(_PREFIXED) and "instruct" not in repository
        found = _noted(root) or default or cls(prompt=_PREFIX if prefixed else None)
        return dataclasses.replace(
            found,
            max_tokens=found.max_tokens if options.max_tokens is None else options.max_tokens,
            prompt=found.prompt if options.prompt is None else options.prompt,
        )

    @property
    def meta(self) -> Mapping[str, Any]:
        """What is kept with the expert; nothing for the first rules, under which it was not."""
        return {} if self.version == FIRST else {"recipe": dataclasses.asdict(self)}

    def write(self, folder: Path) -> None:
        """Note it beside a model."""
        write_json(folder / FILE, dataclasses.asdict(self))


FIRST_RECIPE = Recipe(version=FIRST, max_tokens=_FIRST_MAX_TOKENS)


def _noted(root: Path) -> Recipe | None:
    if (root / FILE).is_file():
        content = read_object(root / FILE)
        version, tokens = content.get("version"), content.get("max_tokens")
        if version not in (FIRST, NEWEST) or not isinstance(tokens, int) or not 1 <= tokens <= _MOST_TOKENS:
            raise SourceError(f"{root / FILE} does not say how features are made")
        prompt = content.get("prompt")
        return Recipe(version=version, max_tokens=tokens, prompt=prompt if isinstance(prompt, str) else None)
    if root.name == "model" and any((root.parent / name).is_file() for name in _RUN_FILES):
        return FIRST_RECIPE
    return None
