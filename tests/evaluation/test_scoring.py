"""Perplexity and last words against an independent PyTorch computation, live and stored.

`python -m tests.evaluation.torch_scores` writes tests/golden/gpt2_scores.json.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import models

from research import weights
from research.data.tokenizers.published import byte_level
from research.evaluation.eval_model import EvalModel, Settings
from research.evaluation.scoring import Pair, log_likelihood, score_pairs, windows
from research.evaluation.tasks import evaluate
from tests.generation.test_text import ALPHABET

GOLDEN = Path(__file__).parents[1] / "golden"
CONTEXT = 19  # of the golden GPT-2, with a vocabulary of 53


def stream() -> list[int]:
    return np.random.default_rng(7).integers(1, 53, 150).tolist()


def pairs() -> list[tuple[list[int], list[int]]]:
    """Contexts and continuations of many lengths; some do not fit."""
    rng = np.random.default_rng(8)
    sizes = [(1, 1), (5, 3), (17, 2), (18, 2), (30, 1), (16, 5), (2, 25), (9, 1)]
    return [(rng.integers(1, 53, a).tolist(), rng.integers(1, 53, b).tolist()) for a, b in sizes]


@pytest.fixture(scope="module")
def gpt2():
    return weights.load(GOLDEN / "gpt2").model


def test_every_token_but_the_first_is_scored_once():
    for length in (2, 7, 8, 9, 20, 21, 40):
        for stride in (1, 3, 8):
            ids = np.arange(length)
            scored = [window.tokens[-window.scored :] for window in windows(ids, 8, stride)]
            np.testing.assert_array_equal(np.concatenate(scored), ids[1:])
            for window in windows(ids, 8, stride):
                first = window.tokens[-window.scored]
                assert len(window.tokens) == min(window.tokens[-1] + 1, 9) and window.scored < len(
                    window.tokens
                )
                assert first == 1 or window.scored <= stride


def test_an_empty_continuation_is_certain(gpt2):
    """The harness has such choices, also alone in a batch."""
    lone = score_pairs(gpt2, [Pair([3, 4, 5], [])], 2)
    mixed = score_pairs(gpt2, [Pair([3, 4, 5], []), Pair([3, 4], [6, 7])], 2)
    alone = score_pairs(gpt2, [Pair([3, 4], [6, 7])], 2)
    assert lone[0] == mixed[0] == (0.0, True, True)
    assert mixed[1].log_probability == pytest.approx(alone[0].log_probability, rel=1e-6)


@pytest.mark.parametrize("stride", [1, 7, CONTEXT])
@pytest.mark.parametrize("batch", [1, 4])
def test_a_stream_equals_pytorchs(gpt2, stride, batch):
    kept = json.loads((GOLDEN / "gpt2_scores.json").read_text())
    found = log_likelihood(gpt2, stream(), stride, batch)
    np.testing.assert_allclose(found, kept["streams"][str(stride)], rtol=1e-5)


@pytest.mark.parametrize("batch", [1, 3])
def test_continuations_equal_pytorchs(gpt2, batch):
    kept = json.loads((GOLDEN / "gpt2_scores.json").read_text())
    found = score_pairs(gpt2, [Pair(*pair) for pair in pairs()], batch)
    np.testing.assert_allclose([one.log_probability for one in found], kept["pairs"], rtol=1e-5)
    assert [one.greedy for one in found] == kept["greedy"]


def test_one_wrong_token_is_not_greedy(gpt2):
    ids = json.loads((GOLDEN / "gpt2_scores.json").read_text())["likeliest"]
    almost = [*ids[:-1], ids[-1] % 52 + 1]
    found = score_pairs(gpt2, [Pair(ids[:3], ids[3:]), Pair(ids[:3], almost[3:])], 2)
    assert [one.greedy for one in found] == [True, False]


def test_banned_tokens_are_no_first_choice(gpt2):
    """One pass gives both: the likeliest continuation, and whether it begins with a banned token."""
    ids = json.loads((GOLDEN / "gpt2_scores.json").read_text())["likeliest"]
    for banned, allowed in ((ids[3], False), (next(n for n in range(53) if n not in ids), True)):
        (found,) = score_pairs(gpt2, [Pair(ids[:3], ids[3:])], 1, np.arange(53) == banned)
        assert found.greedy and found.greedy_allowed is allowed


def test_the_golden_numbers_are_pytorchs():
    torch_scores = pytest.importorskip("tests.evaluation.torch_scores", reason="needs the extra parity")
    kept = json.loads((GOLDEN / "gpt2_scores.json").read_text())
    now = torch_scores.golden()
    for name in kept["streams"]:
        np.testing.assert_allclose(now["streams"][name], kept["streams"][name], rtol=1e-5)
    np.testing.assert_allclose(now["pairs"], kept["pairs"], rtol=1e-5)


def byte_tokenizer():
    tokenizer = byte_level(models.BPE({char: n for n, char in enumerate(ALPHABET)}, []))
    tokenizer.add_special_tokens(["<|endoftext|>"])
    return tokenizer


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The same random GPT-2 over bytes, here and in PyTorch."""
    reference = pytest.importorskip("tests.golden.reference", reason="needs the extra parity")
    sizes = {"n_embd": 24, "n_layer": 2, "n_head": 3, "n_positions": 96, "vocab_size": 257}
    theirs = reference.make("gpt2", 4, **sizes)
    path = tmp_path_factory.mktemp("weights") / "gpt2"
    theirs.save_pretrained(path)
    return EvalModel(weights.load(path).model, byte_tokenizer()), theirs


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("stride", [32, 96])
def test_wikitext_perplexity_equals_pytorchs(both, shared_data, tmp_path, stride):
    eval_model, theirs = both
    from tests.evaluation.torch_scores import stream_log_probability

    text = (shared_data / "lm/wikitext-2/valid.txt").read_text()[:6_000]
    (tmp_path / "part.txt").write_text(text)
    result = evaluate(eval_model, "wikitext2", tmp_path / "part.txt", Settings(stride=stride, raw=True))
    total = stream_log_probability(theirs, [256, *eval_model.encode(text)], 96, stride)
    words = len(text.split()) + text.count("\n")
    assert result.examples == words
    np.testing.assert_allclose(result.metrics["perplexity"], np.exp(-total / words), rtol=1e-4)
    tokens = len(eval_model.encode(text))
    np.testing.assert_allclose(result.metrics["token_perplexity"], np.exp(-total / tokens), rtol=1e-4)
    bits = -total / np.log(2) / len(text.encode())
    np.testing.assert_allclose(result.metrics["bits_per_byte"], bits, rtol=1e-4)


@pytest.mark.filterwarnings("default")
def test_lambada_equals_pytorchs(both, shared_data):
    eval_model, theirs = both
    from tests.evaluation.torch_scores import pair_score

    file = shared_data / "lm/lambada/lambada_test.jsonl"
    result = evaluate(eval_model, "lambada", file, Settings(limit=24))
    total, right = 0.0, 0
    for line in file.read_text().splitlines()[:24]:
        before, _, last = json.loads(line)["text"].strip().rpartition(" ")
        score, greedy = pair_score(theirs, eval_model.encode(before), eval_model.encode(f" {last}"), 96)
        total, right = total + score, right + greedy
    assert result.examples == 24
    np.testing.assert_allclose(result.metrics["perplexity"], np.exp(-total / 24), rtol=1e-4)
    assert result.metrics["accuracy"] == 100 * right / 24
