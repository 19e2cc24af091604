"""Rooms import from lower rooms only, files of a room do not import in circles, and few packages are used."""

import ast
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = ("research", "experiments", "launch")

# From the ground up. A room imports from rooms that stand before it.
ROOMS = (
    "research.errors",
    "research.scoped",
    "research.config",
    "research.io",
    "research.metrics",
    "research.models",
    "research.optimizers",
    "research.data",
    "research.objectives",
    "research.devices",
    "research.runs",
    "research.weights",
    "research.generation",
    "research.evaluation",
    "research.training",
    "research.bench",
    "research.sweeping",
    "research.reporting",
    "experiments",
    "research.api",  # the door for scripts and notebooks, which `research` itself offers
    "experiments.examples",  # scripts that use it
    "launch",
)
EVERYBODYS = ("research.errors", "research.scoped")
# Rooms that use fewer rooms than all that stand before them and EVERYBODYS.
USES = {
    "research.config": (),
    "research.io": (),
    "research.metrics": ("research.io",),
    "research.models": ("research.config",),
    "research.optimizers": ("research.config", "research.models"),
    "research.data": ("research.config", "research.io", "research.metrics"),
    "research.objectives": ("research.config", "research.metrics", "research.models", "research.data"),
    "research.devices": ("research.config", "research.io", "research.models"),
    "experiments": ("research.config",),
}
STANDARD_ONLY = (*EVERYBODYS, "research.config", "experiments")
LIGHT = {"jax", "flax", "optax", "numpy"}
LIGHT_ONLY = (
    "research.models",
    "research.objectives",
    "research.optimizers",
    "research.devices",
    "research.training.step",
)


def sources() -> dict[str, str]:
    """{"research.models.gpt": its text, …}; a package's `__init__` has the package's name."""
    paths = (path for package in OURS for path in sorted((ROOT / package).rglob("*.py")))
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path.read_text(
            encoding="utf-8"
        )
        for path in paths
    }


SOURCES = sources()


def imports(source: str) -> set[str]:
    """Modules that a file imports, anywhere in it; of `from a import b` a.b if that is one of ours, else a.

    `import research` is left out: rooms do it for the version. What else `research` offers is the door's.
    """
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            door = "research.api" if node.module == "research" else node.module
            names = {f"{node.module}.{alias.name}" for alias in node.names} - {"research.__version__"}
            found |= {name if name in SOURCES else door for name in names}
    return found - {"research"}


def is_in(module: str, rooms: tuple[str, ...]) -> str | None:
    """The innermost of `rooms` that a module belongs to."""
    inside = (room for room in rooms if module == room or module.startswith(f"{room}."))
    return max(inside, key=len, default=None)


def room_of(module: str) -> str | None:
    return "research.api" if module == "research" else is_in(module, ROOMS)


def breaches(module: str, source: str) -> list[str]:
    """The imports of a file called `module` that lead up, or to a package that its room does without."""
    here, wrong = room_of(module), []
    for name in sorted(imports(source)):
        package = name.partition(".")[0]
        if package in (*OURS, "tests"):
            if not may_use(here, room_of(name)):
                wrong.append(name)
        elif package in sys.stdlib_module_names:
            continue
        elif here in STANDARD_ONLY or (is_in(module, LIGHT_ONLY) and package not in LIGHT):
            wrong.append(name)
    return wrong


def may_use(here: str | None, there: str | None) -> bool:
    if here is None or there is None:
        return False
    lower = ROOMS.index(there) < ROOMS.index(here)
    return here == there or (lower and there in (*EVERYBODYS, *USES.get(here, ROOMS)))


def circle(sources: dict[str, str]) -> list[str]:
    """Files each of which imports the next, and the last the first; [] if there is no circle."""
    graph = {module: imports(source) & sources.keys() for module, source in sources.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1][::-1]
    return []


@pytest.mark.parametrize("module", SOURCES)
def test_imports_lead_down(module):
    assert room_of(module), f"{module} is in no room"
    assert breaches(module, SOURCES[module]) == []


def test_no_files_import_each_other_in_a_circle():
    assert circle(SOURCES) == []


@pytest.mark.parametrize(
    "module, source",
    [
        ("research.models.gpt", "from research.training.step import train_step"),  # up
        ("research.models.gpt", "def f():\n    from research.runs import state"),  # up, in a function
        ("research.models.gpt", "from research import optimizers"),  # up, by the package
        ("research.models.gpt", "from research.io import files"),  # a lower room it does without
        ("research.io.files", "from research.config import Experiment"),
        ("research.evaluation.tasks", "from research.training import loop"),
        ("research.sweeping.worker", "from research.reporting import facts"),
        ("research.data.order", "import experiments"),
        ("research.training.loop", "from launch.app import app"),
        ("experiments.gpt2", "from research.models import build"),
        ("experiments.gpt2", "from research import load"),  # up, by the door
        ("research.runs.record", "from tests.training import tiny"),
        ("research.models.gpt", "import tensorflow_datasets"),  # heavy packages
        ("research.training.step", "def f():\n    import rich"),
        ("research.config", "import jax"),
        ("experiments.gpt2", "import numpy"),
    ],
)
def test_a_planted_import_is_found(module, source):
    assert breaches(module, source)


def test_a_planted_room_is_found():
    assert room_of("research.helpers.text") is None


@pytest.mark.parametrize(
    "planted, expected",
    [
        ({"launch.status": "from launch import sweep"}, {"launch.status", "launch.sweep"}),  # a pair
        (
            {"research.io.files": "from research.io import make_once"},  # make_once → locks → files
            {"research.io.files", "research.io.make_once", "research.io.locks"},
        ),
        ({"research.io.locks": "def f():\n    import research.io.locks"}, {"research.io.locks"}),
    ],
)
def test_a_planted_circle_is_found(planted, expected):
    """In files that are all right otherwise: `launch.sweep` imports `launch.status`."""
    kept = {module: SOURCES[module] for module in expected}
    kept["research.io.locks"] = kept.get("research.io.locks", "") + "\nfrom research.io import files\n"
    assert circle(kept) == []
    found = circle({module: f"{source}\n{planted.get(module, '')}" for module, source in kept.items()})
    assert set(found) == expected
