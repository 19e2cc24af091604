"""Reading runs whose checkpoints were written before their arrays got other names.

By their files alone, with none of Lineage's code, so that what any version wrote can be read.
"""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.tree_util import tree_leaves_with_path
from numpy.typing import NDArray

logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax misses a file there that a part never has

RENAMED = {  # a segment of an array's path: then → now
    "moments": "opt_state",
    "average": "ema_params",
    "answers": "task_head",
    "marks": "special_embeddings",
}
TIMES = {"seconds", "tokens_per_second"}


def renamed(path: str) -> str:
    """'average/answers/kernel' → 'ema_params/task_head/kernel'; a path of today stays as it is."""
    return "/".join(RENAMED.get(segment, segment) for segment in path.split("/"))


def arrays(run: Path, step: int) -> dict[str, NDArray]:
    """Every array of a checkpoint, by the path under which it lies there; a random key as its numbers."""
    checkpoint = run.absolute() / "checkpoints" / str(step) / "default"
    with ocp.PyTreeCheckpointer() as checkpointer:
        tree = checkpointer.metadata(checkpoint).item_metadata.tree
        plain = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        found = checkpointer.restore(checkpoint, args=ocp.args.PyTreeRestore(restore_args=plain))
    return {_path(keys): _numbers(leaf) for keys, leaf in tree_leaves_with_path(found)}


def rows(run: Path, after: int = -1) -> list[dict[str, Any]]:
    """Those of metrics.jsonl for the steps past `after`, without what a clock decides."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    kept = (row for row in map(json.loads, lines) if row["step"] > after)
    return [{key: value for key, value in row.items() if key not in TIMES} for row in kept]


def digest(array: NDArray) -> str:
    """SHA-256 of an array's type, shape and bytes."""
    head = f"{array.dtype.name}{list(array.shape)}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(array).tobytes()).hexdigest()


def statistics(array: NDArray) -> dict[str, float]:
    """Its sum and its Euclidean norm, added up in float64."""
    wide = array.astype(np.float64)
    found = {"sum": wide.sum(), "norm": np.sqrt((wide * wide).sum())}
    return {name: float(f"{value:.9g}") for name, value in found.items()}


def _path(keys: tuple) -> str:
    """Segments with slashes between them, whether a checkpoint nests its arrays or not."""
    return "/".join(str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", key)))) for key in keys)


def _numbers(leaf: Any) -> NDArray:
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
