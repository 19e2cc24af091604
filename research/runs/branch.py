"""A branch: another run that continues from a checkpoint of a run, which stays as it is."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from research.config import own
from research.config.settings import flatten, from_json, override, to_json
from research.errors import EnvironmentFault, UsageError
from research.io.files import new_directory
from research.runs import record
from research.runs.checkpoints.integrity import steps
from research.runs.lock import trainer
from research.runs.metrics_log import read
from research.runs.status import intact_checkpoint, last_step

COPIED = "tokenizer.json"


@contextmanager
def branched(run: Path, step: int | None, directory: Path) -> Iterator[bool]:
    """Makes `directory` a branch of `run` from its checkpoint at `step`, default: the newest.

    Yields whether the branch has made no step of its own yet. A branch that this call created and that has
    made none is removed if an error ends the block. Raises UsageError if `directory` holds something else.
    """
    if new := not directory.exists():
        step = _create(run, intact_checkpoint(run, step), directory)
    else:
        step = _step_of(run, step, directory)
    try:
        yield not _advanced(directory, step)
    except BaseException:
        if new and not _advanced(directory, step) and trainer(directory) is None:
            shutil.rmtree(directory)
        raise


def _create(run: Path, checkpoint: Path, directory: Path) -> int:
    step = int(checkpoint.name)
    written = json.dumps(_record_at(run, step), indent=2) + "\n"
    rows = "".join(json.dumps(row) + "\n" for row in read(run) if row["step"] <= step)
    with new_directory(directory) as folder:
        try:
            shutil.copytree(checkpoint, folder / "checkpoints" / str(step))
        except shutil.Error as error:  # of several files: (source, target, reason)
            reason = error.args[0][0][2]
            raise EnvironmentFault(f"{directory}: cannot be written: {reason}") from error
        (folder / record.FILE).write_text(written, encoding="utf-8")
        (folder / "metrics.jsonl").write_text(rows, encoding="utf-8")
        if (run / COPIED).exists():
            shutil.copyfile(run / COPIED, folder / COPIED)
    return step


def _record_at(run: Path, step: int) -> dict[str, Any]:
    """The record of `run` as it was at `step`: without later changes of settings."""
    written = record.read(run)
    experiment, changes = from_json(written["experiment"]), written.get("changes", [])
    for change in reversed([change for change in changes if change["step"] > step]):
        experiment = override(experiment, _settings(change["from"], flatten(experiment)))
    experiment = override(experiment, {"run.mirror": None})  # it has a copy of the run, not of the branch
    kept = [change for change in changes if change["step"] <= step]
    origin = {"run": str(run.absolute()), "step": step}
    return written | {"experiment": to_json(experiment), "changes": kept, "branch": origin}


def _settings(before: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """The settings among the values before a change, without those that another name declares."""
    absent = {name for name, value in before.items() if value is None and own.split(name)}
    return {name: value for name, value in before.items() if name in known and name not in absent}


def _step_of(run: Path, step: int | None, directory: Path) -> int:
    """The step at which `directory` branched from `run`; raises UsageError if it did not, or elsewhere."""
    origin = record.read(directory).get("branch", {}) if (directory / record.FILE).exists() else {}
    same = origin.get("run") == str(run.absolute()) and step in (None, origin.get("step"))
    if not same:
        raise UsageError(f"{directory}: exists and is not a branch of {run}; choose another --dir")
    return origin["step"]


def _advanced(directory: Path, step: int) -> bool:
    """Whether a branch has a row or a checkpoint of its own."""
    return max([last_step(read(directory)), *steps(directory / "checkpoints")]) > step
