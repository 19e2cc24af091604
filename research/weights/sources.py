"""Weights in any known form, found by the files of their directory."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from research.config import Model
from research.errors import EnvironmentFault, LineageWarning, UsageError
from research.io import adapter
from research.io.hub import ADAPTER, DESCRIBED, PREFIX, located
from research.runs.record import experiment_of
from research.runs.status import find_checkpoint, split_step
from research.weights import run
from research.weights.adapters import reading
from research.weights.formats import huggingface, llmc, nanogpt, native, openai, tensorflow
from research.weights.layout import TaskHead, Weights

PEFT = "peft"
LLMC = "llmc"  # the format of a file, not of a directory


T = TypeVar("T")


class Format(NamedTuple):
    files: tuple[str, ...]  # a directory with any of these files has this format
    read: Callable[[Path], Weights]
    model: Callable[[Path], Model]  # the configuration alone, without reading arrays


FORMATS = {
    "run": Format(("experiment.json",), run.read, run.model),
    PEFT: Format(
        (ADAPTER,), lambda folder: _read_adapter(folder), lambda folder: _model_with_adapter(folder)
    ),
    "huggingface": Format(("config.json",), huggingface.read, huggingface.model),
    "openai": Format((openai.SHAPES,), openai.read, openai.model),
    "nanogpt": Format((nanogpt.FILE,), nanogpt.read, nanogpt.model),
    "tensorflow": Format(tuple(tensorflow.RELEASES), tensorflow.read, tensorflow.model),
    "native": Format((native.RECORD,), native.read, native.model),
}


def read(path: Path | str) -> Weights:
    """Read weights, under our names, without building a model.

    `path` is a directory, DIR:STEP for one checkpoint of a run, or hub:OWNER/NAME[@REVISION], which is
    downloaded. Raises the same errors as `load`.
    """
    format, path, step = _found(located(path))
    return run.read(path, step) if step is not None else format.read(path)


def model_of(path: Path | str) -> Model:
    """The configuration of the weights at `path` (as in `read`), without reading arrays."""
    format, path, _ = _found(located(path, DESCRIBED))
    return format.model(path)


def task_head_of(path: Path | str) -> TaskHead:
    """The task head of the weights at `path`. Raises UsageError, with the reason, if they have none."""
    format, folder, step = _found(located(path, DESCRIBED))
    head = _head(format, folder, step)
    if isinstance(head, str):
        raise UsageError(f"{path}: {head}; expected a fine-tuned model")
    return head


def _head(format: Format, folder: Path, step: int | None = None) -> TaskHead | str:
    """The task head, or why there is none."""
    if format is FORMATS["huggingface"]:
        return huggingface.task_head(folder)
    if format is FORMATS[PEFT]:
        head = _with_base(folder, lambda base: reading.parse(folder, *_described(base)).task_head)
    elif format is FORMATS["native"]:
        head = native.task_head(folder)
    else:
        head = (run.read(folder, step) if step is not None else format.read(folder)).task_head
    return "has no head of a task" if head is None else head


def check_present(path: Path | str) -> None:
    """Raises UsageError if there are no weights to read at `path`. Reads no array."""
    format, folder, step = _found(located(path, DESCRIBED))
    if format is FORMATS["run"]:
        find_checkpoint(folder, step)
    if format is FORMATS[PEFT]:
        format.model(folder)


def is_adapter(path: Path | str) -> bool:
    """Whether `path` is a directory of PEFT's adapter, or its name on the Hub."""
    return _found(located(path, DESCRIBED))[0] is FORMATS[PEFT]


def base_of(path: Path | str) -> str | None:
    """The plain model that the factors of a run or an adapter are for, as `start.weights` names one."""
    format, folder, _ = _found(located(path, DESCRIBED))
    if format is FORMATS[PEFT]:
        return adapter.base_of(folder)
    if format is not FORMATS["run"]:
        return None
    name = experiment_of(folder).start.weights
    return base_of(name) if name is not None and model_of(name).block == "lora" else name


def _read_adapter(folder: Path) -> Weights:
    if adapter.has_model(folder):
        warnings.warn(
            f"{folder}: has {ADAPTER} beside a whole model: adds the adapter to that model, as Transformers "
            f"does; remove {ADAPTER} to read the model alone",
            LineageWarning,
            stacklevel=2,
        )
    return _with_base(folder, lambda base: reading.read(folder, base.read()))


def _model_with_adapter(folder: Path) -> Model:
    return _with_base(folder, lambda base: reading.parse(folder, *_described(base)).config)


class _Base(NamedTuple):
    format: Format
    name: str
    folder: Path
    step: int | None

    def read(self) -> Weights:
        return self.format.read(self.folder) if self.folder == Path(self.name) else read(self.name)


def _described(base: _Base) -> tuple[Model, TaskHead | None]:
    """The base's model and its task head, if it has one; of a run only the model, whose head needs arrays."""
    model = base.format.model(base.folder)
    head = None if model.head == "pretraining" else _head(base.format, base.folder, base.step)
    return model, None if isinstance(head, str) else head


def _with_base(folder: Path, function: Callable[[_Base], T]) -> T:
    """`function` of an adapter's base model. Errors about the base name the adapter, too."""
    if adapter.has_model(folder):
        return function(_Base(FORMATS["huggingface"], str(folder), folder, None))
    name = adapter.base_of(folder)
    where = f"{folder / ADAPTER}: {adapter.BASE}={name.removeprefix(PREFIX)}"
    try:
        format, found, step = _found(located(name, DESCRIBED))
    except EnvironmentFault as fault:
        raise EnvironmentFault(f"{where}: its base model: {fault}, if {adapter.BASE} names it") from fault
    except UsageError as error:
        raise UsageError(f"{where}: its base model: {error}; expected a directory or OWNER/NAME") from None
    if format is FORMATS[PEFT]:
        raise UsageError(f"{where}: its base model is an adapter, too; expected a whole model")
    try:
        return function(_Base(format, name, found, step))
    except reading.OtherBase as error:
        raise UsageError(f"{error}; {adapter.BASE}={name.removeprefix(PREFIX)} names that") from None


def _found(path: Path) -> tuple[Format, Path, int | None]:
    """The format of a directory, the directory, and the step if given."""
    path, step = split_step(str(path))
    if step is not None and path.is_dir():
        return FORMATS["run"], path, step
    if not path.is_dir():
        refuse_file(path)
        raise UsageError(f"{path}: no such directory")
    for format in FORMATS.values():
        if any((path / name).exists() for name in format.files):
            return format, path, None
    for name in huggingface.TENSORS:
        if (path / name).exists():
            raise UsageError(f"{path}: has {name}, but no {huggingface.CONFIG}, which describes its model")
    if (path / "trials").is_dir():
        raise UsageError(f"{path}: a sweep; expected one of its runs, such as {path / 'trials' / '0000'}")
    if inner := sorted(path.parent for path in path.glob(f"*/{ADAPTER}")):
        raise UsageError(
            f"{path}: holds no weights itself; expected one of its adapters, such as {inner[-1]}"
        )
    known = "; ".join(f"{name}: {' or '.join(format.files)}" for name, format in FORMATS.items())
    raise UsageError(f"{path}: holds no weights in a known format ({known})")


def refuse_file(path: Path) -> None:
    if path.is_file() and llmc.is_model(path):
        raise UsageError(f"{path}: a model file of llm.c; lineage import {LLMC} {path} DIR converts it")
    if path.is_file():
        raise UsageError(f"{path}: a file; expected its directory, {path.parent}")
