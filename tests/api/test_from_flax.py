"""The table "Coming from Transformers' Flax classes" of research/weights: a row computes what theirs did.

PyTorch's classes of the same weights stand for theirs, which Transformers 5 lacks.
"""

import re
from pathlib import Path

import jax
import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from launch.__main__ import run
from research import load
from research.config.settings import names
from tests.weights.directory import GOLDEN
from tests.weights.flax_directory import as_flax

torch = pytest.importorskip("torch", reason="needs the extra parity")
transformers = pytest.importorskip("transformers", reason="needs the extra parity")

# The warnings are theirs.
pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("compiled_in_haste")]

TEXT = (Path(__file__).parents[2] / "research/weights/README.md").read_text(encoding="utf-8")
SECTION = TEXT.partition("## Coming from Transformers' Flax classes")[2].partition("\n## ")[0]
ROWS = dict(re.findall(r"^\| `([^`]+)` \| `([^`]+)` \| .*\|$", SECTION, re.MULTILINE))
LENGTHS = (6, 3)


def theirs(name: str):
    return getattr(transformers, name).from_pretrained(GOLDEN / name[:4].lower(), attn_implementation="eager")


def numbers(*tensors):
    return [tensor.detach().numpy() for tensor in tensors]


@pytest.fixture
def there(tmp_path):
    """The names that the rows use."""
    ids = np.random.default_rng(0).integers(1, 53, (2, 6)).astype(np.int32)
    mask = (np.arange(6) >= 6 - np.array(LENGTHS)[:, None]).astype(np.int32)  # padding at the left
    vocabulary = {f"w{n}": n for n in range(53)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    folder = as_flax(GOLDEN / "gpt2", tmp_path / "gpt2")
    tokenizer.save(str(folder / "tokenizer.json"))
    texts = [" ".join(f"w{n}" for n in row[keep == 1]) for row, keep in zip(ids, mask, strict=True)]
    here = {"load": load, "jax": jax, "DIR": folder, "OTHER": tmp_path / "edited", "ids": ids, "mask": mask}
    here |= {"texts": texts, "loss": lambda logits: logits.mean()}
    exec(ROWS["FlaxGPT2LMHeadModel.from_pretrained(DIR)"], here)
    return here


def test_rows_of_a_gpt(there, tmp_path):
    model, rows = theirs("GPT2LMHeadModel").eval(), ROWS.items()
    ours = {key: eval(row, there) for key, row in rows if "= load" not in row and "bert" not in row}
    ids, mask = (torch.tensor(there[name], dtype=torch.long) for name in ("ids", "mask"))
    places = (mask.cumsum(-1) - 1).clamp(min=0)  # as the Flax class counts them behind padding
    whole = model(ids, output_hidden_states=True, output_attentions=True)
    np.testing.assert_allclose(ours["model(ids).logits"], *numbers(whole.logits), atol=1e-4)
    padded = model(ids, attention_mask=mask, position_ids=places)
    for row, length in enumerate(LENGTHS):
        found = ours["model(ids, attention_mask=mask).logits"][row, :length]
        np.testing.assert_allclose(found, *numbers(padded.logits[row, -length:]), atol=1e-4)
    for key, expected in (("hidden_states", whole.hidden_states), ("attentions", whole.attentions)):
        found = ours[f"model(ids, output_{key}=True)"]
        for one, other in zip(found, numbers(*expected), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-4)
    options = {"attention_mask": mask, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    drawn = model.generate(ids, max_new_tokens=8, **options)[:, 6:].tolist()
    expected = [[f"w{n}" for n in row] for row in drawn]
    assert [text.split() for text in ours["model.generate(ids, max_new_tokens=8)"]] == expected
    whole.logits.mean().backward()
    gradient = next(found for key, found in ours.items() if "jax.grad" in key).tokens[...]
    np.testing.assert_allclose(gradient, *numbers(model.transformer.wte.weight.grad), atol=1e-5)
    assert ours["model.params"]["blocks/mlp/expand/kernel"].shape == (3, 20, 80)
    assert run(["export", str(tmp_path / "edited"), str(tmp_path / "exported")]) == 0
    again = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "exported")
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)


def test_the_row_of_a_bert(tmp_path):
    model, bert = theirs("BertForPreTraining").eval(), load(as_flax(GOLDEN / "bert", tmp_path / "bert"))
    ids = np.random.default_rng(0).integers(1, 53, (2, 6))
    mask, segments = (np.arange(6) < np.array(LENGTHS)[:, None]).astype(int), np.arange(6) // 2 % 2 + 0 * ids
    (row,) = (row for row in ROWS.values() if "bert" in row)
    tokens, follows = eval(row, {"bert": bert, "ids": ids, "segments": segments, "mask": mask})
    given = {"attention_mask": torch.tensor(mask), "token_type_ids": torch.tensor(segments)}
    expected = model(torch.tensor(ids), **given)
    inside = mask == 1
    np.testing.assert_allclose(
        np.asarray(tokens)[inside], numbers(expected.prediction_logits)[0][inside], atol=1e-4
    )
    np.testing.assert_allclose(follows, *numbers(expected.seq_relationship_logits), atol=1e-4)


def test_settings_of_the_table_exist():
    table = SECTION.partition("`run_clm_flax.py`")[2]
    found = re.findall(r"\b(?:model|data|objective|optimizer|run|start)\.[\w.{},]+", table)
    prefix = "optimizer.{"
    for name in found:
        inner = name.removeprefix(prefix).rstrip("}").split(",") if name.startswith(prefix) else None
        assert {f"optimizer.{one}" for one in inner} <= set(names()) if inner else name in names(), name
    assert len(found) > 15
