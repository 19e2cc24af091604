"""What is declared: experiments, their settings, their parameters."""

import json as json_
from collections import defaultdict

import experiments
from research.config import Experiment, flatten, override, parse_assignments, to_json


def resolve(name: str, overrides: list[str] | None) -> Experiment:
    """The experiment `name` with `a.b=v` texts applied."""
    return override(experiments.get(name), parse_assignments(overrides or []))


def list_experiments(json: bool) -> None:
    lines = {name: experiments.describe(name).splitlines()[0] for name in experiments.names()}
    if json:
        print(json_.dumps(lines, indent=2))
        return
    width = max(map(len, lines))
    for name, line in lines.items():
        print(f"{name:<{width}}  {line}")


def show_experiment(name: str, overrides: list[str] | None, json: bool) -> None:
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
    return str(value).lower() if isinstance(value, bool) else str(value)


def show_parameters(name: str, overrides: list[str] | None, json: bool) -> None:
    from research.models.account import account

    components = account(resolve(name, overrides).model)
    total = sum(component.count for component in components)
    if json:
        listed = [component._asdict() for component in components]
        print(json_.dumps({"total": total, "components": listed}, indent=2))
        return
    sums = defaultdict(int)
    for component in components:
        shape = " × ".join(map(str, component.shape))
        print(f"{component.name:<32} {shape:>24} {component.count:>15,}")
        sums[component.name.split("/")[0]] += component.count
    print()
    for room, count in sums.items():
        print(f"{room:<32} {'':>24} {count:>15,}")
    print(f"{'total':<32} {'':>24} {total:>15,}")
