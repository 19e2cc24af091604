"""Every test runs on eight fake CPU devices, with strict promotion and caches of its own."""

import os
import tempfile
from pathlib import Path

import jax
import pytest

from experiments import registry
from research.config import names
from research.config.imports import loading
from research.config.registry import Registry
from research.devices import xla
from research.devices.environment import prepare_jax

pytest_plugins = ["tests.hub", "tests.slurm", "tests.postgres"]  # the fixtures of these names

# Compilers for accelerators may be installed; processes that tests start are not to look for devices either.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["LINEAGE_QUIET"] = "1"  # how long something takes on a busy machine is not to be in its output
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
    """Compiles steps in two thirds of the time, for tests of what they compute and not of how fast."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(xla, "_options", lambda: {"xla_backend_optimization_level": 0})
        yield


@pytest.fixture(autouse=True)
def registries(monkeypatch):
    """What a test imports and registers from outside the project does not outlive it."""
    monkeypatch.setattr(loading, "_imported", dict(loading._imported))
    monkeypatch.setattr(loading, "_failed", {})
    every = [entry for entry in vars(names).values() if isinstance(entry, Registry)]
    every += [registry.EXPERIMENTS, registry.SWEEPS]
    before = [set(one._entries) for one in every]
    yield
    for one, known in zip(every, before, strict=True):
        for name in set(one._entries) - known - set(one._builtin):
            del one._entries[name]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The data kept beside the project; tests that need it are skipped without it."""
    path = os.environ.get("LINEAGE_DATA")
    if not path:
        pytest.skip("LINEAGE_DATA is not set")
    return Path(path)
