"""Checks the arrays that Orbax wrote from metadata, without reading arrays."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import orbax.checkpoint as ocp
import tensorstore
from etils import epath

ITEM = "default"  # Orbax's name for a checkpoint's only tree
ZARR = ".zarray"  # beside an array's parts: its shape and that of a part
Shape = tuple[int, ...]


def metadata(checkpoint: Path) -> dict:
    """{name: Orbax's metadata} of the arrays in a checkpoint, whose path is plain."""
    return ocp.StandardCheckpointHandler().metadata(epath.Path(checkpoint / ITEM)).tree


def differences(written: Mapping[str, Shape], declared: Mapping[str, Shape]) -> list[str]:
    """Differences in names and shapes between the arrays `written` and `declared`, one phrase each."""
    found = [f"{name} is not in it" for name in declared.keys() - written.keys()]
    found += [f"{name} is not declared" for name in written.keys() - declared.keys()]
    found += [
        f"{name} is {written[name]}, declared {declared[name]}"
        for name in declared.keys() & written.keys()
        if written[name] != declared[name]
    ]
    return sorted(found)


def find_missing(checkpoint: Path, declared: Mapping[str, Shape]) -> str | None:
    """Why arrays of these names and shapes could not be restored from a checkpoint; None if they could.

    It checks the names, the number of each array's parts, and that the files with the parts exist and are
    long enough.
    """
    try:
        entries = dict(_entries(checkpoint / ITEM))
        # Check before Orbax reads: if one of several reads fails, Orbax leaves the others on a closed event
        # loop.
        for name in sorted(declared):
            if f"{name}/{ZARR}" not in entries:
                return f"{name} is not in it"
        arrays = metadata(checkpoint)
    except (
        ValueError,
        KeyError,
        FileNotFoundError,
    ) as error:  # raised by Orbax and TensorStore for missing parts
        return " ".join(str(error).split())[:200]
    if found := differences({name: tuple(array.shape) for name, array in arrays.items()}, declared):
        return found[0]
    parts = Counter(key.rpartition("/")[0] for key in entries if not key.endswith(f"/{ZARR}"))
    for name, array in arrays.items():
        pairs = zip(array.shape, array.storage.chunk_shape, strict=True)
        expected = math.prod(-(-size // part) for size, part in pairs)
        if parts[name] != expected:
            return f"{name} has {parts[name]} of {expected} parts"
    ends: dict[str, int] = {}
    for place in entries.values():
        if place is not None:
            ends[place[0]] = max(ends.get(place[0], 0), place[1])
    for file, end in ends.items():
        path = checkpoint / ITEM / file
        size = path.stat().st_size if path.exists() else 0
        if size < end:
            return f"{file} has {size} bytes of {end}"
    return None


def _entries(arrays: Path) -> Iterator[tuple[str, tuple[str, int] | None]]:
    """(key, (file, offset at which the value ends)) of TensorStore's database; None for a value kept in the
    key's own node."""
    store = tensorstore.KvStore.open({"driver": "file", "path": f"{arrays}/"}).result()
    nodes = [("", tensorstore.ocdbt.dump(store).result()["versions"][-1]["root"]["location"])]
    while nodes:
        prefix, location = nodes.pop()
        for entry in tensorstore.ocdbt.dump(store, node=location).result()["entries"]:
            if "location" in entry:  # of a node below
                nodes.append((prefix + entry.get("subtree_common_prefix", b"").decode(), entry["location"]))
            else:
                yield prefix + entry["key"].decode(), _place(entry.get("indirect_value"))


def _place(value: str | None) -> tuple[str, int] | None:
    """Parses `value:ocdbt.process_0/:d/87ab…:0:369683`."""
    if value is None:
        return None
    _, folder, file, offset, length = value.split(":")
    return folder + file, int(offset) + int(length)
