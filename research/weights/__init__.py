"""Model weights: `load` reads any of FORMATS; `import_` and `export` write Hugging Face directories.

A Hugging Face directory has config.json, model.safetensors and tokenizer.json. Other software can read
exported weights, and weights published in this form need no import. `save` writes our own form, which holds
any model.
"""

from pathlib import Path
from typing import NamedTuple

import jax
from tokenizers import Tokenizer

from research import models
from research.config import Model
from research.config.settings import flatten
from research.config.values import format_value
from research.devices import xla
from research.errors import UsageError, did_you_mean
from research.io.files import check_absent, expanded
from research.io.hub import located
from research.models.bert import BERT
from research.models.gpt import GPT
from research.weights import architecture, run
from research.weights.adapters import writing as adapter
from research.weights.fit import Report, compare, fill
from research.weights.fit_head import fit_head
from research.weights.folding import with_plain_blocks
from research.weights.formats import huggingface, llmc, native
from research.weights.formats.huggingface_head import NoClass
from research.weights.layout import TaskHead, Weights, shapes
from research.weights.sources import (
    FORMATS,
    LLMC,
    PEFT,
    base_of,
    check_present,
    is_adapter,
    model_of,
    read,
    refuse_file,
    task_head_of,
)

__all__ = [
    "EXPORTS",
    "FORMATS",
    "Loaded",
    "Report",
    "average",
    "check_present",
    "compare",
    "export",
    "fill",
    "import_",
    "is_adapter",
    "load",
    "model_of",
    "read",
    "save",
    "start",
    "task_head_of",
]


EXPORTS = ("huggingface", PEFT, *llmc.VERSIONS)  # formats that `export` writes


class Loaded(NamedTuple):
    model: GPT | BERT
    config: Model
    tokenizer: Tokenizer | None
    report: Report
    task_head: TaskHead | None = None


def load(path: Path | str) -> Loaded:
    """Load a model, its configuration and its tokenizer from a directory in any of FORMATS.

    Heads that the weights lack get initial values; `report` lists them as missing. Raises UsageError for
    weights that are missing, damaged or unsupported; EnvironmentFault if a package is missing.
    """
    weights = read(path)

    def fresh(key):
        return models.build(weights.config, key=key)

    model, report = fill(jax.eval_shape(fresh, jax.random.key(0)), weights.arrays)
    if report.missing:
        model, report = fill(xla.jit(fresh)(jax.random.key(0)), weights.arrays)
    report = report._replace(unused=weights.unused)
    return Loaded(model, weights.config, weights.tokenizer, report, weights.task_head)


def start(
    model: GPT | BERT, path: Path | str, task_head: TaskHead | None = None, blocks: tuple[int, ...] = ()
) -> tuple[GPT | BERT, Report]:
    """Fill `model` with the weights at `path`, for `start.weights` of an experiment with this `task_head`.

    A head of another task is skipped; labels of the same names keep their outputs. `blocks` are those that
    `model` gets, none: all. Raises UsageError for weights of another architecture.
    """
    weights = read(path)
    try:
        weights = architecture.with_blocks(weights, blocks) if blocks else weights
        different = architecture.others(weights.config, flatten(model.config, "model."))
    except UsageError as error:
        raise UsageError(f"start.weights={path}: {error}") from None
    if different:
        expected = " ".join(f"{name}={format_value(value)}" for name, value in different.items())
        raise UsageError(f"start.weights={path}: of another architecture; expected {expected}")
    if weights.config.block != model.config.block:
        config, arrays = with_plain_blocks(weights.config, weights.arrays)
        weights = weights._replace(config=config, arrays=arrays)
    arrays, skipped = fit_head(weights, model.config, task_head)
    model, report = fill(model, arrays)
    return model, report._replace(unused=weights.unused | skipped | report.unused)


def import_(format: str, source: Path | str, directory: Path | str) -> Report:
    """Convert weights of a named format to a Hugging Face directory; raises as `load` and `export` do."""
    if format not in (*FORMATS, LLMC):
        raise UsageError(f"{format}: no such format{did_you_mean(format, (*FORMATS, LLMC))}")
    source = located(source)
    if format == LLMC:
        return _export(llmc.read(source), expanded(directory), "huggingface")
    refuse_file(source)
    if not any((source / name).exists() for name in FORMATS[format].files):
        raise UsageError(f"{source}: not {format}: has no {' or '.join(FORMATS[format].files)}")
    return export(source, directory)


def average(directory: Path | str, target: Path | str, last: int | None = None) -> list[int]:
    """Write the mean of a run's `last` checkpoints, or of all; return their steps.

    As a Hugging Face directory, or in our own form if Transformers has no class for the model.
    """
    directory, target = expanded(directory), expanded(target)
    check_absent(target)
    weights, steps = run.average(directory, last)
    try:
        huggingface.write(target, weights.config, weights.arrays, weights.tokenizer, weights.task_head)
    except NoClass:
        native.write(target, weights)
    return steps


def export(
    source: Path | str, directory: Path | str, format: str = "huggingface", base: str | None = None
) -> Report:
    """Write the newest weights of a run, or any other weights, in one of EXPORTS, whole or not at all.

    A Hugging Face directory, a file for llm.c, or the factors of `model.block=lora` as an adapter of PEFT,
    whose `base` is by default the model from which the run started. Raises UsageError if it exists, and for a
    model that the other software does not compute.
    """
    if format not in EXPORTS:
        raise UsageError(f"{format}: no such format{did_you_mean(format, EXPORTS)}")
    directory = expanded(directory)
    check_absent(directory)
    if format == PEFT:
        return _export_adapter(source, directory, base)
    if base is not None:
        raise UsageError(f"--base {base}: only with --format {PEFT}")
    return _export(read(source), directory, format)


def _export_adapter(source: Path | str, directory: Path, base: str | None) -> Report:
    try:
        adapter.check(model_of(source))
        name = base or base_of(source)
        if name is None:
            raise UsageError("does not tell the model that its factors are for; expected --base DIR")
        if model_of(name).block == "lora":
            raise UsageError(f"--base {name}: has factors itself; expected a whole model")
        weights = read(source)
        written = adapter.write(directory, weights, read(name), name)
    except UsageError as error:
        raise UsageError(f"{source}: {str(error).removeprefix(f'{source}: ')}") from None
    return Report({path: weights.arrays[path].shape for path in written}, {}, {})


def _export(weights: Weights, directory: Path, format: str) -> Report:
    check_absent(directory)
    report = compare(shapes(weights.config), weights.arrays)
    if format in llmc.VERSIONS:
        llmc.write(directory, weights.config, weights.arrays, llmc.VERSIONS[format])
    else:
        huggingface.write(directory, weights.config, weights.arrays, weights.tokenizer, weights.task_head)
    return report._replace(unused=weights.unused)


def save(directory: Path | str, weights: Weights) -> None:
    """Write weights in our own form, which `load`, `export` and `start.weights` read; see `native.write`."""
    native.write(expanded(directory), weights)
