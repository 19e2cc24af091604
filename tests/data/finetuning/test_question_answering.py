"""Windows over paragraphs, and answers from starts and ends, on cases worked out by hand."""

import json
import random

import numpy as np
import pytest

from research.config.names import OBJECTIVES
from research.config.settings import override
from research.data.finetuning.question_answering import assemble, cut_up
from research.data.finetuning.span_decoding import best_answers, most_context
from research.errors import UsageError
from research.metrics.squad import read_answers, score
from research.objectives import check
from tests.by_experiment import corpus_of, examples_of
from tests.data.finetuning.labelled import CLS, SEP, A, B, C, D, E, F, tuned


def squad(path, context, *questions):
    """A file of SQuAD's; questions are (text, answer, where it begins)."""
    qas = [
        {"id": f"q{n}", "question": text, "answers": [{"text": answer, "answer_start": begin}] * bool(answer)}
        for n, (text, answer, begin) in enumerate(questions)
    ]
    path.write_text(json.dumps({"data": [{"title": "t", "paragraphs": [{"context": context, "qas": qas}]}]}))


def store_of(experiment):
    return corpus_of(experiment).train


def test_windows_and_labels(tmp_path):
    """12 places less [CLS] f [SEP] … [SEP] leave a window 8 of the paragraph's tokens; the next is 4 on."""
    squad(tmp_path / "x.json", "A b c d e a b c. D e", ("f", "c. D", 14))
    experiment = tuned("bert_squad", tmp_path, "x.json", task__stride=4)
    store = store_of(experiment)
    assert store.windows.tolist() == [[0, 0, 8], [0, 4, 7]]
    assert store.labels.tolist() == [[0, 0], [6, 8]]  # in the first window there is but a part of it
    batch = assemble(store, np.arange(2), experiment.data.length)
    assert batch["tokens"][0, 0].tolist() == [CLS, F, SEP, A, B, C, D, E, A, B, C, SEP]
    assert batch["tokens"][1, 0, :3].tolist() == [CLS, F, SEP]
    assert batch["lengths"].tolist() == [[12], [11]]
    assert batch["segments"][1, 0].tolist() == [0] * 3 + [1] * 8 + [0]
    begin, end = store.labels[1]
    assert batch["tokens"][1, 0, begin : end + 1].tolist() == [C, store.questions[0].paragraph.tokens[8], D]


@pytest.mark.parametrize(
    "tokens, most, stride, expected",
    [(5, 8, 4, [(0, 5)]), (9, 8, 4, [(0, 8), (4, 5)]), (0, 8, 4, []), (20, 8, 9, [(0, 8), (8, 8), (16, 4)])],
)
def test_cutting_up(tokens, most, stride, expected):
    assert cut_up(tokens, most, stride) == expected


def test_a_span_within_a_word_and_one_that_is_elsewhere(tmp_path):
    """'b' of "a'b": pieces of its own; "ab" cannot be separated from its word; a wrong place is left out."""
    squad(tmp_path / "x.json", "c a'b xy d", ("f", "b", 4), ("f", "x", 6), ("f", "e", 0))
    store = store_of(tuned("bert_squad", tmp_path, "x.json"))
    assert [question.name for question in store.questions] == ["q0", "q1"]
    # [CLS] f [SEP] c a ' b x ##y d: "x" is a piece, and so found alone
    assert store.labels.tolist() == [[6, 6], [7, 7]]


def test_a_start_counts_in_the_window_with_most_around_it():
    """Token 4 has 4 and 0 around it in the first window, 1 and 3 in the second."""
    windows = np.array([[0, 0, 5], [0, 3, 5], [0, 6, 5]])
    assert most_context(windows).tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2]


def test_no_answer_competes_with_the_best_span(tmp_path):
    """As run_squad with version_2_with_negative."""
    squad(tmp_path / "x.json", "A b c d.", ("f", "A", 0), ("g", None, 0))
    declared = tuned("bert_squad2", tmp_path, "x.json")
    store = store_of(declared)
    assert store.known.all() and [question.answers for question in store.questions] == [("A",), ()]
    assert store.labels[1].tolist() == [0, 0]
    logits = np.zeros((2, 12, 2), np.float32)
    logits[0, 3], logits[0, 0] = (2, 2), (1, 1)  # A: 4, no answer: 2
    logits[1, 3], logits[1, 0] = (2, 2), (3, 3)  # A: 4, no answer: 6
    given, metrics = OBJECTIVES["spans"].predict(declared.task, store, logits)
    assert given == {"q0": "A", "q1": ""} and metrics["f1"] == metrics["best_f1"] == 100
    bold = override(declared, {"task.null_threshold": 2.0}).task
    assert OBJECTIVES["spans"].predict(bold, store, logits)[0] == {"q0": "A", "q1": "A"}
    with pytest.raises(UsageError, match=r"task\.metrics=has_answer_f1: expected task\.unanswerable=true"):
        check(override(declared, {"task.unanswerable": False}))


@pytest.mark.parametrize("name, known", [("bert_squad", False), ("bert_squad2", True)])
def test_answers_of_a_test_file_are_known_where_it_has_them(tmp_path, name, known):
    squad(tmp_path / "x.json", "A b c d.", ("f", "A", 0), ("g", None, 0))
    examples = examples_of(tuned(name, tmp_path, "x.json"))
    source = f"files:{tmp_path / 'x.json'}"
    assert examples.prepare_test(source, lambda line: None).validation.known.all() == known
    text = (tmp_path / "x.json").read_text().replace('"answers"', '"plausible"')
    (tmp_path / "x.json").write_text(text)
    hidden = examples.prepare_test(source, lambda line: None).validation
    assert not hidden.known.any() and len(hidden.questions) == 2


def test_the_best_answer_is_a_span_in_order_and_not_too_long(tmp_path):
    squad(tmp_path / "x.json", "A b  c d.", ("f", "A", 0))
    experiment = tuned("bert_squad", tmp_path, "x.json", task__answer=2)
    store = store_of(experiment)
    logits = np.zeros((1, 12, 2), np.float32)
    shift = 3
    logits[0, shift + 1, 0], logits[0, shift + 2, 1] = 5, 4  # b to c: 9
    logits[0, shift + 3, 1] = 6  # b to d is too long; c to d has 6
    logits[0, shift + 0, 1] = 7  # before its start; A alone has 7
    logits[0, 0, :] = 50  # [CLS] is no answer
    best = best_answers(store, logits, experiment.task)["q0"]
    assert [(answer.text, answer.score) for answer in best[:3]] == [("b c", 9), ("A", 7), ("c d", 6)]
    assert abs(sum(answer.probability for answer in best) - 1) < 1e-6
    assert abs(best[0].probability / best[1].probability - np.exp(2)) < 1e-4


def test_texts_of_equal_windows_are_reported_once(tmp_path):
    squad(tmp_path / "x.json", "a b a b", ("f", "a", 0))
    experiment = tuned("bert_squad", tmp_path, "x.json")
    store = store_of(experiment)
    best = best_answers(store, np.zeros((1, 12, 2), np.float32), experiment.task)["q0"]
    assert sorted(answer.text for answer in best) == ["a", "a b", "a b a", "a b a b", "b", "b a", "b a b"]


def test_right_starts_and_ends_give_squads_own_answers(shared_data, tmp_path):
    """On 300 questions of the development set: what tokens cannot tell apart is all that is lost."""
    path = shared_data / "qa" / "squad" / "dev-v1.1.json"
    content = json.loads(path.read_text())
    content["data"] = [content["data"][0] | {"paragraphs": content["data"][0]["paragraphs"][:20]}]
    (tmp_path / "x.json").write_text(json.dumps(content))
    vocabulary = {"data__tokenizer": str(shared_data / "tokenizers" / "bert-base-uncased")}
    sizes = {"model__vocabulary": 30_522, "model__context": 384, "data__length": 384}
    experiment = tuned("bert_squad", tmp_path, "x.json", **vocabulary, **sizes)
    store = corpus_of(experiment).validation
    logits = np.zeros((len(store.labels), 384, 2), np.float32)
    for window, (begin, end) in enumerate(store.labels):
        if begin:
            logits[window, begin, 0] = logits[window, end, 1] = 10
    answers = {name: best[0].text for name, best in best_answers(store, logits, experiment.task).items()}
    known = read_answers(tmp_path / "x.json")
    assert known.keys() <= answers.keys() and min(score(known, answers).values()) > 98


@pytest.mark.slow
def test_answers_to_random_logits_are_run_squads(shared_data, tmp_path):
    """Figures of evaluate-v2.0.py, of what run_squad's write_predictions makes of the same logits.

    Six articles, with questions of others added as unanswerable; windows of 128 tokens, 48 apart.
    """
    rng = random.Random(1)
    articles = json.loads((shared_data / "qa/squad/dev-v1.1.json").read_text())["data"][:6]
    asked = [q["question"] for article in articles for p in article["paragraphs"] for q in p["qas"]]
    for article in articles:
        article["paragraphs"] = article["paragraphs"][:12]
        for paragraph in article["paragraphs"]:
            questions = [q | {"answers": q["answers"][:3]} for q in paragraph["qas"][:4]]
            for _ in range(2):
                questions.append({"id": f"no{rng.random()}", "question": rng.choice(asked), "answers": []})
            paragraph["qas"] = questions
    (tmp_path / "x.json").write_text(json.dumps({"data": articles}))
    vocabulary = {"data__tokenizer": str(shared_data / "tokenizers/bert-base-uncased")}
    sizes = {"model__vocabulary": 30_522, "model__context": 128, "data__length": 128, "task__stride": 48}
    declared = tuned("bert_squad2", tmp_path, "x.json", **vocabulary, **sizes, task__question=32)
    store = corpus_of(declared).validation
    noise = np.random.default_rng(0)
    logits = noise.normal(size=(len(store.windows), 128, 2)).astype(np.float32) * 2
    for window, (begin, end) in enumerate(store.labels):
        if begin and noise.random() < 0.7:
            logits[window, begin, 0] += 6
            logits[window, end, 1] += 6
    logits[:, 0] += noise.normal(size=(len(logits), 2)) * 3 + 3
    found = measure_of(declared, store, logits, 0.0)
    assert (len(logits), len(store.questions), found.pop("empty")) == (1_056, 432, 18)
    assert found == pytest.approx(
        {
            "exact_match": 32.407407407407405,
            "f1": 38.16659768645363,
            "has_answer_f1": 53.77767430745823,
            "no_answer_accuracy": 6.944444444444445,
            "best_exact_match": 43.98148148148148,
            "best_f1": 46.50119999807264,
            "best_f1_threshold": -7.9591569900512695,
        },
        rel=1e-6,
    )
    bold = measure_of(declared, store, logits, 2.5)
    assert (bold["empty"], bold["f1"]) == (4, pytest.approx(36.9859594589404))


def measure_of(declared, store, logits, threshold) -> dict[str, float]:
    task = override(declared, {"task.null_threshold": threshold}).task
    answers, metrics = OBJECTIVES["spans"].predict(task, store, logits)
    return metrics | {"empty": sum(not text for text in answers.values())}
