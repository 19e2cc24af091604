"""Errors that are printed as one line: the value given, the values expected, the nearest match."""

import difflib
from collections.abc import Iterable


class LineageError(Exception):
    """A fault with a message fit for standard error and an exit status for the shell."""

    status = 1


class UsageError(LineageError):
    """The user's mistake: an unknown name, a value that does not fit, a file that is not there."""

    status = 2


class EnvironmentFault(LineageError):
    """The surroundings' fault: a full disk, a missing package, no network."""

    status = 1


class LineageWarning(UserWarning):
    """A doubt about a result, in one line; the command goes on."""


class Diverged(LineageError):
    """A run's own numbers: a loss or gradient that is not finite."""


def did_you_mean(given: str, options: Iterable[str]) -> str:
    """'; did you mean x?' where one of `options` resembles `given`, all of them where they are few."""
    options = sorted(options)
    matches = difflib.get_close_matches(given, options, n=2, cutoff=0.5)
    if matches:
        return f"; did you mean {' or '.join(matches)}?"
    return f"; expected one of {', '.join(options)}" if options else ""
