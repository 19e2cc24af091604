"""Transformers' three models on a batch: logits, all states, losses and all gradients, as NumPy arrays.

`tests/golden/make.py` writes them to files, `tests/models/test_parity.py` compares with them live.
"""

import numpy as np
import torch
import transformers

torch.set_num_threads(1)  # small matrices: more threads only wait for each other

CLASSES = {
    "gpt1": (transformers.OpenAIGPTConfig, transformers.OpenAIGPTLMHeadModel),
    "gpt2": (transformers.GPT2Config, transformers.GPT2LMHeadModel),
    "bert": (transformers.BertConfig, transformers.BertForPreTraining),
}
NO_DROPOUT = {
    "gpt1": dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0),
    "gpt2": dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    | {"bos_token_id": 0, "eos_token_id": 0},
    "bert": dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), 0.0),
}
IGNORED = -100  # Transformers' label of what has no loss


def make(family: str, seed: int, **sizes) -> torch.nn.Module:
    """A model whose every parameter is random: at their initial values, biases would tell nothing."""
    config_class, model_class = CLASSES[family]
    torch.manual_seed(seed)
    model = model_class(config_class(**NO_DROPOUT[family] | sizes, attn_implementation="eager")).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model


def batch(family: str, seed: int, vocabulary: int, rows: int, length: int, padded: bool = True) -> dict:
    """A batch for `next_token`, with uneven weights; where padded, rows of uneven lengths.

    A GPT's last position has no loss: Transformers shifts labels inside.
    """
    rng = np.random.default_rng(seed)
    tokens = rng.integers(1, vocabulary, (rows, length + 1), np.int32)
    if family != "bert":
        weights = (rng.random((rows, length)) < 0.7).astype(np.float32)
        weights[:, -1] = 0
        return {"tokens": tokens[:, :-1].copy(), "targets": tokens[:, 1:].copy(), "weights": weights}
    tokens = tokens[:, 1:].copy()
    lengths = (
        rng.integers(length // 2, length + 1, rows, np.int32) if padded else np.full(rows, length, np.int32)
    )
    tokens[np.arange(length) >= lengths[:, None]] = 0
    masked = length // 4
    return {
        "tokens": tokens,
        "segments": (np.arange(length) >= lengths[:, None] // 2).astype(np.int32),
        "lengths": lengths,
        "positions": np.stack([rng.permutation(n)[:masked] for n in lengths]).astype(np.int32),
        "targets": rng.integers(1, vocabulary, (rows, masked), np.int32),
        "weights": (rng.random((rows, masked)) < 0.7).astype(np.float32),
        "next_targets": rng.integers(0, 2, rows, np.int32),
        "next_weights": np.ones(rows, np.float32),
    }


def forward(family: str, model: torch.nn.Module, batch: dict):
    """Transformers' output for our batch, its loss the mean over targets of weight one."""
    if family != "bert":
        labels = np.full_like(batch["tokens"], IGNORED)
        labels[:, 1:] = np.where(batch["weights"] > 0, batch["targets"], IGNORED)[:, :-1]
        return model(_long(batch["tokens"]), labels=_long(labels), output_hidden_states=True)
    labels = np.full_like(batch["tokens"], IGNORED)
    targets = np.where(batch["weights"] > 0, batch["targets"], IGNORED)
    np.put_along_axis(labels, batch["positions"], targets, axis=1)
    return model(
        _long(batch["tokens"]),
        attention_mask=_long(np.arange(labels.shape[1]) < batch["lengths"][:, None]),
        token_type_ids=_long(batch["segments"]),
        labels=_long(labels),
        next_sentence_label=_long(batch["next_targets"]),
        output_hidden_states=True,
    )


def reference(family: str, model: torch.nn.Module, batch: dict) -> dict[str, np.ndarray]:
    """Everything that is compared, by name; `gradient.NAME` as Transformers names parameters."""
    model.zero_grad()
    output = forward(family, model, batch)
    output.loss.backward()
    if family == "bert":
        logits = {"logits": output.prediction_logits, "next": output.seq_relationship_logits}
    else:
        logits = {"logits": output.logits}
    states = {f"state.{n}": state for n, state in enumerate(output.hidden_states)}
    gradients = {f"gradient.{name}": p.grad for name, p in model.named_parameters()}
    return {
        name: value.detach().numpy().copy(order="C")
        for name, value in (logits | states | gradients | {"loss": output.loss}).items()
    }


def _long(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(x.astype(np.int64))
