"""Questions answered by a span of a paragraph, in windows, as in run_squad of google-research/bert.

Shapes: B rows, L data.length, W windows. A batch's keys:
`research.objectives.question_answering.batch_shapes`.
"""

import hashlib
from bisect import bisect_left
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from tokenizers import Encoding, Tokenizer

from research.config import Data, Task
from research.data.examples import Batch, Examples
from research.data.finetuning import dataset
from research.data.finetuning.labels import entropy
from research.data.sources import records, schemes
from research.data.sources.schemes import TEST
from research.data.tokenizers.tokenizer import SpecialTokens, special_tokens
from research.errors import UsageError

SPACES = " \t\r\n\u202f"  # the characters that separate words there
SPECIAL = 3  # [CLS] question [SEP] paragraph [SEP]


class Paragraph(NamedTuple):
    text: str
    tokens: np.ndarray  # int32 (tokens,)
    offsets: np.ndarray  # int32 (tokens, 2): where in `text` each begins and ends
    words: np.ndarray  # int32 (tokens,): the word of each


class Question(NamedTuple):
    name: str  # its id
    tokens: np.ndarray  # int32, at most task.question of them
    paragraph: Paragraph
    answers: tuple[str, ...]  # any of which is right


class Split(NamedTuple):
    """One split: questions, and windows over their paragraphs."""

    questions: list[Question]
    windows: np.ndarray  # int32 (W, 3): the question, the first of the paragraph's tokens, how many of them
    labels: np.ndarray  # int32 (W, 2)
    sha256: str
    baseline_loss: float  # when predicting starts and ends by their frequencies
    special_tokens: SpecialTokens
    known: np.ndarray  # bool (questions,): True with known answers, or known to have none


class RawQuestion(NamedTuple):
    """A question as a record has it."""

    where: str  # file and place in it
    name: str
    question: str
    context: str
    answers: list[tuple[str, int]]  # and where each begins
    known: bool  # whether the record has answers, or says that there are none


def examples(data: Data, task: Task, tokenizer: dataset.OpenTokenizer, vocabulary: int) -> Examples:
    read_split = partial(read, task, data.length)
    return dataset.examples(data, tokenizer, vocabulary, read_split, assemble, _label_text, separators=True)


def _label_text(pieces: list[list[str]], label: np.ndarray, weight: np.ndarray) -> tuple[str, str]:
    begin, end = label.tolist()
    answer = " ".join(pieces[0][begin : end + 1]) if begin else "not in this window"
    return f", answer: {answer}", " ".join(pieces[0])


def read(task: Task, length: int, source: str, split: str, tokenizer: Tokenizer) -> tuple[Split, str]:
    """Reads and tokenizes a split; returns it and a summary.

    Training has only questions whose answer occurs literally in the text; validation those with an answer,
    with `task.unanswerable` also those without. The split `TEST` has all. `length` is data.length.
    """
    found = list(_records(task, source, split))
    if split != "train":
        _refuse_doubled(found)
    contexts = list(dict.fromkeys(one.context for one in found))
    encoded = tokenizer.encode_batch(contexts, add_special_tokens=False)
    paragraphs = {text: _paragraph(text, one) for text, one in zip(contexts, encoded, strict=True)}
    asked = _ids([one.question for one in found], tokenizer)
    firsts = _ids([one.answers[0][0] if one.answers else "" for one in found], tokenizer)
    questions, windows, labels, known, left_out = [], [], [], [], 0
    for one, ids, answer in zip(found, asked, firsts, strict=True):
        paragraph, ids = paragraphs[one.context], ids[: task.question]
        span = _span(paragraph, *one.answers[0], answer) if one.answers else None
        missing = not task.unanswerable if not one.answers else span is None and split == "train"
        if missing and split != TEST:
            left_out += 1
            continue
        known.append(one.known and (task.unanswerable or bool(one.answers)))
        cut = cut_up(len(paragraph.tokens), length - SPECIAL - len(ids), task.stride)
        if not cut and split != "train":
            cut = [(0, 0)]  # an empty text needs a window too, to predict "no answer"
        windows += [(len(questions), begin, count) for begin, count in cut]
        labels += [_label(span, begin, count, len(ids)) for begin, count in cut]
        questions.append(Question(one.name, ids, paragraph, tuple(text for text, _ in one.answers)))
    if not windows:
        raise UsageError(f"{source}: no question {'' if split == TEST else 'with an answer '}in it")
    special = special_tokens(tokenizer)
    assert special is not None  # `dataset` refuses a tokenizer without them
    places = np.array(labels, np.int32)
    digest = hashlib.sha256(places.tobytes() + np.array(windows, np.int32).tobytes())
    for question in questions:
        digest.update(question.tokens.tobytes() + question.paragraph.tokens.tobytes())
    store = Split(
        questions=questions,
        windows=np.array(windows, np.int32),
        labels=places,
        sha256=digest.hexdigest(),
        baseline_loss=(entropy(places[:, 0]) + entropy(places[:, 1])) / 2,
        special_tokens=special,
        known=np.array(known),
    )
    without = f", {left_out:,} without an answer in the text left out" if left_out else ""
    return store, f"{len(questions):,} questions{without}, {len(windows):,} windows"


def _records(task: Task, source: str, split: str) -> Iterator[RawQuestion]:
    for number, (where, record) in enumerate(schemes.records(source, {*task.fields, task.label}, split)):
        question, context = (records.text(record, field, where, "task.fields") for field in task.fields)
        given = [record[name] for name in records.alternatives(task.label) if name in record]
        known = split != TEST or any(answers is not None for answers in given)
        answers = _answers(records.value(record, task.label, where, "task.label"), where) if known else []
        name = records.plain(record.get("id"))
        name = str(number if name is None else name)
        yield RawQuestion(where, name, question, context, answers, known)


def _refuse_doubled(found: list[RawQuestion]) -> None:
    """Raises UsageError for two questions with the same id, since predictions are stored by id."""
    firsts: dict[str, int] = {}
    for number, one in enumerate(found):
        if (first := firsts.setdefault(one.name, number)) != number:
            raise UsageError(
                f"{one.where}: id {one.name} is also that of {found[first].where}; expected another "
                f"(questions {first + 1:,} and {number + 1:,})"
            )


def _ids(texts: list[str], tokenizer: Tokenizer) -> list[np.ndarray]:
    encoded = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    return [np.array(one.ids, np.int32) for one in encoded]


def _answers(found: Any, where: str) -> list[tuple[str, int]]:
    """(text, begin) of SQuAD's lists, or of a list of such pairs."""
    if isinstance(found, dict) and {"text", "answer_start"} <= found.keys():
        return list(zip(found["text"], found["answer_start"], strict=True))
    if isinstance(found, list) and all(isinstance(a, dict) and "answer_start" in a for a in found):
        return [(a["text"], a["answer_start"]) for a in found]
    raise UsageError(f"{where}: expected answers with their text and answer_start (task.label)")


def _paragraph(text: str, encoded: Encoding) -> Paragraph:
    offsets = np.array(encoded.offsets, np.int32).reshape(-1, 2)
    words = np.array(_words(text), np.int32)
    return Paragraph(text, np.array(encoded.ids, np.int32), offsets, words[offsets[:, 0]])


def _words(text: str) -> list[int]:
    """The word of each character; a space belongs to the word before it."""
    found, word, apart = [], -1, True
    for character in text:
        if character in SPACES:
            apart = True
        elif apart:
            word, apart = word + 1, False
        found.append(word)
    return found or [-1]


def _span(paragraph: Paragraph, answer: str, begin: int, wanted: np.ndarray) -> tuple[int, int] | None:
    """The first and last token of an answer; None if the text differs at that place.

    They cover the whole words of the answer, or within them the `wanted` tokens, if found.
    """
    text, end = paragraph.text, begin + len(answer)
    while begin > 0 and text[begin - 1] not in SPACES:
        begin -= 1
    while end < len(text) and text[end] not in SPACES:
        end += 1
    if not answer.strip() or " ".join(answer.split()) not in " ".join(text[begin:end].split()):
        return None
    starts = paragraph.offsets[:, 0]
    first, last = bisect_left(starts, begin), bisect_left(starts, end) - 1
    if last < first:
        return None
    for place in range(first, last + 2 - len(wanted)):
        if len(wanted) and np.array_equal(paragraph.tokens[place : place + len(wanted)], wanted):
            return place, place + len(wanted) - 1
    return first, last


def cut_up(tokens: int, most: int, stride: int) -> list[tuple[int, int]]:
    """(begin, count) of windows of limited size that begin `stride` apart, up to the end."""
    found, begin = [], 0
    while begin < tokens:
        count = min(tokens - begin, most)
        found.append((begin, count))
        if begin + count == tokens:
            break
        begin += min(count, stride)
    return found


def _label(span: tuple[int, int] | None, begin: int, count: int, question: int) -> tuple[int, int]:
    if span is None or span[0] < begin or span[1] >= begin + count:
        return 0, 0
    shift = question + 2 - begin
    return span[0] + shift, span[1] + shift


def assemble(split: Split, indices: np.ndarray, length: int) -> Batch:
    """[CLS] question [SEP] window [SEP] for the windows with these indices."""
    special, sequences = split.special_tokens, []
    for number, begin, count in split.windows[indices].tolist():
        question = split.questions[number]
        window = question.paragraph.tokens[begin : begin + count]
        ids = [[special.cls], question.tokens, [special.sep], window, [special.sep]]
        sequences.append([(np.concatenate(ids), len(question.tokens) + 2)])
    batch = dataset.padded(sequences, length, special.pad)
    return batch | {"labels": split.labels[indices], "label_weights": np.ones(len(indices), np.float32)}
