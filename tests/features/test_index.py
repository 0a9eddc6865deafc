"""Both indexes against a plain comparison with every vector."""

import hashlib
import hmac
import json

import numpy as np
import pytest

from expertise_graph.core.errors import InvalidInputError
from expertise_graph.features.index import ExactIndex, FaissIndex, normalise

DIM = 12
INDEXES = [ExactIndex, FaissIndex]


def material(seed, n, dim=DIM):
    """Ids in no order, and vectors of very different lengths."""
    rng = np.random.default_rng(seed)
    lengths = np.exp(rng.normal(scale=3, size=(n, 1)))
    return rng.permutation(10 * n)[:n].tolist(), rng.normal(size=(n, dim)) * lengths


def brute_force(held, query, k):
    """Cosines in float64 of a dictionary of vectors, nearest first, ties by id."""
    pairs = [(i, v @ query / np.linalg.norm(v) / np.linalg.norm(query)) for i, v in held.items()]
    return sorted(pairs, key=lambda pair: (-pair[1], pair[0]))[:k]


def assert_same(found, expected):
    assert [i for i, _ in found] == [i for i, _ in expected]
    np.testing.assert_allclose([c for _, c in found], [c for _, c in expected], atol=1e-6)


def assert_holds(index, held, seed=99):
    assert len(index) == len(held)
    for query in 100 * np.random.default_rng(seed).normal(size=(4, DIM)):
        for k in (1, 5, len(held) + 7):
            assert_same(index.search(query, k), brute_force(held, query, k))


@pytest.mark.parametrize("kind", INDEXES)
def test_search_is_exact_after_add_and_remove(kind):
    ids, vectors = material(0, 60)
    held, index = dict(zip(ids, vectors, strict=True)), kind(DIM)
    index.add(ids[:40], vectors[:40])
    assert_holds(index, {i: held[i] for i in ids[:40]})
    index.add(ids[40:], vectors[40:])
    assert_holds(index, held)
    index.remove([*ids[::3], 999_999])
    left = {i: v for i, v in held.items() if i not in ids[::3]}
    assert_holds(index, left)
    index.add(ids[:1], vectors[:1] * 5)
    assert_holds(index, {**left, ids[0]: vectors[0]})


@pytest.mark.parametrize("kind", INDEXES)
def test_nothing_is_found_in_an_empty_index(kind):
    index = kind(DIM)
    assert index.search(np.ones(DIM), 3) == []
    index.remove([1, 2])
    index.add([], np.zeros((0, DIM)))
    index.add([4], np.ones((1, DIM)))
    index.remove([4])
    assert (len(index), index.search(np.ones(DIM), 3)) == (0, [])


@pytest.mark.parametrize("kind", INDEXES)
def test_equal_cosines_come_by_id_even_where_k_cuts_them(kind):
    rng = np.random.default_rng(1)
    vector, other = rng.normal(size=(2, DIM))
    ids = rng.permutation(50).tolist()
    index = kind(DIM)
    index.add(ids, np.stack([vector if i % 2 else other for i in ids]))
    odd, even = list(range(1, 50, 2)), list(range(0, 50, 2))
    for k in (1, 3, 25, 30, 50):
        assert [i for i, _ in index.search(vector, k)] == (odd + even)[:k]


@pytest.mark.parametrize("kind", INDEXES)
def test_fewer_than_one_neighbour_is_none(kind):
    index = kind(DIM)
    index.add(*material(2, 5))
    assert index.search(np.ones(DIM), 0) == index.search(np.ones(DIM), -2) == []


@pytest.mark.parametrize("kind", INDEXES)
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_lengths_far_from_one_do_not_matter(kind, scale):
    ids, vectors = material(3, 20)
    index = kind(DIM)
    index.add(ids, (vectors * scale).astype(np.float32))
    query = np.random.default_rng(3).normal(size=DIM)
    expected = brute_force(dict(zip(ids, vectors, strict=True)), query, 20)
    assert_same(index.search((query * scale).astype(np.float32), 20), expected)


@pytest.mark.parametrize("kind", INDEXES)
@pytest.mark.parametrize(
    ("ids", "vectors", "says"),
    [
        ([7], np.ones((1, DIM)), "already"),
        ([1, 1], np.ones((2, DIM)), "twice"),
        ([-1], np.ones((1, DIM)), "negative"),
        ([1], np.full((1, DIM), np.nan), "NaN"),
        ([1], np.full((1, DIM), np.inf), "infinity"),
        ([1, 2], np.eye(2, DIM) * [[1], [0]], "zero vector"),
        ([1], np.ones((1, DIM + 1)), str(DIM + 1)),
        ([1, 2], np.ones((1, DIM)), "2 ids"),
        ([1], np.ones(DIM), "shape"),
    ],
)
def test_what_would_spoil_the_index_is_refused_and_nothing_added(kind, ids, vectors, says):
    index = kind(DIM)
    index.add([7], np.ones((1, DIM)))
    with pytest.raises(InvalidInputError, match=says):
        index.add(ids, vectors)
    assert_holds(index, {7: np.ones(DIM)})


@pytest.mark.parametrize("kind", INDEXES)
@pytest.mark.parametrize("query", [np.ones(DIM - 1), np.ones((1, DIM)), np.zeros(DIM), np.full(DIM, np.nan)])
def test_queries_that_have_no_direction_are_refused(kind, query):
    index = kind(DIM)
    index.add(*material(4, 5))
    with pytest.raises(InvalidInputError):
        index.search(query, 2)


def test_normalise_leaves_its_input_alone():
    vectors = np.array([[3.0, 4.0], [0.0, -2.0]])
    np.testing.assert_allclose(normalise(vectors), [[0.6, 0.8], [0.0, -1.0]], atol=1e-7)
    np.testing.assert_array_equal(vectors, [[3.0, 4.0], [0.0, -2.0]])


def test_only_what_is_to_be_kept_is_left():
    ids, vectors = material(5, 40)
    index = FaissIndex(DIM)
    assert index.last == -1
    index.add(ids, vectors)
    assert index.last == max(ids)
    index.keep([*ids[10:], max(ids) + 1])
    assert_holds(index, dict(zip(ids[10:], vectors[10:], strict=True)))
    index.keep([])
    assert_holds(index, {})


def test_cosines_with_some_vectors_are_those_of_their_directions():
    ids, vectors = material(5, 40)
    index = FaissIndex(DIM)
    index.add(ids, vectors)
    query = 7 * vectors[3] + vectors[4]
    chosen = [ids[9], ids[0], ids[3]]
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = units[[9, 0, 3]] @ query / np.linalg.norm(query)
    np.testing.assert_allclose(index.cosines(query, chosen), expected, atol=1e-6)
    assert index.cosines(query, []).shape == (0,)


def test_a_saved_index_answers_as_before(tmp_path):
    ids, vectors = material(6, 50)
    index, path = FaissIndex(DIM), tmp_path / "deep" / "zoo.faiss"
    index.add(ids, vectors)
    index.generation = 12
    index.save(path)
    again = FaissIndex.load(path)
    assert again.generation == 12
    assert_holds(again, dict(zip(ids, vectors, strict=True)))
    again.remove(ids[:5])
    again.save(path)
    assert_holds(FaissIndex.load(path), dict(zip(ids[5:], vectors[5:], strict=True)))
    assert sorted(p.name for p in path.parent.iterdir()) == ["zoo.faiss", "zoo.faiss.json"]


def damaged(data, rng):
    """Truncations, and 25 single flipped bits."""
    for length in (0, 1, len(data) // 2, len(data) - 1):
        yield data[:length]
    for bit in rng.choice(8 * len(data), size=25, replace=False):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << (bit % 8)
        yield bytes(flipped)


@pytest.mark.parametrize("name", ["zoo.faiss", "zoo.faiss.json"])
@pytest.mark.parametrize("count", [30, 260])
def test_every_damage_is_noticed(tmp_path, name, count):
    index, path = FaissIndex(DIM, exact_below=200), tmp_path / "zoo.faiss"
    index.add(*material(7, count))
    index.save(path)
    whole = (tmp_path / name).read_bytes()
    for data in damaged(whole, np.random.default_rng(count)):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InvalidInputError, match=r"zoo\.faiss"):
            FaissIndex.load(path)
    (tmp_path / name).write_bytes(whole)
    assert len(FaissIndex.load(path)) == count


def test_every_bit_of_the_side_car_counts(tmp_path):
    path = tmp_path / "zoo.faiss"
    index = FaissIndex(DIM)
    index.add(*material(8, 9))
    index.generation = 3
    index.save(path)
    side_car = tmp_path / "zoo.faiss.json"
    whole = side_car.read_bytes()
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << (bit % 8)
        side_car.write_bytes(flipped)
        with pytest.raises(InvalidInputError):
            FaissIndex.load(path)


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    path = tmp_path / "zoo.faiss"
    with pytest.raises(InvalidInputError, match="side-car"):
        FaissIndex.load(path)
    index = FaissIndex(DIM)
    index.add(*material(9, 9))
    index.save(path)
    side_car = json.loads((tmp_path / "zoo.faiss.json").read_text())
    for name, said in (("dim", "dimension"), ("count", "number of vectors"), ("generation", "checksum")):
        (tmp_path / "zoo.faiss.json").write_text(json.dumps({**side_car, name: side_car[name] + 1}))
        with pytest.raises(InvalidInputError, match=said):
            FaissIndex.load(path)
    for other in ([], {"format": 99}, "text", None):
        (tmp_path / "zoo.faiss.json").write_text(json.dumps(other))
        with pytest.raises(InvalidInputError, match=r"another format|an object is expected"):
            FaissIndex.load(path)


def test_an_index_is_read_with_the_key_of_its_generation_only(tmp_path):
    """What is sealed again by somebody else, or by another registry, never reaches FAISS."""
    path, index = tmp_path / "zoo.faiss", FaissIndex(DIM)
    index.add(*material(9, 9))
    index.generation = 4
    index.save(path, "secret")
    assert len(FaissIndex.load(path, {4: "secret"}.get)) == 9
    for keys, said in (({}, "not of this registry"), ({4: "other"}, "checksum"), ({4: ""}, "checksum")):
        with pytest.raises(InvalidInputError, match=said):
            FaissIndex.load(path, keys.get)
    index.save(path, "forged")
    with pytest.raises(InvalidInputError, match="checksum"):
        FaissIndex.load(path, {4: "secret"}.get)


@pytest.mark.parametrize("garbage", [b"", b"IxFI", b"IxMp" + 64 * b"\xff", b"nothing of FAISS" * 9])
def test_garbage_with_the_right_checksum_is_one_error(tmp_path, garbage):
    path, index = tmp_path / "zoo.faiss", FaissIndex(DIM)
    index.add(*material(9, 9))
    index.save(path, "key")
    path.write_bytes(garbage)
    side_car = json.loads((tmp_path / "zoo.faiss.json").read_text())
    side_car["sha256"] = hmac.new(b"key", b"generation 0 " + garbage, hashlib.sha256).hexdigest()
    (tmp_path / "zoo.faiss.json").write_text(json.dumps(side_car))
    with pytest.raises(InvalidInputError, match=r"zoo\.faiss"):
        FaissIndex.load(path, {0: "key"}.get)


def clustered(n, dim):
    rng = np.random.default_rng(10)
    centres = rng.normal(size=(25, dim))
    return centres[np.arange(n) % 25] + 0.3 * rng.normal(size=(n, dim))


def recall(index, exact, queries):
    hits = [{i for i, _ in index.search(q, 10)} & {i for i, _ in exact.search(q, 10)} for q in queries]
    return sum(map(len, hits)) / (10 * len(queries))


def test_the_graph_index_finds_nearly_all_and_never_what_was_removed(tmp_path):
    vectors, ids = clustered(1000, 32), list(range(1000))
    index, exact = FaissIndex(32, exact_below=200), ExactIndex(32)
    index.add(ids[:150], vectors[:150])
    assert index.exact
    index.add(ids[150:], vectors[150:])
    exact.add(ids, vectors)
    assert not index.exact
    queries = clustered(1040, 32)[1000:] * 3
    assert recall(index, exact, queries) >= 0.95
    top = index.search(queries[0], 5)
    cosines = dict(exact.search(queries[0], 1000))
    np.testing.assert_allclose([c for _, c in top], [cosines[i] for i, _ in top], atol=1e-6)
    gone = set(ids[::4])
    index.remove(sorted(gone))
    exact.remove(sorted(gone))
    assert (len(index), index.exact) == (750, False)
    assert all(not gone & {i for i, _ in index.search(q, 100)} for q in queries)
    assert recall(index, exact, queries) >= 0.95
    index.save(tmp_path / "graph")
    assert recall(FaissIndex.load(tmp_path / "graph"), exact, queries) >= 0.95
    index.remove(ids[100:])
    assert index.exact
    exact.remove(ids[100:])
    assert_same(index.search(queries[0], 75), exact.search(queries[0], 75))


@pytest.mark.parametrize("seed", range(6))
def test_any_sequence_of_changes_keeps_both_indexes_equal(seed):
    rng = np.random.default_rng(seed)
    index, exact, held, fresh = FaissIndex(DIM), ExactIndex(DIM), {}, 0
    for _ in range(30):
        action = rng.choice(["add", "remove", "replace"])
        new = {fresh + j: v for j, v in enumerate(rng.normal(size=(rng.integers(1, 9), DIM)))}
        gone = [i for i in held if rng.random() < 0.3]
        if action == "add":
            index.add(list(new), np.stack(list(new.values())))
            held |= new
            fresh += len(new)
        else:
            held = {i: v for i, v in held.items() if i not in gone}
        if action == "remove":
            index.remove(gone)
        if action == "replace":
            held |= new
            fresh += len(new)
            index.keep(held)
            index.add(list(new), np.stack(list(new.values())))
        exact.remove([i for i, _ in exact.search(np.ones(DIM), len(exact)) if i not in held])
        missing = [i for i in held if i not in dict(exact.search(np.ones(DIM), len(exact)))]
        exact.add(missing, np.stack([held[i] for i in missing]) if missing else np.zeros((0, DIM)))
        query = rng.normal(size=DIM)
        assert len(index) == len(exact) == len(held)
        assert_same(index.search(query, 7), exact.search(query, 7))
        assert_same(exact.search(query, 7), brute_force(held, query, 7))
