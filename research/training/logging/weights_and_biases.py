"""A run in Weights & Biases, with `run.wandb=true`.

Its environment variables apply: WANDB_MODE=offline, WANDB_PROJECT, WANDB_ENTITY, WANDB_API_KEY.
"""

import os
import secrets
from collections.abc import Mapping
from html import escape
from pathlib import Path
from types import ModuleType
from typing import Any

from research.errors import EnvironmentFault
from research.io.files import catch_write_errors, write_atomic
from research.runs.metrics_log import Row


def package() -> ModuleType:
    """Imports wandb. Raises EnvironmentFault if it is not installed."""
    try:
        import wandb
    except ImportError:
        raise EnvironmentFault("run.wandb=true: it needs wandb: pip install 'lineage-lm[wandb]'") from None
    return wandb


class WeightsAndBiases:
    """A run in Weights & Biases. It stays one run when killed and resumed; `directory`/wandb/id holds its id.

    Steps repeated after a kill are not sent again; their numbers are the same. Trials of a sweep are a group.
    """

    def __init__(self, settings: Mapping[str, Any], directory: Path):
        self._wandb = package()
        name, group = names_of(directory)
        try:
            self._run = self._wandb.init(
                project=os.environ.get("WANDB_PROJECT", "lineage"),
                id=_identity(directory),
                resume="allow",
                name=name,
                group=os.environ.get("WANDB_RUN_GROUP", group),
                dir=str(directory),
                config=dict(settings),
                settings=self._wandb.Settings(console="off", silent=True),
            )
        except self._wandb.errors.Error as fault:
            raise EnvironmentFault(f"run.wandb=true: {' '.join(str(fault).split())}") from None
        self._first = self._run.step  # W&B refuses earlier steps; 0 for a new run

    def write(self, row: Row) -> None:
        if row["step"] < self._first:
            return
        self._run.log(
            {
                f"{row['split']}/{name}": self._text(value) if isinstance(value, str) else value
                for name, value in row.items()
                if name not in ("step", "split")
            },
            step=row["step"],
        )

    def close(self, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))

    def _text(self, value: str):
        return self._wandb.Html(f"<pre>{escape(value)}</pre>", inject=False)


def names_of(directory: Path) -> tuple[str, str | None]:
    """The names of a run and its group: SWEEP/0000 and SWEEP for a trial, since every sweep has a 0000."""
    sweep = directory.absolute().parent.parent
    if directory.absolute().parent.name == "trials" and (sweep / "sweep.json").exists():
        return f"{sweep.name}/{directory.name}", sweep.name
    return directory.absolute().name, None


def _identity(directory: Path) -> str:
    """The run's id; a copy gets a new one, since two copies would write into one run.

    A run that was moved keeps its id, because its old directory is gone.
    """
    path, place = directory / "wandb" / "id", directory / "wandb" / "directory"
    here = str(directory.resolve())
    if not path.exists() or _is_copy(path, place, here):
        with catch_write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, secrets.token_hex(4) + "\n")
    if not place.exists() or place.read_text(encoding="utf-8", errors="surrogateescape") != here:
        write_atomic(place, here.encode(errors="surrogateescape"))
    return path.read_text(encoding="utf-8").strip()


def _is_copy(path: Path, place: Path, here: str) -> bool:
    """Whether the directory recorded in `place` is another one and still has the id in `path`."""
    if not place.exists():  # written by an older version
        return False
    first = place.read_text(encoding="utf-8", errors="surrogateescape")
    other = Path(first) / "wandb" / "id"
    return first != here and other.exists() and other.read_bytes() == path.read_bytes()
