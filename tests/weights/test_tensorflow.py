"""TensorFlow checkpoints, from variables as OpenAI's and Google's code names and shapes them.

A reader of the files themselves needs TensorFlow; where it is, one test writes and reads real ones.
"""

import importlib.util
import json
import sys

import numpy as np
import pytest

from research import weights
from research.errors import EnvironmentFault, UsageError
from research.weights.formats import tensorflow

V, C, D, N = 31, 9, 12, 2
HPARAMS = {"n_vocab": V, "n_ctx": C, "n_embd": D, "n_head": 3, "n_layer": N}
BERT = {
    "attention_probs_dropout_prob": 0.1, "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "hidden_size": D,
    "initializer_range": 0.02, "intermediate_size": 4 * D, "max_position_embeddings": C,
    "num_attention_heads": 3, "num_hidden_layers": N, "type_vocab_size": 2, "vocab_size": V,
}  # fmt: skip
HAS_TENSORFLOW = importlib.util.find_spec("tensorflow") is not None


def gpt2_variables():
    """openai/gpt-2, src/model.py."""
    rng = np.random.default_rng(0)
    shapes = {"model/wpe": (C, D), "model/wte": (V, D), "model/ln_f/g": (D,), "model/ln_f/b": (D,)}
    for n in range(N):
        h = f"model/h{n}"
        shapes |= {f"{h}/ln_{i}/{leaf}": (D,) for i in (1, 2) for leaf in "gb"}
        for name, outputs, inputs in (
            ("attn/c_attn", 3 * D, D), ("attn/c_proj", D, D), ("mlp/c_fc", 4 * D, D), ("mlp/c_proj", D, 4 * D)
        ):  # fmt: skip
            shapes |= {f"{h}/{name}/w": (1, inputs, outputs), f"{h}/{name}/b": (outputs,)}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def bert_variables():
    """google-research/bert, modeling.py and run_pretraining.py; with the optimizer's variables."""
    rng = np.random.default_rng(0)
    shapes = {
        "bert/embeddings/word_embeddings": (V, D),
        "bert/embeddings/position_embeddings": (C, D),
        "bert/embeddings/token_type_embeddings": (2, D),
        "cls/predictions/output_bias": (V,),
        "cls/seq_relationship/output_weights": (2, D),
        "cls/seq_relationship/output_bias": (2,),
    }
    dense = {"bert/pooler/dense": (D, D), "cls/predictions/transform/dense": (D, D)}
    norms = ["bert/embeddings/LayerNorm", "cls/predictions/transform/LayerNorm"]
    for n in range(N):
        layer = f"bert/encoder/layer_{n}"
        dense |= {f"{layer}/attention/self/{part}": (D, D) for part in ("query", "key", "value")}
        dense |= {f"{layer}/attention/output/dense": (D, D), f"{layer}/intermediate/dense": (D, 4 * D)}
        dense |= {f"{layer}/output/dense": (4 * D, D)}
        norms += [f"{layer}/attention/output/LayerNorm", f"{layer}/output/LayerNorm"]
    for name, shape in dense.items():
        shapes |= {f"{name}/kernel": shape, f"{name}/bias": shape[1:]}
    for name in norms:
        shapes |= {f"{name}/gamma": (D,), f"{name}/beta": (D,)}
    shapes |= {f"{name}/adam_{leaf}": shape for name, shape in shapes.items() for leaf in "mv"}
    variables = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return variables | {"global_step": np.int64(7)}


def with_config(tmp_path, name, content):
    (tmp_path / name).write_text(json.dumps(content))
    return tmp_path


def test_gpt2(tmp_path):
    there = gpt2_variables()
    directory = with_config(tmp_path, "hparams.json", HPARAMS)
    found = tensorflow.from_variables(directory, "hparams.json", dict(there))
    assert (found.config.family, found.config.norm, found.config.dropout) == ("gpt2", "pre", 0.0)
    assert not found.unused
    ours = found.arrays
    np.testing.assert_array_equal(ours["tokens"], there["model/wte"])
    np.testing.assert_array_equal(ours["positions"], there["model/wpe"])
    np.testing.assert_array_equal(ours["norm/scale"], there["model/ln_f/g"])
    for n in range(N):
        h = f"model/h{n}"
        w = there[f"{h}/attn/c_attn/w"]
        for part in range(3):  # tf.split(c, 3, axis=2)
            np.testing.assert_array_equal(
                ours["blocks/attention/qkv/kernel"][n][:, part], w[0, :, part * D : (part + 1) * D]
            )
        np.testing.assert_array_equal(
            ours["blocks/attention/qkv/bias"][n].ravel(), there[f"{h}/attn/c_attn/b"]
        )
        np.testing.assert_array_equal(ours["blocks/mlp/output/kernel"][n], there[f"{h}/mlp/c_proj/w"][0])
        np.testing.assert_array_equal(ours["blocks/attention_norm/bias"][n], there[f"{h}/ln_1/b"])
        np.testing.assert_array_equal(ours["blocks/mlp_norm/scale"][n], there[f"{h}/ln_2/g"])


def test_bert(tmp_path):
    there = bert_variables()
    directory = with_config(tmp_path, "bert_config.json", BERT)
    found = tensorflow.from_variables(directory, "bert_config.json", dict(there))
    assert (found.config.activation, found.config.norm_epsilon) == ("gelu_tanh", 1e-12)
    assert not found.unused
    ours = found.arrays
    np.testing.assert_array_equal(ours["segments"], there["bert/embeddings/token_type_embeddings"])
    np.testing.assert_array_equal(ours["norm/scale"], there["bert/embeddings/LayerNorm/gamma"])
    np.testing.assert_array_equal(ours["pooler/kernel"], there["bert/pooler/dense/kernel"])
    np.testing.assert_array_equal(ours["masked/bias"], there["cls/predictions/output_bias"])
    np.testing.assert_array_equal(ours["masked/norm/bias"], there["cls/predictions/transform/LayerNorm/beta"])
    # tf.matmul(input_tensor, output_weights, transpose_b=True)
    np.testing.assert_array_equal(
        ours["next_sentence/kernel"], there["cls/seq_relationship/output_weights"].T
    )
    for n in range(N):
        layer = f"bert/encoder/layer_{n}"
        for i, part in enumerate(("query", "key", "value")):
            dense = f"{layer}/attention/self/{part}"
            np.testing.assert_array_equal(
                ours["blocks/attention/qkv/kernel"][n][:, i], there[f"{dense}/kernel"]
            )
            np.testing.assert_array_equal(ours["blocks/attention/qkv/bias"][n][i], there[f"{dense}/bias"])
        np.testing.assert_array_equal(
            ours["blocks/mlp/expand/kernel"][n], there[f"{layer}/intermediate/dense/kernel"]
        )
        np.testing.assert_array_equal(
            ours["blocks/attention_norm/scale"][n], there[f"{layer}/attention/output/LayerNorm/gamma"]
        )
        np.testing.assert_array_equal(
            ours["blocks/mlp_norm/bias"][n], there[f"{layer}/output/LayerNorm/beta"]
        )


def test_a_variable_that_does_not_fit(tmp_path):
    directory = with_config(tmp_path, "hparams.json", HPARAMS | {"n_layer": 3})
    with pytest.raises(UsageError, match="has no h2/attn/c_attn/w, which blocks/attention/qkv/kernel"):
        tensorflow.from_variables(directory, "hparams.json", gpt2_variables())


def test_without_tensorflow_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(EnvironmentFault, match=r"pip install 'lineage-lm\[tf\]'"):
        weights.load(with_config(tmp_path, "bert_config.json", BERT))


@pytest.mark.skipif(not HAS_TENSORFLOW, reason="needs the extra tf")
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("kind", ["gpt2", "bert"])
def test_real_files(kind, tmp_path):
    import tensorflow as tf

    there = gpt2_variables() if kind == "gpt2" else bert_variables()
    if kind == "gpt2":
        with_config(tmp_path, "hparams.json", HPARAMS)
    else:
        with_config(tmp_path, "bert_config.json", BERT)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for name, value in there.items():
            tf.compat.v1.get_variable(name, initializer=tf.constant(value))
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver().save(session, str(tmp_path / "model.ckpt"))
    loaded = weights.load(tmp_path)
    assert not loaded.report.missing and not loaded.report.unused
    tokens = "model/wte" if kind == "gpt2" else "bert/embeddings/word_embeddings"
    np.testing.assert_array_equal(loaded.model.tokens[...], there[tokens])
    data = next(tmp_path.glob("*.data-*"))
    data.write_bytes(data.read_bytes()[: data.stat().st_size // 2])
    with pytest.raises(UsageError, match="cut off or damaged"):
        weights.load(tmp_path)
