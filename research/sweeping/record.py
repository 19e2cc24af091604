"""What is swept, kept: `sweep.json` in the sweep's directory."""

import json
import secrets
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from research.config import Sweep, space
from research.config.imports import changed_imports, import_recorded, imported, where_names_come_from
from research.config.registry import UnknownName
from research.config.settings import differences, from_json, override, to_json, typed
from research.config.sweep import SETTINGS
from research.errors import UsageError
from research.io.files import catch_write_errors, write_atomic

FILE = "sweep.json"
FORMAT = 1
KINDS = {"points": space.Points, "range": space.Range}
NODES = {"product": space.Product, "zip": space.Zip, "chain": space.Chain}
MAY_GROW = ("trials", "hours")  # a sweep with more of them is the same sweep


class Record(NamedTuple):
    """A sweep and where its study is."""

    sweep: Sweep
    storage: str  # sqlite or journal, in the directory; journal:PATH, or an URL of SQLAlchemy's
    study: str  # its name there
    imports: dict[str, dict[str, str]]  # as research.config.imports.imported gave them


def is_sweep(directory: Path) -> bool:
    return (directory / FILE).exists()


def read(directory: Path) -> Record:
    """The sweep in `directory`, once what it imported is imported again.

    Raises UsageError where there is none, or one that this version cannot read.
    """
    path = directory / FILE
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{directory}: not a sweep, it has no {FILE}") from None
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}: not JSON: {error}") from None
    if kept.get("format") != FORMAT:
        raise UsageError(f"{path}: has format {kept.get('format')}; this version reads format {FORMAT}")
    import_recorded(kept)
    try:
        sweep = sweep_from_json(kept["sweep"])
    except UnknownName as error:
        raise UsageError(f"{directory}: {error}; {where_names_come_from(kept)}") from None
    return Record(sweep, kept["storage"], kept["study"], kept.get("imports", {}))


def refuse_changed_imports(directory: Path, record: Record) -> None:
    """Raises UsageError where a trial would run other code than those before it."""
    changed = changed_imports({"imports": record.imports})
    if changed:
        pairs = ", ".join(f"{name} was {old}, now {new}" for name, (old, new) in changed.items())
        raise UsageError(f"{directory}: was begun with other code: {pairs}; choose another --dir")


def claim(directory: Path, sweep: Sweep, storage: str | None, default: str = "sqlite") -> Record:
    """Makes `directory` that of `sweep`, or sees that it is; a budget may have changed.

    `storage` None is what is recorded, or `default` for a new sweep. Raises UsageError where the directory
    holds another sweep or something else.
    """
    if not is_sweep(directory):
        if directory.exists() and any(directory.iterdir()):
            raise UsageError(f"{directory}: exists and is not a sweep; choose another --dir")
        study = f"{sweep.name or 'sweep'}-{secrets.token_hex(4)}"
        record = Record(sweep, _absolute(storage or default), study, imported())
        with catch_write_errors(directory):
            directory.mkdir(parents=True, exist_ok=True)
        _write(directory, record)
        return record
    record = read(directory)
    changed = sweep_differences(record.sweep, sweep)
    if storage is not None and _absolute(storage) != record.storage:
        changed["storage"] = record.storage, _absolute(storage)
    if refused := {name: values for name, values in changed.items() if name not in MAY_GROW}:
        told = ", ".join(f"{name} was {old}, now {new}" for name, (old, new) in refused.items())
        raise UsageError(f"{directory}: holds another sweep: {told}; choose another --dir")
    refuse_changed_imports(directory, record)
    now = record._replace(sweep=sweep, imports=imported())
    if now != record:
        _write(directory, now)
    return now


def sweep_differences(old: Sweep, new: Sweep) -> dict[str, tuple[Any, Any]]:
    """{'pruner': ('none', 'asha'), 'base.run.steps': (100, 200), …}"""
    changed = {f"base.{name}": values for name, values in differences(old.base, new.base).items()}
    if old.space != new.space:
        changed["space"] = describe(old.space), describe(new.space)
    for name in SETTINGS:
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            changed[name] = before, after
    return changed


def describe(node: space.Space) -> str:
    """A space in a line, as it would be typed."""
    match node:
        case space.Points(name, values):
            return f"{name}={','.join(map(str, values))}"
        case space.Range(name, low, high, log, step):
            kind = {
                (False, False): "uniform",
                (True, False): "log",
                (False, True): "int",
                (True, True): "logint",
            }
            by = f":{step}" if step not in (None, 1) else ""
            return f"{name}={kind[log, step is not None]}:{low:g}..{high:g}{by}"
        case space.Product(parts):
            return " × ".join(
                f"({describe(p)})" if isinstance(p, space.Chain) else describe(p) for p in parts
            )
        case space.Zip(parts):
            return f"zip({', '.join(map(describe, parts))})"
        case space.Chain(parts):
            return " | ".join(map(describe, parts))


def validated(sweep: Sweep) -> Sweep:
    """`sweep` with every value as its setting takes it.

    Raises UsageError for an unknown setting, a value of the wrong type, and where the sampler is grid for a
    point that makes no experiment; other samplers meet such points one by one.
    """
    base = sweep.base

    def known(node: space.Space) -> space.Space:
        if isinstance(node, space.Points):
            values = tuple(typed(base, node.name, value) for value in node.values)
            return space.Points(node.name, values, node.every)
        if isinstance(node, space.Range):
            ends = [typed(base, node.name, end) for end in (node.low, node.high)]
            if node.step is None and isinstance(ends[0], int):
                raise UsageError(
                    f"{node.name}: {node.low:g}..{node.high:g}: expected integers: int:LOW..HIGH"
                )
            if not isinstance(ends[0], int | float):
                raise UsageError(f"{node.name}: {node.low:g}..{node.high:g}: expected a list of values")
            return node
        return type(node)(tuple(map(known, node.parts)))

    kept = {name: getattr(sweep, name) for name in SETTINGS}
    sweep = Sweep(name=sweep.name, base=base, space=known(sweep.space), **kept)
    if sweep.chosen_sampler == "grid":
        for point in space.points(sweep.space):
            override(base, point)
    return sweep


def sweep_to_json(sweep: Sweep) -> dict[str, Any]:
    settings = {name: getattr(sweep, name) for name in SETTINGS}
    return {"name": sweep.name, "base": to_json(sweep.base), "space": space_to_json(sweep.space)} | settings


def sweep_from_json(kept: dict[str, Any]) -> Sweep:
    settings = {name: kept[name] for name in SETTINGS}
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
        raise UsageError(f"{FILE}: {kind}: no such kind of space in this version")
    if "values" in fields:
        fields["values"] = tuple(fields["values"])
    return KINDS[kind](**fields)


def _absolute(storage: str) -> str:
    """So that it means the same from every worker's working directory."""
    if storage.startswith("journal:"):
        return f"journal:{Path(storage.removeprefix('journal:')).expanduser().absolute()}"
    return storage


def _write(directory: Path, record: Record) -> None:
    kept = {"format": FORMAT, "storage": record.storage, "study": record.study}
    if record.imports:
        kept["imports"] = record.imports
    write_atomic(directory / FILE, json.dumps(kept | {"sweep": sweep_to_json(record.sweep)}, indent=2) + "\n")
