"""The tokenizer that lies beside weights."""

import json
from pathlib import Path

from tokenizers import Tokenizer

from research.data.tokenizers import published

# A token → the parts that it plays in Transformers, where a tokenizer has it.
ROLES = {
    "<|endoftext|>": ("bos_token", "eos_token", "unk_token"),
    "[PAD]": ("pad_token",),
    "[UNK]": ("unk_token",),
    "[CLS]": ("cls_token",),
    "[SEP]": ("sep_token",),
    "[MASK]": ("mask_token",),
}


def read(directory: Path) -> Tokenizer | None:
    """None where there is none; raises UsageError for one that cannot be read."""
    kept = (files.split(" and ") for files in published.FILES)
    if not any(all((directory / name).exists() for name in names) for names in kept):
        return None
    tokenizer = published.read(directory)
    # A published tokenizer.json may cut or fill to the length of the model it came with.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def roles(tokenizer: Tokenizer | None) -> dict[str, str]:
    """{'eos_token': '<|endoftext|>', …}."""
    known = {} if tokenizer is None else tokenizer.get_vocab()
    return {role: token for token, parts in ROLES.items() if token in known for role in parts}


def write(directory: Path, tokenizer: Tokenizer, context: int) -> None:
    """As Transformers' `AutoTokenizer` reads it."""
    described = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": context}
    (directory / "tokenizer.json").write_text(tokenizer.to_str())
    (directory / "tokenizer_config.json").write_text(
        json.dumps(described | roles(tokenizer), indent=2) + "\n"
    )
