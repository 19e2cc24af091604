"""Steps, tokens and seconds to a target, by rows."""

import math

from research.config.target import parse
from research.runs.target import reached


def rows(*losses: float, every: int = 10, logged: int = 4) -> list[dict]:
    """Evaluations every ten steps from step 0; training rows of 100 tokens and half a second a step."""
    train = [
        {"step": step, "split": "train", "loss": 9.0, "tokens": 100 * step, "seconds": step / 2}
        for step in range(logged, every * (len(losses) - 1) + 1, logged)
    ]
    validation = [{"step": every * at, "split": "validation", "loss": loss} for at, loss in enumerate(losses)]
    return sorted(train + validation, key=lambda row: row["step"])


def test_the_first_evaluation_that_meets_it_counts_and_step_0_does_not():
    found = reached(rows(1.0, 5.0, 2.9, 2.5), parse("loss<3"))
    assert found == ("loss<3", 2.9, 20, 2_000, 10.0)


def test_tokens_and_seconds_lie_between_training_rows_and_go_on_after_the_last():
    assert reached(rows(9, 2), parse("loss<3"))[2:] == (10, 1_000, 5.0)  # rows at 4 and 8, none at 10
    assert reached(rows(9, 2, 1, logged=16), parse("loss<3"))[2:] == (10, 1_000, 5.0)
    assert reached(rows(9, 2, logged=100), parse("loss<3"))[2:] == (10, None, None)


def test_not_reached():
    assert reached(rows(9, 8, math.nan), parse("loss<3")) is None
    assert reached(rows(9, 2), parse("accuracy>0")) is None and reached(rows(9, 2), None) is None
