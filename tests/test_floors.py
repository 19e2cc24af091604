"""A file imports only from lower floors, and from few of the packages outside."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

FLOORS = {
    "research.errors": -1,  # the ground
    "research.home": 0,
    "research.files": 0,
    "research.allocator": 0,
    "research.config": 0,
    "research.settings": 0,
    "research.data": 1,
    "research.models": 1,
    "research.answering": 1,
    "research.objectives": 1,
    "research.schedules": 1,
    "research.optimizers": 1,
    "research.compiling": 1,
    "research.sharding": 1,
    "research.parallel": 1,
    "research.process": 1,
    "research.judging": 1,
    "research.training": 2,
    "research.weights": 2,
    "research.generation": 2,
    "research.bench": 3,
    "research.plan": 3,
    "research.evaluation": 3,
    "research.sweeping": 3,
    "research.reporting": 3,
    "experiments": 4,
    "launch": 5,
}
# Rooms of one floor do not know each other, but for these (reader, read).
NEIGHBOURS = {
    ("research.settings", "research.config"),
    ("research.answering", "research.models"),
    ("research.objectives", "research.answering"),
    ("research.objectives", "research.models"),
    ("research.optimizers", "research.schedules"),
    ("research.parallel", "research.compiling"),
    ("research.parallel", "research.models"),
    ("research.parallel", "research.sharding"),
    ("research.sharding", "research.models"),
    ("research.reporting", "research.sweeping"),
    ("research.training", "research.generation"),
    ("research.training", "research.weights"),
    ("research.weights", "research.training"),
}
STANDARD_ONLY = {
    "research.errors",
    "research.files",
    "research.allocator",
    "research.config",
    "research.settings",
    "experiments",
}
LIGHT = {"jax", "flax", "optax", "numpy"}
LIGHT_ONLY = {
    "research.models",
    "research.answering",
    "research.objectives",
    "research.optimizers",
    "research.schedules",
    "research.compiling",
    "research.parallel",
    "research.process",
    "research.sharding",
    "research.bench",
    "research.training.calls",
    "research.training.step",
    "research.training.state",
}


def room(module: str) -> str | None:
    """The longest known prefix: research.models.gpt → research.models."""
    parts = module.split(".")
    prefixes = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
    return next((prefix for prefix in prefixes if prefix in FLOORS), None)


def imports(source: str) -> set[str]:
    """Modules named by import statements anywhere in a file; `from a import b` counts a and a.b."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def breaches(module: str, source: str) -> list[str]:
    """What a file of that module name imports and must not."""
    here, wrong = room(module), []
    for name in sorted(imports(source)):
        package = name.split(".")[0]
        if name == "research":  # holds the version; what is imported from it is counted by its own name
            continue
        if package in ("research", "experiments", "launch", "tests"):
            there = room(name)
            if there is None or not (
                here == there or FLOORS[there] < FLOORS[here] or (here, there) in NEIGHBOURS
            ):
                wrong.append(name)
        elif package in sys.stdlib_module_names or package == "__future__":
            continue
        elif here in STANDARD_ONLY or (
            package not in LIGHT and any(module == m or module.startswith(m + ".") for m in LIGHT_ONLY)
        ):
            wrong.append(name)
    if here == "experiments":
        ours = {n for n in imports(source) if n.startswith("research")}
        wrong += [n for n in ours if room(n) not in ("research.config", "research.errors")]
    return wrong


def files() -> list[Path]:
    return [
        path
        for package in ("research", "experiments", "launch")
        for path in sorted((ROOT / package).rglob("*.py"))
        if path != ROOT / "research" / "__init__.py"
    ]


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path):
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    assert room(module), f"{module} has no floor"
    assert breaches(module, path.read_text()) == []


@pytest.mark.parametrize(
    "module, source",
    [
        ("research.models.gpt", "from research.training.state import State"),
        ("research.models.gpt", "from research.data import store"),
        ("research.models.gpt", "import tensorflow_datasets"),
        ("research.training.step", "def f():\n    import rich"),
        ("research.config", "import jax"),
        ("research.data.store", "import experiments"),
        ("research.training.loop", "from launch.app import app"),
        ("experiments.gpt2", "from research.models import build"),
        ("experiments.gpt2", "import numpy"),
        ("research.optimizers", "from research import models"),
    ],
)
def test_a_planted_breach_is_found(module, source):
    assert breaches(module, source)
