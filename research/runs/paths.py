"""Settings that name files or folders: as typed, and as absolute paths."""

import glob
import os
import re
from collections.abc import Mapping

from research.config import Data, Experiment
from research.config.settings import flatten, override
from research.data.sources import files
from research.data.sources.schemes import terms
from research.data.tokenizers import published, trained
from research.data.tokenizers.spacy_words import split_name
from research.io.files import expanded

# Of a source, perhaps with a weight, or in another.
TERM = re.compile(r"((?:\d*\.?\d+\*|(?:drawn|rest):\d+:\d+:)?(?:files|tokens):)(.+)", re.DOTALL)
STEP = re.compile(r":\d+$")  # of a run's checkpoint, DIR:STEP


def absolute(experiment: Experiment) -> dict[str, str]:
    """{setting: its absolute form} for settings that name files or folders."""
    data = experiment.data
    forms = {
        name: "+".join(map(_term, terms(source)))
        for name, source in (("data.source", data.source), ("data.validation", data.validation))
        if source is not None and _patterns(source)
    }
    if data.tokenizer.partition(":")[0] not in trained.SCHEMES and published.is_path(data.tokenizer):
        words, path = split_name(data.tokenizer)
        forms["data.tokenizer"] = words + _path(path)
    weights = {"start.weights": experiment.start.weights, "objective.teacher": experiment.objective.teacher}
    return forms | {name: _path(path) for name, path in weights.items() if path and not _on_hub(path)}


def located(experiment: Experiment, recorded: Mapping[str, str]) -> Experiment:
    """A record's experiment with the paths it meant at its start; `recorded` is `absolute` of then.

    If a path is gone, for example because the project was moved, the typed path is used if it exists from
    here.
    """
    here = absolute(experiment)
    found = {
        name: path
        for name, path in recorded.items()
        if _is_there(path) or not _is_there(here.get(name, path))
    }
    return override(experiment, found)


def as_recorded(experiment: Experiment, before: Experiment, recorded: Mapping[str, str]) -> Experiment:
    """`experiment`, with the paths as written in `before` where both name the same files."""
    now, typed = absolute(experiment), flatten(before)
    return override(experiment, {name: typed[name] for name in recorded if recorded[name] == now.get(name)})


def gone(data: Data) -> list[str]:
    """The settings among data.source and data.validation whose files are missing."""
    sources = {"data.source": data.source, "data.validation": data.validation}
    return [
        name for name, source in sources.items() if source and _patterns(source) and not _is_there(source)
    ]


def other_weights(experiment: Experiment, recorded: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """{"start.weights": (as recorded, now)} if the same text names other weights in this folder.

    Data and a teacher are identified by their content, weights of a started run only by their path. Weights
    that are gone from the recorded path may have been moved with the project.
    """
    name = "start.weights"
    then, now = recorded.get(name), absolute(experiment).get(name)
    if then is None or now is None or then == now or not _is_there(then):
        return {}
    return {name: (then, now)}


def _on_hub(weights: str) -> bool:
    return weights.startswith(published.PREFIX)


def _term(term: str) -> str:
    """A term with an absolute pattern; the current folder is escaped, since its name is not a pattern."""
    match = TERM.fullmatch(term)
    if match is None:
        return term
    pattern = os.path.expanduser(match[2])
    folder = "" if os.path.isabs(pattern) else glob.escape(os.path.join(os.getcwd(), ""))
    return f"{match[1]}{folder}{pattern}"


def _patterns(source: str) -> list[str]:
    return [match[2] for match in map(TERM.fullmatch, terms(source)) if match]


def _path(typed: str) -> str:
    return str(expanded(typed).absolute())


def _is_there(path: str) -> bool:
    """Whether files exist for every term of a source; or the file, the folder or the run exists."""
    try:
        if patterns := _patterns(path):
            return all(files.expand(one) for one in patterns)
        _, path = split_name(path)
        return os.path.exists(path) or os.path.exists(STEP.sub("", path))
    except UnicodeEncodeError:  # of a glob, in a locale that cannot spell it
        return False
