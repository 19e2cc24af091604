"""Declarations whose sections do not fit their objective are refused, in a line, before any work."""

import pickle

import pytest

import experiments
from launch.__main__ import run
from research.config.settings import override
from research.errors import UsageError
from research.objectives import check
from tests.by_experiment import examples_of


@pytest.mark.parametrize("name", experiments.names())
def test_every_experiment_fits_its_objective(name):
    check(experiments.get(name))


@pytest.mark.parametrize("name", experiments.names())
def test_its_batches_can_be_made_in_other_processes(name):
    assert pickle.loads(pickle.dumps(examples_of(experiments.get(name)).train))


WRONG = [
    (
        "gpt2_small",
        {"objective.name": "masked_token"},
        "masked_token: not for model.family=gpt2; expected bert",
    ),
    (
        "bert_base",
        {"objective.name": "next_token"},
        "next_token: not for model.family=bert; expected gpt1 or gpt2",
    ),
    (
        "bert_base",
        {"objective.name": "left_to_right"},
        "left_to_right: a token must not see those after it; expected model.left_only=true",
    ),
    ("bert_base", {"model.left_only": "true"}, "expected objective.name=left_to_right"),
    (
        "gpt2_small",
        {"objective.name": "left_to_right", "model.left_only": "true"},
        "left_to_right: not for model.family=gpt2; expected bert",
    ),
    ("bert_base", {"data.attend": "document"}, "data.attend=document: only for objective.name=next_token"),
    ("gpt1_sst2", {"data.attend": "document"}, "data.attend=document: only for objective.name=next_token"),
    ("gpt1", {"model.head": "sequence", "model.outputs": "2"}, "model.head=sequence: .* needs pretraining"),
    ("gpt1_sst2", {"task.fields": ""}, "task.fields: objective.name=classification needs the fields"),
    ("gpt1_sst2", {"task.fields": "a,b,c"}, "task.fields=a,b,c: expected one or two"),
    ("bert_squad", {"task.fields": "a"}, "task.fields=a: expected two"),
    ("gpt1_sst2", {"task.labels": "one"}, "task.labels=one: expected two or more"),
    ("gpt1_sst2", {"task.options": "x"}, "task.options=x: expected a field only with objective.name=choice"),
    ("gpt1_race", {"task.options": ""}, "task.options=: expected a field"),
    ("gpt1_sst2", {"task.orders": "both"}, "task.orders=both: expected two fields"),
    ("gpt1_race", {"task.orders": "both"}, "task.orders=both: expected two fields"),
    (
        "gpt1_sst2",
        {"task.metrics": "pearson"},
        "pearson: not for classification; expected some of accuracy, mat",
    ),
    ("gpt1_sst2", {"task.metrics": ""}, "task.metrics: expected one or more"),
    ("gpt1_sst2", {"model.outputs": "3"}, "with its 2 task.labels needs sequence, 2"),
    ("gpt1_stsb", {"model.outputs": "2"}, "needs sequence, 6"),
    (
        "bert_squad",
        {"model.family": "gpt2"},
        "objective.name=spans: needs model.family=bert, which reads in both directions",
    ),
    ("bert_ner", {"model.family": "gpt2"}, "model.special_tokens=true: tags of a GPT's words alone"),
    ("bert_sst2", {"model.special_tokens": "false"}, "model.special_tokens=false: for GPTs; expected true"),
    ("bert_sst2", {"objective.auxiliary": "0.5"}, "objective.auxiliary: a bert has no next-token loss"),
    ("bert_sst2", {"model.table_dropout": "true"}, "model.table_dropout=true: for GPTs; expected false"),
    ("bert_base", {"model.head_bias": "true"}, "model.head_bias=true: for GPTs; expected false with model"),
    ("gpt1_sst2", {"model.positions": "rotary"}, "auxiliary_positions=true: model.positions=rotary has no"),
    ("gpt1_stsb", {"task.labels": "0,2,1,3,4,5"}, "expected the whole scores, 0,1,2,3,4,5"),
    ("bert_sst2", {"data.validation": "none"}, "data.validation: expected a source"),
    ("bert_sst2", {"data.later.step": "8"}, "data.later.step: only for pre-training; expected 0"),
]


@pytest.mark.parametrize("name, changes, message", WRONG)
def test_what_does_not_fit_is_refused(name, changes, message):
    with pytest.raises(UsageError, match=message):
        check(override(experiments.get(name), changes))


@pytest.mark.parametrize("command", [["show"], ["params"], ["prepare"], ["batch"], ["bench"], ["plan"]])
def test_every_command_refuses_it(command, capsys):
    more = ["--step", "0"] if command == ["batch"] else []
    assert run([*command, "gpt2_tiny", "objective.name=masked_token", *more]) == 2
    captured = capsys.readouterr()
    assert captured.err == (
        "lineage: objective.name=masked_token: not for model.family=gpt2; expected bert\n"
    )
    assert captured.out == ""


def test_a_sweep_refuses_it_before_it_begins(tmp_path, capsys):
    over = ["--over", "objective.name=next_token,masked_token"]
    assert run(["sweep", "gpt2_tiny", *over, "--dir", str(tmp_path / "sweep")]) == 2
    assert "masked_token: not for model.family=gpt2" in capsys.readouterr().err
    assert not (tmp_path / "sweep").exists()
