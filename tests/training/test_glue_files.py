"""GLUE's test files as published, and the files that its server takes for them.

The names and the forms of answers are those of the benchmark's sample submission: a header, then an index
from 0 in the order of the test file. It has one file for each of MNLI's test sets, and AX.tsv for the
diagnostic set, which a run on MNLI answers.
"""

import numpy as np
import pytest

import experiments
from research.config.names import OBJECTIVES
from research.config.settings import override
from research.data.finetuning.classification import examples
from research.data.finetuning.labels import CLASSES, SCORES
from research.data.sources.schemes import TEST
from research.errors import UsageError
from research.training.evaluating.evaluate_run import answer_lines
from tests.by_experiment import corpus_of, examples_of, ignore
from tests.data.finetuning.labelled import tuned

MNLI_COLUMNS = (
    "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\t"
    "sentence2_parse\tsentence1\tsentence2"
)
MNLI_ROW = '{}\t3\t3n\tfiction\t( x )\t( y )\t(ROOT x)\t(ROOT y)\tHe "sat.\tHe stood.'
PAIR = ('He "sat.', "He stood.")
NLI = ("entailment", "neutral", "contradiction")
TWO_WAY = ("entailment", "not_entailment")
NUMBERS = ("0", "1")
FILES = {  # submitted file → (task, the test file's header, a row of it, its texts, answers by class)
    "CoLA.tsv": ("cola", "index\tsentence", '{}\tHe "sat.', PAIR[:1], NUMBERS),
    "SST-2.tsv": ("sst2", "index\tsentence", '{}\tHe "sat.', PAIR[:1], NUMBERS),
    "MRPC.tsv": (
        "mrpc",
        "\ufeffindex\t#1 ID\t#2 ID\t#1 String\t#2 String",
        '{}\t1\t2\tHe "sat.\tHe stood.',
        PAIR,
        NUMBERS,
    ),
    "STS-B.tsv": (
        "stsb",
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2",
        '{}\tmain\tMSR\t2012\t24\tnone\tnone\tHe "sat.\tHe stood.',
        PAIR,
        None,
    ),
    "QQP.tsv": ("qqp", "id\tquestion1\tquestion2", '{}\tHe "sat.\tHe stood.', PAIR, NUMBERS),
    "MNLI-m.tsv": ("mnli", MNLI_COLUMNS, MNLI_ROW, PAIR, NLI),
    "MNLI-mm.tsv": ("mnli", MNLI_COLUMNS, MNLI_ROW, PAIR, NLI),
    "AX.tsv": ("mnli", "index\tsentence1\tsentence2", '{}\tHe "sat.\tHe stood.', PAIR, NLI),
    "QNLI.tsv": ("qnli", "index\tquestion\tsentence", '{}\tHe "sat.\tHe stood.', PAIR, TWO_WAY),
    "RTE.tsv": ("rte", "index\tsentence1\tsentence2", '{}\tHe "sat.\tHe stood.', PAIR, TWO_WAY),
    "WNLI.tsv": ("wnli", "index\tsentence1\tsentence2", '{}\tHe "sat.\tHe stood.', PAIR, NUMBERS),
}
ONE_MEANS = {  # of tasks whose answers are numbers, as the training files number them
    "cola": "acceptable",
    "sst2": "positive",
    "mrpc": "equivalent",
    "qqp": "duplicate",
    "wnli": "entailment",
}


CASES = [
    (experiment, file)
    for file, (name, *_) in FILES.items()
    for experiment in (f"bert_{name}", f"gpt1_{name}")
    if experiment in experiments.names()  # GPT-1's paper leaves out WNLI
]


@pytest.mark.parametrize("experiment, file", CASES)
def test_first_lines(experiment, file, tmp_path):
    name, header, row, texts, answers = FILES[file]
    declared = override(experiments.get(experiment), {"data.standardize": "none"})
    (tmp_path / "test.tsv").write_text("\n".join([header, *(row.format(n) for n in range(4))]) + "\n")
    labels = SCORES if answers is None else CLASSES
    found, _ = examples(declared.data, declared.task, labels, f"files:{tmp_path}/test.tsv", TEST)
    assert [example.texts for example in found] == [texts] * 4
    if answers is None:
        predictions, answers = [-0.25, 2.5, 5.75, 3.0], ("0.0", "2.5", "5.0", "3.0")
    else:
        predictions = list(declared.task.labels)
    printed = list(answer_lines(declared.task, predictions))
    assert printed == ["index\tprediction", *(f"{n}\t{answer}" for n, answer in enumerate(answers))]
    if name in ONE_MEANS:
        assert declared.task.labels[1] == ONE_MEANS[name]


def test_other_answers():
    """Of words, of questions, and of a score without bounds."""
    tags = experiments.get("bert_ner").task
    assert list(answer_lines(tags, [["O", "B-PER"], []]))[1:] == ["0\tO B-PER", "1\t"]
    questions = experiments.get("bert_squad").task
    assert list(answer_lines(questions, {"q7": "in 1905"}))[1:] == ["q7\tin 1905"]
    scores = override(experiments.get("bert_stsb"), {"task.bounds": ""}).task
    assert list(answer_lines(scores, [5.75]))[1:] == ["0\t5.75"]
    for bounds in ("5,0", "1", "0,1,2"):
        with pytest.raises(UsageError, match=r"^task\.bounds=.*: expected LOWEST,HIGHEST"):
            override(experiments.get("bert_stsb"), {"task.bounds": bounds})


def test_both_of_mnlis_development_sets(tmp_path):
    """One validates while training; `--task answers` measures the other, whose labels are known too."""
    parts = {"train": "abcc" * 3, "dev_matched": "abcab", "dev_mismatched": "aaaccc"}
    for file, letters in parts.items():
        rows = (
            MNLI_ROW.format(n).replace("He stood.", letter) + 6 * f"\t{NLI['abc'.index(letter)]}"
            for n, letter in enumerate(letters)
        )
        header = f"{MNLI_COLUMNS}\tlabel1\tlabel2\tlabel3\tlabel4\tlabel5\tgold_label"
        (tmp_path / f"{file}.tsv").write_text("\n".join([header, *rows]) + "\n")
    declared = tuned("bert_mnli", tmp_path, "train.tsv", "dev_matched.tsv")
    matched = corpus_of(declared).validation
    source = f"files:{tmp_path}/dev_mismatched.tsv"
    mismatched = examples_of(declared).prepare_test(source, ignore).validation
    for split, letters in ((matched, "abcab"), (mismatched, "aaaccc")):
        assert split.known.all()
        outputs = np.zeros((len(letters), 3), np.float32)
        outputs[:, 0] = 1  # all entailment
        answers, metrics = OBJECTIVES["classification"].predict(declared.task, split, outputs)
        assert answers == ["entailment"] * len(letters)
        assert metrics == {"accuracy": letters.count("a") / len(letters)}
