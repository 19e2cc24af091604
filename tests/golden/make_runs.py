"""Writes tests/golden/runs.tar.gz and runs.json: runs at step 8 as an older version left them.

    git worktree add ../before c7bf5c2
    python -m tests.golden.make_runs --before ../before

c7bf5c2 is from before the arrays of checkpoints got other names. All training is its own:
`python -m launch` in processes that import that checkout and nothing of this one, on one CPU device.

    train NAME SETTINGS… run.steps=8 --dir RUN    the four of RUNS, in order; what is then there is packed
    resume RUN run.steps=12                       of a copy
    evaluate RUN --task validation --json

Paths are relative to the folder that the archive unpacks to, which also holds the texts, written here.
runs.json has, by a run's name: for each array, under its old path, the SHA-256 at step 8 and sum and norm
at step 12; the rows of metrics.jsonl past step 8; and what `evaluate` says at the end. `--into` writes
elsewhere.
"""

import argparse
import gzip
import io
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.golden.old_runs import arrays, digest, rows, statistics

HALF, WHOLE = 8, 12
LONG_AGO = 1_000_000_000  # seconds
LENGTH = 16
SHARED = {
    "model.width": 4,
    "model.depth": 2,
    "model.heads": 2,
    "model.context": LENGTH,
    "model.dropout": 0.1,
    "model.precision": "float32",
    "data.batch": 2,
    "data.length": LENGTH,
    "optimizer.rate.warmup": 2,
    "run.steps": HALF,
    "run.log_every": 1,
    "run.evaluate_every": 4,
    "run.checkpoint_every": HALF,
    "run.sample": 8,
    "parallel.compile": "jit",
}
TEXT = {"data.source": "files:text.txt", "data.split": "tail", "data.holdout": 0.1}
CHARACTERS = {"data.tokenizer": "char", "model.vocabulary": 24}
PAIRS = {"data.documents": "paragraphs", "data.masking.predictions": 4}
PIECES = {"data.tokenizer": "wordpiece:100", "model.vocabulary": 100}
LABELS = {"data.source": "files:train.tsv", "data.validation": "files:dev.tsv"}
RUNS = {  # name → experiment, settings beside SHARED
    "gpt2": ("quickstart", TEXT | CHARACTERS | {"model.width": 16, "optimizer.ema": 0.9}),
    "bert": ("bert_tiny", TEXT | PIECES | PAIRS),
    "gpt1": ("gpt1_tiny", TEXT | CHARACTERS | {"optimizer.name": "schedule_free_adamw"}),
    # On the weights of gpt1, with its tokenizer; as declared, by Muon and with an auxiliary loss.
    "sst2": ("gpt1_tiny_sst2", LABELS | {"start.weights": "gpt1", "model.vocabulary": 24}),
}

THINGS = ["river", "stone", "garden", "lantern", "winter", "letter", "harbour", "kettle", "meadow", "engine"]
DEEDS = ["kept", "found", "lost", "mended", "carried", "painted", "followed", "remembered"]
LABELLED = ["weak", "dull", "stale", "dim"], ["warm", "bold", "grand", "smart"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, required=True, help="a checkout of the old commit")
    parser.add_argument("--into", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    with TemporaryDirectory() as temporary:
        half, whole = Path(temporary) / "half", Path(temporary) / "whole"
        train(arguments.before, half)
        shutil.copytree(half, whole)
        facts = {name: facts_of(arguments.before, half, whole, name) for name in RUNS}
        (arguments.into / "runs.tar.gz").write_bytes(packed(half))
    (arguments.into / "runs.json").write_text(to_json(facts))


def train(code: Path, folder: Path) -> None:
    """The texts and, by the code of a checkout, all runs to half of their steps."""
    folder.mkdir()
    write_texts(folder)
    for name, (experiment, settings) in RUNS.items():
        typed = [f"{setting}={value}" for setting, value in (SHARED | settings).items()]
        lineage(code, folder, "train", experiment, *typed, "--dir", name)


def resume(code: Path, folder: Path, name: str) -> None:
    lineage(code, folder, "resume", name, f"run.steps={WHOLE}")


def lineage(code: Path, folder: Path, *arguments: str) -> str:
    """What a command of a checkout's own code prints; in `folder`, with a home of its own there."""
    surroundings = {
        "PYTHONPATH": str(code.absolute()),
        "LINEAGE_HOME": str(folder.absolute().with_name(f"{folder.name}-home")),
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": "1",
    }
    run = {"cwd": folder, "env": os.environ | surroundings, "capture_output": True, "text": True}
    imported = subprocess.run([sys.executable, "-c", "import research; print(research.__file__)"], **run)
    if not Path(imported.stdout.strip()).is_relative_to(code.absolute()):
        raise SystemExit(f"{code}: not a checkout, {imported.stdout.strip()} is imported there")
    done = subprocess.run([sys.executable, "-m", "launch", *arguments], **run)
    if done.returncode:
        raise SystemExit(f"lineage {' '.join(arguments)}\n{done.stdout}{done.stderr}")
    return done.stdout


def facts_of(code: Path, half: Path, whole: Path, name: str) -> dict:
    """Of one run; `whole` is a copy of `half`, in which it is finished."""
    resume(code, whole, name)
    said = json.loads(lineage(code, whole, "evaluate", name, "--task", "validation", "--json"))
    kept, final = arrays(half / name, HALF), arrays(whole / name, WHOLE)
    return {
        "rows": rows(whole / name, after=HALF),
        "validation": said["validation"]["metrics"],
        "arrays": {path: {"sha256": digest(kept[path])} | statistics(final[path]) for path in kept},
    }


def to_json(facts: dict) -> str:
    """JSON in which every array and every row has a line of its own."""
    lines = re.sub(r"\n {4,}", " ", json.dumps(facts, indent=1))
    return re.sub(r"\n {3}([}\]])", r" \1", lines) + "\n"


def packed(folder: Path) -> bytes:
    """A .tar.gz of all that a resumed run reads; equal files give equal bytes."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file() and _needed(path)):
            entry = tarfile.TarInfo(str(path.relative_to(folder)))
            entry.size, entry.mtime = path.stat().st_size, LONG_AGO
            archive.addfile(entry, io.BytesIO(path.read_bytes()))
    return gzip.compress(file.getvalue(), 9, mtime=0)


def _needed(path: Path) -> bool:
    return path.parent.name != "tensorboard" and path.name != ".lock"


def write_texts(folder: Path) -> None:
    """Paragraphs of sentences, and sentences with the label of a word in them."""
    draw = random.Random(0)
    paragraphs = (" ".join(_sentence(draw) for _ in range(4)) for _ in range(40))
    (folder / "text.txt").write_text("\n\n".join(paragraphs) + "\n")
    for name, count in (("train.tsv", 30), ("dev.tsv", 10)):
        lines = [_labelled(draw, label) for label in range(2) for _ in range(count // 2)]
        (folder / name).write_text("sentence\tlabel\n" + "".join(lines))


def _sentence(draw: random.Random) -> str:
    return f"the {draw.choice(THINGS)} {draw.choice(DEEDS)} a {draw.choice(THINGS)}."


def _labelled(draw: random.Random, label: int) -> str:
    return f"{draw.choice(LABELLED[label])} {draw.choice(THINGS)}\t{label}\n"


if __name__ == "__main__":
    main()
