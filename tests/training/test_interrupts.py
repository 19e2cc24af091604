"""Ctrl-C: soon, with status 130, whatever the main thread is doing; left to what saves by itself."""

import signal
import subprocess
import sys
import textwrap
import time

import pytest

BEGIN = """
    import ctypes, signal, sys, time
    from research.training.stopping import interrupts
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a job in the background ignores it
    interrupts.end_promptly()
    native, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
    def say(): print("ready", flush=True)
    def block():  # in native code that no signal interrupts, as XLA's compiler does
        native.pthread_mutex_lock(mutex)
        native.pthread_mutex_lock(mutex)
"""


def interrupted(code: str, times: int = 1, number: int = signal.SIGINT) -> tuple[int, float, str]:
    """(status, seconds from the last signal to the end, standard error) of `code`."""
    code = textwrap.dedent(BEGIN) + textwrap.dedent(code)
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n", process.stderr.read()
    for _ in range(times):
        time.sleep(0.1)
        process.send_signal(number)
    sent = time.monotonic()
    err = process.communicate(timeout=60)[1]
    return process.returncode, time.monotonic() - sent, err


@pytest.mark.parametrize(
    "busy",
    [
        "say(); block()",
        "import threading; say(); threading.Event().wait(30)",
    ],
)
def test_the_process_ends_within_two_seconds_with_130(busy):
    status, seconds, err = interrupted(
        f"""
        try:
            {busy}
        except KeyboardInterrupt:
            interrupts.leave(interrupts.STATUS)
        """
    )
    assert status == 130 and seconds < 2, (status, seconds, err)


def test_code_that_swallows_the_interrupt_ends_too():
    status, seconds, err = interrupted(
        """
        say()
        while True:
            try:
                time.sleep(1)
            except KeyboardInterrupt:
                pass
        """
    )
    assert status == 130 and seconds < 2 and err == "lineage: interrupted\n"


@pytest.mark.slow
def test_what_saves_by_itself_is_left_alone_once():
    code = """
        signal.signal(signal.SIGINT, lambda *_: None)
        with interrupts.graceful("saving"):
            say()
            end = time.monotonic() + {seconds}
            while time.monotonic() < end:
                time.sleep(0.1)
        print("saved", file=sys.stderr)
    """
    status, _, err = interrupted(code.format(seconds=2.5))
    assert (status, err) == (0, "lineage: saving\nsaved\n")
    status, seconds, err = interrupted(code.format(seconds=30), times=2)
    assert status == 130 and seconds < 2 and err == "lineage: saving\nlineage: interrupted\n"


def test_what_has_not_begun_is_not_saved_and_cleans_up(tmp_path):
    status, _, err = interrupted(
        f"""
        from pathlib import Path
        signal.signal(signal.SIGINT, lambda *_: None)
        with interrupts.graceful("saving", lambda: False), interrupts.on_leave(Path({str(tmp_path)!r}).rmdir):
            say()
            block()
        """
    )
    assert status == 130 and err == "lineage: interrupted\n" and not tmp_path.exists()


def test_an_import_is_ended_without_a_word_but_ours():
    status, seconds, err = interrupted("with interrupts.at_once():\n    say()\n    time.sleep(30)")
    assert status == 130 and seconds < 1 and err == "\nlineage: interrupted\n"


def test_a_worker_takes_the_signal_that_its_parent_passes_on():
    code = "interrupts.end_promptly(signal.SIGTERM); say(); block()"
    status, seconds, _ = interrupted(code, number=signal.SIGTERM)
    assert status == 143 and seconds < 2
