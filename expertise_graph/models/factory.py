"""``factory:package.module:callable``: the user's own network, with weights in a file.

Nothing of the user's code is imported unless it is trusted, and that is recorded.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from expertise_graph.core import Expert, InvalidInputError, setting
from expertise_graph.models.base import Backbone, Pin, SourceOptions
from expertise_graph.models.networks import describe_network, load_network, require_trust
from expertise_graph.models.preprocessing import check_input


class FactorySource:
    """Networks built by a callable of the user that takes no arguments."""

    def resolve(self, locator: str, options: SourceOptions) -> Expert:
        """Build the network, load its weights and measure what they are.

        Raises:
            UntrustedError: when the code is not trusted.
            InvalidInputError: without weights or the size of the input.
            SourceError: when callable and weights do not fit.
        """
        require_trust({"factory": locator}, options.trust_code)
        if options.weights is None or options.input is None:
            raise InvalidInputError(
                f"factory:{locator} needs {setting('weights')}, a file, and {setting('input_size')}, pixels"
            )
        spec = {"factory": locator, "input": dataclasses.asdict(check_input(options.input))}
        weights = Path(options.weights).expanduser().absolute()
        return describe_network(spec, weights, options, pin=Pin(source="factory", locator=locator))

    def fetch(self, locator: str, options: SourceOptions) -> Path | None:
        """Return the file of the weights, if it is named."""
        return Path(options.weights).expanduser().absolute() if options.weights else None

    def load(self, expert: Expert, *, trust_code: bool = False) -> Backbone:
        """Build the network and load the registered weights into it."""
        require_trust(expert.meta, trust_code)
        return load_network(expert.meta, Path(expert.meta["weights"]), expert)

    def weight_files(self, expert: Expert) -> Sequence[Path]:
        """Return the file of the weights, if it is one of safetensors."""
        weights = Path(expert.meta["weights"])
        return (weights,) if weights.suffix == ".safetensors" and weights.is_file() else ()


source = FactorySource()
