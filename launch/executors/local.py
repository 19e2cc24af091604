"""Starts, stops and replaces workers on this machine, one process per device slice."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from research.sweeping.device_slices import DeviceSlice
from research.training.stopping.interrupts import graceful

HUNG = 75  # exit status of research.training.stopping.watchdog: the run can be continued
SIGNALS = (signal.SIGINT, signal.SIGTERM)
TICK = 2.0  # seconds from one tick to the next, unless it takes a twentieth of that
SHORT, TIMES = 20, 5  # no worker is replaced after TIMES deaths in a row within SHORT seconds of a start


class Worker:
    """A process of `lineage work`. It saves and stops when the pipe to its standard input closes."""

    def __init__(self, directory: Path, slice: DeviceSlice, report: Callable[[str], None]):
        self.slice, self.began = slice, time.monotonic()
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "launch",
                "work",
                str(directory.absolute()),
                "--attached",
                *slice.options(),
            ],
            # The worker sets this too, but imported modules could start JAX's devices before.
            env=os.environ | {"CUDA_VISIBLE_DEVICES": ",".join(slice.gpus)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # Ctrl-C reaches only this process, which passes it on
        )
        self._reader = threading.Thread(target=self._relay, args=(report,), daemon=True)
        self._reader.start()

    def _relay(self, report: Callable[[str], None]) -> None:
        assert self.process.stdout is not None  # a pipe
        with self.process.stdout as lines:
            for line in lines:
                report(line.rstrip("\n"))

    def close(self) -> None:
        self._reader.join(timeout=5)
        assert self.process.stdin is not None  # a pipe
        self.process.stdin.close()


def run_workers(
    directory: Path,
    slices: list[DeviceSlice],
    report: Callable[[str], None],
    tick: Callable[[], None] = lambda: None,
) -> int:
    """Runs a worker on each of `slices` until no trial is left; returns an exit status.

    It calls `tick` about every two seconds, to show the progress.

    A worker that was killed or hung is replaced; one that failed is not. The first SIGINT or SIGTERM makes
    all workers save and stop, the second kills them.
    """
    received: list[int] = []
    before = {number: signal.signal(number, lambda number, _: received.append(number)) for number in SIGNALS}
    workers = [Worker(directory, slice, report) for slice in slices]
    handled, failed, young, due = 0, 0, 0, 0.0
    try:
        with graceful("stopping: each worker saves and ends; a second interrupt kills them"):
            while workers:
                if len(received) > handled:
                    handled = len(received)
                    _pass_on(workers, handled, report)
                for worker in [worker for worker in workers if worker.process.poll() is not None]:
                    workers.remove(worker)
                    worker.close()
                    status = worker.process.returncode
                    if received or status == 0:
                        continue
                    end = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
                    young = young + 1 if time.monotonic() - worker.began < SHORT else 0
                    if (status < 0 or status == HUNG) and young < TIMES:
                        end += "; another takes its place"
                        workers.append(Worker(directory, worker.slice, report))
                    else:
                        failed += 1
                    report(f"the worker on {', '.join(worker.slice.names)} {end}")
                if time.monotonic() >= due:
                    began = time.monotonic()
                    tick()
                    due = began + max(TICK, 20 * (time.monotonic() - began))
                time.sleep(0.05)
    finally:
        for worker in workers:
            worker.process.kill()
        for number, handler in before.items():
            signal.signal(number, handler)
    return 128 + received[0] if received else int(failed > 0)


def _pass_on(workers: list[Worker], times: int, report: Callable[[str], None]) -> None:
    if times == 1:
        report("stopping: each worker finishes its step and saves; a second signal kills them")
    for worker in workers:
        worker.process.terminate() if times == 1 else worker.process.kill()
