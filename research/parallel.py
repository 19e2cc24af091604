"""Ways to compile a pure (state, batch) → (state, metrics) step. Nothing else knows about devices."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
from jax.sharding import AxisType, NamedSharding, Sharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P

from research.errors import UsageError
from research.home import home


class Compiled(NamedTuple):
    layout: Callable[[Any], Any]  # a state's shapes → where `step` keeps each of its arrays
    feed: Callable[[Any], Any]  # puts a batch on the devices, ahead of its step
    step: Callable  # (state, batch) → (state, metrics); the old state's memory is used for the new one
    evaluate: Callable  # (model, batch) → sums


def jit(step: Callable, evaluate: Callable) -> Compiled:
    """One device."""
    device = SingleDeviceSharding(jax.local_devices()[0])
    return Compiled(
        layout=partial(everywhere, device),
        feed=partial(jax.device_put, device=device),
        step=jax.jit(step, donate_argnums=0),
        evaluate=jax.jit(evaluate),
    )


def sharded(step: Callable, evaluate: Callable) -> Compiled:
    """All devices, one program: the compiler splits the batch and adds up the gradients."""
    whole, split = _shardings()
    return Compiled(
        layout=partial(everywhere, whole),
        feed=partial(_split, split),
        step=jax.jit(step, in_shardings=(whole, split), out_shardings=whole, donate_argnums=0),
        evaluate=jax.jit(evaluate, in_shardings=(whole, split), out_shardings=whole),
    )


def pmap(step: Callable, evaluate: Callable) -> Compiled:
    """All devices, one program each: the step adds up over the named axis itself."""
    whole, split = _shardings()
    devices = jax.local_device_count()
    mapped = jax.pmap(
        partial(step, axis="data"), axis_name="data", in_axes=(None, 0), out_axes=None, donate_argnums=0
    )

    def deal(batch):
        return jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), batch)

    return Compiled(
        layout=partial(everywhere, whole),
        feed=partial(_split, split),
        step=lambda state, batch: mapped(state, deal(batch)),
        evaluate=jax.jit(evaluate, in_shardings=(whole, split), out_shardings=whole),
    )


COMPILERS = {"jit": jit, "sharded": sharded, "pmap": pmap}


def _shardings() -> tuple[NamedSharding, NamedSharding]:
    mesh = jax.make_mesh((jax.device_count(),), ("data",), (AxisType.Auto,))
    return NamedSharding(mesh, P()), NamedSharding(mesh, P("data"))


def everywhere(sharding: Sharding, tree):
    return jax.tree.map(lambda _: sharding, tree)


def _split(sharding: NamedSharding, batch):
    rows, devices = len(jax.tree.leaves(batch)[0]), sharding.mesh.size
    if rows % devices:
        raise UsageError(f"data.batch={rows}: expected a multiple of the {devices} devices")
    return jax.device_put(batch, sharding)


def keep_compiled_programs() -> None:
    """Keeps what is compiled in the cache directory, so that a second start of a run need not wait."""
    jax.config.update("jax_compilation_cache_dir", str(home() / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
