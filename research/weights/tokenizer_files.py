"""The tokenizer in a directory of weights."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from research.data.tokenizers.spacy_words import reads_words, without_spacy
from research.errors import LineageWarning

# Token → its roles in Transformers, for tokenizers that have the token.
ROLES = {
    "<|endoftext|>": ("bos_token", "eos_token", "unk_token"),
    "[PAD]": ("pad_token",),
    "[UNK]": ("unk_token",),
    "[CLS]": ("cls_token",),
    "[SEP]": ("sep_token",),
    "[MASK]": ("mask_token",),
}


def roles(tokenizer: Tokenizer | None, pads: bool = False) -> dict[str, str]:
    """Special tokens by role, such as {'eos_token': '<|endoftext|>'}.

    With `pads`, the end of text also pads if nothing else does: Transformers' GPTs with a head take several
    texts only with padding.
    """
    vocabulary = {} if tokenizer is None else tokenizer.get_vocab()
    found = {role: token for token, names in ROLES.items() if token in vocabulary for role in names}
    return ({"pad_token": found["eos_token"]} | found) if pads and "eos_token" in found else found


def write(
    directory: Path, tokenizer: Tokenizer, context: int, inputs: Sequence[str], pads: bool = False
) -> None:
    """Write the files that Transformers' `AutoTokenizer` reads; `pads` as in `roles`.

    `inputs` are the model's; without token_type_ids a BERT would take both texts of a pair for the first.
    Transformers has no spaCy tokenizer: a LineageWarning says that the exported one splits words by BERT's
    rules.
    """
    if reads_words(tokenizer):
        tokenizer = without_spacy(tokenizer)
        warnings.warn(
            "Transformers has no spaCy tokenizer: the exported one splits words by BERT's rules, which "
            "gives 97% of the same ids",
            LineageWarning,
            stacklevel=2,
        )
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context,
        "model_input_names": list(inputs),
    }
    (directory / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    (directory / "tokenizer_config.json").write_text(
        json.dumps(config | roles(tokenizer, pads), indent=2) + "\n", encoding="utf-8"
    )
