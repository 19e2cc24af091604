"""State on disk: by parameter path, in no device's shape, written by Orbax while training goes on."""

import errno
import logging
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from jax.tree_util import tree_leaves_with_path, tree_map_with_path
from orbax.checkpoint import checkpoint_managers as policies

from research.allocator import give_back
from research.errors import EnvironmentFault, LineageError, UsageError
from research.models.account import name
from research.training import seal, written
from research.training.plain import plain

logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax tells its steps there, and every fault twice

BEST = {"get_metric_fn": lambda scores: scores["score"], "n": 1, "keep_checkpoints_without_metrics": False}


def by_path(tree: Any) -> dict[str, Any]:
    """{'model/blocks/mlp/expand/kernel': array, …}: readable, and blind to the library that made the tree."""
    return {name(path): leaf for path, leaf in tree_leaves_with_path(tree)}


def refill(tree: Any, leaves: dict[str, Any]) -> Any:
    """`tree` with its leaves taken from `leaves` by path."""
    return tree_map_with_path(lambda path, _: leaves[name(path)], tree)


class Checkpoints:
    """The checkpoints of one run, in `directory`/STEP.

    There stay the last `keep`, those whose step is a multiple of `keep_every`, and the one saved with the
    best score. One at a time is being written, and sealed before it takes its name.
    """

    def __init__(self, directory: Path, keep: int, keep_every: int = 0):
        self._directory = directory
        self._saving: tuple[int, dict[str, tuple[int, ...]]] | None = None  # the step, and what it is to hold
        self._opened = ExitStack()
        kept = [policies.LatestN(keep), policies.BestN(**BEST)]
        kept += [policies.EveryNSteps(keep_every)] if keep_every else []
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.AnyPreservationPolicy(kept),
            best_fn=BEST["get_metric_fn"],  # without one Orbax keeps no scores
            async_options=ocp.AsyncOptions(post_finalization_callback=self._seal),
        )
        with _told(directory):
            directory.mkdir(parents=True, exist_ok=True)
            path = self._opened.enter_context(plain(directory))
            self._manager = ocp.CheckpointManager(
                path, options=options, item_handlers=ocp.StandardCheckpointHandler()
            )

    def latest(self) -> int | None:
        return self._manager.latest_step()

    def save(self, step: int, state: Any, score: float | None = None) -> None:
        """Copies `state` and returns; the writing goes on behind. A step that is there is left alone.

        The higher the `score`, the better; without one a checkpoint is never the best.
        """
        if step in self._manager.all_steps():
            return
        leaves = by_path(state)
        with _told(self._directory):
            self._manager.wait_until_finished()  # the one before
            see_to_space(self._directory, state)
            metrics = None if score is None else {"score": score}
            self._saving = step, {name: _shape(leaf) for name, leaf in leaves.items()}
            self._manager.save(step, args=ocp.args.StandardSave(leaves), metrics=metrics, force=True)

    def _seal(self) -> None:
        """Called by Orbax in the first process when all files are written and the name is not yet given.

        Raises EnvironmentFault where they could not be restored; that name is then not given.
        """
        step, declared = self._saving
        for unfinished in self._directory.glob(f"{step}{seal.UNFINISHED.removeprefix('*')}"):
            with plain(unfinished) as checkpoint:
                lacking = written.lacking(checkpoint, declared)
            if lacking:
                raise EnvironmentFault(
                    f"{self._directory}: checkpoint {step} is not saved, it could not be restored: "
                    f"{lacking}; earlier checkpoints are intact"
                )
            seal.seal(unfinished)
        give_back()

    def restore(self, step: int, abstract: Any, layout: Any) -> Any:
        """As the function of that name, of the checkpoint at `step`."""
        return restore(self._directory / str(step), abstract, layout)

    def wait(self) -> None:
        """Until all that was saved is on disk."""
        with _told(self._directory):
            self._manager.wait_until_finished()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        with self._opened:
            self.wait()
            self._manager.close()


def see_to_space(directory: Path, state: Any) -> None:
    """Raises EnvironmentFault where a checkpoint of a state, or of its shapes, would fill the disk.

    In the middle of a write that leaves a torn directory, so it is asked before.
    """
    needed = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise EnvironmentFault(
            f"{directory}: the disk is full: a checkpoint takes {needed / 1e6:.1f} MB, "
            f"{free / 1e6:.1f} MB are free; earlier checkpoints are intact"
        )


def restore(checkpoint: Path, abstract: Any, layout: Any) -> Any:
    """A state of `abstract`'s structure on the shardings of `layout`, whatever it was written from.

    Nothing is written. Raises as `compare` does.
    """
    compare(checkpoint, abstract)
    leaves = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        by_path(abstract),
        by_path(layout),
    )
    with (
        _told(checkpoint),
        plain(checkpoint) as path,
        ocp.Checkpointer(ocp.StandardCheckpointHandler()) as reader,
    ):
        restored = reader.restore(path / written.ITEM, args=ocp.args.StandardRestore(leaves))
    return refill(abstract, restored)


def compare(checkpoint: Path, abstract: Any) -> None:
    """Raises UsageError where a checkpoint's arrays have other names or shapes than `abstract`'s."""
    with _told(checkpoint), plain(checkpoint) as path:
        found = {name: tuple(array.shape) for name, array in written.metadata(path).items()}
    told = written.differences(found, {name: _shape(leaf) for name, leaf in by_path(abstract).items()})
    if told:
        more = f", and {len(told) - 3} more" if len(told) > 3 else ""
        raise UsageError(f"{checkpoint}: not a state of this declaration: {', '.join(told[:3])}{more}")


def _shape(leaf: jax.ShapeDtypeStruct) -> tuple[int, ...]:
    """As it is on disk: a key as its numbers."""
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.eval_shape(jax.random.key_data, leaf).shape
    return leaf.shape


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
