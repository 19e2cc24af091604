"""Fine-tuned Transformers models, evaluated on files and tuned on as a user does. Extra `parity`."""

import json

import numpy as np
import pytest

from launch.__main__ import run
from research import predict, weights
from research.config.settings import override
from research.errors import LineageWarning, UsageError
from research.training.evaluating.evaluate_run import evaluate_run
from research.training.loop import train
from tests.by_experiment import ignore
from tests.data.finetuning.labelled import tuned
from tests.mostly_slow import mostly_slow
from tests.weights.tuned import named, saved

torch = pytest.importorskip("torch", reason="needs the extra parity")
transformers = pytest.importorskip("transformers", reason="needs the extra parity")

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("compiled_in_haste")]

TEXTS = ["a b c.", "d", "e f' xyz", "g h i j a b c d e f g h i j", "b"]
FILES = {
    "sst.tsv": "sentence\tlabel\na b c\t0\nd e f.\t1\ng h\t1\n",
    "names.tsv": "sentence\tlabel\na b c\tNEGATIVE\nd e f.\tPOSITIVE\n",
    "lower.tsv": "sentence\tlabel\na b c\tnegative\n",
    "three.tsv": "sentence\tlabel\na b c\t0\nd e f.\t2\n",
    "test.tsv": "index\tsentence\n0\ta b c\n1\td e f.\n",
    "cola.tsv": "gj04\t1\t\ta b c\ngj04\t0\t*\td e f.\n",
    "pairs.csv": "sentence1,sentence2,score\na b,c d,2.5\nd e,f,1.0\na,f,0.0\n",
    "conll.txt": "a NN O B-PER\nxyz NN O O\n\nb NN O B-LOC\n",
    "empty.tsv": "sentence\tlabel\na\t0\n\t1\n",
}
SQUAD = [
    {"id": "q1", "question": "a", "answers": [{"text": "b", "answer_start": 2}]},
    {"id": "q2", "question": "b", "answers": [], "is_impossible": True},
]


@pytest.fixture
def lab(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    squad = {"data": [{"title": "", "paragraphs": [{"context": "a b c. d e f", "qas": SQUAD}]}]}
    (tmp_path / "squad.json").write_text(json.dumps(squad))
    swag = [{"sent1": "a b", "sent2": "c", **{f"ending{n}": "defg"[n] for n in range(4)}, "label": 1}]
    (tmp_path / "swag.jsonl").write_text("".join(json.dumps(row) + "\n" for row in swag))
    return tmp_path


TWO = named({0: "NEGATIVE", 1: "POSITIVE"})


@pytest.mark.parametrize(
    "name, config, file, more, metrics",
    mostly_slow(
        [
            ("BertForSequenceClassification", TWO, "names.tsv", [], {"accuracy", "f1", "matthews"}),
            (
                "BertForTokenClassification",
                {"labels": 4} | named(dict(enumerate(["O", "B-PER", "I-PER", "B-LOC"]))),
                "conll.txt",
                [],
                {"f1", "accuracy"},
            ),
            ("BertForSequenceClassification", TWO, "test.tsv", [], set()),
            (
                "BertForSequenceClassification",
                TWO,
                "cola.tsv",
                ["--field", "3", "--label", "1"],
                {"accuracy", "f1", "matthews"},
            ),
            ("BertForSequenceClassification", {"labels": 1}, "pairs.csv", [], {"pearson", "spearman"}),
            ("BertForMultipleChoice", {}, "swag.jsonl", [], {"accuracy"}),
            (
                "BertForQuestionAnswering",
                {},
                "squad.json",
                [],
                {"f1", "exact_match", "has_answer_f1", "no_answer_accuracy"}
                | {"best_f1", "best_f1_threshold", "best_exact_match"},
            ),
        ],
        2,
    ),
)
def test_a_file_is_evaluated(name, config, file, more, metrics, lab, capsys):
    saved(name, lab / "model", **config)
    capsys.readouterr()
    assert run(["evaluate", "model", "--task", "answers", "--data", file, *more, "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found["metrics"].keys() == metrics and len(found["answers"]) in (1, 2, 3)
    assert ("no labels in a column label (--label), so no metrics" in err) == (not metrics)


@pytest.mark.parametrize("order", [(1, 0), pytest.param((0, 1), marks=pytest.mark.slow)])
def test_classes_are_matched_by_name(order, lab, capsys):
    """Accuracy on the model's own predictions is 1, whichever output has which name."""
    names = ["very_negative", "Positive"]
    saved("BertForSequenceClassification", lab / "model", 2, 4, **named({n: names[order[n]] for n in (0, 1)}))
    found = predict("model", TEXTS)
    assert sorted(set(found)) == sorted(names)
    outputs = [order.index(names.index(label)) for label in found]
    wanted = {
        "same.tsv": (found, "f1 is that of the second output, " + names[order[1]]),
        "like.tsv": ([label.replace("_", " ").upper() for label in found], "f1 is that of the second"),
        "numbers.tsv": (outputs, f"outputs: 0 is {names[order[0]]}, 1 is {names[order[1]]}\n"),
    }
    for file, (labels, note) in wanted.items():
        rows = [f"{text}\t{label}\n" for text, label in zip(TEXTS, labels, strict=True)]
        (lab / file).write_text("sentence\tlabel\n" + "".join(rows))
        capsys.readouterr()
        assert run(["evaluate", "model", "--task", "answers", "--data", file, "--json"]) == 0
        out, err = capsys.readouterr()
        assert json.loads(out)["metrics"]["accuracy"] == 1.0
        assert note in err and ("taken for" in err) == (file == "numbers.tsv")
    (lab / "none.tsv").write_text((lab / "same.tsv").read_text().replace("very_negative", "bad"))
    command = ["evaluate", "model", "--task", "answers", "--data", "none.tsv", "--json"]
    labels = ["Positive" if names[n] == "Positive" else "bad" for n in order]
    assert run([*command, "--labels", ",".join(labels)]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["accuracy"] == 1.0


@pytest.mark.parametrize(
    "name, config, file, more, message",
    [
        (
            "BertForSequenceClassification",
            {},
            "lower.tsv",
            [],
            "labels negative; the model's (id2label) are LABEL_0, LABEL_1; expected the same names, or",
        ),
        (
            "BertForSequenceClassification",
            TWO,
            "three.tsv",
            [],
            "files:three.tsv: labels 0, 2; the model's (id2label) are NEGATIVE, POSITIVE; expected the same",
        ),
        (
            "BertForSequenceClassification",
            TWO,
            "names.tsv",
            ["--labels", "bad,so,good"],
            "--labels bad,so,good: model has 2 classes, NEGATIVE, POSITIVE; expected as many",
        ),
        ("BertForQuestionAnswering", {}, "squad.json", ["--labels", "a"], "--labels a: model has spans, not"),
        (
            "BertForSequenceClassification",
            TWO,
            "cola.tsv",
            [],
            "no column of a usual name for the text; it has",
        ),
        (
            "BertForSequenceClassification",
            TWO,
            "conll.txt",
            [],
            "no column of a usual name for the text; it has",
        ),
        ("BertForQuestionAnswering", {}, "sst.tsv", [], "no field question"),
        ("BertForTokenClassification", {}, "sst.tsv", [], "expected a list of words"),
        ("BertForMultipleChoice", {}, "sst.tsv", [], "no choices; it has"),
        ("BertForMaskedLM", {}, "sst.tsv", [], "model: architectures=BertForMaskedLM: has no head of a task"),
        (
            "BertForSequenceClassification",
            {"labels": 3, "problem_type": "multi_label_classification"},
            "sst.tsv",
            [],
            "problem_type=multi_label_classification: no objective here",
        ),
        ("GPT2ForSequenceClassification", {}, "empty.tsv", [], "example 2 has no token, and model.special_t"),
        ("BertForSequenceClassification", TWO, "none.tsv", [], "none.tsv"),
        (
            "BertForSequenceClassification",
            TWO,
            "sst.tsv",
            ["--label", "lable"],
            "no column lable (--label); did",
        ),
    ],
)
def test_files_that_do_not_fit_are_refused_in_one_line(name, config, file, more, message, lab, capsys):
    saved(name, lab / "model", **config)
    capsys.readouterr()
    assert run(["evaluate", "model", "--task", "answers", "--data", file, *more]) == 2
    out, err = capsys.readouterr()
    assert message in err and err.count("\n") == 1 and not out


def test_options_and_files_that_are_missing(lab, capsys):
    saved("BertForSequenceClassification", lab / "model", **TWO)
    command = ["evaluate", "model", "--task", "answers", "--data", "sst.tsv"]
    (lab / "model/tokenizer.json").rename(lab / "tokenizer.json")
    for more, message in (
        ([], "model: no tokenizer beside the weights; pass --tokenizer NAME|PATH"),
        (["--tokenizer", "./none"], "./none: no such file"),
    ):
        assert run([*command, *more]) == 2
        assert message in capsys.readouterr().err
    assert run([*command, "--tokenizer", "tokenizer.json"]) == 0
    assert run(["evaluate", "model", "--task", "wikitext2", "--data", "sst.tsv", "--label", "x"]) == 2
    assert "--label x: only with --task answers" in capsys.readouterr().err
    tensors = lab / "model/model.safetensors"
    from safetensors.numpy import load_file, save_file

    save_file({n: x for n, x in load_file(tensors).items() if "pooler" not in n}, tensors)
    assert run([*command, "--tokenizer", "tokenizer.json"]) == 2
    assert "model: has no pooler/bias, which its task needs" in capsys.readouterr().err


RUN = {"run__steps": 2, "run__evaluate_every": 2, "run__checkpoint_every": 1, "run__sample": 0}
RUN |= {"optimizer__rate__warmup": 1, "optimizer__rate__peak": 1e-9}


@pytest.mark.slow
def test_fine_tuning_goes_on_with_the_head(lab, capsys):
    """The outputs before the first step are those of the weights, whatever the order of labels."""
    saved("BertForSequenceClassification", lab / "model", **TWO)
    texts = ["a b c", "d e f.", "xyz", "g h i", "j"]
    rows = [f"{text}\t{label}\n" for text, label in zip(texts, predict(lab / "model", texts), strict=True)]
    (lab / "mine.tsv").write_text("sentence\tlabel\n" + "".join(rows))
    declared = tuned("bert_sst2", lab, "mine.tsv", **RUN)
    weights_of = {"start.weights": str(lab / "model"), "model.activation": "gelu_erf", "model.context": 24}
    for labels in (("NEGATIVE", "POSITIVE"), ("positive", "Negative")):
        changes = weights_of | {"task.labels": labels, "data.tokenizer": "start"}
        folder = lab / labels[0]
        train(override(declared, changes), folder, ignore)
        assert evaluate_run(folder, 1, ignore)["accuracy"] == 1.0
    with pytest.warns(LineageWarning, match="its labels NEGATIVE, POSITIVE become task.labels 0, 1"):
        model, report = weights.start(
            weights.load(lab / "positive").model, lab / "model", _head("classification", "0", "1")
        )
    assert not report.unused
    with pytest.warns(LineageWarning, match="its labels NEGATIVE, POSITIVE are not task.labels bad, NEG"):
        _, report = weights.start(model, lab / "model", _head("classification", "bad", "NEGATIVE"))
    assert report.unused.keys() == {"task_head/bias", "task_head/kernel"}
    for head in (_head("soft_scores", "0", "1"), _head("spans")):
        _, report = weights.start(model, lab / "model", head)
        assert report.unused.keys() == {"task_head/bias", "task_head/kernel"}


def _head(objective, *labels):
    from research.weights.layout import TaskHead

    return TaskHead(objective, labels)


@pytest.mark.slow
def test_a_gpt_reads_plain_texts_also_in_training(lab, capsys):
    """The weights decide model.special_tokens; the run is exported as the class that it came from."""
    model = saved("OpenAIGPTForSequenceClassification", lab / "model", **TWO)
    command = ["train", "gpt1_sst2", "start.weights=model", "data.source=files:names.tsv", "data.batch=2"]
    command += [
        "data.validation=files:names.tsv",
        "data.length=12",
        "run.steps=1",
        "optimizer.rate.peak=1e-9",
    ]
    assert run([*command, "--dir", "run"]) == 0
    assert "model.special_tokens=false (declared true)" in capsys.readouterr().out
    assert predict("run", TEXTS) == predict("model", TEXTS)
    assert run(["export", "run", "out"]) == 0
    theirs = transformers.OpenAIGPTForSequenceClassification.from_pretrained("out")
    for name, tensor in model.state_dict().items():
        np.testing.assert_allclose(theirs.state_dict()[name], tensor, atol=1e-6)
    assert run([*command, "model.special_tokens=true", "--dir", "marked"]) == 0
    assert "task_head/kernel" in [
        line.split()[1] for line in capsys.readouterr().out.splitlines() if "unused" in line
    ]


@pytest.mark.slow
def test_predictions_of_weights_refuse_what_runs_refuse(lab):
    saved("BertForSequenceClassification", lab / "model", **TWO)
    for examples, message in (
        (["a", ("b", "c")], "example 1: expected text"),
        ([("a", "b"), "c"], "example 1: expected text1, text2"),
        ([], "expected a list with at least one example"),
    ):
        with pytest.raises(UsageError, match=message):
            predict("model", examples)


def test_a_repository_of_the_hub_in_pickled_shards(hub, lab, capsys):
    model = saved("BertForSequenceClassification", lab / "model", **TWO)
    shards = lab / "shards"
    shards.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (shards / name).write_bytes((lab / "model" / name).read_bytes())
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    where = {name: f"pytorch_model-0000{1 + n % 2}-of-00002.bin" for n, name in enumerate(state)}
    for shard in set(where.values()):
        torch.save({name: state[name] for name in state if where[name] == shard}, shards / shard)
    (shards / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": where}))
    hub.repositories["lineage/sst2"] = shards
    assert predict("hub:lineage/sst2", TEXTS) == predict(lab / "model", TEXTS)
    capsys.readouterr()
    assert run(["evaluate", "hub:lineage/sst2", "--task", "answers", "--data", "sst.tsv"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 4 and "accuracy" in err
