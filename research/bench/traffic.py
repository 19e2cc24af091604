"""Bytes and floating-point operations of a launch, from the program's text.

An operand of which a fusion reads only slices counts with the slices, and an array that is updated in place
with the update. Elementwise arithmetic is not counted: on accelerators it hides behind memory.
"""

import math
import re
from typing import NamedTuple

from research.bench.hlo import COLLECTIVES, Computation, Launch, Operation, Program

SLICES = ("dynamic-slice", "slice", "gather")
# A chain of these over all elements of a slice's source reads no more than the slice.
ELEMENTWISE = {
    "bitcast",
    "convert",
    "multiply",
    "add",
    "subtract",
    "divide",
    "negate",
    "exponential",
    "select",
    "compare",
    "reshape",
}
CHAIN = 8  # steps that are followed
ATTENTION = "__cudnn$fmha"
# Products of an attention's forward and backward pass, each of 2·L·S·K operations a head.
PRODUCTS = {False: 2, True: 5}


class Cost(NamedTuple):
    """Of one execution."""

    kind: str  # "product", "attention", "memory", or a collective's
    read: float
    written: float
    operations: float


def cost(program: Program, launch: Launch) -> Cost:
    operation, inside = launch.operation, launch.inside
    read, written = _traffic(program, operation, inside)
    kind = operation.kind.removesuffix("-start")
    if kind in COLLECTIVES:
        return Cost(kind, read, written, 0)
    if ATTENTION in operation.attributes:
        return Cost("attention", read, written, _attention(operation, inside))
    work = _products(program, operation, inside)
    return Cost("product" if work else "memory", read, written, work)


def products(
    program: Program, operation: Operation, inside: Computation
) -> list[tuple[Operation, Computation]]:
    """The matrix products in an operation, and in the fusions that it contains."""
    if operation.kind in ("dot", "convolution"):
        return [(operation, inside)]
    if operation.kind != "fusion" or operation.called is None:
        return []
    body = program.computations[operation.called]
    return [found for each in body.values() for found in products(program, each, body)]


def _products(program: Program, operation: Operation, inside: Computation) -> float:
    return sum(_product(dot, where) for dot, where in products(program, operation, inside))


def _product(dot: Operation, inside: Computation) -> float:
    left, right = (inside[name].results[0] for name in dot.operands[:2])
    elements = dot.results[0].elements
    if dot.kind == "dot":
        axes = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", dot.attributes)
        assert axes is not None
        return 2 * elements * math.prod(left.sizes[int(axis)] for axis in axes[1].split(",") if axis)
    labels = re.search(r"dim_labels=\w+_(\w+)->", dot.attributes)
    assert labels is not None
    return 2 * elements * right.elements / right.sizes[labels[1].index("o")]


def _attention(operation: Operation, inside: Computation) -> float:
    """cuDNN's: queries (B, L, H, K) and keys (B, S, H, K) are the first operands; a causal one needs half."""
    queries, keys = (inside[name].results[0].sizes for name in operation.operands[:2])
    work = 2 * PRODUCTS["Backward" in operation.attributes] * math.prod(queries) * keys[1]
    return work / 2 if re.search(r'mask_type": ?"CAUSAL', operation.attributes) else work


def _traffic(program: Program, operation: Operation, inside: Computation) -> tuple[float, float]:
    """Bytes read and written."""
    operands = [inside[name] for name in operation.operands if name in inside]
    if operation.kind == "dynamic-update-slice":
        return (update := _bytes(operands[1])), update
    if operation.kind in SLICES:
        return _bytes(operation), _bytes(operation)
    if operation.kind != "fusion" or operation.called is None:
        return sum(map(_bytes, operands)), _bytes(operation)
    body = program.computations[operation.called]
    parameters = [each for each in body.values() if each.kind == "parameter"]
    users: dict[str, list[Operation]] = {name: [] for name in body}
    for each in body.values():
        for name in each.operands:
            users[name].append(each)
    read = sum(min(_bytes(each), _read(each, users, CHAIN)) for each in parameters)
    root = next(each for each in body.values() if each.root)
    return read, _written(root, body)


def _bytes(operation: Operation) -> int:
    return sum(shape.bytes for shape in operation.results)


def _read(operation: Operation, users: dict[str, list[Operation]], steps: int) -> float:
    """Bytes that are read of an array by way of slices; infinite where something reads all of it."""
    total = 0.0
    for user in users[operation.name]:
        first = user.operands[0] == operation.name
        if user.kind in SLICES and first:
            total += _bytes(user)
        elif user.kind == "dynamic-update-slice" and first:
            continue  # in place: the rest stays where it is
        elif (
            steps
            and not user.root
            and user.kind in ELEMENTWISE
            and user.results[0].elements == operation.results[0].elements
        ):
            total += _read(user, users, steps - 1)
        else:
            return math.inf
    return total


def _written(operation: Operation, body: Computation) -> float:
    if operation.kind == "bitcast":
        return _written(body[operation.operands[0]], body)
    if operation.kind == "tuple":
        return sum(_written(body[name], body) for name in operation.operands)
    if operation.kind == "dynamic-update-slice":
        return _bytes(body[operation.operands[1]])
    if operation.kind == "scatter" and len(operation.operands) > 2:
        return 2 * _bytes(body[operation.operands[2]])
    return _bytes(operation)
