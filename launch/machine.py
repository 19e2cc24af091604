"""`lineage plan`, `bench` and `doctor`: a step's memory on any devices, its speed here, the installation."""

import shutil
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

from launch.declarations import resolve
from launch.options import Json, Name, Overrides, at_least_one, flag, option
from launch.shell.as_json import print_json
from launch.shell.plans import format_seconds, print_comparison, print_plan
from launch.shell.starting import starting
from research.config.settings import override
from research.errors import UsageError
from research.io.activity import activity

EXTRAS = {  # name: (a distribution of it, or one that serves as well; what it is for)
    "cuda": ("nvidia-cufft", "NVIDIA GPUs"),
    "tpu": ("libtpu", "Cloud TPUs"),
    "plan-gpu": ("jax-cuda13-pjrt", "lineage plan --on h100, without a GPU"),
    "plan-tpu": ("libtpu", "lineage plan --on v5e, without a TPU"),
    "parquet": ("pyarrow", "Parquet files, files compressed by zstd"),
    "gpt1": ("spacy", "GPT-1's word splitting as published"),
    "tf": ("tensorflow-cpu|tensorflow", "TensorFlow checkpoints, data sets whose builders need it"),
    "gs": ("gcsfs", "run.mirror on Google Cloud Storage"),
    "s3": ("s3fs", "run.mirror on S3"),
    "evaluation": ("rouge-score", "summaries and translation: ROUGE, BLEU"),
    "harness": ("lm-eval", "tasks of EleutherAI's evaluation harness"),
    "wandb": ("wandb", "logging to Weights & Biases"),
    "figure": ("matplotlib", "lineage figure"),
    "postgres": ("psycopg", "sweeps in PostgreSQL"),
    "parity": ("transformers", "the tests against PyTorch"),
    "test": ("pytest", "the tests"),
}


def plan(
    name: Name,
    overrides: Overrides = None,
    on: Annotated[
        str, option("TARGET", "Devices to compile for, such as h100:8 or v5e-16; here: this machine.")
    ] = "here",
    devices: Annotated[int, option("N", "Number of simulated devices, with --on here.")] = 1,
    together: Annotated[int, option("K", "Number of runs in one program, as in sweep --together.")] = 1,
    fit: Annotated[
        bool, flag("--fit", "Search for overrides with which the step fits and is fastest.")
    ] = False,
    json: Json = False,
) -> None:
    """Compile a step for given devices; show memory and minimum time."""
    at_least_one(devices=devices, together=together)
    if together > 1 and not any(text.startswith("run.hyperparameters=") for text in overrides or []):
        overrides = ["run.hyperparameters=inputs", *(overrides or [])]  # as a sweep does
    experiment = resolve(name, overrides)
    if devices > 1:  # simulated ones are planned for as if they were real
        experiment = override(experiment, {"parallel.compile": _several(experiment.parallel.compile)})
    with activity(f"finding the devices of {on}"):
        devices_, chip = _devices(on, devices, experiment.parallel.compile)
    with starting():
        from research.bench.fit import planner, search, typed
        from research.training.placement import DoesNotFit

    try:
        with activity(f"compiling the step for {on}") as show:
            plan_for = planner(devices_, chip, together)
            found = search(experiment, len(devices_), plan_for, show) if fit else [plan_for(experiment)]
    except DoesNotFit as fault:
        raise UsageError(f"--on {on}: {name} does not fit: {fault}") from None
    changes = [typed(experiment, chosen) for chosen, _ in found]
    planned = found[0][1]
    if json:
        facts = planned._asdict() | {"attention": planned.attention._asdict()}
        if planned.bound is not None:
            largest = [kernel._asdict() for kernel in planned.bound.largest]
            facts["bound"] = planned.bound._asdict() | {"largest": largest}
        facts |= {"experiment": name, "on": on, "overrides": changes[0]}
        if fit:
            facts["fitting"] = [
                {"overrides": typed_, "peak": each.peak, "seconds": each.bound and each.bound.seconds}
                for typed_, (_, each) in zip(changes, found, strict=True)
            ]
        print_json(facts)
        return
    print_plan(name, f"{len(devices_)} × {devices_[0].device_kind}", planned)
    if len(found) > 1:
        print_comparison([each for _, each in found], changes)
    if changes[0]:
        print(f"\noverrides that pin this choice: {' '.join(changes[0])}")


def _several(compile: str) -> str:
    if compile == "jit":
        raise UsageError("--devices: jit uses one device; expected parallel.compile=auto, sharded or pmap")
    return "sharded" if compile == "auto" else compile


def _devices(on: str, count: int, compile: str) -> tuple[list, Any]:
    """The devices to compile for and their kind, which is None if it is not known."""
    from research.devices.ahead import devices_of, prepare
    from research.devices.targets import chip_of, parse_target

    if on != "here":
        if count > 1:
            raise UsageError(f"--devices {count}: only with --on here; expected --on {on}:{count}")
        target = parse_target(on)
        if target.devices > 1 and compile == "jit":
            raise UsageError(
                f"--on {on}: jit uses one device; expected parallel.compile=auto, sharded or pmap"
            )
        prepare(target)
        return devices_of(target), target.chip
    import jax

    if count > 1:
        jax.config.update("jax_num_cpu_devices", count)
        jax.config.update("jax_platforms", "cpu")
    found = jax.devices()[:1] if compile == "jit" else jax.devices()
    return found, chip_of(found[0].device_kind)


def bench(
    name: Name,
    overrides: Overrides = None,
    steps: Annotated[int, option("N", "Number of steps to time.")] = 20,
    data: Annotated[Path | None, option("FILE", "Tokens, as .npy or .bin. Default: random tokens.")] = None,
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
        print_json({"experiment": name} | found._asdict() | {"formula": FORMULA})
        return
    middle = " to ".join(map(format_seconds, found.step_spread))
    mfu = (
        "unknown"
        if found.mfu is None or found.peak_flops is None
        else f"{found.mfu:.1%} of {found.peak_flops / 1e12:.2f} TFLOP/s"
    )
    scope = ", whole process" if found.device == "cpu" else " per device"
    print(f"{name} on {found.devices} × {found.device}, {found.tokens_a_step:,} tokens per step\n")
    for label, text in (
        ("compile, cold", f"{found.compile_cold:.2f} s"),
        ("compile, warm", f"{found.compile_warm:.2f} s, from the persistent cache"),
        ("step", f"{format_seconds(found.step)} (middle half: {middle})"),
        ("speed", f"{found.tokens_a_second:,.0f} tokens/s, {found.flops / 1e12:.3f} TFLOP/s"),
        ("MFU", f"{mfu} ({found.peak_source})"),
        ("work", f"{found.flops_a_token / 1e9:.4f} GFLOP per token: {FORMULA}"),
        ("peak memory", f"{found.memory / 1e9:.2f} GB{scope}"),
        ("waiting for data", f"{found.waiting:.1%}"),
    ):
        print(f"{label:<18} {text}")


def doctor(json: Json = False) -> None:
    """Show devices, versions, caches, missing packages and imports."""
    from research.config.imports.loading import FAILED, imported
    from research.io.cache import size_of
    from research.io.home import home
    from research.runs.environment import environment

    with starting():
        facts = environment()
    facts["home"] = str(home())
    facts["caches"] = {path.name: size_of(path) for path in sorted(home().glob("*")) if path.is_dir()}
    facts["free"] = shutil.disk_usage(_nearest_existing(home())).free
    facts["extras"] = {extra: _installed(either) for extra, (either, _) in EXTRAS.items()}
    facts["imports"] = dict.fromkeys(imported()) | FAILED  # {name: why it does not load}
    if json:
        print_json(facts)
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
    for name, reason in facts["imports"].items():
        print(f"import    {name}: {'loaded' if reason is None else f'does not load: {reason}'}")


def _nearest_existing(path: Path) -> Path:
    return next(parent for parent in (path, *path.parents) if parent.exists())


def _installed(either: str) -> bool:
    found = {name for name in either.split("|") for _ in metadata.Distribution.discover(name=name)}
    return bool(found)
