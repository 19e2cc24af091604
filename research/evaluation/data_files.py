"""Data of a task: a file or folder named by the user, the folder under $LINEAGE_HOME, or TFDS."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from research.errors import EnvironmentFault, UsageError
from research.io.home import home
from research.io.text import read_text, reading, split_lines

XML_ENCODING = re.compile(rb"<\?xml[^>]*\bencoding=[\"']([\w.-]+)")


class Tfds(NamedTuple):
    name: str
    split: str
    field: str


class TaskData(NamedTuple):
    text: str
    source: str  # printed with the result
    path: Path | None


def data_folder() -> Path:
    return home() / "evaluation"


def check_found(task: str, names: Sequence[str], data: Path | None, tfds: Tfds | None) -> None:
    """Raises UsageError, with the expected file, if `find` has nothing to read."""
    if data is not None and not data.exists():
        raise UsageError(f"--data {data}: no such file or folder")
    if (tfds is not None and data is None) or _file(names, data) is not None:
        return
    if not names and tfds is None:
        raise UsageError(f"{task}: expected its data as a file: --data PATH")
    if data is not None:
        raise UsageError(f"{task}: {data} has no {' or '.join(names)}; name the file itself: --data PATH")
    raise UsageError(f"{task}: no data; {_put(names)}")


def find(
    task: str, names: Sequence[str], data: Path | None, tfds: Tfds | None, joined: bool = False
) -> TaskData:
    """Read the data of a task: the file `data`, or the first of `names` in a folder, or else `tfds`.

    The folder is `data`, or `data_folder()` if `data` is None. With `joined`, all files that match a name are
    read as one. Raises UsageError as `check_found`; EnvironmentFault if TFDS cannot prepare the data set on
    this machine.
    """
    check_found(task, names, data, tfds)
    if (path := _file(names, data)) is not None:
        if joined and path != data:
            paths = sorted(path.parent.glob(f"*{path.suffix}"))
            return TaskData("\n".join(map(read_text, paths)), f"{path.parent}/*{path.suffix}", None)
        return _read(path)
    assert tfds is not None  # `check_found` made sure of it
    try:
        from research.data.sources import tfds_source

        texts = list(tfds_source.read(tfds.name, tfds.split, tfds.field))
    except EnvironmentFault as fault:
        raise EnvironmentFault(f"{task}: {fault}; or {_put(names)}") from fault
    lines = "\n".join(text.replace("\n", " ") for text in texts)
    return TaskData(lines, f"tfds:{tfds.name}:{tfds.split}", None)


def _file(names: Sequence[str], data: Path | None) -> Path | None:
    if data is not None and data.is_file():
        return data
    folder = data_folder() if data is None else data
    return next((path for name in names for path in sorted(folder.glob(name))), None)


def _put(names: Sequence[str]) -> str:
    return f"put {' or '.join(names)} in {data_folder()}, or name it: --data PATH"


def _read(path: Path) -> TaskData:
    text = _read_xml(path) if path.suffix == ".xml" else read_text(path)
    return TaskData(text, str(path), path)


def _read_xml(path: Path) -> str:
    """The text in the encoding that the file declares: the Winograd schemas are in Latin-1."""
    with reading(path):
        content = path.read_bytes()
    declared = XML_ENCODING.match(content)
    encoding = declared[1].decode() if declared else "utf-8-sig"
    try:
        return content.decode(encoding)
    except (UnicodeDecodeError, LookupError) as fault:
        raise UsageError(f"{path}: cannot be read as {encoding}: {fault}") from fault


def json_objects(
    text: str, fields: Mapping[str, Callable[[Any], Any]], limit: int | None
) -> list[dict[str, Any]]:
    """The JSON object in each line, with `fields` that are each read by a function such as `as_text`.

    Raises UsageError for another line, and for a text without any.
    """
    rows = []
    for number, line in enumerate(split_lines(text), 1):
        if len(rows) == limit:
            break
        if line.strip():
            try:
                row = json.loads(line)
                rows.append(row | {name: read(row[name]) for name, read in fields.items()})
            except (ValueError, KeyError, TypeError) as fault:
                expected = " and ".join(map(repr, fields))
                reason = f"{fault} is missing" if isinstance(fault, KeyError) else fault
                raise UsageError(f"line {number}: expected a JSON object with {expected}: {reason}") from None
    if not rows:
        raise UsageError("no examples; expected a JSON object per line")
    return rows


def as_text(value: Any) -> str:
    """`value`. Raises TypeError unless it is a text."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is not a text")
    return value


def as_texts(value: Any) -> list[str]:
    """`value`. Raises TypeError unless it is a list of texts, at least one."""
    if not isinstance(value, list) or not value:
        raise TypeError(f"{value!r:.40} is not a list of texts")
    return [as_text(one) for one in value]
