import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from research.data.sources import python_docs, tfds_source
from research.errors import UsageError

DIGEST = """
import hashlib, sys
from research.data.sources.python_docs import documents
print(hashlib.sha256(repr(list(documents())).encode()).hexdigest())
print(sorted({"antigravity", "this", "turtle", "tkinter", "idlelib"} & set(sys.modules)))
"""


@pytest.mark.slow
def test_another_process_makes_the_same_and_imports_no_module_it_reads():
    run = subprocess.run([sys.executable, "-c", DIGEST], capture_output=True, text=True, check=True)
    here = hashlib.sha256(repr(list(python_docs.documents())).encode()).hexdigest()
    assert run.stdout.splitlines() == [here, "[]"]


@pytest.mark.slow
def test_two_megabytes_of_english_without_repetition():
    documents = list(python_docs.documents())
    names, texts = zip(*documents, strict=True)
    assert len(set(names)) == len(names)
    assert len(set(texts)) == len(texts)
    size = {False: 0, True: 0}
    for name, text in documents:
        size[python_docs.validates(name)] += len(text.encode())
    assert 1_800_000 < size[False] < 3_000_000
    assert 0.03 < size[True] / size[False] < 0.06
    words = " ".join(texts).split()
    assert sum(word in {"the", "a", "of", "is", "to"} for word in words) > len(words) / 12
    paragraphs = [part for text in texts for part in text.split("\n\n") if len(part) > 300]
    assert len(set(paragraphs)) > 0.99 * len(paragraphs)


@pytest.mark.slow
def test_prepared_as_array_record_in_silence(capfd):
    builder = tfds_source.prepared("python_docs")
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err == ""
    assert platform.python_version() in builder.data_dir
    assert {path.suffix for path in builder.data_path.glob("python_docs-*")} == {
        ".array_record-00000-of-00001"
    }
    train, validation = (list(builder.as_data_source(split=split)) for split in ("train", "validation"))
    prepared = {record["name"]: record["text"] for record in train + validation}
    assert prepared == {name.encode(): text.encode() for name, text in python_docs.documents()} and len(
        train
    ) + len(validation) == len(prepared)
    assert all(python_docs.validates(record["name"].decode()) for record in validation)


@pytest.mark.slow
def test_a_killed_preparation_leaves_no_trace(lineage_home):
    target = tfds_source.prepared("python_docs").data_path
    target.rename(target.with_name("incomplete.ABCDEF_1.0.0"))
    assert tfds_source.prepared("python_docs").data_path.exists()
    assert not list(target.parent.glob("incomplete.*"))


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    script = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n"
        "from research.data.sources import tfds_source; tfds_source.prepared('python_docs')"
    )
    environment = os.environ | {"LINEAGE_HOME": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    last = run.stderr.splitlines()[-1]
    assert "EnvironmentFault: " in last and "File too large" in last and "set LINEAGE_HOME elsewhere" in last
    assert not list(tmp_path.rglob("*.array_record*"))


@pytest.mark.parametrize(
    "file, message",
    [
        ("*-train.array_record-*", "python_docs.*cut off or damaged"),
        ("dataset_info.json", "tfds.python_docs: "),
    ],
)
def test_damaged_files_are_one_line(file, message, tmp_path, monkeypatch):
    whole = Path(tfds_source.prepared("python_docs").data_path)
    root = whole.parents[2]
    shutil.copytree(whole, tmp_path / "tfds" / whole.relative_to(root))
    monkeypatch.setenv("LINEAGE_HOME", str(tmp_path))
    assert len(list(tfds_source.records("python_docs", "train[:5]"))) == 5
    (path,) = tmp_path.rglob(file)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UsageError, match=message) as raised:
        list(tfds_source.records("python_docs", "train"))
    assert "\n" not in str(raised.value) and str(tmp_path) in str(raised.value)
