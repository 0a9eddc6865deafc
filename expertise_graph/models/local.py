"""``dir:PATH``: a checkpoint in a local folder, as untrusted as one from a hub."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from expertise_graph.core import Expert, NotFoundError, count, nearest
from expertise_graph.models.adapters import is_adapter
from expertise_graph.models.base import Backbone, Pin, SourceOptions, sources
from expertise_graph.models.checkpoint import describe_checkpoint, load_checkpoint
from expertise_graph.models.gguf import is_gguf
from expertise_graph.models.gguf import source as gguf
from expertise_graph.models.layout import existing_folder, read_layout
from expertise_graph.models.networks import describe_network_folder, is_network_folder, load_network_folder
from expertise_graph.models.raw_input import refuse_raw
from expertise_graph.models.weights import weight_paths


class LocalSource:
    """Transformers or sentence-transformers folders, and networks saved beside their description."""

    def matching(self, pattern: str) -> list[str]:
        """Return the folders with a model that a pattern means; folders of anything else are passed over.

        Raises:
            NotFoundError: for none.
        """
        whole = str(Path(pattern).expanduser())
        folders = [path for path in glob.glob(whole, recursive=True) if Path(path).is_dir()]
        found = sorted(path for path in folders if _holds_model(Path(path)))
        if found:
            return found
        if folders:
            raise NotFoundError(f"{count(len(folders), 'folder')} match {pattern!r}, and none holds a model")
        above = Path(whole).parent
        there = [path.name for path in above.iterdir() if path.is_dir()] if above.is_dir() else []
        raise NotFoundError(f"no folder matches {pattern!r}; {nearest(Path(whole).name, there)}")

    def resolve(self, locator: str, options: SourceOptions) -> Expert:
        """Read the metadata of the folder at `locator`.

        Raises:
            NotFoundError: when there is no such folder.
            SourceError: when it holds no usable checkpoint.
            UntrustedError: when it would need code or a pickle-bearing format.
        """
        if is_gguf(locator) and Path(locator).expanduser().is_file():
            return gguf.resolve(locator, options)
        root = existing_folder(locator)
        refuse_raw(root)
        if is_adapter(root):
            return sources["adapter"].resolve(locator, options)
        if is_network_folder(root):
            return describe_network_folder(root, options)
        return describe_checkpoint(root, options, Pin(source="dir", locator=str(root)))

    def fetch(self, locator: str, options: SourceOptions) -> Path | None:
        """Return the folder; what an adapter changes may have to be downloaded."""
        if is_gguf(locator) and Path(locator).expanduser().is_file():
            return gguf.fetch(locator, options)
        root = existing_folder(locator)
        return None if is_adapter(root) else root

    def load(self, expert: Expert, *, trust_code: bool = False) -> Backbone:
        """Load the folder the expert was registered from."""
        root = existing_folder(expert.locator)
        if is_network_folder(root):
            return load_network_folder(root, expert, trust_code=trust_code)
        return load_checkpoint(root, expert)

    def weight_files(self, expert: Expert) -> Sequence[Path]:
        """Return the files in the folder the expert was registered from."""
        root = existing_folder(expert.locator)
        if is_adapter(root):
            return ()
        return weight_paths(root if is_network_folder(root) else read_layout(root).model)


def _holds_model(folder: Path) -> bool:
    """Tell whether there is something in a folder that could be a model, be it one that is refused."""
    named = any((folder / name).is_file() for name in ("config.json", "modules.json", "adapter_config.json"))
    return named or any(folder.glob("*.safetensors"))


source = LocalSource()
