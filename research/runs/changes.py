"""Changes between two starts of a run: those allowed without a flag, and their one-line format."""

from collections.abc import Mapping
from typing import Any

from research.config.imports.loading import OPTION
from research.config.values import format_value

PLACES = {"data.source", "data.validation", "objective.teacher"}  # fingerprints identify these

FREE = {
    "model.remat",
    "model.unroll",
    "data.workers",
    "task.numbered",
    "task.bounds",
    "run.log_every",
    "run.evaluate_every",
    "run.checkpoint_every",
    "run.checkpoint_minutes",
    "run.keep",
    "run.keep_every",
    "run.keep_best",
    "run.stop_at",
    "run.evaluators",
    "run.sample",
    "run.stop_on_nan",
    "run.mirror",
    "run.steps_per_call",
    "run.profile",
    "run.trackers",
    "run.wandb",
    "run.watchdog",
    "run.watchdog_minutes",
}


def may_change(name: str, old: Any, new: Any) -> bool:
    """Whether a setting may change when a run continues, without --allow-change.

    Allowed are settings that change a training step at most by rounding, more steps, and more checkpoints to
    keep: those that are no longer named would be deleted.
    """
    if name == "run.keep_at":
        return old == new or set(old) <= set(new)
    return name in FREE or name.startswith("parallel.") or (name == "run.steps" and new > old)


def between(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple]:
    return {name: (old.get(name), value) for name, value in new.items() if old.get(name) != value}


def surroundings(record: Mapping[str, Any], chosen: bool = True) -> dict[str, Any]:
    """Environment facts that may change between two starts of a run, and its choices if `chosen`."""
    versions = {f"versions.{name}": number for name, number in record["versions"].items()}
    plugins = {f"{OPTION} {name}": kept["sha256"][:12] for name, kept in record.get("imports", {}).items()}
    choices = dict(record.get("chosen", {})) if chosen else {}
    return {name: record[name] for name in ("lineage", "devices", "commit")} | versions | plugins | choices


def format_changes(changed: Mapping[str, tuple]) -> str:
    return ", ".join(
        f"{name} was {format_value(old)}, now {format_value(new)}" for name, (old, new) in changed.items()
    )


def describe_schedule(name: str, steps: int, changed: Mapping[str, tuple]) -> str:
    """A note that the learning-rate schedule has a new length; empty if it has not."""
    if "run.steps" not in changed or name in ("constant", "inverse_sqrt"):
        return ""
    return f"; the learning rate now follows the {name} schedule over {steps} steps"
