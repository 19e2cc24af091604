"""Real experiments, shrunk until a test can afford them."""

import json
from functools import partial
from pathlib import Path

import jax
import numpy as np

import experiments
from research.config import Experiment
from research.config.settings import override
from research.devices import compilers
from research.models.parameters import by_path
from research.runs.checkpoints.store import Checkpoints
from research.runs.state import initial_state

SMALL = {
    "model.width": 16,
    "model.depth": 2,
    "model.heads": 2,
    "model.context": 32,
    "model.vocabulary": 300,
    "model.dropout": 0.1,
    "data.tokenizer": "bpe:300",
    "data.batch": 8,
    "data.length": 32,
    "optimizer.rate.warmup": 2,
    "run.steps": 12,
    "run.log_every": 1,
    "run.evaluate_every": 6,
    "run.checkpoint_every": 4,
    "run.sample": 0,
}
TIMES = {"seconds", "tokens_per_second"}


def quickstart(source: Path, **changes) -> Experiment:
    """`quickstart` by AdamW on a text file that is written at `source`, with names_joined__by = value."""
    lines = (f"{n} green bottles hanging on the wall, and {n * n} is their square.\n" for n in range(900))
    source.write_text("".join(lines))
    data = {"data.source": f"files:{source}", "data.split": "tail", "data.holdout": 0.02}
    adamw = {"optimizer.name": "adamw", "optimizer.b1": 0.9, "optimizer.rate.name": "cosine"}
    adamw |= {"optimizer.rate.peak": 3e-3, "optimizer.rate.final": 0.1}
    changes = {name.replace("__", "."): value for name, value in changes.items()}
    return override(experiments.get("quickstart"), SMALL | data | adamw | changes)


def shrunk(name: str, source: Path, **changes) -> Experiment:
    """The experiment `name` as small, on a file of 90 documents with ten sentences each."""
    documents = ("".join(f"{n} bottles of {n * d}. " for n in range(d, d + 10)) for d in range(90))
    source.write_text("\n\n".join(documents))
    text = {
        "data.source": f"files:{source}",
        "data.documents": "paragraphs",
        "data.split": "tail",
        "data.holdout": 0.05,
    }
    tokenizer = {"data.tokenizer": "wordpiece:90", "model.vocabulary": 90} if "bert" in name else {}
    changes = {name.replace("__", "."): value for name, value in changes.items()}
    return override(experiments.get(name), SMALL | text | tokenizer | changes)


def assignments(experiment: Experiment) -> list[str]:
    """What to type after `lineage train NAME` to get `experiment`."""
    from research.config.settings import differences
    from research.config.values import format_value

    declared = experiments.get(experiment.name)
    return [f"{name}={format_value(new)}" for name, (_, new) in differences(declared, experiment).items()]


def timeless(directory: Path) -> list[dict]:
    """The rows of metrics.jsonl without what a clock decides."""
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


def final_arrays(experiment, directory: Path) -> dict[str, np.ndarray]:
    """Every array of the last checkpoint, keys as their data."""
    abstract = jax.eval_shape(partial(initial_state, experiment))
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    with Checkpoints(directory / "checkpoints", 2) as checkpoints:
        assert checkpoints.latest() == experiment.run.steps
        state = checkpoints.restore(experiment.run.steps, abstract, compilers.everywhere(device, abstract))
    state = state.replace(key=jax.random.key_data(state.key))
    return {name: np.asarray(leaf) for name, leaf in by_path(state).items()}
