"""Runs with a second, frozen model: under every compiler, resumed, planned, and refused."""

import runpy
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from research import weights
from research.bench.plan import build, plan
from research.config.settings import override
from research.errors import UsageError
from research.models.parameters import by_path
from research.objectives import check
from research.training.evaluating import evaluate_run
from research.training.first_state import first_state, load_start_weights
from research.training.loop import train
from research.training.placement import compile_for, settled
from research.training.resolving import resolve
from research.training.teacher import load_teacher
from tests.mostly_slow import mostly_slow
from tests.training.test_finetune import experiment as finetuning
from tests.training.test_loop import assert_same_run
from tests.training.test_multi_step import batch_of
from tests.training.tiny import quickstart, timeless

pytestmark = pytest.mark.usefixtures("compiled_in_haste")

OUTSIDE = Path(__file__).parent.parent / "launch" / "outside" / "stay_close.py"
quiet = partial(train, report=lambda line: None)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    """A run with four blocks."""
    folder = tmp_path_factory.mktemp("teacher")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LINEAGE_HOME", str(folder / "home"))
        base = quickstart(folder / "text.txt", model__depth=4, run__steps=2, run__evaluate_every=0)
        quiet(base, folder / "run")
    return folder / "run"


def student(folder, teacher, **changes):
    typed = {"objective.teacher": str(teacher), "start.weights": str(teacher), "start.blocks": (1, 3)}
    typed |= {name.replace("__", "."): value for name, value in changes.items()}
    return resolve(quickstart(folder / "text.txt"), typed, lambda line: None)


WAYS = {
    "jit": {},
    "inputs": {"run__hyperparameters": "inputs", "parallel__accumulate": 2, "objective__hidden": 0.5},
    "several steps": {"run__steps_per_call": 3, "run__checkpoint_every": 6},
    "data": {"parallel__compile": "sharded", "parallel__accumulate": 1},
    "fsdp": {"parallel__compile": "sharded", "parallel__data": 1, "parallel__fsdp": -1},
    "tensor": {"parallel__compile": "sharded", "parallel__tensor": 2},
    "pmap": {"parallel__compile": "pmap"},
}


def three_steps(experiment):
    abstract, program = compile_for(experiment)
    model, _ = load_teacher(experiment)
    state, sums_of = first_state(experiment, abstract, program.layout, None, model, print), []
    calls = experiment.run.steps_per_call
    for step in range(0, 3, calls):
        batches = [program.feed(batch_of(number)) for number in range(step, step + calls)]
        state, sums = program.step(state, batches if calls > 1 else batches[0])
        sums_of += np.stack([sums["loss"], sums["soft_loss"]], -1).reshape(-1, 2).tolist()
    return state, sums_of, program


@pytest.mark.parametrize("way", mostly_slow(WAYS))
def test_the_teacher_is_an_input_that_stays_as_it_is(way, teacher, tmp_path):
    experiment = student(tmp_path, teacher, model__dropout=0.0, **WAYS[way])
    state, found, program = three_steps(experiment)
    expected = weights.read(teacher).arrays
    for path, leaf in by_path(state.teacher).items():
        np.testing.assert_array_equal(leaf, expected[path], err_msg=path)
    split = {str(leaf.sharding.spec) for leaf in jax.tree.leaves(state.teacher) if way in ("fsdp", "tensor")}
    assert any(way in spec for spec in split) or way not in ("fsdp", "tensor")
    if way == "jit":  # no parameter is a constant of the program: another teacher needs no other one
        compiled = program.step._cache_size()
        other = state.replace(teacher=jax.tree.map(lambda x: 2 * x, state.teacher))
        sums = program.step(other, program.feed(batch_of(3)))[1]
        assert program.step._cache_size() == compiled and float(sums["soft_loss"]) > 0
    else:
        alone = {"objective.hidden": experiment.objective.hidden, "model.dropout": 0.0}
        plain = override(student(tmp_path, teacher), alone)
        np.testing.assert_allclose(found, three_steps(plain)[1], rtol=1e-5, atol=1e-6)


def test_a_run_stopped_and_resumed_is_one_that_was_not(teacher, tmp_path):
    experiment, lines = student(tmp_path, teacher, run__steps=4, run__evaluate_every=2), []
    train(experiment, tmp_path / "one", lines.append)
    assert f"objective.teacher={teacher}: 18,464 parameters, which do not train" in lines
    quiet(experiment, tmp_path / "other", should_stop=lambda row: row["step"] == 2)
    quiet(experiment, tmp_path / "other")
    assert_same_run(experiment, tmp_path / "one", tmp_path / "other")  # with the arrays of a plain state
    row = timeless(tmp_path / "one")[-1]
    np.testing.assert_allclose(row["loss"], (row["hard_loss"] + row["soft_loss"]) / 2, rtol=1e-6)
    again = evaluate_run.evaluate_run(tmp_path / "one", None, print)
    np.testing.assert_allclose(again["soft_loss"], row["soft_loss"], rtol=1e-5)
    per_byte = row["hard_loss"] / row["bits_per_byte"]
    assert abs(timeless(teacher)[-1]["loss"] / timeless(teacher)[-1]["bits_per_byte"] - per_byte) < 1e-3


def test_another_teacher_is_another_run(teacher, tmp_path):
    shutil.copytree(teacher, tmp_path / "a")
    experiment = student(tmp_path, tmp_path / "a", run__steps=2, run__evaluate_every=0, start__weights=None)
    experiment = override(experiment, {"start.blocks": ()})
    quiet(experiment, tmp_path / "run")
    more = override(experiment, {"run.steps": 3})
    shutil.copytree(tmp_path / "a", tmp_path / "moved")
    moved = override(more, {"objective.teacher": str(tmp_path / "moved")})
    quiet(override(moved, {"run.steps": 3}), tmp_path / "run")  # the same parameters elsewhere
    without = override(more, {"objective.teacher": None, "run.steps": 4})
    with pytest.raises(UsageError, match=r"holds another run: .*teacher was \w+, now none"):
        quiet(without, tmp_path / "run")
    changed = weights.load(teacher)
    leaves = by_path(changed.model)
    arrays = {path: np.asarray(leaf) + (path == "positions") for path, leaf in leaves.items()}
    shutil.rmtree(tmp_path / "moved")
    weights.save(tmp_path / "moved", weights.Weights(changed.config, arrays, {}, changed.tokenizer))
    with pytest.raises(UsageError, match=r"holds another run: teacher was \w+, now \w+"):
        quiet(override(moved, {"run.steps": 4}), tmp_path / "run")
    shutil.rmtree(tmp_path / "moved")
    with pytest.raises(UsageError, match=r"moved: no such directory"):
        quiet(override(moved, {"run.steps": 4}), tmp_path / "run")


def test_its_memory_is_planned(teacher, tmp_path):
    devices, found = jax.devices()[:1], []
    for path in (str(teacher), None):
        experiment = settled(student(tmp_path, teacher, objective__teacher=path), devices, None)
        found.append(plan(experiment, devices, None, build(experiment, devices)))
    assert [each.teacher for each in found] == [4 * 18_464, 0]
    assert found[0].parameters == found[1].parameters and found[0].opt_state == found[1].opt_state
    assert found[0].peak >= found[1].peak + 4 * 18_464


def test_a_student_starts_from_some_blocks(teacher, tmp_path):
    experiment = student(tmp_path, teacher)
    assert experiment.model.depth == 2
    model, theirs = load_start_weights(experiment, print), weights.read(teacher).arrays
    for path, leaf in by_path(model).items():
        expected = theirs[path][[1, 3]] if path.startswith("blocks/") else theirs[path]
        np.testing.assert_array_equal(leaf, expected, err_msg=path)
    with pytest.raises(UsageError, match=r"start\.blocks has 4; expected blocks from 0 to 3"):
        student(tmp_path, teacher, start__blocks=(0, 4))
    with pytest.raises(UsageError, match=r"model\.depth=3: .*expected model\.depth=2"):
        student(tmp_path, teacher, model__depth=3)
    with pytest.raises(UsageError, match=r"start\.blocks=-1: expected blocks from 0"):
        student(tmp_path, teacher, start__blocks=(-1,))


def test_teachers_that_do_not_fit(teacher, tmp_path):
    experiment = student(tmp_path, teacher)
    found = weights.read(teacher)
    narrow = {"model.width": 8, "model.hidden": 32}
    for changes, message in (
        (
            {"data.tokenizer": "char"},
            r"has another vocabulary than data\.tokenizer=char; expected data",
        ),
        (
            {"model.context": 64, "data.length": 64},
            r"has model\.context=32; expected data\.length=64",
        ),
        ({"model.vocabulary": 301}, r"has model\.vocabulary=300; expected 301, as the student"),
        (narrow | {"objective.hidden": 1.0}, r"objective\.hidden=1\.0: .* has model\.width=16; expected 0"),
        (
            {"objective.name": "left_to_right"},
            r"objective\.name=left_to_right reads none; expected next",
        ),
        ({"objective.soft": 1.5}, r"objective\.soft=1\.5: expected from 0 to 1"),
        ({"objective.temperature": 0.0}, r"objective\.temperature=0\.0: expected"),
    ):
        with pytest.raises(UsageError, match=message):
            other = override(experiment, changes | {"start.weights": None, "start.blocks": ()})
            if "left" in message:
                other = replace(other, model=replace(other.model, family="bert", left_only=True))
                check(replace(other, data=replace(other.data, documents="paragraphs")))
            quiet(other, tmp_path / "run")
        assert not (tmp_path / "run").exists()
    arrays = {path: array for path, array in found.arrays.items() if path != "norm/bias"}
    weights.save(tmp_path / "partial", weights.Weights(found.config, arrays, {}, None))
    with pytest.raises(UsageError, match=r"has no norm/bias; expected a complete model"):
        quiet(override(experiment, {"objective.teacher": str(tmp_path / "partial")}), tmp_path / "run")


@pytest.mark.slow
def test_an_objective_of_another_package_reads_it(teacher, tmp_path):
    """At first the distance is zero; a strong pull keeps the model where it was."""
    runpy.run_path(str(OUTSIDE))
    named = {"objective.teacher": str(teacher), "start.weights": str(teacher), "run.steps": 4}
    named |= {"objective.name": "stay_close", "objective.own.strength": 0.0, "parallel.accumulate": 2}
    base, moved = resolve(quickstart(tmp_path / "text.txt"), named, print), []
    for strength in (0.0, 1e4):
        experiment = override(base, {"objective.own.strength": strength})
        quiet(experiment, tmp_path / f"{strength}")
        first = timeless(tmp_path / f"{strength}")[0]
        np.testing.assert_allclose(first["loss"], first["hard_loss"], rtol=1e-6)
        pairs = (by_path(weights.load(path).model) for path in (teacher, tmp_path / f"{strength}"))
        one, other = pairs
        moved.append(sum(float(np.square(one[path] - other[path]).sum()) for path in one))
    assert moved[1] < moved[0] / 2


@pytest.mark.slow
def test_a_task_is_distilled_and_predicts_without_its_teacher(tmp_path):
    """The teacher's outputs get the order of the student's labels; the run exports as any other."""
    declared = finetuning("bert_cola", "single.tsv", tmp_path, model__dropout=0.0)
    quiet(declared, tmp_path / "teacher")
    named = {"objective.teacher": str(tmp_path / "teacher"), "objective.soft": 1.0, "model.depth": 1}
    reordered = {"task.labels": tuple(reversed(declared.task.labels))}
    for name, more in (("one", {}), ("other", reordered)):
        quiet(override(declared, named | more), tmp_path / name)
        first, last = (timeless(tmp_path / name)[i] for i in (0, -1))
        assert last["soft_loss"] < first["soft_loss"] and last["loss"] == last["soft_loss"]
    itself = override(declared, {**named, **reordered, "model.depth": 2})
    itself = override(itself, {"start.weights": str(tmp_path / "teacher")})
    quiet(itself, tmp_path / "itself")
    assert abs(timeless(tmp_path / "itself")[0]["soft_loss"]) < 1e-6
    shutil.rmtree(tmp_path / "teacher")
    answers, found, _ = evaluate_run.predict(tmp_path / "one", None, declared.data.source, lambda line: None)
    assert len(answers) == 18 and found["matthews"] == timeless(tmp_path / "one")[-1]["matthews"]
    weights.export(tmp_path / "one", tmp_path / "out")
