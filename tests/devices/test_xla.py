"""Programs compiled with less optimization are so indeed, and compute what JAX's own settings do."""

import os
import subprocess
import sys
from functools import partial

import jax
import numpy as np
import pytest

import experiments
from research.bench.synthetic import batches
from research.config.settings import override
from research.devices import xla
from research.devices.environment import DAY, WAITS, prepare_jax
from research.errors import UsageError
from research.runs.state import initial_state
from research.training.multi_step import multi_step
from research.training.step import step_of
from tests.mostly_slow import mostly_slow
from tests.training.tiny import assignments, quickstart, shrunk


@pytest.mark.slow
def test_a_run_is_compiled_with_less_optimization_and_waits_for_its_devices(tmp_path):
    """By what XLA itself tells of the first state and the step."""
    experiment = quickstart(tmp_path / "corpus.txt", run__steps=2)
    programs = ["initial_state", "train_step"]
    flags = f"--xla_dump_to={tmp_path / 'xla'} --xla_dump_hlo_module_re=jit_({'|'.join(programs)})"
    surroundings = os.environ | {"LINEAGE_HOME": str(tmp_path / "home"), "XLA_FLAGS": flags}
    command = [sys.executable, "-m", "launch", "train", "quickstart", *assignments(experiment)]
    command += ["--dir", str(tmp_path / "run")]
    subprocess.run(command, env=surroundings, check=True, capture_output=True)
    files = list((tmp_path / "xla").glob("*.debug_options"))
    assert all(any(f"jit_{program}" in file.name for file in files) for program in programs)
    assert all("xla_backend_optimization_level: 2\n" in file.read_text() for file in files)
    waits = f"{WAITS.removeprefix('--')}: {DAY}\n"
    assert all(waits in file.read_text() for file in files)


def test_flags_of_the_user_are_kept(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=somewhere")
    prepare_jax()
    assert os.environ["XLA_FLAGS"] == f"--xla_dump_to=somewhere {WAITS}={DAY}"
    monkeypatch.setenv("XLA_FLAGS", own := f"{WAITS}=5")
    prepare_jax()
    assert os.environ["XLA_FLAGS"] == own


@pytest.mark.parametrize("name", mostly_slow(["bert_tiny", "gpt2_tiny"], 0))
def test_first_states_and_steps_are_those_of_jax(name, tmp_path):
    """With dropout, and so with random numbers in both."""
    experiment = shrunk(name, tmp_path / "corpus.txt")
    draw, batch = partial(initial_state, experiment), next(batches(experiment))

    def two_steps(jit):
        first, step = jit(draw)(), jit(multi_step(step_of(experiment), experiment.run))
        second, _ = step(first, batch)
        return first, step(second, batch)

    own_level = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 3})
    for ours, theirs in zip(*map(arrays, map(two_steps, (xla.jit, own_level))), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7)


def arrays(tree) -> list[np.ndarray]:
    def comparable(leaf):
        key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(leaf) if key else leaf)

    return [comparable(leaf) for leaf in jax.tree.leaves(tree)]


def test_a_deterministic_run_asks_a_gpu_s_compiler_for_it(monkeypatch):
    monkeypatch.setattr(jax, "jit", lambda function, **settings: settings["compiler_options"])
    monkeypatch.setattr(xla, "platform", lambda: "gpu")
    with xla.deterministic.being(True):
        assert xla.jit(len) == {"xla_gpu_deterministic_ops": True}
        with xla.deterministic.being(False):
            assert xla.jit(len) is None
    assert xla.jit(len) is None
    with pytest.raises(UsageError, match=r"^run\.deterministic=true: .*expected parallel\.compile=jit or"):
        override(experiments.get("gpt2_tiny"), {"run.deterministic": True, "parallel.compile": "pmap"})
