"""Memory: how much a compiled step needs, from its compiler, and how much a device has."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from jax import ShapeDtypeStruct

from research.devices.compilers import Compiled
from research.devices.processes import smallest
from research.devices.sharding import bytes_on_each

# Share of the memory that JAX reserves. The rest is for uses that no compiler counts: cuDNN's workspace,
# autotuning, prefetched batches, fragmentation.
USABLE = 0.95


class Need(NamedTuple):
    """Bytes that a step needs on one device."""

    state: int
    temporaries: int  # gradients, activations and gathered arrays, at the program's peak
    peak: int  # with the state and the batch
    donated: int  # of the old state, overwritten by the new one


def compile_step(
    program: Compiled, abstract: Any, shapes: Mapping[str, tuple], steps: int = 1
) -> tuple[str, Need]:
    """Compiles the step for `steps` batches of `shapes`; returns its text and the memory it needs.

    If the step does not fit, a TPU's compiler refuses it, and the text is empty.
    """
    placed = jax.tree.map(
        lambda leaf, sharding: ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        abstract,
        program.layout,
    )
    batch = {
        name: ShapeDtypeStruct(shape, dtype, sharding=program.rows) for name, (shape, dtype) in shapes.items()
    }
    state = bytes_on_each(abstract, program.layout)
    try:
        done = program.lower(placed, batch if steps == 1 else [batch] * steps).compile()
    except jax.errors.JaxRuntimeError as error:
        temporaries = _refused(str(error), state)
        if temporaries is None:
            raise
        return "", Need(state, temporaries, state + temporaries, state)
    used = done.memory_analysis()
    assert used is not None  # every compiler that JAX ships reports it
    outside = used.argument_size_in_bytes + used.output_size_in_bytes - used.alias_size_in_bytes
    temporaries = used.temp_size_in_bytes
    return done.as_text(), Need(state, temporaries, outside + temporaries, used.alias_size_in_bytes)


def usable_memory(devices: Sequence[Any]) -> int | None:
    """Bytes that a program may use on the smallest of these devices; None if unknown, as on a CPU.

    It is the same in all processes, which must choose the same program.
    """
    here = [device for device in devices if device.process_index == jax.process_index()]
    limits = [(device.memory_stats() or {}).get("bytes_limit") for device in here]
    known = [int(USABLE * limit) // 2**20 for limit in limits if limit]
    least = smallest(min(known, default=None))
    return None if least is None else least * 2**20


def fewest_parts(rows: int, need: Callable[[int], Need], usable: int) -> int | None:
    """The fewest equal parts of a device's `rows` with which the step fits; None if none does.

    `need(parts)` compiles. Memory beside the state grows with the rows, so each compilation shows which
    number to try next.
    """
    parts = 1
    while True:
        found = need(parts)
        if found.peak <= usable:
            return parts
        each = (found.peak - found.state) / (rows / parts)
        fits = max((usable - found.state) / each, 1)
        more = [count for count in range(parts + 1, rows + 1) if rows % count == 0]
        if not more:
            return None
        parts = next((count for count in more if rows / count <= fits), more[-1])


def _refused(message: str, state: int) -> int | None:
    """Bytes of temporaries, from a TPU compiler's out-of-memory message."""
    for form, beside in (
        (r"Used ([\d.]+)([KMG]) of \S+ hbm", state),
        (r"HLO temporaries \(([\d.]+)([KMG])\)", 0),
    ):
        if match := re.search(form, message):
            return int(float(match[1]) * {"K": 2**10, "M": 2**20, "G": 2**30}[match[2]]) - beside
    return None
