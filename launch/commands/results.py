"""What came of runs."""

from pathlib import Path
from typing import Annotated

import typer

from launch.options import Json

Directories = Annotated[list[Path], typer.Argument(metavar="DIR…", help="Runs, a sweep, or folders of runs.")]


def report(
    directories: Directories,
    out: Annotated[
        Path | None, typer.Option(help="The page; else DIR/report.html, of several ./report.html.")
    ] = None,
    json: Json = False,
):
    """One self-contained HTML page of curves, tables, samples."""
    from launch.report import make_report

    make_report(directories, out, json)


def table(
    directories: Directories,
    sort: Annotated[str | None, typer.Option(help="A column: best, step, peak …")] = None,
    json: Json = False,
):
    """Runs, or a sweep's trials, side by side."""
    from launch.table import show_table

    show_table(directories, sort, json)
