"""Resumable writing of tokens: files that only grow, and a progress file with their valid sizes.

After a kill, the next process truncates the files to these sizes and continues.
"""

import json
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from research.config import Data
from research.data.sources.documents import parts, read
from research.data.store.encoding import Encoded, chunks, encode
from research.io.activity import activity

SAVE_EVERY = 5.0  # seconds; a kill loses at most this much work

SPLITS = ("train", "validation")
PROGRESS = "progress.json"


def write(
    folder: Path,
    data: Data,
    tokenizer: Tokenizer,
    sentence_rule: str | None,
    dtype: np.dtype,
    report: Callable[[str], None],
) -> float:
    """Encode all documents and write their tokens; return the speed in MB/s.

    FOLDER/SPLIT gets tokens.bin and, as int64, starts.bin (first token of each document) and, with a
    `sentence_rule`, sentences.bin (first token of each sentence). `progress.json` in FOLDER has the bytes of
    text and the first token of each source of a mixture, by split.
    """
    progress_file = folder / PROGRESS
    if progress_file.exists():
        done = json.loads(progress_file.read_text(encoding="utf-8"))
    else:
        done = _no_progress(len(parts(data)))
    start = saved = time.monotonic()
    before = sum(done["bytes"].values())
    if before:
        report(f"continuing after {before / 1e6:,.1f} MB")
    with ExitStack() as stack:
        files = _open(stack, folder, done["sizes"], sentence_rule)
        rest = islice(chunks(read(data), sentence_rule), done["pieces"], None)
        show = stack.enter_context(activity("tokenizing"))
        for batch in encode(rest, tokenizer, data.standardize):
            _append(files, done, batch, dtype)
            now = time.monotonic()
            if now - saved > SAVE_EVERY:
                _save(progress_file, files, done)
                saved = now
            size = sum(done["bytes"].values())
            speed = (size - before) / 1e6 / (now - start)
            show(f"{done['documents']:,} documents, {size / 1e6:,.0f} MB at {speed:.1f} MB/s")
        _save(progress_file, files, done)
    return (sum(done["bytes"].values()) - before) / 1e6 / (time.monotonic() - start)


def _no_progress(parts: int) -> dict:
    return {
        "pieces": 0,  # chunks
        "documents": 0,
        "bytes": dict.fromkeys(SPLITS, 0),
        "parts": {split: [None] * parts for split in SPLITS},
        "counts": dict.fromkeys(SPLITS, 0),  # tokens
        "sizes": {},  # bytes of each file
    }


def _open(stack: ExitStack, folder: Path, sizes: dict[str, int], sentence_rule: str | None) -> dict:
    """SPLIT/KIND → the file, truncated to its valid size and open for appending."""
    files = {}
    for split in SPLITS:
        (folder / split).mkdir(exist_ok=True)
        for kind in ("tokens", "starts", "sentences") if sentence_rule else ("tokens", "starts"):
            name = f"{split}/{kind}"
            path = folder / f"{name}.bin"
            files[name] = stack.enter_context(path.open("ab"))
            files[name].truncate(sizes.get(name, 0))
    return files


def _append(files: dict, done: dict, batch: Encoded, dtype: np.dtype) -> None:
    counts = np.diff(batch.ends, prepend=0)  # tokens of each text
    texts = np.array([len(chunk.texts) for chunk in batch.chunks], np.int64)
    begin = np.cumsum(texts) - texts  # index of each chunk's first text among all texts
    first, starts_sentence = np.zeros(len(counts), bool), counts > 0
    first[begin] = [chunk.first for chunk in batch.chunks]
    starts_sentence[begin] &= np.array([chunk.starts_sentence for chunk in batch.chunks], bool)
    validation = np.array([chunk.document.split == "validation" for chunk in batch.chunks], bool)
    validation = np.repeat(validation, texts)
    for split in SPLITS:
        here = validation == (split == "validation")
        begins = done["counts"][split] + np.cumsum(counts[here]) - counts[here]
        files[f"{split}/tokens"].write(batch.ids[np.repeat(here, counts)].astype(dtype).tobytes())
        files[f"{split}/starts"].write(begins[first[here]].astype("<i8").tobytes())
        if f"{split}/sentences" in files:
            files[f"{split}/sentences"].write(begins[starts_sentence[here]].astype("<i8").tobytes())
        new = [chunk.document for chunk in batch.chunks if chunk.first and chunk.document.split == split]
        done["bytes"][split] += sum(len(document.text.encode()) for document in new)
        for document, begin in zip(new, begins[first[here]].tolist(), strict=True):
            if done["parts"][split][document.part] is None:
                done["parts"][split][document.part] = begin
        done["counts"][split] += int(counts[here].sum())
    done["pieces"] += len(batch.chunks)
    done["documents"] += int(first.sum())


def _save(progress_file: Path, files: dict, done: dict) -> None:
    """Write the files to disk, and then replace the progress file."""
    for name, file in files.items():
        file.flush()
        os.fsync(file.fileno())
        done["sizes"][name] = file.tell()
    new = progress_file.with_suffix(".new")
    new.write_text(json.dumps(done), encoding="utf-8")
    new.rename(progress_file)
