"""Notes for standard error, printed once a command has succeeded.

A command that fails prints only its error.
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
