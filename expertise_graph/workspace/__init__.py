"""The verbs of the package on one workspace: register, similar, query, warm_start and the rest."""

from expertise_graph.workspace.checking import Checking
from expertise_graph.workspace.imports import Importing
from expertise_graph.workspace.querying import draw_sample
from expertise_graph.workspace.training import Training


class Workspace(Training, Checking, Importing):
    """A folder with a registry.db and its embeddings/.

    Args:
        path: the folder; by default $EXPERTISE_GRAPH_HOME, else the nearest folder from the
            current one upwards that holds a registry.db.
        progress: told what is being run, and how far it is.

    Raises:
        NotFoundError: when there is no registry.db.
        StoreError: when it cannot be opened.
    """


__all__ = ["Workspace", "draw_sample"]
