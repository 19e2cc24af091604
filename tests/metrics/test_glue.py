"""Metrics of tasks: on cases worked out by hand."""

import numpy as np
import pytest

from research.errors import UsageError
from research.metrics.entities import Entity, check_tags, entities, f1
from research.metrics.glue import scores


def test_of_classes():
    """Of 3 positives 2 are found, with 1 too many: precision and recall 2/3; Matthews's by its formula."""
    labels, given = [1, 1, 1, 0, 0], [1, 1, 0, 1, 0]
    found = scores(("accuracy", "f1", "matthews"), labels, given)
    tp, tn, fp, fn = 2, 1, 1, 1
    matthews = (tp * tn - fp * fn) / np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    assert found == pytest.approx({"accuracy": 3 / 5, "f1": 2 / 3, "matthews": matthews})
    assert scores(("f1", "matthews"), [0, 1, 0], [0, 0, 0]) == {"f1": 0.0, "matthews": 0.0}
    assert scores(("matthews",), [1, 1], [1, 1]) == {"matthews": 0.0}  # without scikit-learn's warning


def test_f1_is_that_of_the_tasks_classes_whichever_occur():
    """Of three classes the mean, also where the third occurs nowhere; of two that of class 1."""
    labels, given = [0, 1, 1, 0], [0, 1, 0, 0]
    first, second = 4 / 5, 2 / 3
    assert scores(("f1",), labels, given, classes=3)["f1"] == pytest.approx((first + second) / 3)
    assert scores(("f1",), labels, given, classes=2)["f1"] == pytest.approx(second)
    assert scores(("f1",), [2, 2], [2, 2], classes=3)["f1"] == pytest.approx(1 / 3)


def test_of_scores():
    labels, given = [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 10.0]
    found = scores(("pearson", "spearman"), labels, given)
    x, y = np.array(labels) - 2.5, np.array(given) - 4
    assert found["pearson"] == pytest.approx((x * y).sum() / np.sqrt((x**2).sum() * (y**2).sum()))
    assert found["spearman"] == pytest.approx(1)
    assert scores(("pearson", "spearman"), labels, [2.0] * 4) == {"pearson": 0.0, "spearman": 0.0}


def test_of_entities():
    """conlleval's rules: I- after O, or of another kind, begins one; B- always does."""
    tags = ["B-PER", "I-PER", "O", "I-LOC", "I-LOC", "B-LOC", "I-ORG", "O"]
    assert entities(tags) == [
        Entity("PER", 0, 2),
        Entity("LOC", 3, 5),
        Entity("LOC", 5, 6),
        Entity("ORG", 6, 7),
    ]
    other = ["B-PER", "O", "O", "I-LOC", "I-LOC", "B-LOC", "O", "O"]  # 2 of its 3 are right, of 4 wanted
    assert f1([tags], [other]) == pytest.approx(2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4))
    assert f1([["O"]], [["O"]]) == 0.0
    found = scores(("f1", "accuracy"), [tags], [other])
    assert found == pytest.approx({"f1": 4 / 7, "accuracy": 6 / 8})


@pytest.mark.parametrize(
    "tags, kinds",
    [
        ("I-A I-A B-A O I-B", [("A", 0, 2), ("A", 2, 3), ("B", 4, 5)]),  # IOB1
        ("B-A E-A S-A B-B I-B E-B O S-B", [("A", 0, 2), ("A", 2, 3), ("B", 3, 6), ("B", 7, 8)]),  # IOBES
        ("B-A L-A U-A B-B I-B L-B O U-B", [("A", 0, 2), ("A", 2, 3), ("B", 3, 6), ("B", 7, 8)]),  # BILOU
        ("I-A E-A I-A O E-A", [("A", 0, 2), ("A", 2, 3), ("A", 4, 5)]),  # as a model may predict
        ("B-A-x I-A-x", [("A-x", 0, 2)]),
    ],
)
def test_schemes_of_entities(tags, kinds):
    assert entities(tags.split()) == [Entity(*kind) for kind in kinds]
    check_tags(tags.split())


@pytest.mark.parametrize("tag", ["NOUN", "B", "B-", "X-PER", "o"])
def test_other_tags_are_refused(tag):
    with pytest.raises(UsageError, match=f"task.labels={tag}: no tag of an entity"):
        check_tags(["O", tag])


def test_unknown_metrics_and_lists_of_unequal_length_are_refused():
    with pytest.raises(UsageError, match="acuracy: no such metric; did you mean accuracy"):
        scores(("acuracy",), [1], [1])
    with pytest.raises(UsageError, match="1 predictions of 2 examples"):
        scores(("accuracy",), [1, 0], [1])
