"""A run's checkpoints: state by parameter path, independent of devices, written by Orbax asynchronously."""

import errno
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from numpy.typing import NDArray
from orbax.checkpoint import checkpoint_managers as policies

from research.devices.malloc import release_free_memory
from research.errors import EnvironmentFault, LineageError, UsageError
from research.io.activity import activity
from research.io.plain_path import plain_path
from research.models.parameters import by_path, refill
from research.runs.checkpoints import files as checkpoint_files
from research.runs.checkpoints import integrity
from research.runs.checkpoints.former_names import former_names

logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax logs its progress, and logs errors twice

FULL = errno.ENOSPC, errno.EDQUOT, errno.EFBIG  # TensorStore passes on only their texts
BEST = {"get_metric_fn": lambda scores: scores["score"], "n": 1, "keep_checkpoints_without_metrics": False}


class Checkpoints:
    """The checkpoints of one run, in `directory`/STEP.

    It keeps the last `keep`, those at multiples of `keep_every` and at the steps `keep_at`, and the one with
    the best score. Checkpoints are written one at a time, each with its manifest before it gets its final
    name.
    """

    def __init__(self, directory: Path, keep: int, keep_every: int = 0, keep_at: Sequence[int] = ()):
        self._directory = directory
        self._saving: tuple[int, dict[str, tuple[int, ...]]] | None = None  # step, arrays' shapes
        self._opened = ExitStack()
        kept = [policies.LatestN(keep), policies.BestN(**BEST), policies.CustomSteps(keep_at)]
        kept += [policies.EveryNSteps(keep_every)] if keep_every else []
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.AnyPreservationPolicy(kept),
            best_fn=BEST["get_metric_fn"],  # without this Orbax keeps no scores
            async_options=ocp.AsyncOptions(post_finalization_callback=self._before_commit),
        )
        with _io_errors(directory):
            directory.mkdir(parents=True, exist_ok=True)
            path = self._opened.enter_context(plain_path(directory))
            self._manager = ocp.CheckpointManager(
                path, options=options, item_handlers=ocp.StandardCheckpointHandler()
            )

    def latest(self) -> int | None:
        return self._manager.latest_step()

    def save(self, step: int, state: Any, score: float | None = None) -> None:
        """Copies `state` and returns while the copy is being written. Existing steps are left alone.

        A higher `score` is better; a checkpoint without a score is never the best.
        """
        if step in self._manager.all_steps():
            return
        leaves = by_path(state)
        with _io_errors(self._directory):
            self._manager.wait_until_finished()  # for the save before
            check_disk_space(self._directory, state)
            metrics = None if score is None else {"score": score}
            self._saving = step, {name: _shape(leaf) for name, leaf in leaves.items()}
            self._manager.save(step, args=ocp.args.StandardSave(leaves), metrics=metrics, force=True)

    def _before_commit(self) -> None:
        """Orbax calls this in the first process once all files are written, before it gives the final name.

        Raises EnvironmentFault, which prevents that name, if the files could not be restored.
        """
        assert self._saving is not None  # `save` has set it
        step, declared = self._saving
        for unfinished in self._directory.glob(f"{step}{integrity.UNFINISHED.removeprefix('*')}"):
            with plain_path(unfinished) as checkpoint:
                missing = checkpoint_files.find_missing(checkpoint, declared)
            if missing:
                raise EnvironmentFault(
                    f"{self._directory}: checkpoint {step} is not saved, it could not be restored: "
                    f"{missing}; earlier checkpoints are intact"
                )
            integrity.write_manifest(unfinished)
        release_free_memory()

    def restore(self, step: int, abstract: Any, layout: Any) -> Any:
        """`restore` from the checkpoint at `step`."""
        return restore(self._directory / str(step), abstract, layout)

    def wait(self) -> None:
        """Waits until every save is on disk."""
        with _io_errors(self._directory):
            self._manager.wait_until_finished()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        with self._opened, activity("saving the checkpoint"):
            self.wait()
            self._manager.close()


def check_disk_space(directory: Path, state: Any) -> None:
    """Raises EnvironmentFault if a checkpoint of a state (or of its shapes) would fill the disk.

    Call it before writing: a disk that fills up during a write leaves an incomplete directory.
    """
    needed = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise EnvironmentFault(
            f"{directory}: the disk is full: a checkpoint takes {needed / 1e6:.1f} MB, "
            f"{free / 1e6:.1f} MB are free; earlier checkpoints are intact"
        )


def restore(checkpoint: Path, abstract: Any, layout: Any) -> Any:
    """Restores a state with `abstract`'s structure and `layout`'s shardings, whatever devices wrote it.

    It writes nothing. Raises as `compare` does.
    """
    compare(checkpoint, abstract)
    written = former_names(integrity.format_of(checkpoint), by_path(abstract))
    leaves = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        by_path(abstract),
        by_path(layout),
    )
    wanted = {written[name]: leaf for name, leaf in leaves.items()}
    with (
        _io_errors(checkpoint),
        plain_path(checkpoint) as path,
        ocp.Checkpointer(ocp.StandardCheckpointHandler()) as reader,
    ):
        restored = reader.restore(path / checkpoint_files.ITEM, args=ocp.args.StandardRestore(wanted))
    return refill(abstract, {name: restored[old] for name, old in written.items()})


def compare(checkpoint: Path, abstract: Any) -> None:
    """Raises UsageError if a checkpoint's arrays have other names or shapes than those of `abstract`."""
    declared = by_path(abstract)
    written = former_names(integrity.format_of(checkpoint), declared)
    with _io_errors(checkpoint), plain_path(checkpoint) as path:
        found = {name: tuple(array.shape) for name, array in checkpoint_files.metadata(path).items()}
    wrong = checkpoint_files.differences(
        found, {written[name]: _shape(leaf) for name, leaf in declared.items()}
    )
    if wrong:
        more = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise UsageError(f"{checkpoint}: not a state of this declaration: {', '.join(wrong[:3])}{more}")


def read_arrays(checkpoint: Path, names: Sequence[str]) -> dict[str, NDArray]:
    """Reads some of a checkpoint's arrays: {name: NumPy array}. Raises UsageError if one cannot be read."""
    written = former_names(integrity.format_of(checkpoint), names)
    try:
        with plain_path(checkpoint) as path, ocp.PyTreeCheckpointer() as reader:
            # One at a time: if one of several reads fails, Orbax leaves the others on a closed event loop.
            return {name: _read_array(reader, path / checkpoint_files.ITEM, written[name]) for name in names}
    except Exception as error:  # Orbax and TensorStore raise many types
        raise UsageError(f"{checkpoint}: cannot be read: {' '.join(str(error).split())[:200]}") from None


def _read_array(reader: ocp.PyTreeCheckpointer, arrays: Path, name: str) -> NDArray:
    args = ocp.args.PyTreeRestore(
        {name: 0}, restore_args={name: ocp.RestoreArgs(restore_type=np.ndarray)}, partial_restore=True
    )
    return reader.restore(arrays, args=args)[name]


def _shape(leaf: jax.ShapeDtypeStruct) -> tuple[int, ...]:
    """The shape on disk; a key is stored as its numbers."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.eval_shape(jax.random.key_data, leaf).shape
    return leaf.shape


@contextmanager
def _io_errors(directory: Path) -> Iterator[None]:
    """Turns a file-system error, which Orbax wraps in several types, into one line."""
    try:
        yield
    except LineageError:
        raise
    except Exception as error:
        text = f"{error} {error.__cause__}"
        if any(os.strerror(number) in text for number in FULL):
            raise EnvironmentFault(
                f"{directory}: the disk or a quota is full; earlier checkpoints are intact"
            ) from error
        if isinstance(error, OSError) or "Permission denied" in text or "Read-only file system" in text:
            raise EnvironmentFault(f"{directory}: cannot be written: {error}") from error
        raise
