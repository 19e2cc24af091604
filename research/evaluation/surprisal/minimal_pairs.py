"""Minimal pairs, such as BLiMP's: how often the acceptable sentence is the more likely one.

Warstadt et al. (2020): the log-probability of the whole sentence. A BERT's is a pseudo-log-likelihood, with
the later tokens of a word masked (Kauf and Ivanova, 2023).
"""

import math
from collections import defaultdict
from statistics import NormalDist
from typing import Any

import numpy as np

from research.data.sources import file_records
from research.data.tokenizers.tokenizer import end_of_text
from research.errors import UsageError
from research.evaluation.data_files import TaskData, as_text, json_objects
from research.evaluation.eval_model import EvalModel, Result, Settings
from research.evaluation.surprisal.surprisals import Options, measured
from research.io.compression import format_of

GOOD, BAD = "sentence_good", "sentence_bad"
GROUPS = ("phenomenon", "linguistics_term", "condition", "UID")  # columns of a pair's group; the first counts
LEVEL = 0.95  # of intervals


def minimal_pairs(eval_model: EvalModel, data: TaskData, settings: Settings) -> Result:
    """Accuracy in percent, of all pairs and of each group; equally likely sentences are a mistake.

    Reads JSON lines, or a .tsv or .csv file, with `sentence_good`, `sentence_bad` and perhaps one of GROUPS.
    """
    rows = _rows(data, settings.limit)
    model, options = eval_model.model, Options(within_word=eval_model.model.bidirectional)
    texts = [row[name] for row in rows for name in (GOOD, BAD)]
    found = [
        float(np.nansum(measures.log_probabilities))
        for _, batch in measured(model, eval_model.tokenizer, texts, options)
        for measures in batch
    ]
    right = [good > bad for good, bad in zip(found[::2], found[1::2], strict=True)]
    column = next((name for name in GROUPS if all(name in row for row in rows)), None)
    groups: dict[str, list[bool]] = defaultdict(list)
    for row, one in zip(rows, right, strict=True):
        groups["accuracy"].append(one)
        if column is not None:
            groups[str(row[column])].append(one)
    metrics = {name: 100 * sum(ones) / len(ones) for name, ones in groups.items()}
    intervals = {name: interval(sum(ones), len(ones)) for name, ones in groups.items()}
    facts: dict[str, Any] = {"score": _score(eval_model), "by": column, "interval": f"{LEVEL:.0%}, Wilson"}
    return Result(metrics, len(rows), facts, intervals)


def interval(right: int, n: int) -> tuple[float, float]:
    """Wilson's interval (1927) for a proportion, in percent, of independent examples."""
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    share = right / n
    middle = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low, high = (100 * (middle + side) / (1 + z * z / n) for side in (-half, half))
    return max(low, 0.0), min(high, 100.0)


def _rows(data: TaskData, limit: int | None) -> list[dict[str, Any]]:
    if data.path is None or format_of(data.path) not in file_records.TABLES:
        return json_objects(data.text, {GOOD: as_text, BAD: as_text}, limit)
    rows = []
    for where, record in file_records.records(data.path, [GOOD, BAD], every_row=True):
        if not {GOOD, BAD} <= record.keys():
            raise UsageError(f"{where}: expected columns {GOOD} and {BAD}")
        rows.append(dict(record))
    if not rows:
        raise UsageError("has no pairs")
    return rows[:limit]


def _score(eval_model: EvalModel) -> str:
    if eval_model.model.bidirectional:
        return "pseudo-log-likelihood, later tokens of a word masked"
    start = end_of_text(eval_model.tokenizer)
    return "log-probability of all tokens but the first" if start is None else "log-probability"
