"""Worker processes: the same batches, and none of them left when the training process is gone."""

import os
import pickle
import signal
import subprocess
import sys
import time
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from research.data.store.token_store import prepare
from research.errors import EnvironmentFault
from tests.by_experiment import train_batches, train_stream
from tests.training.tiny import quickstart, shrunk


def equal(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def children(parent: int) -> set[int]:
    """The processes whose parent is, or was, `parent`."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(fields[1]) == parent and fields[0] != "Z":
            found.add(int(path.parent.name))
    return found


def gone(processes: set[int], within: float = 30) -> bool:
    deadline = time.monotonic() + within
    while any(Path(f"/proc/{process}/stat").exists() and _runs(process) for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_store_is_sent_as_the_files_it_maps(tmp_path):
    experiment = quickstart(tmp_path / "corpus.txt")
    store = prepare(experiment.data, 300, print).train
    sent = pickle.dumps(partial(train_batches, experiment, store))
    assert len(sent) < 10_000 < store.tokens.nbytes
    again = pickle.loads(sent)()
    assert all(equal(again[step], train_batches(experiment, store)[step]) for step in (0, 77, 3))


def test_workers_make_the_same_batches(tmp_path):
    """Across a change of length, from the middle, to the end and no further."""
    changes = {"data__length": 16, "data__later__step": 12, "data__later__length": 32}
    experiment = shrunk("bert_tiny", tmp_path / "corpus.txt", **changes, data__workers=2)
    store = prepare(experiment.data, 90, print).train
    expected = train_batches(experiment, store, process_index=1, process_count=2)
    before = children(os.getpid())
    made = list(train_stream(experiment, store, 7, 17, process_index=1, process_count=2))
    assert len(made) == 10
    assert all(equal(batch, expected[step]) for step, batch in enumerate(made, 7))
    early = train_stream(experiment, store, 0, 10**9)
    assert len(list(islice(early, 2))) == 2
    workers = children(os.getpid()) - before
    early.close()
    assert gone(workers - children(os.getpid()))
    assert list(train_stream(experiment, store, 5, 5)) == []


def test_a_worker_that_dies_is_reported(tmp_path):
    experiment = quickstart(tmp_path / "corpus.txt", data__workers=1)
    store = prepare(experiment.data, 300, print).train
    before = children(os.getpid())
    stream = train_stream(experiment, store, 0, 10**9)
    next(stream)
    for worker in children(os.getpid()) - before:
        if b"spawn_main" in Path(f"/proc/{worker}/cmdline").read_bytes():
            os.kill(worker, signal.SIGKILL)
    with pytest.raises(EnvironmentFault, match=r"data\.workers=1: a worker died"):
        list(islice(stream, 10))


PROGRAM = """
import signal
import sys
from itertools import islice
from pathlib import Path
from research.data.store.token_store import prepare
from research.errors import LineageError
from tests.by_experiment import train_stream
from tests.training.tiny import quickstart

if __name__ == "__main__":
    experiment = quickstart(Path(sys.argv[1]), data__workers=2)
    stream = train_stream(experiment, prepare(experiment.data, 300, lambda line: None).train, 0, 10**9)
    for batch in islice(stream, 3):
        pass
    asked = []
    signal.signal(signal.SIGINT, lambda *_: asked.append(True))  # as training does
    print("reading", flush=True)
    for batch in stream:
        if asked:
            break
    stream.close()
    print("interrupted", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_no_worker_outlives_its_process(tmp_path, number):
    """An interrupt goes to the whole group, as a terminal sends it; a kill to the one process."""
    (tmp_path / "program.py").write_text(PROGRAM)
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "program.py"), str(tmp_path / "corpus.txt")],
        env=os.environ | {"PYTHONPATH": os.getcwd()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline() == "reading\n"
    started = children(process.pid)
    assert len(started) >= 2
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.kill()
    try:
        out, err = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert "Traceback" not in err
    if number == signal.SIGINT:
        assert (process.returncode, out) == (0, "interrupted\n")
    assert gone(started)
