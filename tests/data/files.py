"""Real files for the tests of this folder."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image


def picture(seed: int, *, size: tuple[int, int] = (12, 10), mode: str = "RGB") -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).convert(mode)


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    picture(seed).save(buffer, format="PNG")
    return buffer.getvalue()


def image_folder(root: Path, counts: dict[str, int], *, seed: int = 0) -> Path:
    number = seed
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            picture(number).save(root / name / f"{i}.png")
            number += 1
    return root


def text_csv(path: Path, rows: list[tuple[str, object]], header: str = "text,label") -> Path:
    lines = [header, *(f'"{text}",{label}' for text, label in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def save_to_disk(folder: Path, table: pa.Table, features: dict[str, object], *, shards: int = 1) -> Path:
    """Write what `datasets` 5.2 writes for `Dataset.save_to_disk`."""
    folder.mkdir(parents=True)
    metadata = json.dumps({"info": {"features": features}, "fingerprint": "a3baa928f8edb6ac"})
    table = table.replace_schema_metadata({"huggingface": metadata})
    names = [f"data-{i:05d}-of-{shards:05d}.arrow" for i in range(shards)]
    size = -(-table.num_rows // shards)
    for i, name in enumerate(names):
        with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table.slice(i * size, size))
    info = {"citation": "", "description": "", "features": features, "homepage": "", "license": ""}
    (folder / "dataset_info.json").write_text(json.dumps(info, indent=2), encoding="utf-8")
    state = {
        "_data_files": [{"filename": name} for name in names],
        "_fingerprint": "a3baa928f8edb6ac",
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }
    (folder / "state.json").write_text(json.dumps(state, indent=2, sort_keys=True), encoding="utf-8")
    return folder


def image_table(labels: list[int], *, seed: int = 0) -> pa.Table:
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [{"bytes": png(seed + i), "path": None} for i in range(len(labels))]
    return pa.table({"image": pa.array(rows, image), "label": pa.array(labels, pa.int64())})


IMAGE_FEATURES: dict[str, object] = {
    "image": {"_type": "Image"},
    "label": {"names": ["cat", "dog"], "_type": "ClassLabel"},
}
