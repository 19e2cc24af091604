"""GPT-2's zero-shot results (Radford et al., 2019, Table 3 and section 3), by size."""

from typing import NamedTuple

from research.config import Model


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
    "summarization": {"rouge1": 29.34, "rouge2": 8.27, "rougeL": 26.58},
    "en_fr": {"bleu": 5.0},
    "fr_en": {"bleu": 11.5},
    "coqa": {"f1": 55.0},
    "questions": {"exact_match": 4.1},
}


def size(config: Model) -> Size | None:
    """The paper's model of this depth and width, if there is one."""
    if config.family != "gpt2":
        return None
    return next((one for one in SIZES if (one.depth, one.width) == (config.depth, config.width)), None)


def published(task: str, config: Model) -> dict[str, float]:
    """Metric → the paper's number for the model's size; empty where the paper has none."""
    own_size = size(config)
    if own_size is None:
        return {}
    index = SIZES.index(own_size)
    largest = LARGEST.get(task, {}) if own_size is SIZES[-1] else {}
    return {metric: numbers[index] for metric, numbers in RESULTS.get(task, {}).items()} | largest
