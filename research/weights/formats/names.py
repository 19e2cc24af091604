"""The tables of names: Hugging Face's and OpenAI's GPTs, BERT, nanoGPT's and llm.c's GPT-2.

Names are without the prefix of the outer model (`transformer.`, `bert.`, `model/`, `bert/`).
"""

from typing import NamedTuple

from research.weights.layout import (
    APART,
    APART_TRANSPOSED,
    CONVOLUTION,
    CONVOLUTION_THIRDS,
    SAME,
    THIRDS,
    TRANSPOSED,
    TRANSPOSED_THIRDS,
    Layout,
    Row,
    Table,
)

# Our path, the kind of module, their name below the block. In the order in which OpenAI's code creates them:
# its release of GPT-1 has this order but no names.
GPT_BLOCK = (
    ("attention/qkv", "qkv", "attn/c_attn"),
    ("attention/output", "linear", "attn/c_proj"),
    ("attention_norm", "norm", "ln_1"),
    ("mlp/expand", "linear", "mlp/c_fc"),
    ("mlp/output", "linear", "mlp/c_proj"),
    ("mlp_norm", "norm", "ln_2"),
)
BERT_BLOCK = (
    ("attention/qkv", "qkv", "attention/self/{part}"),
    ("attention/output", "linear", "attention/output/dense"),
    ("attention_norm", "norm", "attention/output/LayerNorm"),
    ("mlp/expand", "linear", "intermediate/dense"),
    ("mlp/output", "linear", "output/dense"),
    ("mlp_norm", "norm", "output/LayerNorm"),
)
GPT2_NORM = (("norm", "norm", "ln_f"),)
BERT_AROUND = (
    ("norm", "norm", "embeddings/LayerNorm"),
    ("pooler", "linear", "pooler/dense"),
    ("masked/transform", "linear", "cls/predictions/transform/dense"),
    ("masked/norm", "norm", "cls/predictions/transform/LayerNorm"),
)


class Style(NamedTuple):
    """A codebase's names of blocks and parameters, and its separator."""

    block: str
    separator: str
    leaves: dict[str, tuple[tuple[str, str, Layout], ...]]


OPENAI = Style(
    "h{n}",
    "/",
    {
        "linear": (("kernel", "w", CONVOLUTION), ("bias", "b", SAME)),
        "qkv": (("kernel", "w", CONVOLUTION_THIRDS), ("bias", "b", THIRDS)),
        "norm": (("scale", "g", SAME), ("bias", "b", SAME)),
    },
)
GOOGLE = Style(
    "encoder/layer_{n}",
    "/",
    {
        "linear": (("kernel", "kernel", SAME), ("bias", "bias", SAME)),
        "qkv": (("kernel", "kernel", APART), ("bias", "bias", APART)),
        "norm": (("scale", "gamma", SAME), ("bias", "beta", SAME)),
    },
)
TORCH_GPT = Style(
    "h.{n}",
    ".",
    {
        "linear": (("kernel", "weight", SAME), ("bias", "bias", SAME)),
        "qkv": (("kernel", "weight", THIRDS), ("bias", "bias", THIRDS)),
        "norm": (("scale", "weight", SAME), ("bias", "bias", SAME)),
    },
)
TORCH_LINEAR_GPT = TORCH_GPT._replace(
    leaves=TORCH_GPT.leaves
    | {
        "linear": (("kernel", "weight", TRANSPOSED), ("bias", "bias", SAME)),
        "qkv": (("kernel", "weight", TRANSPOSED_THIRDS), ("bias", "bias", THIRDS)),
    }
)
TORCH_BERT = Style(
    "encoder.layer.{n}",
    ".",
    {
        "linear": (("kernel", "weight", TRANSPOSED), ("bias", "bias", SAME)),
        "qkv": (("kernel", "weight", APART_TRANSPOSED), ("bias", "bias", APART)),
        "norm": (("scale", "weight", SAME), ("bias", "bias", SAME)),
    },
)


def _modules(style: Style, modules) -> tuple[Row, ...]:
    return tuple(
        Row(f"{path}/{leaf}", f"{name}/{their_leaf}".replace("/", style.separator), layout)
        for path, kind, name in modules
        for leaf, their_leaf, layout in style.leaves[kind]
    )


def _blocks(style: Style, modules) -> tuple[Row, ...]:
    return tuple(
        Row(f"blocks/{row.path}", style.block + style.separator + row.name, row.layout)
        for row in _modules(style, modules)
    )


def _arrays(*rows: tuple[str, str] | tuple[str, str, Layout]) -> tuple[Row, ...]:
    return tuple(Row(path, name, *(layout or (SAME,))) for path, name, *layout in rows)


OPENAI_BLOCK: Table = _blocks(OPENAI, GPT_BLOCK)

OPENAI_GPT1: Table = (*_arrays(("positions", "positions"), ("tokens", "tokens")), *OPENAI_BLOCK)

OPENAI_GPT2: Table = (
    *_arrays(("tokens", "wte"), ("positions", "wpe")),
    *OPENAI_BLOCK,
    *_modules(OPENAI, GPT2_NORM),
)

NANOGPT: Table = (
    *_arrays(("tokens", "wte.weight"), ("positions", "wpe.weight")),
    *_blocks(TORCH_LINEAR_GPT, GPT_BLOCK),
    *_modules(TORCH_LINEAR_GPT, GPT2_NORM),
)

# In the order of llm.c's files, which have no names: those of Transformers, by block.
LLMC_ORDER = ("attention_norm", "attention/qkv", "attention/output", "mlp_norm", "mlp/expand", "mlp/output")
LLMC: Table = (
    *_arrays(("tokens", "wte"), ("positions", "wpe")),
    *_blocks(TORCH_LINEAR_GPT, sorted(GPT_BLOCK, key=lambda row: LLMC_ORDER.index(row[0]))),
    *_modules(TORCH_LINEAR_GPT, GPT2_NORM),
)

GOOGLE_BERT: Table = (
    *_arrays(
        ("tokens", "embeddings/word_embeddings"),
        ("positions", "embeddings/position_embeddings"),
        ("segments", "embeddings/token_type_embeddings"),
        ("masked/bias", "cls/predictions/output_bias"),
        ("next_sentence/kernel", "cls/seq_relationship/output_weights", TRANSPOSED),
        ("next_sentence/bias", "cls/seq_relationship/output_bias"),
    ),
    *_modules(GOOGLE, BERT_AROUND),
    *_blocks(GOOGLE, BERT_BLOCK),
)

HUGGING_FACE: dict[str, Table] = {
    "gpt1": (
        *_arrays(
            ("tokens", "tokens_embed.weight"),
            ("positions", "positions_embed.weight"),
            ("output", "lm_head.weight"),
        ),
        *_blocks(TORCH_GPT, GPT_BLOCK),
    ),
    "gpt2": (
        *_arrays(("tokens", "wte.weight"), ("positions", "wpe.weight"), ("output", "lm_head.weight")),
        *_blocks(TORCH_GPT, GPT_BLOCK),
        *_modules(TORCH_GPT, GPT2_NORM),
    ),
    "bert": (
        *_arrays(
            ("tokens", "embeddings.word_embeddings.weight"),
            ("positions", "embeddings.position_embeddings.weight"),
            ("segments", "embeddings.token_type_embeddings.weight"),
            ("masked/bias", "cls.predictions.bias"),
            ("next_sentence/kernel", "cls.seq_relationship.weight", TRANSPOSED),
            ("next_sentence/bias", "cls.seq_relationship.bias"),
        ),
        *_modules(TORCH_BERT, BERT_AROUND),
        *_blocks(TORCH_BERT, BERT_BLOCK),
    ),
}
