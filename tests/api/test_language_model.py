"""Logits, losses, states and attention of loaded models against references."""

from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from research import load
from research.errors import UsageError
from research.models.parameters import by_path
from tests.agreement import LOGITS
from tests.mostly_slow import mostly_slow

GOLDEN = Path(__file__).parents[1] / "golden"
FAMILIES = ["gpt1", "gpt2", "bert"]


def kept(family):
    return load_file(GOLDEN / family / "batch.safetensors"), load_file(
        GOLDEN / family / "reference.safetensors"
    )


def rows(batch):
    """The batch as lists of ids of uneven lengths."""
    lengths = batch.get("lengths", [batch["tokens"].shape[1]] * len(batch["tokens"]))
    return [row[:length] for row, length in zip(batch["tokens"], lengths, strict=True)]


def close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, atol=LOGITS * abs(theirs).max())


@pytest.fixture(scope="module", params=mostly_slow(sorted(FAMILIES, key=["gpt2", "bert", "gpt1"].index), 2))
def golden(request):
    return load(GOLDEN / request.param), *kept(request.param)


def test_states_and_logits_are_those_of_transformers(golden):
    """A BERT's reference has second segments, which ids do not: there, equal to the module's own call."""
    model, batch, reference = golden
    ids = rows(batch)
    states, logits = model.hidden_states(ids), model.logits(ids)
    if model.module.bidirectional:
        inputs = model.encode(ids)
        reference = {"logits": np.asarray(model.module(*inputs)[0])}
        reference |= {f"state.{n}": np.asarray(x) for n, x in enumerate(model.module.states(*inputs))}
    assert len(states) == model.config.depth + 1
    for n, row in enumerate(ids):
        close(logits[n, : len(row)], reference["logits"][n, : len(row)])
        for layer, state in enumerate(states):
            close(state[n, : len(row)], reference[f"state.{layer}"][n, : len(row)])


def test_other_rows_and_padding_change_nothing(golden):
    model, batch, _ = golden
    long, short = rows(batch)[0], rows(batch)[1][:3]
    for ours in (model.logits, lambda ids: model.hidden_states(ids)[-1]):
        close(ours([long, short])[1, :3], ours(short)[0])
    close(model.attentions([long, short])[-1][1, :, :3, :3], model.attentions(short)[-1][0])


def test_attention_adds_up_to_one_and_sees_what_it_may(golden):
    model, batch, _ = golden
    ids = rows(batch)
    probabilities = model.attentions(ids)
    lengths = model.encode(ids).lengths_B
    B, L, H = len(ids), lengths.max(), model.config.heads
    assert [p.shape for p in probabilities] == [(B, H, L, L)] * model.config.depth
    for p_BHLL in probabilities:
        np.testing.assert_allclose(p_BHLL.sum(-1), 1, rtol=1e-5)
        if not model.module.bidirectional:
            assert (p_BHLL * ~np.tri(L, dtype=bool) == 0).all()
        for p_HLL, length in zip(p_BHLL, lengths, strict=True):
            assert (p_HLL[:, :, length:] == 0).all() and (p_HLL[:, :length, :length] > 0).any()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.filterwarnings("default")
def test_attention_is_that_of_transformers(family):
    torch = pytest.importorskip("torch", reason="needs the extra parity")
    transformers = pytest.importorskip("transformers", reason="needs the extra parity")
    model, (batch, _) = load(GOLDEN / family), kept(family)
    theirs = transformers.AutoModel.from_pretrained(GOLDEN / family, attn_implementation="eager").eval()
    ids = rows(batch)
    inputs = model.encode(ids)
    visible = np.arange(inputs.tokens_BL.shape[1]) < inputs.lengths_B[:, None]
    with torch.no_grad():
        found = theirs(
            torch.from_numpy(inputs.tokens_BL.astype(np.int64)),
            attention_mask=torch.from_numpy(visible.astype(np.int64)),
            output_attentions=True,
        ).attentions
    for p_BHLL, reference in zip(model.attentions(ids), found, strict=True):
        np.testing.assert_allclose(p_BHLL, reference.numpy(), atol=2e-6)


@pytest.mark.parametrize("family", ["gpt1", "gpt2"])
def test_loss_is_the_mean_over_targets(family):
    model, (batch, reference) = load(GOLDEN / family), kept(family)
    ids = batch["tokens"]
    log = jax.nn.log_softmax(reference["logits"][:, :-1])
    expected = -np.take_along_axis(np.asarray(log), ids[:, 1:, None], axis=2)
    assert model.loss(ids) == pytest.approx(expected.mean(), rel=1e-5)
    assert model.loss(ids[0]) == pytest.approx(expected[0].mean(), rel=1e-5)
    uneven = [ids[0], ids[1][:4]]
    parts = np.concatenate([expected[0], expected[1][:3]])
    assert model.loss(uneven) == pytest.approx(parts.mean(), rel=1e-5)


def test_parameters_are_those_on_disk(golden):
    model, _, _ = golden
    assert model.parameters.keys() == by_path(model.module).keys()
    on_disk = load_file(GOLDEN / model.config.family / "model.safetensors")
    ends = ("wte.weight", "tokens_embed.weight", "word_embeddings.weight")
    (table,) = (x for name, x in on_disk.items() if name.endswith(ends))
    np.testing.assert_array_equal(model.parameters["tokens"], table)
    assert model.config.family in repr(model)


@pytest.mark.parametrize(
    "family, ask, message",
    [
        ("bert", lambda model: model.loss([1, 2]), "loss: a BERT gives no likelihood"),
        ("bert", lambda model: model.generate("a"), "generate: a BERT does not continue"),
        ("gpt2", lambda model: model.fill_mask("a"), "fill_mask: a GPT reads"),
        ("gpt2", lambda model: model.logits("a"), "no tokenizer beside the weights"),
        ("gpt2", lambda model: model.generate("a"), "no tokenizer beside the weights"),
        ("gpt2", lambda model: model.logits([1, 53]), "id 53: expected from 0 to 52"),
        ("gpt2", lambda model: model.logits([1] * 20), "20 tokens: expected at most 19"),
        ("gpt2", lambda model: model.logits([0.5]), "ids of type float64"),
        ("gpt2", lambda model: model.logits([]), "an empty list"),
        (
            "gpt2",
            lambda model: model.logits([[1], []]),
            r"row 1, of shape \(0,\): expected",
        ),
        ("gpt2", lambda model: model.logits(None), "None: expected a text, texts or ids"),
        ("gpt2", lambda model: model.generate("a", beams=2, top_p=0.5), "top_p: not with beams"),
        ("gpt2", lambda model: model.generate("a", beams=2, temperature=0.5), "temperature: not with beams"),
        ("gpt2", lambda model: model.loss([1]), "two tokens or more"),
    ],
)
def test_refusals_are_one_line(family, ask, message):
    with pytest.raises(UsageError, match=message) as raised:
        ask(load(GOLDEN / family))
    assert "\n" not in str(raised.value)
