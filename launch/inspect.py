"""What is declared: experiments, their settings, their parameters."""

import json as json_

import experiments
from research.config import Experiment
from research.config.settings import flatten, override, parse_assignments, to_json


def resolve(name: str, overrides: list[str] | None) -> Experiment:
    """The experiment `name` with `a.b=v` texts applied."""
    return override(experiments.get(name), parse_assignments(overrides or []))


def list_experiments(json: bool) -> None:
    listed = experiments.names() + experiments.sweep_names()
    lines = {name: experiments.describe(name).splitlines()[0] for name in listed}
    if json:
        print(json_.dumps(lines, indent=2))
        return
    width = max(map(len, lines))
    for name, line in lines.items():
        print(f"{name:<{width}}  {line}")


def show_experiment(name: str, overrides: list[str] | None, json: bool) -> None:
    if name in experiments.sweep_names():
        from launch.sweep import show_sweep

        return show_sweep(name, overrides, json)
    experiment = resolve(name, overrides)
    if json:
        print(json_.dumps(to_json(experiment), indent=2))
        return
    declared = flatten(experiments.get(name))
    print(experiments.describe(name) + "\n")
    for key, value in flatten(experiment).items():
        if key == "name":
            continue
        was = f"  (declared {told(declared[key])})" if declared[key] != value else ""
        print(f"{key:<26} {told(value)}{was}")


def told(value) -> str:
    """A value as it would be typed in an override."""
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return ",".join(map(told, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def show_parameters(name: str, overrides: list[str] | None, json: bool) -> None:
    from research.models.parameters import components, parameter_table

    model = resolve(name, overrides).model
    if json:
        found = components(model)
        total = sum(component.count for component in found)
        listed = [component._asdict() for component in found]
        print(json_.dumps({"total": total, "components": listed}, indent=2))
        return
    rows = [
        (line.title, ", ".join("×".join(map(str, shape)) for shape in line.shapes), line.formula, line.count)
        for line in parameter_table(model)
    ]
    titles, shapes, formulas = (max(len(row[column]) for row in rows) for column in range(3))
    for title, shape, formula, count in rows:
        print(f"{title:<{titles}}  {shape:<{shapes}}  {formula:<{formulas}}  {count:>13,}")
