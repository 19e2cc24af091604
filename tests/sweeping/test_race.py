"""Several processes begin the same sweep at once."""

import subprocess
import sys

import pytest

from research.sweeping.record import read

AT_ONCE = """
import sys, time
from pathlib import Path
from research.sweeping.study.storage import storage_of
print(flush=True)
sys.stdin.readline()
storage_of(sys.argv[2], Path(sys.argv[1])).get_all_studies()
"""
BEGIN = """
import sys
from pathlib import Path
from research.sweeping.record import open_sweep
from tests.sweeping.pretended import declared
directory = Path(sys.argv[1])
sweep = declared(directory.parent)
print(flush=True)
sys.stdin.readline()
print(open_sweep(directory, sweep, None).study)
"""


def at_once(code: str, *arguments: str, count: int = 3) -> list[str]:
    """The last line of each of `count` processes that begin together."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]
    for process in processes:
        process.stdout.readline()
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    done = [process.communicate(timeout=100) for process in processes]
    for process, (_, err) in zip(processes, done, strict=True):
        assert process.returncode == 0, err
    return [out.strip() for out, _ in done]


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["sqlite", "journal"])
def test_a_storage_is_opened_by_several_at_once(tmp_path, storage):
    for number in range(3):
        (folder := tmp_path / str(number)).mkdir()
        at_once(AT_ONCE, str(folder), storage)


@pytest.mark.slow
def test_a_sweep_has_one_record(tmp_path):
    studies = at_once(BEGIN, str(tmp_path / "sweep"))
    assert set(studies) == {read(tmp_path / "sweep").study}
