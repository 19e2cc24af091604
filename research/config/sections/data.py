"""Declarations of the data: text, batches, and the fields of labelled examples."""

import dataclasses
from dataclasses import dataclass
from typing import Literal

from research.config.checks import choices, fraction, positive
from research.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Masking:
    """BERT's examples: pairs of segments and their masks, as Google's create_pretraining_data makes them."""

    drawn: Literal["dynamic", "static"] = "dynamic"  # masks: anew at every visit, or once
    # Times that every document is cut into pairs; 10 as published, with static masks [times; above 0]
    duplicates: int = 1
    share: float = 0.15  # part of a sequence's tokens that is predicted [share; above 0 to below 1]
    predictions: int = 20  # most tokens predicted in a sequence; 77 at length 512 [tokens; above 0]
    mask: float = 0.8  # part of the predicted tokens that are replaced by the mask [share; from 0 to 1]
    # Part of the predicted tokens that the model sees as a random token; others are left [share; from 0 to 1]
    random: float = 0.1
    whole_words: bool = False  # a word's pieces are predicted all or none
    # Part of documents that is cut into pairs of a shorter, random length [share; from 0 to below 1]
    short: float = 0.1
    next: Literal["balanced", "published"] = "balanced"  # random B: half of all, or where B can follow

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

    step: int = 0  # step whose batch is the first of longer sequences; 0: never [step; from 0]
    length: int = 512  # length of a sequence from there on [tokens; above 0]
    predictions: int = 77  # most tokens predicted in a sequence from there on [tokens; above 0]

    def __post_init__(self):
        positive("data.later", self, "length", "predictions")
        if self.step < 0:
            raise UsageError(f"data.later.step={self.step}: expected 0 or more")


@dataclass(frozen=True, kw_only=True)
class Data:
    """The source, the tokenizer and the shape of a batch."""

    # Texts: tfds:NAME[/CONFIG][:SPLIT], files:GLOB, hf:OWNER/NAME[:CONFIG[:SPLIT]]; tokens made elsewhere:
    # tokens:GLOB; or a mixture: 0.7*SOURCE+0.3*SOURCE
    source: str
    # Published tokenizer by name, path or hub:OWNER/NAME; or trained on the source: char, bpe:SIZE,
    # wordpiece:SIZE; in fine-tuning also start: the one beside start.weights.
    tokenizer: str
    batch: int  # size of a step's batch, over all devices [sequences; above 0]
    length: int  # length of a sequence, at most model.context [tokens; above 0]
    # Where a record of the source has its text: a name, or a number that counts the columns of a .tsv
    # without header.
    field: str = "text"
    # Where validation comes from: the source's own split, documents by hash, or the text's end or start.
    split: Literal["published", "documents", "tail", "head"] = "documents"
    # Part held out for validation: of documents, or of the tail's tokens [share; from 0 to below 1]
    holdout: float = 0.01
    head: int = 0  # length of the start that validates with data.split=head [tokens; from 0]
    order: Literal["shuffled", "random"] = "shuffled"  # windows once an epoch, or drawn anywhere
    validation: str | None = None  # source of the validation split; then source itself is not split
    documents: Literal["files", "paragraphs"] = "files"  # in .txt: a file, or text between blank lines
    sentences: Literal["punctuation", "lines"] = "punctuation"  # ends of sentences, for BERT
    standardize: Literal["none", "gpt1"] = "none"  # how texts are cleaned before they are tokenized
    attend: Literal["window", "document"] = "window"  # to all before, or in the document only
    masking: Masking = dataclasses.field(default_factory=Masking)
    later: Later = dataclasses.field(default_factory=Later)
    workers: int = 0  # processes that make batches ahead; 0: threads of the run itself [processes; from 0]

    def __post_init__(self):
        choices("data", self)
        positive("data", self, "batch", "length")
        fraction("data", self, "holdout")
        for name in ("workers", "head"):
            if getattr(self, name) < 0:
                raise UsageError(f"data.{name}={getattr(self, name)}: expected 0 or more")
        if self.split == "head" and self.head < 2:
            raise UsageError(f"data.head={self.head}: expected 2 or more tokens with data.split=head")

    @property
    def splits_tokens(self) -> bool:
        """Whether one end of the training text validates."""
        return self.split in ("tail", "head") and self.validation is None

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

    fields: tuple[str, ...] = ()  # fields of an example's texts, in the order in which they are read
    options: str = ""  # field that lists the choices, one a label; each ends a sequence of its own
    label: str = "label"  # field of the label
    labels: tuple[str, ...] = ()  # names of the classes, which a source may give by name or number
    numbered: bool = False  # predictions are printed as numbers of classes: GLUE's server wants 0 and 1
    # Lowest and highest score of the answers that are printed: 0,5 of STS-B
    bounds: tuple[float, ...] = ()
    orders: Literal["given", "both"] = "given"  # both: also the second text first; states are added
    metrics: tuple[str, ...] = ()  # metrics of predictions over the whole validation split; the first decides
    stride: int = 128  # question answering: step from one window over a long text to the next [tokens; any]
    question: int = 64  # question answering: maximum length of the question [tokens; any]
    answer: int = 30  # question answering: maximum length of the answer [tokens; any]
    best: int = 20  # question answering: number of starts and of ends that are combined [places; any]
    unanswerable: bool = False  # question answering: some questions have no answer, as in SQuAD 2.0
    # Question answering: lead over the best answer at which no answer is given [logits; any]
    null_threshold: float = 0.0

    def __post_init__(self):
        choices("task", self)
        if self.bounds and not (len(self.bounds) == 2 and self.bounds[0] < self.bounds[1]):
            given = ",".join(f"{bound:g}" for bound in self.bounds)
            raise UsageError(f"task.bounds={given}: expected LOWEST,HIGHEST")

    @property
    def sequences(self) -> int:
        """Number of sequences that the model reads for one example."""
        return len(self.labels) if self.options else 2 if self.orders == "both" else 1
