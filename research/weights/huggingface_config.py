"""Hugging Face's config.json to our `Model` and back."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

from tokenizers import Tokenizer

from research.config import Model
from research.config.settings import convert
from research.errors import UsageError, did_you_mean
from research.weights.layout import Answers
from research.weights.tokenizer_files import roles


class Dialect(NamedTuple):
    """How one of Transformers' models is configured."""

    model_type: str
    architecture: str  # the class that holds all our parameters
    headless: str  # the one that holds those of the states only
    prefix: str  # of the names of parameters inside it
    norm: str
    fields: dict[str, str]  # ours → theirs
    dropouts: tuple[str, ...]  # besides the one among the fields
    activations: dict[str, str]  # theirs → ours; the first of several is what we write
    activation: str  # the key
    inner: str | None  # the key of the MLP's width, where it is one's choice
    fixed: dict[str, Any]  # what we have one value for
    defaults: dict[str, Any]  # of fields that a file may leave out, as Transformers has them


_GPT_FIELDS = {
    "vocabulary": "vocab_size",
    "context": "n_positions",
    "width": "n_embd",
    "depth": "n_layer",
    "heads": "n_head",
    "norm_epsilon": "layer_norm_epsilon",
    "dropout": "resid_pdrop",
}
_GPT_DEFAULTS = {"layer_norm_epsilon": 1e-5, "resid_pdrop": 0.1}
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
        activations={"gelu": "gelu_tanh"},  # so called there; erf has no name
        activation="afn",
        inner=None,
        fixed={},
        defaults=_GPT_DEFAULTS | {"afn": "gelu"},
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
        fixed={"type_vocab_size": 2, "position_embedding_type": "absolute", "is_decoder": False},
        defaults={"layer_norm_eps": 1e-12, "hidden_dropout_prob": 0.1, "hidden_act": "gelu"},
    ),
}


class Head(NamedTuple):
    """One of Transformers' BERTs for a task."""

    architecture: str
    name: str  # of its last layer
    problem: str | None = None


HEADS = {  # by our objectives
    "classification": Head("BertForSequenceClassification", "classifier", "single_label_classification"),
    "regression": Head("BertForSequenceClassification", "classifier", "regression"),
    "choice": Head("BertForMultipleChoice", "classifier"),
    "spans": Head("BertForQuestionAnswering", "qa_outputs"),
    "tags": Head("BertForTokenClassification", "classifier"),
}
FAMILIES = {dialect.model_type: family for family, dialect in DIALECTS.items()}


def to_model(config: Mapping[str, Any], source: Path) -> Model:
    """Raises UsageError for another kind of model, or a variant that is not built here.

    Of the three dropout rates that Transformers has, ours is the residual branches'.
    """
    kind = config.get("model_type")
    if kind not in FAMILIES:
        raise UsageError(f"{source}: model_type={kind}: not known{did_you_mean(str(kind), FAMILIES)}")
    dialect = DIALECTS[FAMILIES[kind]]
    config = dialect.defaults | config
    for key, value in dialect.fixed.items():
        if key in config and config[key] != value:
            raise UsageError(f"{source}: {key}={config[key]}: only {value} is built here")
    hints, values = get_type_hints(Model), {}
    for field, key in dialect.fields.items():
        if key not in config:
            raise UsageError(f"{source}: has no {key}")
        values[field] = convert(config[key], hints[field], f"{source}: {key}")
    inner = config.get(dialect.inner)
    if inner is not None and inner != 4 * values["width"]:
        raise UsageError(
            f"{source}: {dialect.inner}={inner}: expected 4 × {dialect.fields['width']} = "
            f"{4 * values['width']}, the only MLP width built here"
        )
    activation = config[dialect.activation]
    if activation not in dialect.activations:
        raise UsageError(
            f"{source}: {dialect.activation}={activation}: not known"
            + did_you_mean(str(activation), dialect.activations)
        )
    return Model(
        family=FAMILIES[kind], norm=dialect.norm, activation=dialect.activations[activation], **values
    )


def head_config(answers: Answers) -> dict[str, Any]:
    """What a fine-tuned BERT's configuration has besides: the class, and the names of its answers."""
    head = HEADS[answers.objective]
    found = {"architectures": [head.architecture]}
    if head.problem is not None:
        found["problem_type"] = head.problem
    names = {"regression": ("score",), "classification": answers.labels, "tags": answers.labels}
    if labels := names.get(answers.objective):
        found["id2label"] = {str(index): label for index, label in enumerate(labels)}
        found["label2id"] = {label: index for index, label in enumerate(labels)}
    return found


def to_config(model: Model, tokenizer: Tokenizer | None, complete: bool) -> dict[str, Any]:
    """Of a model with or without its heads. Raises UsageError for one that Transformers has no name for."""
    dialect = DIALECTS[model.family]
    theirs = {ours: name for name, ours in reversed(dialect.activations.items())}
    for field, allowed in (("norm", [dialect.norm]), ("activation", theirs)):
        if getattr(model, field) not in allowed:
            raise UsageError(
                f"model.{field}={getattr(model, field)}: Transformers' {dialect.model_type} has only "
                + ", ".join(allowed)
            )
    played = roles(tokenizer)
    ids = {
        f"{role}_id": tokenizer.token_to_id(played[role]) if role in played else None
        for role in ("bos_token", "eos_token", "pad_token")
    }
    return (
        {"architectures": [dialect.architecture if complete else dialect.headless]}
        | {"model_type": dialect.model_type, "dtype": "float32"}
        | {key: getattr(model, field) for field, key in dialect.fields.items()}
        | dict.fromkeys(dialect.dropouts, model.dropout)
        | {dialect.activation: theirs[model.activation]}
        | ({} if dialect.inner is None else {dialect.inner: 4 * model.width})
        | dialect.fixed
        | ids
    )
