"""How fast data is: `python tests/benchmarks/data.py [--json PATH]`. Needs LINEAGE_DATA.

Tokenization is held against `tokenizers`' own encode_batch on the same texts, in turns, each in a process of
its own, as `lineage prepare` is; the loader reads a prepared corpus, then sparse stores of 10 GB that no page
cache holds.
"""

import argparse
import gzip
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np

from research.config import Data, Experiment, Masking, Model, Objective, Optimizer, Run, Schedule
from research.data.batches import stream
from research.data.sources.documents import documents
from research.data.store.token_store import TokenStore, mapped, prepare
from research.data.tokenizers.tokenizer import load, special_tokens
from tests.by_experiment import train_batches

TEXT = 2e7  # bytes that are tokenized
SPARSE = 5_000_000_000  # tokens of two bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--alone", nargs=3, metavar=("WHAT", "TOKENIZER", "SOURCE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        what, *given = arguments.alone
        print(ALONE[what](*given))
        return
    shared = Path(os.environ["LINEAGE_DATA"])
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LINEAGE_HOME"] = f"{folder}/home"
        source = sample(shared / "corpora" / "wiki.jsonl.gz", Path(folder) / "wiki.jsonl")
        rows = [
            row
            for name in ("gpt2", "bert-base-uncased")
            for row in prepared(str(shared / "tokenizers" / name), source)
        ]
        rows += synthetic(str(shared / "tokenizers" / "bert-base-uncased"), Path(folder))
    width = max(len(name) for name, *_ in rows)
    for name, value, unit, target in rows:
        print(f"{name:<{width}}  {value:>12,.2f} {unit:<12} {target}")
    if arguments.json:
        facts = [dict(zip(("name", "value", "unit", "target"), row, strict=True)) for row in rows]
        arguments.json.write_text(json.dumps({"cores": os.cpu_count(), "rows": facts}, indent=1) + "\n")


def sample(corpus: Path, path: Path) -> str:
    with gzip.open(corpus, "rt") as lines, path.open("w") as file:
        while file.tell() < TEXT:
            file.write(next(lines))
    return f"files:{path}"


def declared(tokenizer: str, source: str) -> Experiment:
    """GPT-2 at length 1,024, or BERT at 128 with dynamic masks; about 2^15 tokens a step."""
    masked = "bert" in tokenizer
    length = 128 if masked else 1_024
    return Experiment(
        model=Model(
            family="bert" if masked else "gpt2", norm="post" if masked else "pre",
            vocabulary=50_257, context=length, width=8, depth=1, heads=1,
        ),
        data=Data(
            source=source, tokenizer=tokenizer, batch=2**15 // length, length=length, masking=Masking()
        ),
        objective=Objective(name="masked_token" if masked else "next_token"),
        optimizer=Optimizer(rate=Schedule(peak=1e-3)),
        run=Run(steps=1_000_000),
    )  # fmt: skip


def prepared(tokenizer: str, source: str) -> list[tuple]:
    config = declared(tokenizer, source)
    name = Path(tokenizer).name
    turns = [
        (alone("encode_batch", tokenizer, source), alone("prepare", tokenizer, source)) for _ in range(5)
    ]
    size = sum(len(text.encode()) for text in documents(config.data, "all")) / 1e6
    ours = statistics.median(ours for _, ours in turns)
    ratios = [theirs / ours for theirs, ours in turns]
    corpus = prepare(config.data, 50_257, lambda line: None)
    batches = train_batches(config, corpus.train)
    first = min(alone("first_batch", tokenizer, source) for _ in "12")
    return [
        (f"{name}: prepare", size / ours, "MB/s", ""),
        (f"{name}: prepare / encode_batch, speeds", statistics.median(ratios), "×", "≥ 0.9"),
        (f"{name}: … least", min(ratios), "×", ""),
        (f"{name}: … most", max(ratios), "×", ""),
        (f"{name}: loader", speed(batches, config) / 1e6, "M tokens/s", "≥ 2" if "bert" in name else "≥ 20"),
        (f"{name}: first batch of a prepared run", first, "s", "< 2"),
        (f"{name}: random step", random_step(batches), "ms", "< 50"),
    ]


def alone(what: str, tokenizer: str, source: str) -> float:
    """What a process that has only imported says of it."""
    command = [sys.executable, __file__, "--alone", what, tokenizer, source]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def prepare_alone(tokenizer: str, source: str) -> float:
    """Seconds, from the source to the store."""
    data = declared(tokenizer, source).data
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LINEAGE_HOME"] = folder
        begun = time.perf_counter()
        prepare(data, 50_257, lambda line: None)
        return time.perf_counter() - begun


def encode_batch_alone(tokenizer: str, source: str) -> float:
    """Seconds, of texts in memory: `tokenizers` by itself."""
    data = declared(tokenizer, source).data
    texts, reference = list(documents(data, "all")), load(data)
    begun = time.perf_counter()
    kept = reference.encode_batch(texts, add_special_tokens=False)
    took = time.perf_counter() - begun
    del kept
    return took


def first_batch_alone(tokenizer: str, source: str) -> float:
    """Seconds, of a prepared corpus."""
    config = declared(tokenizer, source)
    begun = time.perf_counter()
    corpus = prepare(config.data, 50_257, lambda line: None)
    train_batches(config, corpus.train)[0]
    return time.perf_counter() - begun


ALONE = {"prepare": prepare_alone, "encode_batch": encode_batch_alone, "first_batch": first_batch_alone}


def synthetic(tokenizer: str, folder: Path) -> list[tuple]:
    """The same loaders over 10 GB of holes: what is read is not kept."""
    rows = []
    with (folder / "tokens.bin").open("wb") as file:
        file.truncate(SPARSE * 2)
    tokens = mapped(folder / "tokens.bin", np.uint16)
    starts = np.arange(0, SPARSE, 10_000)
    for name in ("gpt2", tokenizer):
        config = declared(name, "files:none")
        store = TokenStore(tokens, starts, SPARSE, 0.0, "")
        if name == tokenizer:
            vocabulary = special_tokens(load(config.data))
            begins = np.arange(0, SPARSE, 1_000)
            store = store._replace(sentences=begins, special_tokens=vocabulary, folder=folder)
        begun = time.perf_counter()
        batches = train_batches(config, store)
        indexed = time.perf_counter() - begun
        before, _ = anonymous(), speed(batches, config, seconds=1)
        middle, fast = anonymous(), speed(batches, config, seconds=4)
        label = f"{Path(name).name}, 10 GB"
        rows += [
            (f"{label}: opened", indexed, "s", ""),
            (f"{label}: loader", fast / 1e6, "M tokens/s", ""),
            (f"{label}: random step", random_step(batches), "ms", "< 50"),
            (f"{label}: memory gained in the first second", middle - before, "MB", ""),
            (f"{label}: and in four more", anonymous() - middle, "MB", "flat"),
        ]
    rows.append(("peak memory", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, "MB", ""))
    return rows


def speed(batches, config: Experiment, seconds: float = 4.0) -> float:
    """Tokens a second of the stream that training reads."""
    steps, begun = 0, time.perf_counter()
    with closing(stream(batches, 0, config.run.steps)) as read:
        for _ in read:
            steps += 1
            if time.perf_counter() - begun > seconds:
                break
    return steps * config.data.batch * config.data.length / (time.perf_counter() - begun)


def random_step(batches) -> float:
    """Milliseconds, the median of steps far apart."""
    times = []
    for step in np.random.default_rng(0).integers(0, 1_000_000, 50).tolist():
        begun = time.perf_counter()
        batches[step]
        times.append(time.perf_counter() - begun)
    return statistics.median(times) * 1e3


def anonymous() -> float:
    """MB of this process that are not pages of mapped files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1e3


if __name__ == "__main__":
    main()
