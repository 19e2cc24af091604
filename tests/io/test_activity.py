"""What a command is busy with: on a terminal a line that counts, in a log a line now and then."""

import io
import os
import subprocess
import sys
import time

import pytest

from research.io import activity as module
from research.io.activity import activity, count, displayed_by, say


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def screen(monkeypatch):
    """Standard error, where everything happens ten times as fast."""

    def put(stream: io.StringIO) -> io.StringIO:
        monkeypatch.setattr(module, "_shown", True)
        monkeypatch.setattr(module, "TICK", 0.02)
        monkeypatch.setattr(module, "FIRST", 0.2)
        monkeypatch.setattr(module, "THEN", 1.5)
        monkeypatch.setattr("sys.stderr", stream)
        return stream

    return put


def test_nothing_is_shown_unless_a_command_asks(capsys):
    with activity("working"):
        time.sleep(0.3)
    assert capsys.readouterr().err == ""


def until(happened) -> None:
    deadline = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_terminal_shows_the_innermost_and_ends_clean(screen):
    out = screen(Terminal())
    with activity("outer"):
        until(lambda: "⠋ outer … 0 s\r" in out.getvalue())
        with activity("inner") as show:
            show("2 of 3")
            until(lambda: "inner, 2 of 3 … " in out.getvalue())
            before = len(out.getvalue())
            until(lambda: out.getvalue()[before:].count("inner") > 2)
            assert "outer" not in out.getvalue()[before:]
    assert out.getvalue().endswith("\r\x1b[2K\r"), "the line is removed"


def test_a_log_has_a_line_for_what_takes_long(screen):
    out = screen(io.StringIO())
    with activity("quick"):
        pass
    with activity("slow"):
        until(out.getvalue)
    assert out.getvalue().startswith("slow … ") and "quick" not in out.getvalue()


def test_a_progress_bar_shows_it_instead(screen):
    out, texts = screen(Terminal()), []
    with displayed_by(texts.append), activity("compiling"):
        until(lambda: texts)
    assert out.getvalue() == "" and "compiling" in texts[0] and texts[-1] == ""


def test_a_result_takes_the_place_of_the_line(screen, capsys):
    out = screen(Terminal())
    with activity("working"):
        until(lambda: "working" in out.getvalue())
        before = out.getvalue()
        say("a result")
        assert out.getvalue()[len(before) :].startswith("\r\x1b[2K\r")
    assert capsys.readouterr().out == "a result\n"


def test_items_are_counted():
    shown = []
    assert list(count("ab", 2, shown.append)) == ["a", "b"] and shown == ["1 of 2", "2 of 2"]


def test_a_block_that_fails_is_no_longer_shown():
    with pytest.raises(ZeroDivisionError), activity("dividing"):
        raise ZeroDivisionError
    assert module._running == []


def test_work_goes_on_when_its_reader_is_gone():
    reader, writer = os.pipe()
    os.close(reader)
    script = (
        "import sys; from research.io.activity import say\n"
        "for n in range(3): say(n)\n"
        "print('done', file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert done.returncode == 0
    assert done.stderr == "lineage: standard output: Broken pipe; the rest is not shown\ndone\n"
