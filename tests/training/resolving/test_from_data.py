"""A typed source decides what follows from it; what was typed is kept; declared layouts decide nothing."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

import experiments
from launch.__main__ import run
from research import resolve
from research.config.settings import flatten
from research.config.space import points
from research.data.tokenizers import trained
from research.errors import UsageError
from research.sweeping.declare import declare_sweep
from research.training import resolving

WORDS = {"bad": "negative", "fine": "neutral", "great": "positive"}


def followed(name: str, **changes) -> tuple[dict, list[str]]:
    """Settings that are neither declared nor typed, and the lines that say so."""
    said = []
    changes = {key.replace("__", "."): value for key, value in changes.items()}
    found = flatten(resolving.resolve(experiments.get(name), changes, said.append))
    before = flatten(experiments.get(name)) | changes
    return {key: value for key, value in found.items() if before[key] != value}, said


def layout(name: str, **changes) -> dict:
    """The settings that say how the source is read, without the tokenizer of a short text."""
    found, _ = followed(name, **changes)
    return {key: value for key, value in found.items() if key not in ("data.tokenizer", "model.vocabulary")}


@pytest.fixture
def novel(tmp_path):
    path = tmp_path / "novel.txt"
    path.write_text("\n\n".join(f"Call me number {n}." for n in range(400)))
    return f"files:{path}"


def test_a_refused_experiment_has_decided_nothing(novel, capsys):
    changes = {"data.source": novel, "data.length": 9999}
    with pytest.raises(UsageError, match=r"data\.length"):
        resolve("quickstart", changes)
    assert capsys.readouterr().out == ""
    resolve("quickstart", changes | {"data.length": 32})
    assert "decides data.split=tail" in capsys.readouterr().out


def test_one_text_is_split_by_its_tail_or_for_bert_by_its_paragraphs(novel):
    _, (said,) = followed("quickstart", data__source=novel)
    assert layout("quickstart", data__source=novel) == {"data.split": "tail", "data.holdout": 0.1}
    assert said.startswith(f"data.source={novel} decides data.split=tail (declared published)")
    assert layout("quickstart", data__source=novel, data__holdout=0.3) == {"data.split": "tail"}
    pairs = {"data.split": "documents", "data.documents": "paragraphs"}
    assert layout("bert_tiny", data__source=novel) == pairs
    assert layout("quickstart", data__source=novel, data__split="tail") == {}


def test_a_text_without_blank_lines_is_split_by_its_tail_for_bert_too(tmp_path):
    path = tmp_path / "novel.txt"
    path.write_text("\n".join(f"Call me number {n}." for n in range(400)))
    decided = layout("bert_tiny", data__source=f"files:{path}")
    assert decided == {"data.split": "tail", "data.holdout": 0.1}


def test_a_text_with_a_validation_corpus_of_its_own_is_not_split(novel):
    both = {"data__source": novel, "data__validation": novel}
    assert layout("quickstart", **both) == layout("bert_tiny", **both) == {}
    assert resolve("quickstart", {"data.source": novel, "data.validation": novel}).data.validation == novel
    with pytest.raises(
        UsageError, match=r"data\.holdout=0\.3: data\.source is not split when data\.validation"
    ):
        followed("quickstart", data__holdout=0.3, **both)


def test_few_documents_hold_enough_out_that_one_validates(tmp_path):
    for number in range(12):
        (tmp_path / f"{number}.txt").write_text(f"Chapter {number}.")
    decided = layout("quickstart", data__source=f"files:{tmp_path}/*.txt")
    assert decided["data.split"] == "documents" and decided["data.holdout"] in (0.1, 0.2, 0.5)


def mixture(folder, *texts: str) -> str:
    for number, text in enumerate(texts):
        (folder / f"{number}.txt").write_text(text)
    return "+".join(f"0.5*files:{folder}/{number}.txt" for number in range(len(texts)))


def test_every_source_of_a_mixture_trains_and_validates(tmp_path):
    """Of two texts none is both; their paragraphs are, with enough held out that one of each validates."""
    first, second = ("\n\n".join(f"{name} number {n}." for n in range(60)) for name in ("Cat", "Dog"))
    source = mixture(tmp_path, first, second)
    found = layout("bert_tiny", data__source=source)
    assert (found["data.documents"], found["data.holdout"]) == ("paragraphs", 0.1)
    assert layout("quickstart", data__source=source) == {"data.split": "tail", "data.holdout": 0.1}
    assert layout("quickstart", data__source=source, data__holdout=0.5) == {"data.split": "tail"}
    with pytest.raises(UsageError, match=r"has no document that trains, or .*; expected data\.split=tail"):
        followed("quickstart", data__source=source, data__split="documents")
    typed = {"data__documents": "paragraphs"}
    assert layout("quickstart", data__source=source, **typed)["data.holdout"] == 0.1
    assert "data.holdout" not in layout("quickstart", data__source=source, data__validation=source)
    kept = resolve("quickstart", {"data.source": f"files:{tmp_path}/0.txt"})
    changes = {"data.source": source, "data.split": "documents"}
    resolving.resolve(
        experiments.get("quickstart"), changes, print, kept
    )  # a run that goes on keeps its split


def test_the_field_with_the_text_is_found_by_its_name(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps({"id": n, "body": f"Text {n}."}) + "\n" for n in range(900)))
    decided = layout("quickstart", data__source=f"files:{path}")
    assert decided == {"data.split": "documents", "data.field": "body"}


def test_a_short_text_gets_as_many_entries_as_it_gives(novel):
    decided, (said,) = followed("quickstart", data__source=novel)
    assert decided["model.vocabulary"] == 668 and decided["data.tokenizer"] == "bpe:668"
    assert "data.tokenizer=bpe:668 (declared bpe:4096), model.vocabulary=668 (declared 4096)" in said
    given = {key.replace(".", "__"): value for key, value in decided.items()}
    assert followed("quickstart", data__source=novel, **given) == ({}, [])  # as a record types it
    pieces, _ = followed("bert_tiny", data__source=novel)
    size = pieces["model.vocabulary"]
    assert pieces["data.tokenizer"] == f"wordpiece:{size}"
    data = resolve("bert_tiny", {"data.source": novel}).data
    assert trained.load(data).get_vocab_size() == size
    assert "data.tokenizer" not in followed("quickstart", data__source=novel, data__tokenizer="bpe:4096")[0]


def test_of_a_long_text_no_more_is_read_than_tells_that_it_is_long(monkeypatch):
    read = []

    def texts(data, split, task):
        for number in range(20_000):
            read.append(number)
            yield f"A paragraph of some length, and number {number}."

    monkeypatch.setattr(trained, "texts", texts)
    monkeypatch.setattr(trained, "load", lambda data: pytest.fail("it is trained before it is needed"))
    data = replace(experiments.get("quickstart").data, tokenizer="bpe:300", split="documents")
    assert trained.fitted(data) == "bpe:300"
    assert 300 * trained.LONG <= len(read) * 45 < 2 * 300 * trained.LONG


def test_the_vocabulary_is_the_tokenizers_unless_it_was_typed(novel):
    tail = {"data.split": "tail", "data.holdout": 0.1}
    decided, _ = followed("quickstart", data__source=novel, data__tokenizer="char")
    characters = len(set("Call me number .\n0123456789"))
    assert decided == tail | {"model.vocabulary": characters}
    assert followed("quickstart", data__tokenizer="bpe:512")[0] == {"model.vocabulary": 512}
    typed = {"data__tokenizer": "bpe:512", "model__vocabulary": 600}
    assert followed("quickstart", data__source=novel, **typed)[0] == tail


def test_a_typed_vocabulary_is_kept_or_refused_in_a_sweep_too(novel):
    def space_of(*overs: str, **changes):
        typed = {"data.source": novel} | {name.replace("__", "."): value for name, value in changes.items()}
        options = {"trials": 2 if any(".." in over for over in overs) else None}
        sweep = declare_sweep(experiments.get("quickstart"), overs, typed, options, lambda line: None)
        return sweep, [
            resolving.resolve(sweep.base, point, print).model.vocabulary for point in points(sweep.space)
        ]

    both = "data.tokenizer=bpe:280,bpe:300"
    assert space_of(both)[1] == [280, 300]  # it follows
    assert space_of(both, model__vocabulary=512)[1] == [512, 512]
    assert space_of("run.seed=0,1", model__vocabulary=8_192)[0].space.name == "run.seed"
    small = r"model\.vocabulary=290: data\.tokenizer=bpe:300 has 300 entries; expected at least that"
    with pytest.raises(UsageError, match=small):
        space_of(both, model__vocabulary=290)
    with pytest.raises(UsageError, match=small):
        space_of(both, "optimizer.rate.peak=1e-4..1e-3", model__vocabulary=290)
    with pytest.raises(UsageError, match=small):
        followed("quickstart", data__tokenizer="bpe:300", model__vocabulary=290)


@pytest.mark.parametrize("more", [[], ["optimizer.rate.peak=1e-4..1e-3"]])
def test_a_sweep_refuses_a_vocabulary_that_preparing_would_refuse(more):
    def declared(*overs, **typed):
        options = {"trials": 2 if more else None}
        return declare_sweep(
            experiments.get("quickstart"), [*overs, *more], typed, options, lambda line: None
        )

    small = r"model\.vocabulary=512: data\.tokenizer=bpe:4096 has 4096 entries; expected at least that"
    with pytest.raises(UsageError, match=small):
        declared("run.seed=0,1", **{"model.vocabulary": 512})
    with pytest.raises(UsageError, match=small):
        declared("model.vocabulary=8192,512")
    declared("model.vocabulary=8192,4096")
    declared("data.tokenizer=bpe:300,bpe:400", **{"model.vocabulary": 512})


def test_what_is_decided_is_said_once_nothing_is_wrong(novel, capsys):
    typed = [f"data.source={novel}", "data.tokenizer=char"]
    assert run(["show", "quickstart", *typed]) == 0
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"lineage: data.source={novel} data.tokenizer=char decides data.split=tail")
    for fault in ("data.length=999999", "optimizer.name=adamv", "data.holdout=0"):
        assert run(["prepare", "quickstart", *typed, fault]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


def reviews(path, header: str, rows: int = 60) -> str:
    lines = [
        f'"A {word}, {word} book {n}.",{label}' for n in range(rows // 3) for word, label in WORDS.items()
    ]
    path.write_text("\n".join([header, *lines]) + "\n")
    return f"files:{path}"


def test_reviews_in_three_classes_need_the_file_alone(tmp_path):
    source = reviews(tmp_path / "reviews.csv", "Text,Label")
    decided, (said, epochs) = followed("bert_tiny_sst2", data__source=source)
    assert decided == {
        "data.source": f"rest:6:0:{source}",
        "data.validation": f"drawn:6:0:{source}",
        "task.fields": ("Text",),
        "task.label": "Label",
        "task.labels": ("negative", "neutral", "positive"),
        "task.numbered": False,
        "model.outputs": 3,
    }
    assert "model.outputs=3 (declared 2)" in said and "\n" not in said
    assert epochs == (
        "run.steps=4210 makes 2,245 epochs of 60 examples; run.steps=6 optimizer.rate.warmup=0 would be 3"
    )
    few = {"run.steps": 200, "data.source": source}
    _, (_, warmup) = followed("bert_tiny_sst2", **few)
    assert warmup.startswith("optimizer.rate.warmup=421: the rate does not reach its peak in run.steps=200")
    assert len(followed("bert_tiny_sst2", **few, optimizer__rate__warmup=20)[1]) == 1
    typed = {"data__validation": source, "task__labels": ("positive", "neutral", "negative")}
    decided, _ = followed("bert_tiny_sst2", data__source=source, model__outputs=3, **typed)
    assert set(decided) == {"task.fields", "task.label"}
    assert resolve("bert_tiny_sst2", {"data.source": source}).model.outputs == 3  # it passes all checks


def test_reviews_in_other_forms_of_a_table(tmp_path):
    lines = [f"A {word} book {n};{label}" for n in range(9) for word, label in WORDS.items()]
    (tmp_path / "semicolons.csv").write_text("\n".join(["Text;Sentiment", *lines]) + "\n")
    decided, _ = followed("bert_tiny_sst2", data__source=f"files:{tmp_path}/semicolons.csv")
    assert (decided["task.fields"], decided["task.label"]) == (("Text",), "Sentiment")
    source = reviews(tmp_path / "two.csv", "review,mood")  # the text is known, so the other is the label
    assert followed("bert_tiny_sst2", data__source=source)[0]["task.label"] == "mood"
    source = reviews(tmp_path / "none.csv", '"Nice, good.",positive')  # no header
    decided, _ = followed("bert_tiny_sst2", data__source=source, task__label="1")
    assert decided["task.fields"] == ("0",) and decided["model.outputs"] == 3


def test_unknown_columns_are_refused_with_those_there_are(tmp_path):
    source = reviews(tmp_path / "own.csv", "opinion,points")
    expected = r"own\.csv: no column label \(task\.label\); it has opinion, points; type task\.label=COLUMN"
    with pytest.raises(UsageError, match=expected):
        followed("bert_tiny_sst2", data__source=source)
    decided, _ = followed("bert_tiny_sst2", data__source=source, task__label="points")
    assert decided["task.fields"] == ("opinion",) and decided["model.outputs"] == 3
    scores = tmp_path / "scores.csv"
    scores.write_text("text,label\n" + "".join(f"Text {n}.,{n / 7:.3f}\n" for n in range(40)))
    with pytest.raises(UsageError, match=r"40 labels in 40 places; expected classes .*regression"):
        followed("bert_tiny_sst2", data__source=f"files:{scores}")


def test_a_file_with_the_declared_layout_decides_nothing_but_its_validation(tmp_path):
    path = tmp_path / "train.tsv"
    path.write_text("sentence\tlabel\n" + "It is good.\t1\nIt is bad.\t0\n" * 10)
    decided, _ = followed("bert_tiny_sst2", data__source=f"files:{path}")
    assert set(decided) == {"data.source", "data.validation"}
    assert followed("bert_tiny_sst2", data__source=f"files:{path}", data__validation="x")[0] == {}


def test_tags_of_ones_own_are_the_last_column(tmp_path):
    path = tmp_path / "own.conll"
    path.write_text("TP53 NN B-GENE\nis VB O\n\naspirin NN B-DRUG\nhelps VB O\n\n" * 10)
    source = f"files:{path}"
    decided, _ = followed("bert_ner", data__source=source)
    assert decided["task.label"] == "2" and decided["task.labels"] == ("O", "B-DRUG", "B-GENE")
    assert decided["model.outputs"] == 3 and "task.metrics" not in decided


def test_a_run_goes_on_only_with_its_text(novel):
    declared = experiments.get("quickstart")
    changes = {"data.source": novel}
    first = resolving.resolve(declared, changes, print)
    assert resolving.resolve(declared, changes, print, first) == first
    Path(novel.removeprefix("files:")).unlink()
    with pytest.raises(UsageError, match=r"novel\.txt: no such file"):
        resolving.resolve(declared, changes, print, first)
    assert resolving.resolve(declared, changes, print).data.source == novel  # a plan needs no text


@pytest.mark.parametrize("name", ["quickstart", "bert_tiny"])
@pytest.mark.parametrize(
    "typed, message",
    [
        ("nope.txt", r"files:nope\.txt: no such file; did you mean note\.txt\?"),
        ("a.pdf", r"a\.pdf: expected a file that ends in \.txt"),
        ("folder", r"files:folder: a folder; expected files"),
        ("none.bin", r"tokens:none\.bin: no such file; did you mean nine\.bin\?"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_rather_than_its_split(
    name, typed, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for there in ("note.txt", "a.pdf", "nine.bin"):
        (tmp_path / there).write_text("a")
    assert run(["prepare", name, "--train-file", typed]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.search(message, last), last
