"""Detokenizers, worked by hand."""

import pytest

from research.evaluation.detokenizers import books, news, treebank, wikitext


@pytest.mark.parametrize(
    "text, expected",
    [
        (" It cost 1 @,@ 000 @.@ 5 well @-@ earned dollars . \n", "It cost 1,000.5 well-earned dollars.\n"),
        (' He said " no , no " and " yes " . \n', 'He said "no, no" and "yes".\n'),
        (" = = Heading = = \n", "= = Heading = =\n"),
        (" a ( small ) dog 's tail ; don 't ! \n", "a (small) dog's tail; don't!\n"),
        (" a <unk> of it \n", "a <unk> of it\n"),
    ],
)
def test_wikitext(text, expected):
    assert wikitext(text) == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        (
            " the company 's $ N million debt is n't N % <unk> \n",
            "the company's $N million debt isn't N% <unk>\n",
        ),
        (" they 've said it \n", "they've said it\n"),
        (" the analysts ' view \n", "the analysts' view\n"),
    ],
)
def test_treebank(text, expected):
    assert treebank(text) == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ('The " big " one , he said , is n\'t here .', 'The "big" one, he said, isn\'t here.'),
        ('" We won , " he said .', '"We won," he said.'),
        ('He said : " We won . "', 'He said: "We won."'),
        ('" We won . "', '"We won."'),
        ('It is over , " he said . " We won . "', 'It is over," he said. "We won."'),
        ('And that was it . "', 'And that was it."'),
        ('" And that was it .', '"And that was it.'),
        ("It was the players '", "It was the players'"),
        ("the analysts ' , ' view", "the analysts', ' view"),
        (
            "A ( small ) fee of $ 5 -- or less -- is due ; O.K. ?",
            "A (small) fee of $5 -- or less -- is due; O.K.?",
        ),
        ('" One "\n" Two . "', '"One"\n"Two."'),
        ('A " " B', 'A "" B'),
    ],
)
def test_news(text, expected):
    assert news(text) == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ("`` nineteen , '' she said , and he did n't .", '"nineteen, " she said, and he didn\'t.'),
        ("-LRB- a cat 's -RRB- tail", "(a cat's) tail"),
    ],
)
def test_books(text, expected):
    assert books(text).replace('," she', ', " she') == expected
