"""Runs read back from their directories: what was declared, on what it ran, what was measured."""

from collections.abc import Mapping, Sequence
from os.path import commonpath
from pathlib import Path
from typing import Any, NamedTuple

from research.config.settings import flatten, from_json
from research.errors import UsageError
from research.io import run_lock
from research.io.leases import holder
from research.runs import record
from research.runs.metrics_log import Row, read

SWEEP = "sweep.json"
DECLARED = ("format", "experiment")  # all else in a record is of the surroundings


class Run(NamedTuple):
    name: str
    directory: Path
    settings: dict[str, Any]  # {"model.width": 128, …}
    environment: dict[str, Any]  # {"versions.jax": "0.10.2", …}
    rows: list[Row]

    @property
    def steps(self) -> int:
        """Those it was declared to take."""
        return self.settings["run.steps"]

    @property
    def step(self) -> int:
        return max((row["step"] for row in self.rows), default=0)

    @property
    def state(self) -> str:
        if self.step >= self.steps:
            return "finished"
        return "running" if holder(self.directory / run_lock.FILE) else "stopped"

    def split(self, name: str) -> list[Row]:
        return [row for row in self.rows if row["split"] == name]


def runs_in(directories: Sequence[Path]) -> list[Run]:
    """The runs that `directories` are or hold: a run, a sweep's trials, a folder of runs.

    Raises UsageError for a directory in which there is none.
    """
    found: dict[Path, None] = {}  # an ordered set: the same run named twice is one
    for directory in directories:
        inside = _runs_of(directory)
        if not inside:
            what = "no run in it" if directory.is_dir() else "no such directory"
            raise UsageError(f"{directory}: {what}; expected one with {record.FILE}, or one that holds such")
        found |= dict.fromkeys(path.resolve() for path in inside)
    names = _names(list(found))
    return [_run(path, name) for path, name in zip(found, names, strict=True)]


def is_sweep(directory: Path) -> bool:
    return (directory / SWEEP).exists()


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} → {"a.b": 1}; a list becomes a text."""
    values: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            values |= flat(value, f"{prefix}{name}.")
        else:
            values[prefix + name] = _text(value) if isinstance(value, list) else value
    return values


def _runs_of(directory: Path) -> list[Path]:
    if (directory / record.FILE).exists():
        return [directory]
    below = directory / "trials" if is_sweep(directory) else directory
    return sorted(path.parent for path in below.glob(f"*/{record.FILE}"))


def _run(directory: Path, name: str) -> Run:
    written = record.read(directory)
    try:
        settings = _settings(written["experiment"])
        environment = flat({k: v for k, v in written.items() if k not in DECLARED})
        settings["run.steps"] = int(settings["run.steps"])
    except (KeyError, AttributeError, TypeError, ValueError):
        raise UsageError(f"{directory / record.FILE}: not a run's record") from None
    return Run(name, directory, settings, environment, read(directory))


def _settings(declared: dict[str, Any]) -> dict[str, Any]:
    """With defaults for what could not be declared yet; as recorded where another version knew more."""
    try:
        settings = flatten(from_json(declared))
    except UsageError:
        return flat({name: value for name, value in declared.items() if name not in DECLARED})
    return {name: _text(list(v)) if isinstance(v, tuple) else v for name, v in settings.items()}


def _names(directories: list[Path]) -> list[str]:
    """Their last parts where those tell them apart, else what follows the path they share."""
    last = [path.name for path in directories]
    if len(set(last)) == len(last):
        return last
    shared = commonpath(directories)
    return [str(path.relative_to(shared)) for path in directories]


def _text(values: list[Any]) -> str:
    """["cpu", "cpu"] → "2 × cpu"; long fingerprints are cut."""
    if values and all(isinstance(value, Mapping) for value in values):  # a record's "changes"
        return "\n".join(map(_change, values))
    texts = [text[:12] + "…" if len(text := str(value)) == 64 else text for value in values]
    counts = {text: texts.count(text) for text in texts}
    return ", ".join(f"{count} × {text}" if count > 1 else text for text, count in counts.items())


def _change(change: Mapping[str, Any]) -> str:
    """What was found changed when a run was continued: "step 40: run.steps 60 → 80"."""
    pairs = ((name, change["from"].get(name), new) for name, new in change["to"].items())
    return f"step {change['step']}: " + ", ".join(f"{name} {old} → {new}" for name, old, new in pairs)
