"""Groups of runs as the cells of a table, and the sentences below it."""

from collections.abc import Mapping
from typing import Any

from research.reporting.comparison import ABSENT, format_value


def header(found: Mapping[str, Any]) -> list[str]:
    """Titles of the columns, for a `research.reporting.groups.summary.summary`."""
    metric = found["metric"] if found["score_by"] == "target" else f"{found['score_by']} {found['metric']}"
    target = ["reached", "steps", "tokens", "seconds"] if _has_target(found) else []
    labels = [entry["label"] for entry in found["by"]]
    return ["#", *labels, f"mean {metric}", "n", "difference to the best", *target, "", "not counted"]


def cells(found: Mapping[str, Any]) -> list[list[str]]:
    """The rows of the table, best first."""
    digits = 0 if found["metric"] in ("steps", "tokens") else 4
    return [_cells(found, line, place, digits) for place, line in enumerate(found["lines"], 1)]


def notes(found: Mapping[str, Any]) -> list[str]:
    """Notes that explain the numbers."""
    most = max((line["n"] for line in found["lines"]), default=0)
    if most == 0:
        return ["No run has finished with a value, so there is nothing to compare."]
    if most == 1:
        return ["One seed each: a difference may be chance. To find out: lineage sweep … --seeds 5"]
    lines = ["±: standard error of the mean over n runs."]
    pairs, paired = found["paired"], sum(found["paired"])
    how = {0: "by Welch's t-test, since no seeds match", len(pairs): "by Student's t-test, paired by seed"}
    if pairs:
        way = how.get(paired, "by t-tests, paired where seeds match")
        lines[0] += f" [low, high]: 95% interval of the difference, {way}."
    if len(found["lines"]) == 1:
        lines.append("All runs are in one group, so there is nothing to compare it with.")
    if found["comparisons"] > 1:
        lines.append(f"differs: also with all {found['comparisons']} comparisons together, at 5% (Holm).")
    return lines


def _cells(found: Mapping[str, Any], line: Mapping[str, Any], place: int, digits: int) -> list[str]:
    settings = [format_value(line["settings"][entry["name"]]) for entry in found["by"]]
    target = _target_cells(line["target"]) if _has_target(found) else []
    left_out = ", ".join(f"{count} {state}" for state, count in line["left_out"].items())
    apart = _difference(line["difference"], digits, max(line["n"], found["lines"][0]["n"]))
    middle = plus_minus(line["mean"], line["error"], digits)
    return [str(place), *settings, middle, str(line["n"]), apart, *target, line["verdict"], left_out]


def plus_minus(mean: float | None, error: float | None, digits: int = 4) -> str:
    """3.1416 ± 0.0100; without an error, only the number."""
    if mean is None:
        return "–"
    return f"{mean:,.{digits}f}" + ("" if error is None else f" ± {error:,.{digits}f}")


def _difference(apart: Mapping[str, Any] | None, digits: int, runs: int) -> str:
    """Format a difference; adds the number of pairs if it is below the `runs` of the larger group."""
    if apart is None:
        return ""
    text = f"{apart['mean']:+,.{digits}f}"
    if apart["low"] is not None:
        text += f" [{apart['low']:+,.{digits}f}, {apart['high']:+,.{digits}f}]"
    return f"{text} of {apart['n']} pairs" if apart["paired"] and apart["n"] < runs else text


def _target_cells(target: Mapping[str, Any] | None) -> list[str]:
    if target is None:
        return [ABSENT] * 4
    means = [target[name] for name in ("step", "tokens", "seconds")]
    texts = [
        "–" if one is None else plus_minus(one["mean"], one["error"], digits)
        for one, digits in zip(means, (0, 0, 1), strict=True)
    ]
    return [f"{target['reached']} of {target['of']}", *texts]


def _has_target(found: Mapping[str, Any]) -> bool:
    return any(line["target"] for line in found["lines"])
