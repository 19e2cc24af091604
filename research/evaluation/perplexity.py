"""Perplexity of whole texts: WikiText, Penn Treebank, One Billion Words, enwik8, text8.

A text's log-probability is divided by what its corpus counts, not by our tokens: words with the ends of lines
(WikiText-2's test text has 245,569), bytes or characters. So a model of any tokenizer compares, and a text
may be de-tokenized before it is read (Radford et al., 2019, section 3.1).
"""

import math
from typing import Any

from research.data.tokenizers.tokenizer import end_of_text
from research.errors import UsageError
from research.evaluation.detokenizers import DETOKENIZERS
from research.evaluation.eval_model import EvalModel, Result, Settings
from research.evaluation.scoring import log_likelihood

LAST = 5_000_000  # bytes of enwik8 and text8 that are for testing, of 100 million


def words(eval_model: EvalModel, text: str, settings: Settings, detokenizer: str) -> Result:
    """Perplexity a word, where the end of a line is a word too."""
    count = len(text.split()) + text.count("\n")
    return _result(eval_model, text, settings, {"perplexity": count}, detokenizer)


def sentences(eval_model: EvalModel, text: str, settings: Settings, detokenizer: str) -> Result:
    """As `words`, of sentences that are shuffled: each is read by itself."""
    lines = [line for line in text.splitlines() if line.strip()][: settings.limit]
    count = sum(len(line.split()) + 1 for line in lines)
    return _result(eval_model, lines, settings, {"perplexity": count}, detokenizer)


def characters(eval_model: EvalModel, text: str, settings: Settings, unit: str) -> Result:
    """Bits a byte or a character; of the whole enwik8 or text8, of its test part."""
    content = text.encode()
    if len(content) == 100_000_000:
        text = content[-LAST:].decode(errors="ignore")
    count = len(text.encode()) if unit == "byte" else len(text)
    return _result(eval_model, text, settings, {f"bits_per_{unit}": count}, "none")


def _result(
    eval_model: EvalModel, text: str | list[str], settings: Settings, units: dict[str, int], detokenizer: str
) -> Result:
    detokenizer = "none" if settings.raw else detokenizer
    texts = [text] if isinstance(text, str) else text
    context = eval_model.model.config.context
    stride = settings.stride or context // 2
    if stride > context:
        raise UsageError(f"--stride {stride}: expected at most {context}, the context")
    total, tokens, size = 0.0, 0, 0
    for one in texts:
        readable = DETOKENIZERS[detokenizer](one)
        ids = beginning(eval_model) + eval_model.encode(readable)
        if settings.limit and isinstance(text, str):
            raise UsageError("--limit: a text is one example; cut the file instead")
        total += log_likelihood(eval_model.model, ids, stride, settings.batch) if len(ids) > 1 else 0.0
        tokens, size = tokens + len(ids) - 1, size + len(one.encode())
    (name, count), *_ = units.items()
    if not tokens or not count:
        raise UsageError("the text is empty")
    bits = -total / math.log(2)
    metrics: dict[str, float] = {
        name: math.exp(min(-total / count, 700)) if name == "perplexity" else bits / count,
        "token_perplexity": math.exp(min(-total / tokens, 700)),
        "bits_per_byte": bits / size,
    }
    told: dict[str, Any] = {"stride": stride, "context": context, "detokenizer": detokenizer}
    return Result(metrics, count, told | {"tokens": tokens})


def beginning(eval_model: EvalModel) -> list[int]:
    """What the first token is given: the end of another text, where the tokenizer has such a token."""
    end = end_of_text(eval_model.tokenizer)
    return [] if end is None else [end]
