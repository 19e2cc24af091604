"""A sweep from a declaration and from command-line options, checked before anything runs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, get_type_hints

from research.config import Experiment, Sweep, space
from research.config.settings import flatten, typed
from research.config.values import convert
from research.errors import UsageError, did_you_mean
from research.sweeping.notation import parse_space


def declare_sweep(
    declared: Experiment | Sweep,
    overs: Sequence[str],
    overrides: Mapping[str, Any],
    options: Mapping[str, Any],
    report: Callable[[str], None] = print,
) -> Sweep:
    """Builds a sweep from a declared sweep or an experiment, with `overs` added to its space.

    `overrides` change settings of the experiment; `report` gets those that its `start.weights` decide. By
    default run.hyperparameters becomes `inputs`, so that trials that differ only in numbers compile once.
    `options` are the sweep's own (`trials`, `sampler`, …), None if they stay as declared. Raises UsageError
    as `validate_sweep` does.
    """
    hints = get_type_hints(Sweep)
    changes = {
        key: convert(value, hints[key], f"--{key}") for key, value in options.items() if value is not None
    }
    from research.training.resolving import resolve  # imports JAX, as `validate_sweep` does

    base = declared.base if isinstance(declared, Sweep) else declared
    base = resolve(base, {"run.hyperparameters": "inputs"} | dict(overrides), report)
    parts = [declared.space] if isinstance(declared, Sweep) else []
    if overs:
        parts.append(parse_space(base, list(overs)))
    if not parts:
        raise UsageError(f"{declared.name}: an experiment needs settings to vary; expected --over KEY=SPEC")
    parts += _kept(base, parts, overrides)
    changes |= {"base": base, "space": parts[0] if len(parts) == 1 else space.product(*parts)}
    if isinstance(declared, Sweep):
        return validate_sweep(replace(declared, **changes))
    return validate_sweep(Sweep(name=declared.name, **changes))


def validate_sweep(sweep: Sweep) -> Sweep:
    """Converts every value of `sweep` to its setting's type.

    Raises UsageError for an unknown setting, a value of the wrong type, and a grid point that is not a valid
    experiment; with other samplers such points fail one by one.
    """
    # These import JAX, which a worker must not do before `confine`.
    from research.objectives import check
    from research.training.resolving import DECISIVE, VOCABULARY, resolve

    sweep = replace(sweep, space=_typed(sweep.space, sweep.base))
    if sweep.base.run.mirror or "run.mirror" in space.names(sweep.space):
        raise UsageError(
            "run.mirror: copies one run, not a sweep's trials; expected none, and a --dir that workers share"
        )
    if sweep.chosen_sampler == "grid":
        for point in space.points(sweep.space):
            resolved = resolve(sweep.base, point, lambda line: None)
            check(resolved)
            _check_vocabulary(resolved)
        return sweep
    check(sweep.base)
    axes = [axis for axis in space.axes(sweep.space) if isinstance(axis, space.Points)]
    same = {axis.name: axis.values[0] for axis in axes if len(axis.values) == 1}
    decisive = [axis for axis in axes if axis.name in (*DECISIVE, VOCABULARY)]
    for axis in decisive:
        for value in axis.values:
            resolved = resolve(sweep.base, same | {axis.name: value}, lambda line: None)
            if len(decisive) == 1:
                _check_vocabulary(resolved)
    if not decisive:
        _check_vocabulary(sweep.base)
    return sweep


def _check_vocabulary(experiment: Experiment) -> None:
    """Raises UsageError for a tokenizer to train that declares more entries than the model has, as preparing
    the data does; a published one is read then.
    """
    scheme, _, size = experiment.data.tokenizer.partition(":")
    vocabulary = experiment.model.vocabulary
    trains = scheme in ("bpe", "wordpiece") and size.isdecimal() and experiment.start.weights is None
    if trains and int(size) > vocabulary:
        raise UsageError(
            f"model.vocabulary={vocabulary}: data.tokenizer={experiment.data.tokenizer} has {size} entries; "
            "expected at least that, or no model.vocabulary, which then follows a typed tokenizer"
        )


def _kept(base: Experiment, parts: Sequence[space.Space], overrides: Mapping[str, Any]) -> list[space.Space]:
    """Adds typed settings to the space, as single values, if a setting of the space might decide them.

    Each trial's experiment then keeps them as typed.
    """
    from research.training.resolving import DECISIVE, SOURCES, WEIGHTS

    swept = {name for part in parts for name in space.names(part)}
    if not swept & {*DECISIVE, WEIGHTS}:
        return []
    named = {name: value for name, value in flatten(base).items() if name in overrides}
    return [
        space.grid(name, value)
        for name, value in named.items()
        if name.startswith(("data.", "task.", "model.")) and not isinstance(value, tuple)
        if name not in {*swept, *DECISIVE, *SOURCES}
    ]


def check_weights(sweep: Sweep) -> None:
    """Raises UsageError for missing start weights or teachers, of the base or swept."""
    from research import weights
    from research.training.resolving import WEIGHTS

    base = {WEIGHTS: sweep.base.start.weights, "objective.teacher": sweep.base.objective.teacher}
    for name, own in base.items():
        axes = [axis for axis in space.axes(sweep.space) if axis.name == name]
        swept = [value for axis in axes if isinstance(axis, space.Points) for value in axis.values]
        for path in swept if axes else [own]:
            if isinstance(path, str):
                weights.check_present(path)


def check_metric(sweep: Sweep) -> None:
    """Raises UsageError if evaluations will not measure the sweep's metric, run.keep_best or run.stop_at.

    It traces the model's evaluation, which starts JAX's devices, so restrict JAX to the CPU first.
    """
    from research.runs import target
    from research.runs.checkpoints import best
    from research.training.evaluating.validation import validation_numbers
    from research.training.teacher import abstract_state

    numbers = validation_numbers(sweep.base, abstract_state(sweep.base))
    if sweep.metric not in numbers:
        raise UsageError(
            f"--metric {sweep.metric}: not measured at an evaluation{did_you_mean(sweep.metric, numbers)}"
        )
    best.check(sweep.base.run.keep_best, numbers)
    target.check(sweep.base.run.target, numbers)


def _typed(node: space.Space, base: Experiment) -> space.Space:
    if isinstance(node, space.Points):
        values = tuple(typed(base, node.name, value) for value in node.values)
        return space.Points(node.name, values, node.every)
    if isinstance(node, space.Range):
        ends = [typed(base, node.name, end) for end in (node.low, node.high)]
        if node.step is None and isinstance(ends[0], int):
            raise UsageError(f"{node.name}: {node.low:g}..{node.high:g}: expected integers: int:LOW..HIGH")
        if not isinstance(ends[0], int | float):
            raise UsageError(f"{node.name}: {node.low:g}..{node.high:g}: expected a list of values")
        return node
    return type(node)(tuple(_typed(part, base) for part in node.parts))
