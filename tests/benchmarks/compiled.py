"""What the compilers of accelerators make of our steps: a table of memory, launches and bounds.

    python -m tests.benchmarks.compiled h100 [--cases gpt2,bert128] [--json FILE]

Nothing runs: each step is compiled for a target that need not be here, as `lineage plan --on` does. Needs the
extra plan-gpu or plan-tpu.
"""

import argparse
import json
from pathlib import Path

import experiments
from research.config import Experiment
from research.config.settings import override
from research.devices.ahead import devices_of, prepare
from research.devices.targets import parse_target

LONG = {"data.length": 512, "data.masking.predictions": 77, "data.later.step": 0}
CASES: dict[str, tuple[str, dict]] = {
    "gpt2": ("gpt2_small", {"data.batch": 32}),
    "gpt2_xl": ("gpt2_xl", {"data.batch": 8, "model.remat": "block"}),
    "gpt1": ("gpt1", {"data.batch": 64}),
    "bert128": ("bert_base", {"data.batch": 256, "data.length": 128, "data.later.step": 0}),
    "bert512": ("bert_base", {"data.batch": 64} | LONG),
    "bert_sst2": ("bert_sst2", {}),
    "gpt1_sst2": ("gpt1_sst2", {}),
}
ONE = {"parallel.accumulate": 1}


def declared(case: str, more: dict) -> Experiment:
    name, changes = CASES[case]
    return override(experiments.get(name), changes | ONE | more)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("target")
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--text", type=Path, help="a folder for the programs' texts")
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_intermixed_args()
    target = parse_target(arguments.target)
    prepare(target)
    from research.bench.plan import build, plan
    from research.config.settings import parse_assignments
    from research.devices.compilers import with_compiler

    devices, rows = devices_of(target), []
    more = parse_assignments(arguments.overrides)
    print("| step | compile | state | temporaries | attention | launches | bound | products | memory | MFU |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for case in arguments.cases.split(","):
        experiment = declared(case, more)
        parallel = with_compiler(experiment.parallel, devices)
        experiment = override(experiment, {"parallel.compile": parallel.compile})
        built = build(experiment, devices)
        planned = plan(experiment, devices, target.chip, built)
        rows.append({"case": case, "target": target.name} | planned._asdict())
        if arguments.text:
            arguments.text.mkdir(parents=True, exist_ok=True)
            (arguments.text / f"{case}.hlo").write_text(built.text)
        bound = planned.bound
        if bound is None:
            print(
                f"| {case} | {built.seconds:.0f} s | does not fit: {built.need.peak / 1e9:.2f} GB |",
                flush=True,
            )
            continue
        print(
            f"| {case} | {built.seconds:.0f} s | {built.need.state / 1e9:.2f} GB | "
            f"{built.need.temporaries / 1e9:.2f} GB | {planned.attention.used} | {bound.launches:,} | "
            f"{bound.seconds * 1e3:.1f} ms | {bound.products * 1e3:.1f} | {bound.memory * 1e3:.1f} | "
            f"{planned.mfu:.1%} |",
            flush=True,
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
