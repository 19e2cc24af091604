"""The code behind registered names: its files, each with a hash that comments do not change.

A definition counts if code that counts mentions its name; a registration counts if its name is used. Adding
an experiment to a file thus changes no hash for runs of another one. The search ignores scopes, so it errs
towards counting too much. Standard library only.
"""

import ast
import hashlib
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

from research.config.registry import OURS

Sums = dict[str, dict[str, str]]  # {file: {"sha256": of its bytes, "code": of the code that counts}}
# Code with one of these names may import modules that no statement names.
DYNAMIC = {"import_module", "__import__", "iter_modules", "walk_packages", "spec_from_file_location", "exec"}

_loaded: dict[Path, bytes] = {}  # files as imported; later edits do not run


def remember(file: Path) -> bytes:
    """Read and keep the bytes of a file that is being imported."""
    _loaded[file] = file.read_bytes()
    return _loaded[file]


def content(file: Path) -> bytes:
    """The bytes of a file as this process imported it, or else as it is on disk."""
    return _loaded.get(file) or file.read_bytes()


def edited() -> list[Path]:
    """The files whose bytes on disk are no longer those that were imported."""
    return [file for file, content in _loaded.items() if file.is_file() and file.read_bytes() != content]


def remember_modules(names: Iterable[str]) -> None:
    """`remember` the files of these modules, except ours, Python's and installed ones."""
    for name in names:
        file = getattr(sys.modules.get(name), "__file__", None)
        if file and file.endswith(".py") and is_outside(name) and not is_installed(Path(file)):
            remember(Path(file).absolute())


def is_outside(module: str) -> bool:
    """Whether a module is neither ours nor Python's."""
    top = module.partition(".")[0]
    return top not in OURS and top not in sys.stdlib_module_names


def is_installed(path: Path) -> bool:
    """Whether a file belongs to Python or to an installed package."""
    return not {"site-packages", "dist-packages"}.isdisjoint(path.parts) or STANDARD in path.parents


STANDARD = Path(sysconfig.get_path("stdlib"))


def code_of(files: Iterable[Path], used: set[str], root: Path) -> Sums:
    """Hash the code in `files` that registers names in `used`, and the files that it imports.

    Paths are relative to `root`; those of other folders, to the folder that holds their package.
    """
    behind = _Behind(used, root)
    behind.find(files)
    return {
        file.relative_to(behind.root_of(file)).as_posix(): {
            "sha256": hashlib.sha256(source.content).hexdigest(),
            "code": hashlib.sha256(source.text(behind).encode()).hexdigest(),
        }
        for file, source in behind.sources.items()
    }


class _Behind:
    """The search for all code behind the names `used`."""

    def __init__(self, used: set[str], root: Path):
        self.used, self.root = used, root
        self.sources: dict[Path, _Source] = {}
        self.mentioned: set[str] = set()  # identifiers in code that counts

    def find(self, files: Iterable[Path]) -> None:
        for file in files:
            self._add(file, follow=True)
        before = None
        while before != (before := (len(self.mentioned), len(self.sources), self._followed())):
            for file, source in list(self.sources.items()):
                for statement in source.statements:
                    if self.counts(statement):
                        self.mentioned |= _identifiers(statement)
                        self._follow(file, source, _imports(statement))
                self._follow(file, source, source.imports)
                if source.follow and source.mentioned & DYNAMIC:
                    self._add_loaded(file)

    def counts(self, statement: ast.stmt) -> bool:
        match statement:
            case ast.Expr(value=ast.Call(func=ast.Call() as call)) if name := _registered(call):
                return name in self.used
            case ast.Assign(targets=targets, value=value) if all(isinstance(t, ast.Name) for t in targets):
                acts = any(isinstance(node, ast.Call | ast.NamedExpr) for node in ast.walk(value))
                return acts or not self.mentioned.isdisjoint(_identifiers(ast.Tuple(targets, ast.Load())))
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                names = [_registered(decorator) for decorator in statement.decorator_list]
                acts = any(name is None or name in self.used for name in names)
                return acts or statement.name in self.mentioned
        return True

    def root_of(self, file: Path) -> Path:
        """The folder that module names start from."""
        if self.root in file.parents and not is_installed(self.root / "x"):
            return self.root
        folder = file.parent
        while (folder / "__init__.py").is_file():
            folder = folder.parent
        return folder

    def _followed(self) -> int:
        return sum(source.follow for source in self.sources.values())

    def _add(self, file: Path, follow: bool) -> None:
        """Add a file and its packages, which Python executes too; their other imports are not followed."""
        if file not in self.sources:
            self.sources[file] = _Source(file)
            folder, root = file.parent, self.root_of(file)
            while folder != root:
                if (around := folder / "__init__.py").is_file():
                    self._add(around, follow=False)
                folder = folder.parent
        self.sources[file].follow |= follow

    def _add_loaded(self, file: Path) -> None:
        folder = self.root_of(file)
        package = folder / file.relative_to(folder).parts[0]
        for module in list(sys.modules.values()):
            path = Path(getattr(module, "__file__", None) or "/")
            if package in path.parents and path.suffix == ".py":
                self._add(path, follow=True)

    def _follow(self, file: Path, source: "_Source", statements: Iterable[ast.stmt]) -> None:
        for statement in statements if source.follow else ():
            for alias in getattr(statement, "names", ()):
                bound = alias.asname or alias.name.partition(".")[0]
                # An import whose name the file never mentions is there for its side effects.
                if bound in self.mentioned or bound not in source.mentioned:
                    if isinstance(statement, ast.ImportFrom):
                        self.mentioned.add(alias.name)
                    for found in self._files(file, statement, alias.name):
                        self._add(found, follow=True)

    def _files(self, file: Path, statement: ast.stmt, name: str) -> Iterator[Path]:
        """The files under `file`'s root that an import names: a module, or a package's `__init__`."""
        root = folder = self.root_of(file)
        parts = [name.split(".")]
        if isinstance(statement, ast.ImportFrom):
            folder = file.parents[statement.level - 1] if statement.level else root
            module = statement.module.split(".") if statement.module else []
            parts = [[*module, name], module]
        for path in (folder.joinpath(*each) for each in parts):
            for found in (path.with_name(f"{path.name}.py"), path / "__init__.py"):
                if found.is_file() and self._is_own(found, file, root):
                    yield found
                    return

    def _is_own(self, found: Path, file: Path, root: Path) -> bool:
        if found == file or root not in found.parents:
            return False
        parts = found.relative_to(root).with_suffix("").parts
        module = ".".join(parts).removesuffix(".__init__")
        loaded = getattr(sys.modules.get(module), "__file__", None)
        elsewhere = loaded is not None and Path(loaded).absolute() != found
        foreign = is_installed(found) and parts[0] != file.relative_to(root).parts[0]
        return is_outside(module) and not elsewhere and not foreign


class _Source:
    """A file's top-level statements without docstrings; imports are kept separately."""

    def __init__(self, file: Path):
        self.follow = False
        self.content = content(file)
        tree = _Plain().visit(ast.parse(self.content))
        self.imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        self.statements = [node for node in tree.body if not isinstance(node, ast.Import | ast.ImportFrom)]
        self.mentioned = set().union(*map(_identifiers, self.statements))

    def text(self, behind: _Behind) -> str:
        """The code that counts, and the imports of names that it mentions."""
        lines = [ast.unparse(statement) for statement in self.statements if behind.counts(statement)]
        for statement in self.imports:
            source = "." * getattr(statement, "level", 0) + (getattr(statement, "module", None) or "")
            for alias in statement.names:
                bound = alias.asname or alias.name.partition(".")[0]
                if bound in behind.mentioned or bound == "*" or source == "__future__":
                    lines.append(f"{source} {ast.unparse(alias)}")
        return "\n".join(lines)


class _Plain(ast.NodeTransformer):
    """Drops docstrings and other bare constants."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        return ast.Pass() if isinstance(node.value, ast.Constant) else self.generic_visit(node)


def _registered(node: ast.expr) -> str | None:
    """The name that a decorator registers; "" for @experiment and @sweep, None for other decorators."""
    match node:
        case ast.Call(func=ast.Attribute(attr="register"), args=[ast.Constant(value=str(name))]):
            return name
        case ast.Name(id="experiment" | "sweep") | ast.Attribute(attr="experiment" | "sweep"):
            return ""
    return None


def _identifiers(node: ast.AST) -> set[str]:
    """All names in a piece of code, and strings that may be names, as for `getattr`."""
    found = set()
    for part in ast.walk(node):
        match part:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name):
                found.add(name)
            case ast.Constant(value=str(name)) if name.isidentifier():
                found.add(name)
    return found


def _imports(statement: ast.stmt) -> list[ast.stmt]:
    return [node for node in ast.walk(statement) if isinstance(node, ast.Import | ast.ImportFrom)]
