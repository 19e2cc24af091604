"""Adapters of the real PEFT: its logits and ours, in both directions."""

import json
import warnings

import jax
import numpy as np
import pytest

from research import weights
from research.config import Model
from research.config.sections.lora import LoRA
from research.config.sections.model import Parts
from research.models.parameters import by_path
from research.weights.layout import shapes
from tests.weights.directory import GOLDEN

IDS = np.arange(15)[None] * 7 % 50
CASES = {
    "gpt2": (
        "GPT2LMHeadModel",
        "gpt2",
        {"target_modules": ["c_attn", "c_proj", "c_fc"], "lora_dropout": 0.1},
    ),
    "bert": ("BertForPreTraining", "bert", {"target_modules": ["query", "value"], "use_rslora": True}),
    "bert-dense": ("BertForMaskedLM", "bert", {"target_modules": ["key", "dense"]}),
    "gpt1": ("OpenAIGPTLMHeadModel", "gpt1", {"target_modules": "all-linear"}),
    "pickled": ("GPT2LMHeadModel", "gpt2", {"target_modules": ["c_attn"], "modules_to_save": ["ln_f"]}),
    "classes": ("BertForSequenceClassification", "bert", {"target_modules": ["key"], "task_type": "SEQ_CLS"}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.slow
def test_logits_are_those_of_peft(case, tmp_path):
    torch, peft, transformers = (
        pytest.importorskip(name, reason="needs the extra parity")
        for name in ("torch", "peft", "transformers")
    )
    name, family, settings = CASES[case]
    build = getattr(transformers, name).from_pretrained
    with warnings.catch_warnings():  # of PEFT about itself
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        theirs = peft.get_peft_model(
            build(GOLDEN / family), peft.LoraConfig(r=3, lora_alpha=5, **settings)
        ).eval()
        with torch.no_grad():
            for parameter in theirs.parameters():
                parameter += 0.1 * torch.randn_like(parameter) * parameter.requires_grad
        theirs.save_pretrained(tmp_path / "adapter", safe_serialization=case != "pickled")
        expected = theirs(torch.tensor(IDS))[0].detach().numpy()
        loaded = weights.load(tmp_path / "adapter")
        weights.export(tmp_path / "adapter", tmp_path / "again", "peft")
        described = json.loads((tmp_path / "again" / "adapter_config.json").read_text())
        again = peft.PeftModel.from_pretrained(
            build(described["base_model_name_or_path"]), tmp_path / "again"
        ).eval()
    if loaded.task_head is None:
        ours = jax.jit(loaded.model)(IDS)
        np.testing.assert_allclose(
            (ours[0] if isinstance(ours, tuple) else ours)[..., :50], expected[..., :50], atol=1e-5
        )
    np.testing.assert_allclose(again(torch.tensor(IDS))[0].detach(), expected, atol=1e-5)


ONE = [("gpt2", (kernel,)) for kernel in ("qkv", "attention_output", "mlp_expand", "mlp_output")]
ONE += [("bert", (kernel,)) for kernel in ("query", "key", "attention_output", "mlp_expand", "mlp_output")]


@pytest.mark.slow
@pytest.mark.parametrize("family, kernels", [*ONE, ("bert", ("attention_output", "mlp_output"))])
def test_target_modules_are_exactly_the_kernels(family, kernels, tmp_path):
    peft, transformers = (
        pytest.importorskip(name, reason="needs the extra parity") for name in ("peft", "transformers")
    )
    base = weights.read(GOLDEN / family)
    config = Model(**{**vars(base.config), "block": "lora", "own": Parts(block=LoRA(kernels=kernels))})
    random = np.random.default_rng(0)
    factors = {
        path: random.normal(size=shape).astype(np.float32)
        for path, shape in shapes(config).items()
        if "/lora" in path
    }
    weights.save(tmp_path / "ours", base._replace(config=config, arrays=base.arrays | factors))
    weights.export(tmp_path / "ours", tmp_path / "adapter", "peft", str(GOLDEN / family))
    name = "GPT2LMHeadModel" if family == "gpt2" else "BertForPreTraining"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = getattr(transformers, name).from_pretrained(GOLDEN / family)
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*missing adapter keys.*")
            theirs = peft.PeftModel.from_pretrained(plain, tmp_path / "adapter")
    assert sum("lora_A" in key for key, _ in theirs.named_parameters()) == config.depth * len(kernels)
    assert by_path(weights.load(tmp_path / "adapter").model).keys() == shapes(config).keys()
