"""Tables for a terminal: runs or trials, and groups of seeds."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from research.errors import UsageError, did_you_mean

SHOWN = {"step": "step", "best": "best", "last": "last", "tokens_per_second": "tokens/s", "state": "state"}
STYLES = {"finished": "green", "failed": "red", "diverged": "red", "running": "cyan"}


def lines_of(found: dict[str, Any]) -> list[dict[str, Any]]:
    """{"name", …, "settings": {…}} of each run: its results, and the settings that differ.

    A sweep adds the settings that it varies and, at the end, trials that failed before their first row.
    """
    varied = {one["name"] for one in found["sweep"]["parameters"]} if found["sweep"] else set()
    differing = {
        entry["name"]: entry["values"]
        for entry in found["settings"]
        if entry["differs"] or entry["name"] in varied
    }
    lines = [
        run["outcome"]
        | {"settings": {name: values[at] for name, values in differing.items()}, "reason": run["reason"]}
        for at, run in enumerate(found["runs"])
    ]
    trials = found["sweep"]["trials"] if found["sweep"] else ()
    return lines + [_without_run(one) for one in trials if one["run"] is None and one["state"] == "failed"]


def _without_run(trial: dict[str, Any]) -> dict[str, Any]:
    known = {name: trial[name] for name in ("name", "state", "steps", "settings", "reason")}
    results = ("best", "best_step", "last", "tokens_per_second", "seconds", "reached", "rank")
    return known | {"step": 0} | dict.fromkeys(results)


def ordered(lines: list[dict[str, Any]], key: str, metric: dict[str, str]) -> list[dict[str, Any]]:
    """Best first if `key` is a result, else ascending; lines without a value come last."""
    flat = [line | line["settings"] for line in lines]
    known = dict.fromkeys(name for line in flat for name in line if name not in ("settings", "reason"))
    matching = [name for name in known if name == key or name.endswith(f".{key}")]
    if lines and len(matching) != 1:
        ends = {name.rpartition(".")[2] for name in known}
        which = f"; expected {' or '.join(matching)}" if matching else did_you_mean(key, ends)
        raise UsageError(f"--sort {key}: {'several columns' if matching else 'no such column'}{which}")
    descending = (key in ("best", "last") and metric["direction"] == "maximize") or key == "tokens_per_second"

    def place(at: int) -> tuple:
        value = flat[at].get(matching[0])
        number = isinstance(value, int | float)
        return value is None, not number, (-value if descending else value) if number else 0, str(value)

    return [lines[at] for at in sorted(range(len(lines)), key=place)]


def print_table(lines: list[dict[str, Any]], found: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    from research.reporting.comparison import ABSENT, format_value, labels

    metric = found["metric"]["name"]
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("#", justify="right")
    table.add_column("trial" if found["sweep"] else "run", overflow="fold")
    varied = found["sweep"]["parameters"] if found["sweep"] else ()
    short = labels(list(dict.fromkeys(entry["name"] for entry in (*found["differing"], *varied))))
    for label in short.values():
        table.add_column(label, justify="right", overflow="fold")
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
        settings = [format_value(line["settings"].get(name, ABSENT)) for name in short]
        state = Text(line["state"], style=STYLES.get(line["state"], "yellow"))
        rank = "–" if line["rank"] is None else str(line["rank"])
        table.add_row(*map(Text, (rank, line["name"], *settings, *cells)), state, *map(Text, met))
    _console().print(table if lines else "no trial has started")
    print_failures([(line["name"], line["reason"]) for line in lines if line["state"] == "failed"])
    if found["groups"]:
        print("\nover seeds")
        print_groups(found["groups"])


def print_failures(failed: Iterable[tuple[str, str | None]], logs: Mapping[str, Sequence[str]] = {}) -> None:
    """Prints each reason once, with the names of the trials that failed for it and the first one's log."""
    reasons: dict[str, list[str]] = {}
    for name, reason in failed:
        reasons.setdefault(reason or "no reason was recorded", []).append(name)
    for reason, names in reasons.items():
        print(f"failed     {', '.join(names)}: {reason}")
        for line in logs.get(names[0], ()):
            print(f"      | {line}")


def print_groups(found: dict[str, Any]) -> None:
    """Prints the table of a `research.reporting.groups.summary.summary`, with notes on its numbers."""
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


def _console():
    """A console, wide enough for long rows if the output is a file or a pipe."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=max(console.width, 400))
