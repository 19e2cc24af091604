"""Who is asked to stop."""

import json
import os
import socket
import subprocess
import sys

import pytest

from research.io.locks import acquire
from research.runs.lock import locked
from research.sweeping.directory import SWEEP, supervisor_lock, trial_lock
from research.sweeping.stop import ask_to_stop, processes_to_stop


@pytest.fixture
def sweep(tmp_path):
    (tmp_path / SWEEP).write_text("{}")
    return tmp_path


def held_elsewhere(path, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"host": "elsewhere", "pid": 7} | more))


def hosts(processes):
    return sorted((who["host"] == socket.gethostname(), who["pid"]) for who in processes)


def test_a_run_s_trainer(tmp_path):
    assert processes_to_stop(tmp_path, jobs_stopped=False) == []
    with locked(tmp_path, pytest.fail):
        assert hosts(processes_to_stop(tmp_path, jobs_stopped=False)) == [(True, os.getpid())]
        assert processes_to_stop(tmp_path, jobs_stopped=True) == [], "its job passes the signal on"


def test_workers_are_left_to_their_supervisor(sweep):
    worker = acquire(trial_lock(sweep, 0))
    held_elsewhere(trial_lock(sweep, 1))
    assert hosts(processes_to_stop(sweep, False)) == [(False, 7), (True, os.getpid())]
    supervisor = acquire(supervisor_lock(sweep))
    assert hosts(processes_to_stop(sweep, False)) == [(False, 7), (True, os.getpid())]
    worker.release()
    assert hosts(processes_to_stop(sweep, False)) == [(False, 7), (True, os.getpid())]
    supervisor.release()
    assert hosts(processes_to_stop(sweep, False)) == [(False, 7)]


def test_workers_of_stopped_jobs_get_one_signal(sweep):
    held_elsewhere(trial_lock(sweep, 0), job="12")
    held_elsewhere(trial_lock(sweep, 1), pid=8)
    assert hosts(processes_to_stop(sweep, jobs_stopped=True)) == [(False, 8)]
    assert hosts(processes_to_stop(sweep, jobs_stopped=False)) == [(False, 7), (False, 8)]


def test_only_processes_of_this_host_can_be_asked():
    assert not ask_to_stop({"host": "elsewhere", "pid": os.getpid()})
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    assert ask_to_stop({"host": socket.gethostname(), "pid": process.pid})
    assert process.wait(30) == -15
