"""Labelled files as they are published, and as spreadsheets and uploads leave them."""

import gzip
import json
import warnings

import pytest

from research.config import Task
from research.data.finetuning.labels import class_of, score_of
from research.data.sources.file_records import records as read
from research.errors import LineageWarning, UsageError

MARK = b"\xef\xbb\xbf"
NAMES = ("sentence", "label")
TASK = Task(labels=("negative", "positive"))


def records(path, content: bytes, names=NAMES) -> list[dict]:
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return [dict(record) for _, record in read(path, names)]


ROWS = [{"sentence": "a\u2028b\x85", "label": "0"}, {"sentence": 'say "c"', "label": "1"}]
TABLE = 'sentence\tlabel\na\u2028b\x85\t0\nsay "c"\t1\n'
COMMAS = 'sentence,label\na\u2028b\x85,0\n"say ""c""",1\n'
OBJECTS = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=ascii)
@pytest.mark.parametrize("mark", [b"", MARK], ids=["plain", "mark"])
@pytest.mark.parametrize(
    "name, text", [("a.tsv", TABLE), ("a.csv", COMMAS), ("a.jsonl", OBJECTS), ("a.txt", OBJECTS)]
)
def test_marks_line_ends_and_blank_last_lines(tmp_path, name, text, mark, end):
    content = mark + (text + "\n\n").replace("\n", end).encode()
    assert records(tmp_path / name, content) == ROWS


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=ascii)
def test_columns_are_split_at_spaces_and_tabs_alone(tmp_path, end):
    text = "-DOCSTART- -X- O\n\n10\u00a0000 \t NUM O\nyen\u3000s NOUN B-X\n\n\nEnd NOUN O"
    found = records(tmp_path / "a.conll", MARK + text.replace("\n", end).encode())
    assert [record["0"] for record in found] == [["10\u00a0000", "yen\u3000s"], ["End"]]
    assert found[0]["2"] == ["O", "B-X"]


def test_rows_broken_by_line_ends_are_left_out_and_counted(tmp_path):
    """As in GLUE's QQP."""
    header, names = "id\tquestion1\tquestion2\tis_duplicate", ("question1", "question2", "is_duplicate")
    text = f"{header}\n1\ta\tb\t0\n2\tbroken\nin two\t1\n\n3\tc\td\t1\t\n"
    (tmp_path / "qqp.tsv").write_text(text)
    with pytest.warns(LineageWarning, match=r"qqp\.tsv:3: fewer cells .*; rows like this left out: 2"):
        found = list(read(tmp_path / "qqp.tsv", names))
    assert [(where[-2:], record["id"]) for where, record in found] == [(":2", "1"), (":6", "3")]
    with pytest.raises(UsageError, match=r"qqp\.tsv:3: fewer cells than the header has; expected"):
        list(read(tmp_path / "qqp.tsv", names, every_row=True))


def test_an_open_quote_does_not_swallow_the_rows_after_it(tmp_path):
    with pytest.raises(UsageError, match=r"a\.csv:2: a quote opens and does not close"):
        records(tmp_path / "a.csv", b'sentence,label\n"open,1\nb,0\nc,1\n')
    with pytest.raises(UsageError, match=r"a\.csv:4: a quote opens and does not close"):
        records(tmp_path / "a.csv", b'label,sentence\n1,"two\nlines"\n0,"open\n1,b\n0,"c"\n1,d')
    assert records(tmp_path / "b.csv", b'label,sentence\n1,"two\nlines"\r') == [
        {"label": "1", "sentence": "two\nlines"}
    ]


def test_rows_with_too_many_cells_are_refused(tmp_path):
    """They would lose a label, or have half of a text for one."""
    long = r"a\.csv:3: 3 cells; expected 2, as above it; a text with a separator in it needs quotes"
    with pytest.raises(UsageError, match=long):
        records(tmp_path / "a.csv", b"sentence,label\na,1,,\nb, and c,0\n")
    with pytest.raises(UsageError, match=r"a\.csv:2: 3 cells; expected 2"):
        records(tmp_path / "a.csv", b"a,1\nb, and c,0\n", ("0", "1"))
    with pytest.raises(UsageError, match=r"a\.tsv:2: 3 cells; expected 2"):
        records(tmp_path / "a.tsv", b"sentence\tlabel\nb\tand c\t0\n")
    assert len(records(tmp_path / "b.tsv", b"b\nand c\t0\n", ("0",))) == 2


def test_a_name_that_two_columns_have_is_refused_where_it_is_wanted(tmp_path):
    text = b"sentence,label,label,more,more\na,1,0,x,y\n"
    with pytest.raises(UsageError, match=r"a\.csv:1: 2 columns are called label"):
        records(tmp_path / "a.csv", text)
    assert records(tmp_path / "a.csv", text, ("sentence",))[0]["sentence"] == "a"


@pytest.mark.parametrize("name", ["a.json", "a.ndjson"])
def test_json_of_objects(tmp_path, name):
    assert records(tmp_path / name, OBJECTS.encode()) == ROWS
    if name == "a.json":
        assert records(tmp_path / name, json.dumps(ROWS, indent=1).encode()) == ROWS
        assert records(tmp_path / name, json.dumps({"version": 1, "data": ROWS}).encode()) == ROWS
        assert records(tmp_path / name, json.dumps(ROWS[0]).encode()) == ROWS[:1]
        with pytest.raises(UsageError, match=r"a\.json: expected SQuAD's data, a list of objects, or"):
            records(tmp_path / name, b"[1, 2]")
        with pytest.raises(UsageError, match=r"a\.json: not JSON: "):
            records(tmp_path / name, b"[1, 2")
    with pytest.raises(UsageError, match=rf"{name}:3: not a JSON object"):
        records(tmp_path / name, OBJECTS.encode() + b'{"sentence": ')


def test_a_cell_may_have_any_length(tmp_path):
    long = "word " * 99_999
    (found,) = records(tmp_path / "a.csv", f'sentence,label\n"{long}",1\n'.encode())
    assert found["sentence"] == long


def test_a_cut_archive_is_damage(tmp_path):
    whole = gzip.compress("".join(json.dumps({"sentence": n}) + "\n" for n in range(9_999)).encode())
    with pytest.raises(UsageError, match=r"cut\.jsonl\.gz: damaged gzip file"):
        records(tmp_path / "cut.jsonl.gz", whole[: len(whole) // 2])


@pytest.mark.parametrize("label, number", [(1, 1), ("1", 1), (1.0, 1), ("1.0", 1), ("positive", 1), (0, 0)])
def test_a_class_is_a_name_or_a_number(label, number):
    assert class_of(label, TASK, "a.tsv:1") == number


def test_a_name_may_differ_in_case_and_underscores():
    task = Task(fields=("sentence",), labels=("not_entailment", "entailment", "b-per", "B_PER"))
    for label in ("not_entailment", "Not Entailment", "not-entailment"):
        assert class_of(label, task, "a.tsv:1") == 0
    assert class_of("B_PER", task, "a.tsv:1") == 3
    for label in ("B PER", "notentailment", ""):  # of two classes, and of none
        with pytest.raises(UsageError, match="label"):
            class_of(label, task, "a.tsv:1")


@pytest.mark.parametrize("label", [True, "true", 2, -1, "-1", 0.5, "nan", float("inf"), "", None])
def test_other_classes_are_refused_with_their_place(label):
    with pytest.raises(UsageError, match=r"a\.tsv:1: label "):
        class_of(label, TASK, "a.tsv:1")


@pytest.mark.parametrize("label", [True, "true", "nan", float("nan"), "inf", "-Infinity", "1,5", None])
def test_scores_are_finite(label):
    assert score_of("2.5", TASK, "a.tsv:1") == score_of(2.5, TASK, "a.tsv:1") == 2.5
    with pytest.raises(UsageError, match=r"a\.tsv:1: label .*: expected a finite number"):
        score_of(label, TASK, "a.tsv:1")
