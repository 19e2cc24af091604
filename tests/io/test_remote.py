"""A folder in other storage: its name is taken as it is, and faults are one line."""

import errno
import sys

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry

from research.errors import EnvironmentFault, UsageError
from research.io import remote
from research.io.remote import connect


@pytest.fixture(autouse=True)
def no_bucket():
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.mark.parametrize("name", ["run[1]", "run*", "run?", "a b", "a#b", "a%20b", "rün"])
@pytest.mark.parametrize("place", ["memory", "disk"])
def test_a_name_is_no_pattern(tmp_path, name, place):
    """Else a removal in `run*` would remove a checkpoint of all runs beside it, and none in `run[1]`."""
    start = "memory://bucket" if place == "memory" else str(tmp_path)
    (tmp_path / "file").write_text("text")
    folder, beside = connect(f"{start}/{name}"), connect(f"{start}/run1")
    for target in (folder, beside):
        remote.upload(target, {"checkpoints/10/a [b]*.txt": tmp_path / "file"})
        remote.write(target, "checkpoints/10/manifest.json", b"{}")
    remote.download(folder, ["checkpoints/10/a [b]*.txt"], tmp_path / "fetched")
    assert (tmp_path / "fetched/checkpoints/10/a [b]*.txt").read_text() == "text"
    remote.remove(folder, "checkpoints/10/manifest.json")
    assert [*remote.sizes(folder)] == ["checkpoints/10/a [b]*.txt"]
    remote.remove(folder, "checkpoints/10")
    assert not remote.sizes(folder) and len(remote.sizes(beside)) == 2


def test_a_path_with_colons_is_that_path(tmp_path):
    """fsspec would take a::b as the folder a, opened through b."""
    remote.write(connect(str(tmp_path / "a::b")), "file", b"1")
    assert [path.name for path in tmp_path.iterdir()] == ["a::b"]


def test_what_the_disk_says_is_said(tmp_path, monkeypatch):
    def full(*arguments, **named):
        raise OSError(errno.ENOSPC, "No space left on device", "one path", None, "another")

    target = connect(str(tmp_path / "copy"))
    monkeypatch.setattr(type(target.system), "pipe_file", full)
    with pytest.raises(EnvironmentFault, match=r"copy: cannot be read or written: No space left on device$"):
        remote.write(target, "file", b"1")


@pytest.mark.parametrize(
    ("url", "fault", "expected"),
    [
        ("", UsageError, "^: expected a URL such as .*, or an absolute path$"),
        ("~/copy", UsageError, r"an absolute path such as /.*/copy$"),
        ("s3://", UsageError, "s3://: expected a URL such as"),
        ("memory://a::b", UsageError, "memory://a::b: expected a URL without ::"),
        ("runs/copy", UsageError, "runs/copy: expected a URL such as gs://BUCKET/RUN"),
        ("s4://bucket/run", UsageError, "s4://bucket/run: s4: no such kind of storage; expected a URL"),
        ("ftp://localhost:1/run", EnvironmentFault, r"localhost:1/run: cannot be reached \(ConnectionRef"),
    ],
)  # fmt: skip
def test_a_place_that_cannot_be(url, fault, expected):
    with pytest.raises(fault, match=expected):
        connect(url)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(_registry, "s3", raising=False)  # loaded by an earlier test
    with pytest.raises(EnvironmentFault, match="s3://bucket/run: Install s3fs to access S3"):
        connect("s3://bucket/run")
