"""Ten steps of a small GPT-1, GPT-2 or BERT on batches whose weights are anything but even.

As a program it is one of several processes: COORDINATOR COUNT INDEX TARGET, which the first one writes.
"""

import sys
from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import experiments
from research.config import Experiment, Parallel
from research.config.settings import override
from research.devices import compilers, startup
from research.models.parameters import by_path
from research.runs.state import State, initial_state
from research.training.first_state import drawn
from research.training.placement import compile_for
from tests.training.tiny import SMALL

FAMILIES = ("gpt1_tiny", "gpt2_tiny", "bert_tiny")
B, L, P_, V = 32, 16, 4, 96  # rows, length, masked positions, vocabulary

OVER_PROCESSES = ("pmap", "sharded")


def declared(name: str, optimizer: str | None = None, dropout: float = 0.0, **mesh) -> Experiment:
    """The registered experiment, its optimizer (or another) and schedule; dropout is the hash's."""
    size = {"model.width": 16, "model.heads": 8, "model.vocabulary": V}
    size |= {"model.dropout": dropout, "model.dropout_generator": "hash"}
    data = {"data.batch": B, "data.length": L, "data.masking.predictions": P_}
    mesh = {f"parallel.{axis}": value for axis, value in mesh.items()}
    mesh |= {"optimizer.name": optimizer} if optimizer else {}
    return override(experiments.get(name), SMALL | size | data | {"optimizer.rate.peak": 1e-3} | mesh)


def lopsided(name: str, step: int) -> dict[str, np.ndarray]:
    """The first rows have nearly all the targets; the last ones have none."""
    random = np.random.default_rng(step)
    tokens = random.integers(0, V, (B, L + 1)).astype(np.int32)
    dealt = np.zeros(B, int)
    dealt[: B // 4], dealt[B // 4] = P_, 1
    if "bert" not in name:
        weights = np.zeros((B, L), np.float32)
        weights[: B // 4], weights[B // 4, 5] = 1, 1
        return {"tokens": tokens[:, :-1], "targets": tokens[:, 1:], "weights": weights}
    return {
        "tokens": tokens[:, :-1],
        "segments": (np.arange(L) > random.integers(2, L, (B, 1))).astype(np.int32),
        "lengths": random.integers(5, L + 1, B).astype(np.int32),
        "positions": np.sort(random.integers(0, 5, (B, P_))).astype(np.int32),
        "targets": random.integers(0, V, (B, P_)).astype(np.int32),
        "weights": (np.arange(P_) < dealt[:, None]).astype(np.float32),
        "next_targets": random.integers(0, 2, B).astype(np.int32),
        "next_weights": (np.arange(B) < 3).astype(np.float32),
    }


def first(experiment: Experiment, layout) -> State:
    """The state before the first step, which is drawn once for all meshes of one process.

    That it may be drawn on any mesh is seen over processes here, and in `tests/training`.
    """
    if jax.process_count() > 1:
        return drawn(experiment, layout)
    state = drawn_once(replace(experiment, parallel=Parallel()))
    return jax.device_put(jax.tree.map(jnp.copy, state), layout)  # a step overwrites what it gets


@cache
def drawn_once(experiment: Experiment) -> State:
    one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return drawn(experiment, jax.tree.map(lambda _: one, jax.eval_shape(partial(initial_state, experiment))))


def ten_steps(name: str, optimizer: str | None = None, dropout: float = 0.0, **mesh) -> dict[str, np.ndarray]:
    """The losses, and the parameters at the end by path."""
    experiment = declared(name, optimizer, dropout, **mesh)
    abstract, program = compile_for(experiment)
    state = first(experiment, program.layout)
    rows = B // jax.process_count()
    mine = slice(jax.process_index() * rows, (jax.process_index() + 1) * rows)
    losses = []
    for index in range(10):
        batch = {kind: array[mine] for kind, array in lopsided(name, index).items()}
        state, sums = program.step(state, program.feed(batch))
        losses.append(float(sums["loss"]))
    assert jax.tree.structure(state) == jax.tree.structure(abstract)
    model = state.model
    if jax.process_count() > 1:
        everywhere = NamedSharding(compilers.mesh_of(experiment.parallel), P())
        model = jax.jit(lambda tree: tree, out_shardings=everywhere)(model)
    return {"losses": np.array(losses)} | {path: np.asarray(leaf) for path, leaf in by_path(model).items()}


def assert_agree(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """Losses to 1e-5, every parameter to 1e-4 of its norm."""
    assert found.keys() == expected.keys()
    for name, theirs in expected.items():
        ours = found[name]
        if name == "losses":
            np.testing.assert_allclose(ours, theirs, rtol=1e-5)
            continue
        if name.endswith("qkv/bias"):
            # Softmax does not see the keys' bias: its gradient is rounding, which Adam blows up.
            ours, theirs = ours[:, ::2], theirs[:, ::2]
        assert np.linalg.norm(ours - theirs) <= 1e-4 * np.linalg.norm(theirs), name


def main(coordinator: str, count: str, index: str, target: str) -> None:
    startup.join_processes(coordinator, int(count), int(index))
    found = {
        f"{name} {compiler} {path}": array
        for name in FAMILIES
        for compiler in OVER_PROCESSES
        for path, array in ten_steps(name, compile=compiler).items()
    }
    if jax.process_index() == 0:
        np.savez(target, **{key.replace("/", "|"): array for key, array in found.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
