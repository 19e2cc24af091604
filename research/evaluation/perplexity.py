"""Perplexity of whole texts: WikiText, Penn Treebank, One Billion Words, enwik8, text8.

The log-probability of a text is divided by the units of its corpus instead of our tokens: words and line ends
(WikiText-2's test text has 245,569), bytes or characters. So models with different tokenizers are comparable,
and a text may be detokenized before the model reads it (Radford et al., 2019, section 3.1).
"""

import hashlib
import math
from typing import Any

from research.errors import UsageError
from research.evaluation.detokenizers import DETOKENIZERS
from research.evaluation.eval_model import EvalModel, Result, Settings
from research.evaluation.scoring import log_likelihood
from research.io.text import split_lines

UNKNOWN = "<unk>"
TEST_BYTES = 5_000_000  # the test split of enwik8 and text8: the last of 100 million bytes
COMPLETE = {  # MD5 of the complete files, as Mahoney publishes them
    "a1fa5ffddb56f4953e226637dabbb36a": "enwik8",
    "3bea1919949baf155f99411df5fada7e": "text8",
}


def words(eval_model: EvalModel, text: str, settings: Settings, detokenizer: str) -> Result:
    """Perplexity per word; the end of a line counts as a word.

    The result has the number of unknown words, by which WikiText's corpora differ.
    """
    count = len(text.split()) + text.count("\n")
    result = _result(eval_model, _whole(text, settings), settings, "perplexity", count, detokenizer)
    return result._replace(settings=result.settings | {"unknown": text.count(UNKNOWN)})


def sentences(eval_model: EvalModel, text: str, settings: Settings, detokenizer: str) -> Result:
    """Perplexity per word of shuffled sentences: the model reads each line on its own."""
    lines = [line for line in split_lines(text) if line.strip()][: settings.limit]
    count = sum(len(line.split()) + 1 for line in lines)
    return _result(eval_model, lines, settings, "perplexity", count, detokenizer)


def characters(eval_model: EvalModel, text: str, settings: Settings, unit: str) -> Result:
    """Bits per byte or per character. Of the complete enwik8 or text8 only the test split is evaluated."""
    content = text.encode()
    file = COMPLETE.get(hashlib.md5(content, usedforsecurity=False).hexdigest(), "a text")
    if len(content) == 100_000_000:
        text = content[-TEST_BYTES:].decode(errors="ignore")
    count = len(text.encode()) if unit == "byte" else len(text)
    result = _result(eval_model, _whole(text, settings), settings, f"bits_per_{unit}", count, "none")
    return result._replace(settings={"file": file} | result.settings)


def _whole(text: str, settings: Settings) -> list[str]:
    if settings.limit:
        raise UsageError("--limit: a text is one example; cut the file instead")
    return [text]


def _result(
    eval_model: EvalModel, texts: list[str], settings: Settings, name: str, count: int, detokenizer: str
) -> Result:
    """The metric `name`, over `count` units of the corpus, and those of all corpora."""
    detokenizer = "none" if settings.raw else detokenizer
    context = eval_model.model.config.context
    stride = settings.stride or context // 2
    if stride > context:
        raise UsageError(f"--stride {stride}: expected at most {context}, the context")
    total, tokens, size = 0.0, 0, 0
    for one in texts:
        ids = eval_model.document_start + eval_model.encode(DETOKENIZERS[detokenizer](one))
        total += log_likelihood(eval_model.model, ids, stride, settings.batch) if len(ids) > 1 else 0.0
        tokens, size = tokens + len(ids) - 1, size + len(one.encode())
    if not tokens or not count:
        raise UsageError("the text is empty")
    bits = -total / math.log(2)
    metrics: dict[str, float] = {
        name: math.exp(min(-total / count, 700)) if name == "perplexity" else bits / count,
        "token_perplexity": math.exp(min(-total / tokens, 700)),
        "bits_per_byte": bits / size,
    }
    facts: dict[str, Any] = {"stride": stride, "context": context, "detokenizer": detokenizer}
    return Result(metrics, count, facts | {"tokens": tokens})
