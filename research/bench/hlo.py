"""Parses a compiled program (optimized HLO): its operations, and how often each is launched."""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

BYTES = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2} | dict.fromkeys(
    ("s64", "u64", "f64", "c64"), 8
)  # of a type; any other has 4
ARRAY = re.compile(r"\b((?:bf|f|s|u|c)\d+|pred)\[([\d,]*)\](?:\{([^}]*)\})?")
OPERATION = re.compile(r"^\s+(ROOT )?%([\w.\-]+) = (.*)$")
COMPUTATION = re.compile(r"^(ENTRY )?%([\w.\-]+) \(.*\{$")
KIND = re.compile(r"([\w\-]+)\(")
CALLED = re.compile(r"(?:calls|to_apply|called_computations=\{)=?%([\w.\-]+)")
KERNEL_METADATA = re.compile(r"kernel_metadata=\{\n(.*)\n\}\}")  # of a Pallas kernel, on its own lines
# These launch nothing.
FREE = {
    "parameter",
    "constant",
    "get-tuple-element",
    "tuple",
    "bitcast",
    "after-all",
    "partition-id",
    "replica-id",
    "opt-barrier",
}
# On a TPU: reserved memory, assertions, and views.
FREE_CALLS = re.compile(r'target="(AllocateBuffer|Assume\w+|ConcatBitcast)"')
COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")


class Shape(NamedTuple):
    dtype: str
    sizes: tuple[int, ...]
    in_vmem: bool = False  # in a TPU's vector memory, where transfers are almost free

    @property
    def elements(self) -> int:
        return math.prod(self.sizes)

    @property
    def bytes(self) -> int:
        return self.elements * BYTES.get(self.dtype, 4)


class Operation(NamedTuple):
    name: str
    kind: str
    results: tuple[Shape, ...]
    operands: tuple[str, ...]  # names, within the same computation
    arguments: str  # as written: a parameter's number, a constant's value
    attributes: str
    root: bool

    @property
    def called(self) -> str | None:
        """The computation of a fusion, a call or a reduction."""
        match = CALLED.search(self.attributes)
        return match and match[1]


Computation = dict[str, Operation]


class Program(NamedTuple):
    entry: str
    computations: dict[str, Computation]


class Launch(NamedTuple):
    """An operation that the device executes as a unit."""

    operation: Operation
    times: int  # a step
    inside: Computation  # the computation where its operands are found


def parse(text: str) -> Program:
    computations: dict[str, Computation] = {}
    entry, current = "", None
    for line in KERNEL_METADATA.sub(r"kernel_metadata={\1}}", text).splitlines():
        if current is None:
            if (begins := COMPUTATION.match(line)) is not None:
                current = computations[begins[2]] = {}
                entry = begins[2] if begins[1] else entry
        elif line.startswith("}"):
            current = None
        elif (match := OPERATION.match(line)) is not None:
            current[match[2]] = _operation(match[2], match[3], bool(match[1]))
    return Program(entry, computations)


def shapes(text: str) -> tuple[Shape, ...]:
    return tuple(
        Shape(
            dtype, tuple(int(size) for size in sizes.split(",") if size), "T(" in layout and "S(1)" in layout
        )
        for dtype, sizes, layout in ARRAY.findall(text)
    )


def _operation(name: str, text: str, root: bool) -> Operation:
    end = _closing(text, 0) if text.startswith("(") else text.index(" ")
    kind = KIND.search(text, end)
    assert kind is not None, text
    begin = kind.end() - 1
    close = _closing(text, begin)
    arguments = text[begin + 1 : close - 1]
    names = tuple(re.findall(r"%([\w.\-]+)", arguments))
    return Operation(name, kind[1], shapes(text[:end]), names, arguments, text[close:], root)


def _closing(text: str, begin: int) -> int:
    """The position after the bracket that closes the one at `begin`."""
    depth = 0
    for match in re.compile(r"[()]").finditer(text, begin):
        depth += 1 if match[0] == "(" else -1
        if depth == 0:
            return match.end()
    raise ValueError(f"no closing bracket: {text[:80]}")


def launches(program: Program) -> list[Launch]:
    """All launches of a step; loops count by their trips, conditionals by their last branch, the update."""
    return list(_launches(program, program.entry, 1))


def _launches(program: Program, name: str, times: int) -> Iterator[Launch]:
    computation = program.computations[name]
    for operation in computation.values():
        attributes = operation.attributes
        if operation.kind == "while":
            turns, body = _turns(program, attributes), _part(attributes, "body")
            yield from _launches(program, body, times * turns)
        elif operation.kind == "conditional":
            branches = re.findall(r"(?:true|false)_computation=%([\w.\-]+)", attributes)
            if listed := re.search(r"branch_computations=\{([^}]*)\}", attributes):
                branches = re.findall(r"%([\w.\-]+)", listed[1])
            yield from _launches(program, branches[-1], times)
        elif operation.kind in ("call", "async-start"):
            assert operation.called is not None
            yield from _launches(program, operation.called, times)
        elif operation.kind == "custom-call" and FREE_CALLS.search(attributes):
            continue
        elif operation.kind not in FREE and not operation.kind.endswith(("-done", "-update")):
            yield Launch(operation, times, computation)


def _turns(program: Program, attributes: str) -> int:
    """The trip count of a loop: written in the text for a GPU; for a TPU, found by comparing a counter."""
    if (count := re.search(r'known_trip_count":\{"n":"(\d+)"', attributes)) is not None:
        return int(count[1])
    condition, body = (program.computations[_part(attributes, name)] for name in ("condition", "body"))
    root = _root(condition)
    if root.kind != "compare" or "direction=LT" not in root.attributes:
        return 1
    counter, limit = (condition[name] for name in root.operands)
    if limit.kind != "constant":
        return 1
    place = re.search(r"index=(\d+)", counter.attributes)
    # A loop that multiplies one piece of a gathered array while it sends the next counts several per trip.
    counted = body[_root(body).operands[int(place[1])]] if place else None
    added = [body[name] for name in counted.operands] if counted is not None and counted.kind == "add" else []
    step = next((int(each.arguments) for each in added if each.kind == "constant"), 1)
    return math.ceil(int(limit.arguments) / step)


def _part(attributes: str, name: str) -> str:
    """The computation that an operation calls its `name`."""
    match = re.search(rf"{name}=%([\w.\-]+)", attributes)
    assert match is not None
    return match[1]


def _root(computation: Computation) -> Operation:
    return next(each for each in computation.values() if each.root)
