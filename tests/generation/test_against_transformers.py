"""Greedy and beam search against Transformers' `generate`, token for token: the extra `parity`."""

import jax
import numpy as np
import pytest

from research import weights
from research.generation import GREEDY, Sampling, beam_search, sample
from tests.mostly_slow import mostly_slow

torch = pytest.importorskip("torch", reason="needs the extra parity")
transformers = pytest.importorskip("transformers", reason="needs the extra parity")
theirs_on = pytest.importorskip("tests.golden.reference", reason="needs the extra parity")

pytestmark = pytest.mark.filterwarnings("default")  # their warnings, not ours

END = 35
PROMPTS = [[3, 11, 5, 8], [2], [9, 9, 4, 1, 30, 12, 6]]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    sizes = {"n_embd": 30, "n_layer": 3, "n_head": 3, "n_positions": 40, "vocab_size": 61}
    theirs = theirs_on.make("gpt2", 3, **sizes)
    path = tmp_path_factory.mktemp("weights") / "gpt2"
    theirs.save_pretrained(path)
    return weights.load(path).model, theirs


def generated(theirs, prompt, tokens, **options) -> list[list[int]]:
    """Transformers' continuations of one prompt, without padding."""
    ids = torch.tensor([prompt])
    mask = torch.ones_like(ids)
    rows = theirs.generate(
        ids, attention_mask=mask, max_new_tokens=tokens, do_sample=False, pad_token_id=0, **options
    )
    found = []
    for row in rows[:, len(prompt) :].tolist():
        end = options.get("eos_token_id")
        found.append(row[: row.index(end) + 1] if end in row else row)
    return found


@pytest.mark.parametrize("penalty", [1.0, 1.4])
def test_greedy(models, penalty):
    ours, theirs = models
    sampling = GREEDY if penalty == 1 else Sampling(temperature=0.0, repetition_penalty=penalty)
    drawn = np.stack(list(sample(ours, PROMPTS, 25, jax.random.key(0), sampling)), axis=1)
    for prompt, row in zip(PROMPTS, drawn.tolist(), strict=True):
        more = {} if penalty == 1 else {"repetition_penalty": penalty}
        assert [row] == generated(theirs, prompt, 25, eos_token_id=None, **more)


@pytest.mark.parametrize("beams", [1, 3, 5])
@pytest.mark.parametrize("length_penalty", mostly_slow([2.0, -0.5, 1.0, 0.0], 2))
@pytest.mark.parametrize("early", [False, True])
def test_beams(models, beams, length_penalty, early):
    ours, theirs = models
    found = beam_search(ours, PROMPTS, 14, beams, END, length_penalty, early)
    for prompt, rows in zip(PROMPTS, found, strict=True):
        more = {"length_penalty": length_penalty, "early_stopping": early} if beams > 1 else {}
        expected = generated(
            theirs, prompt, 14, eos_token_id=END, num_beams=beams, num_return_sequences=beams, **more
        )
        if beams > 1:
            assert [list(beam.tokens) for beam in rows] == expected
        else:
            assert len(rows) == 1 and rows[0].score <= 0


def test_some_beams_end(models):
    """Otherwise the cases above would not test the end token."""
    rows = [beam for found in beam_search(models[0], PROMPTS, 14, 5, END) for beam in found]
    assert any(beam.tokens[-1] == END for beam in rows)
