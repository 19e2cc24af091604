"""Published tokenizers: the original files of GPT-1, GPT-2 and BERT, and Hugging Face's tokenizer.json."""

import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from research.data.hub import PREFIX, TOKENIZER, snapshot
from research.errors import UsageError, near
from research.home import home

END_OF_TEXT = "<|endoftext|>"
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
FILES = (
    "tokenizer.json", "vocab.json and merges.txt", "encoder.json and vocab.bpe",
    "encoder_bpe_40000.json and vocab_40000.bpe", "vocab.txt",
)  # fmt: skip
ON_HUB = {  # name → repository
    "gpt1": "openai-community/openai-gpt",
    "gpt2": "openai-community/gpt2",
    "bert-base-uncased": "google-bert/bert-base-uncased",
    "bert-base-cased": "google-bert/bert-base-cased",
}


def load(name: str) -> Tokenizer:
    """Of a path, which has a slash or ends in .json or .txt; of hub:OWNER/NAME; of a folder under home.

    A name of ON_HUB that is not under home is the Hub's. Raises UsageError for a name without files, and
    for files that are no tokenizer; EnvironmentFault where the Hub is out of reach.
    """
    shelf = home() / "tokenizers"
    if name.startswith(PREFIX):
        return read(snapshot(name, TOKENIZER, "a directory serves too"))
    if is_path(name):
        path = Path(name).expanduser()
        if not path.exists():
            raise UsageError(f"data.tokenizer={name}: no such file or folder")
        return read(path)
    if not (shelf / name).exists():
        if name in ON_HUB:
            helps = f"put {', or '.join(FILES)} in {shelf / name}"
            return read(snapshot(PREFIX + ON_HUB[name], TOKENIZER, helps))
        kept = (path.name for path in shelf.glob("[!.]*"))
        hint = near(name, {"char", "bpe:SIZE", "wordpiece:SIZE", *ON_HUB, *kept})
        raise UsageError(
            f"data.tokenizer={name}: not found; put {', or '.join(FILES)} in {shelf / name}{hint}"
        )
    return read(shelf / name)


def is_path(name: str) -> bool:
    """Whether `load` takes it for a file or a folder."""
    return not name.startswith(PREFIX) and ("/" in name or name.endswith((".json", ".txt")))


def read(path: Path) -> Tokenizer:
    """Of a tokenizer.json, a vocab.txt, or a folder with one of FILES."""
    try:
        if path.is_file():
            return _word_pieces(path) if path.suffix == ".txt" else Tokenizer.from_file(str(path))
        if (path / "tokenizer.json").exists():
            return Tokenizer.from_file(str(path / "tokenizer.json"))
        for vocabulary, merges, build in (
            ("vocab.json", "merges.txt", _either),
            ("encoder.json", "vocab.bpe", _byte_pairs),
            ("encoder_bpe_40000.json", "vocab_40000.bpe", _lower_pairs),
        ):
            if (path / vocabulary).exists() and (path / merges).exists():
                return build(path / vocabulary, path / merges)
        if (path / "vocab.txt").exists():
            return _word_pieces(path / "vocab.txt")
    except Exception as fault:  # the library raises no narrower class
        raise UsageError(f"{path}: no tokenizer that can be read: {fault}") from fault
    raise UsageError(f"{path}: expected {', or '.join(FILES)} in it")


def byte_level(model: models.BPE) -> Tokenizer:
    """GPT-2's scheme: pairs of bytes within words, a word with the space before it."""
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def word_level(model: models.WordPiece, *, cased: bool) -> Tokenizer:
    """BERT's scheme: words and punctuation apart, uncased ones without accents; [CLS] and [SEP] on call."""
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=not cased)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    known = {name: tokenizer.token_to_id(name) for name in SPECIAL}
    if None not in known.values():
        tokenizer.add_special_tokens(list(SPECIAL))
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[(name, known[name]) for name in ("[CLS]", "[SEP]")],
        )
    return tokenizer


def _either(vocabulary: Path, merges: Path) -> Tokenizer:
    """Hugging Face names GPT-1's files as GPT-2's."""
    lower = "</w>" in merges.read_text(encoding="utf-8")[:1000]
    return _lower_pairs(vocabulary, merges) if lower else _byte_pairs(vocabulary, merges)


def _byte_pairs(vocabulary: Path, merges: Path) -> Tokenizer:
    tokenizer = byte_level(models.BPE.from_file(str(vocabulary), str(merges)))
    tokenizer.add_special_tokens([END_OF_TEXT])
    return tokenizer


def _lower_pairs(vocabulary: Path, merges: Path) -> Tokenizer:
    """GPT-1's: pairs of characters within lower-cased words that end in </w>.

    Words are split as BERT's are, as Transformers does where spaCy is not. Otherwise than with spaCy,
    contractions come apart at the apostrophe only, numbers and abbreviations at their points, accents
    are lost, and a line's end is no token.
    """
    ids = json.loads(vocabulary.read_text(encoding="utf-8"))
    lines = merges.read_text(encoding="utf-8").split("\n")[1:]  # the first tells the version
    pairs = [tuple(line.split()) for line in lines if len(line.split()) == 2]
    tokenizer = Tokenizer(
        models.BPE(ids, pairs, unk_token="<unk>", end_of_word_suffix="</w>", fuse_unk=False)
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    return tokenizer


def _word_pieces(path: Path) -> Tokenizer:
    """An id is a line's number. A vocabulary with capital letters is cased: Google's file does not say."""
    pieces = path.read_text(encoding="utf-8").split("\n")
    vocabulary = {piece.rstrip("\r"): index for index, piece in enumerate(pieces) if piece}
    if missing := [name for name in SPECIAL if name not in vocabulary]:
        raise ValueError(f"no {missing[0]} among its {len(vocabulary)} lines")
    cased = any(piece != piece.lower() and not piece.startswith("[") for piece in vocabulary)
    return word_level(models.WordPiece(vocabulary, unk_token="[UNK]"), cased=cased)
