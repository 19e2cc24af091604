"""Trackers of another package get each row once, in one thread; their faults and delays stay theirs."""

import json
import subprocess
import sys
import threading

import pytest

from launch.__main__ import run as run_command
from research.config.names import TRACKERS
from research.config.settings import flatten, override
from research.errors import EnvironmentFault, LineageWarning, UsageError
from research.runs.metrics_log import Metrics
from research.training import loop
from research.training.logging import in_thread, trackers
from research.training.logging.tracker import Tracker
from tests.training.tiny import assignments, quickstart, timeless


def silent(line: str) -> None:
    pass


def row(step, split="train"):
    return {"step": step, "split": split, "loss": step / 2}


def follow(experiment, directory, start, *rows):
    opened = trackers.open_trackers(experiment.run, flatten(experiment), directory, start)
    with Metrics(directory, start, trackers=opened) as metrics:
        for one in rows:
            metrics.write(one)


@pytest.fixture
def mine(registries):
    """A tracker `mine` that keeps what it is called with."""

    @TRACKERS.register("mine")
    class Mine(Tracker):
        calls = []  # noqa: RUF012

        def __init__(self, run):
            super().__init__(run)
            self.calls.append(("open", run, threading.get_ident()))

        def write(self, row):
            self.calls.append(((row["step"], row["split"]), row, threading.get_ident()))
            row.clear()

        def close(self, failed):
            self.calls.append(("close", failed, threading.get_ident()))

    return Mine


@pytest.fixture
def tracked(tmp_path, mine):
    return quickstart(tmp_path / "text.txt", run__trackers=("mine",))


def test_a_tracker_gets_the_rows_of_the_log(tmp_path, mine, tracked):
    loop.train(tracked, tmp_path / "run", silent)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    (_, opened, thread), *calls, (last, failed, _) = mine.calls
    assert [place for place, _, _ in calls] == [(one["step"], one["split"]) for one in rows]
    assert (last, failed) == ("close", False)
    assert {one for _, _, one in mine.calls} == {thread} != {threading.get_ident()}  # sqlite needs one thread
    assert opened.directory == tmp_path / "run" and (opened.name, opened.group) == ("run", None)
    assert (opened.start, opened.steps, opened.settings["model.width"]) == (0, 12, 16)
    assert not (tmp_path / "run" / "tensorboard").exists()


def test_a_row_that_is_made_again_is_written_once(tmp_path, mine, tracked):
    """Killed after step 5, resumed at 2 and killed after 3, resumed at 2."""
    follow(tracked, tmp_path, 0, *map(row, range(1, 6)))
    follow(tracked, tmp_path, 2, row(3))
    follow(tracked, tmp_path, 2, *map(row, range(3, 7)), row(6, "validation"))
    follow(tracked, tmp_path, 6, row(6, "validation"), row(7))
    written = [place for place, _, _ in mine.calls if isinstance(place, tuple)]
    assert written == [*((n, "train") for n in range(1, 7)), (6, "validation"), (7, "train")]
    assert [facts.start for what, facts, _ in mine.calls if what == "open"] == [0, 2, 2, 6]


def test_a_run_that_is_begun_anew_is_written_anew(tmp_path, mine, tracked):
    """Its first evaluation may have been that of another declaration."""
    follow(tracked, tmp_path, 0, row(0, "validation"))
    follow(tracked, tmp_path, 0, row(0, "validation"), row(1))
    assert [place[0] for place, _, _ in mine.calls if isinstance(place, tuple)] == [0, 0, 1]


def test_a_fault_is_one_warning_and_the_run_is_as_without_it(tmp_path, mine, tracked):
    def refuse(self, row):
        self.calls.append(row["step"])
        raise ConnectionError("the server\nis away")

    mine.write = refuse
    with pytest.warns(LineageWarning) as warned:
        assert loop.train(tracked, tmp_path / "run", silent).finished
    (message,) = [str(one.message) for one in warned if one.category is LineageWarning]
    line = refuse.__code__.co_firstlineno + 2
    assert message == (
        f"{tmp_path / 'run'}: run.trackers=mine: ConnectionError: the server is away "
        f"({__file__}, line {line}); the run continues"
    )
    assert mine.calls[1:-1] == [0, *range(1, 7), 6, *range(7, 13), 12]  # the next rows may get through
    untracked = override(tracked, {"run.trackers": ""})
    loop.train(untracked, tmp_path / "other", silent)
    assert timeless(tmp_path / "run") == timeless(tmp_path / "other")


def test_a_tracker_that_does_not_open_is_one_warning(tmp_path, mine, tracked):
    def refuse(self, run):
        raise SystemExit("no account")

    mine.__init__ = refuse
    with pytest.warns(LineageWarning, match=r"mine: SystemExit: no account \(.*, line \d+\)"):
        follow(tracked, tmp_path, 0, row(1), row(2))
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") == 2


def test_a_refusal_of_a_tracker_closes_the_others(tmp_path, mine, registries):
    @TRACKERS.register("paid")
    class Paid(Tracker):
        def __init__(self, run):
            raise EnvironmentFault("no account")

    experiment = quickstart(tmp_path / "text.txt", run__trackers="mine,paid")
    with pytest.raises(EnvironmentFault, match="no account"):
        follow(experiment, tmp_path, 0)
    assert mine.calls[-1][:2] == ("close", True)

    Paid.check = classmethod(lambda cls: cls(None))
    with pytest.raises(EnvironmentFault, match="no account"):
        loop.train(experiment, tmp_path / "run", silent)
    assert not (tmp_path / "run").exists()


def test_a_slow_tracker_delays_no_row(tmp_path, mine, tracked):
    goes_on, written = threading.Event(), []

    def wait(self, row):
        goes_on.wait()
        written.append(row["step"])

    mine.write = wait
    opened = trackers.open_trackers(tracked.run, flatten(tracked), tmp_path, 0)
    with Metrics(tmp_path, 0, trackers=opened) as metrics:
        for step in range(1, 5):
            metrics.write(row(step))
        assert written == []
        goes_on.set()
    assert written == [1, 2, 3, 4]


def test_a_run_ends_without_a_tracker_that_hangs(tmp_path, mine, tracked, monkeypatch):
    monkeypatch.setattr(in_thread, "PATIENCE", 0.1)
    goes_on, written = threading.Event(), []

    def wait(self, row):
        goes_on.wait()
        written.append(row["step"])

    mine.write = wait
    with pytest.warns(LineageWarning, match="still busy 0 s after the last row; rows not written: 3"):
        follow(tracked, tmp_path, 0, row(1), row(2), row(3))
    goes_on.set()
    for thread in threading.enumerate():
        if thread.name == "tracker mine":
            thread.join()
    assert written == [1]  # the run may be resumed by now


def test_names_are_checked(tmp_path, registries):
    with pytest.raises(UsageError, match=r"run\.trackers=tensorbord: not known; did you mean tensorboard"):
        quickstart(tmp_path / "text.txt", run__trackers="tensorbord")
    with pytest.raises(UsageError, match=r"run\.trackers=tensorboard: expected a tuple"):
        type(quickstart(tmp_path / "text.txt").run)(steps=1, trackers="tensorboard")  # type: ignore[arg-type]
    TRACKERS.register("mine")(lambda run: run)
    experiment = quickstart(tmp_path / "text.txt", run__trackers="mine")
    with pytest.raises(UsageError, match=r"run\.trackers=mine: .*; expected a class derived from .*Tracker"):
        trackers.check(experiment.run)


FILE = """
from research.config.names import TRACKERS
from research.training.logging.tracker import Tracker

@TRACKERS.register("lines")
class Lines(Tracker):
    def write(self, row):
        with open(self.run.directory / "lines.txt", "a") as file:
            file.write(f"{row['step']} {row['split']}\\n")
"""


@pytest.mark.slow
def test_a_run_s_trackers_may_change(tmp_path, capsys):
    """Their names and their code, since no number depends on them; resuming imports them again."""
    plugin, directory = tmp_path / "lines.py", str(tmp_path / "run")
    plugin.write_text(FILE)
    experiment = quickstart(tmp_path / "text.txt", run__steps=2, run__evaluate_every=0)
    command = ["train", "quickstart", *assignments(experiment), "--dir", directory]
    assert run_command(command) == 0
    more = ["run.trackers=lines,tensorboard", "run.steps=4", "--import", str(plugin)]
    assert run_command(["resume", directory, *more]) == 0
    plugin.write_text(FILE.replace('"a"', '"at"'))
    script = ["-m", "launch", "resume", directory, "run.steps=6"]
    done = subprocess.run([sys.executable, *script], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    lines = (tmp_path / "run" / "lines.txt").read_text().splitlines()
    assert lines == ["3 train", "4 train", "4 validation", "5 train", "6 train", "6 validation"]
