"""A figure for a paper, drawn by Matplotlib: the same runs and options give the same bytes."""

import io
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from research.errors import EnvironmentFault, UsageError, did_you_mean
from research.io.files import write_atomic
from research.reporting.figures.curves import Curve, over_steps
from research.reporting.figures.over_setting import across, setting_named
from research.reporting.groups.counted import distinct, left_out, listed
from research.reporting.runs import Run, runs_in
from research.reporting.series import AXES, finite

WIDTHS = {1: 3.25, 2: 6.75}  # inches, for one and two columns of a page
KINDS = {
    ".svg": {"Date": None, "Creator": "Lineage"},
    ".pdf": {"CreationDate": None, "Creator": "Lineage"},
    ".png": {"Software": "Lineage"},
}
TITLES = {"steps": "Steps", "tokens": "Tokens", "seconds": "Training time (s)"}
LOOK: dict[Any, Any] = {
    "font.size": 8, "axes.labelsize": 8, "xtick.labelsize": 7, "ytick.labelsize": 7, "legend.fontsize": 7,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.6, "lines.linewidth": 1.1,
    "legend.frameon": False, "figure.dpi": 300, "pdf.fonttype": 42, "svg.fonttype": "path",
    "svg.hashsalt": "lineage",
}  # fmt: skip
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")  # Okabe & Ito's
LISTED = 3  # maximum number of settings in a note
MOST_INSIDE = 5  # maximum number of curves for a legend inside the axes
STYLES = ("-", "--", ":", "-.")


class Options(NamedTuple):
    metric: str = "loss"
    split: str = "validation"  # train, validation or both
    over: str = "steps"  # tokens, seconds, or a setting
    log: str = ""  # logarithmic axes: x, y or xy
    smoothing: float = 0.0  # weight of the past in the moving average of training rows
    columns: int = 1

    @property
    def splits(self) -> tuple[str, ...]:
        return ("train", "validation") if self.split == "both" else (self.split,)


def write_figure(
    directories: Sequence[Path], path: Path, options: Options
) -> tuple[list[Curve], dict[str, int]]:
    """Draws the runs in `directories` to `path`; returns the curves and the counts of runs left out.

    Raises UsageError as `check` does.
    """
    check(path, options)
    runs = runs_in(directories)
    found = curves(runs, options)
    reasons = {"repeated": again} if (again := len(runs) - len(distinct(runs))) else {}
    if options.over not in AXES:
        options = options._replace(over=setting_named(options.over, runs))
        reasons = left_out(runs, options.metric, options.splits[-1])
    write_atomic(path, _drawn(found, options, path.suffix))
    return found, reasons


def curves(runs: Sequence[Run], options: Options) -> list[Curve]:
    """The curves of a figure; splits in which no run measures the metric are left out.

    Over a setting, a point is the final value of finished runs with one value of it. Copies of a run count
    once. Raises UsageError for a metric that no run measures and for a setting in which runs do not differ.
    """
    runs, metric, over = distinct(runs), options.metric, options.over
    known = {
        split: {name for run in runs for row in run.split(split) for name in row if finite(row[name])}
        for split in options.splits
    }
    found = [split for split in options.splits if metric in known[split]]
    if not found:
        names = set().union(*known.values()) - {*AXES.values()}
        splits = " or ".join(options.splits)
        raise UsageError(f"--metric {metric}: not measured in {splits}{did_you_mean(metric, names)}")
    if over in AXES:
        drawn = [over_steps(runs, metric, split, over, options.smoothing) for split in found]
    else:
        setting = setting_named(over, runs)
        drawn = [across(runs, metric, split, setting) for split in found]
    if not any(drawn):
        reasons = listed(left_out(runs, metric, found[-1]))
        raise UsageError(f"--over {over}: no run has finished: {reasons}; expected one, or --over steps")
    return [curve for some in drawn for curve in some]


def check(path: Path, options: Options) -> None:
    """Raises UsageError for options that do not fit, and for a file at `path` that is not a figure."""
    if path.suffix not in KINDS:
        raise UsageError(f"--out {path}: expected a name that ends in {', '.join(KINDS)}")
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent}: no such directory")
    if path.is_dir() or (path.exists() and b"Lineage" not in path.read_bytes()):
        raise UsageError(f"{path}: exists and is not a figure; choose another --out")
    for name, known in (
        ("split", ("train", "validation", "both")),
        ("log", ("", "x", "y", "xy")),
        ("columns", WIDTHS),
    ):
        if (given := getattr(options, name)) not in known:
            raise UsageError(f"--{name} {given}: expected one of {', '.join(map(str, filter(None, known)))}")
    if not 0 <= options.smoothing < 1:
        raise UsageError(f"--smoothing {options.smoothing}: expected a share from 0 to below 1")


def _drawn(found: Sequence[Curve], options: Options, suffix: str) -> bytes:
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise EnvironmentFault("lineage figure needs Matplotlib: pip install 'lineage-lm[figure]'") from None
    width = WIDTHS[options.columns]
    with matplotlib.rc_context(matplotlib.rcParamsDefault | LOOK), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about glyphs that the font lacks
        figure = Figure(
            figsize=(width, 0.72 * WIDTHS[1] if options.columns == 1 else 0.42 * width), layout="constrained"
        )
        axes = figure.add_subplot()
        _draw(axes, found, options)
        file = io.BytesIO()
        figure.savefig(file, format=suffix[1:], metadata=KINDS[suffix])
    return file.getvalue()


def _draw(axes: Any, found: Sequence[Curve], options: Options) -> None:
    groups = list(dict.fromkeys(curve.label for curve in found))
    both = len({curve.split for curve in found}) > 1
    by_setting = options.over not in AXES
    for curve in found:
        at = groups.index(curve.label)
        look = {"color": COLOURS[at % len(COLOURS)], "linestyle": STYLES[at // len(COLOURS) % len(STYLES)]}
        if not curve.joined or (curve.split == "validation" and len(curve.x_P) <= 40):
            look |= {"marker": "o", "markersize": 2.5}
        if not curve.joined:
            look |= {"linestyle": "none"}
        if both and curve.split == "train":
            look |= {"linewidth": 0.7, "alpha": 0.7}
        name = None if both and curve.split == "train" else curve.label
        axes.plot(curve.x_P, curve.mean_P, label=name, **look)
        if curve.error_P is not None and by_setting:
            axes.errorbar(curve.x_P, curve.mean_P, curve.error_P, fmt="none", ecolor=look["color"], capsize=2)
        elif curve.error_P is not None:
            low, high = curve.mean_P - curve.error_P, curve.mean_P + curve.error_P
            axes.fill_between(curve.x_P, low, high, color=look["color"], alpha=0.2, linewidth=0)
    axes.set_xlabel(TITLES.get(options.over, options.over))
    axes.set_ylabel(_title(found, options.metric))
    axes.set_title("\n".join(_notes(found, options.smoothing)), fontsize=7)
    for letter in "xy":
        _ticks(axes, letter, letter in options.log)
    if len(groups) > MOST_INSIDE:
        axes.figure.legend(loc="outside right upper")
    elif len(groups) > 1:
        axes.legend()


def _title(found: Sequence[Curve], metric: str) -> str:
    splits = {"train": "training", "validation": "validation"}
    drawn = list(dict.fromkeys(splits[curve.split] for curve in found))
    return f"{' (thin) and '.join(drawn)} {metric.replace('_', ' ')}".capitalize()


def _notes(found: Sequence[Curve], smoothing: float) -> list[str]:
    """Notes on means, bands and smoothing, if the curves are not raw measurements."""
    notes = []
    if counts := sorted({curve.seeds for curve in found if curve.error_P is not None}):
        notes.append(f"mean ± standard error, {' to '.join(map(str, counts[:1] + counts[1:][-1:]))} seeds")
    if also := sorted({name for curve in found for name in curve.also}):
        rest = f" and {len(also) - LISTED} more" if len(also) > LISTED else ""
        notes.append(f"points also differ in {', '.join(also[:LISTED])}{rest}")
    if smoothing and any(curve.split == "train" for curve in found):
        notes.append(f"training: exponential moving average, weight {smoothing:g}")
    return notes


def _ticks(axes: Any, letter: str, logarithmic: bool) -> None:
    """Plain numbers: 1, 2, 5, 10 on a logarithmic axis, or linear ticks within one decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    axis = getattr(axes, f"{letter}axis")
    even = MaxNLocator(7, steps=[1, 2, 5, 10])
    if logarithmic:
        getattr(axes, f"set_{letter}scale")("log", nonpositive="mask")
        low, high = getattr(axes, f"get_{letter}lim")()
        decades = math.log10(high / low) if low > 0 else 1.0
        subs = (1.0, 2.0, 5.0) if decades < 2.5 else (1.0,)
        axis.set_major_locator(even if decades < 1 else LogLocator(subs=subs))
        axis.set_minor_locator(NullLocator())
    else:
        axis.set_major_locator(even)
    axis.set_major_formatter(FuncFormatter(lambda value, _: _compact(value)))


def _compact(value: float) -> str:
    """3.25, 200, 10k, 1.5M"""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= max(size, 1e4):
            return f"{value / size:.4g}{unit}"
    return f"{value:.4g}"
