"""Directories of adapters of Hugging Face's PEFT: their files, and the name of their base model."""

import re
from pathlib import Path

from research.errors import UsageError
from research.io.files import expanded, read_json
from research.io.hub import ADAPTER, PREFIX, WHOLE

BASE = "base_model_name_or_path"
REPOSITORY = re.compile(r"\w[\w.-]*(/[\w.-]+)?")  # OWNER/NAME, or an old NAME


def is_adapter(folder: Path) -> bool:
    return (folder / ADAPTER).exists()


def base_of(folder: Path) -> str:
    """The base model of an adapter, as `start.weights` names one.

    It is the folder itself if it holds a whole model too, as Transformers reads such a folder. A name that is
    no directory, from the current folder as in PEFT, is one on the Hub. Raises UsageError if there is none.
    """
    if has_model(folder):
        return str(folder)
    described = read_json(folder / ADAPTER, dict)
    name, revision = described.get(BASE), described.get("revision")
    if not isinstance(name, str) or not name:
        raise UsageError(
            f"{folder / ADAPTER}: {BASE}={name}: names no base model; expected a directory or OWNER/NAME"
        )
    if name.startswith(PREFIX) or expanded(name).is_dir() or not REPOSITORY.fullmatch(name):
        return name
    return f"{PREFIX}{name}@{revision}" if isinstance(revision, str) and revision else f"{PREFIX}{name}"


def has_model(folder: Path) -> bool:
    """Whether a whole model of Hugging Face's form is in `folder`."""
    return (folder / "config.json").exists() and any(any(folder.glob(name)) for name in WHOLE)
