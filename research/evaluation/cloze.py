"""What a text's likelihood answers: the last word, a blank among ten candidates, one of four answers."""

import json
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from research.errors import UsageError
from research.evaluation.detokenizers import DETOKENIZERS
from research.evaluation.eval_model import EvalModel, Result, Settings
from research.evaluation.scoring import Pair, Window, score_pairs, score_windows
from research.evaluation.stop_words import STOP_WORDS

MCTEST = re.compile(r"^(one|multiple): ")
LETTERS = "ABCD"


def lambada(eval_model: EvalModel, text: str, settings: Settings) -> Result:
    """LAMBADA (Paperno et al., 2016): the last word of a passage, all of its tokens.

    Perplexity is a word's; accuracy is whether each of its tokens is the likeliest, given those before it,
    and, filtered, the likeliest first token that is no stop word. Takes OpenAI's file (an object a line) and
    the original (a passage a line).
    """
    openai = text.lstrip().startswith("{")
    lines = [line for line in text.splitlines() if line.strip()][: settings.limit]
    detokenizer = "none" if openai or settings.raw else "books"
    windows = []
    for number, line in enumerate(lines, 1):
        passage = _field(line, "text", number) if openai else DETOKENIZERS[detokenizer](line.strip())
        before, _, last = passage.strip().rpartition(" ")
        context = eval_model.encode(before)
        word = _continuation(eval_model, before, f" {last}")
        if not context:
            raise UsageError(f"line {number}: has no words before its last")
        tokens = np.asarray([*context, *word][-(eval_model.model.config.context + 1) :], np.int32)
        windows.append(Window(tokens, min(len(word), len(tokens) - 1)))
    order = sorted(range(len(windows)), key=lambda n: -len(windows[n].tokens))
    ordered = [windows[n] for n in order]
    plain = list(score_windows(eval_model.model, ordered, settings.batch))
    filtered = list(score_windows(eval_model.model, ordered, settings.batch, _stop_tokens(eval_model)))
    count = len(windows)
    nats = -sum(score.log_probability for score in plain) / count
    metrics = {
        "perplexity": math.exp(min(nats, 700)),
        "accuracy": 100 * sum(score.greedy for score in plain) / count,
        "accuracy_filtered": 100 * sum(score.greedy for score in filtered) / count,
    }
    file = "OpenAI's" if openai else "the original"
    return Result(metrics, count, {"file": file, "detokenizer": detokenizer})


def cbt(eval_model: EvalModel, text: str, settings: Settings) -> Result:
    """Children's Book Test (Hill et al., 2016): which of ten words makes the sentence likeliest.

    Judged are the word and the rest of its sentence, given all before (Radford et al., 2019, section 3.2).
    """
    detokenizer = "none" if settings.raw else "books"
    readable = DETOKENIZERS[detokenizer]
    pairs, sizes, right = [], [], []
    for question in _cbt_questions(text, settings.limit):
        before, _, after = question.sentence.partition("XXXXX")
        story = " ".join([*question.story, before])
        given = readable(story).rstrip()
        wholes = [readable(f"{story}{word}{after}") for word in question.candidates]
        common = _common([given, *wholes])
        pairs += [_pair(eval_model, common, whole[len(common) :]) for whole in wholes]
        sizes.append(len(wholes))
        right.append(question.candidates.index(question.answer))
    chosen = _choices(eval_model, pairs, sizes, settings.batch)
    hits = sum(one == other for one, other in zip(chosen, right, strict=True))
    return Result({"accuracy": 100 * hits / len(right)}, len(right), {"detokenizer": detokenizer})


class _Question(NamedTuple):
    story: list[str]
    sentence: str
    answer: str
    candidates: list[str]


def _cbt_questions(text: str, limit: int | None) -> Iterator[_Question]:
    story: list[str] = []
    count = 0
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        place, _, content = line.strip().partition(" ")
        fields = content.split("\t")
        if len(fields) == 1:
            story.append(content)
            continue
        answer, candidates = fields[1], [word for word in fields[-1].split("|") if word]
        if not place.isdecimal() or "XXXXX" not in fields[0] or answer not in candidates:
            raise UsageError(f"line {number}: expected 21 QUESTION with XXXXX, its answer and ten candidates")
        yield _Question(story, fields[0], answer, candidates)
        story, count = [], count + 1
        if count == limit:
            return
    if not count:
        raise UsageError("no question with its candidates after it; expected the Children's Book Test's form")


def mctest(eval_model: EvalModel, text: str, settings: Settings, answers: str) -> Result:
    """MCTest (Richardson et al., 2013): which of four answers is likeliest after story and question.

    `normalized` divides an answer's log-probability by its bytes.
    """
    pairs, sizes, right, lengths = [], [], [], []
    rows = [line.split("\t") for line in text.splitlines() if line.strip()][: settings.limit]
    letters = [line.split() for line in answers.splitlines() if line.strip()]
    if len(letters) < len(rows) or any(len(row) != 23 for row in rows):
        raise UsageError("expected MCTest's .tsv, with four questions a story, and its .ans beside it")
    for row, solution in zip(rows, letters, strict=False):
        story = row[2].replace("\\newline", "\n").replace("\\tab", " ")
        for n, letter in enumerate(solution):
            question, *options = row[3 + 5 * n : 8 + 5 * n]
            context = f"{story}\n\nQ: {MCTEST.sub('', question)}\nA:"
            pairs += [_pair(eval_model, context, f" {option}") for option in options]
            lengths += [len(option.encode()) + 1 for option in options]
            sizes.append(len(options))
            right.append(LETTERS.index(letter))
    plain = _choices(eval_model, pairs, sizes, settings.batch)
    fair = _choices(eval_model, pairs, sizes, settings.batch, lengths)
    metrics = {
        name: 100 * sum(a == b for a, b in zip(chosen, right, strict=True)) / len(right)
        for name, chosen in (("accuracy", plain), ("accuracy_normalized", fair))
    }
    return Result(metrics, len(right), {"prompt": "STORY Q: QUESTION A: ANSWER", "chance": 25.0})


def _choices(
    eval_model: EvalModel, pairs: list[Pair], sizes: list[int], batch: int, lengths: list[int] | None = None
) -> list[int]:
    """Which of each question's continuations is likeliest, by length where lengths are given."""
    scores = np.asarray([score.log_probability for score in score_pairs(eval_model.model, pairs, batch)])
    scores = scores if lengths is None else scores / np.asarray(lengths)
    return [int(part.argmax()) for part in np.split(scores, np.cumsum(sizes)[:-1])]


def _pair(eval_model: EvalModel, context: str, continuation: str) -> Pair:
    """White space at the end of the context belongs to what follows: tokens begin with it."""
    stripped = context.rstrip()
    continuation = context[len(stripped) :] + continuation
    return Pair(eval_model.encode(stripped), _continuation(eval_model, stripped, continuation))


def _continuation(eval_model: EvalModel, context: str, continuation: str) -> list[int]:
    """The ids that follow the context's, where both are read as one text."""
    before, whole = eval_model.encode(context), eval_model.encode(context + continuation)
    same = whole[: len(before)] == before and len(whole) > len(before)
    return whole[len(before) :] if same else eval_model.encode(continuation)


def _common(texts: list[str]) -> str:
    """What all begin with, up to the end of a word."""
    first, last = min(texts), max(texts)
    place = next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[: first.rfind(" ", 0, place + 1)] if " " in first[: place + 1] else ""


def _stop_tokens(eval_model: EvalModel) -> np.ndarray:
    """The vocabulary's entries that are a stop word, a mark or white space, with a space before or not."""
    banned = np.zeros(eval_model.model.config.vocabulary, bool)
    for index in range(eval_model.tokenizer.get_vocab_size()):
        text = eval_model.tokenizer.decode([index], skip_special_tokens=False).strip().lower()
        banned[index] = text in STOP_WORDS or not any(char.isalnum() for char in text)
    return banned


def _field(line: str, name: str, number: int) -> str:
    try:
        return json.loads(line)[name]
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"line {number}: expected a JSON object with {name!r}") from None
