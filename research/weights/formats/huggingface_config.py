"""Hugging Face's config.json to our `Model` and back."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_type_hints

from tokenizers import Tokenizer

from research.config import Model
from research.config.values import convert
from research.errors import UsageError, did_you_mean
from research.weights.formats.huggingface_head import (
    BERT_HEADS,
    GPT1_HEADS,
    GPT2_HEADS,
    Head,
    NoClass,
    outputs_of,
    read_head,
)
from research.weights.layout import TaskHead
from research.weights.tokenizer_files import roles


class Dialect(NamedTuple):
    """The configuration of one of Transformers' models."""

    model_type: str
    architecture: str  # the class that holds all our parameters
    headless: str  # the class without the output heads
    prefix: str  # of the names of parameters inside it
    norm: Literal["pre", "post"]
    fields: dict[str, str]  # ours → theirs
    dropouts: tuple[str, ...]  # besides the one among the fields
    activations: dict[str, str]  # theirs → ours; exported as the first of several
    activation: str  # the key
    inner: str | None  # the key of the MLP's width, if any
    fixed: dict[str, Any]  # keys with one supported value
    defaults: dict[str, Any]  # Transformers' defaults, for keys that a file may omit
    heads: dict[str, Head]  # classes for tasks, by our objective
    inputs: tuple[str, ...] = ("input_ids", "attention_mask")  # that the tokenizer passes to the model


_GPT_FIELDS = {
    "vocabulary": "vocab_size",
    "context": "n_positions",
    "width": "n_embd",
    "depth": "n_layer",
    "heads": "n_head",
    "norm_epsilon": "layer_norm_epsilon",
    "dropout": "resid_pdrop",
    "tied": "tie_word_embeddings",
}
_GPT_DEFAULTS = {"layer_norm_epsilon": 1e-5, "resid_pdrop": 0.1, "tie_word_embeddings": True}
_TANH = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu_fast": "gelu_tanh"}
_ERF = {"gelu": "gelu_erf", "gelu_python": "gelu_erf"}

DIALECTS = {
    "gpt1": Dialect(
        model_type="openai-gpt",
        architecture="OpenAIGPTLMHeadModel",
        headless="OpenAIGPTModel",
        prefix="transformer.",
        norm="post",
        fields=_GPT_FIELDS,
        dropouts=("embd_pdrop", "attn_pdrop"),
        activations={"gelu": "gelu_tanh"},  # their name for it; erf has none
        activation="afn",
        inner=None,
        fixed={},
        defaults=_GPT_DEFAULTS | {"afn": "gelu"},
        heads=GPT1_HEADS,
    ),
    "gpt2": Dialect(
        model_type="gpt2",
        architecture="GPT2LMHeadModel",
        headless="GPT2Model",
        prefix="transformer.",
        norm="pre",
        fields=_GPT_FIELDS,
        dropouts=("embd_pdrop", "attn_pdrop"),
        activations=_TANH | _ERF,
        activation="activation_function",
        inner="n_inner",
        fixed={
            "scale_attn_weights": True,
            "scale_attn_by_inverse_layer_idx": False,
            "add_cross_attention": False,
        },
        defaults=_GPT_DEFAULTS | {"activation_function": "gelu_new"},
        heads=GPT2_HEADS,
    ),
    "bert": Dialect(
        model_type="bert",
        architecture="BertForPreTraining",
        headless="BertModel",
        prefix="bert.",
        norm="post",
        fields={
            "vocabulary": "vocab_size",
            "context": "max_position_embeddings",
            "width": "hidden_size",
            "depth": "num_hidden_layers",
            "heads": "num_attention_heads",
            "norm_epsilon": "layer_norm_eps",
            "dropout": "hidden_dropout_prob",
        },
        dropouts=("attention_probs_dropout_prob",),
        activations=_ERF | _TANH,
        activation="hidden_act",
        inner="intermediate_size",
        fixed={
            "type_vocab_size": 2,
            "position_embedding_type": "absolute",
            "is_decoder": False,
            "tie_word_embeddings": True,
        },
        defaults={"layer_norm_eps": 1e-12, "hidden_dropout_prob": 0.1, "hidden_act": "gelu"},
        heads=BERT_HEADS,
        inputs=("input_ids", "token_type_ids", "attention_mask"),
    ),
}


FAMILIES = {dialect.model_type: family for family, dialect in DIALECTS.items()}


def to_model(config: Mapping[str, Any], source: Path) -> Model:
    """The model of a configuration. Raises UsageError for an unsupported kind of model or variant.

    Of Transformers' three dropout rates it uses that of the residual branches.
    """
    kind = config.get("model_type")
    if kind not in FAMILIES:
        raise UsageError(f"{source}: model_type={kind}: not known{did_you_mean(str(kind), FAMILIES)}")
    dialect = DIALECTS[FAMILIES[kind]]
    config = {**dialect.defaults, **config}
    for key, value in dialect.fixed.items():
        if key in config and config[key] != value:
            raise UsageError(f"{source}: {key}={config[key]}: only {value} is supported")
    hints, values = get_type_hints(Model), {}
    for field, key in dialect.fields.items():
        if key not in config:
            raise UsageError(f"{source}: has no {key}")
        values[field] = convert(config[key], hints[field], f"{source}: {key}")
    if dialect.inner is not None and config.get(dialect.inner) is not None:
        hidden = convert(config[dialect.inner], int, f"{source}: {dialect.inner}")
        values["hidden"] = None if hidden == 4 * values["width"] else hidden
    activation = config[dialect.activation]
    if activation not in dialect.activations:
        raise UsageError(
            f"{source}: {dialect.activation}={activation}: not known"
            + did_you_mean(str(activation), dialect.activations)
        )
    task_head = read_head(config, dialect.heads)
    if isinstance(task_head, TaskHead):
        head = dialect.heads[task_head.objective]
        # Classes with a head have no output table, so ours is tied.
        values |= {"head": head.shape, "outputs": outputs_of(task_head), "tied": True}
        values |= head.settings(FAMILIES[kind])
    return Model(
        family=FAMILIES[kind], norm=dialect.norm, activation=dialect.activations[activation], **values
    )


def task_head_of(config: Mapping[str, Any]) -> TaskHead | str:
    """The task head of a supported configuration, or the reason why it has none."""
    return read_head(config, DIALECTS[FAMILIES[config["model_type"]]].heads)


def to_config(
    model: Model, tokenizer: Tokenizer | None, complete: bool, pads: bool = False
) -> dict[str, Any]:
    """The configuration of a model, `complete` with its heads or not; `pads` as in `tokenizer_files.roles`.

    Raises UsageError for a model that no class of Transformers computes.
    """
    dialect = DIALECTS[model.family]
    theirs = {ours: name for name, ours in reversed(dialect.activations.items())}
    _check_exportable(model, dialect, list(theirs))
    played = roles(tokenizer, pads)
    ids = {
        f"{role}_id": tokenizer.token_to_id(played[role])
        if tokenizer is not None and role in played
        else None
        for role in ("bos_token", "eos_token", "pad_token")
    }
    return (
        {"architectures": [dialect.architecture if complete else dialect.headless]}
        | {"model_type": dialect.model_type, "dtype": "float32"}
        | {key: getattr(model, field) for field, key in dialect.fields.items()}
        | dict.fromkeys(dialect.dropouts, model.dropout)
        | {dialect.activation: theirs[model.activation]}
        | ({} if dialect.inner is None else {dialect.inner: model.mlp_width})
        | dialect.fixed
        | ids
    )


def _check_exportable(model: Model, dialect: Dialect, activations: list[str]) -> None:
    """Raises NoClass for a variant that Transformers' class does not compute, with the first reason."""
    supported = {
        "block": ["transformer"],
        "norm": [dialect.norm],
        "normalization": ["layer"],
        "positions": ["learned"],
        "activation": activations,
        "qk_norm": [False],
    }
    if model.family == "bert":
        supported["left_only"] = [False]
    if "tied" not in dialect.fields:
        supported["tied"] = [True]
    if dialect.inner is None and model.mlp_width != 4 * model.width:
        supported["hidden"] = [4 * model.width]
    for field, values in supported.items():
        value = getattr(model, field)
        if value not in values:
            raise NoClass(
                f"model.{field}={value}: Transformers' {dialect.model_type} has only "
                + ", ".join(map(str, values))
            )
