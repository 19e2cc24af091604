"""Model weights: `load` reads any of FORMATS; `import_` and `export` write Hugging Face directories.

A Hugging Face directory has config.json, model.safetensors and tokenizer.json. Other software can read the
weights that we write, and weights published in this form need no import.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
from tokenizers import Tokenizer

from research import models
from research.config import Model
from research.devices import xla
from research.errors import UsageError, did_you_mean
from research.io.directories import check_absent
from research.io.hub import located
from research.models.bert import BERT
from research.models.gpt import GPT
from research.runs.status import split_step
from research.weights import huggingface, openai, run, tensorflow
from research.weights.fit import Report, compare, fill
from research.weights.layout import Weights, shapes

__all__ = ["FORMATS", "Loaded", "Report", "average", "export", "fill", "import_", "load", "read", "start"]


class Format(NamedTuple):
    files: tuple[str, ...]  # a directory with any of these files has this format
    read: Callable[[Path], Weights]


FORMATS = {
    "run": Format(("experiment.json",), run.read),
    "huggingface": Format(("config.json",), huggingface.read),
    "openai": Format((openai.SHAPES,), openai.read),
    "tensorflow": Format(tuple(tensorflow.RELEASES), tensorflow.read),
}
# Fields that change the function of a model but not the shapes of its parameters.
FUNCTION = (
    *("family", "heads", "norm", "normalization", "norm_epsilon"),
    *("positions", "activation", "qk_norm", "tied"),
)
SIZES = ("vocabulary", "context", "width", "depth")


class Loaded(NamedTuple):
    model: GPT | BERT
    config: Model
    tokenizer: Tokenizer | None
    report: Report


def load(path: Path | str) -> Loaded:
    """Load a model, its configuration and its tokenizer from a directory in any of FORMATS.

    The heads of an encoder that is published without them get initial values; `report` lists them as missing.
    Raises UsageError for weights that are missing, damaged or not supported; EnvironmentFault where a package
    is missing.
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

    The head of another task is left out. Raises UsageError for weights of another size, and for weights of a
    different function (see FUNCTION).
    """
    weights = read(path)
    for field in FUNCTION:
        theirs, ours = getattr(weights.config, field), getattr(model.config, field)
        if theirs != ours:
            raise UsageError(f"{path}: made with model.{field}={theirs}, the experiment has {ours}")
    different = [f for f in SIZES if getattr(weights.config, f) != getattr(model.config, f)]
    if not different and weights.config.mlp_width != model.config.mlp_width:
        different = ["hidden"]
    if different:
        typed = " ".join(f"model.{field}={getattr(weights.config, field)}" for field in different)
        raise UsageError(f"start.weights={path}: of another size than the experiment; expected {typed}")
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
    path, step = split_step(str(located(path)))
    if step is not None and path.is_dir():
        return run.read(path, step)
    if not path.is_dir():
        raise UsageError(f"{path}: no such directory")
    for format in FORMATS.values():
        if any((path / name).exists() for name in format.files):
            return format.read(path)
    known = "; ".join(f"{name}: {' or '.join(format.files)}" for name, format in FORMATS.items())
    raise UsageError(f"{path}: holds no weights that are known here ({known})")


def import_(format: str, source: Path | str, directory: Path | str) -> Report:
    """Convert weights of a named format to a Hugging Face directory; raises as `load` and `export` do."""
    if format not in FORMATS:
        raise UsageError(f"{format}: no such format{did_you_mean(format, FORMATS)}")
    source = located(source)
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

    Raises UsageError where `directory` exists, and for a model that Transformers has no class for.
    """
    directory = Path(directory).expanduser()
    check_absent(directory)
    weights = read(source)
    report = compare(shapes(weights.config), weights.arrays)
    huggingface.write(directory, weights.config, weights.arrays, weights.tokenizer, weights.task_head)
    return report._replace(unused=weights.unused)
