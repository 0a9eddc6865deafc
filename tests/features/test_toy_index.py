"""A vector index is one class that is registered: it finds the same neighbours as the one used by default."""

import numpy as np
import pytest

from expertise_graph import NotFoundError, Workspace
from expertise_graph.core import InvalidInputError
from expertise_graph.features import normalise, probe_sets, vector_indexes
from expertise_graph.registry.neighbours import Neighbourhood


class ListIndex:
    """Compares with every vector, one after the other; saved as an archive of arrays."""

    searches = 0

    def __init__(self, dim):
        self.dim, self.generation, self.vectors = dim, 0, {}

    def __len__(self):
        return len(self.vectors)

    @property
    def last(self):
        return max(self.vectors, default=-1)

    def add(self, ids, vectors):
        self.vectors |= dict(zip(ids, normalise(vectors), strict=True))

    def keep(self, ids):
        self.vectors = {i: v for i, v in self.vectors.items() if i in set(ids)}

    def cosines(self, vector, ids):
        unit = normalise(np.asarray(vector)[None])[0]
        return np.array([self.vectors[i] @ unit for i in ids], dtype=np.float32)

    def search(self, vector, k):
        ListIndex.searches += 1
        ids = list(self.vectors)
        found = zip(ids, self.cosines(vector, ids).tolist(), strict=True)
        return sorted(found, key=lambda pair: (-pair[1], pair[0]))[:k]

    def save(self, path, key=""):
        with path.open("wb") as file:
            np.savez(
                file,
                dim=self.dim,
                generation=self.generation,
                ids=list(self.vectors),
                vectors=list(self.vectors.values()),
            )

    @classmethod
    def load(cls, path, key_of=lambda generation: ""):
        try:
            with np.load(path, allow_pickle=False) as saved:
                index = cls(int(saved["dim"]))
                index.generation = int(saved["generation"])
                index.add(saved["ids"].tolist(), saved["vectors"])
        except (OSError, ValueError, KeyError) as error:
            raise InvalidInputError(f"{path} is damaged") from error
        return index


@pytest.fixture
def list_index():
    vector_indexes.register("list", ListIndex)
    yield ListIndex
    del vector_indexes._entries["list"]


def nearest(opened):
    """Search the index for the neighbours of each expert, though they are stored."""
    near = Neighbourhood(opened.store, probe_sets.current(opened.store, "image").id)
    return {e.id: near.nearest(e.id, 20) for e in opened.experts("image")}


def test_a_registered_index_finds_the_neighbours(workspace, list_index):
    with Workspace(workspace) as opened:
        expected = nearest(opened)
        with pytest.raises(NotFoundError, match="no index called 'lisst'; there are: faiss, list"):
            opened.use_index("lisst")
        opened.use_index("list")
    before = list_index.searches
    with Workspace(workspace) as opened:
        found = nearest(opened)
    assert list_index.searches == before + len(expected)
    assert found == expected
    assert list((workspace / "embeddings" / "index").glob("*.list"))
