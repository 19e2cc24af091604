"""The least time that a compiled step can take on a target, from its text.

Each launch takes at least the time of its products at the peak rate, or that of its bytes at the memory's
bandwidth, or on a GPU that of its random numbers; launches follow one another. A TPU's copies to its vector
memory run beside them, so all bytes together are a bound too. Communication may overlap with everything, so
the longest of the three counts. A program that runs may well take twice as long: this is a
bound and no estimate.
"""

from collections import Counter, defaultdict
from typing import NamedTuple

from research.bench.hlo import COLLECTIVES, Launch, launches, parse
from research.bench.traffic import COPIES, cost
from research.devices.targets import Chip


class Kernel(NamedTuple):
    """One launch's part in the bound."""

    name: str
    where: str  # the operation in the model's own code that it comes from
    times: int
    seconds: float  # of all times together
    bytes: float


class Bound(NamedTuple):
    seconds: float
    products: float  # seconds of matrix products and attention
    memory: float  # seconds of all else that reads and writes memory
    links: float  # seconds of communication between devices
    launches: int
    bytes: float
    attention: int  # launches of a library's fused attention
    collectives: dict[str, tuple[int, float]]  # kind → launches, bytes that leave or enter a device
    largest: list[Kernel]  # of memory's, the longest first


def bound_of(text: str, chip: Chip) -> Bound:
    """The bound of a program on devices of this kind."""
    program = parse(text)
    seconds: defaultdict[str, float] = defaultdict(float)
    counts: Counter[str] = Counter()
    moved: defaultdict[str, float] = defaultdict(float)
    kernels = []
    for launch in launches(program):
        kind, read, written, operations, float32, integers = cost(program, launch)
        each = read + written
        counts[kind] += launch.times
        moved[kind] += launch.times * (max(read, written) if kind in COLLECTIVES else each)
        if kind in COLLECTIVES:
            seconds["links"] += launch.times * max(read, written) / chip.link
            continue
        if launch.operation.kind in COPIES:
            continue
        peak = chip.float32 if float32 else chip.half
        random = integers / chip.integers if chip.integers else 0
        took = launch.times * max(operations / peak, each / chip.bandwidth, random)
        seconds["memory" if kind == "memory" else "products"] += took
        if kind == "memory":
            name, where = launch.operation.name, _origin(launch)
            kernels.append(Kernel(name, where, launch.times, took, launch.times * each))
    busy = seconds["products"] + seconds["memory"]
    transfers = sum(moved[kind] for kind in moved if kind not in COLLECTIVES) / chip.bandwidth
    seconds["memory"] += max(transfers - busy, 0)
    busy = max(busy, transfers)
    return Bound(
        seconds=max(busy, seconds["links"]),
        products=seconds["products"],
        memory=seconds["memory"],
        links=seconds["links"],
        launches=sum(counts.values()),
        bytes=sum(moved.values()),
        attention=counts["attention"],
        collectives={kind: (counts[kind], moved[kind]) for kind in COLLECTIVES if counts[kind]},
        largest=sorted(kernels, key=lambda kernel: -kernel.seconds)[:12],
    )


def largest_gathered(text: str) -> int:
    """Bytes of the largest array that a program gathers from the parts that devices have; 0 for none."""
    gathers = ("all-gather", "all-gather-start")
    found = [launch.operation for launch in launches(parse(text)) if launch.operation.kind in gathers]
    return max((shape.bytes for operation in found for shape in operation.results), default=0)


def _origin(launch: Launch) -> str:
    _, _, rest = launch.operation.attributes.partition('op_name="')
    return rest.partition('"')[0]
