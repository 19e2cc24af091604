"""Imports of external modules and files, which register experiments, optimizers, model parts …

They come from `--import`, LINEAGE_IMPORT and the entry-point group `lineage.experiments`. A run's record
keeps their names and hashes, to import them again. Standard library only.
"""

import hashlib
import importlib
import os
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Mapping
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from research.errors import LineageError, UsageError

OPTION = "--import"
VARIABLE = "LINEAGE_IMPORT"
GROUP = "lineage.experiments"


class Import(NamedTuple):
    """One imported module or file. Modules that it imports itself are not hashed."""

    sha256: str  # of the file's bytes when it was imported
    folder: str | None = None  # location of a module that is not installed


_imported: dict[str, Import] = {}  # by a module's dotted name or a file's absolute path, in order


def imported() -> dict[str, dict[str, str]]:
    """All imports of this process, as a record keeps them: {name: {"sha256": …}}."""
    return {
        name: {key: value for key, value in kept._asdict().items() if value is not None}
        for name, kept in _imported.items()
    }


def import_all(options: Iterable[str] = ()) -> None:
    """Import the installed entry points, the names in LINEAGE_IMPORT, then `options`.

    Raises UsageError, in one line with the name, for one that is missing or raises.
    """
    from importlib.metadata import entry_points

    for point in entry_points(group=GROUP):
        import_plugin(point.module, f"{GROUP} entry point {point.name}:")
    separated = os.environ.get(VARIABLE, "").replace(os.pathsep, ",").split(",")
    for name in filter(None, map(str.strip, separated)):
        import_plugin(name, VARIABLE)
    for name in options:
        import_plugin(name)


def import_plugin(name: str, source: str = OPTION) -> None:
    """Import a module by its dotted name or a file by its path, once per process.

    `source` tells in an error where the import comes from. Raises UsageError.
    """
    try:
        _import_once(name)
    except UsageError as error:
        raise UsageError(f"{source} {name}: {error}") from error


def import_recorded(record: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Import the modules that a run's or a sweep's record names, and compare their hashes.

    Returns {name: (recorded hash, current hash or the reason why there is none)} for those that differ, with
    hashes of 12 digits. A moved file may be imported with --import first: it is recognised by its hash or
    file name.
    """
    changes = {}
    for name, facts in record.get("imports", {}).items():
        before = facts["sha256"]
        if (folder := facts.get("folder")) is not None:
            _append_to_path(folder)
        try:
            present = _stand_in(name, before) or _import_once(name)
        except UsageError as error:
            changes[name] = before[:12], str(error)
            continue
        if present.sha256 != before:
            changes[name] = before[:12], present.sha256[:12]
    return changes


def changed_imports(record: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """`import_recorded`, with names that mark imports in messages."""
    return {f"{OPTION} {name}": pair for name, pair in import_recorded(record).items()}


def where_names_come_from(record: Mapping[str, Any]) -> str:
    """Advice for a record with an unregistered name."""
    lost = [f"{name} ({now})" for name, (_, now) in import_recorded(record).items()]
    if lost:
        return f"it was made with {', '.join(lost)}; pass its new location with {OPTION}"
    return f"pass the module or file that registers it with {OPTION}"


def options() -> list[str]:
    """The imports of this process as options of a command, for a process that is started elsewhere."""
    return [part for name in _imported for part in (OPTION, name)]


def is_file(name: str) -> bool:
    """Whether `name` is a file's path, not a module's dotted name."""
    return name.endswith(".py") or "/" in name or os.sep in name


def _import_once(name: str) -> Import:
    """Raises UsageError with the reason, without the name."""
    key = str(Path(name).expanduser().absolute()) if is_file(name) else name
    if key not in _imported:
        _imported[key] = _import_file(Path(key)) if is_file(name) else _import_module(name)
    return _imported[key]


class _UncachedLoader(SourceFileLoader):
    """Always compiles the file: Python's cache compares only its size and seconds."""

    def get_code(self, fullname: str) -> Any:
        return self.source_to_code(self.get_data(self.path), self.path)


def _import_file(path: Path) -> Import:
    """Import `path` under a unique name, so that it shadows no module; siblings can be imported."""
    if not path.is_file():
        raise UsageError("no such file")
    name = f"lineage_import_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    digest = _digest(path)
    _append_to_path(str(path.parent))
    loader = _UncachedLoader(name, str(path))
    spec = spec_from_file_location(name, path, loader=loader)
    assert spec is not None  # it is None only where no loader is known
    module = sys.modules[name] = module_from_spec(spec)
    try:
        loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _raised(error, path) from error
    return Import(digest)


def _import_module(name: str) -> Import:
    _append_to_path(str(Path.cwd()))  # the console script lacks it, unlike `python -m launch`
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            raise UsageError("no such module; expected one, or a file's path that ends in .py") from error
        raise _raised(error) from error
    file = getattr(module, "__file__", None)
    return Import(_digest(Path(file)) if file else "none", _folder(module))


def _raised(error: BaseException, path: Path | None = None) -> UsageError:
    """A module's exception as one line, with the line of `path` (or of any file) that raised it."""
    if isinstance(error, LineageError):
        return UsageError(str(error))
    if isinstance(error, SyntaxError):
        return UsageError(f"{error.msg} ({error.filename}, line {error.lineno})")
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if path is not None and frame.filename == str(path)] or frames
    text = " ".join(str(error).split())
    return UsageError(f"{type(error).__name__}: {text} ({own[-1].filename}, line {own[-1].lineno})")


def _stand_in(name: str, sha256: str) -> Import | None:
    """The import for a recorded name: of that name, or of a copied or moved file."""
    if name in _imported or not is_file(name):
        return _imported.get(name)
    files = {Path(other): kept for other, kept in _imported.items() if is_file(other)}
    copies = [kept for kept in files.values() if kept.sha256 == sha256]
    moved = [kept for path, kept in files.items() if path.name == Path(name).name and not Path(name).exists()]
    return next(iter(copies + moved), None)


def _folder(module: ModuleType) -> str | None:
    """The entry of sys.path that holds a module's top-level package; None for one that is installed."""
    if not (file := getattr(module, "__file__", None)):
        return None
    depth = module.__name__.count(".") + hasattr(module, "__path__")
    folder = str(Path(file).absolute().parents[depth])
    installed = folder in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
    return None if installed else folder


def _append_to_path(folder: str) -> None:
    """Appends to sys.path, at the end, so that a file beside a plugin cannot shadow a library."""
    if folder not in sys.path:
        sys.path.append(folder)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
