"""Benchmarks are run by hand: a name that they import and that is gone is seen here alone."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = ("research", "launch", "experiments")


def imported(path: Path) -> list[tuple[str, str]]:
    """(module, name) of what a file imports from ours, also inside functions."""
    return [
        (node.module, alias.name)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] in OURS
        for alias in node.names
    ]


@pytest.mark.parametrize(
    "path", sorted((ROOT / "tests" / "benchmarks").glob("*.py")), ids=lambda path: path.stem
)
def test_what_a_benchmark_imports_is_there(path):
    for module, name in imported(path):
        if not hasattr(import_module(module), name):
            import_module(f"{module}.{name}")  # a module, or an error that names it


def test_a_name_that_is_gone_is_found(tmp_path):
    (tmp_path / "old.py").write_text("from research.bench.cost import listed\n")
    ((module, name),) = imported(tmp_path / "old.py")
    assert not hasattr(import_module(module), name)
