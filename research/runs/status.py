"""The status of a run from its files: state, progress, checkpoints. Imports no JAX."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from research.config.target import Target
from research.errors import UsageError
from research.runs.checkpoints.integrity import find_corruption, steps
from research.runs.lock import trainer
from research.runs.metrics_log import Row, read
from research.runs.target import Reached, reached


class Progress(NamedTuple):
    """Metrics of the last logged steps; None before the first."""

    step: int  # of the last row, 0 without one
    loss: float | None  # of the last training row, as is the speed
    tokens_per_second: float | None
    seconds_left: float | None  # at the mean speed so far


class RunStatus(NamedTuple):
    """State and progress of a run."""

    run: str
    state: str  # finished, running, stopped (it can be resumed) or queued
    steps: int  # as declared
    worker: str | None  # HOST:PID of the process that trains
    step: int
    loss: float | None
    tokens_per_second: float | None
    seconds_left: float | None
    reached: Reached | None  # the evaluation that met run.stop_at


def run_status(run: Path, steps: int, queued: bool = False, target: Target | None = None) -> RunStatus:
    """The status of a run of `steps`, or fewer to a target.

    `queued` means that a job is waiting to continue it.
    """
    now, who = progress(run, steps), trainer(run)
    met = reached(read(run), target) if target else None
    ended = now.step >= steps or met is not None
    state = "queued" if queued and not who and not ended else run_state(run, ended)
    if state != "running":
        now = now._replace(seconds_left=None)
    return RunStatus(str(run), state, steps, f"{who['host']}:{who['pid']}" if who else None, *now, met)


def run_state(run: Path, ended: bool) -> str:
    """'running' while a process trains in `run`, else 'finished' if it `ended`, or 'stopped'."""
    if trainer(run):
        return "running"
    return "finished" if ended else "stopped"


def progress(run: Path, steps: int) -> Progress:
    """Progress from the rows of metrics.jsonl."""
    rows = read(run)
    train = [row for row in rows if row["split"] == "train"]
    if not train:
        return Progress(last_step(rows), None, None, None)
    last = train[-1]
    left = last["seconds"] / last["step"] * (steps - last["step"])
    return Progress(last_step(rows), last["loss"], last["tokens_per_second"], round(left, 1))


def last_step(rows: Sequence[Row]) -> int:
    """The last step in `rows`, 0 without one."""
    return max((row["step"] for row in rows), default=0)


def has_begun(directory: Path) -> bool:
    """Whether a run has made a step, according to its checkpoints and training rows.

    A run whose plugin failed in the first step has not: the same command starts it anew.
    """
    rows = read(directory)
    return bool(steps(directory / "checkpoints")) or any(row["split"] == "train" for row in rows)


def newest_checkpoint(run: Path) -> int:
    """The step of a run's newest checkpoint, 0 without one."""
    return max(steps(run / "checkpoints"), default=0)


def find_checkpoint(run: Path, step: int | None = None) -> int:
    """`step`, or the step of the newest checkpoint. Raises UsageError if there is no such checkpoint."""
    kept = steps(run / "checkpoints")
    if not kept:
        raise UsageError(f"{run}: has no checkpoint yet; train it first")
    if step is not None and step not in kept:
        raise UsageError(f"{run}:{step}: no such checkpoint; there are {', '.join(map(str, kept))}")
    return kept[-1] if step is None else step


def intact_checkpoint(run: Path, step: int | None = None) -> Path:
    """The directory of the checkpoint that `find_checkpoint` finds. Raises UsageError if it is damaged."""
    step = find_checkpoint(run, step)
    checkpoint = run.absolute() / "checkpoints" / str(step)
    if (corruption := find_corruption(checkpoint)) is not None:
        kept = reversed(steps(run / "checkpoints"))
        others = "".join(f", {run}:{other} is there" for other in kept if other != step)
        raise UsageError(f"{checkpoint}: cannot be read, it is damaged: {corruption}{others}")
    return checkpoint


def split_step(target: str) -> tuple[Path, int | None]:
    """Splits 'DIR:STEP' into (DIR, STEP), 'DIR' into (DIR, None)."""
    directory, _, step = target.rpartition(":")
    if step.isdecimal() and not Path(target).exists():
        return Path(directory), int(step)
    return Path(target), None
