"""Published tokenizers: those of GPT-1, GPT-2 and BERT, tokenizer.json, and nanoGPT's meta.pkl."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from research.data.tokenizers import spacy_words
from research.errors import UsageError, did_you_mean
from research.io.adapter import base_of, is_adapter
from research.io.files import expanded
from research.io.home import home
from research.io.hub import PREFIX, TOKENIZER, located, snapshot

END_OF_TEXT = "<|endoftext|>"
LONGEST = 200  # maximum characters of a word, as in Google's code; the library's default is 100
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ON_HUB = {  # name → repository
    "gpt1": "openai-community/openai-gpt",
    "gpt2": "openai-community/gpt2",
    "bert-base-uncased": "google-bert/bert-base-uncased",
    "bert-base-cased": "google-bert/bert-base-cased",
}


def load(name: str) -> Tokenizer:
    """Load a tokenizer from a path (see `is_path`), from hub:OWNER/NAME, or by name.

    A name is a folder of $LINEAGE_HOME/tokenizers, or else one of ON_HUB. With the prefix spacy:, GPT-1's
    splits words as published. Raises UsageError for an unknown name, and for files that are not a tokenizer;
    EnvironmentFault where the Hub cannot be reached, and without spaCy.
    """
    words, name = spacy_words.split_name(name)
    if words:
        return spacy_words.with_spacy(load(name), name)
    folder = home() / "tokenizers"
    if name.startswith(PREFIX):
        return read(snapshot(name, TOKENIZER, "a directory works too"))
    if is_path(name):
        path = expanded(name)
        if not path.exists():
            raise UsageError(f"data.tokenizer={name}: no such file or folder")
        return read(path)
    if not (folder / name).exists():
        if name in ON_HUB:
            hint = f"put {FILES} in {folder / name}"
            found = read(snapshot(PREFIX + ON_HUB[name], TOKENIZER, hint))
            if isinstance(found.model, models.WordPiece):  # the original's, whichever file the Hub has
                found.model.max_input_chars_per_word = LONGEST
            return found
        local = (path.name for path in folder.glob("[!.]*"))
        hint = did_you_mean(name, {"char", "bpe:SIZE", "wordpiece:SIZE", "spacy:gpt1", *ON_HUB, *local})
        raise UsageError(f"data.tokenizer={name}: not found; put {FILES} in {folder / name}{hint}")
    return read(folder / name)


def is_path(name: str) -> bool:
    """Whether `load` treats the name as a file or folder: it has a slash, or ends in .json, .txt or .pkl."""
    _, name = spacy_words.split_name(name)
    return not name.startswith(PREFIX) and ("/" in name or name.endswith(tuple(READERS)))


def read(path: Path) -> Tokenizer:
    """Read a tokenizer.json, a vocab.txt, a meta.pkl, or a folder with files of one of the `FORMS`.

    It neither truncates nor pads, as a tokenizer.json may to the length of its own model. Raises UsageError
    for files that are missing or not a tokenizer.
    """
    build, files = READERS.get(path.suffix, _json), [path]
    if not path.is_file():
        if (found := _form(path)) is None:
            raise UsageError(f"{path}: expected {FILES} in it")
        build, files = found
    try:
        tokenizer = build(*files)
    except Exception as fault:  # the library raises plain Exception
        raise UsageError(f"{path}: no tokenizer that can be read: {fault}") from fault
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def beside(folder: Path) -> Tokenizer | None:
    """The tokenizer in a folder of weights; None if there is none. Raises UsageError as `read` does."""
    return None if _form(folder) is None else read(folder)


def _form(folder: Path) -> tuple[Callable[..., Tokenizer], list[Path]] | None:
    """The reader of the tokenizer in a folder, or with an adapter's base model, and its files."""
    for names, build in FORMS.items():
        if all((folder / name).exists() for name in names):
            return build, [folder / name for name in names]
    if is_adapter(folder) and (base := base_of(folder)) != str(folder):
        return _form(located(base, TOKENIZER))
    return None


def byte_level(model: models.BPE) -> Tokenizer:
    """GPT-2's scheme: byte pairs within words; a space belongs to the word after it."""
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def spaced(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer for separate words: GPT-2's then puts a space before each, as Transformers demands."""
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.encode_special_tokens = tokenizer.encode_special_tokens
    if isinstance(scheme := copy.pre_tokenizer, pre_tokenizers.ByteLevel):
        scheme.add_prefix_space = True
        copy.pre_tokenizer = scheme
    return copy


def word_level(
    model: models.WordPiece, *, cased: bool, strip_accents: bool | None = None, split_chinese: bool = True
) -> Tokenizer:
    """BERT's scheme: splits words, punctuation and Chinese characters; uncased, it also removes accents.

    Adds [CLS] and [SEP] if the caller requests special tokens.
    """
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(
        lowercase=not cased, strip_accents=strip_accents, handle_chinese_chars=split_chinese
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    ids = {name: tokenizer.token_to_id(name) for name in SPECIAL}
    if None not in ids.values():
        tokenizer.add_special_tokens(list(SPECIAL))
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[(name, ids[name]) for name in ("[CLS]", "[SEP]")],
        )
    return tokenizer


def character_level(vocabulary: dict[str, int]) -> Tokenizer:
    """One token per character, including spaces. Lossless."""
    tokenizer = Tokenizer(models.WordLevel(vocabulary))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return tokenizer


# The library's readers refuse paths that are not UTF-8.


def _json(path: Path) -> Tokenizer:
    return Tokenizer.from_str(path.read_text(encoding="utf-8-sig"))


def _ids(vocabulary: Path) -> dict[str, int]:
    return json.loads(vocabulary.read_text(encoding="utf-8-sig"))


def _pairs(merges: Path) -> list[tuple[str, str]]:
    """The merges in order; skips other lines, such as the version."""
    lines = merges.read_text(encoding="utf-8-sig").split("\n")
    words = (line.split() for line in lines if not line.startswith("#version"))
    return [(pair[0], pair[1]) for pair in words if len(pair) == 2]


def _gpt1_or_gpt2(vocabulary: Path, merges: Path) -> Tokenizer:
    """Hugging Face gives GPT-1's files the same names as GPT-2's."""
    gpt1 = "</w>" in merges.read_text(encoding="utf-8-sig")[:1000]
    return _gpt1(vocabulary, merges) if gpt1 else _gpt2(vocabulary, merges)


def _gpt2(vocabulary: Path, merges: Path) -> Tokenizer:
    tokenizer = byte_level(models.BPE(_ids(vocabulary), _pairs(merges)))
    tokenizer.add_special_tokens([END_OF_TEXT])
    return tokenizer


def _gpt1(vocabulary: Path, merges: Path) -> Tokenizer:
    """GPT-1's scheme: pairs of characters within lowercased words that end in </w>.

    Words are split by BERT's rules, as in Transformers without spaCy. Unlike spaCy (`spacy_words`), these
    rules split contractions only at the apostrophe, split numbers and abbreviations at points, remove
    accents, and give no token for a line end.
    """
    model = models.BPE(
        _ids(vocabulary), _pairs(merges), unk_token="<unk>", end_of_word_suffix="</w>", fuse_unk=False
    )
    tokenizer = Tokenizer(model)
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    return spacy_words.without_spacy(tokenizer)


def _bert(path: Path) -> Tokenizer:
    """BERT's vocab.txt: the id is the line number.

    Settings come from a tokenizer_config.json beside it. Without one, it is cased if the vocabulary has
    capitals.
    """
    pieces = path.read_text(encoding="utf-8-sig").split("\n")
    vocabulary = {piece.rstrip("\r"): index for index, piece in enumerate(pieces) if piece}
    if missing := [name for name in SPECIAL if name not in vocabulary]:
        raise ValueError(f"no {missing[0]} among its {len(vocabulary)} lines")
    cased = any(piece != piece.lower() and not piece.startswith("[") for piece in vocabulary)
    beside = path.with_name("tokenizer_config.json")
    settings = json.loads(beside.read_text(encoding="utf-8-sig")) if beside.exists() else {}
    return word_level(
        models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=LONGEST),
        cased=not settings.get("do_lower_case", not cased),
        strip_accents=settings.get("strip_accents"),
        split_chinese=settings.get("tokenize_chinese_chars", True),
    )


class _PlainUnpickler(pickle.Unpickler):
    """Reads containers, texts and numbers, and runs nothing: a pickle may name any function to call."""

    def find_class(self, module_name: str, global_name: str):
        raise ValueError(f"it names {module_name}.{global_name}")


def _nanogpt(path: Path) -> Tokenizer:
    """The characters of nanoGPT's prepare.py, by their ids."""
    with path.open("rb") as file:
        meta = _PlainUnpickler(file).load()
    ids = meta.get("stoi") if isinstance(meta, dict) else None
    if not isinstance(ids, dict) or not all(
        isinstance(key, str) and len(key) == 1 and isinstance(index, int) for key, index in ids.items()
    ):
        raise ValueError("no ids of characters (stoi) in it")
    return character_level(ids)


READERS = {".json": _json, ".txt": _bert, ".pkl": _nanogpt}
FORMS = {  # files in a folder → their reader
    ("tokenizer.json",): _json,
    ("vocab.json", "merges.txt"): _gpt1_or_gpt2,
    ("encoder.json", "vocab.bpe"): _gpt2,
    ("encoder_bpe_40000.json", "vocab_40000.bpe"): _gpt1,
    ("vocab.txt",): _bert,
    ("meta.pkl",): _nanogpt,
}
FILES = ", or ".join(" and ".join(names) for names in FORMS)
