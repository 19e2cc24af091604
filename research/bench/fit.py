"""Settings with which a step fits into a device's memory, found by compiling it with them."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from research.config import Experiment
from research.config.settings import differences, format_value, override
from research.devices.memory import Need
from research.training.placement import DoesNotFit


def fitting(
    experiment: Experiment, settle: Callable[[Experiment], Experiment], devices: int
) -> Experiment | None:
    """The first of `candidates` that fits, settled; None where none does."""
    for candidate in candidates(experiment, devices):
        try:
            return settle(candidate)
        except DoesNotFit:
            continue
    return None


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
