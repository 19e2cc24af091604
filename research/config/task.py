"""What a model is fine-tuned for, declared."""

from dataclasses import dataclass
from typing import Literal

from research.config.checks import choices
from research.errors import UsageError

# Of these an objective is learnt from examples with labels, not from running text.
LABELLED = ("classification", "regression", "choice", "spans", "tags")

METRICS = {  # of which objective's answers
    "accuracy": ("classification", "choice", "tags"),
    "matthews": ("classification",),
    "f1": ("classification", "spans", "tags"),
    "pearson": ("regression",),
    "spearman": ("regression",),
    "exact_match": ("spans",),
}


@dataclass(frozen=True, kw_only=True)
class Task:
    """Labelled examples: what is in a record, and how answers are judged. Empty while pre-training.

    A field is called by its name, or by its number in a table without header; `sentence|3` is whichever a
    source has.
    """

    fields: tuple[str, ...] = ()  # the texts of an example, in the order in which they are read
    options: str = ""  # the field that lists the choices, one a label; each ends a sequence of its own
    label: str = "label"  # the field of the answer
    labels: tuple[str, ...] = ()  # names of the answers, which a source may give by name or number
    orders: Literal["given", "both"] = "given"  # both: also the second text first, and their states added up
    metrics: tuple[str, ...] = ()  # of the whole validation split; the first one decides
    stride: int = 128  # of spans: tokens from one window over a long text to the next
    question: int = 64  # of spans: tokens of the question at most
    answer: int = 30  # of spans: tokens of the answer at most
    best: int = 20  # of spans: starts and ends that are looked at

    def __post_init__(self):
        choices("task", self)

    @property
    def sequences(self) -> int:
        """How many an example is given to the model in."""
        return len(self.labels) if self.options else 2 if self.orders == "both" else 1

    def outputs(self, objective: str) -> int:
        """Numbers that the model's head gives."""
        return {"spans": 2, "regression": 1, "choice": 1}.get(objective, len(self.labels))

    def check(self, objective: str) -> None:
        """Raises UsageError where this is no task for `objective`."""
        if not self.fields:
            raise UsageError(f"task.fields: objective.name={objective} needs the fields of its texts")
        if objective in ("classification", "choice", "tags") and len(self.labels) < 2:
            raise UsageError(f"task.labels={','.join(self.labels)}: expected two or more")
        if (objective == "choice") != bool(self.options):
            raise UsageError(
                f"task.options={self.options}: expected a field with objective.name=choice alone"
            )
        one_or_two = objective in ("classification", "regression")
        if one_or_two and len(self.fields) > 2:
            raise UsageError(f"task.fields={','.join(self.fields)}: expected one or two")
        if self.orders == "both" and not (one_or_two and len(self.fields) == 2):
            raise UsageError("task.orders=both: expected two fields to classify or to score")
        for metric in self.metrics:
            if objective not in METRICS.get(metric, ()):
                known = ", ".join(name for name, objectives in METRICS.items() if objective in objectives)
                raise UsageError(f"task.metrics={metric}: not of {objective}; expected some of {known}")
        if not self.metrics:
            raise UsageError("task.metrics: expected one or more")
