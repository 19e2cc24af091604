"""The worked examples of own data in experiments/README.md, as printed and in their order, on small files."""

import csv
import pickle
import random
import re
import shlex
from pathlib import Path

import jax
import numpy as np
import pytest
from tokenizers import models
from tokenizers.pre_tokenizers import ByteLevel

from launch.__main__ import run
from research.data.tokenizers.published import byte_level
from research.devices import startup
from research.io.text import read_text
from research.runs import record
from tests.data.sources.test_token_files import llm_c
from tests.test_readme_commands import printed

PAGE = Path(__file__).parents[2] / "experiments" / "README.md"
# Fewer steps of a smaller model. Models that start from weights have the size of the weights.
FEW = (
    "run.steps=2",
    "run.steps_per_call=1",
    "run.evaluate_every=2",
    "run.checkpoint_every=2",
    "optimizer.rate.warmup=1",
)
SMALL = ("data.length=64", "model.width=16", "model.depth=1", "model.heads=2", "data.batch=4", "run.sample=0")


def of_the_section(title: str) -> list[list[str]]:
    """The words of each command of a section, without `lineage`."""
    section = read_text(PAGE).partition(f"## {title}\n")[2].partition("\n## ")[0]
    inside = [command for command in printed(PAGE) if command in section.replace(" \\\n", " ")]
    return [
        shlex.split(command)[1:]
        for command in inside
        if command.startswith("lineage ") and len(command.split()) > 2
    ]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Novels, tokens, reviews in three classes, tagged words; the working directory is theirs."""
    draw = random.Random(0)
    words = ["".join(draw.choices("aeioubcdfglmnprst", k=draw.randint(2, 9))) for _ in range(9_000)]

    def paragraph() -> str:
        return " ".join(draw.choices(words, k=40)).capitalize() + ". The end of it came at last."

    for name, paragraphs in (("novel", 700), ("sequel", 30)):
        (tmp_path / f"{name}.txt").write_text("\n\n".join(paragraph() for _ in range(paragraphs)) + "\n")
    (tmp_path / "home" / "tokenizers" / "gpt2").mkdir(parents=True)
    tokenizer = byte_level(models.BPE({char: n for n, char in enumerate(ByteLevel.alphabet())}, []))
    tokenizer.save(str(tmp_path / "home" / "tokenizers" / "gpt2" / "tokenizer.json"))
    for name in ("openwebtext/train", "fineweb10B/fineweb_train_000001", "fineweb10B/fineweb_val_000000"):
        (path := tmp_path / f"{name}.bin").parent.mkdir(exist_ok=True)
        tokens = np.array(draw.choices(range(256), k=9_000))
        path.write_bytes(llm_c(tokens) if "fineweb" in name else tokens.astype("<u2").tobytes())
    (tmp_path / "openwebtext" / "val.bin").write_bytes(bytes(9_000))
    (tmp_path / "shakespeare_char").mkdir()
    characters = {chr(33 + n): n for n in range(65)}
    (tmp_path / "shakespeare_char" / "meta.pkl").write_bytes(pickle.dumps({"stoi": characters}))
    for name in ("train", "val"):
        tokens = np.array(draw.choices(range(65), k=4_000), "<u2")
        (tmp_path / "shakespeare_char" / f"{name}.bin").write_bytes(tokens.tobytes())
    kinds = {"poor": "bad", "usual": "middling", "splendid": "good"}
    rows = [f'"A {word} book, number {n}.",{kind}\n' for n in range(20) for word, kind in kinds.items()]
    (tmp_path / "reviews.csv").write_text("text,label\n" + "".join(rows))
    (tmp_path / "new.csv").write_text("text\nA splendid book.\nA poor one.\n")
    sentence = "Ada B-NAME\nruns O\nin O\nParis B-PLACE\n\n"
    (tmp_path / "tags.conll").write_text(sentence * 40)
    (tmp_path / "more.conll").write_text(sentence * 2)
    monkeypatch.setattr(startup, "use_compilation_cache", lambda: None)  # the tests have their own place
    monkeypatch.setenv("LINEAGE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_every_command_of_the_worked_examples_runs(files, capsys):
    typed = [words for words in of_the_section("Your own data") if "hf:" not in " ".join(words)]
    outputs = {}
    with jax.numpy_dtype_promotion("standard"):  # as a user has it
        for words in typed:
            small = () if any(word.startswith("start.weights") for word in words) else SMALL
            more = [*FEW, *small] if words[0] == "train" else []
            kept = [
                word
                for word in words
                if not more or not re.match(r"run\.steps|optimizer\.rate\.warmup", word)
            ]
            status, (out, err) = run([*kept, *more]), capsys.readouterr()
            assert status == 0, (words, err)
            assert not err.count("\n") or "warn" not in err, err
            outputs[" ".join(words[:2])] = out
    assert [words[0] for words in typed].count("train") == 8
    reviews = record.experiment_of(files / "runs/reviews")
    assert (reviews.model.width, reviews.model.outputs) == (16, 3)  # of the weights, and of the file
    assert reviews.task.labels == ("bad", "good", "middling")
    answers = list(csv.DictReader((files / "answers.csv").read_text().splitlines()))
    assert [row["text"] for row in answers] == ["A splendid book.", "A poor one."]
    for row in answers:
        shares = {name: float(row[f"probability_{name}"]) for name in ("bad", "good", "middling")}
        assert (
            row["prediction"] == max(shares, key=shares.__getitem__) and abs(sum(shares.values()) - 1) < 1e-5
        )
    assert record.experiment_of(files / "runs/tags").task.labels == ("O", "B-NAME", "B-PLACE")
    assert record.experiment_of(files / "runs/sequel").data.validation.endswith("/sequel.txt")
    assert (files / "runs/reviews/report.html").exists()
    last = outputs["train bert_tiny_sst2"].splitlines()[-1]  # another seed, of the same data
    kept = "data.source=files:reviews.csv optimizer.rate.peak=1e-3 run.steps=2"
    assert kept in last and "run.seed=1 --dir runs/reviews-2" in last


def test_the_section_prints_what_is_run_here():
    first = [words[0] for words in of_the_section("Your own data")]
    assert first.count("train") >= 7 and {"generate", "evaluate", "report"} <= {*first}
