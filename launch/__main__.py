"""`lineage` and `python -m launch`: run a command, and turn a fault into one line and an exit status."""

import io
import os
import sys
import traceback
import warnings

from launch.shell import notes
from research.config.imports.loading import OPTION, import_all
from research.config.imports.own_code import own_line
from research.devices.environment import prepare_jax
from research.errors import LineageError, LineageWarning, UsageError
from research.io import activity
from research.training.stopping import first_failure, interrupts

LONGEST = 300  # characters of an exception's own message

QUIET = "LINEAGE_QUIET"  # set: no lines about what is being done


def main() -> None:
    _open_closed_streams()
    interrupts.end_promptly()
    if QUIET not in os.environ:
        activity.show()
    _write_utf8()
    prepare_jax()
    _show_our_warnings_in_a_line()
    try:
        status = run(sys.argv[1:])
    except KeyboardInterrupt:  # before `run` can say so
        status = _print_error("interrupted", interrupts.STATUS, debug=False)
    if status == interrupts.STATUS:
        interrupts.leave(status)
    sys.exit(status)


def run(arguments: list[str]) -> int:
    """Runs a command; returns 0 for success, 2 for user errors, 1 for faults of the environment.

    `--debug` and `--import MODULE_OR_FILE` may be anywhere on the command line.
    """
    import typer  # not above, where no interrupt is handled yet

    notes.forget()
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        arguments, plugins = _without_imports(arguments)
        import_all(plugins)
        from launch.app import app

        status = app(arguments, prog_name="lineage", standalone_mode=False) or 0
        notes.print_notes()
        if (
            status == interrupts.STATUS and interrupts.interrupted()
        ):  # Typer turns the exception into a number
            return _print_error("interrupted", status, debug=False)
        return status
    except typer.TyperException as error:  # the command line itself does not parse
        return _print_error(error.format_message(), error.exit_code, debug)
    except LineageError as error:
        return _print_error(str(error), error.status, debug)
    except (KeyboardInterrupt, typer.Abort) as error:
        if isinstance(error.__cause__, EOFError):  # Typer takes any file's end for the terminal's
            return _print_error(f"EOFError: {error.__cause__}", 1, debug)
        return _print_error("interrupted", interrupts.STATUS, debug)
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if interrupts.interrupted():  # the interrupted code turned it into this error
            return _print_error("interrupted", interrupts.STATUS, debug)
        hint = "" if debug else "--debug shows where"
        where = "; ".join(filter(None, (own_line(error), hint)))
        text = f"{type(error).__name__}: {_shortened(' '.join(str(error).split()))}"
        return _print_error(f"{text} ({where})" if where else text, 1, debug)


def _shortened(text: str) -> str:
    """Cut a long message: JAX lists the operations that led to an error."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST].rsplit(' ', 1)[0]} …"


def _without_imports(arguments: list[str]) -> tuple[list[str], list[str]]:
    """(the other arguments, the names given by `--import X` and `--import=X`)."""
    others, plugins, rest = [], [], iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if name != OPTION:
            others.append(argument)
        elif plugin := value if equals else next(rest, ""):
            plugins.append(plugin)
        else:
            raise UsageError(f"{OPTION}: expected a module or a file")
    return others, plugins


def _open_closed_streams() -> None:
    """Opens the null device for standard streams that are closed, as some schedulers leave them.

    Otherwise the next file opened would take the number, and get what native code prints.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            free = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            setattr(sys, name, os.fdopen(free, "w" if number else "r"))


def _write_utf8() -> None:
    """Writes UTF-8 to files and pipes in any locale; a terminal gets the characters that it can show.

    Messages escape other characters, like Python's, so that printing cannot fail.
    """
    for stream, errors in ((sys.stdout, "surrogateescape"), (sys.stderr, "backslashreplace")):
        assert isinstance(stream, io.TextIOWrapper)  # as Python opens them
        if not stream.isatty():
            stream.reconfigure(encoding="utf-8", errors=errors)
        elif stream is sys.stdout:
            stream.reconfigure(errors="replace")


def _show_our_warnings_in_a_line() -> None:
    show = warnings.showwarning

    def showwarning(message, category, *place, **named) -> None:
        if issubclass(category, LineageWarning):
            print(f"lineage: {message}", file=sys.stderr)
        else:
            show(message, category, *place, **named)

    warnings.showwarning = showwarning


def _print_error(message: str, status: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    message, status = first_failure.first(message, status)
    print(f"lineage: {message}", file=sys.stderr)
    if first_failure.several():
        first_failure.leave(status)
    return status


if __name__ == "__main__":
    main()
