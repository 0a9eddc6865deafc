from __future__ import annotations

import dataclasses
import json

import pytest
import torch
import yaml

from expertise_graph.errors import InvalidInputError, NotFoundError
from expertise_graph.warmstart.checkpoint import Checkpoints, State, restore, trained_tensors
from expertise_graph.warmstart.config import TrainConfig
from expertise_graph.warmstart.folder import claim, discard
from expertise_graph.warmstart.inputs import Inputs
from expertise_graph.warmstart.loop import train
from expertise_graph.warmstart.optimizer import Classifier
from expertise_graph.warmstart.output import load_model
from tests.warmstart.material import CYRILLIC, Pooled, backbone, expert, letters
