"""Sharing a registry: as a folder or a repository of data, and merged into another one."""

from typing import TYPE_CHECKING

from expertise_graph.core.door import door

if TYPE_CHECKING:
    from expertise_graph.sharing.card import Draw
    from expertise_graph.sharing.folders import Pulled, Pushed, SharingOptions, merge_folder
    from expertise_graph.sharing.merge import Conflict, TableCounts
    from expertise_graph.sharing.places import is_repository, pull, push
    from expertise_graph.sharing.publishing import PublishedModel, publish
    from expertise_graph.sharing.reprobing import Reprobed, reprobe

__getattr__, __dir__, __all__ = door(__name__)
