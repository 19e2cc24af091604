"""Output of commands with --json, and of lists."""

import json
import math
from typing import Any


def print_json(facts: Any, indent: int | None = 2, ensure_ascii: bool = True) -> None:
    """Prints one JSON value; non-finite numbers, which JSON lacks, become null."""
    print(json.dumps(_sayable(facts), indent=indent, ensure_ascii=ensure_ascii, allow_nan=False))


def print_lines(lines: dict[str, str], json: bool) -> None:
    """Prints a line for each name, or all as JSON."""
    if json:
        print_json(lines, ensure_ascii=False)
        return
    width = max(map(len, lines))
    for name, line in lines.items():
        print(f"{name:<{width}}  {line}")


def _sayable(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: _sayable(one) for name, one in value.items()}
    return [_sayable(one) for one in value] if isinstance(value, list | tuple) else value
