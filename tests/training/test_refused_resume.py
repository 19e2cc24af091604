"""A refused resume has changed nothing: every file of the run is as it was, to the byte."""

import shutil
from contextlib import nullcontext

import pytest

from launch.__main__ import run
from research.runs import record
from research.runs.checkpoints import integrity
from research.weights import run as run_weights
from tests.mostly_slow import mostly_slow
from tests.training.refusals import (
    a_full_disk,
    another_process,
    later_format,
    later_record,
    no_memory,
    no_record,
    no_room_for_the_record,
    no_wandb,
    other_text,
    refused,
    renamed_checkpoint,
    torn_record,
)

ALLOWED = "--allow-change"
RESUMED = {
    "width": (["model.width=32"], "holds another run: model.width was 16, now 32"),
    "width, allowed": (["model.width=32", ALLOWED], "not a state of this declaration"),
    "depth, allowed": (["model.depth=3", ALLOWED], "not a state of this declaration"),
    "vocabulary, allowed": (["model.vocabulary=320", ALLOWED], "not a state of this declaration"),
    "rate": (["optimizer.rate.peak=0.5"], "optimizer.rate.peak was"),
    "optimizer": (["optimizer.name=lion"], "optimizer.name was adamw, now lion"),
    "optimizer, allowed": (["optimizer.name=lion", ALLOWED], "is not declared"),
    "average, allowed": (["optimizer.ema=0.9", ALLOWED], "is not in it"),
    "seed": (["run.seed=1"], "run.seed was 0, now 1"),
    "fewer steps": (["run.steps=3"], "run.steps was 4, now 3"),
    "fewer steps, allowed": (["run.steps=3", ALLOWED], "run.steps=3: the run is already at step 4"),
    "source": (["data.source=files:other.txt"], "data.source was"),
    "source gone, allowed": (["data.source=files:nowhere.txt", ALLOWED], "no such file"),
    "too short, allowed": (
        ["data.source=files:short.txt", "data.tokenizer=char", "data.holdout=0.3", ALLOWED],
        "expected 33 or more",
    ),
    "tokenizer": (["data.tokenizer=bpe:280"], "data.tokenizer was bpe:300, now bpe:280"),
    "tokenizer too large, allowed": (["data.tokenizer=bpe:310", ALLOWED], "the tokenizer bpe:310 has 310"),
    "vocabulary of another tokenizer, allowed": (
        ["data.tokenizer=char", ALLOWED],
        "not the vocabulary that the run was trained with; expected data.tokenizer=./run",
    ),
    "tokenizer of another source, allowed": (["data.source=files:other.txt", ALLOWED], "not the vocabulary"),
    "tokenizer gone, allowed": (["data.tokenizer=./nowhere", ALLOWED], "nowhere"),
    "weights": (["start.weights=taken"], "start.weights was none"),
    "weights gone, allowed": (["start.weights=nowhere", ALLOWED], "nowhere: no such directory"),
    "weights of nothing, allowed": (["start.weights=taken", ALLOWED], "holds no weights"),
    "batch of uneven parts": (["parallel.accumulate=3"], "data.batch=8: expected a multiple of 3"),
    "batch of too few rows": (
        ["parallel.compile=sharded", "parallel.accumulate=2"],
        "data.batch=8: expected a multiple of 16",
    ),
    "batch, allowed": (["parallel.compile=pmap", "data.batch=6", ALLOWED], "expected a multiple of 8"),
    "devices": (["parallel.compile=sharded", "parallel.fsdp=3"], "the number of devices"),
    "kernel, allowed": (["model.attention=cudnn", ALLOWED], "model.attention=cudnn"),
    "best by nothing": (["run.keep_best=lost"], "run.keep_best=lost"),
    "heads": (["model.heads=3"], "expected a divisor of model.width"),
    "unknown": (["model.widht=32"], "did you mean model.width"),
    "wrong type": (["model.width=wide"], "model.width=wide"),
    "no assignment": (["faster"], "a.b=value"),
    "option": (["--alow-change"], "--alow-change"),
    "half a cluster": (["--processes", "2"], "expected all three or none"),
}


@pytest.mark.parametrize("arguments, message", mostly_slow(RESUMED.values(), 2), ids=RESUMED)
def test_a_refused_resume(made, capsys, arguments, message):
    assert message in refused(["resume", "run", *arguments], capsys)


@pytest.mark.parametrize(
    "arguments", mostly_slow(arguments for arguments, _ in RESUMED.values()), ids=RESUMED
)
def test_a_refused_resume_of_what_a_kill_and_a_bad_disk_left(made, capsys, arguments):
    """Neither is a damaged checkpoint moved, nor an unfinished one removed; the one to fit is 2, not 4."""
    (made.directory / "checkpoints/4" / integrity.FILE).unlink()
    shutil.copytree(made.directory / "checkpoints/2", made.directory / "checkpoints/6.orbax-checkpoint-tmp")
    if "run.steps=3" in arguments:
        arguments = ["run.steps=1", ALLOWED]
    refused(["resume", "run", *arguments], capsys)


@pytest.mark.parametrize(
    "more, message",
    mostly_slow(
        [
            (["run.seed=1"], "run.seed was 0, now 1"),
            (["run.seed=1", "--executor", "slurm"], "run.seed was 0, now 1"),
            (["model.width=32", ALLOWED], "not a state of this declaration"),
        ]
    ),
)
def test_a_refused_train(made, capsys, more, message):
    assert message in refused(["train", "quickstart", *made.typed, *more, "--dir", "run"], capsys)


@pytest.mark.parametrize(
    "befall, arguments, message",
    mostly_slow(
        [
            (other_text, [], "data was"),
            (another_process, [], "trains in it"),
            (a_full_disk, ["run.steps=6"], "the disk is full"),
            (no_wandb, ["run.wandb=true"], "it needs wandb"),
            (later_format, ["run.steps=6"], "which reads formats 1 to 2"),
            (later_record, ["run.steps=6"], "the record has format 7"),
            (torn_record, ["run.steps=6"], "not JSON"),
            (renamed_checkpoint, ["run.steps=6"], "checkpoints/5: holds step 4"),
            (no_record, [], "not a run"),
            (no_memory, ["run.steps=6"], "RESOURCE_EXHAUSTED"),
            (no_room_for_the_record, ["run.steps=6"], "No space left"),
        ],
        3,
    ),
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_resume_that_the_surroundings_refuse(made, capsys, monkeypatch, befall, arguments, message):
    with befall(made, monkeypatch) or nullcontext():
        assert message in refused(["resume", "run", *arguments], capsys)


@pytest.mark.slow
def test_after_a_refusal_the_run_goes_on(made, capsys):
    """As it did not when the record had been written first, and said what the checkpoint was not."""
    refused(["resume", "run", "model.width=32", ALLOWED], capsys)
    assert len(run_weights.read(made.directory).arrays["tokens"]) == 300
    assert run(["generate", "run", "--tokens", "3"]) == 0
    assert run(["resume", "run", "run.steps=6"]) == 0
    (change,) = record.read(made.directory)["changes"]
    assert {name: value for name, value in change["to"].items() if name != "commit"} == {"run.steps": 6}
    assert integrity.steps(made.directory / "checkpoints") == [4, 6]


def test_what_can_be_changed_is(made):
    """Allowed, and of the same arrays: the record says it, and is the checkpoint's."""
    assert run(["resume", "run", "optimizer.b2=0.9", "run.steps=6", ALLOWED]) == 0
    assert record.experiment_of(made.directory).optimizer.b2 == 0.9
    assert run(["resume", "run"]) == 0
