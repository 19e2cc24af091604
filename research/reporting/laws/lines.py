"""Formats the facts of a law for a terminal."""

from typing import Any

from research.reporting.comparison import format_value


def law_lines(found: dict[str, Any]) -> list[str]:
    """The lines of a terminal."""
    used = sum(len(point["runs"]) for point in found["points"])
    percent = f"{found['coverage']:.0%}"
    lines = [
        f"{found['formula']}, {len(found['points'])} points of {used} runs of {found['given']}",
        *(
            f"{name:8s} {format_value(one['value']):10s} {_between(one)}"
            for name, one in found["parameters"].items()
        ),
        f"intervals: {percent} of {found['resamples']} fits to resampled {found['resampled']}; "
        f"a run's scatter is {100 * found['scatter']:.2g}%",
    ]
    if len(found["over"]) == 2:
        lines.append("the best N for C operations grows as C^(b/(a+b)), the best D as C^(a/(a+b))")
    lines += [_predicted(found, one) for one in found["predictions"]]
    if tests := found["held_out"]:
        lines += [f"{_predicted(found, one)}; measured {one['measured']:.4f}, {_error(one)}" for one in tests]
        runs, within = (
            sum(counts) for counts in zip(*((len(t["runs"]), t["within"]) for t in tests), strict=True)
        )
        mean = sum(abs(one["error"]) for one in tests) / len(tests)
        lines.append(
            f"held out: {len(tests)} points, the law's mean error {mean:.2%}; "
            f"{within} of {runs} runs are within {percent} intervals"
        )
    return lines + [f"warning: {line}" for line in found["warnings"]]


def _predicted(found: dict[str, Any], one: dict[str, Any]) -> str:
    at = " ".join(f"{name} {one[name]:,.6g}" for name in found["over"])
    return (
        f"{at}: {found['metric']} {one['loss']:.4f}, the law {one['low']:.4f} to {one['high']:.4f}, "
        f"a run {one['run_low']:.4f} to {one['run_high']:.4f}"
    )


def _error(one: dict[str, Any]) -> str:
    return f"the law is {abs(one['error']):.2%} too {'high' if one['error'] > 0 else 'low'}"


def _between(one: dict[str, float]) -> str:
    return f"{format_value(one['low'])} to {format_value(one['high'])}"
