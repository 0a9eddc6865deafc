"""Latency of real experts: measured once, kept for the machine, and absent where nothing runs."""

import dataclasses
import shutil
import statistics
import time

import pytest
import torch

from expertise_graph.core.errors import InvalidInputError, NotFoundError, SourceError
from expertise_graph.core.types import METADATA
from expertise_graph.data.dataset import Inputs
from expertise_graph.data.modalities.base import known_modalities
from expertise_graph.data.probe_sets import read_probe_set
from expertise_graph.features import running
from expertise_graph.features.latency import Meter, measure, typical
from expertise_graph.features.probing import Prober
from expertise_graph.features.running import machine
from expertise_graph.models.base import SourceOptions
from expertise_graph.models.loading import load, resolve
from expertise_graph.starter.contents import probe_files
from expertise_graph.store.store import Store
from tests import materials
from tests.nodes import expert


@pytest.fixture
def store(tmp_path):
    opened = Store(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def prober(store):
    return Prober(arrays=store.features)


@pytest.fixture(scope="module")
def probes():
    files = [read_probe_set(f) for f in probe_files()]
    return {
        f.probe_set.modality: Inputs(items=f.items, modality=f.probe_set.modality, sha256=f.probe_set.id)
        for f in files
    }


def zoo(name):
    return resolve(f"zoo:{name}", SourceOptions())


@pytest.mark.parametrize("name", ["latin-letters", "languages"])
def test_it_is_the_time_of_one_input_through_preprocessing_and_network(store, prober, probes, name):
    node = zoo(name)
    inputs = probes[node.modality]
    found = measure(store, prober, node, probes=inputs, repeats=15)
    backbone = load(node)
    item, taken = known_modalities[node.modality].decode(typical(inputs)), []
    with torch.inference_mode():
        for _ in range(20):
            start = time.perf_counter()
            backbone.module(**backbone.collate([item]))
            taken.append(1000 * (time.perf_counter() - start))
    assert 1 / 3 < found / statistics.median(taken) < 3


def test_what_was_measured_is_read_back_while_weights_and_machine_stay(store, prober, probes, tmp_path):
    folder = materials.starter("digits-in-fonts", tmp_path)
    node = resolve(f"dir:{folder}", SourceOptions())
    first = measure(store, prober, node, probes=probes["image"])
    shutil.rmtree(folder)
    again = measure(
        store,
        Prober(arrays=store.features),
        dataclasses.replace(node, name="renamed"),
        probes=probes["image"],
    )
    assert again == first
    with pytest.raises(NotFoundError, match="no folder at"):
        measure(
            store,
            Prober(arrays=store.features),
            dataclasses.replace(node, preprocessing_sha="other"),
            probes=probes["image"],
        )


def test_a_new_measurement_replaces_the_old_one_of_the_same_machine(store):
    node = expert("a")
    assert store.latency(node, "m") is None
    store.put_latency(node, "m", 4.0)
    store.put_latency(node, "m", 3.0)
    store.put_latency(node, "other", 9.0)
    assert (store.latency(node, "m"), store.latency(node, "other")) == (3.0, 9.0)
    assert store.latency(expert("b"), "m") is None


def test_a_larger_input_of_the_same_network_takes_longer(store, prober, probes, tmp_path):
    small, large = (materials.resnet(tmp_path / name, 0) for name in ("small", "large"))
    materials.change_json(large / "preprocessor_config.json", size={"height": 384, "width": 384})
    taken = [
        measure(store, prober, resolve(f"dir:{f}", SourceOptions()), probes=probes["image"])
        for f in (small, large)
    ]
    assert taken[1] > 2 * taken[0]


def test_an_expert_that_cannot_be_run_has_no_latency_and_a_reason(store, prober, probes, tmp_path):
    folder = materials.starter("emoji", tmp_path)
    node = resolve(f"dir:{folder}", SourceOptions())
    shutil.rmtree(folder)
    named = expert("known", source=METADATA)
    meter = Meter(store=store, prober=prober, probes=probes["image"])
    assert (meter(node), meter(named)) == (None, None)
    assert meter.unusable[node.id].startswith("the latency of emoji was not measured: no folder at")
    assert "imported metadata only" in meter.unusable[named.id]
    assert store.latency(node, machine()) is None
    good = zoo("emoji")
    found = meter(good)
    assert found == store.latency(good, machine())
    assert found > 0
    assert good.id not in meter.unusable


def test_an_expert_that_fails_on_an_input_is_named_in_one_line(store, prober):
    """A tokenizer raises whatever it raises on half of a character."""
    halves = Inputs(items=("\ud800",), modality="text", sha256="probe:halves")
    with pytest.raises(SourceError, match="languages failed: TypeError: ") as caught:
        measure(store, prober, zoo("languages"), probes=halves)
    assert "\n" not in str(caught.value)


def test_fewer_than_five_repeats_are_refused(store, prober, probes):
    with pytest.raises(InvalidInputError, match="repeats is 4"):
        measure(store, prober, zoo("emoji"), probes=probes["image"], repeats=4)


def test_the_typical_text_is_of_median_length():
    texts = Inputs(items=("a", "a b c d e", "a b"), modality="text", sha256="x")
    assert typical(texts) == "a b"
    assert typical(Inputs(items=(b"1", b"22"), modality="image", sha256="x")) == b"1"


def test_the_machine_is_another_with_another_torch_processor_or_number_of_threads(monkeypatch):
    here = machine()
    assert machine() == here
    assert len(here) == 16
    found = {here}
    monkeypatch.setattr(running.torch, "__version__", "1.0")
    found.add(machine())
    monkeypatch.setattr(running, "processor", lambda: "another one")
    found.add(machine())
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    found.add(machine())
    torch.set_num_threads(threads)
    assert len(found) == 4
