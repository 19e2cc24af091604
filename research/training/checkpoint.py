"""State on disk: by parameter path, in no device's shape, written by Orbax while training goes on."""

import errno
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from jax.tree_util import tree_leaves_with_path, tree_map_with_path

from research.errors import EnvironmentFault, LineageError
from research.models.account import name

logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax tells its steps there, and every fault twice


def by_path(tree: Any) -> dict[str, Any]:
    """{'model/blocks/mlp/expand/kernel': array, …}: readable, and blind to the library that made the tree."""
    return {name(path): leaf for path, leaf in tree_leaves_with_path(tree)}


def refill(tree: Any, leaves: dict[str, Any]) -> Any:
    """`tree` with its leaves taken from `leaves` by path."""
    return tree_map_with_path(lambda path, _: leaves[name(path)], tree)


class Checkpoints:
    """The checkpoints of one run, in `directory`/STEP; the last `keep` stay."""

    def __init__(self, directory: Path, keep: int):
        self._directory = directory
        with _told(directory):
            self._manager = ocp.CheckpointManager(
                directory.absolute(), options=ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
            )

    def latest(self) -> int | None:
        return self._manager.latest_step()

    def save(self, step: int, state: Any) -> None:
        """Copies `state` and returns; the writing goes on behind. A step that is there is left alone."""
        if step in self._manager.all_steps():
            return
        leaves = by_path(state)
        with _told(self._directory):
            self._manager.wait_until_finished()  # the one before
            self.see_to_space(state)
            self._manager.save(step, args=ocp.args.StandardSave(leaves))

    def see_to_space(self, state: Any) -> None:
        """Raises EnvironmentFault where a checkpoint of a state, or of its shapes, would fill the disk.

        In the middle of a write that leaves a torn directory, so it is asked before.
        """
        needed = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
        free = shutil.disk_usage(self._directory).free
        if free < needed:
            raise EnvironmentFault(
                f"{self._directory}: the disk is full: a checkpoint takes {needed / 1e6:.1f} MB, "
                f"{free / 1e6:.1f} MB are free; earlier checkpoints are intact"
            )

    def restore(self, step: int, abstract: Any, layout: Any) -> Any:
        """A state of `abstract`'s structure on the shardings of `layout`, whatever it was written from."""
        leaves = jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            by_path(abstract),
            by_path(layout),
        )
        with _told(self._directory):
            return refill(abstract, self._manager.restore(step, args=ocp.args.StandardRestore(leaves)))

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        """Waits until all that was saved is on disk."""
        with _told(self._directory):
            self._manager.wait_until_finished()
            self._manager.close()


@contextmanager
def _told(directory: Path) -> Iterator[None]:
    """Turns what a file system refuses into one line; Orbax wraps it in errors of several kinds."""
    try:
        yield
    except LineageError:
        raise
    except Exception as error:
        text = f"{error} {error.__cause__}"
        if getattr(error, "errno", None) == errno.ENOSPC or "No space left" in text:
            raise EnvironmentFault(
                f"{directory}: the disk is full; earlier checkpoints are intact"
            ) from error
        if isinstance(error, OSError) or "Permission denied" in text or "Read-only file system" in text:
            raise EnvironmentFault(f"{directory}: cannot be written: {error}") from error
        raise
