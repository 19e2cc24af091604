"""Whether a GPU computes what a CPU does, and the same every time. Run by gpu.sh; exits 1 if not."""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import experiments
from research import models
from research.bench.measure import start
from research.bench.synthetic import batches
from research.config import Experiment
from research.config.settings import override
from research.models.attention import AttentionMask, attend_by, by_library
from research.models.ops.dropout import Seed
from research.models.parameters import path_name

SMALL = {
    "model.depth": 2,
    "model.vocabulary": 1_000,
    "data.batch": 4,
    "data.length": 64,
    "model.dropout": 0.0,
}
FAMILIES = ("gpt1", "gpt2_small", "bert_base")
STEPS = 6
# Largest differences, over the largest magnitude.
FLOAT32, BFLOAT16, COMPILERS = 1e-4, 5e-2, 1e-4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        return run(arguments.run)
    device = jax.devices()[0].device_kind
    print(f"numerics on {device}" + (": no GPU, so the CPU stands in" if _on_cpu() else ""))
    found = {}
    for label, check, bound in checks():
        found[label] = {"found": check(), "bound": bound}
        mark = "ok   " if found[label]["found"] <= bound else "WRONG"
        print(f"{mark} {label:<56} {found[label]['found']:.2e}  (at most {bound:.0e})", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps({"device": device, "checks": found}, indent=2) + "\n")
    sys.exit(0 if all(each["found"] <= each["bound"] for each in found.values()) else 1)


def checks() -> Iterator[tuple[str, Callable[[], float], float]]:
    """(what is compared, the largest difference, how large it may be)."""
    for family in FAMILIES:
        for precision, bound in (("float32", FLOAT32), ("bfloat16", BFLOAT16)):
            yield (
                f"{family} logits, {precision} against CPU float32",
                partial(logits, family, precision),
                bound,
            )
    for causal, label in ((True, "causal"), (False, "padded")):
        yield f"attention, cuDNN against XLA, {label}", partial(attention, "cudnn", causal), BFLOAT16
        yield (
            f"attention with dropout, flash against XLA, {label}",
            partial(attention, "flash", causal),
            BFLOAT16,
        )
    for compiler in ("sharded", "pmap"):
        yield f"three steps, {compiler} against jit", partial(compilers, compiler), COMPILERS
    yield "killed and continued, against undisturbed", killed, 0.0


def shrunk(family: str, **changes) -> Experiment:
    experiment = override(experiments.get(family), SMALL)
    return override(experiment, {key.replace("__", "."): value for key, value in changes.items()})


def logits(family: str, precision: str) -> float:
    """The largest difference of a small model's from those in float32 on the CPU."""
    experiment = shrunk(family)
    batch = next(batches(experiment))
    inputs = [batch[key] for key in ("tokens", "segments") if key in batch]
    cpu = jax.local_devices(backend="cpu")[0]

    def of(precision: str, device) -> np.ndarray:
        config = override(experiment, {"model.precision": precision, "model.attention": "xla"}).model
        with jax.default_device(device), jax.default_matmul_precision("highest"):
            model = jax.device_put(drawn, device)
            shell = jax.eval_shape(lambda: models.build(config, key=jax.random.key(0)))
            model = jax.tree.unflatten(jax.tree.structure(shell), jax.tree.leaves(model))
            outputs = jax.jit(lambda model, *inputs: model(*inputs))(model, *inputs)
        return np.asarray(jax.tree.leaves(outputs)[0], np.float64)

    with jax.default_device(cpu):
        drawn = models.build(experiment.model, key=jax.random.key(0))
    return difference(of(precision, jax.devices()[0]), of("float32", cpu))


def attention(kernels: str, causal: bool) -> float:
    """Output and gradients in bfloat16, of fused kernels and of the plain form, where rows are padded.

    With `flash` both drop the same probabilities.
    """
    seed = Seed(jnp.array([5, 6], jnp.uint32), jnp.float32(0.1)) if kernels == "flash" else None
    B, L, H, K = 3, 128, 4, 64
    visible = AttentionMask(causal=causal, lengths_B=None if causal else jnp.array([128, 70, 1]))
    qkvg = [jax.random.normal(jax.random.key(n), (B, L, H, K), jnp.bfloat16) for n in range(4)]
    real_BL = jnp.arange(L) < (jnp.full(B, L) if causal else visible.lengths_B)[:, None]
    weights = jnp.where(real_BL[..., None, None], qkvg.pop(), 0)  # what padding sees means nothing

    def outcome(attend):
        def weighted(q, k, v):
            y = attend(q, k, v, seed)
            return (y * weights).astype(jnp.float32).sum(), y * real_BL[..., None, None]

        (_, y), grads = jax.jit(jax.value_and_grad(weighted, (0, 1, 2), has_aux=True))(*qkvg)
        return [np.asarray(x, np.float64) for x in (y, *grads)]

    if kernels == "flash":
        theirs = outcome(attend_by("flash", visible, L, L, interpret=_on_cpu()))
    else:
        theirs = outcome(by_library(visible, "xla" if _on_cpu() else "cudnn"))
    ours = outcome(attend_by("xla", visible, L, L))
    return max(map(difference, theirs, ours))


def compilers(compiler: str) -> float:
    """The loss after three steps."""

    def losses(compiler: str) -> np.ndarray:
        experiment = shrunk("gpt2_small", parallel__compile=compiler, model__precision="float32")
        with jax.default_matmul_precision("highest"):
            program, state = start(experiment)
            made, found = batches(experiment), []
            for _ in range(3):
                state, sums = program.step(state, program.feed(next(made)))
                found.append(float(sums["loss"]))
        return np.array(found)

    return difference(losses(compiler), losses("jit"))


def killed() -> float:
    """1 where a process killed half way and continued by another ends in other bits than one undisturbed."""
    with tempfile.TemporaryDirectory(prefix="lineage-gpu-") as folder:
        undisturbed, disturbed = Path(folder, "undisturbed"), Path(folder, "killed")
        _process(undisturbed).wait()
        process = _process(disturbed)
        while not (disturbed / f"{STEPS // 2}.npz").exists() and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        kept = {int(path.stem) for path in disturbed.glob("*.npz")}
        if STEPS in kept:  # too fast to be killed in time: what it did after the kill is taken back
            for step in range(STEPS // 2 + 1, STEPS + 1):
                (disturbed / f"{step}.npz").unlink()
        _process(disturbed).wait()
        one, other = (np.load(path / f"{STEPS}.npz") for path in (undisturbed, disturbed))
        same = one.files == other.files and all(
            one[key].tobytes() == other[key].tobytes() for key in one.files
        )
        return 0.0 if same else 1.0


def run(folder: Path) -> None:
    """Steps from the newest state in `folder` to the last, every state kept, whole or not at all."""
    experiment = shrunk("gpt2_small", model__dropout=0.1, run__deterministic=True)
    program, state = start(experiment)
    folder.mkdir(exist_ok=True)
    done = max((int(path.stem) for path in folder.glob("*.npz")), default=0)
    if done:
        with np.load(folder / f"{done}.npz") as kept:
            state = jax.tree_util.tree_map_with_path(partial(_refilled, kept), state)
    made = batches(experiment)
    for step in range(1, STEPS + 1):
        batch = next(made)
        if step <= done:
            continue
        state, _ = program.step(state, program.feed(batch))
        leaves = jax.tree_util.tree_leaves_with_path(state)
        np.savez(folder / f".{step}.npz", **{path_name(path): _bits(leaf) for path, leaf in leaves})
        (folder / f".{step}.npz").rename(folder / f"{step}.npz")


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    return float(abs(found - expected).max() / abs(expected).max())


def _process(folder: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "tests.benchmarks.gpu_numerics", "--run", str(folder)]
    return subprocess.Popen(command, env=os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"})


def _refilled(kept, path, leaf):
    array = jnp.asarray(kept[path_name(path)])
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        array = jax.random.wrap_key_data(array)
    return jax.device_put(array, leaf.sharding)


def _bits(leaf) -> np.ndarray:
    return np.asarray(jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf)


def _on_cpu() -> bool:
    return jax.default_backend() == "cpu"


if __name__ == "__main__":
    main()
