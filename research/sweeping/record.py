"""The record of a sweep: `sweep.json` in its directory."""

import json
import secrets
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

from research.config import Experiment, Sweep, space
from research.config.imports import as_recorded, changed_imports, import_recorded, where_names_come_from
from research.config.registry import UnknownName
from research.config.settings import differences, from_json, override, to_json
from research.config.sweep import SETTINGS
from research.errors import UsageError
from research.io.files import catch_write_errors, read_record, write_atomic
from research.io.locks import exclusive
from research.runs import paths
from research.sweeping.directory import LOCKS, SWEEP, is_sweep, study_lock
from research.sweeping.notation import format_space

FORMAT = 1
KINDS = {"points": space.Points, "range": space.Range}
NODES = {"product": space.Product, "zip": space.Zip, "chain": space.Chain}
MAY_GROW = ("trials", "hours", "seeds", "together")  # a sweep with more of them is the same sweep


class Record(NamedTuple):
    """A sweep and the place of its study."""

    sweep: Sweep
    storage: str  # sqlite or journal (in the directory), journal:PATH, or a URL that SQLAlchemy takes
    study: str  # its name there
    imports: dict[str, dict[str, Any]]  # as research.config.imports.as_recorded gave them
    paths: dict[str, str]  # of the base: as research.runs.paths.absolute gave them


def read(directory: Path) -> Record:
    """The record in `directory`; imports again the modules and files that the sweep imported.

    Raises UsageError where there is none, or one that this version cannot read.
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
    return Record(sweep, kept["storage"], kept["study"], kept.get("imports", {}), kept.get("paths", {}))


def base_of(record: Record) -> Experiment:
    """The base, whose paths are those of the folder where the sweep was started."""
    return paths.located(record.sweep.base, record.paths)


def refuse_changed_imports(directory: Path, record: Record) -> None:
    """Raises UsageError where the next trial would run other code than the trials before it."""
    changed = changed_imports({"imports": record.imports, "sweep": sweep_to_json(record.sweep)})
    if changed:
        pairs = ", ".join(f"{name} was {old}, now {new}" for name, (old, new) in changed.items())
        raise UsageError(f"{directory}: began with other code: {pairs}; choose another --dir")


def open_sweep(directory: Path, sweep: Sweep, storage: str | None, default: str = "sqlite") -> Record:
    """Makes `directory` that of `sweep`, or checks that it is; `trials` and `hours` may differ, `seeds` grow.

    `storage` None stands for the recorded one, or for `default` in a new sweep. Of several processes that
    begin one sweep at once, one writes its record. Raises UsageError where the directory holds another sweep
    or something else.
    """
    if not is_sweep(directory) and directory.exists() and not _may_become_sweep(directory):
        raise UsageError(f"{directory}: exists and is not a sweep; choose another --dir")
    with catch_write_errors(directory), exclusive(study_lock(directory)):
        if is_sweep(directory):
            return _continue(directory, sweep, storage)
        study = f"{sweep.name or 'sweep'}-{secrets.token_hex(4)}"
        record = Record(
            sweep,
            _absolute(storage or default),
            study,
            as_recorded(sweep_to_json(sweep)),
            paths.absolute(sweep.base.data, sweep.base.start),
        )
        _write(directory, record)
        return record


def _may_become_sweep(directory: Path) -> bool:
    """Whether a directory is empty but for the locks of a process that is about to write the record."""
    return all(path.name == LOCKS for path in directory.iterdir())


def _continue(directory: Path, sweep: Sweep, storage: str | None) -> Record:
    record = read(directory)
    before = replace(record.sweep, base=_with_absolute(base_of(record)))
    if before.base.run.hyperparameters == "constants":  # begun by a version that had no inputs
        sweep = replace(sweep, base=override(sweep.base, {"run.hyperparameters": "constants"}))
    changed = sweep_differences(before, replace(sweep, base=_with_absolute(sweep.base)))
    if storage is not None and _absolute(storage) != record.storage:
        from research.sweeping.study.database import hide_password  # imports Optuna

        changed["storage"] = hide_password(record.storage), hide_password(_absolute(storage))
    fewer = {"seeds"} if sweep.seeds < before.seeds else set()
    if refused := {name: values for name, values in changed.items() if name not in MAY_GROW or name in fewer}:
        pairs = ", ".join(f"{name} was {old}, now {new}" for name, (old, new) in refused.items())
        raise UsageError(f"{directory}: holds another sweep: {pairs}; choose another --dir")
    refuse_changed_imports(directory, record)
    now = record._replace(
        sweep=sweep,
        imports=as_recorded(sweep_to_json(sweep)),
        paths=paths.absolute(sweep.base.data, sweep.base.start),
    )
    if now != record:
        _write(directory, now)
    return now


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
    for kind, cls in KINDS.items():
        if isinstance(node, cls):
            return {"kind": kind} | asdict(node)
    kind = next(kind for kind, cls in NODES.items() if isinstance(node, cls))
    return {"kind": kind, "parts": [space_to_json(part) for part in node.parts]}


def space_from_json(kept: dict[str, Any]) -> space.Space:
    kind, fields = kept["kind"], {name: value for name, value in kept.items() if name != "kind"}
    if kind in NODES:
        return NODES[kind](tuple(space_from_json(part) for part in fields["parts"]))
    if kind not in KINDS:
        raise UsageError(f"{SWEEP}: {kind}: no such kind of space in this version")
    if "values" in fields:
        fields["values"] = tuple(fields["values"])
    return KINDS[kind](**fields)


def _with_absolute(base: Experiment) -> Experiment:
    return override(base, paths.absolute(base.data, base.start))


def _absolute(storage: str) -> str:
    """Makes a path absolute, because workers have other working directories."""
    if storage.startswith("journal:"):
        return f"journal:{Path(storage.removeprefix('journal:')).expanduser().absolute()}"
    return storage


def _write(directory: Path, record: Record) -> None:
    kept = {"format": FORMAT, "storage": record.storage, "study": record.study, "paths": record.paths}
    if record.imports:
        kept["imports"] = record.imports
    write_atomic(
        directory / SWEEP, json.dumps(kept | {"sweep": sweep_to_json(record.sweep)}, indent=2) + "\n"
    )
