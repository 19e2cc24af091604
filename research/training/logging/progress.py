"""The progress of a run: a bar on a terminal, plain lines in a log."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from research.io.activity import displayed_by, outliving, say
from research.runs.metrics_log import Row


class Silent:
    """Shows nothing; for all processes except the first."""

    def row(self, row: Row) -> None:
        pass

    def advance(self, step: int) -> None:
        pass


class Lines(Silent):
    """Prints one line per row."""

    def __init__(self, steps: int, columns: Sequence[str]):
        self._steps, self._columns = steps, columns

    def row(self, row: Row) -> None:
        say(describe(row, self._steps, self._columns))


class Bar(Silent):
    """A bar with step, loss, speed and time left; validation rows scroll past above it."""

    def __init__(self, steps: int, start: int, columns: Sequence[str]):
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._steps, self._columns = steps, columns
        self._progress = Progress(
            TextColumn("{task.fields[activity]}"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("loss {task.fields[loss]}"),
            TextColumn("{task.fields[speed]} tokens/s"),
            TimeRemainingColumn(),
        )
        self._task = self._progress.add_task(
            "", total=steps, completed=start, loss="–", speed="–", activity=""
        )
        self._progress.start()

    def row(self, row: Row) -> None:
        if row["split"] == "train":
            speed = f"{row['tokens_per_second']:,.0f}"
            self._progress.update(self._task, loss=f"{row['loss']:.4f}", speed=speed)
        else:
            line = describe(row, self._steps, self._columns)
            with outliving(sys.stdout):
                self._progress.console.print(line, markup=False, highlight=False)

    def advance(self, step: int) -> None:
        self._progress.update(self._task, completed=step)

    def activity(self, text: str) -> None:
        """Shows, before the bar, the activity that delays the next step."""
        self._progress.update(self._task, activity=text)

    def stop(self) -> None:
        with outliving(sys.stdout):
            self._progress.stop()


@contextmanager
def progress(steps: int, start: int, columns: Sequence[str], shown: bool = True) -> Iterator[Silent]:
    """Yields a display of rows; validation rows show `columns`, where present, beside the loss."""
    if not shown or not sys.stdout.isatty():
        yield Lines(steps, columns) if shown else Silent()
        return
    bar = Bar(steps, start, columns)
    try:
        with displayed_by(bar.activity):
            yield bar
    finally:
        bar.stop()


def describe(row: Row, steps: int, columns: Sequence[str]) -> str:
    """Formats a row as one line."""
    head = f"step {row['step']:>{len(str(steps))}}/{steps}  {row['split']:<10}  loss {row['loss']:.4f}"
    if row["split"] == "train":
        skipped = f"  {row['skipped']:.0f} updates skipped" if row["skipped"] else ""
        return (
            f"{head}  gradient {row['gradient_norm']:.3f}  rate {row['learning_rate']:.2e}"
            f"  {row['tokens_per_second']:,.0f} tokens/s{skipped}"
        )
    return head + "".join(f"  {name.replace('_', ' ')} {row[name]:.3f}" for name in columns if name in row)


def indented(text: str) -> str:
    return "\n  ".join(text.strip().splitlines())
