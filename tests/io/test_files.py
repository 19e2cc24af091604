"""A file is written whole or not at all."""

import os

from research.io.files import write_atomic


def test_a_file_is_on_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    """Otherwise a power loss may leave an empty file, and the record of a run would be lost."""
    path, fsync, flushed = tmp_path / "experiment.json", os.fsync, []
    write_atomic(path, "old")

    def flush(number):
        flushed.append((os.fstat(number).st_size, path.read_text()))
        fsync(number)

    monkeypatch.setattr(os, "fsync", flush)
    write_atomic(path, "newer")
    assert flushed == [(len("newer"), "old")] and path.read_text() == "newer"
    assert [file.name for file in tmp_path.iterdir()] == ["experiment.json"]
