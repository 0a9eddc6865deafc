"""Three clients fine-tune one expert together with Flower; each keeps its items.

The weights travel as Flower's arrays; head, training and accuracy are those of docs/federated.md. In this
folder ``python simulate.py`` simulates it on one machine; docs/federated.md says how ``flwr run`` does.
"""

import dataclasses
import os
import sys
import time
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MessageType, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from expertise_graph.data.dataset import LabelledData
from expertise_graph.data.reading import read_data
from expertise_graph.deltas.client import (
    ClassSums,
    accuracy_of,
    blank_head,
    class_sums,
    prototype_head,
    train_locally,
)
from expertise_graph.merging.loaded_model import LoadedModel, changed, open_expert
from expertise_graph.models import Head

DATA = Path(os.environ.get("FEDERATED_DATA", Path(__file__).parent.parent / "armenian-letters"))
EXPERT = os.environ.get("FEDERATED_EXPERT", "zoo:latin-letters")
CLIENTS, ROUNDS, EPOCHS = 3, int(os.environ.get("FEDERATED_ROUNDS", "5")), 2


def items(split: str, client: int | None = None) -> LabelledData:
    """Return the items of a split, of one client's classes if given; all classes keep their names."""
    data = read_data(str(DATA))
    rows = data.splits[split]
    labels = np.asarray(data.labels)
    if client is not None:
        rows = rows[labels[rows] % CLIENTS == client]
    chosen = tuple(data.items[i] for i in rows)
    return dataclasses.replace(data, items=chosen, labels=labels[rows], splits={})


def start() -> LoadedModel:
    """Return the expert with a head of zeros, the same at the server and at every client."""
    torch.set_num_threads(1)
    return blank_head(open_expert(EXPERT), read_data(str(DATA)).classes)


def to_arrays(model: LoadedModel) -> ArrayRecord:
    """Return network and head as Flower sends them; counters stay at home."""
    tensors = {f"backbone.{name}": tensor for name, tensor in model.weights.floating.items()}
    return ArrayRecord(OrderedDict(tensors | {f"head.{name}": t for name, t in model.head.state.items()}))


def with_arrays(model: LoadedModel, arrays: ArrayRecord) -> LoadedModel:
    """Return the model with the weights that came."""
    state = arrays.to_torch_state_dict()
    network = {k.removeprefix("backbone."): t for k, t in state.items() if k.startswith("backbone.")}
    module = model.backbone.module
    module.load_state_dict({**model.weights.all, **network})
    head = Head(weight=state["head.weight"], bias=state["head.bias"], classes=model.head.classes)
    return changed(model, module, head, items=0)


client_app = ClientApp()


@client_app.query()
def tell(message: Message, context: Context) -> Message:
    """Return the sums of the features of each class that the client has."""
    own = class_sums(open_expert(EXPERT), items("train", int(context.node_config["partition-id"])))
    arrays = ArrayRecord(OrderedDict({"sums": own.sums, "counts": own.counts}))
    return Message(content=RecordDict({"arrays": arrays}), reply_to=message)


@client_app.train()
def train(message: Message, context: Context) -> Message:
    """Train from the global weights on the client's own items."""
    config = message.content["config"]
    client = int(context.node_config["partition-id"])
    given = with_arrays(start(), message.content["arrays"])
    own = items("train", client)
    trained = train_locally(given, own, epochs=int(config["epochs"]), seed=int(config["server-round"]))
    content = RecordDict({"arrays": to_arrays(trained), "metrics": MetricRecord({"num-examples": len(own)})})
    return Message(content=content, reply_to=message)


server_app = ServerApp()


def class_means(grid: Grid, model: LoadedModel) -> LoadedModel:
    """Return the model with a head made of what all clients tell of their classes."""
    nodes = list(grid.get_node_ids())
    while len(nodes) < CLIENTS:
        time.sleep(1)
        nodes = list(grid.get_node_ids())
    questions = [Message(RecordDict(), dst_node_id=node, message_type=MessageType.QUERY) for node in nodes]
    told = [
        ClassSums(**answer.content["arrays"].to_torch_state_dict())
        for answer in grid.send_and_receive(questions)
    ]
    return prototype_head(model, model.head.classes, told)


@server_app.main()
def serve(grid: Grid, context: Context) -> None:
    """Average by the number of items for some rounds, and measure each on the test split."""
    model, test = class_means(grid, start()), items("test")

    def measure(number: int, arrays: ArrayRecord) -> MetricRecord:
        accuracy = accuracy_of(with_arrays(model, arrays), test)
        sys.stdout.write(f"round {number}: test accuracy {accuracy:.3f}\n")
        return MetricRecord({"accuracy": accuracy})

    strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=CLIENTS, min_available_nodes=CLIENTS)
    strategy.start(
        grid=grid,
        initial_arrays=to_arrays(model),
        num_rounds=ROUNDS,
        train_config=ConfigRecord({"epochs": EPOCHS}),
        evaluate_fn=measure,
    )
