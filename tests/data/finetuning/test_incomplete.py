"""Examples that lack a label, an option or a text: read where they may, else refused with their place."""

import json

import numpy as np
import pytest

import experiments
from research.config.names import OBJECTIVES
from research.data.finetuning.classification import examples
from research.data.finetuning.labels import CLASSES
from research.data.sources.schemes import TEST
from research.errors import UsageError
from tests.by_experiment import corpus_of, examples_of, ignore, validation_batches
from tests.data.finetuning.labelled import tuned

SWAG = {"sent1": "a", "sent2": "b", **{f"ending{n}": "c" for n in range(4)}, "label": 1}
RACE = {"article": "a", "questions": ["b", "c"], "options": [["d", "e", 1, 2.5]] * 2, "answers": ["A", "D"]}
STORY = {f"InputSentence{n}": "a" for n in range(1, 5)}
STORY |= {"RandomFifthSentenceQuiz1": "b", "RandomFifthSentenceQuiz2": "c", "AnswerRightEnding": 2}


def read(name: str, folder, row: dict, split: str = "train"):
    (folder / "x.jsonl").write_text(json.dumps(row) + "\n")
    declared = tuned(name, folder, "x.jsonl")
    return examples(declared.data, declared.task, CLASSES, f"files:{folder}/x.jsonl", split)[0]


@pytest.mark.parametrize(
    "name, row, message",
    [
        ("bert_swag", {**SWAG, "ending3": None}, r"field ending3 is not a text"),
        (
            "bert_swag",
            {n: v for n, v in SWAG.items() if n != "ending3"},
            r"no field ending3 \(task\.options\)",
        ),
        (
            "gpt1_storycloze",
            {**STORY, "InputSentence3": None},
            r"field InputSentence3 is not a text",
        ),
        (
            "gpt1_race",
            {**RACE, "options": [["d", None, "f", "g"]] * 2},
            r"field options\[1\] is not a text but",
        ),
        (
            "gpt1_race",
            {**RACE, "options": [["d", True, "f", "g"]] * 2},
            r"field options\[1\] is not a text but",
        ),
        (
            "gpt1_race",
            {**RACE, "answers": ["A"]},
            r"2 questions, 2 lists of options, 1 answers; expected",
        ),
    ],
)
def test_a_missing_option_is_named(tmp_path, name, row, message):
    with pytest.raises(UsageError, match=rf"x\.jsonl:1: {message}"):
        read(name, tmp_path, row)


@pytest.mark.parametrize(
    "name, row, answers", [("gpt1_race", RACE, "answers"), ("gpt1_storycloze", STORY, "AnswerRightEnding")]
)
def test_choices_of_a_test_file_need_no_answer(tmp_path, name, row, answers):
    labels = [one.label for one in read(name, tmp_path, row)]
    assert labels == ([0, 3] if name == "gpt1_race" else [1])
    assert read(name, tmp_path, row)[0].texts[-1] == ("2.5" if name == "gpt1_race" else "c")
    row = {field: value for field, value in row.items() if field != answers}
    assert [one.label for one in read(name, tmp_path, row, TEST)] == [-1] * len(labels)
    with pytest.raises(UsageError, match="no example with a label in it"):
        read(name, tmp_path, row)


def test_metrics_are_those_of_the_rows_with_a_label(tmp_path):
    rows = [{"sentence": "a", "label": label} for label in (1, None, 0, -1)]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    declared = tuned("bert_sst2", tmp_path, "x.jsonl")
    split = examples_of(declared).prepare_test(declared.data.source, ignore).validation
    assert split.known.tolist() == [True, False, True, False]
    outputs = np.array([[0, 1]] * 4)
    answers, metrics = OBJECTIVES["classification"].predict(declared.task, split, outputs)
    assert answers == ["positive"] * 4 and metrics == {"accuracy": 0.5}


@pytest.mark.parametrize(
    ("name", "rows", "summary"),
    [
        ("bert_sst2", [["a"], [""], ["  "], ["b"]], "4 examples, 2 with an empty sentence of"),
        (
            "bert_rte",
            [["a", "b"], ["", "a"], ["a", " "], ["", ""]],
            "4 examples, 2 with an empty sentence1, 2 with an empty sentence2 of",
        ),
        ("bert_rte", [["a", "b"], ["b", "a"]], "2 examples of"),
    ],
)
def test_empty_texts_are_counted_by_field(name, rows, summary, tmp_path):
    fields = [field.partition("|")[0] for field in experiments.get(name).task.fields]
    records = [dict(zip(fields, row, strict=True)) | {"label": n % 2} for n, row in enumerate(rows)]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    reports: list[str] = []
    examples_of(tuned(name, tmp_path, "x.jsonl")).prepare(reports.append)
    assert [line.partition(" files:")[0] for line in reports] == [
        f"train: {summary}",
        f"validation: {summary}",
    ]


def tagged(folder, *rows: dict):
    (folder / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tuned("bert_ner", folder, "x.jsonl", task__fields="tokens", task__label="tags")


def test_words_that_are_numbers_are_text(tmp_path):
    store = corpus_of(tagged(tmp_path, {"tokens": ["a", 7, 2.5], "tags": ["O", "B-PER", "O"]})).train
    assert len(store.labels[0]) == 3
    for word in (None, True, ["a"]):
        with pytest.raises(UsageError, match=r"x\.jsonl:1: word .*: expected a text or a number"):
            corpus_of(tagged(tmp_path, {"tokens": ["a", word], "tags": ["O", "O"]}))


def test_words_without_a_tag_are_refused_but_in_a_test_file(tmp_path):
    with pytest.raises(UsageError, match=r"x\.jsonl:1: tag None means none"):
        corpus_of(tagged(tmp_path, {"tokens": ["a", "b"], "tags": ["O", None]}))
    rows = ({"tokens": ["a", "b"], "tags": tags} for tags in ([-1, -1], [0, 1], None))
    declared = tagged(tmp_path, *rows)
    split = examples_of(declared).prepare_test(declared.data.source, ignore).validation
    assert split.known.tolist() == [False, True, False]
    outputs = np.zeros((3, 12, len(declared.task.labels)))
    answers, metrics = OBJECTIVES["tags"].predict(declared.task, split, outputs)
    assert answers == [["O", "O"]] * 3 and metrics == {"f1": 0, "accuracy": 0.5}


def test_tags_of_minus_100_count_neither_in_the_loss_nor_in_metrics(tmp_path):
    """As in Transformers' files, whose words they mark that have no tag."""
    rows = [{"tokens": ["a", "b", "c"], "tags": [-100, "B-PER", -100]}, {"tokens": ["d"], "tags": ["-100"]}]
    declared = tagged(tmp_path, *rows, {"tokens": ["b", "c"], "tags": ["O", "B-PER"]})
    examples, corpus = examples_of(declared), corpus_of(declared)
    batch = next(iter(validation_batches(declared, corpus.validation)))
    assert batch["label_weights"][:3, 1:4].tolist() == [[0, 1, 0], [0, 0, 0], [1, 1, 0]]
    assert batch["labels"].min() == 0 and batch["label_weights"].sum() == 3
    assert corpus.train.baseline_loss == pytest.approx(np.log(3) - 2 / 3 * np.log(2))
    split = examples.prepare_test(declared.data.source, ignore).validation
    outputs = np.zeros((3, 12, len(declared.task.labels)))
    outputs[0, 2, declared.task.labels.index("B-PER")] = 1
    answers, metrics = OBJECTIVES["tags"].predict(declared.task, split, outputs)
    assert answers == [["O", "B-PER", "O"], ["O"], ["O", "O"]]
    assert metrics == {"f1": pytest.approx(2 / 3), "accuracy": pytest.approx(2 / 3)}  # of three words
    with pytest.raises(UsageError, match="no sentence with tags in it"):
        corpus_of(tagged(tmp_path, {"tokens": ["a"], "tags": [-100]}))


def squad(folder, *questions: tuple[str, str, list]):
    """(id, context, answers) of each."""
    paragraphs = [
        {"context": context, "qas": [{"id": name, "question": "a", "answers": answers}]}
        for name, context, answers in questions
    ]
    (folder / "x.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    return tuned("bert_squad2", folder, "x.json")


def test_a_question_about_an_empty_text_is_answered(tmp_path):
    declared = squad(tmp_path, ("q", "a b", [{"text": "b", "answer_start": 2}]), ("e", "", []))
    corpus = corpus_of(declared)
    assert len(corpus.train.windows) == 1 and corpus.validation.windows.tolist() == [[0, 0, 2], [1, 0, 0]]
    outputs = np.zeros((2, 12, 2), np.float32)
    answers, metrics = OBJECTIVES["spans"].predict(declared.task, corpus.validation, outputs)
    assert answers.keys() == {"q", "e"} and answers["e"] == "" and metrics["no_answer_accuracy"] == 100


def test_two_questions_with_an_id_are_refused_where_predictions_are_kept(tmp_path):
    answer = [{"text": "b", "answer_start": 2}]
    declared = squad(tmp_path, ("q", "a b", answer), ("r", "a b", answer), ("q", "c b", answer))
    message = r"x\.json: question q: id q is also that of .*x\.json: question q; .* 1 and 3\)"
    with pytest.raises(UsageError, match=message):
        corpus_of(declared)


def test_metrics_of_questions_are_those_with_known_answers(tmp_path):
    declared = squad(tmp_path, ("q", "a b", [{"text": "b", "answer_start": 2}]), ("r", "a b", None))
    split = examples_of(declared).prepare_test(declared.data.source, ignore).validation
    assert split.known.tolist() == [True, False]
    answers, metrics = OBJECTIVES["spans"].predict(declared.task, split, np.zeros((2, 12, 2), np.float32))
    assert len(answers) == 2 and metrics["no_answer_accuracy"] == 0  # of none
