"""A whole run: it learns, and a stop at any point leaves no trace in its numbers."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from research import weights
from research.config.settings import override
from research.errors import UsageError
from research.runs.record import experiment_of
from research.training.logging.progress import Lines
from research.training.loop import train
from tests.training.tiny import assignments, final_arrays, quickstart, timeless


def assert_same_run(experiment, one: Path, other: Path):
    assert timeless(one) == timeless(other)
    expected = final_arrays(experiment, one)
    for name, array in final_arrays(experiment, other).items():
        assert array.tobytes() == expected[name].tobytes(), name


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A run that nothing stopped; (experiment, directory, result)."""
    folder = tmp_path_factory.mktemp("straight")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LINEAGE_HOME", str(folder / "home"))
        experiment = quickstart(folder / "corpus.txt", run__sample=8)
        return experiment, folder / "run", train(experiment, folder / "run", print)


def test_rows_are_complete_and_the_loss_falls(straight):
    experiment, directory, result = straight
    rows = timeless(directory)
    assert [row["step"] for row in rows if row["split"] == "train"] == list(range(1, 13))
    validations = [row for row in rows if row["split"] == "validation"]
    assert [row["step"] for row in validations] == [0, 6, 12]
    assert abs(validations[0]["loss"] - np.log(300)) < 0.1
    assert validations[-1]["loss"] < validations[0]["loss"] - 0.1
    assert [len(row.get("sample", "")) > 0 for row in validations] == [False, True, True]  # noise at step 0
    assert (
        result.step == 12 and result.signal is None and result.validation["loss"] == validations[-1]["loss"]
    )
    assert experiment_of(directory) == experiment
    assert sorted(int(path.name) for path in (directory / "checkpoints").iterdir()) == [8, 12]
    assert list((directory / "tensorboard").iterdir())


def test_validation_loss_is_the_mean_over_the_whole_split(straight):
    """Counted again by hand: one window after the other, in float64."""
    experiment, directory, result = straight
    from research.data.store.token_store import prepare
    from research.models import build

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LINEAGE_HOME", str(directory.parent / "home"))
        tokens = np.asarray(prepare(experiment.data, 300, print).validation.tokens, np.int32)
    arrays = final_arrays(experiment, directory)
    model = jax.eval_shape(lambda: build(experiment.model, key=jax.random.key(0)))
    model = jax.tree_util.tree_map_with_path(
        lambda path, _: jax.numpy.asarray(
            arrays["model/" + jax.tree_util.keystr(path, simple=True, separator="/").removesuffix("/value")]
        ),
        model,
    )
    losses, length = [], experiment.data.length
    for begin in range(0, len(tokens) - 1, length):
        window = tokens[begin : begin + length + 1]
        logits = np.asarray(model(window[None, :-1])[0], np.float64)
        losses += list(np.log(np.exp(logits).sum(-1)) - logits[np.arange(len(window) - 1), window[1:]])
    assert len(losses) == len(tokens) - 1
    assert abs(np.mean(losses) - result.validation["loss"]) < 1e-5


def test_a_signal_saves_and_the_same_call_goes_on(straight, tmp_path, monkeypatch):
    experiment, directory, _ = straight
    monkeypatch.setenv("LINEAGE_HOME", str(directory.parent / "home"))

    stops = {3: signal.SIGINT, 7: signal.SIGHUP, 12: signal.SIGTERM}

    def interrupt(lines, step):
        if step in stops:
            for _ in range(1 + (stops[step] == signal.SIGHUP)):  # a terminal that closes may send it twice
                os.kill(os.getpid(), stops[step])

    monkeypatch.setattr(Lines, "advance", interrupt)
    for step, number in [*stops.items(), (12, None)]:
        result = train(experiment, tmp_path / "run", print)
        assert (result.step, result.finished, result.signal) == (step, step == 12, number)
    assert_same_run(experiment, directory, tmp_path / "run")


def test_nohup_keeps_a_run_from_the_end_of_its_terminal(straight, tmp_path, monkeypatch):
    experiment, directory, _ = straight
    monkeypatch.setenv("LINEAGE_HOME", str(directory.parent / "home"))
    monkeypatch.setattr(Lines, "advance", lambda lines, step: os.kill(os.getpid(), signal.SIGHUP))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert train(experiment, tmp_path / "run", print).signal is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_finished_run_stays_as_it_is(straight, monkeypatch):
    experiment, directory, result = straight
    monkeypatch.setenv("LINEAGE_HOME", str(directory.parent / "home"))
    before = timeless(directory)
    assert train(experiment, directory, print) == result
    assert timeless(directory) == before


def test_another_experiment_does_not_enter(straight, monkeypatch):
    _, directory, _ = straight
    monkeypatch.setenv("LINEAGE_HOME", str(directory.parent / "home"))
    other = quickstart(directory.parent / "corpus.txt", run__sample=8, run__seed=1)
    before = timeless(directory)
    with pytest.raises(UsageError, match=r"run\.seed was 0, now 1"):
        train(other, directory, print)
    assert timeless(directory) == before


@pytest.mark.slow
def test_starts_from_the_weights_of_another_run(straight, tmp_path, monkeypatch, capsys):
    """Directly, and as exported: the first evaluation is the last one of the run they come from."""
    experiment, directory, result = straight
    monkeypatch.setenv("LINEAGE_HOME", str(directory.parent / "home"))
    weights.export(directory, tmp_path / "exported")
    for source in (directory, tmp_path / "exported"):
        warm = override(experiment, {"start.weights": str(source), "run.steps": 2, "run.seed": 5})
        train(warm, tmp_path / f"from-{source.name}", print)
        first = timeless(tmp_path / f"from-{source.name}")[0]
        assert first["step"] == 0 and first["loss"] == pytest.approx(result.validation["loss"], rel=1e-6)
    assert "0 missing" in capsys.readouterr().out
    with pytest.raises(UsageError, match=r"heads"):
        other = override(warm, {"model.heads": 4})
        train(other, tmp_path / "misfit", print)
    assert not (tmp_path / "misfit").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "compiler, kills", [("jit", (2, 9, 23, 24)), ("sharded", (9, 24)), ("pmap", (2, 23))]
)
def test_killed_runs_end_like_undisturbed_ones(tmp_path, compiler, kills):
    """SIGKILL at several moments, by the command that a user types."""
    experiment = quickstart(tmp_path / "corpus.txt", run__steps=40, run__sample=8, parallel__compile=compiler)
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "2"}

    def start(directory):
        command = [sys.executable, "-m", "launch", "train", "quickstart", *assignments(experiment)]
        return subprocess.Popen(
            [*command, "--dir", str(directory)], env=environment, stdout=subprocess.PIPE, text=True
        )

    undisturbed = start(tmp_path / "undisturbed")
    output, _ = undisturbed.communicate(timeout=300)
    assert undisturbed.returncode == 0 and "bits per byte" in output

    lines = tmp_path / "killed" / "metrics.jsonl"
    for reached in kills:
        process = start(tmp_path / "killed")
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            if lines.exists() and f'"step": {reached}, "split": "train"' in lines.read_text():
                break
            time.sleep(0.005)
        assert process.poll() is None, "ended before it could be killed"
        process.kill()
        process.communicate()
    last = start(tmp_path / "killed")
    last.communicate(timeout=300)
    assert last.returncode == 0
    assert_same_run(experiment, tmp_path / "undisturbed", tmp_path / "killed")
