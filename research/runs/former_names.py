"""Names that a state's arrays had in checkpoints of earlier formats."""

from collections.abc import Iterable

RENAMED = {  # part of a path → its name in format 1
    "opt_state": "moments",
    "ema_params": "average",
    "task_head": "answers",
    "special_embeddings": "marks",
}


def former_names(format: int, names: Iterable[str]) -> dict[str, str]:
    """{name: its name in a checkpoint of `format`}."""
    if format > 1:
        return {name: name for name in names}
    return {name: "/".join(RENAMED.get(part, part) for part in name.split("/")) for name in names}
