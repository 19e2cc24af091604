"""The task that a model is fine-tuned for, declared."""

from dataclasses import dataclass
from typing import Literal

from research.config.checks import choices


@dataclass(frozen=True, kw_only=True)
class Task:
    """Labelled examples: the fields of a record, and the metrics of predictions. Empty in pre-training.

    A field is called by its name, or by its number in a table without header; `sentence|3` is whichever a
    source has. The objective says which of these settings it takes.
    """

    fields: tuple[str, ...] = ()  # the texts of an example, in the order in which they are read
    options: str = ""  # the field that lists the choices, one a label; each ends a sequence of its own
    label: str = "label"  # the field of the label
    labels: tuple[str, ...] = ()  # names of the classes, which a source may give by name or number
    orders: Literal["given", "both"] = "given"  # both: also the second text first, and their states added up
    metrics: tuple[str, ...] = ()  # over the whole validation split; the first one decides
    stride: int = 128  # question answering: tokens from one window over a long text to the next
    question: int = 64  # question answering: maximum number of tokens of the question
    answer: int = 30  # question answering: maximum number of tokens of the answer
    best: int = 20  # question answering: number of starts and of ends that are combined

    def __post_init__(self):
        choices("task", self)

    @property
    def sequences(self) -> int:
        """Number of sequences that the model reads for one example."""
        return len(self.labels) if self.options else 2 if self.orders == "both" else 1
