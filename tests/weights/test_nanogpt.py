"""nanoGPT's checkpoints give Transformers' logits for the same parameters."""

import numpy as np
import pytest

from launch.__main__ import run
from research import weights
from research.errors import UsageError

torch = pytest.importorskip("torch", reason="needs the extra parity")
transformers = pytest.importorskip("transformers", reason="needs the extra parity")

SIZES = {"n_layer": 3, "n_head": 4, "n_embd": 48, "vocab_size": 61}
LINEAR = ("c_attn.weight", "c_proj.weight", "c_fc.weight")  # which Transformers keeps as (in, out)


@pytest.fixture
def theirs():
    """Transformers' model, with nanoGPT's activation."""
    config = transformers.GPT2Config(**SIZES, n_positions=32, activation_function="gelu")
    model = transformers.GPT2LMHeadModel(config).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def checkpoint(gpt, folder, bias: bool, prefix: str = "", **changes):
    """As train.py saves it; without `bias`, no name that ends in .bias."""
    state = {
        prefix + name: tensor.T.contiguous() if name.endswith(LINEAR) else tensor
        for name, tensor in gpt.state_dict().items()
        if bias or not name.endswith(".bias")
    }
    arguments = SIZES | {"block_size": 32, "bias": bias, "dropout": 0.2}
    folder.mkdir(exist_ok=True)
    found = {"model": state, "model_args": arguments, "iter_num": 9, "best_val_loss": torch.tensor(2.0)}
    torch.save(found | changes, folder / "ckpt.pt")
    return folder


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("prefix", ["", "_orig_mod."])
def test_logits(bias, prefix, theirs, tmp_path):
    if not bias:
        with torch.no_grad():
            for name, parameter in theirs.named_parameters():
                if name.endswith(".bias"):
                    parameter.zero_()
    loaded = weights.load(checkpoint(theirs, tmp_path / "out", bias, prefix))
    assert (loaded.config.bias, loaded.config.dropout, loaded.config.context) == (bias, 0.2, 32)
    assert not loaded.report.missing and not loaded.report.unused
    tokens = np.arange(64).reshape(2, 32) % 61
    with torch.no_grad():
        expected = theirs(torch.tensor(tokens)).logits.numpy()
    ours = np.asarray(loaded.model.logits(loaded.model.features(tokens.astype(np.int32))))
    np.testing.assert_allclose(ours, expected, atol=2e-5)


def test_a_mask_of_earlier_versions_is_no_parameter(theirs, tmp_path):
    folder = checkpoint(theirs, tmp_path / "out", bias=True)
    saved = torch.load(folder / "ckpt.pt")
    saved["model"]["transformer.h.0.attn.bias"] = torch.ones(1, 1, 32, 32)
    torch.save(saved, folder / "ckpt.pt")
    assert not weights.load(folder).report.unused


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"model_args": {"n_layer": 3}}, "has no model_args"),
        ({"model_args": None}, "has no model_args; expected a checkpoint of nanoGPT"),
        ({"model": {}}, r"has no wte\.weight"),
    ],
)
def test_another_checkpoint_is_refused(changes, message, theirs, tmp_path):
    with pytest.raises(UsageError, match=rf"ckpt\.pt: {message}"):
        weights.load(checkpoint(theirs, tmp_path / "out", bias=True, **changes))


def test_commands_take_it(theirs, tmp_path, capsys):
    folder = checkpoint(theirs, tmp_path / "out", bias=True)
    assert run(["import", "nanogpt", str(folder), str(tmp_path / "hf")]) == 0
    assert run(["generate", str(folder), "--prompt", "a"]) == 2
    assert "no tokenizer beside the weights; pass --tokenizer" in capsys.readouterr().err
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "hf")
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
