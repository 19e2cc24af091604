"""Of several processes the first that fails decides how all end: its message, its exit status."""

import subprocess
import sys

from research.training.stopping import first_failure
from research.training.stopping.first_failure import Peers, depart, publish, published


class KeyValues:
    """As JAX's key-value store: a key is set once, unless it may be overwritten."""

    def __init__(self):
        self.kept = {}

    def key_value_set(self, key, value, allow_overwrite=False):
        if key in self.kept and not allow_overwrite:
            raise RuntimeError("ALREADY_EXISTS")
        self.kept[key] = value

    def key_value_dir_get(self, folder):
        return [pair for pair in self.kept.items() if pair[0].startswith(folder)]


class Gone:
    """The store of a process that was killed."""

    def __getattr__(self, name):
        raise RuntimeError("UNAVAILABLE")


def test_the_first_failure_is_everybodys():
    store = KeyValues()
    zero, one, two = (Peers(store, index, 3) for index in range(3))
    assert published(zero) is None
    assert publish(one, "/data: the disk is full", 1) == ("/data: the disk is full", 1)
    assert publish(zero, "Connection reset by peer", 2) == ("process 1: /data: the disk is full", 1)
    assert publish(two, "/data: the disk is full", 1) == ("/data: the disk is full", 1)  # said once
    assert published(two) == (1, "/data: the disk is full", 1)
    assert publish(Peers(Gone(), 1, 3), "Socket closed", 1) == ("Socket closed", 1)


def test_process_0_which_has_the_store_leaves_last(monkeypatch):
    monkeypatch.setattr(first_failure, "PATIENCE", 0.3)
    store, waits = KeyValues(), []
    monkeypatch.setattr(first_failure.time, "sleep", lambda seconds: waits.append(seconds) or depart(one))
    zero, one = Peers(store, 0, 2), Peers(store, 1, 2)
    depart(zero)
    assert len(waits) == 1


WAITS = """
import sys, time
from research.training.stopping import first_failure
from tests.training.test_first_failure import KeyValues
first_failure.LOOK = first_failure.GRACE = 0.05
failed = first_failure.Peers(KeyValues(), 1, 2)
first_failure.publish(failed, "row 7 is broken", 2)
first_failure._watch(failed._replace(index=0))
"""


def test_a_process_that_hangs_ends_like_the_one_that_failed():
    ended = subprocess.run([sys.executable, "-c", WAITS], capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stderr) == (2, "lineage: process 1: row 7 is broken\n")


ENDS = """
import atexit, threading
from jax._src.distributed import global_state
from tests.training.test_first_failure import KeyValues
from research.training.stopping import first_failure

class Client(KeyValues):
    def shutdown(self):
        del self.kept  # every look fails from now on

first_failure.LOOK = 0.05
atexit.register(lambda: print(*(thread.name for thread in threading.enumerate())))
global_state.client = Client()
first_failure.watch()
print(*(thread.name for thread in threading.enumerate()))
"""


def test_the_watching_thread_ends_before_python_does():
    """In native code it would abort the process, whose run has ended well."""
    ended = subprocess.run([sys.executable, "-c", ENDS], capture_output=True, text=True, timeout=120)
    assert ended.stdout.splitlines() == ["MainThread first failure", "MainThread"], ended.stderr
