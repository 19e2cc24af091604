"""A fitted law as plain values, for a page, for JSON and for the lines of a terminal."""

import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

import research
from research.errors import UsageError
from research.reporting.groups.counted import left_out
from research.reporting.laws.fitting import (
    COVERAGE,
    FLATTEST,
    STEEPEST,
    Fit,
    fit,
    interval,
    of_a_run,
    predicted,
)
from research.reporting.laws.points import LAWS, SYMBOLS, Point, points
from research.reporting.runs import CHANGED, runs_in

CURVES, ALONG = 6, 80  # curves of a page, and points of each


def laws_of(
    directories: Sequence[Path],
    law: str,
    over: str | None,
    predict: Sequence[str],
    metric: str,
    resamples: int,
    hold_out: int = 0,
) -> dict[str, Any]:
    """The facts of `lineage fit` for typed options. Raises UsageError before fitting anything."""
    sizes = sizes_of(law, over)
    targets = [target(text, sizes) for text in predict]
    if resamples < 20:
        raise UsageError(f"--resamples {resamples}: expected 20 or more")
    if hold_out < 0:
        raise UsageError(f"--hold-out {hold_out}: expected 0 or more")
    runs = runs_in(directories)
    fitted, held_out = points(runs, law, sizes, metric, hold_out)
    where = ", ".join(path.resolve().name for path in directories)
    title = f"{metric} over {' and '.join(sizes)}: {where}"
    found = law_facts(law, sizes, fitted, targets, resamples, held_out)
    used = {name for point in (*fitted, *held_out) for name in point.runs}
    midway = [run for run in runs if run.name in used and CHANGED in run.settings]
    changed = {run.name: run.settings[CHANGED] for run in midway}
    found["warnings"] += [f"{name} changed midway, at {text}" for name, text in changed.items()]
    about = {"title": title, "metric": metric, "given": len(runs), "left_out": left_out(runs, metric)}
    return about | found


def sizes_of(law: str, over: str | None) -> tuple[str, ...]:
    """The sizes of a law. Raises UsageError for an unknown law or size."""
    if law not in LAWS:
        raise UsageError(f"--law {law}: no such law; expected one of {', '.join(LAWS)}")
    if law == "chinchilla":
        if over is not None:
            raise UsageError(f"--over {over}: --law chinchilla is over parameters and tokens; leave it out")
        return "parameters", "tokens"
    over = over or "parameters"
    if over not in SYMBOLS:
        raise UsageError(f"--over {over}: no such size; expected one of {', '.join(SYMBOLS)}")
    return (over,)


def target(text: str, over: Sequence[str]) -> tuple[float, ...]:
    """Parses sizes, "1.5e9" or "1.5e9,3e10". Raises UsageError for other texts."""
    numbers = re.split(r"[,\s]+", text.strip())
    try:
        sizes = tuple(map(float, numbers))
    except ValueError:
        sizes = ()
    if len(sizes) != len(over) or not all(0 < size < float("inf") for size in sizes):
        raise UsageError(
            f"--predict {text}: expected {','.join(over).upper()}, {len(over)} of numbers above 0"
        )
    return sizes


def law_facts(
    law: str,
    over: Sequence[str],
    measured: Sequence[Point],
    targets: Sequence[tuple[float, ...]],
    resamples: int,
    held_out: Sequence[Point] = (),
) -> dict[str, Any]:
    """The law with intervals, its curves, and its predictions at `targets` and at held-out sizes."""
    sizes_PK = np.array([point.sizes for point in measured])
    found = fit(sizes_PK, [point.losses for point in measured], resamples)
    predictions = [_prediction(found, over, sizes_PK, np.array(sizes)) for sizes in targets]
    tests = [_test(_prediction(found, over, sizes_PK, np.array(point.sizes)), point) for point in held_out]
    ends = [*targets, *(point.sizes for point in held_out)]
    return {
        "lineage": research.__version__,
        "made": datetime.now().strftime("%-d %B %Y, %H:%M"),
        "law": law,
        "formula": "L = E + " + " + ".join(f"{A} / {SYMBOLS[name]}^{a}" for A, a, name in _terms(over)),
        "over": list(over),
        "symbols": [SYMBOLS[name] for name in over],
        "parameters": _numbers(found, over),
        "coverage": COVERAGE,
        "resamples": resamples,
        "resampled": found.resampled,
        "scatter": found.scatter,
        "points": [_point(point, found, over) for point in measured],
        "curves": _curves(found, sizes_PK, ends),
        "predictions": predictions,
        "held_out": tests,
        "warnings": _warnings(found, over, measured)
        + [one["warning"] for one in predictions if one["warning"]],
    }


def _terms(over: Sequence[str]) -> list[tuple[str, str, str]]:
    return [("AB"[at], "ab"[at], name) for at, name in enumerate(over)]


def _numbers(found: Fit, over: Sequence[str]) -> dict[str, dict[str, float]]:
    names = ["E", *(A for A, _, _ in _terms(over)), *(a for _, a, _ in _terms(over))]
    columns = {name: (found.vector[at], found.resamples[:, at]) for at, name in enumerate(names)}
    if len(over) == 2:  # the best N for C operations grows as C^(b/(a+b)), where C is 6 N D
        (a, all_a), (b, all_b) = columns["a"], columns["b"]
        columns["b/(a+b)"] = b / (a + b), all_b / (all_a + all_b)
    return {
        name: dict(zip(("value", "low", "high"), (float(value), *interval(drawn)), strict=True))
        for name, (value, drawn) in columns.items()
    }


def _point(point: Point, found: Fit, over: Sequence[str]) -> dict[str, Any]:
    loss, at = float(np.mean(point.losses)), np.array([point.sizes])
    sizes = dict(zip(over, point.sizes, strict=True))
    fitted = float(predicted(found.vector, at)[0])
    return sizes | {"loss": loss, "losses": list(point.losses), "fitted": fitted, "runs": list(point.runs)}


def _prediction(found: Fit, over: Sequence[str], sizes_PK: np.ndarray, sizes_K: np.ndarray) -> dict[str, Any]:
    beyond, parts = 1.0, []
    for name, size, measured in zip(over, sizes_K, sizes_PK.T, strict=True):
        low, high = measured.min(), measured.max()
        factor = max(size / high, low / size)
        if factor > 1:
            end = f"largest measured, {high:,.6g}" if size > high else f"smallest measured, {low:,.6g}"
            parts.append(f"{name} {size:,.6g} is {factor:.3g} times beyond the {end}")
        beyond = max(beyond, factor)
    low, high = interval(predicted(found.resamples, sizes_K[None])[:, 0])
    run_low, run_high = of_a_run(found, sizes_K)
    return dict(zip(over, map(float, sizes_K), strict=True)) | {
        "loss": float(predicted(found.vector, sizes_K[None])[0]),
        "low": low,
        "high": high,
        "run_low": run_low,
        "run_high": run_high,
        "beyond": float(beyond),
        "warning": f"extrapolated: {'; '.join(parts)}" if parts else "",
    }


def _test(prediction: dict[str, Any], point: Point) -> dict[str, Any]:
    """A prediction beside the measured losses at a held-out size."""
    measured = float(np.mean(point.losses))
    low, high = prediction["run_low"], prediction["run_high"]
    return prediction | {
        "measured": measured,
        "error": prediction["loss"] / measured - 1,
        "losses": list(point.losses),
        "within": sum(low <= loss <= high for loss in point.losses),
        "runs": list(point.runs),
    }


def _warnings(found: Fit, over: Sequence[str], points: Sequence[Point]) -> list[str]:
    """Warnings about what the points do not determine."""
    lines = []
    for at, (_, a, name) in enumerate(_terms(over), start=1 + len(over)):
        if not 1.01 * FLATTEST < found.vector[at] < 0.99 * STEEPEST:
            lines.append(
                f"{a}={found.vector[at]:.3g} is a limit of the search: the {name} determine no exponent"
            )
    if found.vector[0] < 0.01 * min(point.losses[0] for point in points):
        lines.append("E is about 0: the points do not show where the loss levels off")
    return lines


def _curves(found: Fit, sizes_PK: np.ndarray, targets: Sequence[tuple[float, ...]]) -> list[dict[str, Any]]:
    """The law along the first size, from the smallest to the largest of points and targets.

    With two sizes, one curve per value of the second, or for CURVES of them.
    """
    everything = np.concatenate([sizes_PK, np.array(targets).reshape(-1, sizes_PK.shape[1])])
    x = np.geomspace(everything[:, 0].min() / 1.1, everything[:, 0].max() * 1.1, ALONG)
    others: Sequence[float | None] = [None]
    if sizes_PK.shape[1] == 2:
        different = sorted(set(everything[:, 1]))
        others = (
            different if len(different) <= CURVES else list(np.quantile(different, np.linspace(0, 1, CURVES)))
        )
    curves = []
    for other in others:
        sizes = x[:, None] if other is None else np.stack([x, np.full_like(x, other)], axis=1)
        low, high = interval(predicted(found.resamples, sizes))
        curve = {"x": x.tolist(), "loss": predicted(found.vector, sizes).tolist()}
        curves.append(curve | {"low": low, "high": high, "other": other})
    return curves
