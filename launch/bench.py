"""What a step of an experiment costs here."""

import json as json_
from pathlib import Path

from launch.inspect import resolve
from research.errors import UsageError


def bench(name: str, overrides: list[str] | None, steps: int, data: Path | None, json: bool) -> None:
    if steps < 1:
        raise UsageError(f"--steps={steps}: expected 1 or more")
    experiment = resolve(name, overrides)
    from research.bench.cost import FORMULA
    from research.bench.measure import measure
    from research.bench.synthetic import read_tokens
    from research.devices.xla import reuse_step_memory

    reuse_step_memory()
    found = measure(experiment, steps, None if data is None else read_tokens(data, experiment))
    if json:
        print(json_.dumps({"experiment": name} | found._asdict() | {"formula": FORMULA}, indent=2))
        return
    first, third = found.step_spread
    mfu = "unknown" if found.mfu is None else f"{found.mfu:.1%} of {found.peak_flops / 1e12:.2f} TFLOP/s"
    print(f"{name} on {found.devices} × {found.device}, {found.tokens_a_step:,} tokens a step\n")
    for label, told in (
        ("compile, cold", f"{found.compile_cold:.2f} s"),
        ("compile, warm", f"{found.compile_warm:.2f} s, from the persistent cache"),
        ("step", f"{_time(found.step)}, the middle half {_time(first)} to {_time(third)}"),
        ("speed", f"{found.tokens_a_second:,.0f} tokens/s, {found.flops / 1e12:.3f} TFLOP/s"),
        ("MFU", f"{mfu} ({found.peak_source})"),
        ("work", f"{found.flops_a_token / 1e9:.4f} GFLOP a token: {FORMULA}"),
        ("peak memory", f"{found.memory / 1e9:.2f} GB{_whose(found.device)}"),
        ("waiting for data", f"{found.waiting:.1%}"),
    ):
        print(f"{label:<18} {told}")


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _whose(device: str) -> str:
    return ", of the whole process" if device == "cpu" else " on a device"
