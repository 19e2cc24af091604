"""Fine-tuning experiments, shrunk, on files that a test writes."""

from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers

import experiments
from research.config import Experiment
from research.config.settings import override
from research.data.tokenizers.published import SPECIAL, word_level

WORDS = ("a", "b", "c", "d", "e", "f", "g", "h", "i", "j", ".", "'", "x", "##y", "##z")
VOCABULARY = len(SPECIAL) + len(WORDS)
A, B, C, D, E, F, G, H = range(len(SPECIAL), len(SPECIAL) + 8)  # the ids of the first words
PAD, UNK, CLS, SEP, MASK = range(5)
START, DELIMITER, CLASSIFY = range(VOCABULARY, VOCABULARY + 3)

SMALL = {
    "model.width": 16,
    "model.depth": 2,
    "model.heads": 2,
    "model.context": 24,
    "model.vocabulary": VOCABULARY,
    "data.length": 12,
    "data.batch": 4,
    "data.standardize": "none",
}


def vocabulary(folder: Path) -> Path:
    """A tokenizer.json in `folder`: BERT's scheme over WORDS."""
    ids = {piece: index for index, piece in enumerate((*SPECIAL, *WORDS))}
    tokenizer = word_level(models.WordPiece(ids, unk_token="[UNK]"), cased=False)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def words_only(folder: Path) -> Path:
    """A tokenizer.json without [CLS] and [SEP]."""
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="x"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def tuned(name: str, folder: Path, train: str, validation: str | None = None, **changes) -> Experiment:
    """The experiment `name`, small, on `train` (and `validation`), files that are in `folder`."""
    sources = {
        "data.source": f"files:{folder / train}",
        "data.validation": f"files:{folder / (validation or train)}",
        "data.tokenizer": str(vocabulary(folder / "vocabulary")),
    }
    changes = {key.replace("__", "."): value for key, value in changes.items()}
    return override(experiments.get(name), SMALL | sources | changes)
