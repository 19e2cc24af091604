"""Tasks that a prompt tells: p(output | input, task) (Radford et al., 2019, sections 3.5 to 3.8)."""

import json
import re
from collections.abc import Sequence
from typing import Any

from research.errors import EnvironmentFault, UsageError
from research.evaluation.eval_model import EvalModel, Result, Settings
from research.generation import GREEDY, Sampling, complete
from research.generation.sampling import GRAIN
from research.metrics.squad import exact_match, word_f1

SHOTS = 5  # examples that a prompt of translation or of questions begins with
SENTENCE = re.compile(r"(?<=[.!?])\s+")


def summarization(eval_model: EvalModel, text: str, settings: Settings) -> Result:
    """CNN and Daily Mail: an article and `TL;DR:`; the first three sentences of 100 tokens of top-2 sampling.

    Objects with "article" and "highlights", a line each; ROUGE F1 with stems, in percent.
    """
    rouge = _package("rouge_score.rouge_scorer", "rouge-score")
    rows = _objects(text, ("article", "highlights"), settings.limit)
    prompts = [(row["article"].strip(), "\nTL;DR:") for row in rows]
    written = _written(eval_model, prompts, 100, settings, Sampling(top_k=2))
    names = ("rouge1", "rouge2", "rougeLsum")
    scorer = rouge.RougeScorer(names, use_stemmer=True)
    totals = dict.fromkeys(names, 0.0)
    for row, summary in zip(rows, written, strict=True):
        found = scorer.score("\n".join(_sentences(row["highlights"])), "\n".join(_sentences(summary)[:3]))
        totals = {name: total + 100 * found[name].fmeasure for name, total in totals.items()}
    means = {name.removesuffix("sum"): total / len(rows) for name, total in totals.items()}
    mean = {"average": sum(means.values()) / len(means)}
    return Result(means | mean, len(rows), {"prompt": "ARTICLE TL;DR:", "tokens": 100, "top_k": 2})


def translation(eval_model: EvalModel, text: str, settings: Settings, *, into_english: bool) -> Result:
    """WMT-14: pairs `english = french`, then the sentence and ` =`; the first line written, greedily.

    A pair a line, parted by a tab, English first; the first SHOTS are the prompt's. BLEU by sacrebleu.
    """
    sacrebleu = _package("sacrebleu", "sacrebleu")
    pairs = [tuple(line.split("\t")) for line in text.splitlines() if line.strip()]
    if any(len(pair) != 2 for pair in pairs) or len(pairs) <= SHOTS:
        raise UsageError(f"expected more than {SHOTS} lines, ENGLISH tab FRENCH")
    pairs = [pair[::-1] for pair in pairs] if into_english else pairs
    shots, asked = pairs[:SHOTS], pairs[SHOTS:][: settings.limit]
    head = "".join(f"{source} = {target}\n" for source, target in shots)
    prompts = [("", f"{head}{source} =") for source, _ in asked]
    written = _written(eval_model, prompts, 100, settings, GREEDY, stops=("\n",))
    references = [target for _, target in asked]
    bleu = sacrebleu.corpus_bleu([one.strip() for one in written], [references])
    return Result({"bleu": bleu.score}, len(asked), {"shots": SHOTS, "decoding": "greedy"})


def coqa(eval_model: EvalModel, text: str, settings: Settings) -> Result:
    """CoQA (Reddy et al., 2018): a story, the talk about it so far and `A:`; the first line, greedily.

    Each question is asked after those before it with their right answers. F1 as of SQuAD, the best of all
    references.
    """
    try:
        stories = json.loads(text)["data"]
        asked = [question for story in stories for question in _talk(story)][: settings.limit]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise UsageError(f"not CoQA's form, data → story, questions, answers: {error!r}") from None
    prompts = [(story, talk) for story, talk, _ in asked]
    written = _written(eval_model, prompts, 32, settings, GREEDY, stops=("\n",))
    return _answered(written, [references for *_, references in asked], {"prompt": "STORY Q: … A:"})


def questions(eval_model: EvalModel, text: str, settings: Settings) -> Result:
    """Open questions: SHOTS with their answers, then `Q: … A:`; the first line, greedily.

    Objects with "question" and "answers", a list, a line each; the first SHOTS are the prompt's.
    """
    rows = _objects(text, ("question", "answers"), None)
    if len(rows) <= SHOTS:
        raise UsageError(f"expected more than {SHOTS} questions, of which the first {SHOTS} are the prompt's")
    head = "".join(f"Q: {row['question']}\nA: {row['answers'][0]}\n\n" for row in rows[:SHOTS])
    asked = rows[SHOTS:][: settings.limit]
    prompts = [("", f"{head}Q: {row['question']}\nA:") for row in asked]
    written = _written(eval_model, prompts, 32, settings, GREEDY, stops=("\n",))
    return _answered(written, [row["answers"] for row in asked], {"shots": SHOTS})


def _answered(written: Sequence[str], references: Sequence[Sequence[str]], told: dict[str, Any]) -> Result:
    pairs = list(zip(written, references, strict=True))
    exact = sum(max(exact_match(one, other) for other in others) for one, others in pairs)
    f1 = sum(max(word_f1(one, other) for other in others) for one, others in pairs)
    metrics = {"exact_match": 100 * exact / len(pairs), "f1": 100 * f1 / len(pairs)}
    return Result(metrics, len(pairs), told | {"decoding": "greedy"})


def _talk(story: dict) -> list[tuple[str, str, list[str]]]:
    """(story, the talk up to `A:`, reference answers) of each of its questions."""
    others = list(story.get("additional_answers", {}).values())
    said, found = "\n", []
    for n, question in enumerate(story["questions"]):
        said += f"\nQ: {question['input_text']}\nA:"
        answers = [answers[n]["input_text"] for answers in (story["answers"], *others)]
        found.append((story["story"], said, answers))
        said += f" {answers[0]}"
    return found


def _written(
    eval_model: EvalModel,
    prompts: Sequence[tuple[str, str]],
    tokens: int,
    settings: Settings,
    how: Sampling,
    stops: Sequence[str] = (),
) -> list[str]:
    """What follows each (body, tail): a body too long for the context loses its end, the tail stays whole."""
    room = eval_model.model.config.context - tokens
    if room < GRAIN // 2:
        raise UsageError(
            f"model.context={eval_model.model.config.context}: too short for {tokens} new tokens"
        )
    texts = []
    for body, tail in prompts:
        kept = room - len(eval_model.encode(tail))
        if body and kept > 0:
            ids = eval_model.encode(body)
            body = body if len(ids) <= kept else eval_model.tokenizer.decode(ids[:kept])
        texts.append(body + tail)
    done = complete(
        eval_model.model, eval_model.tokenizer, texts, tokens, how, settings.seed, stops, settings.batch
    )
    return [one.text for one in done]


def _sentences(text: str) -> list[str]:
    return [part for line in text.strip().splitlines() for part in SENTENCE.split(line.strip()) if part]


def _objects(text: str, fields: tuple[str, ...], limit: int | None) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if len(rows) == limit:
            break
        if line.strip():
            try:
                row = json.loads(line)
                rows.append({name: row[name] for name in fields})
            except (ValueError, KeyError, TypeError):
                expected = ", ".join(map(repr, fields))
                raise UsageError(f"line {number}: expected a JSON object with {expected}") from None
    if not rows:
        raise UsageError("no examples; expected a JSON object a line")
    return rows


def _package(module: str, name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as fault:
        raise EnvironmentFault(f"this task needs {name}: pip install 'lineage-lm[evaluation]'") from fault
