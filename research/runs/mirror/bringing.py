"""A run's directory made again from its copy; whether the copy is of this run."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from research.config import Experiment
from research.config.imports.recorded import import_recorded
from research.errors import EnvironmentFault, UsageError
from research.io import remote
from research.io.activity import activity
from research.io.files import catch_write_errors
from research.io.remote import Remote
from research.runs import metrics_log, record
from research.runs.checkpoints import integrity
from research.runs.lock import locked
from research.runs.mirror.contents import CHECKPOINTS, step_of, whole
from research.runs.status import has_begun

TRAINED = b'"split": "train"'  # in a row of training


def bring(
    url: str, directory: Path, experiment: Experiment, report: Callable[[str], None], allow_change: bool
) -> int:
    """Fetches the run behind `url`, unless `directory` has begun one; returns its newest step, 0 for none.

    Raises UsageError if it is not a run of `experiment` or `directory` holds something else.
    """
    source = _connect(url)
    if (path := remote.local_path(source)) and _overlap(path, directory):
        raise UsageError(f"run.mirror={url}: expected a place apart from {directory}")
    if has_begun(directory):
        return 0
    there = remote.sizes(source)
    step = _newest(source, there, experiment, allow_change)
    if not step:
        return 0
    kept = {None, *whole(there)}
    names = [name for name in there if step_of(name) in kept]
    total = sum(there[name] for name in names)
    record.examine(directory, experiment, allow_change=allow_change)
    with locked(directory, report), catch_write_errors(directory):
        with (
            _emptied(directory / record.FETCHED) as folder,
            activity(f"fetching the run from {url} ({total / 1e6:.0f} MB)"),
        ):
            if (free := shutil.disk_usage(folder).free) < total:
                sizes = f"{url} takes {total / 1e6:.1f} MB, {free / 1e6:.1f} MB are free"
                raise EnvironmentFault(f"{directory}: the disk is full: {sizes}")
            remote.download(source, names, folder)
            damaged = _damaged(source, names, folder)
            _move(folder, directory)
        for step_there, wrong in damaged.items():
            remote.remove(source, f"{CHECKPOINTS}/{step_there}/{integrity.FILE}")
            report(f"{url}: checkpoint {step_there} is damaged: {wrong}; it is removed there")
    step = max(whole(names) - damaged.keys(), default=0)
    report(f"{url}: fetched into {directory}, up to step {step}")
    return step


def experiment_of(url: str) -> Experiment:
    """The declaration of the run behind `url`. Raises UsageError if there is none to continue."""
    source = _connect(url)
    there = remote.sizes(source)
    _refuse_other_files(source, there)
    if not whole(there):
        raise UsageError(f"run.mirror={url}: no run to continue, it has no whole checkpoint")
    return record.declared(url, _record(source))


def check(url: str, directory: Path, step: int, experiment: Experiment, allow_change: bool) -> None:
    """Raises UsageError if a run at `step` must not be copied to `url`: it would replace what is there."""
    target = _connect(url)
    newest = _newest(target, remote.sizes(target), experiment, allow_change)
    if newest > step:
        raise UsageError(
            f"run.mirror={url}: is at step {newest} of this run, and {directory} at step {step}; "
            "a new --dir continues from there"
        )


def _newest(source: Remote, there: Mapping[str, int], experiment: Experiment, allow_change: bool) -> int:
    """The newest step of the run there; 0 if there is nothing. Raises UsageError for anything else."""
    _refuse_other_files(source, there)
    if not whole(there) and not (
        metrics_log.FILE in there and TRAINED in remote.read(source, metrics_log.FILE)
    ):
        return 0  # it has not begun
    kept = _record(source)
    record.refuse_changes(source.url, kept, experiment, {}, allow_change, "choose another run.mirror")
    return max(whole(there), default=0)


def _connect(url: str) -> Remote:
    try:
        return remote.connect(url)
    except UsageError as error:
        raise UsageError(f"run.mirror={error}") from None


def _refuse_other_files(source: Remote, there: Mapping[str, int]) -> None:
    path = remote.local_path(source)
    if (there and record.FILE not in there) or (path and path.exists() and not path.is_dir()):
        raise UsageError(f"run.mirror={source.url}: exists and is not a run; choose another")


def _record(source: Remote) -> dict[str, Any]:
    """The record of the run there, after its imports are imported again."""
    try:
        kept = json.loads(remote.read(source, record.FILE))
    except ValueError:
        kept = None
    if not isinstance(kept, dict):
        raise UsageError(f"run.mirror={source.url}: {record.FILE}: not a JSON object that can be read")
    import_recorded(kept)
    return kept


def _damaged(source: Remote, names: Sequence[str], folder: Path) -> dict[int, str]:
    """{step: damage} of the checkpoints in `folder`, fetched, that are newer than all intact ones.

    They are fetched twice, since the damage may be the network's.
    """
    found = {}
    for step in reversed(integrity.steps(folder / CHECKPOINTS)):
        checkpoint = folder / CHECKPOINTS / str(step)
        if integrity.find_corruption(checkpoint):
            remote.download(source, [name for name in names if step_of(name) == step], folder)
        if (wrong := integrity.find_corruption(checkpoint)) is None:
            break
        found[step] = wrong
    return found


@contextmanager
def _emptied(folder: Path) -> Iterator[Path]:
    """An empty folder, without what a killed process has left in it; removed at the end."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _overlap(one: Path, other: Path) -> bool:
    one, other = one.resolve(), other.resolve()
    return one.is_relative_to(other) or other.is_relative_to(one)


def _move(fetched: Path, directory: Path) -> None:
    """Moves a run's files into its directory; until the last has moved, the run there has not begun."""
    last = {metrics_log.FILE: 1, CHECKPOINTS: 2}
    found = sorted(fetched.iterdir(), key=lambda path: (path.name != record.FILE, last.get(path.name, 0)))
    for path in found:
        target = directory / path.name
        if target.is_dir():
            shutil.rmtree(target)
        path.rename(target)
