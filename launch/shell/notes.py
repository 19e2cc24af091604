"""Lines for standard error, beside the facts of a command, printed once it has succeeded.

A command that fails prints its fault alone.
"""

import sys

_noted: list[str] = []


def note(line: str) -> None:
    _noted.append(line)


def print_notes() -> None:
    for line in _noted:
        print(f"lineage: {line}", file=sys.stderr)
    forget()


def forget() -> None:
    _noted.clear()
