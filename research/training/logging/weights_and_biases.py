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

    Steps repeated after a kill are not sent again; their numbers are the same.
    """

    def __init__(self, settings: Mapping[str, Any], directory: Path):
        self._wandb = package()
        try:
            self._run = self._wandb.init(
                project=os.environ.get("WANDB_PROJECT", "lineage"),
                id=_identity(directory),
                resume="allow",
                name=directory.name,
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


def _identity(directory: Path) -> str:
    path = directory / "wandb" / "id"
    if not path.exists():
        with catch_write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, secrets.token_hex(4) + "\n")
    return path.read_text(encoding="utf-8").strip()
