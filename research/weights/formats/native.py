"""Our own directories of weights: weights.json, weights.safetensors, tokenizer.json.

They hold any model, also one that no class of Transformers computes.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from research.config import Model
from research.config.imports.recorded import as_recorded, import_recorded, where_names_come_from
from research.config.registry import UnknownName
from research.config.settings import model_from_json, model_to_json
from research.data.tokenizers import published
from research.errors import UsageError, did_you_mean
from research.io.files import new_directory, read_json
from research.weights.formats import tensor_files
from research.weights.layout import TaskHead, Weights, shapes

RECORD, ARRAYS = "weights.json", "weights.safetensors"
FORMAT = 1  # of weights.json


def read(directory: Path) -> Weights:
    """Read a directory. Raises UsageError for files that are missing, damaged or do not fit each other."""
    config, path = model(directory), directory / ARRAYS
    arrays = tensor_files.read(path)
    check(arrays, shapes(config), str(path))
    return Weights(config, arrays, {}, published.beside(directory), task_head(directory))


def model(directory: Path) -> Model:
    """The model of weights.json, after the imports behind its parts are imported again.

    Raises UsageError for another format, and for names and values that are not known.
    """
    record = _record(directory)
    import_recorded(record)
    return _model(record["model"], directory, record)


def task_head(directory: Path) -> TaskHead | None:
    """The task head; None for a pre-trained model."""
    found = _record(directory).get("task_head")
    try:
        return None if found is None else TaskHead(str(found["objective"]), tuple(map(str, found["labels"])))
    except (KeyError, TypeError):
        raise UsageError(f"{directory / RECORD}: task_head: expected objective and labels") from None


def write(directory: Path, weights: Weights) -> None:
    """Write `directory`, whole or not at all.

    Raises UsageError if it exists, and for parameters that do not fit the model or are not finite.
    """
    arrays = {path: np.ascontiguousarray(array, np.float32) for path, array in weights.arrays.items()}
    check(arrays, shapes(weights.config), str(directory))
    head = weights.task_head
    record = {"format": FORMAT, "model": model_to_json(weights.config), "task_head": head and head._asdict()}
    if plugins := as_recorded(record):
        record["imports"] = plugins
    with new_directory(directory) as folder:
        (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        tensor_files.write(folder / ARRAYS, arrays, like=folder / RECORD)
        if weights.tokenizer is not None:
            (folder / "tokenizer.json").write_text(weights.tokenizer.to_str(), encoding="utf-8")


def check(arrays: Mapping[str, NDArray], needed: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Raises UsageError for a parameter that the model lacks, of another shape, or that is not finite.

    Heads may be missing.
    """
    for path, array in arrays.items():
        if path not in needed:
            raise UsageError(f"{where}: {path}: no such parameter{did_you_mean(path, needed)}")
        if array.shape != needed[path]:
            raise UsageError(f"{where}: {path} is {array.shape}, the model needs {needed[path]}")
        if array.dtype.kind in "iubcO" or not np.isfinite(array).all():
            raise UsageError(f"{where}: {path} holds numbers that are not finite, or not floating")


def _record(directory: Path) -> dict[str, Any]:
    record = read_json(directory / RECORD, dict)
    if record.get("format") != FORMAT or not isinstance(record.get("model"), dict):
        found = record.get("format")
        raise UsageError(f"{directory / RECORD}: format {found}: expected format {FORMAT} and a model")
    return record


def _model(settings: Mapping[str, Any], directory: Path, record: Mapping[str, Any]) -> Model:
    try:
        return model_from_json(settings)
    except UnknownName as error:
        raise UsageError(f"{directory / RECORD}: {error}; {where_names_come_from(record)}") from None
    except (UsageError, TypeError) as error:
        raise UsageError(f"{directory / RECORD}: {error}") from None
