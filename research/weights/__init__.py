"""Model weights: `load` reads any of FORMATS; `import_` and `export` write Hugging Face directories.

A Hugging Face directory has config.json, model.safetensors and tokenizer.json. Other software can read
exported weights, and weights published in this form need no import.
"""

from collections.abc import Callable
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
from research.io.directories import check_absent
from research.io.hub import located
from research.models.bert import BERT
from research.models.gpt import GPT
from research.runs.status import find_checkpoint, split_step
from research.weights import architecture, run
from research.weights.fit import Report, compare, fill
from research.weights.formats import huggingface, nanogpt, openai, tensorflow
from research.weights.layout import Weights, shapes

__all__ = [
    "FORMATS",
    "Loaded",
    "Report",
    "average",
    "check_present",
    "export",
    "fill",
    "import_",
    "load",
    "model_of",
    "read",
    "start",
]


class Format(NamedTuple):
    files: tuple[str, ...]  # a directory with any of these files has this format
    read: Callable[[Path], Weights]
    model: Callable[[Path], Model]  # the configuration alone, without reading arrays


FORMATS = {
    "run": Format(("experiment.json",), run.read, run.model),
    "huggingface": Format(("config.json",), huggingface.read, huggingface.model),
    "openai": Format((openai.SHAPES,), openai.read, openai.model),
    "nanogpt": Format((nanogpt.FILE,), nanogpt.read, nanogpt.model),
    "tensorflow": Format(tuple(tensorflow.RELEASES), tensorflow.read, tensorflow.model),
}


class Loaded(NamedTuple):
    model: GPT | BERT
    config: Model
    tokenizer: Tokenizer | None
    report: Report


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
    return Loaded(model, weights.config, weights.tokenizer, report._replace(unused=weights.unused))


def start(model: GPT | BERT, path: Path | str) -> tuple[GPT | BERT, Report]:
    """Fill `model` with the weights at `path`, for `start.weights` of an experiment.

    A head of another task is skipped. Raises UsageError for weights of another architecture.
    """
    weights = read(path)
    try:
        different = architecture.others(weights.config, flatten(model.config, "model."))
    except UsageError as error:
        raise UsageError(f"start.weights={path}: {error}") from None
    if different:
        expected = " ".join(f"{name}={format_value(value)}" for name, value in different.items())
        raise UsageError(f"start.weights={path}: of another architecture; expected {expected}")
    arrays, unused = dict(weights.arrays), dict(weights.unused)
    if (weights.config.head, weights.config.outputs) != (model.config.head, model.config.outputs):
        heads = [name for name in arrays if name.startswith("task_head/")]
        unused |= {name: arrays.pop(name).shape for name in heads}
    model, report = fill(model, arrays)
    return model, report._replace(unused=unused | report.unused)


def read(path: Path | str) -> Weights:
    """Read weights, under our names, without building a model.

    `path` is a directory, DIR:STEP for one checkpoint of a run, or hub:OWNER/NAME[@REVISION], which is
    downloaded. Raises the same errors as `load`.
    """
    format, path, step = _found(located(path))
    return run.read(path, step) if step is not None else format.read(path)


def model_of(path: Path | str) -> Model:
    """The configuration of the weights at `path` (as in `read`), without reading arrays."""
    format, path, _ = _found(located(path, (huggingface.CONFIG,)))
    return format.model(path)


def check_present(path: Path | str) -> None:
    """Raises UsageError if there are no weights to read at `path`. Reads no array."""
    format, folder, step = _found(located(path, (huggingface.CONFIG,)))
    if format is FORMATS["run"]:
        find_checkpoint(folder, step)


def _found(path: Path) -> tuple[Format, Path, int | None]:
    """The format of a directory, the directory, and the step if given."""
    path, step = split_step(str(path))
    if step is not None and path.is_dir():
        return FORMATS["run"], path, step
    if not path.is_dir():
        _refuse_file(path)
        raise UsageError(f"{path}: no such directory")
    for format in FORMATS.values():
        if any((path / name).exists() for name in format.files):
            return format, path, None
    known = "; ".join(f"{name}: {' or '.join(format.files)}" for name, format in FORMATS.items())
    raise UsageError(f"{path}: holds no weights in a known format ({known})")


def _refuse_file(path: Path) -> None:
    if path.is_file():
        raise UsageError(f"{path}: a file; expected its directory, {path.parent}")


def import_(format: str, source: Path | str, directory: Path | str) -> Report:
    """Convert weights of a named format to a Hugging Face directory; raises as `load` and `export` do."""
    if format not in FORMATS:
        raise UsageError(f"{format}: no such format{did_you_mean(format, FORMATS)}")
    source = located(source)
    _refuse_file(source)
    if not any((source / name).exists() for name in FORMATS[format].files):
        raise UsageError(f"{source}: not {format}: has no {' or '.join(FORMATS[format].files)}")
    return export(source, directory)


def average(directory: Path | str, target: Path | str, last: int | None = None) -> list[int]:
    """Export the mean of a run's `last` checkpoints, or of all; return their steps."""
    directory, target = Path(directory).expanduser(), Path(target).expanduser()
    check_absent(target)
    weights, steps = run.average(directory, last)
    huggingface.write(target, weights.config, weights.arrays, weights.tokenizer, weights.task_head)
    return steps


def export(source: Path | str, directory: Path | str) -> Report:
    """Write the newest weights of a run, or any other weights, as a Hugging Face directory, atomically.

    Raises UsageError if `directory` exists, and for a model that no class of Transformers supports.
    """
    directory = Path(directory).expanduser()
    check_absent(directory)
    weights = read(source)
    report = compare(shapes(weights.config), weights.arrays)
    huggingface.write(directory, weights.config, weights.arrays, weights.tokenizer, weights.task_head)
    return report._replace(unused=weights.unused)
