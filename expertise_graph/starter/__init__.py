"""What comes with the package: small experts, probe sets, example tasks, recipes for published networks."""

from typing import TYPE_CHECKING

from expertise_graph.core.door import door

if TYPE_CHECKING:
    from expertise_graph.starter.contents import (
        catalogue_folder,
        fine_tunes,
        probe_files,
        shipped,
        shipped_for,
        task_archives,
    )
    from expertise_graph.starter.published import PUBLISHED, Published, package_root

__getattr__, __dir__, __all__ = door(__name__)
