"""A table of steps on a GPU: models, batches, remat, attention, beside PyTorch and the plan. Run by gpu.sh.

Rows are in order of importance: what the time given does not suffice for is named as left out. Without a GPU
all models are shrunk, so that the same code runs within minutes.
"""

import argparse
import importlib.util
import json
import statistics
import sys
import time
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.peers import has_gpu
from tests.benchmarks.sizes import SIZES, declared
from tests.benchmarks.turns import rounds

SMALL = {
    "model.depth": 2,
    "model.width": 64,
    "model.heads": 2,
    "model.vocabulary": 512,
    "data.batch": 2,
    "data.length": 64,
    "data.masking.predictions": 8,
}


class Row(NamedTuple):
    size: str
    changes: dict = {}  # noqa: RUF012, nobody writes to it
    peers: tuple[str, ...] = ()  # of PyTorch: eager, compile


ROWS = [
    Row("small", peers=("eager", "compile")),
    Row("xl", peers=("compile",)),
    Row("bert512", peers=("compile",)),
    Row("bert128", peers=("compile",)),
    Row("gpt1", peers=("compile",)),
    Row("gpt1", {"model.dropout": 0.1}),
    Row("gpt1", {"model.dropout": 0.1, "model.attention": "xla"}),
    Row("bert512", {"model.dropout": 0.1}),
    Row("small", {"model.attention": "flash"}),
    Row("small", {"model.unroll": 1}),
    Row("small", {"model.logits": "float32"}),
    Row("small", {"run.deterministic": True}),
    Row("medium"),
    Row("small", {"data.batch": 64}),
    Row("small", {"model.remat": "dots"}),
    Row("small", {"model.remat": "block"}),
    Row("xl", {"data.batch": 32, "model.remat": "block"}),
]


def main() -> int:
    """1 if a row failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=330.0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    small = {} if has_gpu() else SMALL
    if small:
        print(
            "no GPU: models shrunk; on one this measures " + ", ".join(SIZES[row.size][2] for row in ROWS[:6])
        )
    began, found, failed = time.monotonic(), [], False
    columns = f"{'ms':>9}{'tokens/s':>12}{'MFU':>7}{'of eager':>10}{'of compile':>11}{'GB':>7}"
    print(f"{'':<52}{columns}{'planned':>9}{'bound':>7}")
    rows = ROWS if not small else [ROWS[0], ROWS[2]._replace(peers=())]
    for row in rows:
        if time.monotonic() - began > arguments.seconds - 45 * (1 + len(row.peers)):
            print(f"{describe(row):<52}left out: the time is up")
            continue
        try:
            measured = measure(row, small)
        except SystemExit as failure:
            print(f"{describe(row):<52}failed: {failure}", flush=True)
            failed = True
            continue
        found.append(measured)
        show(row, measured)
        if arguments.json:
            arguments.json.write_text(json.dumps(found, indent=2) + "\n")
    return int(failed)


def measure(row: Row, small: dict) -> dict:
    precision = "bfloat16" if not small else "float32"
    changes = json.dumps(row.changes | small)
    shared = [row.size, "--precision", precision, "--changes", changes]
    commands = {"ours": ["-m", "tests.benchmarks.our_step", *shared]}
    if importlib.util.find_spec("transformers"):
        options = {"eager": [], "compile": ["--compile"]}
        torch_step = ["-m", "tests.benchmarks.torch_step", *shared]
        commands |= {peer: [*torch_step, *options[peer]] for peer in row.peers}
    facts, play = rounds(commands, 1.0, None, 3)
    seconds = {name: [] for name in commands}
    for name, answer in play:
        seconds[name] += answer["seconds"]
        facts[name]["peak"] = answer["peak"]
    step = {name: statistics.median(values) for name, values in seconds.items()}
    experiment = declared(row.size, row.changes | small)
    tokens = experiment.data.batch * experiment.data.length
    flops, best = facts["ours"]["flops_a_token"] * tokens / step["ours"], facts["ours"]["peak_flops"]
    return {
        "size": row.size,
        "changes": row.changes | small,
        "facts": facts,
        "step": step,
        "tokens_a_second": tokens / step["ours"],
        "mfu": flops / best if best else None,
    }


def show(row: Row, measured: dict) -> None:
    """Ratios on a GPU alone: shrunk models on a CPU show that the code runs, and nothing of its speed."""
    step = measured["step"]
    ratios = "".join(
        f"{step['ours'] / step[name]:>{width}.3f}" if name in step and has_gpu() else " " * width
        for name, width in (("eager", 10), ("compile", 11))
    )
    mfu = "–" if measured["mfu"] is None else f"{measured['mfu']:.1%}"
    facts = measured["facts"]["ours"]
    peak = facts["device_peak"]
    planned = ""
    if "bound" in facts:
        planned = f"{facts['planned_peak'] / 1e9:>9.1f}{facts['bound'] / step['ours']:>7.0%}"
    print(
        f"{describe(row):<52}{step['ours'] * 1e3:>9.1f}{measured['tokens_a_second']:>12,.0f}{mfu:>7}{ratios}"
        + ("" if peak is None else f"{peak / 1e9:>7.1f}")
        + planned,
        flush=True,
    )


def describe(row: Row) -> str:
    changes = ", ".join(f"{name.split('.')[1]} {value}" for name, value in row.changes.items())
    whole = SIZES[row.size][2] + (f"; {changes}" if changes else "")
    return whole if has_gpu() else f"(shrunk) {whole}"


if __name__ == "__main__":
    sys.exit(main())
