"""Generation tasks described by the prompt: p(output | input, task).

Radford et al. (2019), sections 3.5 to 3.8.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

from research.errors import EnvironmentFault, UsageError
from research.evaluation.data_files import as_text, as_texts, json_objects
from research.evaluation.eval_model import EvalModel, Result, Settings
from research.generation import GREEDY, Sampling, complete
from research.generation.sampling import PAD_MULTIPLE
from research.io.text import split_lines
from research.metrics.squad import exact_match, leave_one_out, word_f1

SHOTS = 5  # examples at the start of the prompt, in translation and open questions
SENTENCE = re.compile(r"(?<=[.!?])\s+")


def summarization(eval_model: EvalModel, text: str, settings: Settings) -> Result:
    """CNN and Daily Mail: the article and `TL;DR:`, then 100 tokens by top-2 sampling; ROUGE F1 in percent.

    The first three sentences count. The data are JSON lines with "article" and "highlights"; ROUGE compares
    word stems.
    """
    rows = json_objects(text, {"article": as_text, "highlights": as_text}, settings.limit)
    rouge = _package("rouge_score.rouge_scorer", "rouge-score")
    prompts = [(row["article"].strip(), "\nTL;DR:") for row in rows]
    outputs = _generate(eval_model, prompts, 100, settings, Sampling(top_k=2))
    names = ("rouge1", "rouge2", "rougeLsum")
    scorer = rouge.RougeScorer(names, use_stemmer=True)
    totals = dict.fromkeys(names, 0.0)
    for row, summary in zip(rows, outputs, strict=True):
        scores = scorer.score("\n".join(_sentences(row["highlights"])), "\n".join(_sentences(summary)[:3]))
        totals = {name: total + 100 * scores[name].fmeasure for name, total in totals.items()}
    means = {name.removesuffix("sum"): total / len(rows) for name, total in totals.items()}
    mean = {"average": sum(means.values()) / len(means)}
    return Result(means | mean, len(rows), {"prompt": "ARTICLE TL;DR:", "tokens": 100, "top_k": 2})


def translation(eval_model: EvalModel, text: str, settings: Settings, *, into_english: bool) -> Result:
    """WMT-14: SHOTS pairs `english = french`, then the sentence and ` =`; BLEU of the first line, greedy.

    The data have a pair per line, English first, separated by a tab; the first SHOTS pairs are the prompt.
    sacrebleu computes BLEU.
    """
    sacrebleu = _package("sacrebleu", "sacrebleu")
    pairs = [tuple(line.split("\t")) for line in split_lines(text) if line.strip()]
    if any(len(pair) != 2 for pair in pairs) or len(pairs) <= SHOTS:
        raise UsageError(f"expected more than {SHOTS} lines, ENGLISH tab FRENCH")
    pairs = [pair[::-1] for pair in pairs] if into_english else pairs
    shots, tests = pairs[:SHOTS], pairs[SHOTS:][: settings.limit]
    head = "".join(f"{source} = {target}\n" for source, target in shots)
    prompts = [("", f"{head}{source} =") for source, _ in tests]
    outputs = _generate(eval_model, prompts, 100, settings, GREEDY, stops=("\n",))
    references = [target for _, target in tests]
    bleu = sacrebleu.corpus_bleu([output.strip() for output in outputs], [references])
    return Result({"bleu": bleu.score}, len(tests), {"shots": SHOTS, "decoding": "greedy"})


def coqa(eval_model: EvalModel, text: str, settings: Settings) -> Result:
    """CoQA (Reddy et al., 2018): a story, the conversation so far and `A:`; the first line, greedy.

    The conversation holds the earlier questions with their correct answers. The metrics are those of CoQA's
    official script.
    """
    try:
        stories = json.loads(text)["data"]
        turns = [turn for story in stories for turn in _turns(story)][: settings.limit]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise UsageError(f"not CoQA's form, data → story, questions, answers: {error!r}") from None
    if not turns:
        raise UsageError("no question; expected CoQA's form, data → story, questions, answers")
    prompts = [(story, dialogue) for story, dialogue, _ in turns]
    outputs = _generate(eval_model, prompts, 32, settings, GREEDY, stops=("\n",))
    metrics = leave_one_out([references for *_, references in turns], outputs)
    return Result(metrics, len(turns), {"prompt": "STORY Q: … A:", "decoding": "greedy"})


def questions(eval_model: EvalModel, text: str, settings: Settings) -> Result:
    """Open questions: SHOTS questions with their answers, then `Q: … A:`; the first line, greedy.

    The data are JSON lines with "question" and "answers", a list; the first SHOTS questions are the prompt.
    For Natural Questions the paper reports 4.1, but not which of its questions count.
    """
    rows = json_objects(text, {"question": as_text, "answers": as_texts}, None)
    if len(rows) <= SHOTS:
        raise UsageError(f"expected more than {SHOTS} questions; the first {SHOTS} form the prompt")
    head = "".join(f"Q: {row['question']}\nA: {row['answers'][0]}\n\n" for row in rows[:SHOTS])
    tests = rows[SHOTS:][: settings.limit]
    prompts = [("", f"{head}Q: {row['question']}\nA:") for row in tests]
    outputs = _generate(eval_model, prompts, 32, settings, GREEDY, stops=("\n",))
    pairs = list(zip(outputs, (row["answers"] for row in tests), strict=True))
    # Each is the best over the references of an answer, in percent.
    exact = sum(max(exact_match(output, answer) for answer in answers) for output, answers in pairs)
    f1 = sum(max(word_f1(output, answer) for answer in answers) for output, answers in pairs)
    metrics = {"exact_match": 100 * exact / len(pairs), "f1": 100 * f1 / len(pairs)}
    return Result(metrics, len(pairs), {"shots": SHOTS, "decoding": "greedy"})


def _turns(story: dict) -> list[tuple[str, str, list[str]]]:
    """(story, conversation up to `A:`, reference answers) for each question of a story."""
    others = list(story.get("additional_answers", {}).values())
    dialogue, turns = "\n", []
    for n, question in enumerate(story["questions"]):
        dialogue += f"\nQ: {as_text(question['input_text'])}\nA:"
        answers = [as_text(answers[n]["input_text"]) for answers in (story["answers"], *others)]
        turns.append((as_text(story["story"]), dialogue, answers))
        dialogue += f" {answers[0]}"
    return turns


def _generate(
    eval_model: EvalModel,
    prompts: Sequence[tuple[str, str]],
    tokens: int,
    settings: Settings,
    sampling: Sampling,
    stops: Sequence[str] = (),
) -> list[str]:
    """Complete each prompt (body, tail). A body that is too long for the context loses its end."""
    room = eval_model.model.config.context - tokens
    if room < PAD_MULTIPLE // 2:
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
    completions = complete(
        eval_model.model, eval_model.tokenizer, texts, tokens, sampling, settings.seed, stops, settings.batch
    )
    return [completion.text for completion in completions]


def _sentences(text: str) -> list[str]:
    return [part for line in split_lines(text.strip()) for part in SENTENCE.split(line.strip()) if part]


def _package(module: str, name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as fault:
        raise EnvironmentFault(f"this task needs {name}: pip install 'lineage-lm[evaluation]'") from fault
