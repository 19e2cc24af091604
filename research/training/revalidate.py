"""A run's own validation again, at a checkpoint that is left."""

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path

from research.data.batches import corpus_of
from research.errors import UsageError, near
from research.training import record
from research.training.checkpoint import Checkpoints
from research.training.loop import compile_step, validation
from research.training.metrics import Row


def revalidate(directory: Path, step: int | None, report: Callable[[str], None]) -> Row:
    """The row that `metrics.jsonl` has of this step (the newest by default), without its sample.

    Raises UsageError where there is no such checkpoint, or where the data are not what they were.
    """
    experiment = record.experiment_of(directory)
    experiment = dataclasses.replace(experiment, run=dataclasses.replace(experiment.run, sample=0))
    kept = [path.name for path in (directory / "checkpoints").glob("*") if path.name.isdecimal()]
    if not kept:
        raise UsageError(f"{directory}: a run without a checkpoint; train it first")
    step = max(map(int, kept)) if step is None else step
    if str(step) not in kept:
        raise UsageError(f"{directory}:{step}: no such checkpoint{near(str(step), kept)}")
    corpus = corpus_of(experiment, report)
    now, then = [corpus.train.sha256, corpus.validation.sha256], record.read(directory).get("data")
    if now != then:
        raise UsageError(f"{directory}: the data of {experiment.data.source} are not those of the run")
    abstract, program = compile_step(experiment)
    with Checkpoints(directory / "checkpoints", experiment.run.keep) as checkpoints:
        state = checkpoints.restore(step, abstract, program.layout)
    with tempfile.TemporaryDirectory() as folder:  # for answers, which the run has already
        return validation(experiment, corpus, Path(folder))(state, program)
