"""What a process is told before it works: of others beside it, and what to keep."""

import jax

from research.errors import UsageError
from research.io.home import home


def join_processes(coordinator: str | None, count: int | None, index: int | None) -> None:
    """Makes this process one of several; without arguments, as Slurm, Open MPI, a TPU or Kubernetes say."""
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(coordinator, count, index)
    except (ValueError, RuntimeError) as error:
        raise UsageError(
            f"this process finds no others ({' '.join(str(error).split())}); "
            "expected a cluster's environment, or --coordinator, --processes and --process"
        ) from error


def use_compilation_cache() -> None:
    """Keeps what is compiled in the cache directory, so that a second start of a run need not wait."""
    jax.config.update("jax_compilation_cache_dir", str(home() / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
