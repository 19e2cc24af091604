"""`python_docs`: two megabytes of English text from the Python interpreter itself, as a TFDS data set.

The documents are the language reference of `pydoc_data.topics`, and the docstrings of the
standard library, one document per module, with headings that name each class and function.
"""

import ast
import hashlib
import importlib
import inspect
import platform
import re
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics
from typing import ClassVar

import tensorflow_datasets as tfds

SKIPPED = (  # not part of the library, without prose, or deprecated
    "test", "tests", "pydoc_data", "site-packages", "dist-packages",
    "distutils", "encodings", "ensurepip", "idlelib", "lib2to3", "turtledemo",
)  # fmt: skip
COMPILED = (
    "_collections", "_csv", "_datetime", "_functools", "_io", "_operator", "_socket", "_struct", "_thread",
    "array", "atexit", "binascii", "builtins", "cmath", "errno", "faulthandler", "gc", "itertools", "marshal",
    "math", "mmap", "posix", "pyexpat", "select", "sys", "time", "unicodedata", "zlib",
)  # fmt: skip

Entry = tuple[str, str]  # (heading, docstring); either may be empty


class PythonDocs(tfds.core.GeneratorBasedBuilder):
    """Text of the running interpreter. It differs between versions, so the version names the config."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(
            name=f"{sys.implementation.name}-{platform.python_version()}", description="Of this interpreter."
        )
    ]

    def _info(self):
        return self.dataset_info_from_configs(
            description=__doc__,
            features=tfds.features.FeaturesDict({"name": tfds.features.Text(), "text": tfds.features.Text()}),
        )

    def _split_generators(self, dl_manager):
        texts = dict(documents())
        validation = {name: texts.pop(name) for name in list(texts) if validates(name)}
        return {"train": self._generate_examples(texts), "validation": self._generate_examples(validation)}

    def _generate_examples(self, texts):
        for name, text in texts.items():
            yield name, {"name": name, "text": text}


def documents() -> Iterator[tuple[str, str]]:
    """(name, text) of every document, in a fixed order, without text that repeats earlier documents."""
    seen = set()
    for name, entries in _entries():
        parts = []
        for heading, docstring in entries:
            paragraphs = set(docstring.split("\n\n"))
            if _length(paragraphs - seen) > _length(paragraphs) / 2:
                parts += [heading, docstring] if heading else [docstring]
            seen |= paragraphs
        if parts:
            yield name, "\n\n".join(parts) + "\n"


def _length(paragraphs: set[str]) -> int:
    return sum(map(len, paragraphs))


def validates(name: str) -> bool:
    """One document in twenty, 100 kB in total. The hash never changes, so neither does the split."""
    digest = hashlib.sha256(f"python_docs/{name}".encode()).digest()
    return int.from_bytes(digest[:8]) < 2**64 // 20


def _entries() -> Iterator[tuple[str, list[Entry]]]:
    # Long topics first: they contain shorter ones.
    for name in sorted(topics, key=lambda name: (-len(topics[name]), name)):
        yield f"topics/{name}", [("", topics[name].strip())]
    library = Path(sysconfig.get_path("stdlib"))
    for path in _sources(library):
        name = ".".join(path.relative_to(library).with_suffix("").parts).removesuffix(".__init__")
        yield name, _of_source(name, path)
    for name in COMPILED:
        try:
            module = importlib.import_module(name)
        except ImportError:  # not on this platform
            continue
        yield f"{name} (compiled)", _of_compiled(module)


def _sources(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.suffix == ".py":
            yield path
        elif path.is_dir() and path.name not in SKIPPED:
            yield from _sources(path)


def _of_source(name: str, path: Path) -> list[Entry]:
    """Parse the file instead of importing it: some modules open windows or print poems on import."""
    try:
        with warnings.catch_warnings(action="ignore"):  # invalid escapes in strings
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # templates and samples that are not Python
        return []
    entries = [(name, ast.get_docstring(tree) or "")]

    def visit(node: ast.AST, scope: str) -> None:
        for child in (child for part in ("body", "orelse", "handlers") for child in getattr(node, part, [])):
            match child:
                case ast.ClassDef():
                    bases = ", ".join(map(ast.unparse, child.bases))
                    entries.append((f"class {scope}{child.name}({bases})", ast.get_docstring(child) or ""))
                    visit(child, f"{scope}{child.name}.")
                case ast.FunctionDef() | ast.AsyncFunctionDef():
                    heading = f"{scope}{child.name}({ast.unparse(child.args)})"
                    entries.append((heading, ast.get_docstring(child) or ""))
                case ast.If() | ast.Try() | ast.With() | ast.ExceptHandler():
                    visit(child, scope)

    visit(tree, "")
    return entries


def _of_compiled(module) -> list[Entry]:
    entries = [(module.__name__, inspect.getdoc(module) or "")]
    for name, member in sorted(vars(module).items()):
        if inspect.isbuiltin(member) or inspect.isclass(member):
            entries.append((name + _signature(member), inspect.getdoc(member) or ""))
        if inspect.isclass(member):
            for attribute, method in sorted(vars(member).items()):
                if inspect.isroutine(method):
                    heading = f"{name}.{attribute}{_signature(method)}"
                    entries.append((heading, inspect.getdoc(method) or ""))
    return entries


def _signature(member) -> str:
    """The text signature of a C function, without the bound argument: '($self, key, /)' → '(key, /)'."""
    return re.sub(r"\$\w+(, /)?(, )?", "", getattr(member, "__text_signature__", None) or "()")
