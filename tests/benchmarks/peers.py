"""Our step beside PyTorch's: `python tests/benchmarks/peers.py [SIZE…] [--pairs N] [--json PATH]`.

The same model, shapes, precision and work, on the CPU or the GPU, whichever there is. Contenders are
processes that work in turns (A B C A B C …), so that all meet the machine in the same moods; a ratio is the
median over the turns of ours by theirs. PyTorch is Transformers', eager and compiled (extra `parity`).

Only a quiet machine gives a ratio that means anything: where others want the cores, PyTorch's OpenMP threads
spin for each other, a step takes ten times as long, and CPU time is no better guide. Rows say what
load there was and are marked where it was high; OMP_WAIT_POLICY=passive shows whether spinning is the cause.
"""

import argparse
import json
import os
import platform
import statistics
import sys
from pathlib import Path

from tests.benchmarks.sizes import SIZES
from tests.benchmarks.turns import rounds

LOADED = 1.1  # runnable processes a core; a row before this one leaves up to 1 behind
SECONDS = 3.0  # a turn lasts about this long
OURS = {"float32": "float32", "bfloat16": "bfloat16"}  # on a GPU; a CPU has no fast bfloat16 additions
OURS_ON_CPU = OURS | {"bfloat16": "bfloat16_matmul"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", metavar="SIZE", help=f"of {', '.join(SIZES)}; A C G E by default")
    parser.add_argument("--precision", nargs="+", choices=OURS, default=["float32"])
    parser.add_argument("--pairs", type=int, default=5, help="turns of each contender")
    parser.add_argument("--calls", type=int, help=f"calls a turn; as many as take {SECONDS:.0f} s by default")
    parser.add_argument(
        "--steps-per-call", type=int, help="run.steps_per_call of ours; as declared by default"
    )
    parser.add_argument("--changes", type=json.loads, default={}, help='JSON, {"model.unroll": 12}')
    parser.add_argument("--without", nargs="*", default=[], choices=["eager", "compile"])
    parser.add_argument("--keep-freed", action="store_true", help="both sides: glibc keeps what is freed")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    unknown = set(arguments.sizes) - set(SIZES)
    if unknown:
        parser.error(f"no such size: {', '.join(unknown)}; expected some of {', '.join(SIZES)}")
    rows = []
    for size in arguments.sizes or ["A", "C", "G", "E"]:
        for precision in arguments.precision:
            rows.append(compare(size, precision, arguments))
            show(rows[-1])
            if arguments.json:
                arguments.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=2) + "\n")


def compare(size: str, precision: str, arguments: argparse.Namespace) -> dict:
    """A row: what each contender is, took in every turn, and the ratios."""
    kept = ["--keep-freed"] if arguments.keep_freed else []
    changes = {"run.evaluate_every": 0, "run.checkpoint_every": 0} | arguments.changes
    if arguments.steps_per_call:
        changes["run.steps_per_call"] = arguments.steps_per_call
    known = OURS if has_gpu() else OURS_ON_CPU
    ours = ["-m", "tests.benchmarks.our_step", size, "--precision", known[precision], *kept]
    torch = ["-m", "tests.benchmarks.torch_step", size, "--precision", precision, *kept]
    commands = {
        "ours": [*ours, "--changes", json.dumps(changes)],
        "eager": torch,
        "compile": [*torch, "--compile"],
    }
    commands = {name: command for name, command in commands.items() if name not in arguments.without}
    load = os.getloadavg()[0]  # of others: nothing of ours runs yet, but for the row before
    facts, play = rounds(commands, SECONDS, arguments.calls, arguments.pairs)
    turns = {name: [] for name in commands}
    for name, answer in play:
        turns[name].append(answer)
    return {
        "size": size,
        "what": SIZES[size][2],
        "precision": precision,
        "load": load,
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY", "default"),
        "facts": facts,
        "turns": turns,
        "seconds": {name: statistics.median(map(seconds, answers)) for name, answers in turns.items()},
        "ratios": {name: ratios(turns["ours"], turns[name]) for name in commands if name != "ours"},
        "peak": {name: answers[-1]["peak"] for name, answers in turns.items()},
    }


def seconds(answer: dict) -> float:
    """A turn's median step."""
    return statistics.median(answer["seconds"])


def ratios(ours: list[dict], theirs: list[dict]) -> dict[str, float]:
    """Ours by theirs, turn by turn: wall time with its extremes, and the processor's time."""
    walls = [seconds(a) / seconds(b) for a, b in zip(ours, theirs, strict=True)]
    processor = [a["cpu"] / b["cpu"] for a, b in zip(ours, theirs, strict=True)]
    return {
        "wall": statistics.median(walls),
        "least": min(walls),
        "most": max(walls),
        "cpu": statistics.median(processor),
    }


def show(row: dict) -> None:
    print(
        f"\n{row['size']}: {row['what']}, {row['precision']}; load {row['load']:.1f}, "
        f"OpenMP waits: {row['omp_wait_policy']}"
    )
    if row["load"] > LOADED * os.cpu_count():
        print("  NOT A RESULT: others were using the cores")
    print(f"{'':<10}{'s a step':>10}{'ours by it':>12}{'least–most':>14}{'by CPU time':>13}{'peak GB':>10}")
    for name, step in row["seconds"].items():
        line = f"{name:<10}{step:>10.4f}"
        if name in row["ratios"]:
            r = row["ratios"][name]
            line += f"{r['wall']:>12.3f}{r['least']:>8.2f}–{r['most']:<5.2f}{r['cpu']:>13.3f}"
        else:
            line += f"{'':>39}"
        print(f"{line}{row['peak'][name] / 1e9:>10.2f}")
    for name, facts in row["facts"].items():
        print(
            f"  {name}: " + ", ".join(f"{key} {value}" for key, value in _rounded(facts).items()), flush=True
        )


def machine() -> dict:
    return {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}


def has_gpu() -> bool:
    return Path("/proc/driver/nvidia").exists() or Path("/dev/nvidia0").exists()


def _rounded(facts: dict) -> dict:
    return {key: round(value, 2) if isinstance(value, float) else value for key, value in facts.items()}


if __name__ == "__main__":
    sys.exit(main())
