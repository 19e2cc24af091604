"""Text as other people's programs write it."""

import bz2
import gzip
import lzma
import sys

import pyarrow
import pytest

from research.errors import EnvironmentFault, UsageError
from research.io.text import lines, read_exact, read_text, split_lines

INSIDE = "one\u2028still\x85one\x0c\x1c\x0b"  # str.splitlines ends a line at each of these
TEXT = f"{INSIDE}\ntwo\r\nthree\rfour\r\n\r\n\nlast"
LINES = [INSIDE, "two", "three", "four", "", "", "last"]


def zstd(content: bytes) -> bytes:
    """In two frames, as some programs write a file in parts."""
    half = len(content) // 2
    pack = pyarrow.Codec("zstd").compress
    return pack(content[:half]).to_pybytes() + pack(content[half:]).to_pybytes()


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize(
    "name, pack",
    [
        ("a.txt", bytes),
        ("a.jsonl.gz", gzip.compress),
        ("a.txt.bz2", bz2.compress),
        ("a.csv.xz", lzma.compress),
        ("a.jsonl.zst", zstd),
    ],
)
def test_lines_end_at_three_ends_alone(tmp_path, name, pack, mark):
    (tmp_path / name).write_bytes(pack(mark + TEXT.encode()))
    assert list(lines(tmp_path / name)) == list(enumerate(LINES, 1))
    assert split_lines(TEXT) == split_lines(TEXT + "\n") == LINES
    assert "".join(split_lines(TEXT, keep_ends=True)) == TEXT
    if pack is bytes:
        assert read_exact(tmp_path / name) == TEXT
        assert read_text(tmp_path / name) == "\n".join(LINES)


def test_an_empty_text_has_no_line(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbf")
    assert split_lines("") == [] and list(lines(tmp_path / "a.txt")) == [(1, "")]


@pytest.mark.parametrize("read", [read_text, read_exact, lambda path: list(lines(path))])
def test_faults_name_file_and_line(tmp_path, read):
    (tmp_path / "a.txt").write_bytes(b"one\r\ntwo\rthr\xe9e\n")
    with pytest.raises(UsageError, match=r"a\.txt:3: byte 0xe9 is not UTF-8"):
        read(tmp_path / "a.txt")
    with pytest.raises(UsageError, match=r"b\.txt: cannot be read: No such file"):
        read(tmp_path / "b.txt")


ARCHIVES = [
    ("a.gz", "gzip", gzip.compress),
    ("a.bz2", "bzip2", bz2.compress),
    ("a.xz", "xz", lzma.compress),
    ("a.zst", "zstd", zstd),
]


@pytest.mark.parametrize("name, kind, pack", ARCHIVES)
def test_an_archive_that_is_cut_or_changed_is_damaged(name, kind, pack, tmp_path):
    whole = pack("".join(f"line {n}\n" for n in range(9_999)).encode())
    changed = whole[:40] + b"?" * 40 + whole[80:]  # zstd writes no check sums here
    for content in (b"", whole[:-9], b"no archive at all", changed)[: 3 if kind == "zstd" else 4]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UsageError, match=rf"{name}: damaged {kind} file: ") as raised:
            list(lines(tmp_path / name))
        assert "\n" not in str(raised.value)


def test_without_a_package_one_line_says_how_to_get_it(tmp_path, monkeypatch):
    (tmp_path / "a.jsonl.zst").write_bytes(zstd(b"{}"))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(EnvironmentFault, match=r"a\.jsonl\.zst: it needs pyarrow: pip install .*parquet"):
        list(lines(tmp_path / "a.jsonl.zst"))
