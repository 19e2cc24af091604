"""The parts of `train`, for a training loop of your own.

    experiment = resolve("gpt2_tiny")
    batch, step = batches(experiment), compile_step(experiment)
    state = first_state(experiment)
    for n in range(100):
        state, metrics = step(state, batch[n])

Each part is a function of the experiment, and a batch one of the step. This loop makes the bits of `train`.
`state.model` is the model, a pytree of parameters, and `state.replace(model=…)` a state with another one.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, cast

import jax
import jax.numpy as jnp
from jax import Array

from research.api.language_model import LanguageModel
from research.api.running import check_given, in_32_bits, keep_compiled
from research.config import Experiment
from research.data.batches import train_batches
from research.data.examples import Batch
from research.data.store.token_store import Corpus
from research.devices.compilers import Compiled
from research.devices.memory import usable_memory
from research.errors import UsageError
from research.io.files import expanded
from research.objectives import check, objective_of, training_loss
from research.runs.checkpoints.store import compare
from research.runs.metrics_log import Row
from research.runs.state import State, evaluation_params
from research.runs.status import intact_checkpoint, split_step
from research.training import first_state as first_states
from research.training.evaluating.validation import processes, validation
from research.training.placement import compile_for, settled
from research.training.step import normalized
from research.training.teacher import load_teacher
from research.weights import Report

Metrics = dict[str, Array]  # numbers: loss, accuracy …, and those that the step adds, such as gradient_norm


class Batches(Protocol):
    """Batches by step, a `grain.MapDataset`."""

    def __getitem__(self, step: int, /) -> Batch: ...


def batches(experiment: Experiment) -> Batches:
    """The training batches: `[n]` is that of step n, from 0, as NumPy arrays by name, for any n.

    `weights` say how much a target counts; the step and `loss_function` divide them by their sum. Prepares
    the data if necessary. Raises UsageError if they are too short.
    """
    corpus = _corpus(experiment, print)
    examples = objective_of(experiment.objective).examples(experiment)
    made = train_batches(examples, experiment.data, experiment.run.seed, corpus.train, **processes())
    return cast(Batches, made)


@in_32_bits
def first_state(experiment: Experiment, checkpoint: str | Path | None = None) -> State:
    """The state before the first step, from `start.weights` or the seed, on the experiment's devices.

    With `checkpoint`, a run ("runs/muon", or "runs/muon:300"), the state at its newest or that step. A State
    has `step`, `model`, `opt_state`, `ema_params` and `key`. Raises UsageError if there is none that fits.
    """
    keep_compiled()
    experiment, abstract, program = _compiled(experiment)
    folder = None
    if checkpoint is not None:
        run, step = split_step(str(expanded(checkpoint)))
        folder = intact_checkpoint(run, step)
        compare(folder, abstract.saved())
    teacher, _ = load_teacher(experiment)
    return first_states.first_state(experiment, abstract, program.layout, folder, teacher, print)


def compile_step(
    experiment: Experiment, donate: bool = False
) -> Callable[[State, Mapping[str, Any]], tuple[State, Metrics]]:
    """The step of `train`, which compiles at its first call: (state, batch) → (next state, metrics).

    Metrics are arrays of the devices; `float` waits for them. With `donate`, the step overwrites the state
    that it is given, as in `train`; else it works on a copy. Raises UsageError as `train` does.
    """
    keep_compiled()
    program = _compiled(experiment)[2]

    @in_32_bits
    def step(state: State, batch: Mapping[str, Any]) -> tuple[State, Metrics]:
        given = state if donate else jax.tree.map(jnp.copy, state)
        return program.step(given, program.feed(dict(batch)))

    return step


def loss_function(experiment: Experiment) -> Callable[..., tuple[Array, Metrics]]:
    """The objective as (model, batch, key=None, step=0, teacher=None) → (loss, metrics), for `jax.grad`.

    The loss is a mean over the batch's targets. A key turns dropout on. `step` matters to objectives that
    read it; with objective.teacher, `teacher` is `state.teacher`, an argument of a jitted function too.
    """
    check_given(experiment)
    loss, reads_step = training_loss(experiment.objective), objective_of(experiment.objective).reads_step

    def loss_and_metrics(
        model: Any, batch: Mapping[str, Any], key: Array | None = None, step: Any = 0, teacher: Any = None
    ) -> tuple[Array, Metrics]:
        if (teacher is None) != (experiment.objective.teacher is None):
            given = f"objective.teacher={experiment.objective.teacher or 'none'}"
            raise UsageError(f"{given}: expected teacher={'state.teacher' if teacher is None else 'None'}")

        arrays = normalized({name: jnp.asarray(array) for name, array in batch.items()}, None)
        read = {} if teacher is None else {"teacher": teacher}
        read |= {"step": jnp.int32(step)} if reads_step else {}
        sums = loss(model, arrays | read, key)
        return sums["loss"], sums

    return loss_and_metrics


def compile_evaluation(experiment: Experiment) -> Callable[[State], Row]:
    """The evaluation of `train`: state → row of metrics.jsonl, over the whole validation split."""
    keep_compiled()
    program, corpus = _compiled(experiment)[2], _corpus(experiment)

    @in_32_bits
    def evaluate(state: State) -> Row:
        return validation(experiment, corpus, lambda predictions, outputs: None)(state, program)

    return evaluate


def language_model(experiment: Experiment, state: State) -> LanguageModel:
    """The model of a state, as `load` returns that of a run: it generates text and can be saved."""
    nothing = Report({}, {}, {})  # was read from a file
    return LanguageModel(
        evaluation_params(experiment, state), experiment.model, _corpus(experiment).tokenizer, nothing
    )


def _corpus(experiment: Experiment, report: Callable[[str], None] = lambda line: None) -> Corpus:
    check_given(experiment)
    check(experiment)
    return objective_of(experiment.objective).examples(experiment).prepare(report)


def _compiled(experiment: Experiment) -> tuple[Experiment, State, Compiled]:
    """The experiment for these devices and one step per call, the state's shapes, and the program."""
    check_given(experiment)
    check(experiment)
    single = replace(experiment, run=replace(experiment.run, steps_per_call=1))
    devices = jax.devices()
    chosen = settled(single, devices, usable_memory(devices))
    return chosen, *compile_for(chosen, devices)
