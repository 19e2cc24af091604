"""Records with labels: GLUE's layouts, JSON, TensorFlow Datasets; which label is which class."""

import json
from contextlib import nullcontext

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tokenizers import Tokenizer

import experiments
from research.config.settings import override
from research.data.finetuning import classification
from research.data.finetuning.classification import Example, examples
from research.data.finetuning.labels import CLASSES, SCORES
from research.data.sources import records, schemes, tfds_source
from research.errors import LineageWarning, UsageError
from tests.data.finetuning.labelled import vocabulary

# A file of each layout that GLUE publishes, cut down; the examples that are in it.
MNLI = (
    "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\t"
    "sentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label\n"
    '0\t3\t3n\tfiction\t( x )\t( y )\t(ROOT x)\t(ROOT y)\tHe "sat.\tHe stood.\tneutral\tcontradiction\n'
)
LAYOUTS = {
    "cola": ("gj04\t1\t\tIt rained.\nbc01\t0\t*\tThey drank the pub.\n", ("It rained.",), 1),
    "sst2": ("sentence\tlabel\na charming journey \t1\nbleak \t0\n", ("a charming journey ",), 1),
    "mrpc": (
        "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\tHe won.\tHe has won.\n",
        ("He won.", "He has won."),
        1,
    ),
    "stsb": (
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n"
        "0\tmain\tMSR\t2012\t1\tnone\tnone\tA plane.\tAn air plane.\t4.600\n",
        ("A plane.", "An air plane."),
        4.6,
    ),
    "qqp": (
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n9\t1\t2\tWhy?\tHow so?\t0\n",
        ("Why?", "How so?"),
        0,
    ),
    "mnli": (MNLI, ('He "sat.', "He stood."), 2),
    "snli": (MNLI, ('He "sat.', "He stood."), 2),
    "qnli": (
        "index\tquestion\tsentence\tlabel\n0\tWho?\tIt was me.\tnot_entailment\n",
        ("Who?", "It was me."),
        1,
    ),
    "rte": ("index\tsentence1\tsentence2\tlabel\n0\tIt is.\tIs it?\tentailment\n", ("It is.", "Is it?"), 0),
    "wnli": ("index\tsentence1\tsentence2\tlabel\n0\tI sat.\tHe sat.\t1\n", ("I sat.", "He sat."), 1),
    "scitail": ("It boils.\tIt is hot.\tentails\n", ("It boils.", "It is hot."), 0),
}


def read(name, source, **changes):
    family = "bert" if name == "wnli" else "gpt1"
    changes = {key.replace("__", "."): value for key, value in changes.items()}
    declared = override(experiments.get(f"{family}_{name}"), {"data.standardize": "none"} | changes)
    labels = SCORES if name == "stsb" else CLASSES
    return examples(declared.data, declared.task, labels, source, "train")


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_file_as_glue_publishes_it(name, tmp_path):
    content, texts, label = LAYOUTS[name]
    (tmp_path / "train.tsv").write_text(content)
    found, left_out = read(name, f"files:{tmp_path}/train.tsv")
    assert found[0] == Example(texts, label) and left_out == 0
    assert len(found) == content.count("\n") - (name not in ("cola", "scitail"))


def test_the_files_kept_beside_the_project(shared_data):
    glue = shared_data / "glue"
    counts = {
        ("cola", "CoLA/in_domain_train.tsv"): (8_551, 0.704),
        ("sst2", "SST-2/train_full.tsv"): (67_349, 0.558),
        ("rte", "RTE/train.tsv"): (2_490, 0.498),
    }
    for (name, path), (count, share) in counts.items():
        found, _ = read(name, f"files:{glue / path}")
        assert len(found) == count
        assert abs(np.mean([example.label for example in found]) - share) < 1e-3, name
    found, _ = read("stsb", f"files:{glue}/STS-B/stsb-en-train.csv")
    assert len(found) == 5_749 and found[0] == Example(
        ("A plane is taking off.", "An air plane is taking off."), 5
    )
    assert {len(example.texts) for example in found} == {2}
    assert 0 == min(example.label for example in found) < max(example.label for example in found) == 5


def test_several_sources_one_after_the_other(tmp_path):
    for n in range(2):
        (tmp_path / f"{n}.tsv").write_text(f"sentence\tlabel\nnumber {n}\t{n}\n")
    found, _ = read("sst2", f"files:{tmp_path}/1.tsv+files:{tmp_path}/0.tsv")
    assert found == [Example(("number 1",), 1), Example(("number 0",), 0)]


def test_json_lines_with_fields_of_ones_own(tmp_path):
    rows = [{"text": "fine", "mood": "good"}, {"text": "poor", "mood": "bad"}, {"text": "so", "mood": None}]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    mine = {"task__fields": "text", "task__label": "mood", "task__labels": "bad,good"}
    found, left_out = read("sst2", f"files:{tmp_path}/x.jsonl", **mine)
    assert found == [Example(("fine",), 1), Example(("poor",), 0)] and left_out == 1


def test_an_example_without_an_agreed_label_is_left_out(tmp_path):
    (tmp_path / "x.tsv").write_text("sentence1\tsentence2\tgold_label\na\tb\t-\nc\td\tneutral\n")
    assert read("snli", f"files:{tmp_path}/x.tsv") == ([Example(("c", "d"), 1)], 1)


def test_story_cloze_and_race_as_published(tmp_path):
    header = "InputStoryid,InputSentence1,InputSentence2,InputSentence3,InputSentence4,"
    header += "RandomFifthSentenceQuiz1,RandomFifthSentenceQuiz2,AnswerRightEnding\n"
    (tmp_path / "story.csv").write_text(header + '1,"One, two.",Three.,Four.,Five.,He won.,He lost.,2\n')
    found, _ = read("storycloze", f"files:{tmp_path}/story.csv")
    assert found == [Example(("One, two. Three. Four. Five.", "He won.", "He lost."), 1)]
    article = {
        "article": "A long one.",
        "questions": ["Who?", "Why?"],
        "options": [["me", "you", "he", "she"], ["so", "no", "yes", "ah"]],
        "answers": ["D", "A"],
        "id": "high1.txt",
    }
    (tmp_path / "1.txt").write_text(json.dumps(article))
    found, _ = read("race", f"files:{tmp_path}/1.txt")
    assert found == [
        Example(("A long one.", "Who?", "me", "you", "he", "she"), 3),
        Example(("A long one.", "Why?", "so", "no", "yes", "ah"), 0),
    ]


@pytest.mark.parametrize("rows, rare, warned", [(120, 1, True), (120, 5, False), (60, 1, False)])
def test_a_class_with_hardly_an_example_is_named(tmp_path, rows, rare, warned):
    """R writes NA where pandas writes nothing."""
    names = ["good", "bad"] * (rows // 2) + ["NA"] * rare
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps({"text": "a b", "label": name}) + "\n" for name in names))
    experiment = experiments.get("bert_tiny_sst2")
    task = override(experiment, {"task.fields": ("text",), "task.labels": ("NA", "bad", "good")}).task
    tokenizer = Tokenizer.from_file(str(vocabulary(tmp_path / "words") / "tokenizer.json"))
    with pytest.warns(LineageWarning, match=r"121 training .*: NA \(1\)") if warned else nullcontext():
        classification.read(experiment.data, task, CLASSES, f"files:{path}", "train", tokenizer)


@pytest.fixture
def prepared(tmp_path):
    """glue/sst2 as it was prepared elsewhere: its files are here, its code is not."""
    with tfds.core.registered.skip_registration():

        class Glue(tfds.core.GeneratorBasedBuilder):
            BUILDER_CONFIGS = (tfds.core.BuilderConfig(name="sst2", version="2.0.0"),)

            def _info(self):
                label = tfds.features.ClassLabel(names=["negative", "positive"])
                features = {"sentence": tfds.features.Text(), "label": label}
                return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

            def _split_generators(self, dl_manager):
                return {"train": self._generate_examples()}

            def _generate_examples(self):
                yield from enumerate(
                    {"sentence": text, "label": label}
                    for text, label in (("fine", 1), ("poor", 0), ("hidden", -1))
                )

    with tfds_source.quiet():
        Glue(config="sst2", data_dir=tmp_path, file_format="array_record").download_and_prepare()
    tfds.core.add_data_dir(tmp_path)
    yield
    tfds.core.utils.file_utils.clear_registered_data_dirs()


def test_classes_of_a_data_set_are_known_by_name(prepared):
    found, left_out = read("sst2", "tfds:glue/sst2:train", task__labels="positive,negative")
    assert sorted(found) == [Example(("fine",), 0), Example(("poor",), 1)] and left_out == 1


NAMES = {
    "snli": {"premise", "hypothesis", "label"},
    "sci_tail": {"premise", "hypothesis", "label"},
    "race/high": {"article", "questions", "options", "answers"},
    "squad/v1.1": {"id", "question", "context", "answers"},
}


@pytest.mark.parametrize("name", NAMES)
def test_data_sets_of_the_papers_are_read_as_tfds_gives_them(name, tmp_path, monkeypatch):
    """By TFDS's own mock: texts are noise, but names, types and nesting are those of the data set."""
    monkeypatch.setenv("http_proxy", "http://proxy.invalid")  # which would resolve names for us
    with tfds.testing.mock_data(num_examples=3, data_dir=str(tmp_path)):
        found = [record for _, record in schemes.records(f"tfds:{name}:train", (), "train")]
    assert len(found) == 3
    for record in found:
        assert NAMES[name] <= record.keys()
        plain = {field: records.plain(record[field]) for field in NAMES[name]}
        texts = [plain[field] for field in ("context", "article", "premise") if field in plain]
        assert all(isinstance(text, str) for text in texts)
        if name == "squad/v1.1":
            assert plain["answers"].keys() == {"text", "answer_start"}


@pytest.mark.parametrize(
    "content, changes, message",
    [
        ("sentence\tlabel\nfine\t2\n", {}, r"x\.tsv:2: label '2'.*negative.*positive"),
        ("sentence\tlabel\nfine\tpositiv\n", {}, r"x\.tsv:2: label 'positiv'.*did you mean positive"),
        ("sentence\tmood\nfine\t1\n", {}, r"x\.tsv:2: no field label \(task\.label\)"),
        ("sentence\tlabel\n", {}, r"no example with a label"),
        ("fine\t1\n", {"task__fields": "0", "task__label": "3"}, r"x\.tsv:1: no field 3"),
    ],
)
def test_invalid_rows_are_reported_with_file_and_line(tmp_path, content, changes, message):
    (tmp_path / "x.tsv").write_text(content)
    with pytest.raises(UsageError, match=message):
        read("sst2", f"files:{tmp_path}/x.tsv", **changes)


def test_other_mistakes(tmp_path):
    (tmp_path / "x.csv").write_text("a,b,much\n")
    with pytest.raises(UsageError, match=r"x\.csv:1: label 'much': expected a finite number"):
        read("stsb", f"files:{tmp_path}/x.csv")
    with pytest.raises(UsageError, match="expected tfds:NAME"):
        read("stsb", str(tmp_path / "x.csv"))
    (tmp_path / "x.jsonl").write_text('{"context": "a", "endings": ["b"], "label": "1"}\n')
    with pytest.raises(UsageError, match=r"expected 2 texts, one for each of task\.labels"):
        read("storycloze", f"files:{tmp_path}/x.jsonl")
    (tmp_path / "x.tsv").write_bytes(b"sentence\tlabel\ncaf\xe9\t1\n")
    with pytest.raises(UsageError, match="0xe9 is not UTF-8"):
        read("sst2", f"files:{tmp_path}/x.tsv")
