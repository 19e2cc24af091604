"""`lineage plan`: of one device or several, and of none that are not there."""

import json
import subprocess
import sys

import pytest

from launch.__main__ import run


def planned(*arguments: str) -> dict:
    """In a process of its own, which has as many devices as are planned for."""
    command = [sys.executable, "-m", "launch", "plan", "bert_tiny_sst2", *arguments, "--json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.slow
def test_two_devices_share_the_rows_and_the_parameters():
    one = planned()
    two = planned("--devices", "2", "parallel.compile=sharded", "parallel.data=1", "parallel.fsdp=2")
    assert (one["rows"], two["rows"]) == (32, 16)
    assert one["parameters"] / 2 <= two["parameters"] < 0.6 * one["parameters"]
    assert 0 < two["temporaries"] < one["temporaries"]
    assert (one["mesh"], two["mesh"]) == (
        {"data": 1, "fsdp": 1, "tensor": 1},
        {"data": 1, "fsdp": 2, "tensor": 1},
    )


@pytest.mark.slow
def test_runs_together_need_their_own_memory_and_share_the_launches():
    one, four = planned(), planned("--together", "4")
    assert four["together"] == 4 and four["overrides"] == one["overrides"]
    assert four["parameters"] == 4 * one["parameters"] and four["opt_state"] == 4 * one["opt_state"]
    assert 2 * one["peak"] < four["peak"] < 4.2 * one["peak"]


@pytest.mark.parametrize(
    "typed, message",
    [
        (["--together", "0"], "--together 0: expected 1 or more"),
        (["--together", "2", "run.steps_per_call=5"], "--together: runs share a program only with"),
        (["--together", "2", "run.hyperparameters=constants"], "--together: runs share a program only with"),
        (["--together", "2", "parallel.compile=sharded"], "--together: runs share a program only with"),
    ],
)
def test_runs_that_share_no_program_are_refused(typed, message, capsys):
    assert run(["plan", "bert_tiny_sst2", *typed]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "devices, message",
    [
        ("0", "--devices 0: expected 1 or more"),
        ("2", "--devices: jit uses one device; expected parallel.compile=auto, sharded or pmap"),
    ],
)
def test_devices_that_a_run_cannot_have_are_refused(devices, message, capsys):
    assert run(["plan", "gpt2_tiny", "--devices", devices, "parallel.compile=jit"]) == 2
    assert message in capsys.readouterr().err
