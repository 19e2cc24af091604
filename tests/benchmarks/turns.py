"""Two or more processes that work in turns: each keeps what it compiled, and only one runs at a time.

A contender is a process that calls `serve`; who compares them calls `rounds`. So every contender meets the
machine in the same moods, which on a shared one are what varies most.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def serve(call: Callable[[], None], steps_a_call: int, facts: dict[str, Any]) -> None:
    """Answers each line `n` on standard input with what `n` calls took; `call` returns when its work is done.

    Times are seconds a step; `cpu` is the processor's, which a loaded machine changes least.
    """
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer
    print(json.dumps(facts), file=out)
    for line in sys.stdin:
        walls, before, cpu = [], _faults(), time.process_time()
        for _ in range(int(line)):
            began = time.perf_counter()
            call()
            walls.append((time.perf_counter() - began) / steps_a_call)
        steps = len(walls) * steps_a_call
        answer = {
            "seconds": walls,
            "cpu": (time.process_time() - cpu) / steps,
            "faults": (_faults() - before) / steps,
            "peak": peak(),
        }
        print(json.dumps(answer), file=out)


def rounds(
    commands: dict[str, list[str]], seconds: float, calls: int | None, count: int
) -> tuple[dict[str, dict], Iterator[tuple[str, dict]]]:
    """The facts that each contender reports, and an iterator of (name, answer): `count` rounds of turns.

    Contenders start one after the other, so that none is timed while another compiles. A turn makes `calls`
    calls, or as many as take about `seconds`, estimated by a first turn of two calls that is not reported.
    """
    started: dict[str, subprocess.Popen] = {}
    facts, turns = {}, {}
    for name, command in commands.items():
        started[name] = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        facts[name] = _answer(started[name], name)
        began = time.perf_counter()
        _ask(started[name], name, 2)
        turns[name] = calls or max(1, round(seconds / ((time.perf_counter() - began) / 2)))

    def play():
        with _ended(started.values()):
            for _ in range(count):
                for name, process in started.items():
                    yield name, _ask(process, name, turns[name])

    return facts, play()


def _ask(process: subprocess.Popen, name: str, calls: int) -> dict:
    process.stdin.write(f"{calls}\n")
    return _answer(process, name)


def _answer(process: subprocess.Popen, name: str) -> dict:
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"{name}: ended with status {process.wait()}; its messages are above")
    return json.loads(line)


@contextmanager
def _ended(processes):
    try:
        yield
    finally:
        for process in processes:
            process.stdin.close()
            process.wait()


def peak() -> int:
    """Bytes that this process ever had in memory at once."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
