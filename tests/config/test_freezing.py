"""The notation of `optimizer.freeze`: which parameters a text freezes, and what is refused."""

from itertools import pairwise

import pytest

import experiments
import research.models  # noqa: F401  # registers the families
from research.config import Model
from research.config.sections.freezing import check, share_trained, trained_blocks, trains
from research.config.settings import override
from research.errors import UsageError
from research.models.parameters import components

BERT = override(
    experiments.get("bert_tiny_sst2"), {"model.depth": 4, "model.head": "sequence", "model.outputs": 2}
).model
GPT = experiments.get("gpt2_tiny").model


def frozen(freeze: str, model: Model = BERT) -> set[str]:
    return {name for name, *_ in components(model) if not trains(freeze, name, model)}


def named(model: Model, *prefixes: str) -> set[str]:
    return {
        name
        for name, *_ in components(model)
        if any(name == prefix or name.startswith(f"{prefix}/") for prefix in prefixes)
    }


EVERY = named(BERT, "blocks", "tokens", "positions", "segments", "norm", "pooler", "task_head")
BIASES = {name for name in EVERY if name.endswith("bias")}


@pytest.mark.parametrize(
    "freeze, expected",
    [
        ("pooler", named(BERT, "pooler")),
        ("embeddings", named(BERT, "tokens", "positions", "segments", "norm")),
        ("!task_head", EVERY - named(BERT, "task_head")),
        ("!*/bias+!task_head", EVERY - BIASES - named(BERT, "task_head")),
        ("*/bias", BIASES),
        ("*+!task_head", EVERY - named(BERT, "task_head")),
        ("blocks+!blocks/mlp", named(BERT, "blocks/attention", "blocks/attention_norm", "blocks/mlp_norm")),
        ("blocks/mlp", named(BERT, "blocks/mlp")),  # not mlp_norm, whose name begins alike
        ("norm", named(BERT, "norm")),  # and not the norms of blocks
        (" tokens + positions/", named(BERT, "tokens", "positions")),
    ],
)
def test_patterns_freeze_parameters(freeze, expected):
    assert named(BERT, *{name.split("/")[0] for name, *_ in components(BERT)}) == EVERY
    assert frozen(freeze) == expected


def test_a_gpt_has_no_norm_of_embeddings():
    assert frozen("embeddings", GPT) == {"tokens", "positions"}


@pytest.mark.parametrize(
    "freeze, mlp, attention",
    [
        ("blocks/0-1", [2, 3], [2, 3]),
        ("blocks/2-", [0, 1], [0, 1]),
        ("blocks/1", [0, 2, 3], [0, 2, 3]),
        ("blocks/0-2/mlp", [3], [0, 1, 2, 3]),
        ("blocks/0-2+!blocks/1/mlp", [1, 3], [3]),
        ("!blocks/2-+!task_head", [2, 3], [2, 3]),
        ("!task_head", [], []),
        ("blocks/0-3+!blocks/0-3", [0, 1, 2, 3], [0, 1, 2, 3]),
        (None, [0, 1, 2, 3], [0, 1, 2, 3]),
    ],
)
def test_patterns_freeze_blocks_of_a_stack(freeze, mlp, attention):
    for name, expected in (("blocks/mlp/expand/kernel", mlp), ("blocks/attention/qkv/bias", attention)):
        runs = trained_blocks(freeze, name, BERT)
        assert [block for run in runs for block in run] == expected
        assert all(one.stop < other.start for one, other in pairwise(runs))
        assert share_trained(freeze, name, BERT) * 4 == len(expected)
        assert trains(freeze, name, BERT) == bool(expected)


@pytest.mark.parametrize(
    "freeze, message",
    [
        ("embedings", "optimizer.freeze=embedings: no such parameter; did you mean embeddings?"),
        ("tokens+!task_hed", "optimizer.freeze=task_hed: no such parameter; did you mean task_head?"),
        ("blocks/atention/qkv", "no such parameter; did you mean blocks/attention/qkv"),
        ("blocks.0-1", "optimizer.freeze=blocks.0-1: no such parameter; did you mean blocks/0-1?"),
        ("bert/encoder", "no such parameter; expected one of blocks, embeddings, norm, pooler"),
        ("blocks/2-4", "optimizer.freeze=blocks/2-4: expected blocks from 0 to 3"),
        ("blocks/4-", "optimizer.freeze=blocks/4-: expected blocks from 0 to 3"),
        ("*", r"optimizer.freeze=*: freezes all parameters; expected some to train: !task_head"),
        ("!pooler+pooler", "freezes all parameters"),
    ],
)
def test_what_matches_nothing_or_leaves_nothing_is_refused(freeze, message):
    with pytest.raises(UsageError) as raised:
        check(freeze, {name: shape for name, shape, _ in components(BERT)}, BERT)
    assert message in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("freeze", ["", "!", "tokens++norm", "blocks/3-1"])
def test_malformed_patterns_are_refused_where_they_are_declared(freeze):
    with pytest.raises(UsageError, match=r"^optimizer\.freeze"):
        override(experiments.get("gpt2_tiny"), {"optimizer.freeze": freeze})


def test_blocks_that_are_not_stacked_have_no_numbers():
    with pytest.raises(UsageError, match=r"expected a leading axis of model\.depth=4"):
        check("blocks/0", {"blocks/shared": (7, 7), "tokens": (9, 7)}, BERT)
    check("blocks", {"blocks/shared": (7, 7), "tokens": (9, 7)}, BERT)
