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
    task_head: Callable[[Path], TaskHead | str | None] | None = None  # or why there is none; None: ask `read`


class Source(NamedTuple):
    """A directory of weights."""

    format: Format
    folder: Path
    step: int | None = None  # of a run
    hub: str | None = None  # its name on the Hub, if `folder` has only what describes the model

    def read(self) -> Weights:
        if self.step is not None:
            return run.read(self.folder, self.step)
        return self.format.read(self.folder if self.hub is None else located(self.hub))

    def model(self) -> Model:
        return self.format.model(self.folder)

    def task_head(self) -> TaskHead | str:
        """The task head, or why there is none."""
        if self.step is not None:
            head = run.task_head(self.folder, self.step)
        elif self.format.task_head is not None:
            head = self.format.task_head(self.folder)
        else:
            head = self.format.read(self.folder).task_head
        return "has no head of a task" if head is None else head


def read(path: Path | str) -> Weights:
    """Read weights, under our names, without building a model.

    `path` is a directory, DIR:STEP for one checkpoint of a run, or hub:OWNER/NAME[@REVISION], which is
    downloaded. Raises the same errors as `load`.
    """
    return _source(located(path)).read()


def model_of(path: Path | str) -> Model:
    """The configuration of the weights at `path` (as in `read`), without reading arrays."""
    return _described(path).model()


def task_head_of(path: Path | str) -> TaskHead:
    """The task head of the weights at `path`. Raises UsageError, with the reason, if they have none."""
    head = _described(path).task_head()
    if isinstance(head, str):
        raise UsageError(f"{path}: {head}; expected a fine-tuned model")
    return head


def check_present(path: Path | str) -> None:
    """Raises UsageError if there are no weights to read at `path`. Reads no array."""
    source = _described(path)
    if source.format is FORMATS["run"]:
        find_checkpoint(source.folder, source.step)
    if source.format is FORMATS[PEFT]:
        source.model()


def is_adapter(path: Path | str) -> bool:
    """Whether `path` is a directory of PEFT's adapter, or its name on the Hub."""
    return _described(path).format is FORMATS[PEFT]


def base_of(path: Path | str) -> str | None:
    """The plain model that the factors of a run or an adapter are for, as `start.weights` names one."""
    source = _described(path)
    if source.format is FORMATS[PEFT]:
        return adapter.base_of(source.folder)
    if source.format is not FORMATS["run"]:
        return None
    name = experiment_of(source.folder).start.weights
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
    return _with_base(folder, lambda base: _parsed(folder, base).config)


def _head_with_adapter(folder: Path) -> TaskHead | None:
    return _with_base(folder, lambda base: _parsed(folder, base).task_head)


def _parsed(folder: Path, base: Source) -> reading.Adapter:
    model = base.model()
    head = None if model.head == "pretraining" else base.task_head()
    return reading.parse(folder, model, None if isinstance(head, str) else head)


def _with_base(folder: Path, function: Callable[[Source], T]) -> T:
    """`function` of an adapter's base model. Errors about the base name the adapter, too."""
    if adapter.has_model(folder):
        return function(Source(FORMATS["huggingface"], folder))
    name = adapter.base_of(folder)
    where = f"{folder / ADAPTER}: {adapter.BASE}={name.removeprefix(PREFIX)}"
    try:
        base = _described(name)
    except EnvironmentFault as fault:
        raise EnvironmentFault(f"{where}: its base model: {fault}, if {adapter.BASE} names it") from fault
    except UsageError as error:
        raise UsageError(f"{where}: its base model: {error}; expected a directory or OWNER/NAME") from None
    if base.format is FORMATS[PEFT]:
        raise UsageError(f"{where}: its base model is an adapter, too; expected a whole model")
    try:
        return function(base)
    except reading.OtherBase as error:
        raise UsageError(f"{error}; {adapter.BASE}={name.removeprefix(PREFIX)} names that") from None


def _described(path: Path | str) -> Source:
    """Weights at `path`; of those on the Hub, only what describes the model is fetched."""
    source = _source(located(path, DESCRIBED))
    return source._replace(hub=str(path)) if str(path).startswith(PREFIX) else source


def _source(path: Path) -> Source:
    path, step = split_step(str(path))
    if step is not None and path.is_dir():
        return Source(FORMATS["run"], path, step)
    if not path.is_dir():
        refuse_file(path)
        raise UsageError(f"{path}: no such directory")
    for format in FORMATS.values():
        if any((path / name).exists() for name in format.files):
            return Source(format, path)
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


FORMATS = {
    "run": Format(("experiment.json",), run.read, run.model, run.task_head),
    PEFT: Format((ADAPTER,), _read_adapter, _model_with_adapter, _head_with_adapter),
    "huggingface": Format((huggingface.CONFIG,), huggingface.read, huggingface.model, huggingface.task_head),
    "openai": Format((openai.SHAPES,), openai.read, openai.model),
    "nanogpt": Format((nanogpt.FILE,), nanogpt.read, nanogpt.model),
    "tensorflow": Format(tuple(tensorflow.RELEASES), tensorflow.read, tensorflow.model),
    "native": Format((native.RECORD,), native.read, native.model, native.task_head),
}
