"""Validation metrics: the direction of each, and targets that end a run: loss<3.28, or loss patience 5."""

import math
import operator
import re
from typing import Literal, NamedTuple

from research.errors import UsageError

Direction = Literal["minimize", "maximize"]

LOW_IS_GOOD = ("loss", "bits_per_byte", "perplexity")  # endings of metric names
HIGH_IS_GOOD = ("accuracy", "f1", "exact_match", "matthews", "pearson", "spearman")
COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
FORM = re.compile(r"\s*(\w+)\s*(<=|>=|<|>)\s*(\S+)\s*")
PATIENCE = "patience"
PATIENT = re.compile(rf"\s*(\w+)\s+{PATIENCE}\s+(\d+)\s*")


def direction_of(metric: str) -> Direction | None:
    """The better direction; None for an unknown metric, such as another package's or a threshold."""
    if metric.endswith(LOW_IS_GOOD):
        return "minimize"
    return "maximize" if metric.endswith(HIGH_IS_GOOD) else None


class Target(NamedTuple):
    """A bound that a metric reaches, or a number of evaluations in a row without a better value."""

    metric: str  # of the validation rows
    comparison: str  # of COMPARE, or PATIENCE
    number: float

    def met(self, value: object) -> bool:
        """Whether a measured value reaches the bound; a missing value and NaN do not."""
        return isinstance(value, int | float) and bool(COMPARE[self.comparison](value, self.number))

    def __str__(self) -> str:
        space = " " if self.comparison == PATIENCE else ""
        return f"{self.metric}{space}{self.comparison}{space}{self.number:g}"


def parse(text: str, setting: str = "run.stop_at") -> Target:
    """Parse 'loss<3.28' or 'loss patience 5'. Raises UsageError for a text of another form."""
    if (patient := PATIENT.fullmatch(text)) is not None:
        metric, evaluations = patient[1], int(patient[2])
        if evaluations < 1:
            raise UsageError(f"{setting}={text}: expected a patience of at least 1 evaluation")
        if direction_of(metric) is None:
            raise UsageError(f"{setting}={text}: not known whether {metric} is better if low or if high")
        return Target(metric, PATIENCE, evaluations)
    match = FORM.fullmatch(text)
    try:
        number = float(match[3]) if match else math.nan
    except ValueError:
        number = math.nan
    if match is None or not math.isfinite(number):
        raise UsageError(
            f"{setting}={text}: expected METRIC<NUMBER, or with <=, > or >=, or METRIC patience EVALUATIONS, "
            f"in quotes: '{setting}=loss<3.28', '{setting}=loss patience 5'"
        )
    return Target(match[1], match[2], number)
