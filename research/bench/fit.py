"""A plan that fits into a device's memory, as declared or with settings that are found by compiling."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

from research.bench.plan import Plan, build, plan, usable_of
from research.config import Experiment
from research.config.settings import differences, format_value, override
from research.devices.memory import Need
from research.devices.targets import Chip
from research.models.platform import tracing_for_device
from research.training.placement import DoesNotFit, settled


def plan_for(
    experiment: Experiment,
    devices: Sequence[Any],
    chip: Chip | None,
    search: bool = False,
    together: int = 1,
) -> tuple[Experiment, Plan]:
    """`experiment` settled for `devices` of the kind `chip`, and its plan; of so many runs in one program.

    Raises DoesNotFit, with the largest batch that does fit; with `search` only where no candidate fits.
    """
    built, usable = cache(partial(build, devices=devices, together=together)), usable_of(chip)

    def need(tried: Experiment) -> Need:
        return built(tried).need

    def settle(tried: Experiment) -> Experiment:
        with tracing_for_device(devices[0]):
            return settled(tried, devices, usable, need)

    try:
        chosen = settle(experiment)
        planned = plan(chosen, devices, chip, built(chosen), together)
        if usable is not None and planned.peak > usable:
            batch = largest_batch(chosen, need, planned.rows, usable)
            smaller = f"; data.batch={batch} fits" if batch else ""
            raise DoesNotFit(
                f"{(planned.peak - usable) / 1e9:.2f} GB too much{smaller}; "
                "--fit searches the overrides with which it does"
            )
    except DoesNotFit:
        if not search:
            raise
        chosen = fitting(experiment, settle, len(devices))
        planned = plan(chosen, devices, chip, built(chosen), together)
    return chosen, planned


def fitting(experiment: Experiment, settle: Callable[[Experiment], Experiment], devices: int) -> Experiment:
    """The first of `candidates` that fits, settled. Raises DoesNotFit where none does."""
    for candidate in candidates(experiment, devices):
        try:
            return settle(candidate)
        except DoesNotFit:
            continue
    raise DoesNotFit(
        "no parallel.accumulate, model.remat or parallel.fsdp makes it fit; expected more devices"
    )


def candidates(experiment: Experiment, devices: int) -> Iterator[Experiment]:
    """`experiment`, then with what costs more and more time: blocks computed again, the state split."""
    layouts = [{}]
    if experiment.parallel.compile in ("auto", "sharded") and devices > experiment.parallel.tensor:
        layouts.append({"parallel.data": 1, "parallel.fsdp": devices // experiment.parallel.tensor})
    for layout in layouts:
        for remat in dict.fromkeys((experiment.model.remat, "block")):
            yield override(experiment, layout | {"model.remat": remat, "parallel.accumulate": "auto"})


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
