"""Each case runs in a process of its own, because settings of glibc cannot be undone."""

import subprocess
import sys

import pytest

REUSED = """
import resource, sys, threading
from research.devices.malloc import keep_freed_memory

if sys.argv[1] == "keep" and not keep_freed_memory():
    sys.exit("not glibc")


def use_and_free():
    for turn in range(6):
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
        b"x" * (int(sys.argv[2]) << 20)


faults = []
if sys.argv[3] == "thread":
    thread = threading.Thread(target=use_and_free)
    thread.start()
    thread.join()
else:
    use_and_free()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults[-1])
"""


GIVEN_BACK = """
from pathlib import Path
from research.devices.malloc import release_free_memory, keep_freed_memory


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


if not keep_freed_memory():
    raise SystemExit("not glibc")
b"x" * (96 << 20)
kept = resident()
release_free_memory()
print(kept - resident())
"""

GROWTH = """
import resource
import jax
from research.devices.malloc import release_free_memory
from research.devices.xla import reuse_step_memory
from research.bench.measure import start
from research.bench.synthetic import batches
from research.devices.compilers import compile_ahead
from tests.benchmarks.sizes import declared

if not reuse_step_memory():
    raise SystemExit("not glibc")
experiment = declared("A", {"model.vocabulary": 50257, "run.steps_per_call": 1})
program, state = start(experiment)
made = batches(experiment)
batch = program.feed(next(made))
compile_ahead(program, state, batch)
peaks = []
for _ in range(10):
    state, sums = program.step(state, batch)
    batch = program.feed(next(made))  # while a step may still be running, as in training
    jax.block_until_ready((state, sums))
    if not peaks:
        release_free_memory()
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(peaks[-1] / peaks[0])
"""

SAVED = """
import sys
from pathlib import Path
import jax
from research.devices.malloc import release_free_memory
from research.devices.xla import reuse_step_memory
from research.runs.checkpoints.store import Checkpoints


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


if not reuse_step_memory():
    raise SystemExit("not glibc")
small, large = (jax.random.normal(jax.random.key(0), (size << 18,)) for size in (1, 192))
with Checkpoints(Path(sys.argv[1]), keep=1) as checkpoints:
    checkpoints.save(1, {"array": small})
    checkpoints.wait()
    release_free_memory()
    before = resident()
    checkpoints.save(2, {"array": large})
    checkpoints.wait()
    print(resident() - before)
"""


def measured(program: str, *arguments: str) -> float:
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
    if "not glibc" in done.stderr:
        pytest.skip("needs glibc")
    return float(done.stdout)


def faults(how: str, megabytes: int, where: str) -> float:
    """Pages of a buffer that has been used and freed before and is mapped once more."""
    return measured(REUSED, how, str(megabytes), where)


@pytest.mark.parametrize("megabytes, where", [(32, "main"), (96, "main"), (96, "thread")])
def test_what_is_freed_is_used_again_without_being_mapped_again(megabytes, where):
    """In a thread of its own heap 96 MB are more than a heap holds."""
    assert faults("keep", megabytes, where) < 100 < 4_000 < faults("leave", megabytes, where)


def test_what_was_kept_is_given_back_when_asked():
    assert measured(GIVEN_BACK) > 90 << 20


@pytest.mark.slow
def test_a_save_gives_back_what_it_took(tmp_path):
    """The copy of the state, and what writing it took, had been kept for good."""
    assert measured(SAVED, str(tmp_path)) < 96 << 20


@pytest.mark.slow
def test_the_room_that_a_step_takes_does_not_grow():
    """It grew by half, where what was made beside a running step lay in the way of the next one's buffers."""
    assert measured(GROWTH) < 1.03
