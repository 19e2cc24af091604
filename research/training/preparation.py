"""What comes before the first step of a run: reads, checks, compiles, restores, and only then writes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax

from research.config import Experiment
from research.data.batches import train_batches
from research.data.store.token_store import Corpus
from research.data.tokenizers.for_task import check_vocabulary
from research.devices.compilers import Compiled, check_rows
from research.devices.memory import usable_memory
from research.devices.processes import agreed, refuse_differences
from research.io.activity import activity
from research.io.files import write_atomic
from research.models import precision
from research.objectives import check, objective_of
from research.runs import mirror, record, target
from research.runs.checkpoints import best
from research.runs.checkpoints.integrity import latest_intact_step, move_damaged
from research.runs.checkpoints.store import check_disk_space, compare
from research.runs.environment import shared
from research.runs.state import State
from research.training.evaluating import evaluators
from research.training.evaluating.validation import processes, validation_numbers
from research.training.first_state import advice_on_freezing, first_state, load_start_weights
from research.training.logging import trackers
from research.training.multi_step import call_ranges
from research.training.placement import choices, compile_for, settled, trace
from research.training.teacher import load_teacher


class Prepared(NamedTuple):
    """A run that may begin."""

    experiment: Experiment  # as declared
    settled: Experiment  # for these devices
    corpus: Corpus
    program: Compiled
    abstract: State  # shapes and types
    start: int  # the step that it continues from; 0: from the beginning


def check_declared(experiment: Experiment) -> None:
    """Refuses what needs neither files nor devices to be seen."""
    check(experiment)
    trackers.check(experiment.run)
    evaluators.names_of(experiment)
    refuse_differences(shared(experiment))


def prepare(
    experiment: Experiment, directory: Path, report: Callable[[str], None], allow_change: bool
) -> tuple[Prepared, State]:
    """The run in `directory` and the state from which it goes on.

    A refused command must change nothing, so all checks come before any write.
    """
    examples = objective_of(experiment.objective).examples(experiment)
    with record.advice_on_moved_data(directory, experiment):
        corpus = examples.prepare(report)
    # Raises UsageError if the data are too short for a batch.
    batches = train_batches(examples, experiment.data, experiment.run.seed, corpus.train, **processes())
    teacher, taught_by = load_teacher(experiment, corpus.tokenizer, report)
    trained_on, held_out = corpus.train.sha256, corpus.validation.sha256
    read = {"data.source": trained_on, "data.validation": held_out, "objective.teacher": taught_by}
    refuse_differences({name: text and text[:12] for name, text in read.items()})
    facts = {"data": [trained_on, held_out], "teacher": taught_by}
    if (note := precision.advice(experiment.model.precision)) is not None:
        report(note)

    devices = jax.devices()
    chosen = settled(experiment, devices, usable_memory(devices))
    abstract, program = compile_for(chosen, devices)
    check_rows(experiment.data.batch, program.parts)
    _check_numbers(experiment, abstract)

    kept = directory / "checkpoints"
    start = agreed(
        lambda: _checked_start(experiment, directory, corpus, abstract, facts, report, allow_change)
    )
    if calls := next(call_ranges(experiment.run, start), None):
        with activity("tracing the training step"):  # a plugin may fail here
            trace(chosen, abstract, program, [batches[step - 1] for step in calls])
    checkpoint = kept / str(start) if start else None
    with activity("restoring the checkpoint" if checkpoint else "initialising the model"):
        state = first_state(chosen, abstract, program.layout, checkpoint, teacher, report)

    def claim() -> int:
        record.claim(directory, experiment, facts, start, report, allow_change, choices(chosen))
        write_atomic(directory / "tokenizer.json", corpus.tokenizer.to_str())
        move_damaged(kept, start, report)
        return start

    agreed(claim)
    return Prepared(experiment, chosen, corpus, program, abstract, start), state


def _check_numbers(experiment: Experiment, abstract: State) -> None:
    """Raises UsageError if a setting names a number that validation does not have."""
    run = experiment.run
    if run.keep_best is not None or run.target is not None or run.evaluators:
        numbers = validation_numbers(experiment, abstract)
        best.check(run.keep_best, numbers)
        target.check(run.target, numbers)


def _checked_start(
    experiment: Experiment,
    directory: Path,
    corpus: Corpus,
    abstract: State,
    facts: dict[str, Any],
    report: Callable[[str], None],
    allow_change: bool,
) -> int:
    """The step of the newest intact checkpoint; 0 without one.

    Raises UsageError if the run cannot go on from there.
    """
    kept = directory / "checkpoints"
    with activity("verifying the checkpoint"):
        step = latest_intact_step(kept)
    record.check(directory, experiment, facts, step, allow_change)
    if url := experiment.run.mirror:
        mirror.check(url, directory, step, experiment, allow_change)
    if step:
        with advice_on_freezing(directory, experiment):
            compare(kept / str(step), abstract.saved())
        check_vocabulary(experiment.data, corpus.tokenizer, str(directory), "the run was")
        if record.differs(directory, experiment, "start.weights"):
            load_start_weights(experiment, report)  # unused, but the record must name weights that load
    else:
        weights = experiment.start.weights
        check_vocabulary(experiment.data, corpus.tokenizer, weights, f"start.weights={weights} were")
    check_disk_space(directory, abstract.saved())
    return step
