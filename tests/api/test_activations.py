"""Activations read from and edited in loaded models, beside hooks of Transformers."""

import pickle
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer, models, pre_tokenizers

from research import load, observed
from research.api.language_model import LanguageModel
from research.config import Model
from research.errors import UsageError
from research.weights import Report
from tests.agreement import LOGITS
from tests.drawn import drawn
from tests.mostly_slow import mostly_slow

pytestmark = pytest.mark.usefixtures("compiled_in_haste")

GOLDEN = Path(__file__).parents[1] / "golden"
# By site: Transformers' module in a block, and whether the array is its input.
HOOKS = {
    "gpt2": {
        "attention/heads": ("attn.c_proj", True),
        "attention/output": ("attn.c_proj", False),
        "attention/input": ("ln_1", False),
        "mlp/input": ("ln_2", False),
        "middle": ("ln_2", True),
        "mlp/hidden": ("mlp.c_fc", False),
        "mlp/features": ("mlp.c_proj", True),
        "mlp/output": ("mlp.c_proj", False),
        "output": ("", False),
    },
    "bert": {
        "attention/heads": ("attention.output.dense", True),
        "attention/output": ("attention.output.dense", False),
        "middle": ("attention.output.LayerNorm", False),
        "mlp/hidden": ("intermediate.dense", False),
        "mlp/features": ("output.dense", True),
        "mlp/output": ("output.dense", False),
        "output": ("", False),
    },
}
HOOKS["gpt1"] = HOOKS["gpt2"] | {
    "middle": ("ln_1", False),
    "attention/input": ("attn.c_attn", True),
    "mlp/input": ("mlp.c_fc", True),
}


def of_gpt2(depth: int = 2) -> LanguageModel:
    config = Model(family="gpt2", vocabulary=11, context=16, width=8, depth=depth, heads=2)
    tokenizer = Tokenizer(models.WordLevel({f"t{n}": n for n in range(11)}, unk_token="t0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return LanguageModel(drawn(config), config, tokenizer, Report({}, {}, {}))


def close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, atol=LOGITS * abs(theirs).max())


@pytest.mark.parametrize("family", mostly_slow(["gpt2", "bert", "gpt1"]))
@pytest.mark.filterwarnings("default")
def test_activations_and_ablations_are_those_of_transformers(family):
    torch = pytest.importorskip("torch", reason="needs the extra parity")
    transformers = pytest.importorskip("transformers", reason="needs the extra parity")
    model = load(GOLDEN / family)
    kind = transformers.AutoModelForMaskedLM if family == "bert" else transformers.AutoModelForCausalLM
    theirs = kind.from_pretrained(GOLDEN / family, attn_implementation="eager").eval()
    blocks = theirs.bert.encoder.layer if family == "bert" else theirs.transformer.h
    ids = load_file(GOLDEN / family / "batch.safetensors")["tokens"][:, :7]
    run = lambda: theirs(torch.from_numpy(ids.astype(np.int64)))  # noqa: E731
    expected, hooks = {}, []

    def keep(name, before):
        def hook(module, inputs, output):
            found = inputs[0] if before else output
            expected[name] = (found[0] if isinstance(found, tuple | list) else found).detach().numpy()

        return hook

    for n, block in enumerate(blocks):
        for name, (path, before) in HOOKS[family].items():
            hook = keep(f"blocks/{n}/{name}", before)
            hooks.append(block.get_submodule(path).register_forward_hook(hook))
    with torch.no_grad():
        run()
    found = model.activations(ids, *(f"blocks/*/{name}" for name in HOOKS[family]))
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        close(found[name].reshape(array.shape), array)

    for hook in hooks:
        hook.remove()
    size = model.config.width // model.config.heads

    def silence(module, inputs):
        inputs[0][..., size : 2 * size] = 0  # the second head

    path, _ = HOOKS[family]["attention/heads"]
    blocks[1].get_submodule(path).register_forward_pre_hook(silence)
    with torch.no_grad():
        logits = run().logits.numpy()
    silent = model.edited({"blocks/1/attention/heads": lambda x: x.at[:, :, 1].set(0)})
    close(silent.logits(ids), logits)
    assert abs(model.logits(ids) - logits).max() > 100 * LOGITS * abs(logits).max()


def test_activations_come_in_the_order_of_the_forward_pass_and_without_padding():
    """Twelve blocks: in alphabetical order 10 would come before 2."""
    model = of_gpt2(12)
    found = model.activations([[1, 2, 3], [4, 5, 6]], "blocks/*/attention/scores")
    assert list(found) == [f"blocks/{n}/attention/scores" for n in range(12)]
    assert {x.shape for x in found.values()} == {(2, 2, 3, 3)}
    assert model.sites[0] == "embeddings" and model.sites[-1] == "final"
    assert list(model.activations([1, 2, 3])) == model.sites
    for n, p_BHLL in enumerate(model.attentions([[1, 2, 3], [4, 5, 6]])):
        scores = found[f"blocks/{n}/attention/scores"]
        powers = np.exp(scores - scores.max(-1, keepdims=True))
        np.testing.assert_allclose(p_BHLL, powers / powers.sum(-1, keepdims=True), rtol=1e-5)


def test_an_edited_model_is_edited_in_all_that_it_does():
    model = of_gpt2()
    edited = model.edited({"blocks/*/mlp/output": jnp.zeros_like})
    kernel, bias = ("blocks/mlp/output/kernel", "blocks/mlp/output/bias")
    same = model.with_parameters({path: 0 * model.parameters[path] for path in (kernel, bias)})
    ids = [1, 2, 3, 4, 5]
    close(edited.logits(ids), same.logits(ids))
    close(edited.hidden_states(ids)[1], same.hidden_states(ids)[1])
    close(edited.attentions(ids)[1], same.attentions(ids)[1])
    assert edited.loss(ids) == pytest.approx(same.loss(ids), rel=1e-5) != model.loss(ids)
    more = edited.edited({"final": lambda x: 2 * x})
    close(more.activations(ids, "final")["final"], 2 * edited.activations(ids, "final")["final"])
    array = pickle.loads(pickle.dumps(model.edited({"final": np.ones((1, 1, 8))})))
    close(array.activations(ids, "final")["final"], np.ones((1, 5, 8)))
    assert repr(more) == repr(model)[:-1] + ", blocks/*/mlp/output edited, final edited)"
    assert model.module.edits == ()


def test_edits_may_depend_on_positions():
    """Arrays of the rows' own length, for patching: all states of other texts, or of one position."""
    model = of_gpt2()
    clean, corrupted = [[1, 2, 3], [4, 5, 6]], [[1, 7, 3], [8, 5, 6]]
    states = model.activations(clean, "blocks/0/output")
    patched = model.edited(states)
    close(patched.logits(corrupted), model.logits(clean))
    assert patched.sites == model.sites
    close(patched.edited({"final": lambda x: 2 * x}).logits(corrupted), 2 * model.logits(clean))
    there = model.activations(clean, "embeddings")["embeddings"][:, 1]
    patched = model.edited({"embeddings": lambda x: x.at[:, 1].set(there)}).logits(corrupted)
    close(patched[0], model.logits(clean)[0])  # only this token was another
    assert abs(patched[1] - model.logits(clean)[1]).max() > 1e-2


def test_the_loss_of_an_edited_model_is_that_of_its_logits():
    """Also with edits that depend on positions, rows and lengths, and under `observed`."""
    model, name = of_gpt2(), "blocks/0/output"
    rows = [[1, 2, 3, 4, 5], [6, 7, 8]]
    states = model.activations([[5, 4, 3, 2, 1], [8, 7, 6]], name)[name]
    for edit in (states, lambda x: x.at[1, -4].set(1.0).at[0, 2].multiply(-1)):
        edited = model.edited({name: edit})
        total = 0.0
        for row, logits in zip(rows, edited.logits(rows), strict=True):
            log = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
            total -= sum(log[n, token] for n, token in enumerate(row[1:]))
        assert (
            edited.loss(rows)
            == pytest.approx(total / 6, rel=1e-5)
            != pytest.approx(model.loss(rows), rel=1e-3)
        )
        found, sites = observed(model.loss, ["final"], {name: edit})(rows)
        assert found == edited.loss(rows) and sites["final"].shape == (2, 5, 8)
        close(observed(model.logits, [], {name: edit})(rows)[0], edited.logits(rows))
    long = list(range(10)) * 2
    assert model.loss(long) > 0
    with pytest.raises(UsageError, match=r"^20 tokens: expected at most 16, the context"):
        model.edited({name: jnp.negative}).loss(long)


def test_edits_hold_in_generation():
    """The greedy text is that of the edited model's own logits."""
    model = of_gpt2()
    direction = jnp.asarray(np.random.default_rng(0).normal(size=8))
    edited = model.edited({"blocks/0/output": lambda x: x + 3 * direction})
    ids = [1, 2, 3]
    for _ in range(6):
        ids.append(int(edited.logits(ids)[0, -1].argmax()))
    continued = [f"t{n}" for n in ids[3:]]
    assert edited.generate("t1 t2 t3", tokens=6, temperature=0).split() == continued
    assert model.generate("t1 t2 t3", tokens=6, temperature=0).split() != continued


def test_edits_cannot_be_saved(tmp_path):
    model = of_gpt2().edited({"final": jnp.negative})
    with pytest.raises(UsageError, match="save: the edits of final are no parameters"):
        model.save(tmp_path / "edited")
    assert not (tmp_path / "edited").exists()
    with pytest.raises(UsageError, match=r"^17 tokens: expected at most 16, the context"):
        model.activations(list(range(11)) + list(range(6)))
