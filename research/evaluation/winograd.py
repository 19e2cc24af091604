"""Winograd schemas, scored as Trinh & Le (2018) do: the more likely of two sentences resolves the pronoun."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from xml.etree import ElementTree

from research.errors import UsageError
from research.evaluation.cloze import pair
from research.evaluation.data_files import as_text
from research.evaluation.eval_model import EvalModel, Result, Settings
from research.evaluation.scoring import Pair, score_pairs

SCHEMAS = 273  # the collection's first ones, which publications use; others were added later
POSSESSIVE = {"my", "your", "his", "her", "its", "our", "their"}
LOWER = {"a", "an", "the", "this", "that", "these", "those"} | POSSESSIVE


class Schema(NamedTuple):
    """Two sentences, each with a candidate in place of the pronoun."""

    question: str  # several schemas may ask about one pronoun
    sentences: tuple[str, str]
    correct: int  # index of the sentence that is true


def winograd(eval_model: EvalModel, text: str, settings: Settings) -> Result:
    """Winograd Schema Challenge (Levesque et al., 2012): choose what a pronoun refers to, of two candidates.

    `accuracy` compares the log-probabilities of the words after the candidates (partial scoring),
    `accuracy_full` those of whole sentences. It reads WSCollection.xml (the first SCHEMAS of it) and Trinh &
    Le's wsc273.json. A question with several schemas is right if all of them are.
    """
    schemas = read_schemas(text)[: settings.limit]
    questions = dict.fromkeys(schema.question for schema in schemas)
    metrics = {}
    for name, score in {"accuracy": _partial, "accuracy_full": _full}.items():
        pairs = [encoded for schema in schemas for encoded in score(eval_model, schema.sentences)]
        scores = [one.log_probability for one in score_pairs(eval_model.model, pairs, settings.batch)]
        wrong = {
            schema.question
            for n, schema in enumerate(schemas)
            if (scores[2 * n + 1] > scores[2 * n]) != bool(schema.correct)
        }
        metrics[name] = 100 * (1 - len(wrong) / len(questions))
    return Result(metrics, len(questions), {"scoring": "partial; accuracy_full: full"})


def _partial(eval_model: EvalModel, sentences: Sequence[str]) -> list[Pair]:
    rest = common_ending(*sentences)
    return [pair(eval_model, one.removesuffix(rest), rest) for one in sentences]


def _full(eval_model: EvalModel, sentences: Sequence[str]) -> list[Pair]:
    start = eval_model.document_start or eval_model.encode("\n")
    return [Pair(start, eval_model.encode(one)) for one in sentences]


def common_ending(one: str, other: str) -> str:
    """The longest common ending that does not begin within a word. Raises UsageError if there is none."""
    longest = min(len(one), len(other))
    size = next((n for n in range(longest) if one[-1 - n] != other[-1 - n]), longest)
    begin = re.search(r"\W", one[len(one) - size :])
    if begin is None:
        raise UsageError(f"{one!r:.60} and {other!r:.60}: nothing follows the candidates")
    return one[len(one) - size + begin.start() :]


def read_schemas(text: str) -> list[Schema]:
    """The schemas of a collection. Raises UsageError for other formats."""
    try:
        found = list(_collection(text) if text.lstrip().startswith("<") else _substitutions(text))
    except (ElementTree.ParseError, ValueError, KeyError, TypeError, AttributeError) as fault:
        raise UsageError(f"expected WSCollection.xml or wsc273.json: {fault!r}") from None
    if not found:
        raise UsageError("no schema; expected WSCollection.xml or wsc273.json")
    return found


def _collection(text: str) -> Iterator[Schema]:
    root = ElementTree.fromstring(re.sub(r"^\s*<\?xml[^>]*\?>", "", text))
    for number, schema in enumerate(list(root)[:SCHEMAS]):
        before, pronoun, after = (_words(schema.findtext(f"text/{x}")) for x in ("txt1", "pron", "txt2"))
        candidates = [_words(answer.text) for answer in schema.findall("answers/*")]
        letter = _words(schema.findtext("correctAnswer"))[:1]
        if len(candidates) != 2 or letter not in ("A", "B"):
            raise ValueError(f"schema {number + 1}: expected two answers, A or B correct")
        space = " " if after[:1].isalnum() or after[:1] in "\"'(" else ""
        first, second = (f"{before} {_in_place(one, pronoun)}{space}{after}".strip() for one in candidates)
        yield Schema(str(number), (first, second), "AB".index(letter))


def _words(text: str | None) -> str:
    return " ".join(as_text(text).split())


def _in_place(candidate: str, pronoun: str) -> str:
    """The candidate with the pronoun's capitalisation and genitive."""
    first, space, rest = candidate.partition(" ")
    if pronoun[0].isupper():
        candidate = candidate[0].upper() + candidate[1:]
    elif first.lower() in LOWER:
        candidate = first.lower() + space + rest
    genitive = pronoun.lower() in POSSESSIVE and not candidate.endswith("'s")
    return f"{candidate}'s" if genitive else candidate


def _substitutions(text: str) -> Iterator[Schema]:
    rows = json.loads(text)
    if len(rows) % 2:
        raise ValueError("an odd number of sentences")
    for one, other in zip(rows[::2], rows[1::2], strict=True):
        if one["question_id"] != other["question_id"] or one["correctness"] == other["correctness"]:
            raise ValueError(f"question {one['question_id']}: expected a correct and a wrong sentence")
        sentences = as_text(one["substitution"]), as_text(other["substitution"])
        yield Schema(str(one["question_id"]), sentences, int(other["correctness"]))
