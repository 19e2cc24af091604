"""From a declaration to a model that answers, in Python alone."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from launch.__main__ import run as run_command
from research import load, read_metrics, resolve, train
from research.data.batches import validation_batches
from research.errors import UsageError
from research.models.parameters import by_path
from research.objectives import objective_of
from research.runs.record import experiment_of
from research.training.evaluating.evaluate_run import evaluate_run
from research.weights import load as load_weights
from tests.training.tiny import SMALL, quickstart, shrunk, timeless


def silent(line: str) -> None:
    pass


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of 12 steps with checkpoints at 8 and 12, and its text."""
    folder = tmp_path_factory.mktemp("api")
    experiment = quickstart(folder / "text.txt", data__order="random", run__sample=8)
    result = train(experiment, folder / "run", silent)
    assert result.finished and result.step == 12
    return folder


@pytest.fixture(scope="module")
def model(run):
    return load(run / "run")


@pytest.mark.slow
def test_metrics_are_the_rows_of_the_log(run):
    metrics = read_metrics(run / "run")
    rows = [json.loads(line) for line in (run / "run" / "metrics.jsonl").read_text().splitlines()]
    assert list(metrics) == ["train", "validation"]
    for split, columns in metrics.items():
        of_split = [row for row in rows if row["split"] == split]
        assert {len(column) for column in columns.values()} == {len(of_split)}
        assert columns["step"].dtype == np.int64
        for name, column in columns.items():
            for row, value in zip(of_split, column, strict=True):
                if name in row:
                    assert value == row[name]
                else:
                    assert value is None or math.isnan(value)
    assert metrics["train"]["loss"].dtype == np.float64
    assert all(isinstance(text, str) for text in metrics["validation"]["sample"][1:])


def test_metrics_of_a_directory_without_a_run(tmp_path):
    with pytest.raises(UsageError, match=r"has no metrics\.jsonl"):
        read_metrics(tmp_path)


def test_a_metric_that_some_rows_lack_is_not_a_number_there(tmp_path):
    lines = [
        '{"step": 1, "split": "train", "loss": 2}',
        '{"step": 2, "split": "train", "loss": 1.5, "f1": 1.0}',
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    metrics = read_metrics(str(tmp_path))
    assert metrics["validation"] == {}
    np.testing.assert_array_equal(metrics["train"]["f1"], [np.nan, 1.0])
    np.testing.assert_array_equal(metrics["train"]["loss"], [2.0, 1.5])


def test_logits_are_the_models_own(model):
    texts = ["7 green bottles", "and 49 is"]
    logits, inputs = model.logits(texts), model.encode(texts)
    assert logits.shape == (2, inputs.tokens_BL.shape[1], model.config.vocabulary)
    for row, ids, text in zip(logits, inputs.rows, texts, strict=True):
        assert model.tokenizer.decode(ids.tolist()) == text
        own = np.asarray(model.module(ids[None]))[0]
        np.testing.assert_allclose(row[: len(ids)], own, atol=1e-5)


def test_loss_of_the_validation_split_is_that_of_evaluate(run, model):
    """Its windows do not overlap, so each is read as a text of its own."""
    experiment = experiment_of(run / "run")
    examples = objective_of(experiment.objective).examples(experiment)
    batches = validation_batches(examples, experiment.data, examples.prepare(silent).validation)
    total = targets = 0.0
    for n in range(len(batches)):
        for tokens, goals, weights in zip(
            *(batches[n][k] for k in ("tokens", "targets", "weights")), strict=True
        ):
            count = int(weights.sum())
            if count:
                assert (weights[:count] == 1).all()
                total += count * model.loss([*tokens[:count], goals[count - 1]])
                targets += count
    assert total / targets == pytest.approx(evaluate_run(run / "run", None, silent)["loss"], rel=1e-5)


def test_long_texts_are_scored_in_windows(model):
    """The first window whole, then half a context at a time, each with half a context before it."""
    ids = model.encode("9 green bottles hanging on the wall, and 81 is their square.\n" * 8).rows[0]
    context = model.config.context
    assert len(ids) > 2 * context
    log = np.asarray(model.module(ids[None, :context]))[0]
    parts = [(0, context, 0)]
    while parts[-1][1] < len(ids) - 1:
        end = min(parts[-1][1] + context // 2, len(ids) - 1)
        parts.append((end - context, end, parts[-1][1]))
    total = 0.0
    for begin, end, first in parts:
        logits = np.asarray(model.module(ids[None, begin:end]), np.float64)[0]
        log = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        total -= sum(log[n - begin, ids[n + 1]] for n in range(first, end))
    assert model.loss(ids) == pytest.approx(total / (len(ids) - 1), rel=1e-5)


def test_greedy_text_is_the_argmax_of_logits(model):
    prompt = "12 green bottles"
    ids = model.encode(prompt).rows[0].tolist()
    count = len(ids)
    for _ in range(5):
        ids.append(int(model.logits(ids)[0, -1].argmax()))
    text = model.generate(prompt, tokens=5, temperature=0)
    assert text == model.tokenizer.decode(ids)[len(model.tokenizer.decode(ids[:count])) :]
    assert model.generate([prompt, "and"], tokens=5, temperature=0)[0] == text
    assert model.generate(prompt, tokens=5, beams=1) == text
    assert model.generate(prompt, tokens=5, seed=1) == model.generate(prompt, tokens=5, seed=1)


def test_a_checkpoint_by_its_step(run, model):
    earlier, reference = load(f"{run}/run:8"), load_weights(f"{run}/run:8")
    for path, array in by_path(reference.model).items():
        np.testing.assert_array_equal(earlier.parameters[path], array)
    assert (np.asarray(earlier.parameters["tokens"]) != np.asarray(model.parameters["tokens"])).any()


def test_training_again_continues(run):
    result = train(quickstart(run / "text.txt", data__order="random", run__sample=8), run / "run", silent)
    assert (result.step, result.finished) == (12, True)
    with pytest.raises(UsageError, match="holds another run"):
        train(quickstart(run / "text.txt", run__seed=5), run / "run", silent)


def test_a_rule_of_ones_own_ends_a_run_that_continues(run, tmp_path):
    """Stopped by a rule and continued: the rows of a run that was left alone."""
    experiment = quickstart(tmp_path / "text.txt", data__order="random", run__sample=8)
    seen = []

    def rule(row):
        seen.append((row["step"], row["loss"]))
        return row["step"] == 6 or None

    result = train(experiment, tmp_path / "run", silent, after_evaluation=rule)
    assert (result.step, result.finished, [step for step, _ in seen]) == (6, False, [6])
    assert train(experiment, tmp_path / "run", silent, after_evaluation=seen.append).finished
    assert timeless(tmp_path / "run") == timeless(run / "run") and len(seen) == 2


def test_a_bert_fills_masks_and_gives_logits(tmp_path):
    experiment = shrunk("bert_tiny", tmp_path / "text.txt", run__steps=2, run__sample=0)
    train(experiment, tmp_path / "run", silent)
    model = load(tmp_path / "run")
    text = "3 [MASK] of 9 ."
    filled = model.fill_mask(text, top=2)
    (ids,) = model.encode(text).rows
    place = ids.tolist().index(model.tokenizer.token_to_id("[MASK]"))
    order = model.logits(text)[0, place].argsort()[::-1]
    assert [one.piece for one in filled.masks[0]] == [model.tokenizer.id_to_token(int(n)) for n in order[:2]]
    assert [one.text for one in model.fill_mask([text, text])] == [filled.text] * 2
    pair, single = model.encode([("3 of 9", "bottles"), "3"]), model.tokenizer.encode("3 of 9", "bottles")
    assert pair.rows[0].tolist() == single.ids and pair.segments_BL[0].tolist() == single.type_ids
    assert 1 in single.type_ids and model.logits([("3 of 9", "bottles")]).shape[1] == len(single.ids)


def test_masks_are_not_filled_by_a_head_that_was_not_trained(tmp_path, capsys):
    experiment = shrunk("bert_tiny", tmp_path / "text.txt", run__steps=1, run__sample=0)
    train(experiment, tmp_path / "run", silent)
    assert run_command(["export", str(tmp_path / "run"), str(tmp_path / "out")]) == 0
    file = tmp_path / "out" / "model.safetensors"
    save_file({name: x for name, x in load_file(file).items() if not name.startswith("cls.")}, file)
    capsys.readouterr()
    assert run_command(["generate", str(tmp_path / "out"), "--prompt", "3 [MASK] of 9"]) == 2
    assert capsys.readouterr().err == f"lineage: {tmp_path}/out: the weights have no masked-token head\n"


def test_settings_are_given_either_way(tmp_path):
    typed = resolve("quickstart", [f"{name}={value}" for name, value in SMALL.items()])
    assert typed == resolve("quickstart", SMALL) != resolve("quickstart")
    with pytest.raises(UsageError, match=r"model\.dept: .*did you mean model\.depth"):
        resolve("quickstart", {"model.dept": 2})
    with pytest.raises(UsageError, match=r"quikstart: .*did you mean quickstart"):
        resolve("quikstart")
    with pytest.raises(UsageError, match=r"objective\.name=masked_token: not for"):
        resolve("quickstart", {"objective.name": "masked_token"})
    with pytest.raises(UsageError, match="imports: nowhere_at_all: no such module"):
        resolve("quickstart", imports=["nowhere_at_all"])


def test_imports_register_experiments(tmp_path):
    plugin = tmp_path / "plugin.py"
    plugin.write_text(
        "from dataclasses import replace\n"
        "from experiments import quickstart\n"
        "from experiments.registry import experiment\n\n\n"
        "@experiment\n"
        "def from_a_notebook():\n"
        "    quick = quickstart.quickstart()\n"
        "    return replace(quick, run=replace(quick.run, steps=7))\n"
    )
    resolved = f"resolve('from_a_notebook', imports=[{str(plugin)!r}])"
    code = f"from research import resolve; print({resolved}.run.steps)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "7\n"


def test_importing_research_needs_no_jax():
    code = (
        "import sys, research; research.__version__; "
        "assert not {'jax', 'numpy', 'research.api'} & set(sys.modules); "
        "assert {'load', 'resolve', 'train', 'read_metrics'} <= set(dir(research)); "
        "assert not hasattr(research, 'lode')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
