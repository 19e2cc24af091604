"""A target: a validation metric that ends a run, such as loss<3.28."""

import math
import operator
import re
from typing import NamedTuple

from research.errors import UsageError

COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
FORM = re.compile(r"\s*(\w+)\s*(<=|>=|<|>)\s*(\S+)\s*")


class Target(NamedTuple):
    metric: str  # of the validation rows
    comparison: str  # of COMPARE
    number: float

    def met(self, value: object) -> bool:
        """Whether a measured value reaches the target; a missing value and NaN do not."""
        return isinstance(value, int | float) and bool(COMPARE[self.comparison](value, self.number))

    def __str__(self) -> str:
        return f"{self.metric}{self.comparison}{self.number:g}"


def parse(text: str, setting: str = "run.stop_at") -> Target:
    """The target of 'loss<3.28'. Raises UsageError for a text of another form."""
    match = FORM.fullmatch(text)
    try:
        number = float(match[3]) if match else math.nan
    except ValueError:
        number = math.nan
    if match is None or not math.isfinite(number):
        raise UsageError(
            f"{setting}={text}: expected METRIC<NUMBER, or with <=, > or >=, in quotes: '{setting}=loss<3.28'"
        )
    return Target(match[1], match[2], number)
