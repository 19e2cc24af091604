"""A cache answers only for what it was made of: whatever else two files have in common."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from research.config import Data
from research.data.sources import documents
from research.data.sources.documents import fingerprint
from research.data.store import building
from research.data.store.token_store import prepare
from research.data.tokenizers.tokenizer import load
from research.errors import UsageError
from research.io import content
from research.io.content import hashes

TIME = 1_700_000_000


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """A cache of this test's own."""
    monkeypatch.setenv("LINEAGE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def read(monkeypatch) -> list[str]:
    """The names of files as they are read; a moment ago is long ago, so that they are remembered."""
    names, hashed = [], content._hashed

    def noting(path):
        names.append(path.name)
        return hashed(path)

    monkeypatch.setattr(content, "_hashed", noting)
    monkeypatch.setattr(content, "SETTLED", -(10**12))
    return names


def data(source, tokenizer="char", **changes):
    declared = {"source": source, "tokenizer": tokenizer, "batch": 1, "length": 4, "split": "tail"}
    return Data(**declared | changes)


def written(path: Path, text: str) -> Path:
    """Files of these tests have one size and one time, as rsync or cp -p leave them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text((text + "\n") * 100, encoding="utf-8")
    os.utime(path, (TIME, TIME))
    return path


def prepared(declared: Data) -> str:
    corpus = prepare(declared, 1 << 20, lambda line: None)
    return corpus.tokenizer.decode(corpus.train.tokens.tolist())


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("tokenizer", ["char", "bpe:260"])
def test_two_corpora_of_one_name_typed_alike(tmp_path, monkeypatch, tokenizer, read):
    for folder, text in (("a", "one two six ten"), ("b", "111 222 666 100")) * 2:
        if not (tmp_path / folder).exists():
            written(tmp_path / folder / "train.txt", text)
        monkeypatch.chdir(tmp_path / folder)
        assert text in prepared(data("files:train.txt", tokenizer))
    assert read == ["train.txt"] * 2


def test_two_corpora_whose_paths_end_alike(tmp_path):
    deep = "/".join(["deeper" * 3] * 5)
    for folder, text in (("a", "one two six ten"), ("b", "111 222 666 100")):
        path = written(tmp_path / folder / deep / "train.txt", text)
        assert text in prepared(data(f"files:{path}"))


@pytest.mark.parametrize("how", ["in place", "another inode"])
def test_other_bytes_of_the_same_size_and_time(tmp_path, how, read):
    path = written(tmp_path / "train.txt", "one two six ten")
    assert "one" in prepared(data(f"files:{path}"))
    if how == "another inode":
        path.unlink()
    written(path, "111 222 666 100")
    assert "one" not in prepared(data(f"files:{path}"))
    assert read == ["train.txt"] * 2


def test_the_same_bytes_elsewhere_are_the_same_corpus(tmp_path, home):
    first = written(tmp_path / "a" / "train.txt", "one two")
    second = tmp_path / "another" / "name.txt"
    second.parent.mkdir()
    shutil.copy(first, second)  # at another time
    assert prepared(data(f"files:{first}")) == prepared(data(f"files:{second}"))
    assert len(list(home.glob("stores/[!.]*"))) == len(list(home.glob("tokenizers-trained/[!.]*"))) == 1


def test_how_files_are_read_and_their_order_matter(tmp_path):
    a, b = written(tmp_path / "a.txt", "one"), written(tmp_path / "b.txt", "two")
    before = fingerprint(data(f"files:{tmp_path}/*.txt"))
    a.rename(tmp_path / "c.txt")
    assert fingerprint(data(f"files:{tmp_path}/*.txt")) != before
    one = fingerprint(data(f"files:{b}"))
    b.rename(tmp_path / "b.jsonl")
    assert fingerprint(data(f"files:{tmp_path}/b.jsonl")) != one


def test_a_file_that_has_just_changed_is_not_remembered(tmp_path, home):
    """It can change again and show the same times: the clock of a file system ticks a few times a second."""
    path = written(tmp_path / "a.txt", "one")
    assert hashes([path]) == [digest(path)]
    assert not list(home.glob("contents/[!.]*"))


def test_large_files_are_read_once(tmp_path, read, home):
    paths = [written(tmp_path / "a" / f"{n}.txt", str(n)) for n in range(3)]
    paths.append(written(tmp_path / "b" / "0.txt", "other"))
    assert hashes(paths) == hashes(paths[::-1])[::-1] == list(map(digest, paths))
    assert sorted(read) == ["0.txt", "0.txt", "1.txt", "2.txt"]
    written(paths[1], "9")
    assert hashes(paths) == list(map(digest, paths)) and read[4:] == ["1.txt"]
    for index in home.glob("contents/*.json"):
        index.write_text('{"files": {"0.txt": 3}}', encoding="utf-8")  # damaged
    assert hashes(paths) == list(map(digest, paths)) and len(read) == 9


def test_what_was_read_before_an_interrupt_is_remembered(tmp_path, read, monkeypatch):
    paths = [written(tmp_path / f"{n}.txt", str(n)) for n in range(3)]
    noting = content._hashed

    def interrupted(path):
        if path == paths[2]:
            raise KeyboardInterrupt
        return noting(path)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(content, "_hashed", interrupted)
        hashes(paths)
    assert hashes(paths) == list(map(digest, paths)) and read == ["0.txt", "1.txt", "2.txt"]


def test_a_home_that_cannot_be_written_is_done_without(tmp_path, monkeypatch, read):
    path = written(tmp_path / "a.txt", "one")
    (tmp_path / "file").touch()
    monkeypatch.setenv("LINEAGE_HOME", str(tmp_path / "file" / "home"))
    assert hashes([path]) == hashes([path]) == [digest(path)]


def test_several_processes_at_once(tmp_path, home):
    paths = [written(tmp_path / f"{n}.txt", str(n)) for n in range(30)]
    script = (
        "import sys\nfrom pathlib import Path\nfrom research.io import content\n"
        "content.SETTLED = -(10**12)\n"
        "for _ in range(20): print(*content.hashes([Path(p) for p in sys.argv[1:]]), sep='\\n')"
    )
    command = [sys.executable, "-c", script]
    parts = paths[:20], paths[10:], paths[::-1]
    children = [
        subprocess.Popen([*command, *map(str, part)], stdout=subprocess.PIPE, text=True) for part in parts
    ]
    for child, part in zip(children, parts, strict=True):
        out, _ = child.communicate(timeout=60)
        assert child.returncode == 0 and out.split() == list(map(digest, part)) * 20
    (index,) = home.glob("contents/*.json")
    assert len(json.loads(index.read_text(encoding="utf-8"))["files"]) == 30


def test_a_file_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    path = written(tmp_path / "a.txt", "one")

    def refused(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refused)
    with pytest.raises(UsageError, match=r"a\.txt: cannot be read: Permission denied$"):
        hashes([path])


def test_a_file_that_changes_while_it_is_tokenized_is_kept_under_no_name(tmp_path, monkeypatch, home):
    path = written(tmp_path / "a.txt", "one two six ten")
    declared = data(f"files:{path}", "bpe:260")
    load(declared)
    write = building.write

    def writing(*arguments):
        written(path, "111 222 666 100")
        return write(*arguments)

    monkeypatch.setattr(building, "write", writing)
    with pytest.raises(UsageError, match=r"data\.source=files:.*a\.txt: changed while it was read; run"):
        prepare(declared, 1 << 20, lambda line: None)
    assert not [path for path in home.glob("stores/*") if not path.name.endswith(".lock")]


def test_caches_of_data_sets_keep_their_names():
    """What is there stays of use: names as they were made before files were known by content."""
    declared = data("tfds:python_docs:validation", "bpe:300")
    name = documents.folder_name(declared, "key")
    assert name == f"tfds-python_docs-validation-bpe-300-{hashlib.sha256(b'key').hexdigest()[:16]}"


@pytest.mark.parametrize(
    ("source", "tokenizer", "words"),
    [
        ("files:some/where/*.txt", "bpe:300", "files-bpe-300"),
        ("files:x.txt", "some/where", "files"),
        ("0.5*files:x.txt+0.5*tfds:lm1b", "char", "files-char"),
    ],
)
def test_caches_of_files_have_no_place_in_their_names(source, tokenizer, words):
    declared = data(source, tokenizer, split="documents")
    assert documents.folder_name(declared, "key").rpartition("-")[0] == words
