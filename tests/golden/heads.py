"""Transformers' models with heads for tasks, on a batch: parameters by our names, logits and losses.

`python -m tests.golden.heads` writes tests/golden/heads/*; `tests/models/test_heads.py` compares with these
files, and live where the extra `parity` is there.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file

from research.config import Model
from research.weights.formats.names import HUGGING_FACE
from research.weights.layout import to_ours
from tests.golden.reference import NO_DROPOUT

FOLDER = Path(__file__).parent / "heads"
SIZES = {"vocabulary": 23, "context": 14, "width": 12, "depth": 2, "heads": 3, "norm": "post"}
ROWS, CHOICES, LABELS = 4, 3, 5
BERT = {
    "vocab_size": 23,
    "max_position_embeddings": 14,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 48,
    "hidden_act": "gelu_new",
}
GPT = {"vocab_size": 23 + 3, "n_positions": 14, "n_embd": 12, "n_layer": 2, "n_head": 3}


class Case(NamedTuple):
    kind: str  # the objective
    model: Model
    make: Callable[[], torch.nn.Module]
    head: str  # their name of it
    sequences: int = 1


def _bert(name: str, labels: int, kind: str, head: str, sequences: int = 1) -> Case:
    def make():
        config = transformers.BertConfig(**NO_DROPOUT["bert"] | BERT, num_labels=labels)
        if kind == "regression":
            config.problem_type = "regression"
        return getattr(transformers, name)(config)

    on = "tokens" if kind in ("spans", "tags") else "sequence"
    model = Model(family="bert", head=on, outputs=labels, norm_epsilon=1e-12, **SIZES)
    return Case(kind, model, make, head, sequences)


def _double_heads() -> torch.nn.Module:
    config = transformers.OpenAIGPTConfig(**NO_DROPOUT["gpt1"] | GPT, num_labels=1, summary_first_dropout=0.0)
    model = transformers.OpenAIGPTDoubleHeadsModel(config)
    torch.nn.init.zeros_(model.multiple_choice_head.summary.bias)  # which the paper has not, nor have we
    return model


CASES = {
    "bert_classification": _bert("BertForSequenceClassification", LABELS, "classification", "classifier"),
    "bert_regression": _bert("BertForSequenceClassification", 1, "regression", "classifier"),
    "bert_choice": _bert("BertForMultipleChoice", 1, "choice", "classifier", CHOICES),
    "bert_spans": _bert("BertForQuestionAnswering", 2, "spans", "qa_outputs"),
    "bert_tags": _bert("BertForTokenClassification", LABELS, "tags", "classifier"),
    "gpt1_choice": Case(
        "choice",
        Model(family="gpt1", head="sequence", outputs=1, **SIZES),
        _double_heads,
        "multiple_choice_head.summary",
        CHOICES,
    ),
}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name in CASES:
        save_file(reference(name, seed=0), FOLDER / f"{name}.safetensors")


def reference(name: str, seed: int) -> dict[str, np.ndarray]:
    """{'parameter.…', 'batch.…', 'logits', 'loss', of a GPT 'auxiliary_loss'}: weights not yet divided."""
    case = CASES[name]
    torch.manual_seed(seed)
    theirs = case.make().eval()
    with torch.no_grad():
        for parameter_name, parameter in theirs.named_parameters():
            if parameter_name != "multiple_choice_head.summary.bias":
                parameter += 0.2 * torch.randn_like(parameter)
    inputs = _batch(case, np.random.default_rng(seed))
    found = (_double if case.model.family == "gpt1" else forward)(case, theirs, inputs)
    named = {f"parameter.{path}": array for path, array in _parameters(case, theirs).items()}
    named |= {f"batch.{path}": array for path, array in inputs.items()}
    return {path: np.ascontiguousarray(array) for path, array in (named | found).items()}


def _batch(case: Case, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """As research.data.finetuning.dataset makes them: a GPT's sequences end in its last mark."""
    V, S, L = case.model.vocabulary, case.sequences, case.model.context
    lengths = rng.integers(5, L + 1, (ROWS, S)).astype(np.int32)
    real = np.arange(L) < lengths[..., None]
    tokens = np.where(real, rng.integers(1, V, (ROWS, S, L)), 0).astype(np.int32)
    labels, weights = rng.integers(0, max(case.model.outputs, S), ROWS), np.ones(ROWS, np.float32)
    batch = {"lengths": lengths, "labels": labels.astype(np.int32), "label_weights": weights}
    if case.model.family == "gpt1":
        np.put_along_axis(tokens, lengths[..., None] - 1, V + 2, axis=2)
        before_last = np.arange(L) < lengths[..., None] - 1
        # Transformers weighs every token alike, the paper every sequence.
        return batch | {"tokens": tokens, "auxiliary_weights": before_last.astype(np.float32)}
    if case.kind == "regression":
        batch["labels"] = rng.random(ROWS, np.float32)
    if case.kind == "spans":
        batch["labels"] = np.sort(rng.integers(0, 5, (ROWS, 2)).astype(np.int32), axis=1)
    if case.kind == "tags":
        batch["labels"] = rng.integers(0, LABELS, (ROWS, L)).astype(np.int32)
        batch["label_weights"] = (real[:, 0] & (rng.random((ROWS, L)) < 0.6)).astype(np.float32)
    segments = (real & (np.arange(L) >= lengths[..., None] // 2)).astype(np.int32)
    return batch | {"tokens": tokens, "segments": segments}


@torch.no_grad()
def forward(case: Case, theirs: torch.nn.Module, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A BERT: sequences (rows, L), of choices (rows, S, L)."""

    def rows(array: np.ndarray) -> torch.Tensor:
        return _long(array if case.kind == "choice" else array[:, 0])

    L, labels = case.model.context, batch["labels"]
    inputs = {
        "input_ids": rows(batch["tokens"]),
        "token_type_ids": rows(batch["segments"]),
        "attention_mask": rows(np.arange(L) < batch["lengths"][..., None]),
    }
    if case.kind == "spans":
        given = theirs(**inputs, start_positions=_long(labels[:, 0]), end_positions=_long(labels[:, 1]))
        logits = torch.stack([given.start_logits, given.end_logits], -1)
    else:
        asked = np.where(batch["label_weights"] > 0, labels, -100) if case.kind == "tags" else labels
        of_scores = case.kind == "regression"
        given = theirs(**inputs, labels=torch.from_numpy(asked) if of_scores else _long(asked))
        logits = given.logits
    return {"logits": logits.numpy(), "loss": given.loss.numpy()}


@torch.no_grad()
def _double(case: Case, theirs: torch.nn.Module, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    real = np.arange(case.model.context) < batch["lengths"][..., None]
    given = theirs(
        input_ids=_long(batch["tokens"]),
        mc_token_ids=_long(batch["lengths"] - 1),
        labels=_long(np.where(real, batch["tokens"], -100)),
        mc_labels=_long(batch["labels"]),
    )
    return {
        "logits": given.mc_logits.numpy(),
        "loss": given.mc_loss.numpy(),
        "auxiliary_loss": given.loss.numpy(),
    }


def _parameters(case: Case, theirs: torch.nn.Module) -> dict[str, np.ndarray]:
    """Theirs by our names; a GPT's last rows of tokens are its marks."""
    tensors = {name: tensor.numpy() for name, tensor in theirs.state_dict().items()}
    ours = {"task_head/kernel": tensors[f"{case.head}.weight"].T}
    tensors = {name.removeprefix("bert.").removeprefix("transformer."): x for name, x in tensors.items()}
    if case.model.family == "bert":
        ours["task_head/bias"] = tensors[f"{case.head}.bias"]
    else:
        table, V = tensors["tokens_embed.weight"], case.model.vocabulary
        ours["special_embeddings"], tensors["tokens_embed.weight"] = table[V:], table[:V]
    return to_ours(HUGGING_FACE[case.model.family], tensors, case.model, Path()) | ours


def _long(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(x).astype(np.int64))


if __name__ == "__main__":
    main()
