"""A command that is refused has changed nothing: of a run's folder every file is as it was, to the byte."""

import json
import shutil
import sys
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

import pytest

from launch.__main__ import run
from research.devices import startup
from research.errors import EnvironmentFault
from research.runs import integrity, lock, record
from research.training import loop
from research.weights import run as run_weights
from tests.mostly_slow import mostly_slow
from tests.training.tiny import assignments, quickstart


class Made(NamedTuple):
    """A finished run with checkpoints at steps 2 and 4, by the command line."""

    directory: Path
    source: Path  # of its text
    typed: list[str]  # after `lineage train quickstart`


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    settings = {"run__steps": 4, "run__checkpoint_every": 2, "run__evaluate_every": 4, "run__sample": 0}
    typed = assignments(quickstart(folder / "corpus.txt", **settings))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LINEAGE_HOME", str(folder / "home"))
        patch.setattr(startup, "use_compilation_cache", lambda: None)  # the tests have their own place
        assert run(["train", "quickstart", *typed, "--dir", str(folder / "run")]) == 0
    return Made(folder / "run", folder / "corpus.txt", typed)


@pytest.fixture
def made(finished, tmp_path, monkeypatch):
    """A copy that a test may damage; beside it what commands name: `text.txt`, and folders to write to."""
    monkeypatch.setenv("LINEAGE_HOME", str(finished.directory.parent / "home"))
    monkeypatch.setattr(startup, "use_compilation_cache", lambda: None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.txt").write_text(
        "".join(f"{n} bottles of another sort, {n % 7}.\n" for n in range(900))
    )
    (tmp_path / "short.txt").write_text("to be or not to be, " * 2)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/thesis.tex").write_text("years of work")
    return finished._replace(directory=shutil.copytree(finished.directory, tmp_path / "run"))


def everything(folder: Path) -> dict[str, tuple | None]:
    """{name: (bytes, when they were written)} of all files but the lock, None for a folder."""
    return {
        str(path.relative_to(folder)): None if path.is_dir() else (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.name != lock.FILE
    }


def refused(arguments, capsys) -> str:
    """What a command says that is refused, in one line and without a trace beside it."""
    folder = Path.cwd()
    before = everything(folder)
    status = run([str(argument) for argument in arguments])
    message = capsys.readouterr().err
    after = everything(folder)
    assert status in (1, 2) and message.count("\n") == 1, message
    assert after.keys() == before.keys(), message
    assert [name for name in after if after[name] != before[name]] == [], message
    return message


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
    "fewer steps, allowed": (["run.steps=3", ALLOWED], "run.steps=3: the run is at step 4 already"),
    "source": (["data.source=files:other.txt"], "data.source was"),
    "source gone, allowed": (["data.source=files:nowhere.txt", ALLOWED], "no such file"),
    "too short, allowed": (
        ["data.source=files:short.txt", "data.tokenizer=char", "data.holdout=0.3", ALLOWED],
        "expected 33 or more",
    ),
    "tokenizer": (["data.tokenizer=bpe:280"], "data.tokenizer was bpe:300, now bpe:280"),
    "tokenizer too large, allowed": (["data.tokenizer=bpe:310", ALLOWED], "the tokenizer bpe:310 has 310"),
    "tokenizer gone, allowed": (["data.tokenizer=./nowhere", ALLOWED], "nowhere"),
    "weights": (["start.weights=taken"], "start.weights was None"),
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


@contextmanager
def other_text(made, patch):
    text = made.source.read_text()
    made.source.write_text(text.replace("green", "brown"))
    try:
        yield
    finally:
        made.source.write_text(text)


def another_process(made, patch):
    return lock.locked(made.directory, print)


def a_full_disk(made, patch):
    usage = shutil.disk_usage(made.directory)
    patch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1_000))


def no_wandb(made, patch):
    patch.setitem(sys.modules, "wandb", None)


def later_format(made, patch):
    rewrite(made.directory / "checkpoints/4" / integrity.FILE, lambda manifest: manifest | {"format": 3})


def later_record(made, patch):
    rewrite(
        made.directory / record.FILE, lambda kept: kept | {"experiment": kept["experiment"] | {"format": 7}}
    )


def torn_record(made, patch):
    (made.directory / record.FILE).write_text('{"experiment": {')


def no_record(made, patch):
    (made.directory / record.FILE).unlink()


def no_memory(made, patch):
    def restore(*arguments):
        raise MemoryError("RESOURCE_EXHAUSTED")

    patch.setattr(loop, "restore", restore)


def no_room_for_the_record(made, patch):
    (made.directory / "checkpoints/4" / integrity.FILE).unlink()

    def write_atomic(path, text):
        raise EnvironmentFault(f"{path}: cannot be written: No space left on device")

    patch.setattr(record, "write_atomic", write_atomic)


def rewrite(path, change):
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


@pytest.mark.parametrize(
    "befall, arguments, message",
    mostly_slow(
        [
            (other_text, [], "data was"),
            (another_process, [], "is training in it"),
            (a_full_disk, ["run.steps=6"], "the disk is full"),
            (no_wandb, ["run.wandb=true"], "it needs wandb"),
            (later_format, ["run.steps=6"], "which reads formats 1 to 2"),
            (later_record, ["run.steps=6"], "the record has format 7"),
            (torn_record, ["run.steps=6"], "not JSON"),
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


def cut_newest(made):
    (path,) = (made.directory / "checkpoints/4/default/d").iterdir()
    path.write_bytes(path.read_bytes()[:-9])


def of_a_later_version(made):
    later_format(made, None)


@pytest.mark.parametrize(
    "befall, arguments, message",
    mostly_slow(
        [
            (None, ["generate", "run:3"], "no such checkpoint"),
            (None, ["generate", "run", "--tokens", "0"], "expected 1 or more"),
            (None, ["generate", "run", "--tokenizer", "./nowhere"], "nowhere"),
            (None, ["generate", "run", "--beams", "2", "--top-k", "3"], "not with --beams"),
            (None, ["generate", "run", "--file", "nowhere.txt"], "cannot be read"),
            (cut_newest, ["generate", "run"], "it is damaged"),
            (of_a_later_version, ["generate", "run"], "which reads formats 1 to 2"),
            (None, ["evaluate", "run", "--task", "nonsense"], "nonsense"),
            (None, ["evaluate", "run:3", "--task", "validation"], "no such checkpoint"),
            (None, ["evaluate", "run", "--task", "answers", "--data", "other.txt"], "it answers no task"),
            (None, ["evaluate", "run", "--task", "squad"], "expected --predictions"),
            (cut_newest, ["evaluate", "run", "--task", "lambada"], "it is damaged"),
            (None, ["average", "run", "--last", "1"], "expected 2 or more"),
            (None, ["average", "run", "--last", "3"], "expected 3 checkpoints, found 2, 4"),
            (None, ["average", "run", "--out", "taken"], "nothing is written over"),
            (None, ["average", "run", "--out", "run"], "nothing is written over"),
            (None, ["average", "taken"], "not a run"),
            (cut_newest, ["average", "run"], "it is damaged"),
            (of_a_later_version, ["average", "run"], "which reads formats 1 to 2"),
            (None, ["export", "run", "taken"], "nothing is written over"),
            (None, ["export", "run", "run/checkpoints"], "nothing is written over"),
            (None, ["export", "run:3", "exported"], "no such checkpoint"),
            (cut_newest, ["export", "run", "exported"], "it is damaged"),
            (None, ["import", "openai", "run", "imported"], "not openai"),
            (None, ["batch", "run", "--step", "99999"], ""),
        ],
        1,
    ),
)
def test_what_reads_a_run_and_is_refused(made, capsys, befall, arguments, message):
    if befall:
        befall(made)
    assert message in refused(arguments, capsys)


def test_a_refused_validation_on_other_text(made, capsys, monkeypatch):
    with other_text(made, monkeypatch):
        assert "are not those of the run" in refused(["evaluate", "run", "--task", "validation"], capsys)


@pytest.mark.parametrize(
    "more, message",
    mostly_slow(
        [
            (["start.weights=nowhere"], "no such directory"),
            (["run.keep_best=lost"], "did you mean loss?"),
            (["run.wandb=true"], "it needs wandb"),
            (["parallel.accumulate=3"], "expected a multiple of 3"),
            (["parallel.compile=sharded", "parallel.tensor=3"], "the number of devices"),
            (["model.attention=cudnn"], "model.attention=cudnn"),
            (
                ["data.source=files:short.txt", "data.tokenizer=char", "data.holdout=0.3"],
                "expected 33 or more",
            ),
            (["model.width=15"], "expected a divisor"),
            ([], "the disk is full"),
        ],
        2,
    ),
)
def test_a_refused_first_train_leaves_no_folder(made, capsys, monkeypatch, more, message):
    no_wandb(made, monkeypatch)
    if not more:
        a_full_disk(made, monkeypatch)
    assert message in refused(["train", "quickstart", *made.typed, *more, "--dir", "new/run"], capsys)


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
