"""OpenAI's GPT-2 and Google's BERT as TensorFlow checkpoints. Reading one needs the extra `tf`.

GPT-2's directory has hparams.json, BERT's bert_config.json, beside *.ckpt.index and *.ckpt.data-*.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from research.errors import EnvironmentFault, UsageError
from research.io.directories import read_json
from research.weights import tokenizer_files
from research.weights.huggingface_config import to_model
from research.weights.layout import Arrays, Table, Weights, left_over, to_ours
from research.weights.names import GOOGLE_BERT, OPENAI_GPT2

# What training leaves beside the model.
TRAINING = re.compile(r"(^|/)(adam_[mv]|Adam(_1)?|global_step|beta[12]_power|learning_rate)$")


class Release(NamedTuple):
    table: Table
    prefix: str  # of the names of variables
    config: Callable[[dict[str, Any]], dict[str, Any]]  # theirs in Hugging Face's words


def _gpt2(hparams: dict[str, Any]) -> dict[str, Any]:
    """The released code has no dropout."""
    words = {"n_vocab": "vocab_size", "n_ctx": "n_positions"}
    return {"model_type": "gpt2", "resid_pdrop": 0.0} | {words.get(k, k): v for k, v in hparams.items()}


def _bert(config: dict[str, Any]) -> dict[str, Any]:
    """Google's `gelu` is the tanh approximation, for which Hugging Face has another name."""
    google = config | {"model_type": "bert"}
    return google | {"hidden_act": "gelu_new"} if google.get("hidden_act") == "gelu" else google


RELEASES = {
    "hparams.json": Release(OPENAI_GPT2, "model/", _gpt2),
    "bert_config.json": Release(GOOGLE_BERT, "bert/", _bert),
}


def read(directory: Path) -> Weights:
    """Raises EnvironmentFault without TensorFlow, UsageError for what is missing, damaged or does not fit."""
    for name in RELEASES:
        if (directory / name).exists():
            return from_variables(directory, name, variables(directory))
    raise UsageError(f"{directory}: has none of {', '.join(RELEASES)}")


def from_variables(directory: Path, described: str, variables: Arrays) -> Weights:
    """The release that the file `described` tells of, from its variables by name, which are used up."""
    release = RELEASES[described]
    config = to_model(release.config(read_json(directory / described, dict)), directory / described)
    tensors = {
        name.removeprefix(release.prefix): array
        for name, array in variables.items()
        if not TRAINING.search(name)
    }
    arrays = to_ours(release.table, tensors, config, directory)
    return Weights(config, arrays, left_over(tensors), tokenizer_files.read(directory))


def variables(directory: Path) -> Arrays:
    """All variables of the directory's checkpoint; of several, of the one that `checkpoint` names."""
    try:
        import tensorflow as tf
    except ImportError:
        raise EnvironmentFault(
            f"{directory}: a TensorFlow checkpoint needs TensorFlow: pip install 'lineage-lm[tf]'"
        ) from None
    indexes = list(directory.glob("*.index"))
    prefix = (
        str(indexes[0].with_suffix("")) if len(indexes) == 1 else tf.train.latest_checkpoint(str(directory))
    )
    if prefix is None:
        raise UsageError(f"{directory}: expected one *.ckpt.index, found {len(indexes)}")
    try:
        reader = tf.train.load_checkpoint(prefix)
        return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    except Exception as error:  # TensorFlow's own classes, of many kinds
        told = " ".join(str(error).split())
        raise UsageError(f"{prefix}: cannot be read, it may be cut off or damaged: {told}") from None
