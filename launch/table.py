"""Runs side by side on the terminal."""

import json as json_
from pathlib import Path
from typing import Any

from research.errors import UsageError, did_you_mean

SHOWN = {
    "step": "step",
    "best": "best",
    "last": "last",
    "tokens_per_second": "tokens/s",
    "state": "state",
}
STYLES = {"finished": "green", "failed": "red", "running": "cyan"}


def show_table(directories: list[Path], sort: str | None, json: bool) -> None:
    from research.reporting.facts import facts

    found = facts(directories)
    lines = sorted_by(_lines(found), sort or "rank", found["metric"])
    if json:
        print(json_.dumps(lines, indent=2))
    else:
        _print(lines, found)


def _lines(found: dict[str, Any]) -> list[dict[str, Any]]:
    """{"name", …, "settings": {…}} of each run: all that was measured, and what differs."""
    differing = {entry["name"]: entry["values"] for entry in found["settings"] if entry["differs"]}
    return [
        run["outcome"] | {"settings": {name: values[at] for name, values in differing.items()}}
        for at, run in enumerate(found["runs"])
    ]


def sorted_by(lines: list[dict[str, Any]], key: str, metric: dict[str, str]) -> list[dict[str, Any]]:
    """Best first where `key` is a result, else ascending; what has no value comes last."""
    flat = [line | line["settings"] for line in lines]
    known = dict.fromkeys(name for line in flat for name in line if name != "settings")
    matching = [name for name in known if name == key or name.endswith(f".{key}")]
    if lines and len(matching) != 1:
        ends = {name.rpartition(".")[2] for name in known}
        which = f"; expected {' or '.join(matching)}" if matching else did_you_mean(key, ends)
        raise UsageError(f"--sort {key}: {'several columns' if matching else 'no such column'}{which}")
    down = (key in ("best", "last") and metric["direction"] == "maximize") or key == "tokens_per_second"

    def place(at: int) -> tuple:
        value = flat[at][matching[0]]
        number = isinstance(value, int | float)
        return value is None, not number, (-value if down else value) if number else 0, str(value)

    return [lines[at] for at in sorted(range(len(lines)), key=place)]


def _print(lines: list[dict[str, Any]], found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from research.reporting.comparison import told

    metric = found["metric"]["name"]
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("#", justify="right")
    table.add_column("trial" if found["sweep"] else "run", overflow="fold")
    for entry in found["differing"]:
        table.add_column(entry["label"], justify="right", overflow="fold")
    for key, title in SHOWN.items():
        named = f"{title} {metric}" if key in ("best", "last") else title
        table.add_column(named, justify="left" if key == "state" else "right", no_wrap=True)
    for line in lines:
        steps = f"{line['step']:,}" + ("" if line["step"] == line["steps"] else f"/{line['steps']:,}")
        cells = [
            steps,
            *("–" if line[key] is None else f"{line[key]:.4f}" for key in ("best", "last")),
            "–" if line["tokens_per_second"] is None else f"{line['tokens_per_second']:,.0f}",
        ]
        settings = [told(line["settings"][entry["name"]]) for entry in found["differing"]]
        state = Text(line["state"], style=STYLES.get(line["state"], "yellow"))
        rank = "–" if line["rank"] is None else str(line["rank"])
        table.add_row(*map(Text, (rank, line["name"], *settings, *cells)), state)
    console = Console(highlight=False)
    if not console.is_terminal:  # in a file, or to another program, lines are as long as they are
        console = Console(highlight=False, width=max(console.width, 400))
    console.print(table if lines else "no trial has begun")
