"""Zero-shot tasks by name. Other packages register theirs in `research.config.names.TASKS`:

    @TASKS.register("my_task")
    def my_task(eval_model: EvalModel, data: TaskData, settings: Settings) -> Result:
        \"""Digits of pi: accuracy\"""

A function reads the file given by --data; a `Task` registered instead also lists files to look for.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from research.config.names import TASKS
from research.errors import UsageError, did_you_mean
from research.evaluation import cloze, perplexity, prompted, winograd
from research.evaluation.data_files import TaskData, Tfds, find
from research.evaluation.eval_model import EvalModel, Result, Settings
from research.evaluation.surprisal.minimal_pairs import minimal_pairs
from research.io.text import read_text

Run = Callable[[EvalModel, TaskData, Settings], Result]


class Task(NamedTuple):
    description: str  # with the metrics; one line
    run: Run
    files: tuple[str, ...] = ()  # file names to look for in the data folder, in this order
    tfds: Tfds | None = None  # read if no file is found
    joined: bool = False  # all files beside the found one, with its suffix, are one
    bidirectional: bool = False  # takes a BERT too


def _text(run: Callable[..., Result], **more) -> Run:
    return lambda eval_model, data, settings: run(eval_model, data.text, settings, **more)


def _mctest(eval_model: EvalModel, data: TaskData, settings: Settings) -> Result:
    assert data.path is not None  # the task has no other source than files
    answers = data.path.with_suffix(".ans")
    if not answers.exists():
        raise UsageError(f"its answers are not beside it; expected {answers.name}")
    return cloze.mctest(eval_model, data.text, settings, read_text(answers))


_wikitext = _text(perplexity.words, detokenizer="wikitext")

BUILTIN = {
    "lambada": Task(
        "LAMBADA: last word of a passage: perplexity, accuracy, accuracy without stop words",
        _text(cloze.lambada),
        ("lambada_test.jsonl", "lambada/lambada_test.jsonl", "lambada_test_plain_text.txt"),
        Tfds("lambada", "test", "passage"),
    ),
    "cbt_cn": Task(
        "Children's Book Test, common nouns: accuracy with ten candidates",
        _text(cloze.cbt),
        ("cbtest_CN_valid_2000ex.txt", "CBTest/data/cbtest_CN_valid_2000ex.txt", "cbt_cn.txt"),
    ),
    "cbt_ne": Task(
        "Children's Book Test, named entities: accuracy with ten candidates",
        _text(cloze.cbt),
        ("cbtest_NE_valid_2000ex.txt", "CBTest/data/cbtest_NE_valid_2000ex.txt", "cbt_ne.txt"),
    ),
    "winograd": Task(
        "Winograd schemas: accuracy by what follows the candidates, and by whole sentences",
        _text(winograd.winograd),
        ("WSCollection.xml", "wsc273.json", "commonsense_test/wsc273.json"),
    ),
    "wikitext2": Task(
        "WikiText-2: perplexity per word",
        _wikitext,
        ("wikitext-2/wiki.test.tokens", "wikitext-2/test.txt", "wikitext-2/valid.txt", "wikitext2.txt"),
    ),
    "wikitext103": Task(
        "WikiText-103: perplexity per word",
        _wikitext,
        ("wikitext-103/wiki.test.tokens", "wikitext-103/test.txt", "wikitext103.txt"),
    ),
    "ptb": Task(
        "Penn Treebank: perplexity per word",
        _text(perplexity.words, detokenizer="treebank"),
        ("ptb.test.txt", "ptb/ptb.test.txt"),
    ),
    "1bw": Task(
        "One Billion Words: perplexity per word, sentence by sentence",
        _text(perplexity.sentences, detokenizer="news"),
        ("1bw.txt", "news.en.heldout-00000-of-00050"),
        Tfds("lm1b", "test", "text"),
    ),
    "enwik8": Task(
        "Wikipedia's XML: bits per byte of the last 5 MB",
        _text(perplexity.characters, unit="byte"),
        ("enwik8", "enwik8.txt"),
    ),
    "text8": Task(
        "Wikipedia in a to z: bits per character of the last 5 MB",
        _text(perplexity.characters, unit="character"),
        ("text8", "text8.txt"),
    ),
    "summarization": Task(
        "CNN and Daily Mail, prompted with TL;DR: ROUGE",
        _text(prompted.summarization),
        ("summarization.jsonl",),
    ),
    "en_fr": Task(
        "WMT-14 English to French, prompted with pairs: BLEU",
        _text(prompted.translation, into_english=False),
        ("en_fr.tsv",),
    ),
    "fr_en": Task(
        "WMT-14 French to English, the same file: BLEU",
        _text(prompted.translation, into_english=True),
        ("en_fr.tsv",),
    ),
    "coqa": Task("CoQA, conversations about a story: F1", _text(prompted.coqa), ("coqa-dev-v1.0.json",)),
    "questions": Task(
        "open questions, prompted with examples: exact match", _text(prompted.questions), ("questions.jsonl",)
    ),
    "mctest": Task(
        "MCTest: accuracy with four answers",
        _mctest,
        ("mc500.dev.tsv", "mc160.dev.tsv", "mc500.test.tsv", "mc160.test.tsv"),
    ),
    "minimal_pairs": Task(
        "BLiMP and others: accuracy by phenomenon, with intervals; also of a BERT",
        minimal_pairs,
        ("blimp/data/*.jsonl", "blimp/*.jsonl", "data/*.jsonl", "*.jsonl"),
        joined=True,
        bidirectional=True,
    ),
}
for _name, _task in BUILTIN.items():
    TASKS.register(_name)(_task)


def tasks() -> dict[str, Task]:
    """All tasks by name; those of other packages come last."""
    return {name: task(name) for name in TASKS}


def task(name: str) -> Task:
    """The task of this name. Raises UsageError for an unknown name, with the nearest ones."""
    if name not in TASKS:
        raise UsageError(f"--task {name}: no such task{did_you_mean(name, [*TASKS, 'validation', 'squad'])}")
    entry = TASKS[name]
    return entry if isinstance(entry, Task) else Task((entry.__doc__ or "").strip().partition("\n")[0], entry)


def evaluate(
    eval_model: EvalModel,
    name: str,
    data: Path | None = None,
    settings: Settings = Settings(),  # noqa: B008
) -> Result:
    """Run a task on the data found for it; the result's settings include the source of the data.

    Raises UsageError for an unknown task and for missing or malformed data.
    """
    declared = task(name)
    source = find(name, declared.files, data, declared.tfds, declared.joined)
    try:
        result = declared.run(eval_model, source, settings)
    except UsageError as error:
        raise UsageError(f"{source.source}: {error}") from None
    return result._replace(settings={"data": source.source} | result.settings)
