"""Text as other people's programs write it."""

import gzip

import pytest

from research.errors import UsageError
from research.io.text import lines, read_exact, read_text, split_lines

INSIDE = "one\u2028still\x85one\x0c\x1c\x0b"  # str.splitlines ends a line at each of these
TEXT = f"{INSIDE}\ntwo\r\nthree\rfour\r\n\r\n\nlast"
LINES = [INSIDE, "two", "three", "four", "", "", "last"]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("name, pack", [("a.txt", bytes), ("a.jsonl.gz", gzip.compress)])
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


def test_a_cut_archive_is_damaged(tmp_path):
    whole = gzip.compress("".join(f"line {n}\n" for n in range(9_999)).encode())
    (tmp_path / "a.gz").write_bytes(whole[:-9])
    with pytest.raises(UsageError, match=r"a\.gz:\d+: damaged gzip file: "):
        list(lines(tmp_path / "a.gz"))
