"""A step that does not end, ends the process: at the right time, with what it was doing on record."""

import os
import subprocess
import sys
import time

import pytest

from research.config import Sweep, space
from research.config.settings import override
from research.sweeping.record import open_sweep
from research.training.stopping.watchdog import STATUS, Watchdog
from tests.training.tiny import assignments, quickstart

HANG = """
import sys, threading
from launch.__main__ import run
from research.training.logging.progress import Lines

def advance(lines, step):
    if step == 6:
        wait_for_a_partner_that_is_dead()

def wait_for_a_partner_that_is_dead():
    threading.Event().wait()

Lines.advance = advance
sys.exit(run(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_planted_hang(tmp_path):
    experiment = quickstart(
        tmp_path / "corpus.txt", run__watchdog=5.0, run__watchdog_minutes=0.1, run__evaluate_every=0
    )
    command = [sys.executable, "-c", HANG, "train", "quickstart", *assignments(experiment)]
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "1"}
    done = subprocess.run(
        [*command, "--dir", str(tmp_path / "run")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == STATUS, done.stderr
    for text in (done.stderr, (tmp_path / "run/hang.log").read_text()):
        assert "no step finished in" in text and "wait_for_a_partner_that_is_dead" in text
    assert (tmp_path / "run/checkpoints/4").is_dir()


@pytest.mark.slow
def test_a_hang_of_one_of_several_runs_in_one_program_ends_their_worker(tmp_path):
    experiment = quickstart(
        tmp_path / "corpus.txt", run__watchdog=5.0, run__watchdog_minutes=0.1, run__evaluate_every=0
    )
    swept = space.grid("optimizer.rate.peak", 1e-3, 2e-3)
    base = override(experiment, {"run.hyperparameters": "inputs"})
    open_sweep(tmp_path / "sweep", Sweep(name="hangs", base=base, space=swept, together=2), None)
    done = subprocess.run(
        [sys.executable, "-c", HANG, "work", str(tmp_path / "sweep")],
        env=os.environ | {"LINEAGE_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == STATUS, done.stderr
    assert "wait_for_a_partner_that_is_dead" in (tmp_path / "sweep/hang.log").read_text()


class Call:
    """Stands for an array that is ready when the test says so."""

    def __init__(self, ready=False):
        self.ready = ready

    def is_ready(self):
        return self.ready


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def pass_by(seconds):
        now[0] += seconds

    return pass_by


class Ended(Exception):
    pass


@pytest.fixture
def dog(tmp_path, monkeypatch):
    def end(dog, elapsed, limit):
        raise Ended

    monkeypatch.setattr(Watchdog, "_end", end)
    return Watchdog(tmp_path, times=10, minutes=1)


def test_compiling_and_resting_may_take_any_time(dog, clock):
    first = Call()
    dog.watch(first)
    clock(10_000)
    dog.look()  # nothing finished yet: it compiles
    first.ready = True
    dog.look()
    dog.rest()
    clock(10_000_000)
    dog.look()
    dog.watch(Call())
    clock(1)
    dog.look()


def test_the_limit_is_times_the_usual_and_at_least_the_minutes(dog, clock):
    def finish(seconds, count):
        for _ in range(count):
            dog.watch(Call(ready=True))
            clock(seconds)
            dog.look()

    assert dog.limit() is None
    finish(1, 10)
    assert dog.limit() == 60
    dog.watch(Call())
    clock(59)
    dog.look()
    clock(2)
    with pytest.raises(Ended):
        dog.look()


def test_slow_steps_have_a_long_limit(dog, clock):
    dog.watch(Call(ready=True))
    clock(30)
    dog.look()
    dog.watch(Call())
    clock(290)
    dog.look()
    clock(20)
    with pytest.raises(Ended):
        dog.look()


def test_a_process_that_was_suspended_is_forgiven_but_not_what_hangs_after(dog, clock, monkeypatch):
    """Each look comes a second after the one before; the second comes when the process goes on."""
    dog.watch(Call(ready=True))
    clock(1)
    dog.look()
    dog.watch(Call())
    waits = iter([1, 5_000, *[1] * 200])

    def wait(seconds):
        clock(next(waits))
        return False

    monkeypatch.setattr(dog._over, "wait", wait)
    with pytest.raises(Ended):
        dog.run()
    assert len(list(waits)) == 202 - 61  # looks of a second that saw nothing finish, for more than a minute
