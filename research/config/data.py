"""Declarations of the data: text, batches, and the fields of labelled examples."""

import dataclasses
from dataclasses import dataclass
from typing import Literal

from research.config.checks import choices, fraction, positive
from research.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Masking:
    """BERT's examples: pairs of segments and their masks, as Google's create_pretraining_data makes them."""

    drawn: Literal["dynamic", "static"] = "dynamic"  # anew at every visit, or once, with the pairs
    duplicates: int = 1  # times that every document is cut into pairs; 10 as published, with static masks
    share: float = 0.15  # of a sequence's tokens that is predicted
    predictions: int = 20  # a sequence at most; 77 at length 512
    mask: float = 0.8  # share of the predicted tokens that the model sees as [MASK]
    random: float = 0.1  # and as a random token; it sees the others as they are
    whole_words: bool = False  # a word's pieces are predicted all or none
    short: float = 0.1  # share of documents that is cut into pairs of a shorter, random length
    next: Literal["balanced", "published"] = "balanced"  # B is random for half of all, or where it can follow

    def __post_init__(self):
        choices("data.masking", self)
        positive("data.masking", self, "duplicates", "predictions", "share")
        fraction("data.masking", self, "share", "short")
        if not (self.mask >= 0 and self.random >= 0 and self.mask + self.random <= 1):
            raise UsageError(
                f"data.masking.mask={self.mask} data.masking.random={self.random}: "
                "expected shares of 0 or more that add up to at most 1"
            )


@dataclass(frozen=True, kw_only=True)
class Later:
    """Longer sequences for the end of a run, as BERT's last tenth has them."""

    step: int = 0  # whose batch is the first of them; 0: never
    length: int = 512  # tokens a sequence, from there on
    predictions: int = 77  # masked, a sequence at most

    def __post_init__(self):
        positive("data.later", self, "length", "predictions")
        if self.step < 0:
            raise UsageError(f"data.later.step={self.step}: expected 0 or more")


@dataclass(frozen=True, kw_only=True)
class Data:
    """The source, the tokenizer and the shape of a batch."""

    source: str  # tfds:NAME[/CONFIG][:SPLIT], files:GLOB, or a mixture: 0.7*SOURCE+0.3*SOURCE
    # A name, a path, hub:OWNER/NAME; trained on the source: char, bpe:SIZE, wordpiece:SIZE; in fine-tuning
    # also start: the one beside start.weights.
    tokenizer: str
    batch: int  # sequences a step, over all devices
    length: int  # tokens a sequence
    field: str = "text"  # of the source's records; a number counts the columns of a .tsv without header
    split: Literal["published", "documents", "tail"] = "documents"  # where validation comes from
    holdout: float = 0.01  # share held out: of documents, by hash, or of the tail's tokens
    order: Literal["shuffled", "random"] = "shuffled"  # every example once an epoch, or drawn anywhere
    validation: str | None = None  # in fine-tuning: the source of validation examples
    documents: Literal["files", "paragraphs"] = "files"  # of .txt: the whole, or between blank lines
    sentences: Literal["punctuation", "lines"] = "punctuation"  # where they end, for BERT's segments
    standardize: Literal["none", "gpt1"] = "none"  # how texts are cleaned before they are tokenized
    attend: Literal["window", "document"] = "window"  # a GPT's token: to all before it, or its document's
    masking: Masking = dataclasses.field(default_factory=Masking)
    later: Later = dataclasses.field(default_factory=Later)
    workers: int = 0  # processes that make batches ahead; 0: threads of the training process do

    def __post_init__(self):
        choices("data", self)
        positive("data", self, "batch", "length")
        fraction("data", self, "holdout")
        if self.workers < 0:
            raise UsageError(f"data.workers={self.workers}: expected 0 or more")

    def at_step(self, step: int) -> "Data":
        """This section as it applies at `step`: unchanged, or from `later.step` on with longer sequences."""
        later = self.later
        if not later.step:
            return self
        if step < later.step:
            return dataclasses.replace(self, later=Later())
        masking = dataclasses.replace(self.masking, predictions=later.predictions)
        return dataclasses.replace(self, length=later.length, masking=masking, later=Later())


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
    numbered: bool = False  # predictions are printed as numbers of classes: GLUE's server wants 0 and 1
    bounds: tuple[float, ...] = ()  # lowest and highest score of the answers that are printed: 0,5 of STS-B
    orders: Literal["given", "both"] = "given"  # both: also the second text first, and their states added up
    metrics: tuple[str, ...] = ()  # over the whole validation split; the first one decides
    stride: int = 128  # question answering: tokens from one window over a long text to the next
    question: int = 64  # question answering: maximum number of tokens of the question
    answer: int = 30  # question answering: maximum number of tokens of the answer
    best: int = 20  # question answering: number of starts and of ends that are combined
    unanswerable: bool = False  # question answering: some questions have no answer, as in SQuAD 2.0
    null_threshold: float = 0.0  # logits by which no answer must lead the best one to be given

    def __post_init__(self):
        choices("task", self)
        if self.bounds and not (len(self.bounds) == 2 and self.bounds[0] < self.bounds[1]):
            given = ",".join(f"{bound:g}" for bound in self.bounds)
            raise UsageError(f"task.bounds={given}: expected LOWEST,HIGHEST")

    @property
    def sequences(self) -> int:
        """Number of sequences that the model reads for one example."""
        return len(self.labels) if self.options else 2 if self.orders == "both" else 1
