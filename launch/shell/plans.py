"""A plan as text on the terminal."""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from research.bench.plan import Plan


def print_plan(name: str, on: str, planned: "Plan") -> None:
    mesh = ", ".join(f"{axis} {size}" for axis, size in planned.mesh.items())
    runs = f"{planned.together} runs of {name} together" if planned.together > 1 else name
    print(f"{runs} on {on}, parallel.compile={planned.compile} ({mesh})")
    rows = f"{planned.rows} sequence{'' if planned.rows == 1 else 's'} per device"
    parts = "" if planned.accumulate == 1 else f" in each of {planned.accumulate} accumulated parts"
    print(f"{rows}{parts}\n")
    lines = [
        ("parameters", format_gb(planned.parameters)),
        ("optimizer state", format_gb(planned.opt_state)),
        *([("teacher", format_gb(planned.teacher))] if planned.teacher else []),
        ("gradients, activations", format_gb(planned.temporaries)),
        ("peak", format_gb(planned.peak)),
    ]
    if planned.usable is not None:
        lines.append(
            ("usable", f"{format_gb(planned.usable)}; the rest is reserved for the device's libraries")
        )
    lines.append(("attention", f"{planned.attention.used}: {planned.attention.why}"))
    if math.prod(planned.mesh.values()) > 1:
        lines.append(("split", f"{planned.split} of {planned.large} arrays over 1 MB"))
        lines.append(("largest array gathered", format_gb(planned.gathered)))
    if planned.bound is not None:
        bound = planned.bound
        lines += [
            ("launches", f"{bound.launches:,} per step"),
            *(
                (kind, f"{count:,} per step, {format_gb(moved)}")
                for kind, (count, moved) in bound.collectives.items()
            ),
            (
                "minimum time",
                f"{format_seconds(bound.seconds)} per step: products {format_seconds(bound.products)}, "
                f"memory {format_seconds(bound.memory)}, links {format_seconds(bound.links)}",
            ),
            ("MFU", f"at most {planned.mfu:.1%} (an upper bound, not an estimate)"),
        ]
    if planned.together > 1:
        each = [f"{format_gb(planned.peak / planned.together)}"]
        if planned.bound is not None:
            each.append(f"at least {format_seconds(planned.bound.seconds / planned.together)} per step")
            each.append(f"{planned.bound.launches / planned.together:,.1f} launches")
        lines.append(("per run", ", ".join(each)))
    lines.append(("compiled in", f"{planned.compile_seconds:.1f} s"))
    for label, text in lines:
        print(f"{label:<24} {text}")


def print_comparison(plans: "list[Plan]", changes: list[list[str]]) -> None:
    """The plans that `--fit` found, with the overrides of each."""
    print("\nminimum time  peak        with")
    for each, typed in zip(plans, changes, strict=True):
        time = "unknown" if each.bound is None else format_seconds(each.bound.seconds)
        print(f"{time:<13} {format_gb(each.peak):<11} {' '.join(typed) or 'as declared'}")


def format_gb(size: float) -> str:
    return f"{size / 1e9:.3f} GB"


def format_seconds(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} µs"
    return f"{seconds * 1e3:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"
