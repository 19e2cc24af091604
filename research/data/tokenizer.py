"""Tokenizers: a published one, or one trained on the source. All are Hugging Face `Tokenizer`s."""

import difflib
import hashlib
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from research.config import Data
from research.data.once import make_once
from research.data.sources import documents, fingerprint
from research.errors import UsageError, near
from research.home import home

END_OF_TEXT = "<|endoftext|>"
FILES = ("tokenizer.json", "vocab.json and merges.txt", "encoder.json and vocab.bpe")


def load(data: Data) -> Tokenizer:
    """The tokenizer that `data.tokenizer` names: `char`, `bpe:SIZE`, a path, or a name under home.

    `char` and `bpe:SIZE` are trained on the source once and kept. Raises UsageError for a name
    without files, for files that are no tokenizer, for a SIZE that the source cannot fill.
    """
    if data.tokenizer == "char":
        tokenizer = _trained(data, characters)
    elif data.tokenizer.partition(":")[0] == "bpe":
        tokenizer = _trained(data, partial(byte_pairs, size=_size(data)))
    else:
        tokenizer = _read(_locate(data.tokenizer))
    # A published tokenizer.json may cut or fill to the length of the model it came with.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def end_of_text(tokenizer: Tokenizer) -> int | None:
    """The id that ends a document, where the tokenizer has one."""
    return tokenizer.token_to_id(END_OF_TEXT)


def entries(tokenizer: Tokenizer) -> int:
    """Rows that an embedding needs: the largest id and one."""
    return 1 + max(tokenizer.get_vocab().values())


def characters(data: Data) -> Tokenizer:
    """One token a character, in the order of code points, as in nanoGPT's Shakespeare. Lossless."""
    alphabet = set()
    for text in documents(data, "all"):
        alphabet.update(text)
    vocabulary = {character: index for index, character in enumerate(sorted(alphabet))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return tokenizer


def byte_pairs(data: Data, size: int) -> Tokenizer:
    """GPT-2's scheme (Radford et al., 2019, section 2.2), trained on the documents that train.

    Under data.split=tail no document only trains, and the merges are learned from all.
    """
    tokenizer = _byte_level(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents(data, "all" if data.split == "tail" else "train"), trainer)
    if entries(tokenizer) != size:
        raise UsageError(
            f"data.tokenizer={data.tokenizer}: {data.source} gives {entries(tokenizer)} entries and no more"
        )
    return tokenizer


def _trained(data: Data, train: Callable[[Data], Tokenizer]) -> Tokenizer:
    key = hashlib.sha256(f"{data.tokenizer} {fingerprint(data)}".encode()).hexdigest()[:16]
    readable = re.sub(r"\W+", "-", f"{data.source}-{data.tokenizer}")[-60:].strip("-")
    folder = home() / "tokenizers-trained" / f"{readable}-{key}"

    def build(folder: Path) -> None:
        (folder / "tokenizer.json").write_text(train(data).to_str(pretty=True))

    make_once(folder, build)
    return _read(folder)


def _size(data: Data) -> int:
    size = data.tokenizer.removeprefix("bpe").removeprefix(":")
    least = len(pre_tokenizers.ByteLevel.alphabet()) + 1
    if not size.isdecimal() or int(size) < least:
        raise UsageError(f"data.tokenizer={data.tokenizer}: expected bpe:SIZE with SIZE from {least}")
    return int(size)


def _locate(name: str) -> Path:
    """A path has a slash or ends in .json; a bare name is a folder under home."""
    if "/" in name or name.endswith(".json"):
        path = Path(name).expanduser()
        if not path.exists():
            raise UsageError(f"data.tokenizer={name}: no such file or folder")
        return path
    shelf = home() / "tokenizers"
    if not (shelf / name).exists():
        known = ["char", "bpe:SIZE", *(path.name for path in shelf.glob("*"))]
        hint = near(name, difflib.get_close_matches(name, known))
        raise UsageError(
            f"data.tokenizer={name}: not found; put {', or '.join(FILES)} in {shelf / name}{hint}"
        )
    return shelf / name


def _read(path: Path) -> Tokenizer:
    try:
        if path.is_file():
            return Tokenizer.from_file(str(path))
        if (path / "tokenizer.json").exists():
            return Tokenizer.from_file(str(path / "tokenizer.json"))
        for vocabulary, merges in (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe")):
            if (path / vocabulary).exists() and (path / merges).exists():
                tokenizer = _byte_level(models.BPE.from_file(str(path / vocabulary), str(path / merges)))
                tokenizer.add_special_tokens([END_OF_TEXT])
                return tokenizer
    except Exception as fault:  # the library raises no narrower class
        raise UsageError(f"{path}: no tokenizer that can be read: {fault}") from fault
    raise UsageError(f"{path}: expected {', or '.join(FILES)} in it")


def _byte_level(model: models.BPE) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
