"""A profiler trace of one call of the step, and a summary of it in a few lines."""

import gzip
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

from research.io.files import catch_write_errors

SHOWN = 12  # operations in the summary
CONTAINERS = ("while", "call", "conditional")  # operations whose time would count twice
# Kinds of operations by parts of their names; the first match counts.
KINDS = {
    "matrix products": ("dot", "gemm", "matmul", "ynn", "cublas", "nvjet", "cutlass", "wgmma"),
    "attention": ("fmha", "flash", "attention"),
    "communication": ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "permute", "nccl"),
    "copies": ("copy", "transpose", "bitcast", "memcpy", "concatenate", "slice", "pad"),
    "reductions": ("reduce",),
    "gathers and scatters": ("gather", "scatter"),
    "random numbers": ("rng", "threefry", "philox"),
}


@contextmanager
def profiled(
    directory: Path, wanted: bool, report: Callable[[str], None], before: Any
) -> Iterator[Callable[[Any], Any]]:
    """Traces a call into `directory`/profile and reports a summary.

    Yields a function to apply to the call's results. `before` are the call's inputs; they are computed before
    the trace begins.
    """
    if not wanted:
        yield lambda results: results
        return
    target = directory / "profile"
    jax.block_until_ready(before)
    with catch_write_errors(target), jax.profiler.trace(str(target)):
        yield jax.block_until_ready  # a call returns before its results are computed
    report(summary(target))


def summary(folder: Path) -> str:
    """Summarizes the newest trace in `folder`: shares of time by kind and by operation."""
    traces = sorted(folder.rglob("*.trace.json.gz"), key=lambda path: path.stat().st_mtime)
    spent = operations(json.loads(gzip.decompress(traces[-1].read_bytes()))) if traces else {}
    opened = f"profile in {folder}: tensorboard --logdir {folder} (with xprof), or https://ui.perfetto.dev"
    total = sum(spent.values())
    if not total:
        return opened
    kinds: dict[str, float] = defaultdict(float)
    for name, seconds in spent.items():
        kinds[kind(name)] += seconds
    lines = [f"{total:.3f} s of operations in the traced call, over all threads or streams"]
    lines += [f"  {share / total:6.1%}  {name}" for name, share in _largest(kinds)]
    lines += ["by operation"]
    lines += [f"  {share / total:6.1%}  {name}" for name, share in _largest(spent)[:SHOWN]]
    return "\n".join([*lines, opened])


def operations(trace: dict) -> dict[str, float]:
    """{operation: seconds}, summed over the copies of an operation in a compiled program."""
    spent: dict[str, float] = defaultdict(float)
    for event in trace["traceEvents"]:
        if event.get("ph") == "X" and "hlo_op" in event.get("args", {}):
            name = _family(event["args"]["hlo_op"])
            if name not in CONTAINERS:
                spent[name] += event["dur"] / 1e6
    return dict(spent)


def kind(name: str) -> str:
    """The kind of an operation, by its name."""
    return next((kind for kind, parts in KINDS.items() if any(part in name for part in parts)), "elementwise")


def _family(name: str) -> str:
    """fusion.12.clone → fusion: names that differ only in their number are one operation."""
    return ".".join(part for part in name.split(".") if not part.isdigit() and part != "clone")


def _largest(spent: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(spent.items(), key=lambda item: -item[1])
