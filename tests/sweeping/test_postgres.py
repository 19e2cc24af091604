"""A sweep whose study is in a real PostgreSQL, which stops and comes back."""

import os
import signal
import sys

import pytest

from research.errors import EnvironmentFault, LineageWarning, UsageError
from research.sweeping.record import open_sweep
from research.sweeping.status import sweep_status
from research.sweeping.study import database
from research.sweeping.study.storage import open_study, storage_of
from tests.mostly_slow import mostly_slow
from tests.sweeping.laws import check
from tests.sweeping.pretended import declared, run, steps, training, trials
from tests.sweeping.test_killed import small, start, steps_made, trainers, wait_for
from tests.sweeping.test_race import AT_ONCE, at_once

pytestmark = pytest.mark.usefixtures("nothing_to_free")


@pytest.fixture(autouse=True)
def forgotten():
    """A test's connections are not kept for the next one."""
    yield
    storage_of.cache_clear()


@pytest.mark.parametrize("scheme", mostly_slow(["postgresql", "postgres", "postgresql+psycopg"]))
def test_a_study_is_the_same_in_a_server_as_in_a_file(postgres, tmp_path, scheme):
    sweep = declared(tmp_path, trials=4, pruner="asha")
    open_sweep(tmp_path / "file", sweep, None)
    open_sweep(tmp_path / "server", sweep, postgres.database().replace("postgresql", scheme))
    assert run(tmp_path / "file", training()) and run(tmp_path / "server", training())
    expected, known = trials(tmp_path / "file"), trials(tmp_path / "server")
    for trial, other in zip(expected, known, strict=True):
        assert (trial.number, trial.state, trial.params) == (other.number, other.state, other.params)
        assert trial.value == other.value and trial.intermediate_values == other.intermediate_values
    assert not (tmp_path / "server" / "study.db").exists()


def test_a_server_that_restarts_between_two_steps_is_asked_again(postgres, tmp_path):
    open_sweep(tmp_path / "sweep", declared(tmp_path, trials=2), postgres.database())

    def interfere(experiment, step):
        if step == 5:
            postgres.stop(signal.SIGQUIT)
            postgres.start()

    assert run(tmp_path / "sweep", training(interfere))
    assert sweep_status(tmp_path / "sweep").counts["finished"] == 2
    assert all(steps(tmp_path / "sweep", number) == list(range(1, 10)) for number in range(2))


def test_a_server_that_stays_away_is_one_line_and_the_trial_is_taken_up(postgres, tmp_path, monkeypatch):
    monkeypatch.setattr(database, "WAIT", 0.5)
    open_sweep(tmp_path / "sweep", declared(tmp_path, trials=2), postgres.database())

    def interfere(experiment, step):
        if step == 5 and not (tmp_path / "once").exists():
            (tmp_path / "once").touch()
            postgres.stop()

    try:
        with (
            pytest.warns(LineageWarning, match="does not answer; asked again"),
            pytest.raises(EnvironmentFault, match=r"sweep: the storage fails: .*[Cc]onnection refused"),
        ):
            run(tmp_path / "sweep", training(interfere))
    finally:
        postgres.start()
    assert sweep_status(tmp_path / "sweep").counts["stopped"] == 1
    assert run(tmp_path / "sweep", training())
    assert sweep_status(tmp_path / "sweep").counts["finished"] == 2
    assert steps(tmp_path / "sweep", 0) == list(range(1, 7)) + list(range(5, 10))


@pytest.mark.parametrize(
    "url, reason",
    [
        ("postgresql://me:secret@127.0.0.1:1/db", r"cannot be opened: .*refused"),
        ("postgresql://me:secret@{server}/none", r"cannot be opened: .*(does not exist|authentication)"),
        ("postgresql://me:secret@127.0.0.1:port/db", r"cannot be opened: .*port"),
    ],
)
def test_a_server_that_cannot_be_reached_is_one_line_without_the_password(postgres, tmp_path, url, reason):
    url = url.format(server=f"127.0.0.1:{postgres.port}")
    record = open_sweep(tmp_path / "sweep", declared(tmp_path), url)
    with pytest.raises(EnvironmentFault, match=reason) as fault:
        open_study(record, tmp_path / "sweep")
    assert "secret" not in str(fault.value) and "\n" not in str(fault.value) and "me:***@" in str(fault.value)
    with pytest.raises(UsageError, match=r"storage was .*\*\*\*@127.*, now sqlite") as fault:
        open_sweep(tmp_path / "sweep", declared(tmp_path), "sqlite")
    assert "secret" not in str(fault.value)


def test_without_a_driver_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    record = open_sweep(tmp_path / "sweep", declared(tmp_path), "postgresql://127.0.0.1/db")
    with pytest.raises(EnvironmentFault, match=r"pip install 'lineage-lm\[postgres\]'"):
        open_study(record, tmp_path / "sweep")


@pytest.mark.slow
def test_sweeps_that_begin_at_once_in_an_empty_database(postgres, tmp_path):
    """Each has a directory, and so a lock, of its own."""
    at_once(
        AT_ONCE.replace("sys.argv[1])", "sys.argv[1]) / str(__import__('os').getpid())"),
        str(tmp_path),
        postgres.database(),
        count=4,
    )


@pytest.mark.slow
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_a_sweep_by_command_of_which_a_worker_is_killed(postgres, tmp_path):
    directory = tmp_path / "sweep"
    typed = ["sweep", "quickstart", *small(tmp_path), "--over", "optimizer.rate.peak=1e-3,1e-2"]
    typed += ["--dir", str(directory), "--workers", "2", "--storage", postgres.database()]
    keeper = start(directory, *typed)
    wait_for(lambda: len(trainers(directory)) == 2 and steps_made(directory) > 2, keeper)
    os.kill(trainers(directory)[0], signal.SIGKILL)
    output, _ = keeper.communicate(timeout=200)
    assert keeper.returncode == 0 and "another takes its place" in output, output
    known = check(directory, 2)
    assert any(len(trial.user_attrs["attempts"]) > 1 for trial in known)
