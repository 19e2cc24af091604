"""`lineage report`, `table`, `compare`, `fit` and `figure`: results of runs and sweeps."""

import os
from pathlib import Path
from typing import Annotated

from launch.options import Json, argument, flag, option
from launch.shell.as_json import print_json
from launch.shell.tables import lines_of, ordered, print_failures, print_groups, print_table
from research.errors import EnvironmentFault

Directories = Annotated[list[Path], argument("DIR", "Runs, a sweep, or folders that hold runs.")]


def report(
    directories: Directories,
    out: Annotated[
        Path | None, option("FILE", "Page to write. Default: report.html, in DIR if there is one DIR.")
    ] = None,
    json: Json = False,
) -> None:
    """Write one HTML page with curves, tables and samples."""
    from research.reporting.facts import facts
    from research.reporting.page import write_page

    path = out or _page(directories, "report.html")
    found = facts(directories)
    write_page(found, path)
    names = [run["name"] for run in found["runs"]]
    if json:
        print_json({"page": str(path), "runs": names})
        return
    plural = "" if len(names) == 1 else "s"
    print(f"{path}  ({len(names)} run{plural}, {path.stat().st_size / 1e6:.1f} MB)")


def table(
    directories: Directories,
    sort: Annotated[
        str | None, option("COLUMN", "Column to sort by: best, step, a setting. Default: rank.")
    ] = None,
    json: Json = False,
) -> None:
    """Compare runs, or a sweep's trials, in a table."""
    from research.reporting.facts import facts

    found = facts(directories)
    lines = ordered(lines_of(found), sort or "rank", found["metric"])
    if json:
        print_json(lines)
    else:
        print_table(lines, found)


def compare(
    directories: Directories,
    by: Annotated[str, option("SETTING,…", "Settings that define the groups: optimizer.name.")],
    average_over: Annotated[
        str | None, option("SETTING,…", "Settings that may differ inside a group, as seeds may.")
    ] = None,
    metric: Annotated[
        str, option("NAME", "Validation metric, or steps, tokens or seconds to the target. Default: loss.")
    ] = "loss",
    best: Annotated[bool, flag("--best", "Take the best evaluation of each run. Default: the last.")] = False,
    target: Annotated[
        str | None, option("TARGET", "Target, in the form of run.stop_at. Default: run.stop_at.")
    ] = None,
    direction: Annotated[
        str | None, option("NAME", "minimize or maximize. Default: by the metric's name, if it is known.")
    ] = None,
    json: Json = False,
) -> None:
    """Compare groups of runs over their seeds, with intervals."""
    from research.reporting.groups import compare as comparing

    over = average_over.split(",") if average_over else []
    score_by = "best" if best else "last"
    found = comparing.compare(directories, by.split(","), over, metric, score_by, target, direction)
    if json:
        print_json(found)
        return
    print_groups(found)
    print_failures(found["failed"].items())
    if found["also"]:
        print(f"Groups also differ in {', '.join(found['also'])}.")


def fit(
    directories: Directories,
    law: Annotated[str, option("NAME", "power or chinchilla.")] = "power",
    over: Annotated[
        str | None, option("SIZE", "With power: parameters (default), tokens, flops or width.")
    ] = None,
    predict: Annotated[
        list[str] | None, option("X", "Size to predict the loss at; N,D with chinchilla. Repeatable.")
    ] = None,
    metric: Annotated[str, option("NAME", "Validation metric to fit.")] = "loss",
    hold_out: Annotated[int, option("K", "Number of largest sizes to predict instead of fit.")] = 0,
    resamples: Annotated[int, option("N", "Number of bootstrap resamples.")] = 200,
    out: Annotated[
        Path | None, option("FILE", "Page to write. Default: law.html, in DIR if there is one DIR.")
    ] = None,
    json: Json = False,
) -> None:
    """Fit a scaling law to the losses of finished runs."""
    from research.reporting.laws.facts import laws_of
    from research.reporting.laws.lines import law_lines
    from research.reporting.page import law_page, write_page

    path = out or _page(directories, "law.html")
    found = laws_of(directories, law, over, predict or [], metric, resamples, hold_out)
    write_page(found, path, law_page)
    if json:
        print_json(found | {"page": str(path)})
        return
    print("\n".join([*law_lines(found), str(path)]))


def figure(
    directories: Directories,
    out: Annotated[Path, option("FILE", "Figure to write: .svg, .pdf or .png.")],
    metric: Annotated[str, option("NAME", "Metric to draw.")] = "loss",
    split: Annotated[str, option("NAME", "train, validation or both.")] = "validation",
    over: Annotated[str, option("AXIS", "steps, tokens, seconds, or a setting.")] = "steps",
    log: Annotated[str, option("AXES", "Logarithmic axes: x, y or xy.")] = "",
    smoothing: Annotated[float, option("SHARE", "Weight of the past in the average of training rows.")] = 0.0,
    columns: Annotated[int, option("N", "Width in page columns: 1 or 2.")] = 1,
    json: Json = False,
) -> None:
    """Draw runs as a figure for a paper, averaged over seeds."""
    from research.reporting.figures.figure import Options, write_figure
    from research.reporting.groups.counted import listed

    found, left_out = write_figure(directories, out, Options(metric, split, over, log, smoothing, columns))
    if json:
        drawn = [{"label": curve.label, "split": curve.split, "runs": curve.runs} for curve in found]
        print_json({"figure": str(out), "curves": drawn, "left_out": left_out})
        return
    runs = sum({curve.label: curve.runs for curve in found}.values())  # a run may have two curves
    rest = f"; not drawn: {listed(left_out)}" if left_out else ""
    print(f"{out}  (curves: {len(found)}; runs: {runs}{rest})")


def _page(directories: list[Path], name: str) -> Path:
    """The default place of a page. Raises EnvironmentFault if it is in a directory that cannot be written."""
    folder = directories[0] if len(directories) == 1 else Path()
    if folder.exists() and not os.access(folder, os.W_OK):
        raise EnvironmentFault(f"{folder / name}: cannot be written; expected --out FILE")
    return folder / name
