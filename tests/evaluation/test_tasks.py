"""Tasks on small files, scored a second way; the harness on the same data."""

import json

import numpy as np
import pytest

from launch.__main__ import run
from research import weights
from research.config import Model
from research.config.names import TASKS
from research.errors import UsageError
from research.evaluation.eval_model import EvalModel, Result, Settings
from research.evaluation.scoring import Pair, score_pairs
from research.evaluation.tasks import BUILTIN, evaluate, tasks
from research.models.parameters import by_path
from research.weights.formats import huggingface
from tests.drawn import drawn
from tests.evaluation.test_scoring import byte_tokenizer

CONFIG = Model(family="gpt2", vocabulary=257, context=192, width=16, depth=2, heads=2)


@pytest.fixture(scope="module")
def eval_model():
    return EvalModel(drawn(CONFIG), byte_tokenizer())


def log_probability(eval_model, context, continuation) -> float:
    """Scores the whole text at once, without padding or cache."""
    ids = eval_model.encode(context + continuation)
    logits = np.asarray(eval_model.model(np.asarray([ids[:-1]]))[0], np.float64)
    log_ = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    first = len(eval_model.encode(context))
    return sum(log_[place - 1, ids[place]] for place in range(first, len(ids)))


@pytest.mark.slow
def test_cloze_chooses_the_likeliest_sentence(eval_model, tmp_path):
    words = ["cat", "dog", "hen", "cow", "pig", "fox", "owl", "bee", "ant", "rat"]
    story = [f"{n} The day was long ." for n in range(1, 3)]
    right = 0
    text = ""
    for answer in words[:4]:
        text += "\n".join([*story, f"21 Then the XXXXX ran off .\t{answer}\t\t{'|'.join(words)}", "", ""])
        context = "The day was long. The day was long. Then the"
        scores = [log_probability(eval_model, context, f" {word} ran off.") for word in words]
        right += words[int(np.argmax(scores))] == answer
    (tmp_path / "cbt.txt").write_text(text)
    result = evaluate(eval_model, "cbt_cn", tmp_path / "cbt.txt")
    assert result.examples == 4 and result.metrics["accuracy"] == 100 * right / 4


@pytest.mark.slow
def test_mctest_chooses_the_likeliest_answer(eval_model, tmp_path):
    questions = [["one: Who?", "he", "she", "it all", "we"]] * 4
    row = ["id", "facts", "A tale.\\newlineOf old.", *(field for question in questions for field in question)]
    (tmp_path / "mc.tsv").write_text("\t".join(row) + "\n")
    (tmp_path / "mc.ans").write_text("A\tB\tC\tD\n")
    context = "A tale.\nOf old.\n\nQ: Who?\nA:"
    scores = [log_probability(eval_model, context, f" {one}") for one in questions[0][1:]]
    result = evaluate(eval_model, "mctest", tmp_path / "mc.tsv")
    assert result.examples == 4 and result.metrics["accuracy"] == 25.0  # each letter is right once
    chosen = [Pair(eval_model.encode(context), eval_model.encode(f" {one}")) for one in questions[0][1:]]
    np.testing.assert_allclose(
        [one.log_probability for one in score_pairs(eval_model.model, chosen, 2)], scores, rtol=1e-4
    )


@pytest.mark.slow
def test_prompted_tasks_run_and_count(eval_model, tmp_path):
    pytest.importorskip("sacrebleu", reason="needs the extra evaluation")
    pytest.importorskip("rouge_score", reason="needs the extra evaluation")
    (tmp_path / "en_fr.tsv").write_text("".join(f"a {n}\tun {n}\n" for n in range(7)))
    (tmp_path / "questions.jsonl").write_text('{"question": "Who?", "answers": ["he"]}\n' * 7)
    (tmp_path / "summarization.jsonl").write_text('{"article": "Long. Tale.", "highlights": "Tale."}\n' * 3)
    talk = {
        "story": "A tale.",
        "questions": [{"input_text": "Who?"}, {"input_text": "When?"}],
        "answers": [{"input_text": "he"}, {"input_text": "then"}],
        "additional_answers": {"0": [{"input_text": "him"}, {"input_text": "now"}]},
    }
    (tmp_path / "coqa-dev-v1.0.json").write_text(json.dumps({"data": [talk]}))
    for name, count in {"en_fr": 2, "fr_en": 2, "questions": 2, "summarization": 3, "coqa": 2}.items():
        result = evaluate(eval_model, name, tmp_path, Settings(batch=4))
        assert result.examples == count
        assert all(0 <= value <= 100 for value in result.metrics.values())


def test_missing_data_is_one_line(eval_model, tmp_path):
    with pytest.raises(UsageError, match=r"ptb: no data; put ptb\.test\.txt or"):
        evaluate(eval_model, "ptb")
    with pytest.raises(UsageError, match=r"has no ptb\.test\.txt"):
        evaluate(eval_model, "ptb", tmp_path)
    with pytest.raises(UsageError, match="did you mean lambada"):
        evaluate(eval_model, "lamda")


@pytest.mark.parametrize(
    "name, text", [("lambada", "\n"), ("cbt_ne", ""), ("mctest", ""), ("coqa", '{"data": []}')]
)
def test_a_file_without_examples_is_one_line(eval_model, tmp_path, name, text):
    (tmp_path / "file.tsv").write_text(text)
    (tmp_path / "file.ans").write_text("")
    with pytest.raises(UsageError, match=r"file\.tsv: .*expected"):
        evaluate(eval_model, name, tmp_path / "file.tsv")


QUESTION = '{"question": "Who?", "answers": %s}\n'
STORY = {"story": "A tale.", "questions": [{"input_text": "Who?"}], "answers": [{"input_text": "he"}]}


@pytest.mark.parametrize(
    "name, text",
    [
        ("lambada", '{"text": 5}'),
        ("questions", QUESTION % "[]"),
        ("questions", QUESTION % '"he"'),  # not the answers h and e
        ("questions", QUESTION % "[1]"),
        ("summarization", '{"article": "A tale.", "highlights": null}'),
        ("coqa", json.dumps({"data": [STORY | {"story": 5}]})),
        ("coqa", json.dumps({"data": [STORY | {"answers": [{"input_text": 5}]}]})),
        ("coqa", json.dumps({"data": [STORY | {"additional_answers": []}]})),
        ("winograd", json.dumps([{"question_id": 1, "substitution": 5, "correctness": n} for n in (0, 1)])),
    ],
)
def test_values_of_another_type_are_one_line(eval_model, tmp_path, name, text):
    (tmp_path / "file").write_text(text)
    with pytest.raises(UsageError, match=r"file: .*(expected|form)") as refused:
        evaluate(eval_model, name, tmp_path / "file")
    assert "\n" not in str(refused.value)


TASK = """
task: local_{name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: {kind}
{fields}
metric_list:
{metrics}
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_the_harness_gives_the_same_numbers(eval_model, tmp_path, monkeypatch):
    harness = pytest.importorskip("research.evaluation.harness", reason="needs the extra harness")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    passages = ["The cat sat on the mat", "He went home to his wife", "It was late at night then"]
    file = tmp_path / "lambada.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in passages))
    fields = (
        'doc_to_text: \'{{text.split(" ")[:-1]|join(" ")}}\'\ndoc_to_target: \'{{" "+text.split(" ")[-1]}}\''
    )
    kinds = {"perplexity": "perplexity", "acc": "mean"}
    metrics = "\n".join(
        f"  - {{metric: {one}, aggregation: {how}, higher_is_better: true}}" for one, how in kinds.items()
    )
    task = TASK.format(name="words", file=file, kind="loglikelihood", fields=fields, metrics=metrics)
    (tmp_path / "words.yaml").write_text(task)
    found = harness.run(eval_model, "local_words", 2, None, str(tmp_path))
    ours = evaluate(eval_model, "lambada", file).metrics
    # A perplexity is the exponential of a sum of logarithms, 26 here, rounded to float32.
    np.testing.assert_allclose(found["perplexity"], ours["perplexity"], rtol=1e-5)
    assert 100 * found["acc"] == pytest.approx(ours["accuracy"])

    text = " ".join(passages * 12)  # longer than the context
    (tmp_path / "text.jsonl").write_text(json.dumps({"text": text}) + "\n")
    (tmp_path / "text.txt").write_text(text)
    metrics = "  - {metric: bits_per_byte, aggregation: bits_per_byte, higher_is_better: false}"
    fields = "doc_to_text: ''\ndoc_to_target: '{{text}}'"
    file = tmp_path / "text.jsonl"
    task = TASK.format(name="text", file=file, kind="loglikelihood_rolling", fields=fields, metrics=metrics)
    (tmp_path / "text.yaml").write_text(task)
    found = harness.run(eval_model, "local_text", 2, None, str(tmp_path))
    ours = evaluate(eval_model, "text8", tmp_path / "text.txt", Settings(stride=CONFIG.context)).metrics
    np.testing.assert_allclose(found["bits_per_byte"], ours["bits_per_byte"], rtol=1e-6)


@pytest.fixture
def directory(eval_model, tmp_path):
    huggingface.write(tmp_path / "weights", CONFIG, by_path(eval_model.model), eval_model.tokenizer)
    return tmp_path / "weights"


def test_commands(eval_model, directory, tmp_path, capsys):
    (tmp_path / "text.txt").write_text("Once upon a time there was a cat .\n" * 3)
    assert (
        run(
            [
                "evaluate",
                str(directory),
                "--task",
                "wikitext2",
                "--data",
                str(tmp_path / "text.txt"),
                "--json",
            ]
        )
        == 0
    )
    fact = json.loads(capsys.readouterr().out)["wikitext2"]
    assert fact["examples"] == 3 * 10 and fact["settings"]["detokenizer"] == "wikitext"
    own = EvalModel(weights.load(directory).model, eval_model.tokenizer)
    assert fact["metrics"] == evaluate(own, "wikitext2", tmp_path / "text.txt").metrics
    asked = ["generate", str(directory), "--prompt", "Once", "--tokens", "9", "--seed", "4"]
    assert run([*asked, "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)
    assert run(asked) == 0
    assert capsys.readouterr().out == f"Once{one['text']}\n"


def test_a_task_that_fails_leaves_the_others_results(directory, tmp_path, capsys):
    """And one whose data are missing is refused before any other is run."""
    data = tmp_path / "data"
    (data / "wikitext-2").mkdir(parents=True)
    (data / "text8").write_text("the cat sat on a mat " * 3)
    asked = ["evaluate", str(directory), "--data", str(data), "--json", "--task"]
    assert run([*asked, "text8,ptb"]) == 2
    out, err = capsys.readouterr()
    assert not out and "ptb: " in err and "has no ptb.test.txt" in err
    (data / "wikitext-2" / "test.txt").write_text("")
    assert run([*asked, "text8,wikitext2"]) == 2
    out, err = capsys.readouterr()
    assert list(json.loads(out)) == ["text8"] and err.count("\n") == 1 and "test.txt" in err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["evaluate", "--task", "lambada"], "expected a run or weights"),
        (["evaluate", "--task", "squad"], "--predictions"),
        (["evaluate", "--task", "answers"], "expected a fine-tuned model"),
        (["evaluate", "nowhere", "--task", "lambada"], "nowhere"),
        (["evaluate", "nowhere", "--task", "lambda"], "did you mean lambada"),
        (["generate", "nowhere"], "nowhere"),
        (["generate", "nowhere", "--beams", "2", "--top-k", "3"], "--top-k"),
        (["generate", "nowhere", "--length-penalty", "2"], "--beams"),
        (["generate", "nowhere", "--tokens", "0"], "expected 1 or more"),
        (["generate", "nowhere", "--top-p", "2"], "top-p"),
    ],
)
def test_mistakes_are_one_line_and_status_2(arguments, message, capsys):
    assert run(arguments) == 2
    _, err = capsys.readouterr()
    assert err.count("\n") == 1 and message in err


def test_a_task_of_another_package_is_listed_and_run(eval_model, tmp_path, registries):
    @TASKS.register("count")
    def count(eval_model, data, settings):
        """Tokens of a text

        counted."""
        return Result({"tokens": float(len(eval_model.encode(data.text)))}, 1, {})

    (tmp_path / "text.txt").write_text("twelve bytes")
    assert list(tasks())[-1] == "count" and tasks()["count"].description == "Tokens of a text"
    assert evaluate(eval_model, "count", tmp_path / "text.txt").metrics == {"tokens": 12.0}
    for data in (None, tmp_path):
        with pytest.raises(UsageError, match="count: expected its data as a file: --data"):
            evaluate(eval_model, "count", data)


def test_the_names_are_those_of_the_built_in_tasks():
    assert set(TASKS) == set(BUILTIN)
