"""PEFT's adapter_config.json: the settings of `model.block=lora` that it declares."""

import warnings
from pathlib import Path
from typing import Any, NamedTuple

from research.config.sections.lora import LoRA
from research.config.values import convert
from research.errors import LineageWarning, UsageError, did_you_mean
from research.io.adapter import BASE
from research.io.files import read_json
from research.io.hub import ADAPTER

# Theirs, with ours and PEFT's default.
SETTINGS = {
    "r": ("rank", int, 8),
    "lora_alpha": ("alpha", float, 8),
    "use_rslora": ("root", bool, False),
    "lora_dropout": ("dropout", float, 0.0),
}
# What else changes the outputs, or which parameters train. Harmless are none, false and nothing.
UNSUPPORTED = {
    "use_dora": "DoRA",
    "lora_bias": "biases of the factors",
    "layers_to_transform": "factors in some of the blocks",
    "layer_replication": "replicated layers",
    "rank_pattern": "ranks by layer",
    "alpha_pattern": "scales by layer",
    "target_parameters": "factors of parameters outside of layers",
    "trainable_token_indices": "rows of embeddings",
    "use_qalora": "QALoRA",
    "use_bdlora": "block-diagonal LoRA",
    "alora_invocation_tokens": "activated LoRA",
    "arrow_config": "Arrow",
    "kasa_config": "KaSA",
    "monteclora_config": "MonteCLoRA",
    "velora_config": "VeLoRA",
}
# Initial values that also change the base model's kernels; PEFT computes them again when it reads an adapter.
CHANGE_BASE = ("pissa", "olora", "loftq", "corda", "lora_ga")
# Where factors are, which tensors tell; and what concerns only PEFT's training or is refused above if used.
OTHERS = {
    *("peft_type", "task_type", "auto_mapping", "revision", "peft_version", "inference_mode", BASE),
    *("target_modules", "exclude_modules", "modules_to_save", "fan_in_fan_out", "layers_pattern", "bias"),
    *("init_lora_weights", "loftq_config", "eva_config", "corda_config", "lora_ga_config"),
    *("megatron_config", "megatron_core", "qalora_group_size", "runtime_config", "ensure_weight_tying"),
}


class Declared(NamedTuple):
    """The contents of an adapter_config.json."""

    lora: LoRA  # with the default kernels: tensors tell them
    task: str | None  # PEFT's task_type
    architecture: str | None  # the class of the base model, if named


def read(folder: Path) -> Declared:
    """Read the file. Raises UsageError for a damaged one, and for what is not supported."""
    path = folder / ADAPTER
    described = read_json(path, dict)
    _check(described, path)
    values = {
        ours: convert(described.get(theirs, default), kind, f"{path}: {theirs}")
        for theirs, (ours, kind, default) in SETTINGS.items()
    }
    try:
        lora = LoRA(**values)
    except ValueError as error:
        given = " ".join(f"{name}={described[name]}" for name in SETTINGS if name in described)
        raise UsageError(f"{path}: {given}: {error}") from None
    task, mapping = described.get("task_type"), described.get("auto_mapping")
    architecture = mapping.get("base_model_class") if isinstance(mapping, dict) else None
    return Declared(lora, None if task is None else str(task), architecture and str(architecture))


def _check(described: dict[str, Any], path: Path) -> None:
    if (kind := described.get("peft_type")) != "LORA":
        raise UsageError(f"{path}: peft_type={kind}: expected LORA, the only adapters that are read")
    if (bias := described.get("bias", "none")) != "none":
        raise UsageError(f"{path}: bias={bias}: trained biases of the base are not supported; expected none")
    for key, what in UNSUPPORTED.items():
        if value := described.get(key):
            raise UsageError(f"{path}: {key}={_shown(value)}: {what} are not supported by model.block=lora")
    initial = str(described.get("init_lora_weights", True)).lower()
    if initial.startswith(CHANGE_BASE):
        raise UsageError(
            f"{path}: init_lora_weights={initial}: changes the base model's kernels; expected an adapter "
            "saved with path_initial_model_for_weight_conversion, as PEFT's guide to LoRA says"
        )
    known = {*SETTINGS, *UNSUPPORTED, *OTHERS}
    for key, value in described.items():
        if key not in known and value:
            line = f"{path}: {key}={_shown(value)}: not known, ignored{did_you_mean(key, SETTINGS)}"
            warnings.warn(line, LineageWarning, stacklevel=2)


def _shown(value: Any) -> str:
    return f"{value!s:.60}"
