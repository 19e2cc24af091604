"""Plans that fit into a device's memory: as declared, or with settings found by compiling."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

from research.bench.plan import Plan, build, plan, usable_of
from research.config import Experiment
from research.config.settings import differences, override
from research.config.values import format_value
from research.devices.memory import Need
from research.devices.targets import Chip
from research.models.platform import tracing_for_device
from research.training.placement import DoesNotFit, settled

Planned = tuple[Experiment, Plan]  # a settled experiment and its plan
REMAT = ("none", "dots", "block")  # by decreasing memory and increasing recomputation


def planner(devices: Sequence[Any], chip: Chip | None, together: int = 1) -> Callable[[Experiment], Planned]:
    """A function that settles an experiment for `devices` of kind `chip` and plans `together` runs of it.

    The function compiles each program once. It raises DoesNotFit with the largest batch that fits.
    """
    built, usable = cache(partial(build, devices=devices, together=together)), usable_of(chip)

    def planned_for(experiment: Experiment) -> Planned:
        with tracing_for_device(devices[0]):
            chosen = settled(experiment, devices, usable, lambda tried: built(tried).need)
        planned = plan(chosen, devices, chip, built(chosen), together)
        if usable is not None and planned.peak > usable:
            batch = largest_batch(chosen, lambda tried: built(tried).need, planned.rows, usable)
            smaller = f"; data.batch={batch} fits" if batch else ""
            raise DoesNotFit(
                f"{(planned.peak - usable) / 1e9:.2f} GB too much{smaller}; "
                "--fit searches for overrides that make it fit"
            )
        return chosen, planned

    return planned_for


def search(
    experiment: Experiment,
    devices: int,
    planned_for: Callable[[Experiment], Planned],
    show: Callable[[str], None] = lambda text: None,
) -> list[Planned]:
    """Searches layouts and `model.remat` for plans that fit, and sorts them by their minimum time.

    Once a layout fits the whole batch at once, it tries no more recomputation there; if that needs no change,
    it stops. Without bounds, it returns only the first plan that fits. `show` gets the settings being
    compiled. Raises DoesNotFit if none fits.
    """
    found: list[Planned] = []
    tried, remats = 0, REMAT[REMAT.index(experiment.model.remat) :]
    for layout in layouts(experiment, devices):
        for remat in remats:
            changed = override(experiment, layout | {"model.remat": remat, "parallel.accumulate": "auto"})
            tried, most = tried + 1, len(remats) * len(layouts(experiment, devices))
            show(f"{tried} of up to {most}: {' '.join(typed(experiment, changed)) or 'as declared'}")
            try:
                found.append(planned_for(changed))
            except DoesNotFit:
                continue
            latest = found[-1][1]
            if latest.bound is None:
                return found[-1:]
            if latest.accumulate == 1:
                if remat == experiment.model.remat and not layout:
                    return found[-1:]
                break
    if not found:
        raise DoesNotFit(
            "no parallel.accumulate, model.remat or parallel.fsdp makes it fit; expected more devices"
        )
    return sorted(found, key=lambda each: each[1].bound.seconds if each[1].bound else math.inf)


def layouts(experiment: Experiment, devices: int) -> list[dict[str, Any]]:
    """Overrides: the layout as declared, and the state split over all devices."""
    parallel = experiment.parallel
    if parallel.compile not in ("auto", "sharded") or devices <= parallel.tensor:
        return [{}]
    return [{}, {"parallel.data": 1, "parallel.fsdp": devices // parallel.tensor}]


def largest_batch(experiment: Experiment, need: Callable[[Experiment], Need], rows: int, usable: int) -> int:
    """The largest data.batch below the declared one that fits, by a line through two sizes, and compiled.

    `rows` are the sequences that a device works on at once as declared. 0 where not even one fits.
    """
    others = experiment.data.batch // rows  # devices times parts

    def with_rows(rows: int) -> Need:
        return need(replace(experiment, data=replace(experiment.data, batch=rows * others)))

    small = with_rows(1)
    if small.peak > usable or rows == 1:
        return 0
    each = max((with_rows(rows).peak - small.peak) / (rows - 1), 1)
    found = min(int(1 + (usable - small.peak) / each), rows - 1)
    while found > 1 and with_rows(found).peak > usable:
        found = min(int(found * 0.95), found - 1)
    return found * others


def typed(before: Experiment, after: Experiment) -> list[str]:
    """The overrides that make one of the other."""
    return [f"{name}={format_value(value)}" for name, (_, value) in differences(before, after).items()]
