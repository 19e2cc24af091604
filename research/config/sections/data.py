"""Declarations of the data: text, batches, and the fields of labelled examples."""

import dataclasses
from dataclasses import dataclass
from typing import Literal

from research.config.checks import choices, fraction, positive
from research.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Masking:
    """BERT's pre-training examples: masked pairs of segments, as in Google's create_pretraining_data."""

    drawn: Literal["dynamic", "static"] = "dynamic"  # masks are drawn anew at every visit, or once
    # How often every document is cut into pairs; published: 10, with static masks [times; above 0]
    duplicates: int = 1
    share: float = 0.15  # share of a sequence's tokens to predict [share; above 0 to below 1]
    predictions: int = 20  # maximum predicted tokens per sequence; 77 at length 512 [tokens; above 0]
    mask: float = 0.8  # share of predicted tokens replaced by the mask token [share; from 0 to 1]
    # Share of predicted tokens replaced by a random token; the rest stay unchanged [share; from 0 to 1]
    random: float = 0.1
    whole_words: bool = False  # predict all pieces of a word or none
    # Share of documents cut into pairs of a shorter, random length [share; from 0 to below 1]
    short: float = 0.1
    next: Literal["balanced", "published"] = "balanced"  # random B in half of all pairs, or as published

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
    """Longer sequences for the end of a run, such as BERT's last tenth."""

    step: int = 0  # first step with longer sequences; 0: never [step; from 0]
    length: int = 512  # sequence length from that step on [tokens; above 0]
    predictions: int = 77  # maximum predicted tokens per sequence from then on [tokens; above 0]

    def __post_init__(self):
        positive("data.later", self, "length", "predictions")
        if self.step < 0:
            raise UsageError(f"data.later.step={self.step}: expected 0 or more")


@dataclass(frozen=True, kw_only=True)
class Data:
    """The source, the tokenizer and the shape of a batch."""

    # Texts: tfds:NAME[/CONFIG][:SPLIT], files:GLOB, hf:OWNER/NAME[:CONFIG[:SPLIT]]; tokens made elsewhere:
    # tokens:GLOB; several, one after another: SOURCE+SOURCE; or a mixture: 0.7*SOURCE+0.3*SOURCE
    source: str
    # Published tokenizer by name, path or hub:OWNER/NAME; or trained on the source: char, bpe:SIZE,
    # wordpiece:SIZE; in fine-tuning on its examples, and also start: the tokenizer of start.weights.
    tokenizer: str
    batch: int  # sequences per step, over all devices [sequences; above 0]
    length: int  # sequence length, at most model.context [tokens; above 0]
    # Field of a record that holds the text: a name, or the column number of a .tsv without header.
    field: str = "text"
    # Validation split: the source's own, documents chosen by hash, the end of each source, or the start.
    split: Literal["published", "documents", "tail", "head"] = "documents"
    # Share of documents, or with tail of tokens, held out for validation [share; from 0 to below 1]
    holdout: float = 0.01
    head: int = 0  # tokens at the start held out by data.split=head [tokens; from 0]
    order: Literal["shuffled", "random"] = "shuffled"  # each window once per epoch, or random offsets
    validation: str | None = None  # source of validation; data.source is then not split
    documents: Literal["files", "paragraphs"] = "files"  # in .txt: files, or text between blank lines
    sentences: Literal["punctuation", "lines"] = "punctuation"  # what ends a sentence, for BERT
    standardize: Literal["none", "gpt1"] = "none"  # cleaning of texts before tokenization
    attend: Literal["window", "document"] = "window"  # attention to the whole window, or within documents
    masking: Masking = dataclasses.field(default_factory=Masking)
    later: Later = dataclasses.field(default_factory=Later)
    workers: int = 0  # processes that prepare batches; 0: threads of the run itself [processes; from 0]

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

    A field is given by its name, or by its number in a table without header; `sentence|3` is whichever the
    source has. The objective decides which of these settings apply.
    """

    fields: tuple[str, ...] = ()  # fields of an example's texts, in reading order
    options: str = ""  # field that lists the choices, one per label; each ends its own sequence
    label: str = "label"  # field of the label
    labels: tuple[str, ...] = ()  # class names; a source may give them by name or number
    numbered: bool = False  # print predictions as class numbers, as GLUE's server expects
    # Lowest and highest score to print, such as 0,5 for STS-B
    bounds: tuple[float, ...] = ()
    orders: Literal["given", "both"] = "given"  # both: also in reverse order; states are added
    # Metrics over the whole validation split; the first ranks runs: accuracy, f1 (of more than two classes,
    # their mean), matthews, pearson, spearman
    metrics: tuple[str, ...] = ()
    stride: int = 128  # question answering: stride between windows over a long text [tokens; any]
    question: int = 64  # question answering: maximum length of the question [tokens; any]
    answer: int = 30  # question answering: maximum length of the answer [tokens; any]
    best: int = 20  # question answering: number of starts and ends to combine [places; any]
    unanswerable: bool = False  # question answering: some questions have no answer, as in SQuAD 2.0
    # Question answering: no answer where its score leads the best answer by this [logits; any]
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
