"""Refused commands that read a run, or start one, have changed nothing."""

from pathlib import Path

import pytest

from research import resolve
from research.config import Sweep, space
from research.sweeping.record import open_sweep
from tests.mostly_slow import mostly_slow
from tests.training.refusals import a_full_disk, later_format, no_wandb, other_text, refused


def cut_newest(made):
    (path,) = (made.directory / "checkpoints/4/default/d").iterdir()
    path.write_bytes(path.read_bytes()[:-9])


SEEDS = ("--over", "run.seed=0,1")
SHORT = ("quickstart", "data.length=32")  # for the model of the run


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
            (cut_newest, ["evaluate", "run", "--task", "validation"], "it is damaged"),
            (None, ["generate", "~nobody-known/run"], "no such directory"),
            (None, ["evaluate", "run", "--task", "answers", "--data", "other.txt"], "it has no task"),
            (None, ["evaluate", "run", "--task", "squad"], "expected --predictions"),
            (cut_newest, ["evaluate", "run", "--task", "lambada"], "it is damaged"),
            (None, ["average", "run", "--last", "1"], "expected 2 or more"),
            (None, ["average", "run", "--last", "3"], "expected 3 checkpoints, found 2 (step 2, 4)"),
            (None, ["average", "run", "--out", "taken"], "is not overwritten"),
            (None, ["average", "run", "--out", "run"], "is not overwritten"),
            (None, ["average", "taken"], "not a run"),
            (cut_newest, ["average", "run"], "it is damaged"),
            (of_a_later_version, ["average", "run"], "which reads formats 1 to 2"),
            (None, ["export", "run", "taken"], "is not overwritten"),
            (None, ["export", "run", "run/checkpoints"], "is not overwritten"),
            (None, ["export", "run:3", "exported"], "no such checkpoint"),
            (cut_newest, ["export", "run", "exported"], "it is damaged"),
            (None, ["import", "openai", "run", "imported"], "not openai"),
            (None, ["batch", "run", "--step", "99999"], "expected from 0 to run.steps - 1 = 3"),
            (None, ["batch", "run", "--step", "0", "data.batch=0"], "data.batch=0"),
            (None, ["stop", "taken"], "taken"),
            (None, ["work", "run"], "not a sweep"),
            (None, ["report", "run", "--out", "nowhere/page.html"], "nowhere: no such directory"),
            (None, ["report", "taken"], "no run in it"),
            (None, ["table", "taken"], "no run in it"),
            (None, ["features", "run", "--data", "nowhere.txt", "--out", "f.npz"], "nowhere.txt"),
            (None, ["features", "run", "--data", "other.txt", "--layers", "9", "--out", "f.npz"], "9"),
            (None, ["sweep", "quickstart", "--over", "run.seed=0,1", "--dir", "run"], "is not a sweep"),
            (None, ["sweep", "quickstart", "--over", "run.seed=0,1", "--dir", "taken"], "is not a sweep"),
            (None, ["sweep", *SHORT, "start.weights=run:3", *SEEDS, "--dir", "new"], "no such check"),
            (None, ["sweep", *SHORT, "start.weights=gone", *SEEDS, "--dir", "new"], "no such dir"),
            (None, ["sweep", *SHORT, "--over", "start.weights=run,gone", "--dir", "new"], "no such dir"),
            (None, ["sweep", "quickstart", "--over", "model.width=15,16", "--dir", "new"], "a divisor"),
        ],
        1,
    ),
)
def test_what_reads_a_run_and_is_refused(made, capsys, befall, arguments, message):
    if befall:
        befall(made)
    assert message in refused(arguments, capsys)


@pytest.mark.parametrize(
    "changed, message",
    mostly_slow(
        [
            (["--over", "run.seed=0,2"], "holds another sweep: space was"),
            ([*SEEDS, "model.width=32"], "base.model.width was 16, now 32"),
            ([*SEEDS, "--pruner", "asha"], "prunes at evaluations"),
            ([*SEEDS, "--sampler", "tpe"], "never ends"),
            ([*SEEDS, "--metric", "acuracy"], "did you mean accuracy"),
            ([*SEEDS, "--storage", "journal"], "storage was sqlite, now journal"),
            ([*SEEDS, "--workers", "99"], "99"),
        ],
        1,
    ),
)
def test_a_refused_sweep_leaves_a_sweep_as_it_was(made, capsys, changed, message):
    base = resolve("quickstart", made.typed)
    swept = Sweep(name="quickstart", base=base, space=space.grid("run.seed", 0, 1))
    open_sweep(Path("sweep"), swept, None)
    typed = ["sweep", "quickstart", *made.typed, *changed, "--dir", "sweep"]
    assert message in refused(typed, capsys)


def test_a_refused_validation_on_other_text(made, capsys, monkeypatch):
    with other_text(made, monkeypatch):
        assert "now gives other data than the run's" in refused(
            ["evaluate", "run", "--task", "validation"], capsys
        )


@pytest.mark.parametrize(
    "more, message",
    mostly_slow(
        [
            (["start.weights=nowhere"], "no such directory"),
            (
                ["start.weights=run", "data.source=files:other.txt"],
                "trained with; expected data.tokenizer=./run",
            ),
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
