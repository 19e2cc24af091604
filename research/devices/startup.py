"""Settings of JAX at the start of a process: joining other processes, the compilation cache."""

import socket
import warnings

import jax

from research.errors import EnvironmentFault, UsageError
from research.io.activity import activity
from research.io.files import as_utf8
from research.io.home import home


def join_processes(coordinator: str | None, count: int | None, index: int | None) -> None:
    """Joins this process to others; without arguments, found through Slurm, Open MPI, a TPU or Kubernetes.

    Raises UsageError if it cannot join.
    """
    if coordinator is not None and index == 0:
        _check_port(coordinator)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    others = f"the other {count - 1} processes" if count else "the other processes"
    try:
        with activity(f"waiting for {others}, at most 5 minutes"):
            jax.distributed.initialize(coordinator, count, index)
    except (ValueError, RuntimeError) as error:
        raise UsageError(
            f"this process cannot join the others ({' '.join(str(error).split())}); "
            "expected a cluster's environment, or --coordinator, --processes and --process"
        ) from error


def _check_port(coordinator: str) -> None:
    """Checks that the first process can listen where the others look for it; JAX would crash."""
    port = coordinator.rpartition(":")[2]
    if not port.isdecimal() or not 0 < int(port) < 65_536:
        raise UsageError(f"--coordinator {coordinator}: expected HOST:PORT")
    six = {"family": socket.AF_INET6, "dualstack_ipv6": True} if socket.has_dualstack_ipv6() else {}
    try:
        socket.create_server(("", int(port)), **six).close()
    except OSError as error:
        reason = f"port {port} cannot be used: {error.strerror}"
        raise EnvironmentFault(f"--coordinator {coordinator}: {reason}; choose another") from error


def use_compilation_cache() -> None:
    """Caches all compiled programs in `$LINEAGE_HOME`, so that a second start compiles none."""
    folder = str(home() / "compiled")
    jax.config.update("jax_compilation_cache_dir", folder)
    if folder != as_utf8(folder):  # XLA, unlike JAX, needs UTF-8
        jax.config.update("jax_persistent_cache_enable_xla_caches", "none")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    # JAX writes an entry in place: a process that starts meanwhile may read half of it, and then compiles. A
    # cache on a full or read-only disk only costs the time to compile.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
