"""OpenAI's GPT-2 and Google's BERT as TensorFlow checkpoints. Reading one needs the extra `tf`.

GPT-2's directory has hparams.json, BERT's bert_config.json, beside *.ckpt.index and *.ckpt.data-*.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from research.config import Model
from research.data.tokenizers import published
from research.errors import EnvironmentFault, UsageError
from research.io.files import catch_damage, read_json
from research.weights.formats.huggingface_config import to_model
from research.weights.formats.names import GOOGLE_BERT, OPENAI_GPT2
from research.weights.layout import Arrays, Table, Weights, to_ours, unused_tensors

# Variables of the optimizer.
TRAINING = re.compile(r"(^|/)(adam_[mv]|Adam(_1)?|global_step|beta[12]_power|learning_rate)$")


class Release(NamedTuple):
    table: Table
    prefix: str  # of the variables' names
    config: Callable[[dict[str, Any]], dict[str, Any]]  # translates their configuration to Hugging Face's


def _gpt2(hparams: dict[str, Any]) -> dict[str, Any]:
    """GPT-2's hparams.json as config.json; the released code has no dropout."""
    names = {"n_vocab": "vocab_size", "n_ctx": "n_positions"}
    return {"model_type": "gpt2", "resid_pdrop": 0.0} | {names.get(k, k): v for k, v in hparams.items()}


def _bert(config: dict[str, Any]) -> dict[str, Any]:
    """BERT's bert_config.json as config.json; Google's `gelu` is the tanh approximation, `gelu_new`."""
    google = config | {"model_type": "bert"}
    return google | {"hidden_act": "gelu_new"} if google.get("hidden_act") == "gelu" else google


RELEASES = {
    "hparams.json": Release(OPENAI_GPT2, "model/", _gpt2),
    "bert_config.json": Release(GOOGLE_BERT, "bert/", _bert),
}


def read(directory: Path) -> Weights:
    """Read the checkpoint.

    Raises EnvironmentFault without TensorFlow; UsageError for missing, damaged or unsupported files.
    """
    return from_variables(directory, _config_name(directory), variables(directory))


def model(directory: Path) -> Model:
    """The model of a directory's configuration; raises as `to_model` does."""
    return _model(directory, _config_name(directory))


def _config_name(directory: Path) -> str:
    for name in RELEASES:
        if (directory / name).exists():
            return name
    raise UsageError(f"{directory}: has none of {', '.join(RELEASES)}")


def _model(directory: Path, config_name: str) -> Model:
    config_file = directory / config_name
    return to_model(RELEASES[config_name].config(read_json(config_file, dict)), config_file)


def from_variables(directory: Path, config_name: str, variables: Arrays) -> Weights:
    """Converts TensorFlow variables by name, with the configuration file `config_name`."""
    release, config = RELEASES[config_name], _model(directory, config_name)
    tensors = {
        name.removeprefix(release.prefix): array
        for name, array in variables.items()
        if not TRAINING.search(name)
    }
    arrays = to_ours(release.table, tensors, config, directory)
    return Weights(config, arrays, unused_tensors(tensors), published.beside(directory))


def variables(directory: Path) -> Arrays:
    """All variables of the checkpoint in a directory; the file `checkpoint` selects one of several."""
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
    with catch_damage(prefix):
        reader = tf.train.load_checkpoint(prefix)
        return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
