"""What a run would take of each device's memory."""

import json as json_

from launch.inspect import resolve
from research.errors import UsageError

MEMORIES = (16, 24, 40, 80, 141)  # GB, of the accelerators that people have


def show_plan(name: str, overrides: list[str] | None, devices: int, json: bool) -> None:
    if devices < 1:
        raise UsageError(f"--devices={devices}: expected 1 or more")
    experiment = resolve(name, overrides)
    if devices > 1 and experiment.parallel.compile == "jit":
        raise UsageError(
            f"--devices={devices}: parallel.compile=jit uses one; expected parallel.compile=sharded or pmap"
        )
    import jax

    jax.config.update("jax_num_cpu_devices", devices)
    jax.config.update("jax_platforms", "cpu")
    from research.bench.plan import plan

    planned = plan(experiment, devices)
    if json:
        print(
            json_.dumps(
                planned._asdict() | {"total": planned.total, "fits": fitting(planned.total)}, indent=2
            )
        )
        return
    mesh = " × ".join(f"{axis} {size}" for axis, size in planned.mesh.items())
    plural = "s" if devices > 1 else ""
    print(f"{name} on {devices} device{plural} ({mesh}), {planned.rows} sequences at once on each\n")
    for label, size in (
        ("parameters", planned.parameters),
        ("optimizer state", planned.opt_state),
        ("gradients and activations", planned.temporaries),
        ("total", planned.total),
    ):
        print(f"{label:<26} {size / 1e9:10.3f} GB on each")
    print()
    if devices > 1:
        print(f"{planned.split} of {planned.large} arrays over 1 MB are split {devices} ways")
        print(f"largest array put together at once: {planned.gathered / 1e9:.3f} GB")
    fits = fitting(planned.total)
    print(f"fits in {', '.join(map(str, fits))} GB" if fits else f"fits in none of {MEMORIES} GB")


def fitting(total: int) -> list[int]:
    """The memories that hold `total` bytes with a tenth to spare."""
    return [memory for memory in MEMORIES if total <= 0.9 * memory * 1e9]
