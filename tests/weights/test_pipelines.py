"""Exported runs in Transformers' pipelines, beside our own answers: the extra `parity`.

Transformers 5 has no pipeline for questions; the class that config.json names answers them.
"""

import json

import jax
import numpy as np
import pytest

from research import weights
from research.generation import GREEDY, complete, fill_masks
from research.objectives import objective_of
from research.training.evaluating.evaluate_run import predict
from research.training.loop import train
from research.weights.with_tokenizer import load_with_tokenizer
from tests.by_experiment import ignore, validation_batches
from tests.data.finetuning.labelled import tuned
from tests.training.tiny import shrunk

torch = pytest.importorskip("torch", reason="needs the extra parity")
transformers = pytest.importorskip("transformers", reason="needs the extra parity")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # their warnings, not ours

STEPS = 20
RUN = {
    "run__steps": STEPS,
    "run__evaluate_every": STEPS,
    "run__checkpoint_every": STEPS,
    "run__sample": 0,
    "optimizer__rate__peak": 1e-2,  # answers differ from each other after a few steps
    "optimizer__rate__warmup": 1,
}
LONGER = {
    "run__steps": 60,
    "run__evaluate_every": 60,
    "run__checkpoint_every": 60,
    "optimizer__rate__peak": 3e-3,
}
WORDS = ["a b.", "c'd e", "zz f g", "h a xyz b", "i j"]  # with pieces, an unknown word, punctuation
PAIRS = [(one, other) for one in WORDS for other in WORDS if one != other]


def exported(declared, folder):
    """(run, exported directory)"""
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam needs it
        train(declared, folder / "run", ignore)
    weights.export(folder / "run", folder / "out")
    return folder / "run", folder / "out"


def outputs(declared, directory, file) -> np.ndarray:
    """The outputs of a run's task head for each example or window of `file`: (…, K)."""
    model = weights.load(directory).model
    objective = objective_of(declared.objective)
    store = objective.examples(declared).prepare_test(f"files:{file}", ignore).validation
    evaluate = jax.jit(lambda model, batch: objective.evaluate(model, batch)[1])
    found = [evaluate(model, batch) for batch in validation_batches(declared, store)]
    return np.concatenate(found)[: len(store.windows if hasattr(store, "windows") else store.labels)]


def probabilities(logits) -> np.ndarray:
    return np.asarray(torch.tensor(np.array(logits)).softmax(-1))


def test_fill_mask(tmp_path):
    run, out = exported(shrunk("bert_tiny", tmp_path / "text.txt", **RUN), tmp_path)
    pipe = transformers.pipeline("fill-mask", model=str(out), device="cpu", top_k=4)
    prompts = ["7 [MASK] of 9.", "[MASK] bottles of [MASK]."]
    loaded = load_with_tokenizer(str(run))
    for prompt, ours in zip(prompts, fill_masks(loaded.model, loaded.tokenizer, prompts, 4), strict=True):
        theirs = pipe(prompt)
        for mask, found in zip(ours.masks, [theirs] if len(ours.masks) == 1 else theirs, strict=True):
            assert [one.piece for one in mask] == [one["token_str"] for one in found]
            scores = [one["score"] for one in found]
            np.testing.assert_allclose([one.probability for one in mask], scores, atol=1e-4)


def test_text_generation(tmp_path):
    run, out = exported(shrunk("gpt2_tiny", tmp_path / "text.txt", **RUN), tmp_path)
    pipe = transformers.pipeline("text-generation", model=str(out), device="cpu")
    loaded = load_with_tokenizer(str(run))
    prompts = ["7 bottles", "1"]
    for prompt, ours in zip(
        prompts, complete(loaded.model, loaded.tokenizer, prompts, 12, GREEDY), strict=True
    ):
        (theirs,) = pipe(prompt, max_new_tokens=12, do_sample=False)
        assert theirs["generated_text"] == prompt + ours.text


def test_text_classification_of_pairs(tmp_path):
    """The exported tokenizer gives token_type_ids, without which both texts are the first."""
    file = tmp_path / "file.tsv"
    lines = (f"{one}\t{other}\t{int(one < other)}\n" for one, other in PAIRS)  # the order decides
    file.write_text("".join(lines))
    declared = tuned("bert_rte", tmp_path, file.name, task__fields="0,1", task__label="2", **RUN | LONGER)
    run, out = exported(declared, tmp_path)
    pipe = transformers.pipeline("text-classification", model=str(out), device="cpu", top_k=None)
    logits, (answers, *_) = outputs(declared, run, file), predict(run, None, f"files:{file}", ignore)
    found = pipe([{"text": one, "text_pair": other} for one, other in PAIRS], batch_size=4)
    for scores, row, answer in zip(found, logits, answers, strict=True):
        assert scores[0]["label"] == answer
        expected = dict(zip(declared.task.labels, probabilities(row).tolist(), strict=True))
        assert {one["label"]: one["score"] for one in scores} == pytest.approx(expected, abs=1e-4)


def test_token_classification(tmp_path):
    sentences = [["a", "xyz", "."], ["b", "c", "'", "d"], ["e"], ["xy", "a"]]
    tags = [["B-PER", "O", "O"], ["B-LOC", "I-LOC", "O", "B-PER"], ["B-MISC"], ["O", "B-PER"]]
    text = "\n\n".join(
        "\n".join(f"{word} NN O {tag}" for word, tag in zip(*both, strict=True))
        for both in zip(sentences, tags, strict=True)
    )
    file = tmp_path / "conll.txt"
    file.write_text(text + "\n")
    declared = tuned("bert_ner", tmp_path, file.name, **RUN)
    run, out = exported(declared, tmp_path)
    pipe = transformers.pipeline("token-classification", model=str(out), device="cpu", ignore_labels=[])
    logits, (answers, *_) = outputs(declared, run, file), predict(run, None, f"files:{file}", ignore)
    for words, rows, answer in zip(sentences, logits, answers, strict=True):
        (found,) = pipe([words], is_split_into_words=True)
        whole = [one for one in found if not one["word"].startswith("##")]
        assert [one["entity"] for one in whole] == answer
        best = probabilities(rows).max(-1)
        np.testing.assert_allclose(
            [one["score"] for one in found], [best[one["index"]] for one in found], atol=1e-4
        )


def test_question_answering(tmp_path):
    """Logits of the exported class; the answers are decoded by our own rules from either."""
    context = "a b c. 'd e f' xyz"
    questions = [
        {"id": str(n), "question": word, "answers": [{"text": "b", "answer_start": 2}]}
        for n, word in enumerate("abcdefgh")
    ]
    questions[1]["answers"] = questions[4]["answers"] = []
    file = tmp_path / "squad.json"
    file.write_text(json.dumps({"data": [{"paragraphs": [{"context": context, "qas": questions}]}]}))
    sizes = {"data__length": 20, "task__question": 2, "task__stride": 4}
    declared = tuned("bert_squad2", tmp_path, file.name, **RUN | sizes)
    run, out = exported(declared, tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    model = transformers.AutoModelForQuestionAnswering.from_pretrained(out)
    logits, (answers, *_) = outputs(declared, run, file), predict(run, None, f"files:{file}", ignore)
    assert len(logits) == len(questions) == len(answers)  # one window each
    for question, rows in zip(questions, logits, strict=True):
        encoded = tokenizer(question["question"], context, return_tensors="pt", return_offsets_mapping=True)
        offsets = encoded.pop("offset_mapping")[0].tolist()
        with torch.no_grad():
            theirs = model(**encoded)
        start, end = theirs.start_logits[0], theirs.end_logits[0]
        np.testing.assert_allclose(np.stack([start, end], -1), rows[: len(start)], atol=1e-4)
        inside = [n for n, part in enumerate(encoded.sequence_ids(0)) if part == 1]
        spans = [(float(start[a] + end[b]), a, b) for a in inside for b in inside if a <= b]
        score, first, last = max(spans, key=lambda one: one[0])
        text = " ".join(context[offsets[first][0] : offsets[last][1]].split())
        assert answers[question["id"]] == ("" if float(start[0] + end[0]) > score else text)
