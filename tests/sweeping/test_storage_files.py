"""A study's file: read without being written, and sound after a full disk or a power loss."""

import os

import optuna
import pytest
from optuna.storages import JournalStorage

from research.sweeping.record import open_sweep, read
from research.sweeping.status import sweep_status
from research.sweeping.study.files import Journal, open_sqlite
from research.sweeping.study.storage import load_study, storage_of
from tests.sweeping.pretended import declared, run, training

pytestmark = pytest.mark.usefixtures("nothing_to_free")


@pytest.mark.parametrize("storage", ["sqlite", "journal"])
def test_a_sweep_that_cannot_be_written_is_read(tmp_path, monkeypatch, storage):
    """Of a colleague, or on a snapshot; root may write everything, so the answer is pretended."""
    open_sweep(tmp_path / "sweep", declared(tmp_path, trials=2), storage)
    assert run(tmp_path / "sweep", training())
    storage_of.cache_clear()  # closes the database
    (tmp_path / "sweep/leases").rename(tmp_path / "leases")
    before = sorted(path.name for path in (tmp_path / "sweep").iterdir())
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    assert sweep_status(tmp_path / "sweep").counts["finished"] == 2
    study = load_study(read(tmp_path / "sweep"), tmp_path / "sweep")
    if storage == "sqlite":
        with pytest.raises(optuna.exceptions.StorageInternalError):
            study.set_user_attr("written", True)
    assert sorted(path.name for path in (tmp_path / "sweep").iterdir()) == before
    storage_of.cache_clear()


@pytest.mark.parametrize("cut", [b'{"op_code":4,"wor', b"\0" * 5_000, b'{"op_co' + b"\0" * 5_000])
def test_a_journal_goes_on_after_a_line_that_was_cut(tmp_path, cut):
    path = tmp_path / "study.journal"
    study = optuna.create_study(storage=JournalStorage(Journal(path)), study_name="one")
    study.tell(study.ask(), 1.0)
    whole = path.read_bytes()
    path.write_bytes(whole + cut)
    again = optuna.load_study(storage=JournalStorage(Journal(path)), study_name="one")
    again.tell(again.ask(), 2.0)
    assert path.read_bytes().startswith(whole)
    found = optuna.load_study(storage=JournalStorage(Journal(path)), study_name="one")
    assert [trial.value for trial in found.trials] == [1.0, 2.0]


def test_a_group_may_share_a_study(tmp_path):
    before = os.umask(0o002)
    try:
        open_sqlite("sqlite", tmp_path).engine.dispose()
    finally:
        os.umask(before)
    assert (tmp_path / "study.db").stat().st_mode & 0o777 == 0o664
