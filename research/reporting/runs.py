"""Runs read from their directories: settings, environment and measured rows."""

from collections.abc import Mapping, Sequence
from os.path import commonpath
from pathlib import Path
from typing import Any, NamedTuple

from research.config import target
from research.config.imports.loading import OPTION
from research.config.settings import flatten, from_json
from research.errors import UsageError
from research.runs import record
from research.runs.changes import may_change
from research.runs.metrics_log import Row, read
from research.runs.status import last_step, run_state
from research.runs.target import Reached, reached
from research.runs.wording import Named, alike
from research.sweeping.directory import is_sweep

DECLARED = ("format", "experiment")  # all other keys of a record describe the environment
CHANGED = "changed"  # an additional setting of runs whose settings changed midway
SCHEDULES_WITHOUT_END = ("constant", "inverse_sqrt")  # more steps do not change them


class Run(NamedTuple):
    name: str
    directory: Path
    settings: dict[str, Any]  # {"model.width": 128, …}
    environment: dict[str, Any]  # {"versions.jax": "0.10.2", …}
    rows: list[Row]
    files: Named = Named({}, {}, ())

    @property
    def steps(self) -> int:
        """The declared number of steps."""
        return self.settings["run.steps"]

    @property
    def step(self) -> int:
        """The last step that was logged."""
        return last_step(self.rows)

    @property
    def state(self) -> str:
        """running, finished or stopped."""
        return run_state(self.directory, self.step >= self.steps or self.reached is not None)

    @property
    def reached(self) -> Reached | None:
        """The evaluation that met run.stop_at."""
        return reached(self.rows, self.target)

    @property
    def target(self) -> target.Target | None:
        text = self.settings.get("run.stop_at")  # missing in records of older versions
        return None if text is None else target.parse(text)

    def split(self, name: str) -> list[Row]:
        return [row for row in self.rows if row["split"] == name]


def runs_in(directories: Sequence[Path]) -> list[Run]:
    """The runs in `directories`, each a run, a sweep or a folder of runs.

    Raises UsageError for a directory without runs.
    """
    found: dict[Path, None] = {}  # an ordered set: a repeated run counts once
    for directory in directories:
        inside = _runs_of(directory)
        if not inside:
            fault = "no run in it" if directory.is_dir() else "no such directory"
            raise UsageError(f"{directory}: {fault}; expected one with {record.FILE}, or one that holds such")
        found |= dict.fromkeys(path.resolve() for path in inside)
    names = _names(list(found))
    runs = [_run(path, name) for path, name in zip(found, names, strict=True)]
    worded = alike([run.files for run in runs])
    return [run._replace(settings=settings) for run, settings in zip(runs, worded, strict=True)]


def begun_in(sweep: Path) -> list[Run]:
    """The runs of a sweep's trials; none if no trial has begun."""
    return runs_in([sweep]) if _runs_of(sweep) else []


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
        settings = settings_of(written["experiment"])
        environment = flat({k: v for k, v in written.items() if k not in DECLARED})
        settings["run.steps"] = int(settings["run.steps"])
    except (KeyError, AttributeError, TypeError, ValueError):
        raise UsageError(f"{directory / record.FILE}: not a run's record") from None
    if text := _changed(written.get("changes", []), settings):
        settings[CHANGED] = text
    named = Named(settings, written.get("paths", {}), tuple(map(str, written.get("data") or ())))
    return Run(name, directory, settings, environment, read(directory), named)


def _changed(changes: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> str:
    """The changes after step 0 that affect results, as "step 20: run.steps 20 → 40"."""
    counted = []
    for change in changes:
        names = [name for name in change["to"] if _counts(name, settings)]
        if change["step"] and names:
            kept = {side: {name: change[side].get(name) for name in names} for side in ("from", "to")}
            counted.append(_change({"step": change["step"]} | kept))
    return "; ".join(counted)


def _counts(name: str, settings: Mapping[str, Any]) -> bool:
    """Whether a change of `name`, a setting or a fact, affects the results of a run."""
    if name == "run.steps":
        return settings.get("optimizer.rate.name") not in SCHEDULES_WITHOUT_END
    known = name in settings or name == "data" or name.startswith(OPTION)
    return known and not may_change(name, 0, 0) and name not in ("name", "run.hyperparameters")


def settings_of(declared: dict[str, Any]) -> dict[str, Any]:
    """Settings, with current defaults for those missing in an older version; as recorded if that fails."""
    try:
        settings = flatten(from_json(declared))
    except UsageError:
        return flat({name: value for name, value in declared.items() if name not in DECLARED})
    return {name: _text(list(v)) if isinstance(v, tuple) else v for name, v in settings.items()}


def _names(directories: list[Path]) -> list[str]:
    """The directories' last parts if they differ, else the paths below the common one."""
    last = [path.name for path in directories]
    if len(set(last)) == len(last):
        return last
    shared = commonpath(directories)
    return [str(path.relative_to(shared)) for path in directories]


def _text(values: list[Any]) -> str:
    """["cpu", "cpu"] → "2 × cpu"; SHA-256 sums are shortened."""
    if values and all(isinstance(value, Mapping) for value in values):  # a record's "changes"
        return "\n".join(map(_change, values))
    texts = [text[:12] + "…" if len(text := str(value)) == 64 else text for value in values]
    counts = {text: texts.count(text) for text in texts}
    return ", ".join(f"{count} × {text}" if count > 1 else text for text, count in counts.items())


def _change(change: Mapping[str, Any]) -> str:
    """A change on continuing a run: "step 40: run.steps 60 → 80"."""
    names = change["to"]
    old, new = (
        {name: _text(value) if isinstance(value := change[side].get(name), list) else value for name in names}
        for side in ("from", "to")
    )
    return f"step {change['step']}: " + ", ".join(f"{name} {old[name]} → {new[name]}" for name in names)
