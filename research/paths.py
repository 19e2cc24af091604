"""Settings that name files or folders, as they were typed and as they read from any folder."""

import glob
import os
import re
from collections.abc import Mapping
from pathlib import Path

from research.config import Experiment
from research.data import published, trained
from research.settings import flatten, override

TERM = re.compile(r"((?:\d*\.?\d+\*)?files:)(.+)", re.DOTALL)  # of a source, perhaps with a weight
PLUS = re.compile(r"\s*\+\s*(?=(?:\d*\.?\d+\*)?(?:files|tfds):)")  # between terms
STEP = re.compile(r":\d+$")  # of a run's checkpoint, DIR:STEP


def absolute(experiment: Experiment) -> dict[str, str]:
    """{setting: what it means, wherever it is typed}, of those settings that name files or folders."""
    data, weights = experiment.data, experiment.start.weights
    forms = {
        name: "+".join(map(_term, PLUS.split(source)))
        for name, source in (("data.source", data.source), ("data.validation", data.validation))
        if source is not None and _patterns(source)
    }
    if data.tokenizer.partition(":")[0] not in trained.SCHEMES and published.is_path(data.tokenizer):
        forms["data.tokenizer"] = _path(data.tokenizer)
    if weights is not None and not weights.startswith(published.PREFIX):
        forms["start.weights"] = _path(weights)
    return forms


def located(experiment: Experiment, recorded: Mapping[str, str]) -> Experiment:
    """An experiment from a record, reading what it read where it began: `recorded` is `absolute` of then.

    Where that is gone, the project having been moved, it is what was typed, if that is here.
    """
    here = absolute(experiment)
    found = {
        name: path
        for name, path in recorded.items()
        if _is_there(path) or not _is_there(here.get(name, path))
    }
    return override(experiment, found)


def as_recorded(experiment: Experiment, before: Experiment, recorded: Mapping[str, str]) -> Experiment:
    """`experiment`, in which what names the same files as `before` is typed as it was then."""
    now, typed = absolute(experiment), flatten(before)
    return override(experiment, {name: typed[name] for name in recorded if recorded[name] == now.get(name)})


def other_weights(experiment: Experiment, recorded: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """{"start.weights": (as recorded, now)}, where the same words mean other weights in this folder.

    Data are told apart by what is in them; weights, once trained on, by their place alone. Those that are
    gone from theirs may have been moved with the project.
    """
    name = "start.weights"
    then, now = recorded.get(name), absolute(experiment).get(name)
    if then is None or now is None or then == now or not _is_there(then):
        return {}
    return {name: (then, now)}


def _term(term: str) -> str:
    """A glob's, in which the present folder, whatever is in its name, is meant literally."""
    match = TERM.fullmatch(term)
    if match is None:
        return term
    pattern = os.path.expanduser(match[2])
    folder = "" if os.path.isabs(pattern) else glob.escape(os.path.join(os.getcwd(), ""))
    return f"{match[1]}{folder}{pattern}"


def _patterns(source: str) -> list[str]:
    return [match[2] for match in map(TERM.fullmatch, PLUS.split(source)) if match]


def _path(typed: str) -> str:
    return str(Path(typed).expanduser().absolute())


def _is_there(path: str) -> bool:
    """Whether there are files of every term of a source; or the file, the folder or the run."""
    try:
        if patterns := _patterns(path):
            return all(os.path.exists(one) or any(glob.iglob(one, recursive=True)) for one in patterns)
        return os.path.exists(path) or os.path.exists(STEP.sub("", path))
    except UnicodeEncodeError:  # of a glob, in a locale that cannot spell it
        return False
