"""Measurements of a model at every evaluation of its run, chosen by `run.evaluators`.

Another package adds one with a class:

    from research.config.names import EVALUATORS
    from research.training.evaluating.evaluators import Evaluator

    @EVALUATORS.register("largest")
    class Largest(Evaluator):
        metrics = ("largest_parameter",)

        def measure(self, model, batches):
            return {"largest_parameter": max(abs(leaf).max() for leaf in jax.tree.leaves(model))}
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from tokenizers import Tokenizer

from research.config import Experiment
from research.config.names import EVALUATORS
from research.data.examples import Batch
from research.errors import UsageError
from research.models.parameters import by_path, components

Batches = Callable[[], Iterator[Batch]]


class Evaluator:
    """Base class of evaluators. A run makes one of each in every process, and calls it in all together.

    Its numbers are in the validation rows, where `run.stop_at`, sweeps and `run.keep_best` find them. The
    last takes higher as better, unless a name ends in loss, perplexity or bits_per_byte.
    """

    metrics: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def names(cls, experiment: Experiment) -> Collection[str]:
        """The names of its numbers: words of letters, digits and underscores; by default `metrics`."""
        return cls.metrics

    def __init__(self, experiment: Experiment, tokenizer: Tokenizer):
        self.experiment, self.tokenizer = experiment, tokenizer

    def measure(self, model: Any, batches: Batches) -> Mapping[str, Any]:
        """The numbers of a model, as the run evaluates it (a moving average, if there is one).

        `batches()` yields the validation split in NumPy, with the objective's arrays, alike in every process.
        A program compiled inside would be compiled at each call: compile outside, with `jax.jit`.
        """
        raise NotImplementedError


@EVALUATORS.register("parameter_rms")
class ParameterRms(Evaluator):
    """The root mean square of each parameter; blocks together."""

    @classmethod
    def names(cls, experiment: Experiment) -> Collection[str]:
        return [_word(component.name) for component in components(experiment.model)]

    def measure(self, model: Any, batches: Batches) -> Mapping[str, Any]:
        return _root_mean_squares(model)


@jax.jit
def _root_mean_squares(model: Any) -> dict[str, jax.Array]:
    return {_word(name): jnp.sqrt(jnp.square(leaf).mean()) for name, leaf in by_path(model).items()}


def _word(name: str) -> str:
    return f"rms_{name.replace('/', '_')}"


def names_of(experiment: Experiment) -> dict[str, str]:
    """{number: the evaluator that measures it}. Raises UsageError for an entry that is no evaluator, for a
    name that is not a word, and if two have the same number.
    """
    found: dict[str, str] = {}
    for evaluator in experiment.run.evaluators:
        kind = EVALUATORS[evaluator]
        if not (isinstance(kind, type) and issubclass(kind, Evaluator)):
            raise UsageError(
                f"run.evaluators={evaluator}: {kind!r}; expected a class derived from "
                f"{Evaluator.__module__}.Evaluator"
            )
        for name in kind.names(experiment):
            if not name.isidentifier():
                raise UsageError(f"run.evaluators={evaluator}: {name!r}: expected letters, digits and _")
            if name in found:
                raise UsageError(f"run.evaluators: {found[name]} and {evaluator} both measure {name}")
            found[name] = evaluator
    return found


def measuring(experiment: Experiment, tokenizer: Tokenizer) -> Callable[[Any, Batches], dict[str, float]]:
    """(model, batches) → the numbers of all of `run.evaluators`.

    Raises UsageError, when called, if an evaluator returns other names than it declares, or no numbers.
    """
    owners = names_of(experiment)
    evaluators = {name: EVALUATORS[name](experiment, tokenizer) for name in experiment.run.evaluators}

    def measure(model: Any, batches: Batches) -> dict[str, float]:
        row: dict[str, float] = {}
        for name, evaluator in evaluators.items():
            numbers = jax.device_get(dict(evaluator.measure(model, batches)))
            expected = [number for number, owner in owners.items() if owner == name]
            if numbers.keys() != {*expected}:
                measured = ", ".join(numbers) or "nothing"
                raise UsageError(
                    f"run.evaluators={name}: measured {measured}; expected {', '.join(expected)}"
                )
            for key, number in numbers.items():
                if np.ndim(number) or not np.issubdtype(np.asarray(number).dtype, np.number):
                    raise UsageError(f"run.evaluators={name}: {key} is {number!r:.60}; expected a number")
                row[key] = float(number)
        return row

    return measure
