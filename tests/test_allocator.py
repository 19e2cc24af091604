import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys, threading
from research.allocator import keep_freed

if sys.argv[1] == "keep" and not keep_freed():
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


def faults(how: str, megabytes: int, where: str) -> int:
    """Pages of a buffer that has been used and freed before and is mapped once more."""
    command = [sys.executable, "-c", PROGRAM, how, str(megabytes), where]
    done = subprocess.run(command, capture_output=True, text=True)
    if "not glibc" in done.stderr:
        pytest.skip("needs glibc")
    return int(done.stdout)


@pytest.mark.parametrize("megabytes, where", [(32, "main"), (96, "main"), (96, "thread")])
def test_what_is_freed_is_used_again_without_being_mapped_again(megabytes, where):
    """In a thread of its own heap 96 MB are more than a heap holds."""
    assert faults("keep", megabytes, where) < 100 < 4_000 < faults("leave", megabytes, where)
