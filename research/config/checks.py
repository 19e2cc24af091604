"""What declarations refuse."""

from typing import Any

from research.errors import UsageError


def positive(section: str, config: Any, *names: str) -> None:
    for name in names:
        if not getattr(config, name) > 0:
            raise UsageError(f"{section}.{name}={getattr(config, name)}: expected more than 0")


def fraction(section: str, config: Any, *names: str) -> None:
    for name in names:
        if not 0 <= getattr(config, name) < 1:
            raise UsageError(f"{section}.{name}={getattr(config, name)}: expected from 0 to below 1")
