"""Tables of parameters, cached under home, so that a model counted before is listed without starting JAX."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import research
from research.config import Experiment
from research.config.imports.loading import imported
from research.config.settings import to_json
from research.errors import EnvironmentFault
from research.io.files import write_atomic
from research.io.home import home

# Their code determines the parameters, which models are refused, and the table.
ROOMS = ("config", "models", "objectives", "bench")


def parameter_table(experiment: Experiment, count: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The result of `count` for this experiment, as JSON; cached unless it has parts of other packages."""
    if imported():
        return count()
    file = home() / "parameters" / f"{_key(experiment)}.json"
    with suppress(OSError, ValueError):
        return json.loads(file.read_text(encoding="utf-8"))
    table = json.loads(json.dumps(count()))
    with suppress(OSError, EnvironmentFault):  # a home that cannot be written
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, json.dumps(table))
    return table


def print_paths(components: Sequence[Mapping[str, Any]]) -> None:
    """Parameters by path, with shapes, numbers, and those that train where some do not."""
    frozen = any(component["trained"] < component["count"] for component in components)
    rows = [
        (
            component["name"],
            "×".join(map(str, component["shape"])) or "1",
            f"{component['count']:,}",
            f"{component['trained']:,} train" if component["trained"] else "frozen",
        )
        for component in components
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, shape, count, trained in rows:
        row = f"{name:<{widths[0]}}  {shape:<{widths[1]}}  {count:>{widths[2]}}"
        print(row + (f"  {trained:>{widths[3]}}" if frozen else ""))


def _key(experiment: Experiment) -> str:
    """A hash of the declaration and of the code that counts."""
    digest = hashlib.sha256(json.dumps(to_json(experiment)).encode())
    package = Path(research.__file__).parent
    for room in ROOMS:
        for path in sorted((package / room).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:32]
