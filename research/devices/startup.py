"""Settings of JAX at the start of a process: joining other processes, the compilation cache."""

import warnings

import jax

from research.errors import UsageError
from research.io.files import as_utf8
from research.io.home import home


def join_processes(coordinator: str | None, count: int | None, index: int | None) -> None:
    """Joins this process to others; without arguments, found through Slurm, Open MPI, a TPU or Kubernetes.

    Raises UsageError if it cannot join.
    """
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(coordinator, count, index)
    except (ValueError, RuntimeError) as error:
        raise UsageError(
            f"this process cannot join the others ({' '.join(str(error).split())}); "
            "expected a cluster's environment, or --coordinator, --processes and --process"
        ) from error


def use_compilation_cache() -> None:
    """Caches all compiled programs in `$LINEAGE_HOME`, so that a second start compiles none."""
    folder = str(home() / "compiled")
    jax.config.update("jax_compilation_cache_dir", folder)
    if folder != as_utf8(folder):  # XLA, unlike JAX, needs UTF-8
        jax.config.update("jax_persistent_cache_enable_xla_caches", "none")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    # JAX writes an entry in place: a process that starts meanwhile may read half of it, and then compiles.
    warnings.filterwarnings("ignore", "Error reading persistent compilation cache")
