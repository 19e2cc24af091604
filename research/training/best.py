"""Which of a run's evaluations is the best so far, by one of their numbers."""

from collections.abc import Collection, Sequence

from research.errors import UsageError, near
from research.training.metrics import Row

LOW_IS_GOOD = ("loss", "bits_per_byte", "perplexity")


def score(row: Row, name: str | None) -> float | None:
    """The number `name` of a validation row, turned so that more is better; None where none is asked for.

    Raises UsageError where the row has no such number.
    """
    if name is None:
        return None
    numbers = {key: value for key, value in row.items() if key != "step" and isinstance(value, int | float)}
    check(name, numbers)
    return -numbers[name] if name.endswith(LOW_IS_GOOD) else numbers[name]


def check(name: str | None, numbers: Collection[str]) -> None:
    """Raises UsageError where a validation row's `numbers` are others than `name`."""
    if name is not None and name not in numbers:
        raise UsageError(f"run.keep_best={name}: not a number of a validation row{near(name, numbers)}")


def is_best(row: Row, rows: Sequence[Row], name: str | None) -> bool:
    """Whether a validation row's score is above those of all others among `rows`."""
    if name is None:
        return False
    others = [score(old, name) for old in rows if old["split"] == "validation" and old["step"] != row["step"]]
    return score(row, name) > max(others, default=float("-inf"))
