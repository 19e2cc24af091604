"""Whether runs that an older version began go on here to the bits that they reach there.

    git worktree add ../before c7bf5c2
    python -m tests.benchmarks.old_bits --before ../before

The old code trains the runs of tests/golden/make_runs.py to step 8. Of two copies it takes one to step 12,
and the code of this checkout the other, each in a process of its own. Then all arrays of the last
checkpoints are compared, old names read as those of today, and all rows of metrics.jsonl but their times.
Differences are printed, and the exit status is then 1. tests/runs/test_old_runs.py needs no older version,
and compares trained arrays to 1e-5.
"""

import argparse
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from numpy.typing import NDArray

from tests.golden.make_runs import RUNS, WHOLE, resume, train
from tests.golden.old_runs import arrays, renamed, rows

HERE = Path(__file__).parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, required=True, help="a checkout of the old commit")
    before = parser.parse_args().before
    print(f"{'run':<6}{'arrays':>8}{'numbers':>9}{'differ':>8}{'rows':>6}{'differ':>8}  result", flush=True)
    with TemporaryDirectory(prefix="old-bits-") as temporary:
        half, then, now = (Path(temporary) / name for name in ("half", "then", "now"))
        train(before, half)
        shutil.copytree(half, then)
        shutil.copytree(half, now)
        equal = [resumed_alike(before, then, now, name) for name in RUNS]
    sys.exit(0 if all(equal) else 1)


def resumed_alike(before: Path, then: Path, now: Path, name: str) -> bool:
    """Finishes a run in both folders, prints a line of the table and what differs."""
    resume(before, then, name)
    resume(HERE, now, name)
    old, new = final(then / name), final(now / name)
    apart = different(old, new)
    lines = rows(then / name), rows(now / name)
    other = sum(a != b for a, b in zip(*lines, strict=False)) + abs(len(lines[0]) - len(lines[1]))
    numbers = sum(array.size for array in old.values())
    result = "DIFFERS" if apart or other else "equal"
    row = f"{name:<6}{len(old):>8}{numbers:>9}{len(apart):>8}{len(lines[0]):>6}{other:>8}"
    print(f"{row}  {result}", flush=True)
    for path in apart:
        print(f"      {path}: {_sum_of(old.get(path))} then, {_sum_of(new.get(path))} now")
    return result == "equal"


def final(run: Path) -> dict[str, NDArray]:
    """The arrays of a finished run by their names of today."""
    return {renamed(path): array for path, array in arrays(run, WHOLE).items()}


def different(old: dict[str, NDArray], new: dict[str, NDArray]) -> list[str]:
    """Names of what is in one of them alone, or not of one type, one shape and the same bits."""
    return sorted(path for path in old.keys() | new.keys() if _bits(old.get(path)) != _bits(new.get(path)))


def _bits(array: NDArray | None) -> tuple | None:
    return None if array is None else (array.dtype, array.shape, array.tobytes())


def _sum_of(array: NDArray | None) -> str:
    return "none" if array is None else f"{array.dtype}{list(array.shape)} of sum {array.sum():.9g}"


if __name__ == "__main__":
    main()
