"""A run in Weights & Biases, with `run.wandb=true` or `run.trackers=wandb`.

Its environment variables apply: WANDB_MODE=offline, WANDB_PROJECT, WANDB_ENTITY, WANDB_API_KEY.
"""

import os
import secrets
from html import escape
from pathlib import Path
from types import ModuleType

from research.config.names import TRACKERS
from research.errors import EnvironmentFault
from research.io.files import catch_write_errors, write_atomic
from research.runs.metrics_log import Row
from research.training.logging.tracker import TrackedRun, Tracker


def package() -> ModuleType:
    """Imports wandb. Raises EnvironmentFault if it is not installed."""
    try:
        import wandb
    except ImportError:
        raise EnvironmentFault(
            "run.wandb=true or run.trackers=wandb: it needs wandb: pip install 'lineage-lm[wandb]'"
        ) from None
    return wandb


@TRACKERS.register("wandb")
class WeightsAndBiases(Tracker):
    """A run in Weights & Biases. It stays one run when killed and resumed; `directory`/wandb/id holds its id.

    Steps repeated after a kill are not sent again; their numbers are the same. Trials of a sweep are a group.
    """

    replaces = True  # `write` asks W&B itself, which may have lost rows that it was sent

    @classmethod
    def check(cls) -> None:
        package()

    def __init__(self, run: TrackedRun):
        super().__init__(run)
        self._wandb = package()
        try:
            self._run = self._wandb.init(
                project=os.environ.get("WANDB_PROJECT", "lineage"),
                id=_identity(run.directory),
                resume="allow",
                name=run.name,
                group=os.environ.get("WANDB_RUN_GROUP", run.group),
                dir=str(run.directory),
                config=dict(run.settings),
                settings=self._wandb.Settings(console="off", silent=True),
            )
        except self._wandb.errors.Error as fault:
            raise EnvironmentFault(f"wandb: {' '.join(str(fault).split())}") from None
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
