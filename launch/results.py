"""`lineage report`, `table`, `compare`, `fit` and `figure`: results of runs and sweeps."""

import json as json_
from pathlib import Path
from typing import Annotated, Any

import typer

from launch.options import Json
from research.errors import UsageError, did_you_mean

SHOWN = {
    "step": "step",
    "best": "best",
    "last": "last",
    "tokens_per_second": "tokens/s",
    "state": "state",
}
STYLES = {"finished": "green", "failed": "red", "running": "cyan"}

Directories = Annotated[
    list[Path], typer.Argument(metavar="DIR", help="Runs, a sweep, or folders that hold runs.")
]


def report(
    directories: Directories,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Page to write. Default: report.html, in DIR if there is one DIR."),
    ] = None,
    json: Json = False,
) -> None:
    """Write one HTML page with curves, tables and samples."""
    from research.reporting.facts import facts
    from research.reporting.page import write_page

    path = out or (directories[0] if len(directories) == 1 else Path()) / "report.html"
    found = facts(directories)
    write_page(found, path)
    names = [run["name"] for run in found["runs"]]
    if json:
        print(json_.dumps({"page": str(path), "runs": names}, indent=2))
        return
    plural = "" if len(names) == 1 else "s"
    print(f"{path}  ({len(names)} run{plural}, {path.stat().st_size / 1e6:.1f} MB)")


def table(
    directories: Directories,
    sort: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Column to sort by: best, step, a setting. Default: rank."),
    ] = None,
    json: Json = False,
) -> None:
    """Compare runs, or a sweep's trials, in a table."""
    from research.reporting.facts import facts

    found = facts(directories)
    lines = _sorted(_lines(found), sort or "rank", found["metric"])
    if json:
        print(json_.dumps(lines, indent=2))
    else:
        _print_table(lines, found)


def compare(
    directories: Directories,
    by: Annotated[
        str, typer.Option(metavar="SETTING,…", help="Settings that define the groups: optimizer.name.")
    ],
    average_over: Annotated[
        str | None,
        typer.Option(metavar="SETTING,…", help="Settings that may differ inside a group, as seeds may."),
    ] = None,
    metric: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Validation metric, or steps, tokens or seconds to the target. Default: loss.",
        ),
    ] = "loss",
    best: Annotated[
        bool, typer.Option("--best", help="Take the best evaluation of each run. Default: the last.")
    ] = False,
    target: Annotated[
        str | None,
        typer.Option(metavar="TARGET", help="Target, in the form of run.stop_at. Default: run.stop_at."),
    ] = None,
    json: Json = False,
) -> None:
    """Compare groups of runs over their seeds, with intervals."""
    from research.reporting.groups import compare as comparing

    over = average_over.split(",") if average_over else []
    found = comparing.compare(directories, by.split(","), over, metric, "best" if best else "last", target)
    if json:
        print(json_.dumps(found, indent=2))
        return
    print_groups(found)
    if found["also"]:
        print(f"Groups also differ in {', '.join(found['also'])}.")


def print_groups(found: dict[str, Any]) -> None:
    """Prints a `research.reporting.groups.summary.summary` as a table with notes."""
    from rich.table import Table
    from rich.text import Text

    from research.reporting.groups import table as group_table

    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for title in group_table.header(found):
        table.add_column(title, justify="left" if title in ("", "not counted") else "right", no_wrap=True)
    for row in group_table.cells(found):
        table.add_row(*map(Text, row))
    _console().print(table)
    print("\n".join(group_table.notes(found)))


def fit(
    directories: Directories,
    law: Annotated[str, typer.Option(metavar="NAME", help="power or chinchilla.")] = "power",
    over: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="With power: parameters (default), tokens, flops or width."),
    ] = None,
    predict: Annotated[
        list[str] | None,
        typer.Option(metavar="X", help="Size to predict the loss at; N,D with chinchilla. Repeatable."),
    ] = None,
    metric: Annotated[str, typer.Option(metavar="NAME", help="Validation metric to fit.")] = "loss",
    hold_out: Annotated[
        int, typer.Option(metavar="K", help="Number of largest sizes to predict instead of fit.")
    ] = 0,
    resamples: Annotated[int, typer.Option(metavar="N", help="Number of bootstrap resamples.")] = 200,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Page to write. Default: law.html, in DIR if there is one DIR."),
    ] = None,
    json: Json = False,
) -> None:
    """Fit a scaling law to the losses of finished runs."""
    from research.reporting.laws.facts import laws_of
    from research.reporting.laws.lines import law_lines
    from research.reporting.page import law_page, write_page

    found = laws_of(directories, law, over, predict or [], metric, resamples, hold_out)
    path = out or (directories[0] if len(directories) == 1 else Path()) / "law.html"
    write_page(found, path, law_page)
    if json:
        print(json_.dumps(found | {"page": str(path)}, indent=2))
        return
    print("\n".join([*law_lines(found), str(path)]))


def figure(
    directories: Directories,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Figure to write: .svg, .pdf or .png.")],
    metric: Annotated[str, typer.Option(metavar="NAME", help="Metric to draw.")] = "loss",
    split: Annotated[str, typer.Option(metavar="NAME", help="train, validation or both.")] = "validation",
    over: Annotated[
        str, typer.Option(metavar="AXIS", help="steps, tokens, seconds, or a setting.")
    ] = "steps",
    log: Annotated[str, typer.Option(metavar="AXES", help="Logarithmic axes: x, y or xy.")] = "",
    smoothing: Annotated[
        float, typer.Option(metavar="SHARE", help="Weight of the past in the average of training rows.")
    ] = 0.0,
    columns: Annotated[int, typer.Option(metavar="N", help="Width in page columns: 1 or 2.")] = 1,
    json: Json = False,
) -> None:
    """Draw runs as a figure for a paper, averaged over seeds."""
    from research.reporting.figure import Options, write_figure

    found = write_figure(directories, out, Options(metric, split, over, log, smoothing, columns))
    if json:
        drawn = [{"label": curve.label, "split": curve.split, "runs": curve.runs} for curve in found]
        print(json_.dumps({"figure": str(out), "curves": drawn}, indent=2))
        return
    runs = sum({curve.label: curve.runs for curve in found}.values())  # a run may have two curves
    print(f"{out}  (curves: {len(found)}; runs: {runs})")


def _lines(found: dict[str, Any]) -> list[dict[str, Any]]:
    """{"name", …, "settings": {…}} of each run: its results, and the settings in which runs differ."""
    differing = {entry["name"]: entry["values"] for entry in found["settings"] if entry["differs"]}
    return [
        run["outcome"] | {"settings": {name: values[at] for name, values in differing.items()}}
        for at, run in enumerate(found["runs"])
    ]


def _sorted(lines: list[dict[str, Any]], key: str, metric: dict[str, str]) -> list[dict[str, Any]]:
    """Best first if `key` is a result, else ascending; lines without a value come last."""
    flat = [line | line["settings"] for line in lines]
    known = dict.fromkeys(name for line in flat for name in line if name != "settings")
    matching = [name for name in known if name == key or name.endswith(f".{key}")]
    if lines and len(matching) != 1:
        ends = {name.rpartition(".")[2] for name in known}
        which = f"; expected {' or '.join(matching)}" if matching else did_you_mean(key, ends)
        raise UsageError(f"--sort {key}: {'several columns' if matching else 'no such column'}{which}")
    descending = (key in ("best", "last") and metric["direction"] == "maximize") or key == "tokens_per_second"

    def place(at: int) -> tuple:
        value = flat[at][matching[0]]
        number = isinstance(value, int | float)
        return value is None, not number, (-value if descending else value) if number else 0, str(value)

    return [lines[at] for at in sorted(range(len(lines)), key=place)]


def _print_table(lines: list[dict[str, Any]], found: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    from research.reporting.comparison import format_value

    metric = found["metric"]["name"]
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("#", justify="right")
    table.add_column("trial" if found["sweep"] else "run", overflow="fold")
    for entry in found["differing"]:
        table.add_column(entry["label"], justify="right", overflow="fold")
    for key, title in SHOWN.items():
        named = f"{title} {metric}" if key in ("best", "last") else title
        table.add_column(named, justify="left" if key == "state" else "right", no_wrap=True)
    reached = any(line["reached"] for line in lines)
    for title in ("steps to target", "tokens", "seconds") if reached else ():
        table.add_column(title, justify="right", no_wrap=True)
    for line in lines:
        met = [line["reached"] and line["reached"][name] for name in ("step", "tokens", "seconds")]
        met = ["–" if number is None else f"{number:,}" for number in met] if reached else []
        steps = f"{line['step']:,}" + ("" if line["step"] == line["steps"] else f"/{line['steps']:,}")
        cells = [
            steps,
            *("–" if line[key] is None else f"{line[key]:.4f}" for key in ("best", "last")),
            "–" if line["tokens_per_second"] is None else f"{line['tokens_per_second']:,.0f}",
        ]
        settings = [format_value(line["settings"][entry["name"]]) for entry in found["differing"]]
        state = Text(line["state"], style=STYLES.get(line["state"], "yellow"))
        rank = "–" if line["rank"] is None else str(line["rank"])
        table.add_row(*map(Text, (rank, line["name"], *settings, *cells)), state, *map(Text, met))
    _console().print(table if lines else "no trial has started")
    if found["groups"]:
        print("\nover seeds")
        print_groups(found["groups"])


def _console():
    """A console; wide enough for any line where the output is a file or a pipe."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=max(console.width, 400))
