"""Imports of a process: find each, execute it once, and keep it by its name."""

import hashlib
import importlib
import os
import sys
import sysconfig
import traceback
import warnings
from collections.abc import Iterable
from importlib.machinery import SourceFileLoader
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from research.config.imports import code
from research.config.registry import Registry
from research.errors import LineageError, LineageWarning, UsageError

OPTION = "--import"
VARIABLE = "LINEAGE_IMPORT"
GROUP = "lineage.experiments"


class Import(NamedTuple):
    """One imported module or file."""

    sha256: str  # of the file's bytes when it was imported
    folder: str | None  # of a module that is not installed; finds it from other folders
    file: Path | None
    root: Path  # the folder that holds the file, or the module's top-level package
    names: frozenset[tuple[str, str]]  # (setting, name) that it registered
    asked: bool  # by a person or a record; entry points are imported unasked

    def holds(self, file: Path) -> bool:
        """Whether a file is the imported one, or lies in the same top-level package."""
        if self.file is None or self.root == self.file.parent:
            return file == self.file
        return self.root / self.file.relative_to(self.root).parts[0] in file.parents


IMPORTED: dict[str, Import] = {}  # by a module's dotted name or a file's absolute path, in order
FAILED: dict[str, str] = {}  # entry points that do not load, with the reason


def imported() -> dict[str, dict[str, str]]:
    """All imports of this process: {name: {"sha256": …}}."""
    return {
        name: {"sha256": kept.sha256} | ({"folder": kept.folder} if kept.folder else {})
        for name, kept in IMPORTED.items()
    }


def import_all(options: Iterable[str] = ()) -> None:
    """Import the installed entry points, the names in LINEAGE_IMPORT, then `options`.

    Raises UsageError, in one line with the name, for one that is missing or raises. For an entry point, it
    only warns (LineageWarning): it is installed, and this command may need none of its names.
    """
    from importlib.metadata import entry_points

    for point in entry_points(group=GROUP):
        if point.module in FAILED:
            continue
        try:
            import_plugin(point.module, f"{GROUP} entry point {point.name}:", asked=False)
        except UsageError as error:
            FAILED[point.module] = str(error.__cause__)
            warnings.warn(f"{error}; its names are not known", LineageWarning, stacklevel=2)
    separated = os.environ.get(VARIABLE, "").replace(os.pathsep, ",").split(",")
    for name in filter(None, map(str.strip, separated)):
        import_plugin(name, VARIABLE)
    for name in options:
        import_plugin(name)


def import_plugin(name: str, source: str = OPTION, asked: bool = True) -> None:
    """Import a module by its dotted name or a file by its path, once per process.

    A folder stands for the package in it. An error names `source`, which asked for it. Raises UsageError.
    """
    try:
        import_once(name, asked)
    except UsageError as error:
        raise UsageError(f"{source} {name}: {error}") from error


def options() -> list[str]:
    """The imports of this process as options of a command, for a process that is started elsewhere."""
    return [part for name in IMPORTED for part in (OPTION, name)]


def is_file(name: str) -> bool:
    """Whether `name` is a file's path, not a module's dotted name."""
    return name.endswith(".py") or "/" in name or os.sep in name


def import_once(name: str, asked: bool = True) -> Import:
    """Import `name`, unless it is imported. Raises UsageError with the reason, without the name."""
    name, known = named(name), set(sys.modules)
    same = name if name in IMPORTED else same_file(name)
    if same is not None:
        IMPORTED[same] = IMPORTED[same]._replace(asked=asked or IMPORTED[same].asked)
        return IMPORTED[same]
    before = _registered()
    try:
        kept = _import_file(Path(name)) if is_file(name) else _import_module(name)
    finally:
        code.remember_modules(set(sys.modules) - known)
    IMPORTED[name] = kept._replace(names=frozenset(_registered() - before), asked=asked)
    return IMPORTED[name]


def named(name: str) -> str:
    """A file's absolute path, or a module's name; for a package's folder, append its parent to the path."""
    if not is_file(name):
        return name
    path = Path(os.path.expanduser(name)).absolute()
    if path.is_dir():
        if not (path / "__init__.py").is_file():
            raise UsageError("a folder without __init__.py; expected a package, or a file's path")
        _append_to_path(str(path.parent))
        spec = find_spec(path.name)
        if spec is None or spec.origin is None or not Path(spec.origin).samefile(path / "__init__.py"):
            other = "nothing" if spec is None else spec.origin
            raise UsageError(f"Python finds {other} by the name {path.name}; expected another folder's name")
        return path.name
    return str(path)


def same_file(name: str) -> str | None:
    """The name under which the file of a module or path is already imported."""
    if is_file(name):
        path = Path(name)
    else:
        _append_to_path(str(Path.cwd()))
        if "." in name and name.rpartition(".")[0] not in sys.modules:
            return None
        try:
            spec = find_spec(name)
        except (ImportError, ValueError, AttributeError):
            return None
        if spec is None or not spec.has_location or spec.origin is None:
            return None
        path = Path(spec.origin)
    return next((other for other, kept in IMPORTED.items() if kept.file == path.absolute()), None)


def _registered() -> set[tuple[str, str]]:
    return {(registry.setting, name) for registry in Registry.every for name in registry.files()}


class _UncachedLoader(SourceFileLoader):
    """Always compiles the source: Python checks its cache by file size and time in seconds alone."""

    def get_code(self, fullname: str) -> Any:
        return self.source_to_code(self.get_data(self.path), self.path)


def _import_file(path: Path) -> Import:
    """Import `path` under a unique name, which shadows no module; it can import its siblings."""
    if not path.is_file():
        raise UsageError("no such file")
    name = f"lineage_import_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    digest = _digest(path)
    kept = Import(digest, None, path, path.parent, frozenset(), True)
    others = (module for other, module in list(sys.modules.items()) if other not in ("__main__", name))
    if any(file_of(module) == path for module in others):  # another import has imported it as a module
        return kept
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
    return kept


def _import_module(name: str) -> Import:
    _append_to_path(str(Path.cwd()))  # the console script lacks it; `python -m launch` has it
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            raise UsageError("no such module; expected one, or a file's path that ends in .py") from error
        raise _raised(error) from error
    file = file_of(module)
    if file is None:
        return Import("none", None, None, Path.cwd(), frozenset(), True)
    root = _root(module, file)
    installed = str(root) in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
    return Import(_digest(file), None if installed else str(root), file, root, frozenset(), True)


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


def file_of(module: ModuleType | None) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).absolute() if file else None


def _root(module: ModuleType, file: Path) -> Path:
    """The entry of sys.path that holds a module's top-level package."""
    return file.parents[module.__name__.count(".") + hasattr(module, "__path__")]


def _append_to_path(folder: str) -> None:
    """Append a folder: at the front, a file beside a plugin could shadow a library."""
    if folder not in sys.path:
        sys.path.append(folder)


def _digest(path: Path) -> str:
    return hashlib.sha256(code.remember(path)).hexdigest()
