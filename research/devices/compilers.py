"""Ways to compile a pure (state, batch) → (state, sums) step."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, Sharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P

from research.config import Parallel
from research.devices import xla
from research.devices.malloc import release_free_memory
from research.devices.sharding import shardings
from research.errors import UsageError
from research.models.axes import ROWS


class Compiled(NamedTuple):
    layout: Any  # tree like the state: the sharding of each of its arrays
    rows: Sharding  # how a batch is split
    parts: int  # number of parts of a batch, which must divide its rows
    feed: Callable[[Any], Any]  # puts this process's rows of a batch on the devices, ahead of the step
    step: Callable  # (state, batch) → (state, sums); the old state is donated
    lower: Callable  # (state, batch) → the lowered step; `.compile()` compiles it
    evaluate: Callable  # (model, batch) → sums


def compiled(
    declared: Parallel,
    step: Callable,
    evaluate: Callable,
    abstract: Any,
    devices: Sequence[Any] | None = None,
) -> Compiled:
    """Compiles `step` and `evaluate` as declared, on their first call, for a state of `abstract`'s shapes.

    `devices` may be devices that this machine does not have; default: all local ones.
    """
    devices = devices or jax.devices()
    declared = with_compiler(declared, devices)
    return COMPILERS[declared.compile](declared, step, evaluate, abstract, devices)


def with_compiler(declared: Parallel, devices: Sequence[Any]) -> Parallel:
    """Resolves `parallel.compile=auto`. Devices of one CPU share its cores, so one is as fast as all.

    A number for an axis asks for a mesh; `mesh_of` refuses it if there are too few devices.
    """
    if declared.compile != "auto":
        return declared
    one = len(devices) == 1 or (devices[0].platform == "cpu" and jax.process_count() == 1)
    splits = declared.fsdp != 1 or declared.tensor != 1 or declared.data not in (-1, 1)
    return replace(declared, compile="jit" if one and not splits else "sharded")


def jit(
    declared: Parallel, step: Callable, evaluate: Callable, abstract: Any, devices: Sequence[Any]
) -> Compiled:
    """One device."""
    if jax.process_count() > 1:
        raise UsageError("parallel.compile=jit: runs in one process on one device; expected sharded or pmap")
    device = SingleDeviceSharding(_of_one_process(devices)[0])
    step = xla.jit(step, donate_argnums=0)
    return Compiled(
        layout=everywhere(device, abstract),
        rows=device,
        parts=declared.parts,
        feed=partial(_feed, device, declared.parts),
        step=step,
        lower=step.lower,
        evaluate=xla.jit(evaluate),
    )


def sharded(
    declared: Parallel, step: Callable, evaluate: Callable, abstract: Any, devices: Sequence[Any]
) -> Compiled:
    """All devices, one program: the compiler splits the batch and inserts the collectives."""
    mesh = mesh_of(declared, devices)
    layout = shardings(abstract, mesh)
    whole, rows = NamedSharding(mesh, P()), NamedSharding(mesh, P(ROWS))
    parts = declared.parts * mesh.shape["data"] * mesh.shape["fsdp"]
    step = xla.jit(_on(mesh, step), out_shardings=(layout, whole), donate_argnums=0)
    return Compiled(
        layout=layout,
        rows=rows,
        parts=parts,
        feed=partial(_feed, rows, parts),
        step=step,
        lower=step.lower,
        evaluate=xla.jit(_on(mesh, evaluate), out_shardings=whole),
    )


def pmap(
    declared: Parallel, step: Callable, evaluate: Callable, abstract: Any, devices: Sequence[Any]
) -> Compiled:
    """All devices, one program each: the step itself sums over the named axis."""
    mesh, local = mesh_of(declared, devices), _of_one_process(devices)
    here = Mesh(np.asarray(local), ("data",), axis_types=(AxisType.Auto,))
    # A first state with another layout than the step's results would compile the step twice.
    seen = here if jax.process_count() == 1 else mesh
    whole, rows = NamedSharding(seen, P()), NamedSharding(seen, P("data"))
    mapped = jax.pmap(
        partial(step, axis="data"),
        axis_name="data",
        in_axes=(None, 0),
        out_axes=None,
        donate_argnums=0,
        devices=None if local == jax.local_devices() else local,
    )

    def seen_here(state, batch):
        """A pmap sees only the devices of its own process, other code sees all."""
        if jax.process_count() > 1:
            state = _seen_from(NamedSharding(here, P()), state)
            batch = _seen_from(NamedSharding(here, P("data")), batch)
        return state, jax.tree.map(partial(_dealt, here.size), batch)

    def step_here(state, batch):
        state, sums = mapped(*seen_here(state, batch))
        return (_seen_from(whole, state) if jax.process_count() > 1 else state), sums

    return Compiled(
        layout=everywhere(whole, abstract),
        rows=rows,
        parts=declared.parts * mesh.size,
        feed=partial(_feed, rows, declared.parts * mesh.size),
        step=step_here,
        lower=lambda state, batch: mapped.lower(*seen_here(state, batch)),
        evaluate=xla.jit(evaluate, out_shardings=whole),
    )


def compile_ahead(program: Compiled, state: Any, batch: Any) -> None:
    """Compiles the step, and frees the compiler's memory before the step allocates its own."""
    program.lower(state, batch).compile()
    release_free_memory()


COMPILERS = {"jit": jit, "sharded": sharded, "pmap": pmap}


def mesh_of(declared: Parallel, devices: Sequence[Any] | None = None) -> Mesh:
    """The mesh data × fsdp × tensor over all devices; those of a process are adjacent.

    Raises UsageError if the product of the axes is not the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = {"data": declared.data, "fsdp": declared.fsdp, "tensor": declared.tensor}
    given = math.prod(size for size in sizes.values() if size != -1)
    if len(devices) % given == 0:
        sizes = {name: len(devices) // given if size == -1 else size for name, size in sizes.items()}
    if math.prod(sizes.values()) != len(devices):
        product = " × ".join(f"parallel.{name}={size}" for name, size in sizes.items())
        raise UsageError(f"{product}: expected a product of {len(devices)}, the number of devices")
    local = len(_of_one_process(devices))
    if local % sizes["tensor"]:
        raise UsageError(
            f"parallel.tensor={sizes['tensor']}: expected a divisor of the {local} devices of a process"
        )
    grid = np.asarray(devices).reshape(*sizes.values())
    return Mesh(grid, tuple(sizes), axis_types=(AxisType.Auto,) * 3)


def _of_one_process(devices: Sequence[Any]) -> list[Any]:
    """The devices of this process, or of the first process for devices that are not local."""
    mine = [device for device in devices if device.process_index == jax.process_index()]
    return mine or [device for device in devices if device.process_index == devices[0].process_index]


def check_rows(rows: int, parts: int) -> None:
    """Raises UsageError if `parts` does not divide `rows`."""
    if rows % parts:
        raise UsageError(f"data.batch={rows}: expected a multiple of {parts}, devices × parts")


def everywhere(sharding: Sharding, tree: Any) -> Any:
    """A tree with `sharding` at every leaf."""
    return jax.tree.map(lambda _: sharding, tree)


def _on(mesh: Mesh, function: Callable) -> Callable:
    """Traces `function` under the mesh, so that models can constrain shardings."""

    def traced(*arguments):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return function(*arguments)

    return traced


def _feed(sharding: Sharding, parts: int, batch: Any) -> Any:
    """Makes this process's rows (rows, …) a slice of the global batch."""
    check_rows(len(jax.tree.leaves(batch)[0]) * jax.process_count(), parts)
    if jax.process_count() == 1:
        return jax.device_put(batch, sharding)
    return jax.tree.map(partial(jax.make_array_from_process_local_data, sharding), batch)


def _dealt(devices: int, x: Any) -> Any:
    """An array (B, …), or its shape, as (devices, B / devices, …)."""
    shape = (devices, x.shape[0] // devices, *x.shape[1:])
    return jax.ShapeDtypeStruct(shape, x.dtype) if isinstance(x, jax.ShapeDtypeStruct) else x.reshape(shape)


def _seen_from(sharding: NamedSharding, tree: Any) -> Any:
    """The same buffers as arrays over the devices of `sharding`, of this process or all."""

    def seen(x):
        shards = [shard.data for shard in x.addressable_shards]
        shape = x.shape
        if sharding.spec and sharding.spec[0] is not None:
            shape = (len(shards) * shards[0].shape[0], *shape[1:])
        return jax.make_array_from_single_device_arrays(shape, sharding, shards)

    return jax.tree.map(seen, tree)
