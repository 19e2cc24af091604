"""Every test runs on eight fake CPU devices, with strict promotion and caches of its own."""

import os
import tempfile
from pathlib import Path

import jax
import pytest

from research.devices import xla
from research.devices.environment import prepare_jax
from tests.outside import forgotten_afterwards

pytest_plugins = ["tests.hub", "tests.slurm", "tests.postgres"]  # the fixtures of these names

# Compilers for accelerators may be installed; processes that tests start are not to look for devices either.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["LINEAGE_QUIET"] = "1"  # how long something takes on a busy machine is not to be in its output
# The tests' own programs are compiled at the level of LLVM that a run's are: JAX's takes twice as long.
LEVEL = "--xla_backend_optimization_level=2"
if LEVEL not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {LEVEL}".strip()
prepare_jax()  # as every command does: XLA's flags are part of the names in the compilation cache
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update(
    "jax_compilation_cache_dir", os.path.join(tempfile.gettempdir(), f"lineage-tests-{os.getuid()}")
)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_numpy_dtype_promotion", "strict")


def pytest_configure(config) -> None:
    """The plain set compiles in four fifths of the time; with the slow tests all is compiled as for users."""
    if config.option.markexpr == "not slow":
        jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(autouse=True)
def lineage_home(tmp_path_factory, monkeypatch) -> Path:
    """A cache directory shared by a session's tests and workers, apart from the user's."""
    base = tmp_path_factory.getbasetemp()
    path = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "home"
    monkeypatch.setenv("LINEAGE_HOME", str(path))
    return path


@pytest.fixture(autouse=True)
def freed_memory_goes_back(monkeypatch):
    """One process runs hundreds of tests: what they free together is more than a machine may have."""
    monkeypatch.setattr(xla, "reuse_step_memory", lambda: False)


@pytest.fixture(scope="module")
def compiled_in_haste():
    """Compiles in two thirds of the time, for tests of what programs compute and not of how fast."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(xla, "_options", lambda: {"xla_backend_optimization_level": 0})
        yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(autouse=True)
def registries():
    """What a test imports and registers from outside the project does not outlive it."""
    with forgotten_afterwards():
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The data kept beside the project; tests that need it are skipped without it."""
    path = os.environ.get("LINEAGE_DATA")
    if not path:
        pytest.skip("LINEAGE_DATA is not set")
    return Path(path)
