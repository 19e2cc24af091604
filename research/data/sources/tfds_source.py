"""Documents in TensorFlow Datasets, read from ArrayRecord files without TensorFlow."""

import importlib.util
import io
import logging
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from pathlib import Path

import tensorflow_datasets as tfds
from google.protobuf.json_format import ParseError
from tensorflow_datasets.core import constants

from research.data.sources.file_records import Records
from research.data.sources.python_docs import PythonDocs
from research.data.sources.records import text
from research.errors import EnvironmentFault, UsageError, did_you_mean
from research.io.activity import activity
from research.io.home import home, use
from research.io.make_once import build_lock

INSTALL = "pip install 'lineage-lm[tf]'"
BEAM = "Apache Beam: pip install apache-beam"
BY_HAND = "files fetched by hand"


def read(name: str, split: str, field: str) -> Iterator[str]:
    """The text of every record of NAME[/CONFIG]. Raises as `records` does."""
    return (text(record, field, where, "data.field") for where, record in records(name, split))


def records(name: str, split: str) -> Records:
    """(number, record) of NAME[/CONFIG], with classes as names; class -1, which means no label, becomes None.

    `split` is in TFDS's syntax, such as 'train+test[:10%]'. Raises UsageError for a name or split that does
    not exist; EnvironmentFault for a data set that cannot be prepared or read on this machine.
    """
    builder = prepared(name)
    features = builder.info.features
    assert isinstance(features, tfds.features.FeaturesDict)
    classes = {
        field: feature.names
        for field, feature in features.items()
        if isinstance(feature, tfds.features.ClassLabel)
    }
    for number, record in enumerate(_open(builder, name, split)):
        named = {
            field: names[record[field]] if record[field] >= 0 else None for field, names in classes.items()
        }
        yield f"tfds:{name}: record {number}", record | named


def _open(builder: tfds.core.DatasetBuilder, name: str, split: str) -> Iterator[dict]:
    try:
        with quiet():
            source = builder.as_data_source(split=split)  # pyright: ignore[reportCallIssue] (TFDS's decorator)
    except NotImplementedError as fault:
        assert builder.info.file_format is not None
        raise EnvironmentFault(
            f"tfds:{name}: prepared as {builder.info.file_format.value}, read as array_record; convert it: "
            f"tfds convert_format --dataset_version_dir={builder.data_dir} --out_file_format=array_record"
        ) from fault
    except (KeyError, ValueError) as fault:
        hint = did_you_mean(split, builder.info.splits)
        raise UsageError(f"tfds:{name}: no split {split}{hint}") from fault
    try:
        yield from source
    except (RuntimeError, IndexError, ValueError) as fault:  # of ArrayRecord and its records' parsers
        raise _damaged(name, builder.data_dir, fault) from fault


def _damaged(name: str, folder: str | Path, fault: Exception) -> UsageError:
    return UsageError(
        f"tfds:{name}: {folder}: cannot be read, it may be cut off or damaged: {_line(str(fault))[:160]}; "
        "delete it, and it is prepared again"
    )


def identity(name: str) -> list:
    """The version of the data set and the size of each split."""
    info = prepared(name).info
    sizes = [(split.name, split.num_examples, split.num_bytes) for split in info.splits.values()]
    return [info.full_name, sizes]


@contextmanager
def quiet() -> Iterator[None]:
    """Silence TFDS: it prints to standard output, which is for results, and warns about its own steps."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


@quiet()
def prepared(name: str) -> tfds.core.DatasetBuilder:
    """The builder of a data set, which is prepared first if it is not on disk."""
    own = name == "python_docs"
    build = partial(PythonDocs, data_dir=home() / "tfds") if own else partial(tfds.builder, name)
    try:
        builder = build()
    except ParseError as fault:
        folder = home() / "tfds" if own else Path(constants.DATA_DIR)
        raise _damaged(name, folder / name, fault) from fault
    except ValueError as fault:
        raise _unknown(name) from fault
    if not builder.is_prepared():
        with build_lock(Path(builder.data_dir), "LINEAGE_HOME" if own else "TFDS_DATA_DIR"):
            prepare = _prepare_own if own else _prepare
            prepare(build(), name)
        builder = build()
    if own:
        use(Path(builder.data_dir).parent)
    return builder


def _prepare_own(builder: tfds.core.DatasetBuilder, name: str) -> None:
    for leftover in builder.data_path.parent.glob("incomplete.*"):  # of a killed process
        leftover.rmtree()
    tfds.disable_progress_bar()  # the bar takes two seconds
    try:
        with activity("building a corpus of Python's documentation"):
            builder.download_and_prepare(file_format="array_record")
    except RuntimeError as fault:  # ArrayRecord raises it for a full disk
        raise OSError(str(fault)) from fault
    finally:
        tfds.enable_progress_bar()


def _prepare(builder: tfds.core.DatasetBuilder, name: str) -> None:
    if isinstance(builder, tfds.core.BeamBasedBuilder) and not _has("apache_beam"):
        # Check before the download, which may take days.
        reason = f"it is made with {BEAM}"
        if builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
            reason += f", and may need {BY_HAND}: {_line(builder.MANUAL_DOWNLOAD_INSTRUCTIONS)}"
        raise EnvironmentFault(f"tfds:{name}: cannot prepare it here: {reason}; {_elsewhere(name)}")
    try:
        _resolve(builder.url_infos or ())
        builder.download_and_prepare(file_format="array_record")
    except Exception as fault:
        reason = str(fault).strip().partition("\n")[0] or type(fault).__name__
        if isinstance(fault, ImportError) and not has_tensorflow():
            reason = f"it needs TensorFlow: {INSTALL}"
        elif builder.MANUAL_DOWNLOAD_INSTRUCTIONS and "manual" in str(fault).lower():
            reason = f"it needs {BY_HAND}: {_line(str(fault))}"
        raise EnvironmentFault(
            f"tfds:{name}: cannot prepare it here: {reason}; {_elsewhere(name)}"
        ) from fault


def _unknown(name: str) -> UsageError | EnvironmentFault:
    dataset, _, config = name.partition("/")
    names = {"python_docs", *tfds.list_builders(with_community_datasets=False)}
    if dataset in names:
        configs = tfds.builder_cls(dataset).builder_configs
        return UsageError(
            f"tfds:{name}: {dataset} has no configuration {config!r}{did_you_mean(config, configs)}"
        )
    missing = {} if has_tensorflow() else _modules()
    if dataset in missing:
        code = missing[dataset].read_text(encoding="utf-8")
        more = f", and {BEAM}" if "BeamBasedBuilder" in code and not _has("apache_beam") else ""
        more += f"; and perhaps {BY_HAND}" if "MANUAL_DOWNLOAD_INSTRUCTIONS" in code else ""
        return EnvironmentFault(
            f"tfds:{name}: preparing it needs TensorFlow: {INSTALL}{more}; {_elsewhere(name)}"
        )
    return UsageError(f"tfds:{name}: no such data set{did_you_mean(dataset, names | missing.keys())}")


def _modules() -> dict[str, Path]:
    """Modules of builders by name: without TensorFlow many builders are not registered."""
    package = Path(tfds.__file__).parent
    folders = ("question_answering", "summarization", "text", "translate")
    modules = (module for folder in folders for module in sorted(package.glob(f"{folder}/**/*.py")))
    return {module.stem: module for module in modules if not module.stem.endswith(("_test", "_utils", "__"))}


def _line(text: str) -> str:
    """Joins a text of several lines into one line."""
    return " ".join(text.split())


def _elsewhere(name: str) -> str:
    folder = constants.DATA_DIR
    return f"or prepare it elsewhere (tfds build {name} --file_format=array_record) and copy it to {folder}"


def has_tensorflow() -> bool:
    return _has("tensorflow")


def _has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _resolve(urls: Iterable[str]) -> None:
    """Raises OSError, at once, for a URL whose host has no address. Behind a proxy, the proxy asks for it."""
    if urllib.request.getproxies():
        return
    for host in {urllib.parse.urlsplit(url).hostname for url in urls}:
        try:
            socket.getaddrinfo(host, None)
        except OSError as fault:
            raise OSError(f"{host} is out of reach") from fault
