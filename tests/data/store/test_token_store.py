import hashlib
import json
import math
import os
import pickle
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models

from research.config import Data
from research.data.sources.documents import Document, documents, fingerprint
from research.data.store import encoding
from research.data.store.token_store import open_store, prepare
from research.data.tokenizers.tokenizer import end_of_text, load
from research.errors import EnvironmentFault, LineageWarning, UsageError


def data(source, tokenizer="char", **changes):
    return Data(source=str(source), tokenizer=str(tokenizer), batch=2, length=4, **changes)


def quietly(declared, vocabulary=1 << 20):
    return prepare(declared, vocabulary, lambda line: None)


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A separate cache for this test."""
    monkeypatch.setenv("LINEAGE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def verses(tmp_path):
    texts = [f"Verse {n}: roses are 🌹, <|endoftext|> violets naïve.\n" * (n % 5 + 1) for n in range(100)]
    (tmp_path / "verses.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    return data(f"files:{tmp_path}/verses.jsonl", "bpe:300", holdout=0.2)


def test_the_store_is_every_document_and_an_end_after_each(verses):
    corpus = quietly(verses)
    ending = end_of_text(corpus.tokenizer)
    ordinary = load(verses)
    ordinary.encode_special_tokens = True  # so that <|endoftext|> spelled in the text is text
    for name, store in (("train", corpus.train), ("validation", corpus.validation)):
        texts = list(documents(verses, name))
        expected = [[*ordinary.encode(text).ids, ending] for text in texts]
        assert store.tokens.tolist() == list(chain(*expected))
        assert store.tokens.dtype == np.uint16
        assert store.starts.tolist() == [sum(map(len, expected[:n])) for n in range(len(texts))]
        assert store.starts.dtype == np.int64
        assert store.documents == len(texts)
        assert store.bytes == sum(len(text.encode()) for text in texts)
        assert store.sha256 == hashlib.sha256(store.tokens.astype("<u2").tobytes()).hexdigest()
        counts = Counter(chain(*expected))
        shares = [count / counts.total() for count in counts.values()]
        assert store.unigram_entropy == pytest.approx(-sum(share * math.log(share) for share in shares))


def test_the_tail_is_cut_as_in_nanogpt(shared_data):
    path = shared_data / "lm" / "tinyshakespeare" / "input.txt"
    corpus = quietly(data(f"files:{path}", split="tail", holdout=0.1), 65)
    text = path.read_text()
    vocabulary = sorted(set(text))
    cut = int(len(text) * 0.9)
    assert corpus.train.tokens.tolist() == [vocabulary.index(character) for character in text[:cut]]
    assert corpus.validation.tokens.tolist() == [vocabulary.index(character) for character in text[cut:]]
    assert (len(corpus.train.tokens), len(corpus.validation.tokens)) == (1_003_854, 111_540)  # its README
    assert (corpus.train.bytes, corpus.validation.bytes) == (1_003_854, 111_540)


def test_the_tail_of_several_documents(verses):
    whole = quietly(Data(**vars(verses) | {"split": "tail", "holdout": 0.25}))
    texts = list(documents(verses, "all"))
    joined = np.concatenate([whole.train.tokens, whole.validation.tokens])
    cut = int(len(joined) * 0.75)
    assert len(whole.train.tokens) == cut
    ends = np.flatnonzero(joined == end_of_text(whole.tokenizer)) + 1
    starts = [0, *ends[:-1]]
    assert whole.train.starts.tolist() == [start for start in starts if start < cut]
    assert whole.validation.starts.tolist() == [0, *(start - cut for start in starts if start > cut)]
    assert whole.train.bytes + whole.validation.bytes == sum(len(text.encode()) for text in texts)
    assert whole.validation.bytes == len(whole.tokenizer.decode(whole.validation.tokens.tolist()).encode())


def test_the_head_of_several_documents(verses):
    """The first tokens of all documents in order, whatever their number; the others train."""
    ordered = quietly(Data(**vars(verses) | {"split": "tail", "holdout": 0.25}))
    joined = np.concatenate([ordered.train.tokens, ordered.validation.tokens])
    cut = 1_000
    split = quietly(Data(**vars(verses) | {"split": "head", "head": cut}))
    assert split.validation.tokens.tolist() == joined[:cut].tolist()
    assert split.train.tokens.tolist() == joined[cut:].tolist()
    assert split.train.sha256 == hashlib.sha256(joined[cut:].astype("<u2").tobytes()).hexdigest()
    ends = np.flatnonzero(joined == end_of_text(split.tokenizer)) + 1
    starts = [0, *ends[:-1].tolist()]
    assert cut not in starts
    assert split.validation.starts.tolist() == [start for start in starts if start < cut]
    assert split.train.starts.tolist() == [0, *(start - cut for start in starts if start > cut)]
    texts = list(documents(verses, "all"))
    assert split.train.bytes + split.validation.bytes == sum(len(text.encode()) for text in texts)
    assert pickle.loads(pickle.dumps(split.train)).tokens.tolist() == split.train.tokens.tolist()
    assert quietly(Data(**vars(verses) | {"split": "head", "head": cut})).train.sha256 == split.train.sha256
    other = quietly(Data(**vars(verses) | {"split": "head", "head": cut + 1}))
    assert len(other.validation.tokens) == cut + 1
    with pytest.raises(UsageError, match=r"data\.head=9999999: the source has"):
        quietly(Data(**vars(verses) | {"split": "head", "head": 9_999_999}))
    with pytest.raises(UsageError, match=r"data\.head=0: expected 2 or more"):
        Data(**vars(verses) | {"split": "head"})


def test_the_tail_of_each_source_of_a_mixture(tmp_path):
    for name, count in (("a", 30), ("b", 17)):
        (tmp_path / f"{name}.txt").write_text(f"{name} " * count)
    source = f"2*files:{tmp_path}/a.txt+1*files:{tmp_path}/b.txt"
    corpus = quietly(data(source, split="tail", holdout=0.2))
    text = [corpus.tokenizer.decode(store.tokens.tolist()) for store in (corpus.train, corpus.validation)]
    assert text == ["a " * 24 + "b " * 13 + "b", "a " * 6 + " " + "b " * 3]
    assert corpus.train.parts == (0, 48) and corpus.validation.parts == (0, 12)
    assert corpus.train.starts.tolist() == [0, 48] and corpus.validation.starts.tolist() == [0, 12]
    assert (corpus.train.bytes, corpus.validation.bytes) == (75, 19)
    with pytest.raises(UsageError, match=r"data\.split=head: a mixture has no head"):
        quietly(data(source, split="head", head=5))


def test_long_documents_are_tokenized_as_if_whole(shared_data, monkeypatch):
    gpt2 = load(data("files:none", shared_data / "tokenizers" / "gpt2"))
    texts = [
        (shared_data / "lm" / "wikitext-2" / "valid.txt").read_text()[:200_000],
        (shared_data / "lm" / "tinyshakespeare" / "input.txt").read_text()[:200_000],
        "\n\n \t a  b   c\u00a0 d\u3000e" * 3000,
    ]
    monkeypatch.setattr(encoding, "CHUNK_SIZE", 1000)
    monkeypatch.setattr(encoding, "BATCH_SIZE", 5000)
    documents = [Document(0, "train", text) for text in texts]
    batches = list(encoding.encode(encoding.chunks(documents, None), gpt2))
    chunks = [chunk for batch in batches for chunk in batch.chunks]
    assert len(chunks) > 300
    whole = [[*gpt2.encode(text).ids, 50_256] for text in texts]
    assert list(chain(*(batch.ids.tolist() for batch in batches))) == list(chain(*whole))
    assert sum(chunk.first for chunk in chunks) == sum(chunk.last for chunk in chunks) == 3


def test_large_vocabularies_take_four_bytes(tmp_path):
    Tokenizer(models.WordLevel({f"{n}": n for n in range(70_000)})).save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "a.jsonl").write_text(
        '{"text": "69999"}\n{"text": "65536"}\n{"text": "3"}\n{"text": "65535"}'
    )
    corpus = quietly(data(f"files:{tmp_path}/a.jsonl", tmp_path, split="tail", holdout=0.5), 70_000)
    assert corpus.train.tokens.tolist() + corpus.validation.tokens.tolist() == [69_999, 65_536, 3, 65_535]
    assert corpus.train.tokens.dtype == np.uint32


def test_made_once_and_reported_in_a_line(verses, home):
    lines = []
    first = prepare(verses, 300, lines.append)
    inode = next(home.glob("stores/*/train/tokens.bin")).stat().st_ino
    second = prepare(verses, 300, lines.append)
    assert next(home.glob("stores/*/train/tokens.bin")).stat().st_ino == inode
    assert first.train.sha256 == second.train.sha256
    made, found = lines
    count = f"{first.train.documents} + {first.validation.documents} documents"
    assert count in made and count in found
    assert "bytes per token" in made and "MB/s" in made
    assert "found in the cache" in found


def test_other_declarations_get_other_stores(verses, home):
    quietly(verses)
    quietly(Data(**vars(verses) | {"tokenizer": "bpe:290"}))
    quietly(Data(**vars(verses) | {"holdout": 0.3}))
    quietly(Data(**vars(verses) | {"batch": 64, "length": 8, "order": "random"}))  # needs no other
    assert len(list(home.glob("stores/[!.]*"))) == 3


def test_a_vocabulary_too_small(verses):
    with pytest.raises(UsageError, match=r"model\.vocabulary=299: the tokenizer bpe:300 has 300 entries"):
        quietly(verses, 299)


def test_a_split_too_small_to_predict(tmp_path, home):
    (tmp_path / "a.txt").write_text("To be, or not to be")
    with pytest.raises(UsageError, match=r"data\.holdout: leaves validation fewer than two tokens"):
        quietly(data(f"files:{tmp_path}/a.txt", split="tail", holdout=0.001))
    assert not list(home.glob("stores/[!.]*")) + list(home.glob("stores/.*partial*"))


def child(declared, before=""):
    """Prepare `declared` in a new process that runs the code `before` first."""
    script = "\n".join(
        [
            "import os, resource, signal",
            "from research.config import Data, Later, Masking",
            "from research.data.store import building, token_store",
            before,
            f"print(token_store.prepare({declared!r}, 300, lambda line: None).train.sha256)",
        ]
    )
    command = [sys.executable, "-W", "error", "-c", script]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_killed_process_leaves_nothing_that_confuses(verses, home):
    kill = "building._measure = lambda *_: os.kill(os.getpid(), signal.SIGKILL)"
    victim = child(verses, kill)
    victim.communicate(timeout=60)
    assert victim.returncode == -signal.SIGKILL
    assert list(home.glob("stores/.*partial*"))
    assert not list(home.glob("stores/[!.]*"))
    corpus = quietly(verses)
    assert corpus.train.documents + corpus.validation.documents == 100
    assert not list(home.glob("stores/.*partial*"))


def test_two_processes_at_once_both_end_well(verses, home):
    processes = [child(verses) for _ in range(3)]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    assert len({out for out, _ in outputs}) == 1
    assert len(list(home.glob("stores/[!.]*"))) == len(list(home.glob("tokenizers-trained/[!.]*"))) == 1


def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path, home):
    for name in "abcdef":
        (tmp_path / f"{name}.txt").write_text("To be, or not to be. " * 1_000)
    declared = data(f"files:{tmp_path}/*.txt", split="tail")
    often = "from research.data.store import encoding, writing; writing.SAVE_EVERY = 0"
    small = "encoding.BATCH_SIZE = 0; resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))"
    process = child(declared, f"{often}; {small}")
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "EnvironmentFault: " in error.splitlines()[-1]
    assert "free space there, or set LINEAGE_HOME elsewhere" in error.splitlines()[-1]
    assert not list(home.glob("stores/[!.]*"))
    lines = []
    prepare(declared, 300, lines.append)
    assert lines[0].startswith("continuing after "), lines


def test_a_home_that_cannot_be_written(verses, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LINEAGE_HOME", os.fspath(tmp_path / "file" / "home"))
    with pytest.raises(
        EnvironmentFault, match=r"file/home/.*: Not a directory; .*set LINEAGE_HOME elsewhere"
    ):
        quietly(verses)


SLOWLY = """
from research.data.store import encoding
from research.data.store import writing
encoding.BATCH_SIZE, writing.SAVE_EVERY = 2000, 0.0
save, count = writing._save, 0
def counted_save(*arguments):
    global count
    count += 1
    for when in (False, True):
        if ({nth}, {after}) == (count, when):
            os.kill(os.getpid(), signal.SIGKILL)
        if not when:
            save(*arguments)
writing._save = counted_save
"""


@pytest.mark.parametrize("tokenizer", ["bpe:300", "wordpiece:40"])
def test_a_preparation_goes_on_where_it_was_killed(verses, home, tokenizer):
    """Kills before and after saves of the progress file give the same bytes as no kill."""
    declared = Data(**vars(verses) | {"tokenizer": tokenizer})
    load(declared)
    for nth, after in ((1, False), (2, True), (2, False), (1, True)):
        process = child(declared, SLOWLY.format(nth=nth, after=after))
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
    lines = []
    resumed = prepare(declared, 300, lines.append)
    assert lines[0].startswith("continuing after 0.0 MB")
    (folder,) = home.glob("stores/[!.]*")
    folder.rename(home / "resumed")
    whole = quietly(declared)
    for a, b in ((resumed.train, whole.train), (resumed.validation, whole.validation)):
        assert a.sha256 == b.sha256 and a.bytes == b.bytes and a.unigram_entropy == b.unigram_entropy
        assert np.array_equal(a.starts, b.starts)
        assert (a.sentences is None) == (tokenizer == "bpe:300")
        assert a.sentences is None or np.array_equal(a.sentences, b.sentences)


def test_a_mixtures_parts_are_where_its_sources_begin(tmp_path):
    for name, count in (("a", 30), ("b", 20)):
        texts = [json.dumps({"text": f"{name} {n} " * 9}) for n in range(count)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(texts))
    declared = data(f"2*files:{tmp_path}/a.jsonl+1*files:{tmp_path}/b.jsonl", "bpe:260", holdout=0.2)
    corpus = quietly(declared)
    for store in (corpus.train, corpus.validation):
        first, second = store.parts
        assert first == 0 and second in store.starts
        assert corpus.tokenizer.decode(store.tokens[second : second + 1].tolist()).startswith("b")
        assert "b" not in corpus.tokenizer.decode(store.tokens[:second].tolist())
        assert store.shares == (2 / 3, 1 / 3)


@pytest.mark.parametrize("name", ["tokens.bin", "starts.bin"])
def test_a_store_that_has_been_cut_is_made_again(verses, home, name):
    whole = quietly(verses).train
    expected, starts = whole.tokens.tolist(), whole.starts.tolist()
    path = whole.folder / name
    os.truncate(path, path.stat().st_size // 2 & -8)
    with pytest.raises(EnvironmentFault, match=rf"{name}: [\d,]+ bytes, expected [\d,]+; remove "):
        open_store(whole.folder)  # as in a worker process
    with pytest.warns(LineageWarning, match=rf"{name}: [\d,]+ bytes, expected [\d,]+; made again"):
        again = quietly(verses).train
    assert again.tokens.tolist() == expected and again.starts.tolist() == starts
    path.unlink()
    with pytest.warns(LineageWarning, match=rf"{name}: missing; made again"):
        assert quietly(verses).train.tokens.tolist() == expected
    (whole.folder.parent / "sizes.json").unlink()
    with pytest.warns(LineageWarning, match=r"sizes\.json: damaged; made again"):
        assert quietly(verses).train.tokens.tolist() == expected
    assert not list(home.glob("stores/.*.damaged"))


@pytest.mark.parametrize("split", ["tail", "documents", "published"])
def test_a_validation_corpus_of_its_own_leaves_the_training_text_whole(split, tmp_path, home):
    for name in ("novel", "sequel"):
        (tmp_path / f"{name}.txt").write_text("".join(f"Line {n} of a {name}.\n" for n in range(90)))
    declared = data(f"files:{tmp_path}/novel.txt", "bpe:300", split=split, holdout=0.5)
    both = replace(declared, validation=f"files:{tmp_path}/sequel.txt")
    corpus = quietly(both)
    for store, name in ((corpus.train, "novel"), (corpus.validation, "sequel")):
        text = (tmp_path / f"{name}.txt").read_text()
        assert corpus.tokenizer.decode(store.tokens.tolist(), skip_special_tokens=True) == text
        assert store.bytes == len(text) and store.documents == 1
    assert list(documents(both, "validation")) == [(tmp_path / "sequel.txt").read_text()]
    trained_on_the_novel = load(replace(declared, validation=f"files:{tmp_path}/novel.txt"))
    assert trained_on_the_novel.get_vocab() == corpus.tokenizer.get_vocab()
    before = fingerprint(both)
    (tmp_path / "sequel.txt").write_text("Another.")
    assert fingerprint(both) != before


def test_a_mixture_is_validated_on_a_corpus_or_a_mixture_of_its_own(tmp_path, home):
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text(f"{name} " * 40)
    one, two = f"files:{tmp_path}/a.txt", f"files:{tmp_path}/b.txt"
    mixture = data(f"0.3*{one}+0.7*{two}", split="tail", validation=f"1*{two}+1*files:{tmp_path}/c.txt")
    corpus = quietly(mixture)
    assert len(corpus.train.parts) == 2 and corpus.validation.documents == 2
    assert list(documents(mixture, "validation")) == ["b " * 40, "c " * 40]
    with pytest.raises(UsageError, match=r"data\.validation=fils:x: expected .*; did you mean files"):
        quietly(replace(mixture, validation="fils:x"))
