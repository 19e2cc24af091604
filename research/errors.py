"""Errors that are printed as one line: the value given, the values expected, the nearest match."""

import difflib
from collections.abc import Iterable


class LineageError(Exception):
    """A fault with a message fit for standard error and an exit status for the shell."""

    status = 1


class UsageError(LineageError):
    """A user error: an unknown name, an invalid value, a missing file."""

    status = 2


class EnvironmentFault(LineageError):
    """A fault of the environment: a full disk, a missing package, no network."""

    status = 1


class LineageWarning(UserWarning):
    """A one-line warning about a result; the command continues."""


class Diverged(LineageError):
    """A run diverged: its loss or gradient is not finite."""


def did_you_mean(given: str, options: Iterable[str]) -> str:
    """'; did you mean x?' if an option resembles `given`, else all options."""
    options = sorted(options)
    matches = difflib.get_close_matches(given, options, n=2, cutoff=0.5)
    if matches:
        return f"; did you mean {' or '.join(matches)}?"
    return f"; expected one of {', '.join(options)}" if options else ""
