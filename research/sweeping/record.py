"""The record of a sweep: `sweep.json` in its directory."""

import json
import secrets
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

from research.config import Experiment, Sweep, space
from research.config.imports.recorded import (
    as_recorded,
    changed_imports,
    import_recorded,
    where_names_come_from,
)
from research.config.registry import UnknownName
from research.config.settings import differences, from_json, override, to_json
from research.config.sweep import SETTINGS
from research.config.target import direction_of
from research.errors import LineageWarning, UsageError
from research.io.files import catch_write_errors, expanded, read_record, write_atomic
from research.io.locks import describe_holder, exclusive, holder
from research.runs import paths
from research.runs.changes import format_changes
from research.sweeping.directory import LOCKS, SWEEP, is_sweep, study_lock, trial_locks
from research.sweeping.notation import format_space

FORMAT = 1
KINDS: dict[str, type[space.Space]] = {
    "points": space.Points,
    "range": space.Range,
    "product": space.Product,
    "zip": space.Zip,
    "chain": space.Chain,
}
MAY_GROW = ("trials", "hours", "seeds", "together")  # a sweep may grow in these


class Record(NamedTuple):
    """A sweep and the place of its study."""

    sweep: Sweep
    storage: str  # sqlite or journal (in the directory), journal:PATH, or an SQLAlchemy URL
    study: str  # its name there
    imports: dict[str, dict[str, Any]]  # from research.config.imports.as_recorded
    paths: dict[str, str]  # of the base, from research.runs.paths.absolute
    studies: tuple[str, ...] = ()  # earlier names, before values were added to the grid


def read(directory: Path) -> Record:
    """The record in `directory`; imports again the modules and files that the sweep imported.

    Raises UsageError if there is none, or one that this version cannot read.
    """
    kept = read_record(directory, SWEEP, "sweep")
    if kept.get("format") != FORMAT:
        raise UsageError(
            f"{directory / SWEEP}: has format {kept.get('format')}; this version reads format {FORMAT}"
        )
    import_recorded(kept)
    try:
        sweep = sweep_from_json(kept["sweep"])
    except UnknownName as error:
        raise UsageError(f"{directory}: {error}; {where_names_come_from(kept)}") from None
    more = kept.get("imports", {}), kept.get("paths", {}), tuple(kept.get("studies", ()))
    return Record(sweep, kept["storage"], kept["study"], *more)


def base_of(record: Record) -> Experiment:
    """The base experiment, with paths relative to the folder where the sweep was started."""
    return paths.located(record.sweep.base, record.paths)


def refuse_changed_imports(directory: Path, record: Record) -> None:
    """Raises UsageError if the next trial would run other code than the trials before it."""
    changed = changed_imports({"imports": record.imports, "sweep": sweep_to_json(record.sweep)})
    if changed:
        pairs = format_changes(changed)
        raise UsageError(f"{directory}: began with other code: {pairs}; choose another --dir")


def open_sweep(directory: Path, sweep: Sweep, storage: str | None, default: str = "sqlite") -> Record:
    """Creates the sweep in `directory` or checks the one there; `trials`, `hours` may differ, `seeds` grow.

    A grid may get more points while no trial runs; a new study then takes over the trials.

    `storage` None means the recorded one, or `default` for a new sweep. If several processes begin a sweep at
    once, one writes its record. Raises UsageError if the directory holds another sweep or something else.
    """
    if directory.exists() and not _may_become_sweep(directory) and not is_sweep(directory):
        raise UsageError(f"{directory}: exists and is not a sweep; choose another --dir")
    if not is_sweep(directory):  # an existing sweep keeps its recorded direction
        sweep = replace(sweep, direction=sweep.chosen_direction)
    with catch_write_errors(directory), exclusive(study_lock(directory)):
        if is_sweep(directory):
            return _continue(directory, sweep, storage)
        record = _record(sweep, _absolute(storage or default), _new_name(sweep))
        _write(directory, record)
        return record


def _record(sweep: Sweep, storage: str, study: str, studies: tuple[str, ...] = ()) -> Record:
    """The record of a sweep, with its imports and paths as they are now."""
    imports = as_recorded(sweep_to_json(sweep))
    return Record(sweep, storage, study, imports, paths.absolute(sweep.base), studies)


def _may_become_sweep(directory: Path) -> bool:
    """Whether a directory has nothing but the locks and the unfinished record of a process that begins it."""
    return all(path.name == LOCKS or path.name.startswith(f".{SWEEP}.") for path in directory.iterdir())


def _continue(directory: Path, sweep: Sweep, storage: str | None) -> Record:
    record = read(directory)
    before = replace(record.sweep, base=_with_absolute(base_of(record)))
    if before.base.run.hyperparameters == "constants":  # begun by a version without inputs
        sweep = replace(sweep, base=override(sweep.base, {"run.hyperparameters": "constants"}))
    sweep = _same_direction(before, sweep)
    changed = sweep_differences(before, replace(sweep, base=_with_absolute(sweep.base)))
    if storage is not None and _absolute(storage) != record.storage:
        from research.sweeping.study.database import hide_password  # imports Optuna

        changed["storage"] = hide_password(record.storage), hide_password(_absolute(storage))
    whole = before.chosen_sampler == sweep.chosen_sampler == "grid"
    grows = whole and "space" in changed and space.extends(sweep.space, before.space)
    fewer = {"seeds"} if sweep.seeds < before.seeds else set()
    allowed = {*MAY_GROW, "space"} if grows else set(MAY_GROW)
    if refused := {name: values for name, values in changed.items() if name not in allowed - fewer}:
        pairs = format_changes(refused)
        raise UsageError(f"{directory}: holds another sweep: {pairs}; choose another --dir")
    refuse_changed_imports(directory, record)
    if grows and (who := next(filter(None, map(holder, trial_locks(directory))), None)):
        raise UsageError(
            f"{directory}: {describe_holder(who)} trains a trial; expected lineage stop {directory} "
            "before values are added"
        )
    study, studies = record.study, record.studies
    if grows:
        study, studies = _new_name(sweep), (*studies, study)
    now = _record(sweep, record.storage, study, studies)
    if now != record:
        _write(directory, now)
    return now


def _new_name(sweep: Sweep) -> str:
    return f"{sweep.name or 'sweep'}-{secrets.token_hex(4)}"


def _same_direction(before: Sweep, sweep: Sweep) -> Sweep:
    """`sweep` with the direction of the existing study.

    Older versions minimized every metric unless a direction was typed, and recorded that.
    """
    if sweep.metric != before.metric:
        return sweep
    known = direction_of(sweep.metric)
    if sweep.direction == "auto" and known not in (None, before.chosen_direction):
        warnings.warn(
            f"--metric {sweep.metric}: this sweep was begun to {before.chosen_direction} it, and goes on so; "
            f"expected another --dir to {known} it",
            LineageWarning,
            stacklevel=3,
        )
    same = sweep.direction == "auto" or sweep.direction == before.chosen_direction
    return replace(sweep, direction=before.direction) if same else sweep


def sweep_differences(old: Sweep, new: Sweep) -> dict[str, tuple[Any, Any]]:
    """Settings that differ: {'pruner': ('none', 'asha'), 'base.run.steps': (100, 200), …}."""
    changed = {f"base.{name}": values for name, values in differences(old.base, new.base).items()}
    if old.space != new.space:
        changed["space"] = format_space(old.space), format_space(new.space)
    for name in SETTINGS:
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            changed[name] = before, after
    return changed


def sweep_to_json(sweep: Sweep) -> dict[str, Any]:
    settings = {name: getattr(sweep, name) for name in SETTINGS}
    return {"name": sweep.name, "base": to_json(sweep.base), "space": space_to_json(sweep.space)} | settings


def sweep_from_json(kept: dict[str, Any]) -> Sweep:
    settings = {name: kept[name] for name in SETTINGS if name in kept}  # older sweeps have fewer
    return Sweep(
        name=kept["name"], base=from_json(kept["base"]), space=space_from_json(kept["space"]), **settings
    )


def space_to_json(node: space.Space) -> dict[str, Any]:
    kind = {"kind": next(kind for kind, cls in KINDS.items() if isinstance(node, cls))}
    return kind | (
        asdict(node)
        if isinstance(node, space.Axis)
        else {"parts": [space_to_json(part) for part in node.parts]}
    )


def space_from_json(kept: dict[str, Any]) -> space.Space:
    fields = dict(kept)
    if (kind := fields.pop("kind")) not in KINDS:
        raise UsageError(f"{SWEEP}: {kind}: no such kind of space in this version")
    if "parts" in fields:
        fields["parts"] = tuple(map(space_from_json, fields["parts"]))
    if "values" in fields:
        fields["values"] = tuple(fields["values"])
    return KINDS[kind](**fields)


def _with_absolute(base: Experiment) -> Experiment:
    return override(base, paths.absolute(base))


def _absolute(storage: str) -> str:
    """Makes a path absolute, because workers have other working directories."""
    if storage.startswith("journal:"):
        return f"journal:{expanded(storage.removeprefix('journal:')).absolute()}"
    return storage


def _write(directory: Path, record: Record) -> None:
    kept = {"format": FORMAT} | record._asdict() | {"sweep": sweep_to_json(record.sweep)}
    write_atomic(directory / SWEEP, json.dumps(kept, indent=2) + "\n")
