"""A run's record: the resolved declaration, imports, versions, devices and commit."""

import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from research.config import Data, Experiment, Model
from research.config.imports.recorded import (
    as_recorded,
    changed_imports,
    import_recorded,
    where_names_come_from,
)
from research.config.registry import UnknownName
from research.config.settings import differences, from_json, to_json
from research.errors import LineageWarning, UsageError
from research.io.files import catch_write_errors, read_record, write_atomic
from research.runs import paths
from research.runs.changes import PLACES, between, describe_schedule, format_changes, may_change, surroundings
from research.runs.environment import environment
from research.runs.lock import FILE as LOCK
from research.runs.lock import locked
from research.runs.status import has_begun

if TYPE_CHECKING:
    from research.models.attention_choice import Choice

FILE = "experiment.json"
FETCHED = ".fetched"  # has a run's files while its copy is fetched


def read(directory: Path) -> dict[str, Any]:
    """The record in `directory`, after the run's imports are imported again.

    Raises UsageError if there is none or it cannot be read.
    """
    record = read_record(directory, FILE, "run")
    import_recorded(record)
    return record


def experiment_of(directory: Path, warn: bool = True) -> Experiment:
    """The declaration in `directory`'s record.

    Raises UsageError if there is none, or if it has a name that is not registered. A missing or changed
    import is a LineageWarning, if `warn`, since it may still work; `open_run` refuses to continue such a run.
    """
    record = read(directory)
    experiment = declared(directory, record)
    if warn and (changed := changed_imports(record)):
        warnings.warn(f"{directory}: {format_changes(changed)}", LineageWarning, stacklevel=2)
    return experiment


def declared(place: Path | str, record: Mapping[str, Any]) -> Experiment:
    """The experiment of a record. Raises UsageError for unregistered names, and if it is not a run's."""
    try:
        return paths.located(from_json(record["experiment"]), record.get("paths", {}))
    except UnknownName as error:
        raise UsageError(f"{place}: {error}; {where_names_come_from(record)}") from None
    except UsageError as error:
        raise UsageError(f"{place}/{FILE}: {error}") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{place}/{FILE}: not a run's record: {error!r}") from None


@contextmanager
def open_run(
    directory: Path, experiment: Experiment, report: Callable[[str], None], allow_change: bool
) -> Iterator[bool]:
    """Locks `directory` for a run of `experiment`; yields whether it already holds that run.

    Raises as `examine` and `locked` do, in all processes. The first process has the lock, which all must see.
    """
    from research.devices.processes import (
        agreed,
        check_shared,
    )  # imports JAX, which no reader of a record needs

    with ExitStack() as kept:

        def enter() -> bool:
            examine(directory, experiment, allow_change=allow_change)
            kept.enter_context(locked(directory, report))
            return examine(directory, experiment, allow_change=allow_change)

        known = bool(agreed(enter))
        check_shared(directory / LOCK)
        yield known


def examine(
    directory: Path,
    experiment: Experiment,
    facts: Mapping[str, Any] | None = None,
    allow_change: bool = False,
) -> bool:
    """Whether `directory` already holds a run of `experiment`; a run without a step is started anew.

    For a continued run, `facts` (fingerprints of its data and teacher) must be equal too. Moved data are the
    same data; without facts, their names are not compared. Raises UsageError if the directory holds something
    else or, unless `allow_change`, a run that differs in settings other than those that `may_change`;
    EnvironmentFault if it cannot be written.
    """
    _try_writing(directory)
    if not (directory / FILE).exists():
        if directory.exists() and any(path.name not in (LOCK, FETCHED) for path in directory.iterdir()):
            raise UsageError(f"{directory}: exists and is not a run; choose another --dir")
        return False
    if not has_begun(directory):
        return False
    refuse_changes(directory, read(directory), experiment, facts or {}, allow_change, "choose another --dir")
    return True


def refuse_changes(
    place: Path | str,
    kept: Mapping[str, Any],
    experiment: Experiment,
    facts: Mapping[str, Any],
    allow_change: bool,
    choice: str,
) -> None:
    """Raises UsageError if the run of the record `kept`, in `place`, may not continue as `experiment`."""
    changed = _changed(place, kept, experiment, facts)
    refused = {name: pair for name, pair in changed.items() if not may_change(name, *pair)}
    if "data" not in changed:
        refused = {name: pair for name, pair in refused.items() if name not in PLACES}
    if refused and not allow_change:
        choices = f"{choice}, or --allow-change"
        if "run.steps" in refused:  # `check` refuses fewer
            choices += ", with no fewer steps than the run has made; more steps need no flag"
        raise UsageError(f"{place}: holds another run: {format_changes(refused)}; {choices}")


@contextmanager
def advice_on_moved_data(directory: Path, experiment: Experiment) -> Iterator[None]:
    """Adds to a UsageError about a run's missing data how to name their new place."""
    try:
        yield
    except UsageError as error:
        gone = paths.gone(experiment.data) if (directory / FILE).exists() else []
        if not gone:
            raise
        advice = " ".join(f"{name}=files:NEWPLACE" for name in gone)
        raise UsageError(f"{error}; if they were moved, {advice} names them where they are") from error


def check(
    directory: Path,
    experiment: Experiment,
    facts: Mapping[str, Any],
    step: int = 0,
    allow_change: bool = False,
) -> bool:
    """As `examine`, but also raises what `claim` would raise for a run that continues at `step`."""
    known = examine(directory, experiment, facts, allow_change)
    _attention(experiment.model, experiment.data)
    if known and step > experiment.run.steps:
        raise UsageError(f"run.steps={experiment.run.steps}: the run is already at step {step}")
    return known


def differs(directory: Path, experiment: Experiment, name: str) -> bool:
    """Whether the run in `directory` was declared with another value of the setting `name`."""
    return name in _changed(directory, read(directory), experiment, {})


def claim(
    directory: Path,
    experiment: Experiment,
    facts: Mapping[str, Any],
    step: int = 0,
    report: Callable[[str], None] = print,
    allow_change: bool = False,
    chosen: Mapping[str, Any] | None = None,
) -> None:
    """Makes `directory` a run of `experiment`, if `check` allows it.

    The record of a run that continues at `step` lists the changes since it was written. `chosen` are settings
    resolved for the current devices.
    """
    known = check(directory, experiment, facts, step, allow_change)
    declared = {"experiment": to_json(experiment), "paths": paths.absolute(experiment)}
    known_facts = {name: fact for name, fact in facts.items() if fact is not None}
    now = declared | known_facts | environment()
    if plugins := as_recorded(now["experiment"]):
        now["imports"] = plugins
    now["attention"] = _attention(experiment.model, experiment.data)._asdict()
    if chosen:
        now["chosen"] = dict(chosen)
    if not known:
        with catch_write_errors(directory):
            directory.mkdir(parents=True, exist_ok=True)
        write_atomic(directory / FILE, json.dumps(now, indent=2) + "\n")
        return
    before = read(directory)
    now |= {"branch": before["branch"]} if "branch" in before else {}
    changed = _changed(directory, before, experiment, facts)
    around = between(surroundings(before), surroundings(now, chosen="chosen" in before))
    now["experiment"] = to_json(_as_typed(before, experiment))
    if not changed | around:
        if before.get("paths") != now["paths"]:
            write_atomic(directory / FILE, json.dumps(before | {"paths": now["paths"]}, indent=2) + "\n")
        return
    if changed:
        stretched = describe_schedule(experiment.optimizer.rate.name, experiment.run.steps, changed)
        report(f"changed from step {step} on: {format_changes(changed)}{stretched}")
    old, new = ({name: pair[side] for name, pair in (changed | around).items()} for side in (0, 1))
    changes = [*before.get("changes", []), {"step": step, "from": old, "to": new}]
    write_atomic(directory / FILE, json.dumps(now | {"changes": changes}, indent=2) + "\n")


def _changed(
    place: Path | str, record: Mapping[str, Any], experiment: Experiment, facts: Mapping[str, Any]
) -> dict[str, tuple]:
    """{name: (as recorded, now)} for settings, facts and imports."""
    declared(place, record)  # raises for names that are not registered
    settings = differences(from_json(record["experiment"]), _as_typed(record, experiment))
    weights = paths.other_weights(experiment, record.get("paths", {}))
    recorded = {name: record.get(name) for name in facts}
    return settings | weights | between(recorded, facts) | changed_imports(record)


def _as_typed(record: Mapping[str, Any], experiment: Experiment) -> Experiment:
    """`experiment`, with the record's paths where both name the same files."""
    return paths.as_recorded(experiment, from_json(record["experiment"]), record.get("paths", {}))


def _attention(model: Model, data: Data) -> "Choice":
    from research.models.attention_choice import choose

    return choose(model, True, data.attend == "document", data.length)


def _try_writing(directory: Path) -> None:
    """Checks, before data are prepared, that files can be written; leaves nothing behind."""
    existing = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    probe = existing / f".lineage-{os.getpid()}"
    with catch_write_errors(directory):
        try:
            probe.write_bytes(b"?")
        finally:
            if existing.is_dir():
                probe.unlink(missing_ok=True)
