"""Experiments from Python: `lineage train` without a command line."""

from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import jax

import experiments
from research.config import Experiment
from research.config.imports.editing import import_edited
from research.config.imports.loading import import_all
from research.config.settings import parse_assignments
from research.devices.startup import use_compilation_cache
from research.errors import UsageError
from research.io.activity import shown
from research.io.files import expanded
from research.objectives import check
from research.runs.metrics_log import Row
from research.training import loop, resolving

P = ParamSpec("P")
R = TypeVar("R")


def in_32_bits(function: Callable[P, R]) -> Callable[P, R]:
    """`function` with numbers of 32 bits, also where a notebook uses JAX's 64 bits for something else."""

    @wraps(function)
    def inside(*arguments: P.args, **named: P.kwargs) -> R:
        with jax.enable_x64(False):
            return function(*arguments, **named)

    return inside


def check_given(experiment: Any) -> None:
    """Raises UsageError for what is no Experiment, such as its name."""
    if not isinstance(experiment, Experiment):
        given = repr(experiment) if isinstance(experiment, str) else type(experiment).__name__
        raise UsageError(f"{given}: expected an Experiment, such as resolve('gpt2_tiny') returns")


def resolve(
    name: str, overrides: Mapping[str, Any] | Iterable[str] = (), imports: Iterable[str] = ()
) -> Experiment:
    """The registered experiment `name` with settings changed.

    `overrides` are {"model.depth": 2} or ["model.depth=2"]. `data.source` decides split, columns and labels,
    `start.weights` the architecture and the tokenizer; changes to the experiment are printed. `imports` are
    modules or files (as with `--import`) that register your own experiments or parts; a file that you edited
    since is imported again. Raises UsageError for an unknown name, setting or value, for a conflict with the
    weights, and if sections do not fit together.
    """
    import_all()
    for plugin in imports:
        import_edited(plugin, "imports:")
    changes = overrides if isinstance(overrides, Mapping) else parse_assignments(list(overrides))
    decided: list[str] = []
    experiment = resolving.resolve(experiments.get(name), changes, decided.append)
    check(experiment)
    for line in decided:  # not of a refused one
        print(line)
    return experiment


@in_32_bits
def train(
    experiment: Experiment,
    directory: str | Path,
    report: Callable[[str], None] = print,
    allow_change: bool = False,
    after_evaluation: Callable[[Row], bool | None] = lambda row: None,
) -> loop.Result:
    """Train `experiment` in `directory`, or continue the run there; bit-identical to `lineage train`.

    `report` gets lines about data and weights. `after_evaluation` gets the row of each evaluation after step
    0, for your own tracker or stopping rule; if it returns True, the run saves and returns. An interrupt
    (Ctrl-C, or a notebook's stop button) finishes the step, saves and returns; the same call continues.
    `allow_change` permits settings other than the run's. Returns the last step, whether it is the run's last,
    and the last validation row as a dict. Raises UsageError where `directory` holds something else.
    """
    check_given(experiment)
    keep_compiled()
    path = expanded(directory)
    with shown():
        return loop.train(experiment, path, report, allow_change, lambda row: bool(after_evaluation(row)))


def keep_compiled() -> None:
    """Keep compiled programs on disk, unless the caller has already chosen a place."""
    if jax.config.jax_compilation_cache_dir is None:  # pyright: ignore[reportAttributeAccessIssue]
        use_compilation_cache()
