"""Minimal pairs: accuracy by phenomenon, from the likelihoods of whole sentences; intervals."""

import json
from pathlib import Path

import pytest
from scipy.stats import binomtest

from launch.__main__ import run
from research.config import Model
from research.errors import UsageError
from research.evaluation.eval_model import EvalModel, Settings
from research.evaluation.scoring import log_likelihood
from research.evaluation.surprisal.minimal_pairs import interval
from research.evaluation.surprisal.surprisals import Options, surprisals
from research.evaluation.tasks import evaluate
from tests.drawn import drawn
from tests.evaluation.test_scoring import byte_tokenizer
from tests.evaluation.test_surprisal import word_pieces

SIZES = {"context": 32, "width": 12, "depth": 1, "heads": 2}
PAIRS = [
    ("agreement", "the barn fell.", "the barn fall."),
    ("agreement", "the horses run.", "the horses runs."),
    ("npi", "no barn ever fell.", "the barn ever fell."),
    ("npi", "same.", "same."),
    ("npi", "a much longer sentence, of more tokens.", "sat."),
]


def lines(pairs) -> str:
    rows = [
        {"sentence_good": good, "sentence_bad": bad, "linguistics_term": term, "UID": good}
        for term, good, bad in pairs
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture(scope="module")
def gpt():
    return EvalModel(drawn(Model(family="gpt2", vocabulary=257, **SIZES)), byte_tokenizer())


def test_the_more_likely_sentence_is_chosen_in_each_phenomenon(gpt, tmp_path):
    """BLiMP's files in a folder are one; equal sentences are a mistake. A table gives the same."""
    (tmp_path / "data").mkdir()
    for name in ("agreement", "npi"):
        text = lines(pair for pair in PAIRS if pair[0] == name)
        (tmp_path / "data" / f"{name}.jsonl").write_text(text)
    result = evaluate(gpt, "minimal_pairs", tmp_path)
    right: dict[str, list[bool]] = {"accuracy": []}
    for term, *pair in PAIRS:
        good, bad = (log_likelihood(gpt.model, [256, *gpt.encode(text)], 16, 2) for text in pair)
        for name in ("accuracy", term):
            right.setdefault(name, []).append(good > bad)
    assert result.metrics == {name: 100 * sum(ones) / len(ones) for name, ones in right.items()}
    assert result.intervals == {name: interval(sum(ones), len(ones)) for name, ones in right.items()}
    assert result.examples == 5 and result.settings["by"] == "linguistics_term"
    rows = ["condition\tsentence_good\tsentence_bad", *("\t".join(pair) for pair in PAIRS)]
    (tmp_path / "pairs.tsv").write_text("\n".join(rows) + "\n")
    assert evaluate(gpt, "minimal_pairs", tmp_path / "pairs.tsv").metrics == result.metrics
    first = evaluate(gpt, "minimal_pairs", tmp_path / "pairs.tsv", Settings(limit=2))
    assert first.examples == 2 and "npi" not in first.metrics


def test_a_berts_sentences_have_pseudo_likelihoods(tmp_path):
    tokenizer = word_pieces()
    model = drawn(Model(family="bert", vocabulary=tokenizer.get_vocab_size(), **SIZES))
    (tmp_path / "pairs.jsonl").write_text(lines(PAIRS[:2]))
    result = evaluate(EvalModel(model, tokenizer), "minimal_pairs", tmp_path / "pairs.jsonl")
    texts = [text for _, *pair in PAIRS[:2] for text in pair]
    found = list(surprisals(model, tokenizer, texts, Options(within_word=True)))
    sums = [sum(token.surprisal for token in one.tokens) for one in found]
    right = [good < bad for good, bad in zip(sums[::2], sums[1::2], strict=True)]
    assert result.metrics["accuracy"] == 100 * sum(right) / 2
    assert "pseudo-log-likelihood" in result.settings["score"]


@pytest.mark.parametrize("right, n", [(8, 10), (0, 5), (5, 5), (937, 1_000)])
def test_intervals_are_scipys(right, n):
    expected = binomtest(right, n).proportion_ci(method="wilson")
    assert interval(right, n) == pytest.approx([100 * expected.low, 100 * expected.high], abs=1e-6)


def test_mistakes_are_named(gpt, tmp_path):
    (tmp_path / "a.tsv").write_text("good\tbad\na\tb\n")
    (tmp_path / "b.jsonl").write_text('{"sentence_good": "a"}\n')
    with pytest.raises(UsageError, match="expected columns sentence_good and sentence_bad"):
        evaluate(gpt, "minimal_pairs", tmp_path / "a.tsv")
    with pytest.raises(UsageError, match="'sentence_bad' is missing"):
        evaluate(gpt, "minimal_pairs", tmp_path / "b.jsonl")


def test_the_table_has_intervals_and_other_tasks_refuse_a_bert(tmp_path, capsys):
    bert = Path(__file__).parents[1] / "golden" / "bert"
    (tmp_path / "x.jsonl").write_text(lines(PAIRS[:2]))
    (tmp_path / "vocab.txt").write_text(
        "\n".join(sorted(word_pieces().get_vocab(), key=word_pieces().get_vocab().__getitem__))
    )
    command = [
        "evaluate",
        str(bert),
        "--tokenizer",
        str(tmp_path / "vocab.txt"),
        "--data",
        str(tmp_path / "x.jsonl"),
    ]
    assert run([*command, "--task", "minimal_pairs"]) == 0
    out = capsys.readouterr().out
    assert "interval" in out and " to " in out and "agreement" in out
    assert run([*command, "--task", "lambada"]) == 2
    assert "a BERT gives no likelihoods; lambada is for GPTs" in capsys.readouterr().err
