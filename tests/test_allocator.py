import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from research.allocator import keep_freed

if sys.argv[1] == "keep" and not keep_freed():
    sys.exit("not glibc")
for turn in range(6):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    b"x" * (32 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    """Pages of 32 MB that have been used and freed before and are mapped once more."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True)
    if "not glibc" in done.stderr:
        pytest.skip("needs glibc")
    return int(done.stdout)


def test_what_is_freed_is_used_again_without_being_mapped_again():
    assert faults("keep") < 100 < 4_000 < faults("leave")
