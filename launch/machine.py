"""`lineage bench` and `lineage doctor`: the speed of a step here, and the state of the installation."""

import importlib.util
import json as json_
import shutil
from pathlib import Path
from typing import Annotated

import typer

from launch.declarations import resolve
from launch.options import Json, Name, Overrides, at_least_one
from launch.shell.starting import starting

EXTRAS = {
    "tf": ("tensorflow", "data sets whose builders need TensorFlow"),
    "parity": ("transformers", "the tests against PyTorch"),
    "test": ("pytest", "the tests"),
}


def bench(
    name: Name,
    overrides: Overrides = None,
    steps: Annotated[int, typer.Option(metavar="N", help="Number of steps to time.")] = 20,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Tokens: .npy, or raw uint16. Default: random tokens."),
    ] = None,
    json: Json = False,
) -> None:
    """Measure speed, MFU, memory and compile time of a step."""
    at_least_one(steps=steps)
    experiment = resolve(name, overrides)
    with starting():
        from research.bench.cost import FORMULA
        from research.bench.measure import measure
        from research.bench.synthetic import read_tokens
        from research.devices.xla import reuse_step_memory

    reuse_step_memory()
    found = measure(
        experiment,
        steps,
        None if data is None else read_tokens(data, experiment.data.length, experiment.model.vocabulary),
    )
    if json:
        print(json_.dumps({"experiment": name} | found._asdict() | {"formula": FORMULA}, indent=2))
        return
    first, third = found.step_spread
    mfu = "unknown" if found.mfu is None else f"{found.mfu:.1%} of {found.peak_flops / 1e12:.2f} TFLOP/s"
    scope = ", of the whole process" if found.device == "cpu" else " on a device"
    print(f"{name} on {found.devices} × {found.device}, {found.tokens_a_step:,} tokens per step\n")
    for label, text in (
        ("compile, cold", f"{found.compile_cold:.2f} s"),
        ("compile, warm", f"{found.compile_warm:.2f} s, from the persistent cache"),
        ("step", f"{_seconds(found.step)}, the middle half {_seconds(first)} to {_seconds(third)}"),
        ("speed", f"{found.tokens_a_second:,.0f} tokens/s, {found.flops / 1e12:.3f} TFLOP/s"),
        ("MFU", f"{mfu} ({found.peak_source})"),
        ("work", f"{found.flops_a_token / 1e9:.4f} GFLOP per token: {FORMULA}"),
        ("peak memory", f"{found.memory / 1e9:.2f} GB{scope}"),
        ("waiting for data", f"{found.waiting:.1%}"),
    ):
        print(f"{label:<18} {text}")


def _seconds(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def doctor(json: Json = False) -> None:
    """Show devices, versions, caches and missing packages."""
    from research.io.cache import size_of
    from research.io.home import home
    from research.runs.record import environment

    with starting():
        facts = environment()
    facts["home"] = str(home())
    facts["caches"] = {path.name: size_of(path) for path in sorted(home().glob("*")) if path.is_dir()}
    facts["free"] = shutil.disk_usage(_nearest_existing(home())).free
    facts["extras"] = {
        extra: importlib.util.find_spec(module) is not None for extra, (module, _) in EXTRAS.items()
    }
    if json:
        print(json_.dumps(facts, indent=2))
        return
    print(f"lineage   {facts['lineage']}, commit {facts['commit'] or 'unknown'}")
    print(f"devices   {', '.join(facts['devices'])}")
    print("packages  " + ", ".join(f"{name} {version}" for name, version in facts["versions"].items()))
    print(f"home      {facts['home']}  ({facts['free'] / 1e9:.0f} GB free)")
    for name, size in facts["caches"].items():
        print(f"          {name}: {size / 1e6:.1f} MB")
    for extra, present in facts["extras"].items():
        state = "installed" if present else f"missing: pip install 'lineage-lm[{extra}]'"
        print(f"extra     {extra} ({EXTRAS[extra][1]}): {state}")


def _nearest_existing(path: Path) -> Path:
    return next(parent for parent in (path, *path.parents) if parent.exists())
