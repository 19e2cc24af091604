"""Features on disk: google-research/bert's JSON lines, or one NumPy archive."""

import json
import zipfile
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import IO

import numpy as np

from research.api.features import Features, Layer
from research.errors import UsageError
from research.io.files import check_absent, new_file

SUFFIXES = (".jsonl", ".npz")


def json_line(index: int, found: Features, layers: Sequence[Layer]) -> str:
    """A line of extract_features.py: the text's number, and every token's values by layer, to 6 digits."""
    listed = [
        {
            "token": name,
            "layers": [
                {"index": layer, "values": [round(float(x), 6) for x in values]}
                for layer, values in zip(layers, of_layers, strict=True)
            ],
        }
        for name, of_layers in zip(found.names, found.states, strict=True)
    ]
    return json.dumps({"linex_index": index, "features": listed}, ensure_ascii=False)


def write(path: Path, stream: Iterable[Features], layers: Sequence[Layer], width: int) -> tuple[int, int]:
    """Write a .jsonl or .npz file, whole or not at all; returns the number of texts, and of their rows.

    An archive has `states` (rows, layers, width) of float32, `layers` as given, `starts` (texts + 1,), so
    that the rows of text n are states[starts[n] : starts[n + 1]], and of each row `names`, `ids` (the
    vocabulary's) and `words` (its word in the text, -1 for special tokens). Raises UsageError for another
    suffix and where the file exists, EnvironmentFault if it cannot be written.
    """
    check_new(path)
    with new_file(path) as file:
        if path.suffix == ".npz":
            return _write_archive(file, stream, layers, width)
        counts = []
        for index, found in enumerate(stream):
            file.write(f"{json_line(index, found, layers)}\n".encode())
            counts.append(len(found.names))
        return len(counts), sum(counts)


def check_new(path: Path) -> None:
    """Raises UsageError if `write` would for the path alone."""
    check_absent(path)
    if path.suffix not in SUFFIXES:
        raise UsageError(f"--out {path}: expected a file that ends in {' or '.join(SUFFIXES)}")


def _write_archive(
    file: IO[bytes], stream: Iterable[Features], layers: Sequence[Layer], width: int
) -> tuple[int, int]:
    """States pass through a file of their own, since their number is known at the end."""
    names, ids, words, counts = [], [], [], []
    states = Path(f"{file.name}.states")
    try:
        with open(states, "wb") as rows:
            for found in stream:
                rows.write(np.ascontiguousarray(found.states, "<f4").tobytes())
                names += found.names
                ids.append(found.ids)
                words.append(found.words)
                counts.append(len(found.names))
        shape = (sum(counts), len(layers), width)
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        with zipfile.ZipFile(file, "w") as archive:
            with archive.open("states.npy", "w", force_zip64=True) as entry, open(states, "rb") as rows:
                np.lib.format.write_array_header_1_0(entry, header)
                while piece := rows.read(1 << 24):
                    entry.write(piece)
            for name, array in (
                ("layers", np.asarray(layers)),
                ("starts", np.asarray([0, *accumulate(counts)], np.int64)),
                ("names", np.asarray(names, np.str_)),
                ("ids", np.concatenate([*ids, np.zeros(0, np.int32)])),
                ("words", np.concatenate([*words, np.zeros(0, np.int32)])),
            ):
                with archive.open(f"{name}.npy", "w") as entry:
                    np.lib.format.write_array(entry, array, allow_pickle=False)
    finally:
        states.unlink(missing_ok=True)
    return len(counts), sum(counts)
