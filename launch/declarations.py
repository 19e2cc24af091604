"""`lineage list`, `show`, `explain` and `params`: experiments, their settings and parameters."""

import shutil
import textwrap
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import experiments
from launch.options import Json, Name, Overrides, Settings, argument, flag
from launch.shell import completion, meanings
from launch.shell.as_json import print_json, print_lines
from launch.shell.notes import note
from launch.shell.parameter_tables import parameter_table, print_paths
from launch.shell.starting import starting
from research.config import Experiment, Sweep
from research.config.settings import flatten, override, parse_assignments, to_json
from research.config.values import format_value


def resolve(
    name: str,
    overrides: list[str] | None,
    kept: Experiment | None = None,
    report: Callable[[str], None] = note,
) -> Experiment:
    """The experiment `name` with `a.b=v` overrides and the settings that data and `start.weights` decide.

    It reports these settings once everything is checked. `kept` is the experiment of a run to continue.
    Raises UsageError if sections do not fit.
    """
    named, changes = experiments.get(name), parse_assignments(overrides or [])
    with starting():
        from research.data.sources.schemes import has_revisions
        from research.objectives import check
    decided: list[str] = []
    if not _asks_files(named, changes) and not has_revisions(named.data.source):
        experiment = override(named, changes)
    else:
        with starting():
            from research.training import resolving  # imports Orbax, which takes half a second

        experiment = resolving.resolve(named, changes, decided.append, kept)
    check(experiment)
    for line in decided:
        report(line)
    return experiment


def _asks_files(named: Experiment, changes: Mapping[str, str]) -> bool:
    """Whether the user's weights or data decide settings."""
    decisive = ("start.weights", "data.source", "data.validation", "data.tokenizer")
    return named.start.weights is not None or any(name in changes for name in decisive)


def declared(name: str, overrides: list[str] | None) -> Experiment:
    """As `resolve`, but without weights and cross-section rules, which need JAX."""
    named, changes = experiments.get(name), parse_assignments(overrides or [])
    if "model.block" not in changes and _asks_files(named, changes):  # an adapter may decide the block
        changes = {name: value for name, value in changes.items() if not name.startswith("model.own.block.")}
    return override(named, changes)


def list_(json: Json = False) -> None:
    """List all experiments and sweeps, one per line."""
    listed = experiments.names() + experiments.sweep_names()
    lines = {name: experiments.describe(name).partition("\n")[0] for name in listed}
    print_lines(lines, json)


def show(
    name: Annotated[
        str,
        argument(
            "NAME",
            "Name of an experiment or a sweep, see lineage list; or a run's directory.",
            completion.sweeps,
        ),
    ],
    settings: Settings,
    *,
    describe: Annotated[
        bool, flag("--describe", "Say what each setting means, and which values it takes.")
    ] = False,
    json: Json = False,
) -> None:
    """Show every setting of an experiment, a sweep or a run."""
    overrides = settings.typed()
    if name in experiments.sweep_names():
        from research.sweeping.declare import declare_sweep

        changes = parse_assignments(overrides)
        sweep = declare_sweep(experiments.get_sweep(name), [], changes, {}, note)
        _show_sweep(name, sweep, describe, json)
        return
    known = name not in experiments.names() and kept(Path(name))
    experiment = override(known, parse_assignments(overrides)) if known else resolve(name, overrides)
    if json:
        print_json(to_json(experiment))
        return
    print((f"A run of {experiment.name}." if known else experiments.describe(name)) + "\n")
    _print_settings(experiment, known or experiments.get(name), describe)


def kept(directory: Path, warn: bool = True) -> Experiment | None:
    """The experiment of the run in `directory`, if there is one."""
    from research.runs.record import FILE, experiment_of

    return experiment_of(directory, warn) if (directory / FILE).exists() else None


def explain(
    setting: Annotated[
        str | None,
        argument(
            "SETTING",
            "A setting, such as run.keep, or a section, such as optimizer. Default: a list of all.",
            completion.setting_names,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Explain a setting: meaning, unit, allowed values and default."""
    found = list(meanings.meanings().values()) if setting is None else meanings.explain(setting)
    if json:
        print_json([meaning._asdict() for meaning in found], ensure_ascii=False)
        return
    if setting is None:
        print_lines({meaning.name: meaning.meaning for meaning in found}, json=False)
        return
    print("\n\n".join(f"{meaning.name}\n{_described(meaning)}" for meaning in found))


def _described(meaning: meanings.Meaning) -> str:
    unit = "" if meaning.unit is None else f"\n  unit     {meaning.unit}"
    default = "none; an experiment declares it" if meaning.default is None else meaning.default or "empty"
    width = min(shutil.get_terminal_size().columns, 100)
    text = textwrap.fill(meaning.meaning, width, initial_indent="  ", subsequent_indent="  ")
    values = textwrap.fill(
        meaning.values,
        width,
        initial_indent="  values   ",
        subsequent_indent=" " * 11,
        break_on_hyphens=False,
    )
    return f"{text}{unit}\n{values}\n  default  {default}"


def _show_sweep(name: str, sweep: Sweep, describe: bool, json: bool) -> None:
    if json:
        from research.sweeping.record import sweep_to_json

        print_json(sweep_to_json(sweep))
        return
    print(experiments.describe(name) + "\n")
    print_sweep(sweep)
    print()
    _print_settings(sweep.base, sweep.base, describe)


def print_sweep(sweep: Sweep) -> None:
    """Trials, space, sampler, pruner and metric."""
    from research.sweeping.notation import format_space

    seeds = "" if sweep.seeds == 1 else f", {sweep.points} points with {sweep.seeds} seeds each"
    print(f"{sweep.name}: {sweep.budget} trials of {sweep.base.run.steps} steps of {sweep.base.name}{seeds}")
    print(f"space      {format_space(sweep.space)}")
    print(f"sampler    {sweep.chosen_sampler}, pruner {sweep.pruner}")
    print(f"metric     {sweep.metric}, {sweep.chosen_direction}d")


def _print_settings(experiment: Experiment, declared: Experiment, describe: bool) -> None:
    before, after, known = flatten(declared), flatten(experiment), meanings.meanings()
    width = max(map(len, after))
    for key, value in after.items():
        if key != "name":
            was = f"  (declared {format_value(before.get(key))})" if before.get(key, value) != value else ""
            print(f"{key:<{width}} {format_value(value)}{was}")
            if describe:
                print(_described(known[key]) + "\n")


def params(
    name: Name,
    overrides: Overrides = None,
    paths: Annotated[bool, flag("--paths", "List parameters by path, and which are frozen.")] = False,
    json: Json = False,
) -> None:
    """Count parameters by component, with shapes."""
    count = partial(_counted, name, overrides)
    asks = _asks_files(experiments.get(name), parse_assignments(overrides or []))
    counted = count() if asks else parameter_table(declared(name, overrides), count)
    if json:
        print_json({name: counted[name] for name in ("total", "trained", "components")})
        return
    if paths:
        print_paths(counted["components"])
    else:
        _print_table(counted)
    if counted["trained"] < counted["total"]:
        print(f"\n{counted['trained']:,} of {counted['total']:,} parameters train")


def _print_table(counted: Mapping[str, Any]) -> None:
    rows = [
        (title, ", ".join("×".join(map(str, shape)) for shape in shapes), formula, letter)
        for title, shapes, formula, _, letter in counted["lines"]
    ]
    titles, shapes, formulas, _ = (max(map(len, column)) for column in zip(*rows, strict=True))
    for (*_, count, _), (title, shape, formula, letter) in zip(counted["lines"], rows, strict=True):
        row = f"{title:<{titles}}  {shape:<{shapes}}  {formula:<{formulas}}  {count:>13,}  {letter}"
        print(row.rstrip())
    if any(letter for *_, letter in rows):
        print(f"\n{counted['account']}")


def _counted(name: str, overrides: list[str] | None) -> dict[str, Any]:
    experiment = resolve(name, overrides)
    model, freeze = experiment.model, experiment.optimizer.freeze
    with starting():
        from research.bench.parameter_table import ACCOUNT
        from research.bench.parameter_table import parameter_table as lines_of
        from research.config.sections.freezing import share_trained
        from research.models.parameters import components
    listed = [
        component._asdict() | {"trained": int(component.count * share_trained(freeze, component.name, model))}
        for component in components(model)
    ]
    totals = {
        "total": sum(component["count"] for component in listed),
        "trained": sum(component["trained"] for component in listed),
    }
    return totals | {"components": listed, "lines": lines_of(model), "account": ACCOUNT}
