"""`lineage` and `python -m launch`: runs a command and turns faults into one line and an exit status."""

import os
import sys
import traceback

import typer

from launch.app import app
from research.errors import LineageError


def main() -> None:
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """0 for success, 2 for the user's mistakes, 1 for the environment's."""
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        return app(arguments, prog_name="lineage", standalone_mode=False) or 0
    except typer.TyperException as error:  # the command line itself does not parse
        return _tell(error.format_message(), error.exit_code, debug)
    except LineageError as error:
        return _tell(str(error), error.status, debug)
    except (KeyboardInterrupt, typer.Abort):
        return _tell("interrupted", 130, debug)
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        hint = "" if debug else " (--debug shows where)"
        return _tell(f"{type(error).__name__}: {' '.join(str(error).split())}{hint}", 1, debug)


def _tell(message: str, status: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(f"lineage: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    main()
