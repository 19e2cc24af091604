"""A mistake in one's own part is met before anything is written, and leaves no run behind."""

import pytest

from launch.__main__ import run
from research.config.settings import override
from research.runs import record
from research.training import loop
from tests.training.tiny import assignments, quickstart

MINE = """
import jax
import optax
from research.config.names import OBJECTIVES, OPTIMIZERS, SCHEMES
from research.data.sources.schemes import Scheme
from research.objectives.next_token import NEXT_TOKEN

@OPTIMIZERS.register("own_squares")
def squares(config, rate):
    def update(updates, state, params=None):
        return jax.tree.map(lambda x: x @ x.sum(0, keepdims=True).T.T[..., :1], updates), state
    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)

def named_wrongly(model, batch, key=None, settings=None):
    return {"los": 1.0}
OBJECTIVES.register("own_los")(NEXT_TOKEN._replace(loss=named_wrongly))

def records(source, data, split):
    yield {"text": "x"}
SCHEMES.register("own")(Scheme("own:X", identity=lambda source: source.name, documents=records))
"""


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


@pytest.mark.parametrize(
    "typed, message",
    [
        ("optimizer.name=own_squares", "mine.py, line 11"),
        ("objective.name=own_los", "objective.name=own_los: its loss has the sums los; expected loss"),
        ("data.source=own:1", "data.source=own:1: a document is a dict; expected a text"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(mine, tmp_path, capsys, typed, message):
    command = ["train", "quickstart", *assignments(quickstart(tmp_path / "text.txt")), typed]
    assert run([*command, "--import", str(mine), "--dir", str(tmp_path / "run")]) > 0
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_start_that_made_no_step_is_begun_anew_by_another_declaration(tmp_path):
    """As one that was killed in its first evaluation."""
    first = quickstart(tmp_path / "text.txt", run__steps=2, run__evaluate_every=2)
    directory = tmp_path / "run"
    record.claim(directory, first, {"data": ["a", "b"]})
    (directory / "metrics.jsonl").write_text('{"step": 0, "split": "validation", "loss": 9.0}\n')
    other = override(first, {"optimizer.b2": 0.9})
    assert loop.train(other, directory, print).finished
    assert record.experiment_of(directory) == other
    assert '"loss": 9.0' not in (directory / "metrics.jsonl").read_text()


def test_moved_data_go_on_by_their_new_name(tmp_path):
    settings = {"run__steps": 2, "run__evaluate_every": 2, "run__checkpoint_every": 2}
    first = quickstart(tmp_path / "text.txt", **settings)
    loop.train(first, tmp_path / "run", print)
    moved = (tmp_path / "text.txt").rename(tmp_path / "moved.txt")
    with pytest.raises(
        record.UsageError, match=r"if they were moved, data\.source=files:NEWPLACE names them"
    ):
        loop.train(override(first, {"run.steps": 3}), tmp_path / "run", print)
    lines = []
    second = override(first, {"run.steps": 3, "data.source": f"files:{moved}"})
    assert loop.train(second, tmp_path / "run", lines.append).finished
    assert any("data.source was" in line for line in lines)
