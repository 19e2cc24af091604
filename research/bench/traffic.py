"""Bytes and operations of a launch, from the program's text.

An operand of which a fusion reads only slices counts with the slices, and an array that is updated in place
with the update. Of elementwise arithmetic only that of random numbers is counted, on unsigned integers: all
other hides behind memory.
"""

import math
import re
from typing import NamedTuple

from research.bench.hlo import COLLECTIVES, Computation, Launch, Operation, Program

COPIES = ("copy-start", "slice-start")  # to or from a TPU's vector memory, beside other launches
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
INTEGER = ("add", "multiply", "xor", "and", "or", "shift-left", "shift-right-logical")
FLOATS = ("bf16", "f16", "f32")
CHAIN = 8  # steps that are followed
INTEGERS_A_FACTOR = 10  # operations of `models/ops/dropout.py: hashed` on an element
# Products in a launch of fused attention, each of 2·L·S·K operations a head, by a part of its name. Kernels
# that do not keep the scores compute them again in each backward launch.
ATTENTION = {
    "__cudnn$fmhaSoftmaxBackward": 5,
    "__cudnn$fmha": 2,
    "splash_mha_fwd": 2,
    "splash_mha_dq": 3,
    "splash_mha_dkv": 4,
    "tpu_flash_forward": 2,
    "tpu_flash_backward": 5,
    "flash_forward": 2,
    "flash_backward": 7,
}


class Cost(NamedTuple):
    """Of one execution."""

    kind: str  # "product", "attention", "memory", or a collective's
    read: float
    written: float
    operations: float
    float32: bool = False  # whether a product has operands of float32
    integers: float = 0  # elementwise operations on unsigned integers


def cost(program: Program, launch: Launch) -> Cost:
    operation, inside = launch.operation, launch.inside
    kind = operation.kind.removesuffix("-start")
    if kind in COLLECTIVES:
        return Cost(kind, *_sent(operation, inside), 0)
    read, written = _traffic(program, operation, inside)
    if operation.kind == "custom-call" and (name := _fused(operation)):
        return Cost("attention", read, written, *_attention(operation, inside, name))
    found = products(program, operation, inside)
    work = sum(_product(dot, where) for dot, where in found)
    single = any(where[name].results[0].dtype == "f32" for dot, where in found for name in dot.operands[:2])
    integers = _integers(program, operation)
    return Cost("product" if found else "memory", read, written, work, single, integers)


def products(
    program: Program, operation: Operation, inside: Computation
) -> list[tuple[Operation, Computation]]:
    """The matrix products in an operation, and in the fusions that it contains."""
    if operation.kind in ("dot", "convolution") or _by_library(operation):
        return [(operation, inside)]
    if operation.kind != "fusion" or operation.called is None:
        return []
    body = program.computations[operation.called]
    return [found for each in body.values() for found in products(program, each, body)]


def _product(dot: Operation, inside: Computation) -> float:
    left, right = (inside[name].results[0] for name in dot.operands[:2])
    if dot.kind == "convolution":
        return _convolution(dot, left.sizes, right.sizes)
    axes = re.search(r'lhs_contracting_dim(?:ension)?s"?[=:][{\[]([\d,"]*)[}\]]', dot.attributes)
    assert axes is not None
    shared = math.prod(left.sizes[int(axis)] for axis in re.findall(r"\d+", axes[1]))
    return 2 * dot.results[0].elements * shared


def _by_library(operation: Operation) -> bool:
    """Whether it is a product of cuBLAS, whose second result is a workspace."""
    return operation.kind == "custom-call" and "__cublas" in operation.attributes


def _convolution(operation: Operation, left: tuple[int, ...], right: tuple[int, ...]) -> float:
    """Operations of a convolution, as which a TPU's compiler writes products.

    Axes that two operands share become windows over dilated or padded axes: most of their places hold zeros,
    which are left out.
    """
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", operation.attributes)
    assert labels is not None
    axes, result = labels.groups(), operation.results[0].sizes
    window = re.search(r"window=\{([^}]*)\}", operation.attributes)
    facts = dict(fact.split("=") for fact in window[1].split()) if window else {}
    pairs = 1
    for n in range(sum(label.isdigit() for label in axes[0])):
        stride, dilation, (before, *_) = (
            [int(number) for number in facts.get(name, default).split("x")[n].split("_")]
            if name in facts
            else [int(default)]
            for name, default in (("stride", "1"), ("lhs_dilate", "1"), ("pad", "0"))
        )
        inputs, outputs = left[axes[0].index(str(n))], result[axes[2].index(str(n))]
        places = (
            place * stride[0] + offset - before
            for place in range(outputs)
            for offset in range(right[axes[1].index(str(n))])
        )
        pairs *= sum(0 <= place < inputs * dilation[0] and place % dilation[0] == 0 for place in places)
    features = result[axes[2].index("b")] * result[axes[2].index("f")] * right[axes[1].index("i")]
    return 2 * features * pairs


def _integers(program: Program, operation: Operation) -> float:
    if operation.kind == "fusion" and operation.called is not None:
        return sum(_integers(program, each) for each in program.computations[operation.called].values())
    if operation.kind not in INTEGER or operation.results[0].dtype != "u32":
        return 0
    return operation.results[0].elements


def _fused(operation: Operation) -> str | None:
    """Which of `ATTENTION` an operation launches, if any."""
    return next((name for name in ATTENTION if name in operation.name + operation.attributes), None)


def _attention(operation: Operation, inside: Computation, name: str) -> tuple[float, bool, float]:
    """Operations of products, whether they are of float32, and operations on integers. Causal: half of them.

    Queries and keys are the first large operands, (B, L, H, K) to cuDNN and (B, H, L, K) on a TPU; on a GPU
    flash takes queries, keys and values in one, (B, L, 3, H, K). Of one row there may be no axis B.
    """
    shapes = [inside[each].results[0] for each in operation.operands]
    sizes = [shape.sizes for shape in shapes if shape.dtype in FLOATS and len(shape.sizes) > 2]
    if name.startswith("flash"):
        *rows, length, _, heads, size = sizes[0]
        scores = math.prod(rows) * heads * length**2
    else:
        queries, keys = sizes[:2]
        size = queries[-1]
        scores = math.prod(queries[:-1]) * keys[-3 if name.startswith("__cudnn") else -2]
    if re.search(r'mask_type": ?"CAUSAL|[/"]causal/', operation.attributes):
        scores /= 2
    hashes = (
        name.count("flash") * (2 if "backward" in name else 1) if "/dropout/" in operation.attributes else 0
    )
    return 2 * ATTENTION[name] * scores * size, False, INTEGERS_A_FACTOR * hashes * scores


def _sent(operation: Operation, inside: Computation) -> tuple[int, int]:
    """Bytes that a collective takes and gives, in whatever memory. One that only starts may also return what
    it takes."""
    taken = sum(shape.bytes for name in operation.operands for shape in inside[name].results)
    given = sum(shape.bytes for shape in operation.results)
    return taken, given - taken if operation.kind.endswith("-start") and given > taken else given


def _traffic(program: Program, operation: Operation, inside: Computation) -> tuple[float, float]:
    """Bytes read and written."""
    operands = [inside[name] for name in operation.operands if name in inside]
    if operation.kind in COPIES:
        source, copied = operation.results[:2]
        return copied.bytes * (not source.in_vmem), copied.bytes * (not copied.in_vmem)
    if operation.kind == "dynamic-update-slice":
        return (update := _bytes(operands[1])), update
    if operation.kind in SLICES:
        return _bytes(operation), _bytes(operation)
    if _by_library(operation):
        return sum(map(_bytes, operands)), operation.results[0].bytes
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
    return read, _written(root, body) if _bytes(operation) else 0


def _bytes(operation: Operation) -> int:
    return sum(shape.bytes for shape in operation.results if not shape.in_vmem)


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
