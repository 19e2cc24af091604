"""The zero-shot tasks by name. Other packages register theirs in `research.config.names.TASKS`:

    @TASKS.register("my_task")
    def my_task(eval_model: EvalModel, found: Found, settings: Settings) -> Result:
        \"""Digits of pi: accuracy\"""

Data of a function are named by --data; a `Task` registered in its place also names files to look for.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from research.config.names import TASKS
from research.errors import UsageError, did_you_mean
from research.evaluation import cloze, perplexity, prompted
from research.evaluation.data_files import Found, Tfds, find
from research.evaluation.eval_model import EvalModel, Result, Settings

Run = Callable[[EvalModel, Found, Settings], Result]


class Task(NamedTuple):
    line: str  # its description, and the metrics
    run: Run
    files: tuple[str, ...] = ()  # looked for in this order, in the folder of data
    tfds: Tfds | None = None  # read where there is no file


def _text(run: Callable[..., Result], **more) -> Run:
    return lambda eval_model, found, settings: run(eval_model, found.text, settings, **more)


def _mctest(eval_model: EvalModel, found: Found, settings: Settings) -> Result:
    answers = found.path.with_suffix(".ans")
    if not answers.exists():
        raise UsageError(f"its answers are not beside it; expected {answers.name}")
    return cloze.mctest(eval_model, found.text, settings, answers.read_text(encoding="utf-8"))


_wikitext = _text(perplexity.words, detokenizer="wikitext")

BUILTIN = {
    "lambada": Task(
        "last word of a passage: perplexity, accuracy, with stop words filtered",
        _text(cloze.lambada),
        ("lambada_test.jsonl", "lambada/lambada_test.jsonl", "lambada_test_plain_text.txt"),
        Tfds("lambada", "test", "passage"),
    ),
    "cbt_cn": Task(
        "Children's Book Test, common nouns: accuracy of ten candidates",
        _text(cloze.cbt),
        ("cbtest_CN_test_2500ex.txt", "CBTest/data/cbtest_CN_test_2500ex.txt", "cbt_cn.txt"),
    ),
    "cbt_ne": Task(
        "… named entities",
        _text(cloze.cbt),
        ("cbtest_NE_test_2500ex.txt", "CBTest/data/cbtest_NE_test_2500ex.txt", "cbt_ne.txt"),
    ),
    "wikitext2": Task(
        "WikiText-2: perplexity a word",
        _wikitext,
        ("wikitext-2/wiki.test.tokens", "wikitext-2/test.txt", "wikitext-2/valid.txt", "wikitext2.txt"),
    ),
    "wikitext103": Task(
        "WikiText-103: perplexity a word",
        _wikitext,
        ("wikitext-103/wiki.test.tokens", "wikitext-103/test.txt", "wikitext103.txt"),
    ),
    "ptb": Task(
        "Penn Treebank: perplexity a word",
        _text(perplexity.words, detokenizer="treebank"),
        ("ptb.test.txt", "ptb/ptb.test.txt"),
    ),
    "1bw": Task(
        "One Billion Words: perplexity a word, sentence by sentence",
        _text(perplexity.sentences, detokenizer="news"),
        ("1bw.txt", "news.en.heldout-00000-of-00050"),
        Tfds("lm1b", "test", "text"),
    ),
    "enwik8": Task(
        "Wikipedia's XML: bits a byte, of the last 5 MB",
        _text(perplexity.characters, unit="byte"),
        ("enwik8", "enwik8.txt"),
    ),
    "text8": Task(
        "Wikipedia in a to z: bits a character, of the last 5 MB",
        _text(perplexity.characters, unit="character"),
        ("text8", "text8.txt"),
    ),
    "summarization": Task(
        "CNN and Daily Mail by TL;DR: — ROUGE",
        _text(prompted.summarization),
        ("summarization.jsonl",),
    ),
    "en_fr": Task(
        "English to French by `english = french`: BLEU",
        _text(prompted.translation, into_english=False),
        ("en_fr.tsv",),
    ),
    "fr_en": Task(
        "French to English, by the same file",
        _text(prompted.translation, into_english=True),
        ("en_fr.tsv",),
    ),
    "coqa": Task("talk about a story: F1", _text(prompted.coqa), ("coqa-dev-v1.0.json",)),
    "questions": Task("questions by examples: exact match", _text(prompted.questions), ("questions.jsonl",)),
    "mctest": Task(
        "MCTest: accuracy of four answers",
        _mctest,
        ("mc500.dev.tsv", "mc160.dev.tsv", "mc500.test.tsv", "mc160.test.tsv"),
    ),
}
for _name, _task in BUILTIN.items():
    TASKS.register(_name)(_task)


def tasks() -> dict[str, Task]:
    """All tasks, those of other packages last."""
    return {name: task(name) for name in TASKS}


def task(name: str) -> Task:
    """Raises UsageError with the nearest names for one that is not registered."""
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
    """The metrics of a task, with the source of its data among the settings. Raises UsageError."""
    declared = task(name)
    found = find(name, declared.files, data, declared.tfds)
    try:
        result = declared.run(eval_model, found, settings)
    except UsageError as error:
        raise UsageError(f"{found.source}: {error}") from None
    return result._replace(settings={"data": found.source} | result.settings)
