"""Workers on this machine: a process each, on its share of the devices; started, stopped and replaced."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from research.sweeping.devices import Share

HUNG = 75  # the exit status of research.training.watchdog, which wants the run continued
SIGNALS = (signal.SIGINT, signal.SIGTERM)
SHORT, TIMES = 20, 5  # seconds of a life; deaths so young, one after the other, after which none is replaced


class Worker:
    """A process of `lineage work`. It stops politely when the pipe of its standard input, so we, end."""

    def __init__(self, directory: Path, share: Share, say: Callable[[str], None]):
        self.share, self.began = share, time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "launch", "work", str(directory.absolute()), "--attached", *share.typed()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # the terminal's Ctrl-C is for us to pass on
        )
        self._reader = threading.Thread(target=self._relay, args=(say,), daemon=True)
        self._reader.start()

    def _relay(self, say: Callable[[str], None]) -> None:
        for line in self.process.stdout:
            say(line.rstrip("\n"))

    def close(self) -> None:
        self._reader.join(timeout=5)
        self.process.stdin.close()


def run_workers(directory: Path, shares: list[Share], say: Callable[[str], None]) -> int:
    """Runs a worker for each of `shares` until none has anything left to do; an exit status.

    One that was killed, or hung, is replaced; one that failed is not. The first SIGINT or SIGTERM stops all
    politely, the second kills them.
    """
    asked: list[int] = []
    before = {number: signal.signal(number, lambda number, _: asked.append(number)) for number in SIGNALS}
    workers = [Worker(directory, share, say) for share in shares]
    heeded, failed, young = 0, 0, 0
    try:
        while workers:
            if len(asked) > heeded:
                heeded = len(asked)
                _pass_on(workers, heeded, say)
            for worker in [worker for worker in workers if worker.process.poll() is not None]:
                workers.remove(worker)
                worker.close()
                status = worker.process.returncode
                if asked or status == 0:
                    continue
                told = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
                young = young + 1 if time.monotonic() - worker.began < SHORT else 0
                if (status < 0 or status == HUNG) and young < TIMES:
                    told += "; another takes its place"
                    workers.append(Worker(directory, worker.share, say))
                else:
                    failed += 1
                say(f"the worker on {', '.join(worker.share.names)} {told}")
            time.sleep(0.05)
    finally:
        for worker in workers:
            worker.process.kill()
        for number, handler in before.items():
            signal.signal(number, handler)
    return 128 + asked[0] if asked else int(failed > 0)


def _pass_on(workers: list[Worker], times: int, say: Callable[[str], None]) -> None:
    if times == 1:
        say("stopping: each worker finishes its step and saves; once more kills them")
    for worker in workers:
        worker.process.terminate() if times == 1 else worker.process.kill()
