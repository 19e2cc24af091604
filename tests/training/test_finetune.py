"""Labelled tasks through the one loop: rows have their metrics, and a stop leaves no trace."""

import json
import os
import signal

import numpy as np
import pytest
from sklearn.metrics import matthews_corrcoef

from launch.__main__ import run
from research import weights
from research.config.settings import override
from research.errors import UsageError
from research.training.evaluating import evaluate_run
from research.training.evaluating.validation import validation_numbers
from research.training.logging.progress import Lines
from research.training.loop import train
from research.training.placement import compile_for
from research.weights.formats.huggingface_head import BERT_HEADS
from tests.by_experiment import batch_shapes, corpus_of, train_batches
from tests.data.finetuning.labelled import tuned
from tests.mostly_slow import mostly_slow
from tests.training.tiny import final_arrays, timeless

pytestmark = pytest.mark.usefixtures("compiled_in_haste")

RUN = {
    "run__steps": 4,
    "run__log_every": 1,
    "run__evaluate_every": 2,
    "run__checkpoint_every": 2,
    "run__sample": 0,
    "optimizer__rate__warmup": 1,
}
LABELS = {"unacceptable": 0, "acceptable": 1}  # GLUE's server takes numbers of CoLA
LETTERS = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]


def files(folder):
    """A file of each kind; labels can be read off a word, and the last batch is not full."""
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(LETTERS[2:], 4)) for _ in range(18)]
    labels = [n % 2 for n in range(18)]
    rows = list(zip(texts, labels, strict=True))
    sentences = "".join(f"{'ab'[y]} {text}\t{y}\n" for text, y in rows)
    (folder / "single.tsv").write_text("sentence\tlabel\n" + sentences)
    (folder / "scores.csv").write_text("".join(f"{text},{'ab'[y]} c,{y}.5\n" for text, y in rows))
    story = [{"context": text, "endings": ["a c", "b c"], "label": str(y + 1)} for text, y in rows]
    (folder / "story.jsonl").write_text("".join(json.dumps(row) + "\n" for row in story))
    qas = [
        {"id": str(n), "question": text, "answers": [{"text": "e", "answer_start": 8}]}
        for n, text in enumerate(texts)
    ]
    paragraph = {"context": "a b c d e f g h i j a b", "qas": qas}
    (folder / "squad.json").write_text(json.dumps({"data": [{"paragraphs": [paragraph]}]}))
    words = "\n\n".join(f"xyz NN O {'B-PER' if y else 'O'}\na NN O O" for _, y in rows)
    (folder / "conll.txt").write_text(words + "\n")


CASES = [
    ("gpt1_sst2", "single.tsv", {"accuracy", "task_loss", "auxiliary_loss"}),
    ("gpt1_stsb", "scores.csv", {"pearson", "spearman", "task_loss", "auxiliary_loss"}),
    ("gpt1_storycloze", "story.jsonl", {"accuracy", "task_loss", "auxiliary_loss"}),
    ("bert_cola", "single.tsv", {"matthews", "accuracy"}),
    ("bert_squad", "squad.json", {"f1", "exact_match", "accuracy"}),
    ("bert_ner", "conll.txt", {"f1", "accuracy"}),
]


def experiment(name, file, folder, **changes):
    files(folder)
    fields = {"task__fields": "sentence", "task__label": "label"} if name == "bert_cola" else {}
    question = {"task__question": 2} if name == "bert_squad" else {}
    return tuned(name, folder, file, **RUN | fields | question | changes)


@pytest.mark.parametrize(
    "name, file, metrics", [CASES[3], *mostly_slow(CASES[:3], 0), *mostly_slow(CASES[4:], 0)]
)
def test_a_run_of_each_kind(name, file, metrics, tmp_path):
    declared = experiment(name, file, tmp_path)
    result = train(declared, tmp_path / "run", lambda line: None)
    rows = timeless(tmp_path / "run")
    validations = [row for row in rows if row["split"] == "validation"]
    assert [row["step"] for row in validations] == [0, 2, 4] and result.validation == validations[-1]
    assert all(row.keys() == {"step", "split", "loss"} | metrics for row in validations)
    assert validation_numbers(declared, compile_for(declared)[0]) == {"loss"} | metrics
    trained = [row for row in rows if row["split"] == "train"]
    assert len(trained) == 4 and all(np.isfinite(row["loss"]) for row in trained)
    store = corpus_of(declared).validation
    answers = json.loads((tmp_path / "run" / "predictions.json").read_text())
    kinds = {"bert_squad": lambda: len(store.questions), "bert_ner": lambda: len(store.labels)}
    assert len(answers) == kinds.get(name, lambda: len(store.labels))()
    if name.startswith("gpt1"):
        with pytest.raises(UsageError, match=r"has no gpt1 with this head|model\.special_tokens=true"):
            weights.export(tmp_path / "run", tmp_path / "out")
    else:
        weights.export(tmp_path / "run", tmp_path / "out")
        described = json.loads((tmp_path / "out/config.json").read_text())
        assert described["architectures"] == [BERT_HEADS[declared.objective.name].architecture]
    again, found, _ = evaluate_run.predict(
        tmp_path / "run", None, f"files:{tmp_path / file}", lambda line: None
    )
    assert again == answers and found == {metric: validations[-1][metric] for metric in declared.task.metrics}
    if name == "bert_cola":
        assert list(described["label2id"]) == list(declared.task.labels)
        given = [declared.task.labels.index(answer) for answer in answers]
        assert validations[-1]["matthews"] == matthews_corrcoef(store.labels, given)
        assert validations[-1]["accuracy"] == np.mean(store.labels == given)


@pytest.mark.parametrize("name, file, metrics", CASES)
def test_the_shapes_that_plans_are_made_with(name, file, metrics, tmp_path):
    declared = experiment(name, file, tmp_path, run__steps_per_call=2)  # so that no batch is shorter
    batch = train_batches(declared, corpus_of(declared).train)[0]
    shapes = {key: (shape, np.dtype(dtype)) for key, (shape, dtype) in batch_shapes(declared).items()}
    assert {key: (array.shape, array.dtype) for key, array in batch.items()} == shapes


@pytest.mark.slow
def test_the_loss_on_the_whole_split_is_a_mean_over_examples(tmp_path):
    """Of other batches, split otherwise: the same."""
    losses = []
    for batch in (4, 6, 18):
        declared = experiment("gpt1_sst2", "single.tsv", tmp_path, data__batch=batch, run__steps=1)
        train(declared, tmp_path / f"run{batch}", lambda line: None)
        losses.append(timeless(tmp_path / f"run{batch}")[0]["loss"])
    np.testing.assert_allclose(losses, losses[0], rtol=1e-6)


@pytest.mark.parametrize("compiler", mostly_slow(["sharded", "pmap"], 0))
def test_all_compilers_train_alike(compiler, tmp_path):
    more = {"data__batch": 16, "model__dropout": 0, "run__steps": 3}
    one = experiment("gpt1_storycloze", "story.jsonl", tmp_path, **more)
    other = override(one, {"parallel.compile": compiler})
    train(one, tmp_path / "one", lambda line: None)
    train(other, tmp_path / "other", lambda line: None)
    for a, b in zip(timeless(tmp_path / "one"), timeless(tmp_path / "other"), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)
        assert a.get("auxiliary_loss") == pytest.approx(b.get("auxiliary_loss"), rel=1e-5)


@pytest.mark.slow
def test_a_stop_leaves_no_trace(tmp_path, monkeypatch):
    declared = experiment("gpt1_stsb", "scores.csv", tmp_path)
    train(declared, tmp_path / "straight", lambda line: None)

    def interrupt(lines, step):
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Lines, "advance", interrupt)
    stopped = train(declared, tmp_path / "stopped", lambda line: None)
    assert (stopped.step, stopped.signal) == (3, signal.SIGTERM)
    monkeypatch.undo()
    train(declared, tmp_path / "stopped", lambda line: None)
    assert timeless(tmp_path / "stopped") == timeless(tmp_path / "straight")
    expected = final_arrays(declared, tmp_path / "straight")
    for path, array in final_arrays(declared, tmp_path / "stopped").items():
        assert array.tobytes() == expected[path].tobytes(), path


@pytest.mark.slow
def test_starts_from_a_run_with_that_runs_tokenizer(tmp_path):
    """A tuned run's weights serve another task: only what the task adds begins at random."""
    first = experiment("bert_cola", "single.tsv", tmp_path)
    train(first, tmp_path / "first", lambda line: None)
    reports = []
    changes = {"start.weights": str(tmp_path / "first"), "data.tokenizer": "start", "run.steps": 1}
    pair = override(experiment("bert_stsb", "scores.csv", tmp_path), changes)
    train(pair, tmp_path / "pair", reports.append)
    assert any("2 missing and left at their initial values, 2 not used" in line for line in reports)
    with pytest.raises(UsageError, match=r"expected model.vocabulary=\d+ model.context=\d+$"):
        smaller = {"model.context": 12, "model.vocabulary": 12}  # less than the tokenizer has
        train(override(pair, smaller), tmp_path / "misfit", reports.append)
    assert not (tmp_path / "misfit").exists()
    again = override(first, changes | {"run.seed": 3})
    train(again, tmp_path / "again", reports.append)
    rows = timeless(tmp_path / "again"), timeless(tmp_path / "first")
    assert rows[0][0]["loss"] == pytest.approx(rows[1][-1]["loss"], rel=1e-6)
    assert any("0 missing" in line and "0 not used" in line for line in reports)


@pytest.mark.parametrize(
    "name, file, column",
    mostly_slow([("bert_cola", "single.tsv", "label"), ("gpt1_stsb", "scores.csv", None)]),
)
def test_examples_without_labels_are_answered(name, file, column, tmp_path, capsys):
    """As GLUE's test files are, whose labels its server keeps; by the tokenizer that the run has."""
    train(experiment(name, file, tmp_path), tmp_path / "run", lambda line: None)
    wanted = json.loads((tmp_path / "run" / "predictions.json").read_text())
    comma = "\t" if file.endswith("tsv") else ","
    rows = [line.split(comma)[: -1 if column else 2] for line in (tmp_path / file).read_text().splitlines()]
    for used in tmp_path.glob("*.*"):
        used.unlink()
    (tmp_path / file).write_text("".join(comma.join(row) + "\n" for row in rows))
    given, metrics, _ = evaluate_run.predict(
        tmp_path / "run", 4, f"files:{tmp_path / file}", lambda line: None
    )
    assert given == wanted and metrics == {}
    capsys.readouterr()
    assert run(["evaluate", str(tmp_path / "run"), "--task", "answers", "--data", str(tmp_path / file)]) == 0
    shown = capsys.readouterr()
    printed = [
        min(max(each, 0.0), 5.0) if isinstance(each, float) else LABELS.get(each, each) for each in wanted
    ]
    rows = [f"{n}\t{each}" for n, each in enumerate(printed)]
    assert shown.out.splitlines() == ["index\tprediction", *rows]
    assert shown.err == ""
    (tmp_path / file).write_text("")
    assert run(["evaluate", str(tmp_path / "run"), "--task", "answers", "--data", str(tmp_path / file)]) == 2
    assert "no example in it" in capsys.readouterr().err


@pytest.mark.slow
def test_words_without_tags_get_one_answer_each(tmp_path, capsys):
    """Also words of characters that the tokenizer drops, and words beyond data.length."""
    train(experiment("bert_ner", "conll.txt", tmp_path), tmp_path / "run", lambda line: None)
    (tmp_path / "test.conll").write_text("xyz\n\u200b\na\n\n" + "b\n" * 30)
    capsys.readouterr()
    asked = ["evaluate", str(tmp_path / "run"), "--task", "answers", "--data", str(tmp_path / "test.conll")]
    assert run(asked) == 0
    shown = capsys.readouterr()
    _, first, second = shown.out.splitlines()
    assert [len(line.split("\t")[1].split()) for line in (first, second)] == [3, 30] and not shown.err
    assert first.split("\t")[1].split()[1] == "O" and set(second.split()[-20:]) == {"O"}


@pytest.mark.slow
def test_questions_without_answers_are_answered_and_not_validated_on(tmp_path, capsys):
    """As in SQuAD 2.0, and in a test file."""
    declared = experiment("bert_squad", "squad.json", tmp_path)
    whole = json.loads((tmp_path / "squad.json").read_text())
    (questions,) = (paragraph["qas"] for paragraph in whole["data"][0]["paragraphs"])
    questions[0] |= {"answers": [], "is_impossible": True}
    (tmp_path / "squad.json").write_text(json.dumps(whole))
    reports = []
    result = train(declared, tmp_path / "run", reports.append)
    assert result.finished
    assert sum("17 questions, 1 without an answer in the text left out" in line for line in reports) == 2
    for question in questions:
        question.pop("answers")
    (tmp_path / "test.json").write_text(json.dumps(whole))
    capsys.readouterr()
    for file, known in (("test.json", False), ("squad.json", True)):
        asked = ["evaluate", str(tmp_path / "run"), "--task", "answers", "--data", str(tmp_path / file)]
        assert run([*asked, "--json"]) == 0
        shown = capsys.readouterr()
        found = json.loads(shown.out)
        assert list(found["answers"]) == [str(n) for n in range(18)] and bool(found["metrics"]) == known
        note = "lineage: metrics of 17 of 18 rows: the others have no label\n"
        assert shown.err == (note if known else "")


@pytest.mark.slow
def test_a_word_that_tells_the_label_is_found(tmp_path):
    """From scratch, in the time that a test has: far above the majority's share."""
    more = {"optimizer__rate__peak": 3e-3, "data__batch": 8}
    for name, steps in (("gpt1_sst2", 300), ("bert_sst2", 150)):  # GPT-1 learns to write as well
        declared = experiment(
            name, "single.tsv", tmp_path, run__steps=steps, run__evaluate_every=steps, **more
        )
        result = train(declared, tmp_path / name, lambda line: None)
        assert result.validation["accuracy"] > 0.9, name
