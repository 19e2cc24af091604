"""The second, frozen model of a run, which its loss reads: `objective.teacher`.

It is part of the state on the devices, so that the step gets it as an input, split as the model is. Like
hyperparameters it is constant and not saved: a run that continues loads it again, and its record has the
fingerprint of the parameters.
"""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tokenizers import Tokenizer

from research import models, weights
from research.config import Experiment, Model
from research.config.hyperparameters import is_zero
from research.data.tokenizers.for_task import as_tokenizer, beside
from research.devices import xla
from research.errors import UsageError
from research.io.hub import located
from research.models.parameters import by_path, refill
from research.objectives.objective import bidirectional
from research.runs.state import State, initial_state
from research.weights.fit_head import fit_head
from research.weights.layout import TaskHead

COMPUTED_AS_OURS = ("precision", "logits", "attention", "unroll", "dropout_generator")
ALIKE = ("vocabulary", "head", "outputs", "special_tokens")


def abstract_state(experiment: Experiment) -> State:
    """The shapes of the experiment's state, with those of its teacher."""
    state = jax.eval_shape(partial(initial_state, experiment))
    if experiment.objective.teacher is None:
        return state
    return replace(state, teacher=shapes(experiment))


def shapes(experiment: Experiment) -> Any:
    """The shapes of the teacher; None without one. Reads no arrays."""
    return None if experiment.objective.teacher is None else _abstract(teacher_model(experiment))


def teacher_model(experiment: Experiment) -> Model:
    """The teacher's declaration: its weights', computed without dropout and as the experiment's model.

    Raises UsageError for a model that cannot compute the outputs of the experiment's from its batches.
    """
    ours, path = experiment.model, str(experiment.objective.teacher)
    try:
        theirs = weights.model_of(path)
    except UsageError as error:
        message = str(error).removeprefix(f"{path}: ")
        raise UsageError(f"objective.teacher={path}: {message}") from error
    later = experiment.data.later
    length = max(experiment.data.length, later.length if later.step else 0)
    wrong = {f"model.{name}": (getattr(theirs, name), getattr(ours, name)) for name in ALIKE}
    if bidirectional(theirs) or bidirectional(ours):
        wrong.pop("model.special_tokens")
    wrong["direction"] = bidirectional(theirs), bidirectional(ours)
    wrong["model.left_only"] = theirs.left_only, ours.left_only
    wrong = {name: pair for name, pair in wrong.items() if pair[0] != pair[1]}
    if wrong:
        name, (found, expected) = next(iter(wrong.items()))
        raise UsageError(f"objective.teacher={path}: has {name}={found}; expected {expected}, as the student")
    if theirs.context < length:
        raise UsageError(
            f"objective.teacher={path}: has model.context={theirs.context}; expected data.length={length} or "
            "more"
        )
    if ours.width != theirs.width and not is_zero(experiment.objective.hidden):
        raise UsageError(
            f"objective.hidden={experiment.objective.hidden}: compares states of one width, but "
            f"objective.teacher={path} has model.width={theirs.width}; expected 0"
        )
    taken = {name: getattr(ours, name) for name in COMPUTED_AS_OURS}
    return replace(theirs, dropout=0.0, table_dropout=False, remat="none", **taken)


def load_teacher(
    experiment: Experiment,
    tokenizer: Tokenizer | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> tuple[Any, str | None]:
    """Reads the teacher: the model on the host, and the fingerprint of its parameters; None without one.

    Raises UsageError for weights that lack some parameters or, given the run's `tokenizer`, that have another
    vocabulary beside them.
    """
    path = experiment.objective.teacher
    if path is None:
        return None, None
    config, head = teacher_model(experiment), TaskHead(experiment.objective.name, experiment.task.labels)
    theirs = beside(located(path))
    if tokenizer is not None and theirs is not None and theirs.get_vocab() != tokenizer.get_vocab():
        raise UsageError(
            f"objective.teacher={path}: has another vocabulary than data.tokenizer="
            f"{experiment.data.tokenizer}; expected data.tokenizer={as_tokenizer(path)}"
        )
    arrays, other_head = fit_head(weights.read(path), config, head)
    leaves = by_path(abstract := _abstract(config))
    found = weights.compare({name: leaf.shape for name, leaf in leaves.items()}, arrays)
    if missing := next(iter(found.missing), None):
        why = " for this task" if other_head else ""
        raise UsageError(f"objective.teacher={path}: has no {missing}{why}; expected a complete model")
    total = sum(leaf.size for leaf in leaves.values())
    report(f"objective.teacher={path}: {total:,} parameters, which do not train")
    sums = hashlib.sha256()
    for name in sorted(leaves):
        sums.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
    values = {name: arrays[name].astype(leaf.dtype) for name, leaf in leaves.items()}
    return refill(abstract, values), sums.hexdigest()[:16]


def with_teacher(state: State, layout: State, teacher: Any) -> State:
    """`state` with the teacher, on its devices."""
    if teacher is None:
        return state
    model = jax.tree.map(jnp.array, teacher)  # a copy, since a step reuses the memory of its state
    return replace(state, teacher=xla.jit(lambda model: model, out_shardings=layout.teacher)(model))


def _abstract(config: Model) -> Any:
    return jax.eval_shape(lambda: models.build(config, key=jax.random.key(0)))
