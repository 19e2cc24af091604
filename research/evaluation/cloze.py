"""Tasks scored by likelihood: the last word, a blank with ten candidates, one of four answers."""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from research.errors import UsageError
from research.evaluation.data_files import as_text, json_objects
from research.evaluation.detokenizers import DETOKENIZERS
from research.evaluation.eval_model import EvalModel, Result, Settings
from research.evaluation.scoring import Pair, score_pairs
from research.evaluation.stop_words import STOP_WORDS
from research.io.text import split_lines

MCTEST = re.compile(r"^(one|multiple): ")
LETTERS = "ABCD"


def lambada(eval_model: EvalModel, text: str, settings: Settings) -> Result:
    """LAMBADA (Paperno et al., 2016): predict the last word of a passage, all of its tokens.

    `perplexity` is per word. `accuracy` counts a word as right when each of its tokens is the most likely one
    after the tokens before it; `accuracy_filtered` excludes stop words from its first token. Reads OpenAI's
    file (a JSON object per line) and the original file (a passage per line). Radford et al. (2019) report
    Table 3's accuracies, up to 63.24, with a stop-word filter, and 52.66 without it for the largest model.
    Their code is not published; by its authors' comments (openai/gpt-2, issue 131) it counts only the last
    token of a word, which is easier.
    """
    openai = text.lstrip().startswith("{")
    detokenizer = "none" if openai or settings.raw else "books"
    if openai:
        passages = [row["text"] for row in json_objects(text, {"text": as_text}, settings.limit)]
    else:
        lines = [line.strip() for line in split_lines(text) if line.strip()][: settings.limit]
        passages = list(map(DETOKENIZERS[detokenizer], lines))
    if not passages:
        raise UsageError("no passage; expected one per line")
    pairs = []
    for number, passage in enumerate(passages, 1):
        before, _, last = passage.strip().rpartition(" ")
        context = eval_model.encode(before)
        if not context:
            raise UsageError(f"passage {number}: has no words before its last")
        pairs.append(Pair(context, _continuation(eval_model, before, f" {last}")))
    scores = score_pairs(eval_model.model, pairs, settings.batch, _stop_tokens(eval_model))
    count = len(pairs)
    nats = -sum(score.log_probability for score in scores) / count
    metrics = {
        "perplexity": math.exp(min(nats, 700)),
        "accuracy": 100 * sum(score.greedy for score in scores) / count,
        "accuracy_filtered": 100 * sum(score.greedy_allowed for score in scores) / count,
    }
    file = "OpenAI's" if openai else "the original"
    return Result(metrics, count, {"file": file, "detokenizer": detokenizer})


def cbt(eval_model: EvalModel, text: str, settings: Settings) -> Result:
    """Children's Book Test (Hill et al., 2016): choose the most likely of ten words for a blank.

    The score of a word is the log-probability of the word and the rest of its sentence, after all text before
    them (Radford et al., 2019, section 3.2). The paper reports the validation files, since WebText contains a
    book of the test files.
    """
    detokenizer = "none" if settings.raw else "books"
    detokenize = DETOKENIZERS[detokenizer]
    pairs, sizes, correct = [], [], []
    for question in _cbt_questions(text, settings.limit):
        before, _, after = question.sentence.partition("XXXXX")
        story = " ".join([*question.story, before])
        context = detokenize(story).rstrip()
        wholes = [detokenize(f"{story}{word}{after}") for word in question.candidates]
        common = _common_prefix([context, *wholes])
        pairs += [pair(eval_model, common, whole[len(common) :]) for whole in wholes]
        sizes.append(len(wholes))
        correct.append(question.candidates.index(question.answer))
    accuracy = _accuracy(_log_probabilities(eval_model, pairs, settings), sizes, correct)
    return Result({"accuracy": accuracy}, len(correct), {"detokenizer": detokenizer})


class _Question(NamedTuple):
    story: list[str]
    sentence: str
    answer: str
    candidates: list[str]


def _cbt_questions(text: str, limit: int | None) -> Iterator[_Question]:
    story: list[str] = []
    count = 0
    for number, line in enumerate(split_lines(text), 1):
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
    """MCTest (Richardson et al., 2013): choose the most likely of four answers after a story and a question.

    `accuracy_normalized` divides the log-probability of an answer by its length in bytes.
    """
    pairs, sizes, correct, lengths = [], [], [], []
    rows = [line.split("\t") for line in split_lines(text) if line.strip()][: settings.limit]
    letters = [line.split() for line in split_lines(answers) if line.strip()]
    if not rows or len(letters) < len(rows) or any(len(row) != 23 for row in rows):
        raise UsageError("expected MCTest's .tsv, with four questions per story, and its .ans beside it")
    if any(len(line) != 4 or not set(line) <= set(LETTERS) for line in letters):
        raise UsageError("expected four letters, A to D, in each line of its .ans")
    for row, solution in zip(rows, letters, strict=False):
        story = row[2].replace("\\newline", "\n").replace("\\tab", " ")
        for n, letter in enumerate(solution):
            question, *options = row[3 + 5 * n : 8 + 5 * n]
            context = f"{story}\n\nQ: {MCTEST.sub('', question)}\nA:"
            pairs += [pair(eval_model, context, f" {option}") for option in options]
            lengths += [len(option.encode()) + 1 for option in options]
            sizes.append(len(options))
            correct.append(LETTERS.index(letter))
    scores = _log_probabilities(eval_model, pairs, settings)
    metrics = {
        "accuracy": _accuracy(scores, sizes, correct),
        "accuracy_normalized": _accuracy(scores / np.asarray(lengths), sizes, correct),
    }
    return Result(metrics, len(correct), {"prompt": "STORY Q: QUESTION A: ANSWER", "chance": 25.0})


def _log_probabilities(eval_model: EvalModel, pairs: list[Pair], settings: Settings) -> np.ndarray:
    scores = score_pairs(eval_model.model, pairs, settings.batch)
    return np.asarray([score.log_probability for score in scores])


def _accuracy(scores: np.ndarray, sizes: list[int], correct: list[int]) -> float:
    """Percentage of questions whose continuation of the highest score is the `correct` one, by index.

    `sizes` are the numbers of continuations, question by question.
    """
    chosen = [int(part.argmax()) for part in np.split(scores, np.cumsum(sizes)[:-1])]
    return 100 * sum(one == right for one, right in zip(chosen, correct, strict=True)) / len(correct)


def pair(eval_model: EvalModel, context: str, continuation: str) -> Pair:
    """Move white space from the end of the context to the continuation, because tokens begin with it."""
    stripped = context.rstrip()
    continuation = context[len(stripped) :] + continuation
    return Pair(eval_model.encode(stripped), _continuation(eval_model, stripped, continuation))


def _continuation(eval_model: EvalModel, context: str, continuation: str) -> list[int]:
    """The ids of the continuation when it is encoded together with the context."""
    before, whole = eval_model.encode(context), eval_model.encode(context + continuation)
    same = whole[: len(before)] == before and len(whole) > len(before)
    return whole[len(before) :] if same else eval_model.encode(continuation)


def _common_prefix(texts: list[str]) -> str:
    """The longest common prefix that ends with a whole word."""
    first, last = min(texts), max(texts)
    place = next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[: first.rfind(" ", 0, place + 1)] if " " in first[: place + 1] else ""


def _stop_tokens(eval_model: EvalModel) -> np.ndarray:
    """Entries of the vocabulary that are a stop word, punctuation or white space: bool (V,).

    A space before the word makes no difference.
    """
    banned = np.zeros(eval_model.model.config.vocabulary, bool)
    for index in range(eval_model.tokenizer.get_vocab_size()):
        text = eval_model.tokenizer.decode([index], skip_special_tokens=False).strip().lower()
        banned[index] = text in STOP_WORDS or not any(char.isalnum() for char in text)
    return banned
