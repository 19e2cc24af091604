"""Writes the factors of `model.block=lora` as an adapter that PEFT reads."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from research.config import Model
from research.config.sections.lora import LoRA
from research.config.settings import flatten
from research.config.values import format_value
from research.errors import LineageWarning, UsageError
from research.io.adapter import BASE
from research.io.files import expanded, new_directory
from research.io.hub import ADAPTER, PREFIX
from research.weights.adapters import names
from research.weights.adapters.reading import ARRAYS
from research.weights.adapters.task import TASKS
from research.weights.architecture import others
from research.weights.folding import with_plain_blocks
from research.weights.formats import tensor_files
from research.weights.formats.huggingface import CONFIG, OUTSIDE, PYTORCH
from research.weights.formats.huggingface_config import DIALECTS, to_config
from research.weights.formats.huggingface_head import NoClass, find_head
from research.weights.formats.names import HUGGING_FACE
from research.weights.layout import Row, Weights, to_theirs

CLOSE = 1e-6  # relative: an average of equal numbers is equal but for rounding
MERGED = "without --format peft, lineage export writes merged weights"


def write(directory: Path, weights: Weights, base: Weights, name: str) -> list[str]:
    """Write `directory`, whole or not at all: the factors, and whole layers that are not those of the base.

    Returns the paths of what it wrote.
    `name` is the base's, as `start.weights` names weights. Raises UsageError if the directory exists, for a
    model that PEFT or Transformers does not compute, and for one of another base.
    """
    config, own = weights.config, weights.config.own.block
    check(config)
    plain, arrays = with_plain_blocks(config, weights.arrays)
    dialect = DIALECTS[plain.family]
    to_config(plain, None, complete=True)  # refuses what Transformers lacks
    head = find_head(plain, weights.task_head, dialect.heads)
    if different := others(base.config, flatten(plain, "model.")):
        listed = " ".join(f"{setting}={format_value(value)}" for setting, value in different.items())
        raise UsageError(f"{name}: not the base of this model: has {listed}")
    rows = (*HUGGING_FACE[plain.family], *(head.rows if head else ()))
    saved = _saved(rows, weights, base, name)
    layers = _layers(saved, own, plain)
    described = (
        _described(own, plain, name) | {"modules_to_save": layers or None} | _task(weights, dialect.headless)
    )
    whole = [row for row in rows if any(row.names(0)[0].startswith(f"{x}.") for x in layers) or row in saved]
    factors = names.factor_rows(plain.family, own.kernels)
    tensors = to_theirs(factors, weights.arrays)
    tensors |= to_theirs(whole, arrays)
    written = [row.path for row in (*factors, *whole) if row.path in weights.arrays]
    inside = names.PREFIX + ("" if described.pop("bare") else dialect.prefix)
    named = {
        (names.PREFIX if key.startswith(OUTSIDE) else inside) + key: np.ascontiguousarray(tensor, np.float32)
        for key, tensor in tensors.items()
    }
    if not name.startswith(PREFIX) and not (expanded(name) / CONFIG).exists():
        line = (
            f"{name}: the base model is not in Transformers' form; lineage export {name} DIR writes it, and "
        )
        warnings.warn(f"{line}--base DIR then names it", LineageWarning, stacklevel=3)
    with new_directory(directory) as folder:
        (folder / ADAPTER).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
        tensor_files.write(folder / ARRAYS, named, like=folder / ADAPTER, metadata=PYTORCH)
    return written


def check(config: Model) -> None:
    """Raises UsageError for a model without factors, and for factors that PEFT has no name for."""
    if not isinstance(config.own.block, LoRA):
        raise UsageError(f"model.block={config.block}: has no factors; expected model.block=lora; {MERGED}")
    if config.family not in DIALECTS:
        raise NoClass(
            f"model.family={config.family}: PEFT has only {', '.join(DIALECTS)} of the families here"
        )
    if config.scaling != "standard":
        raise UsageError(f"model.scaling={config.scaling}: PEFT has no multipliers of scores; {MERGED}")
    known = names.layers(config.family)
    for kernel in config.own.block.kernels:
        if kernel not in known:
            raise UsageError(
                f"model.own.block.kernels={','.join(config.own.block.kernels)}: PEFT has no factors for "
                f"{kernel} in a {config.family}, only for {', '.join(known)}; {MERGED}"
            )


def _saved(rows: tuple[Row, ...], weights: Weights, base: Weights, name: str) -> list[Row]:
    """The rows of parameters that differ from the base's, and of the task's head."""
    found = []
    for row in rows:
        if row.path not in weights.arrays:
            continue
        ours, theirs = weights.arrays[row.path], base.arrays.get(row.path)
        if row.path.startswith("task_head/") or theirs is None or not _equal(ours, theirs):
            found.append(row)
    return found


def _equal(ours: NDArray, theirs: NDArray) -> bool:
    return ours.shape == theirs.shape and np.allclose(ours, theirs, rtol=CLOSE, atol=0)


def _layers(saved: list[Row], own: LoRA, plain: Model) -> list[str]:
    """`modules_to_save`: layers that PEFT saves whole. Raises UsageError for trained parameters of others."""
    adapted, layers = {names.layer_path(kernel) for kernel in own.kernels}, {}
    wrong = [row.path for row in saved if "/" not in row.path or row.path.rpartition("/")[0] in adapted]
    wrong += [row.path for row in saved if row.path in ("masked/bias",)]
    if wrong:
        count = len({*wrong})
        raise UsageError(
            f"{wrong[0]}{f' and {count - 1} more' if count > 1 else ''}: differ from the base's, which an "
            f"adapter cannot hold; optimizer.freeze='!*/lora*' trains the factors only; {MERGED}"
        )
    for row in saved:
        for n in range(plain.depth if "{n}" in row.name else 1):
            layers |= dict.fromkeys(key.rpartition(".")[0] for key in row.names(n))
    return list(layers)


def _described(own: LoRA, plain: Model, name: str) -> dict[str, Any]:
    repository, _, revision = name.removeprefix(PREFIX).partition("@")
    on_hub = name.startswith(PREFIX)
    return {
        "peft_type": "LORA",
        BASE: repository if on_hub else str(expanded(name).absolute()),
        "revision": (revision or None) if on_hub else None,
        "r": own.rank,
        "lora_alpha": int(own.alpha) if own.alpha == int(own.alpha) else own.alpha,
        "lora_dropout": own.dropout,
        "use_rslora": own.root,
        "target_modules": names.targets(plain.family, own.kernels, plain.depth),
        "fan_in_fan_out": plain.family != "bert",  # of Transformers' Conv1D
        "bias": "none",
        "init_lora_weights": True,
        "inference_mode": True,
    }


def _task(weights: Weights, headless: str) -> dict[str, Any]:
    """The keys that tell PEFT the class of the base model; `bare`, of ours, if it is one without heads."""
    family, head = weights.config.family, weights.task_head
    if head is None and family != "bert":
        return {"task_type": "CAUSAL_LM", "bare": False}
    if head is not None and head.objective in TASKS:
        return {"task_type": TASKS[head.objective], "bare": False}
    if head is not None:
        name = DIALECTS[family].heads[head.objective].architecture
    elif "next_sentence/kernel" in weights.arrays:
        name = "BertForPreTraining"
    else:
        name = "BertForMaskedLM" if "masked/bias" in weights.arrays else headless
    module = {"bert": "bert", "gpt2": "gpt2", "gpt1": "openai"}[family]
    library = f"transformers.models.{module}.modeling_{module}"
    mapping = {"base_model_class": name, "parent_library": library}
    return {"task_type": None, "auto_mapping": mapping, "bare": name == headless}
