"""GPT-2's zero-shot results (Radford et al., 2019, Table 3 and section 3), by size.

A result is comparable only on the data that the paper measured, complete and with a detokenizer.
"""

from pathlib import Path
from typing import Any, NamedTuple

from research.config import Model
from research.evaluation.eval_model import Result, Settings


class Size(NamedTuple):
    name: str  # as the paper calls it
    depth: int
    width: int


SIZES = (Size("117M", 12, 768), Size("345M", 24, 1024), Size("762M", 36, 1280), Size("1542M", 48, 1600))
# task → metric → a number for each of SIZES.
RESULTS: dict[str, dict[str, tuple[float, ...]]] = {
    "lambada": {"perplexity": (35.13, 15.60, 10.87, 8.63), "accuracy_filtered": (45.99, 55.48, 60.12, 63.24)},
    "cbt_cn": {"accuracy": (87.65, 92.35, 93.45, 93.30)},
    "cbt_ne": {"accuracy": (83.4, 87.1, 88.0, 89.05)},
    "wikitext2": {"perplexity": (29.41, 22.76, 19.93, 18.34)},
    "ptb": {"perplexity": (65.85, 47.33, 40.31, 35.76)},
    "enwik8": {"bits_per_byte": (1.16, 1.01, 0.97, 0.93)},
    "text8": {"bits_per_character": (1.17, 1.06, 1.02, 0.98)},
    "wikitext103": {"perplexity": (37.50, 26.37, 22.05, 17.48)},
    "1bw": {"perplexity": (75.20, 55.72, 44.575, 42.16)},
}
LARGEST: dict[str, dict[str, float]] = {  # reported only for the largest size
    "lambada": {"accuracy": 52.66},
    "winograd": {"accuracy": 70.70},  # 193 of 273
    "summarization": {"rouge1": 29.34, "rouge2": 8.27, "rougeL": 26.58},
    "en_fr": {"bleu": 5.0},
    "fr_en": {"bleu": 11.5},
    "coqa": {"f1": 55.0},
}


class Measured(NamedTuple):
    """The data set of a published number."""

    examples: int  # of the units that a result counts
    facts: dict[str, Any]  # settings of a result on this data set; `data` is the file's name
    lost: int = 0  # units that a result may lack: a last line end, or bytes of a character cut by a split


MEASURED = {
    "lambada": Measured(5_153, {"file": "OpenAI's"}),  # without preprocessing
    # WebText contains a book of the test files, so the paper reports the validation files.
    "cbt_cn": Measured(2_000, {"data": "cbtest_CN_valid_2000ex.txt"}),
    "cbt_ne": Measured(2_000, {"data": "cbtest_NE_valid_2000ex.txt"}),
    # Both test splits are the same text with different unknown words; the raw text has none.
    "wikitext2": Measured(245_569, {"unknown": 15_218}, lost=1),
    "wikitext103": Measured(245_569, {"unknown": 2_492}, lost=1),
    "ptb": Measured(82_430, {}, lost=1),
    "1bw": Measured(159_658, {}),  # the first of 50 held-out files; TFDS's test split has all
    "enwik8": Measured(5_000_000, {"file": "enwik8"}, lost=3),
    "text8": Measured(5_000_000, {"file": "text8"}),
    "winograd": Measured(273, {}),
    "summarization": Measured(11_490, {}),
    "en_fr": Measured(2_998, {}),  # newstest2014 has 3,003 pairs; the first five are the prompt
    "fr_en": Measured(2_998, {}),
    "coqa": Measured(7_983, {}),
}


def size(config: Model) -> Size | None:
    """The paper's model of this depth and width, if there is one."""
    if config.family != "gpt2":
        return None
    return next((one for one in SIZES if (one.depth, one.width) == (config.depth, config.width)), None)


def published(task: str, config: Model, result: Result, settings: Settings) -> dict[str, float]:
    """Metric → the paper's number for the model's size.

    Empty if the paper has none, or if the result is not for the paper's data, complete and detokenized.
    """
    own_size = size(config)
    if own_size is None or not _comparable(task, result, settings):
        return {}
    index = SIZES.index(own_size)
    largest = LARGEST.get(task, {}) if own_size is SIZES[-1] else {}
    return {metric: numbers[index] for metric, numbers in RESULTS.get(task, {}).items()} | largest


def _comparable(task: str, result: Result, settings: Settings) -> bool:
    if task not in MEASURED or settings.raw or settings.limit is not None:
        return False
    facts = result.settings | {"data": Path(str(result.settings["data"])).name}
    measured = MEASURED[task]
    complete = 0 <= measured.examples - result.examples <= measured.lost
    return complete and all(facts.get(name) == value for name, value in measured.facts.items())
