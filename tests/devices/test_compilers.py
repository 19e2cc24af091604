"""One step, three compilers, every mesh and several processes: the same numbers for all three models."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from research.io.locks import exclusive
from tests.mostly_slow import mostly_slow
from tests.training.ten_steps import FAMILIES, OVER_PROCESSES, assert_agree, ten_steps

pytestmark = pytest.mark.usefixtures("compiled_in_haste")

DEVICES = 4  # of all processes together

MESHES = [
    {"compile": "pmap"},
    {"compile": "sharded", "data": 8},
    {"compile": "sharded", "data": 1, "fsdp": 8},
    {"compile": "sharded", "data": 1, "tensor": 8},
    {"compile": "sharded", "data": 2, "fsdp": 2, "tensor": 2},
]
ACCUMULATING = [mesh | {"accumulate": 4} for mesh in ({"compile": "jit"}, *MESHES)]
QUICK = {"compile": "sharded", "data": 2, "fsdp": 2, "tensor": 2, "accumulate": 4}


@pytest.fixture(scope="module", params=mostly_slow(reversed(FAMILIES)))
def on_one_device(request):
    return request.param, ten_steps(request.param)


def label(mesh: dict) -> str:
    return "-".join(f"{name}{value}" for name, value in mesh.items())


@pytest.mark.parametrize(
    "mesh",
    [
        pytest.param(m, marks=() if m == QUICK else pytest.mark.slow, id=label(m))
        for m in MESHES + ACCUMULATING
    ],
)
def test_every_compiler_and_mesh_agrees_on_lopsided_batches(on_one_device, mesh):
    assert len(jax.devices()) == 8
    name, expected = on_one_device
    assert_agree(ten_steps(name, **mesh), expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bert_tiny", "gpt1_tiny"])
def test_shards_that_add_up_their_own_parts_have_the_dropout_of_one_device(name):
    changes = {"dropout": 0.2, "accumulate": 2}
    expected = ten_steps(name, compile="jit", **changes)
    assert_agree(ten_steps(name, compile="sharded", data=4, fsdp=2, **changes), expected)
    without = ten_steps(name, compile="jit", accumulate=2)
    assert abs(without["losses"] - expected["losses"]).max() > 1e-3


PROCESSES = 2  # tests/training/test_processes.py has four


@pytest.fixture(scope="module")
def over_processes(tmp_path_factory):
    """The results of real processes, talking through gloo: 'EXPERIMENT COMPILER PATH' → array."""
    base = tmp_path_factory.getbasetemp()
    target = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "over_processes.npz"
    with exclusive(target.with_suffix(".lock")):  # one of the workers runs them, and all read the results
        if not target.exists():
            run_processes(target)
    with np.load(target) as arrays:
        return {key.replace("|", "/"): array for key, array in arrays.items()}


def run_processes(target: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "tests.training.ten_steps", coordinator, str(PROCESSES)]
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(DEVICES // PROCESSES)}
    started = [
        subprocess.Popen(
            [*command, str(index), str(target)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in range(PROCESSES)
    ]
    outputs = [process.communicate(timeout=600)[0] for process in started]
    assert [process.returncode for process in started] == [0] * PROCESSES, outputs


@pytest.mark.slow
@pytest.mark.parametrize("compiler", OVER_PROCESSES)
def test_two_processes_agree(over_processes, on_one_device, compiler):
    name, expected = on_one_device
    head = f"{name} {compiler} "
    found = {key.removeprefix(head): array for key, array in over_processes.items() if key.startswith(head)}
    assert_agree(found, expected)
