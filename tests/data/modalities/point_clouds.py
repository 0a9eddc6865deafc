"""A toy modality in one file, as a package of its own would hold it: point clouds, JSON lists of numbers."""

import json
from pathlib import Path

import numpy as np

from expertise_graph import DatasetError
from expertise_graph.data import Inspection, Modality, read_regular

SUFFIX = ".points"


def to_bytes(item):
    return read_regular(item) if isinstance(item, Path) else item


def decode(item):
    try:
        return np.array(json.loads(to_bytes(item)), dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise DatasetError(f"a point cloud is a JSON list of numbers: {error}") from error


def raw_features(clouds):
    return np.array([[cloud.mean(), cloud.std()] for cloud in clouds], dtype=np.float32)


def compact(cloud):
    return json.dumps(cloud.tolist()).encode()


def recognises(value):
    return isinstance(value, str) and value.endswith(SUFFIX)


class CloudInspection(Inspection):
    """Tells how many points there are, and finds single points and clouds of the same points."""

    compared_by = "points"

    def __init__(self):
        super().__init__()
        self.clouds = []

    def add(self, index, data, decoded):
        self.clouds.append(tuple(sorted(decoded)))

    def traits(self):
        return (f"points: {min(map(len, self.clouds))} to {max(map(len, self.clouds))}",)

    def unusual_by_kind(self):
        return {"of one point": [i for i, c in zip(self.seen, self.clouds, strict=True) if len(c) == 1]}

    def near_duplicates(self):
        first = {}
        return [
            (first.setdefault(c, i), i, 1.0)
            for i, c in zip(self.seen, self.clouds, strict=True)
            if first.setdefault(c, i) != i
        ]


CLOUD = Modality(
    name="cloud",
    plural="point clouds",
    suffixes=(SUFFIX,),
    decode=decode,
    to_bytes=to_bytes,
    raw_features=raw_features,
    compact=compact,
    column_names=("cloud", "points"),
    recognises=recognises,
    inspection=CloudInspection,
)
