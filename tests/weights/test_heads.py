"""Heads of fine-tuned Transformers models: logits, labels and tensors. Needs the extra `parity`."""

import json

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from research import weights
from research.config import Objective
from research.errors import UsageError
from research.objectives import objective_of
from tests.data.finetuning.labelled import VOCABULARY
from tests.weights.tuned import CLASSES, saved

torch = pytest.importorskip("torch", reason="needs the extra parity")
pytest.importorskip("transformers", reason="needs the extra parity")

pytestmark = pytest.mark.filterwarnings("default")  # theirs

LENGTHS = np.array([[5, 9], [2, 11], [7, 3]], np.int32)  # examples × sequences


def batch(sequences: int) -> dict[str, np.ndarray]:
    """Random tokens and segments; padding is 0, which no text has."""
    random = np.random.default_rng(0)
    lengths = LENGTHS[:, :sequences]
    inside = np.arange(lengths.max()) < lengths[..., None]
    tokens = np.where(inside, random.integers(5, VOCABULARY, inside.shape), 0)
    segments = inside * (np.arange(lengths.max()) >= lengths[..., None] // 2)
    return {"tokens": tokens.astype(np.int32), "segments": segments.astype(np.int32), "lengths": lengths}


def theirs(model, inputs, objective: str) -> np.ndarray:
    """Their logits with the shapes of ours."""
    fit = {name: torch.from_numpy(inputs[name].astype(np.int64)) for name in ("tokens", "segments")}
    visible = np.arange(inputs["tokens"].shape[-1]) < inputs["lengths"][..., None]
    kept = {"input_ids": fit["tokens"], "attention_mask": torch.from_numpy(visible.astype(np.int64))}
    if model.config.model_type == "bert":
        kept["token_type_ids"] = fit["segments"]
    if objective != "choice":
        kept = {name: tensor[:, 0] for name, tensor in kept.items()}
    with torch.no_grad():
        found = model(**kept)
    if objective == "spans":
        return torch.stack([found.start_logits, found.end_logits], -1).numpy()
    return found.logits.numpy()[..., None] if objective == "choice" else found.logits.numpy()


@pytest.mark.parametrize("name, labels", CLASSES)
def test_logits_are_those_of_transformers(name, labels, tmp_path):
    objective = CLASSES[name, labels]
    model = saved(name, tmp_path / "theirs", labels)
    loaded = weights.load(tmp_path / "theirs")
    assert not loaded.report.missing and not loaded.report.unused
    assert loaded.task_head.objective == objective == weights.task_head_of(tmp_path / "theirs").objective
    inputs = batch(2 if objective == "choice" else 1)
    head = inputs if loaded.model.bidirectional else {n: x for n, x in inputs.items() if n != "segments"}
    shape = {"tags": inputs["tokens"][:, 0].shape, "spans": (3, 2)}.get(objective, (3,))
    labels = np.zeros(shape, np.float32 if objective == "regression" else np.int32)
    labelled = head | {"labels": labels, "label_weights": np.ones(shape[:1], np.float32)}
    if objective == "tags":
        labelled["label_weights"] = np.ones(shape, np.float32)
    evaluate = objective_of(Objective(name=objective)).evaluate
    ours = np.asarray(jax.jit(lambda model, batch: evaluate(model, batch)[1])(loaded.model, labelled))
    expected = theirs(model, inputs, objective)
    assert ours.shape == expected.shape and np.std(expected) > 0.1
    if objective in ("tags", "spans"):  # states of padding are arbitrary
        inside = np.arange(ours.shape[1]) < inputs["lengths"]
        ours, expected = ours[inside], expected[inside]
    np.testing.assert_allclose(ours, expected, atol=1e-5 * max(1.0, abs(expected).max()))


@pytest.mark.parametrize("name, labels", CLASSES)
def test_export_returns_the_same_tensors_and_labels(name, labels, tmp_path):
    named = {"id2label": {n: f"class {n}" for n in range(labels)}, "label2id": {}}
    saved(name, tmp_path / "theirs", labels, **named)
    weights.import_("huggingface", tmp_path / "theirs", tmp_path / "once")
    weights.export(tmp_path / "once", tmp_path / "twice")
    published, once, twice = (
        load_file(tmp_path / folder / "model.safetensors") for folder in ("theirs", "once", "twice")
    )
    assert published.keys() == once.keys() == twice.keys()
    for tensor, array in published.items():
        np.testing.assert_array_equal(once[tensor], array)
        np.testing.assert_array_equal(twice[tensor], array)
    described = [json.loads((tmp_path / f / "config.json").read_text()) for f in ("theirs", "once", "twice")]
    assert described[0]["architectures"] == described[1]["architectures"] == [name]
    assert described[1] == described[2]
    head = weights.task_head_of(tmp_path / "twice")
    if head.objective in ("classification", "tags"):
        assert described[1]["id2label"] == {str(n): f"class {n}" for n in range(labels)}


@pytest.mark.parametrize("form", ["pickled", "sharded", "pickled shards"])
def test_other_files_of_the_same_weights(form, tmp_path):
    """pytorch_model.bin, and both forms in shards."""
    model = saved("BertForSequenceClassification", tmp_path / "theirs", 3)
    other = tmp_path / "other"
    if form == "sharded":
        model.save_pretrained(other, max_shard_size="8KB")
        assert (other / "model.safetensors.index.json").exists()
    else:
        other.mkdir()
        (other / "config.json").write_bytes((tmp_path / "theirs/config.json").read_bytes())
        state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        names = sorted(state)
        if form == "pickled":
            torch.save(state, other / "pytorch_model.bin")
        else:
            where = {name: f"pytorch_model-0000{1 + n % 2}-of-00002.bin" for n, name in enumerate(names)}
            for shard in sorted(set(where.values())):
                torch.save({name: state[name] for name in names if where[name] == shard}, other / shard)
            (other / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": where}))
    expected, found = weights.read(tmp_path / "theirs"), weights.read(other)
    assert found.config == expected.config and found.task_head == expected.task_head
    assert found.arrays.keys() == expected.arrays.keys()
    for path, array in expected.arrays.items():
        np.testing.assert_array_equal(found.arrays[path], array)


@pytest.mark.parametrize(
    "where, message",
    [
        ({"a": "pytorch_model-00001-of-00002.bin"}, "pytorch_model-00001-of-00002.bin: cannot be read"),
        ({"a": "../other.bin"}, "shard '../other.bin': expected the name of a file"),
        ({"a": 3}, "shard 3: expected the name"),
        ({}, "has no weight_map"),
    ],
)
def test_shards_that_are_missing_or_elsewhere(where, message, tmp_path):
    saved("BertForQuestionAnswering", tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": where}))
    with pytest.raises(UsageError, match=message):
        weights.read(tmp_path)


def test_a_shard_without_a_listed_tensor(tmp_path):
    saved("BertForQuestionAnswering", tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save({"b": torch.zeros(2)}, tmp_path / "one.bin")
    where = {"weight_map": {"a": "one.bin"}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(where))
    with pytest.raises(UsageError, match=r"one\.bin: has no a, which pytorch_model\.bin\.index\.json lists"):
        weights.read(tmp_path)


@pytest.mark.parametrize(
    "name, change, message",
    [
        (
            "BertForSequenceClassification",
            {"problem_type": "multi_label_classification"},
            "problem_type=multi_label_classification: no objective here has it, only single_label_cl",
        ),
        ("BertForSequenceClassification", {"problem_type": "regression"}, "regression: with 3 labels"),
        ("GPT2ForQuestionAnswering", {}, "GPT2ForQuestionAnswering: objective.name=spans needs model.family"),
        ("BertForMaskedLM", {}, "architectures=BertForMaskedLM: has no head of a task"),
        (
            "BertForTokenClassification",
            {"id2label": {"0": "a", "1": "a", "2": "b"}},
            "two labels have the same",
        ),
        (
            "BertForTokenClassification",
            {"id2label": {"0": "a", "2": "b"}},
            "id2label: numbers 0,2: expected all",
        ),
        ("BertForTokenClassification", {"id2label": {}}, "id2label: numbers none: "),
        (
            "BertForTokenClassification",
            {"id2label": None, "num_labels": "3"},
            "num_labels=3: expected a number",
        ),
        ("BertForTokenClassification", {"architectures": "BertModel"}, "architectures=None: has no head"),
        ("BertForTokenClassification", {"id2label": ["a", "b"]}, r"id2label=\['a', 'b'\]: expected numbers"),
    ],
)
def test_heads_that_are_not_read_say_why(name, change, message, tmp_path):
    """The encoder still is, to fine-tune it for another task."""
    saved(name, tmp_path, 3)
    config = json.loads((tmp_path / "config.json").read_text()) | change
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match=message):
        weights.task_head_of(tmp_path)
    loaded = weights.load(tmp_path)
    assert loaded.config.head == "pretraining" and "tokens" in loaded.report.found


def test_labels_that_do_not_fit_the_head(tmp_path):
    saved("BertForSequenceClassification", tmp_path, 3)
    config = json.loads((tmp_path / "config.json").read_text())
    config["id2label"] = {"0": "no", "1": "yes"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match=r"classifier.weight is \(3, 16\), but task_head/kernel needs"):
        weights.load(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    save_file({n: x for n, x in tensors.items() if n != "classifier.weight"}, tmp_path / "model.safetensors")
    with pytest.raises(UsageError, match=r"has no classifier.weight, which task_head/kernel is made of"):
        weights.load(tmp_path)


def test_tensorflows_file_says_how_to_convert_it(tmp_path):
    saved("BertForSequenceClassification", tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "tf_model.h5")
    with pytest.raises(UsageError, match=r"tf_model.h5 needs Transformers 4: .*from_tf=True"):
        weights.load(tmp_path)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_weights_and_names_without_a_prefix(dtype, tmp_path):
    """Older files name an encoder's parameters as the inner model does."""
    model = saved("BertForSequenceClassification", tmp_path / "a")
    half = {n: x.to(getattr(torch, dtype)).clone() for n, x in model.state_dict().items()}
    state = {name.removeprefix("bert."): tensor for name, tensor in half.items()}
    (tmp_path / "b").mkdir()
    (tmp_path / "b/config.json").write_bytes((tmp_path / "a/config.json").read_bytes())
    torch.save(state, tmp_path / "b/pytorch_model.bin")
    loaded = weights.load(tmp_path / "b")
    assert not loaded.report.missing and not loaded.report.unused
    kernel = np.asarray(half["classifier.weight"].float()).T
    np.testing.assert_array_equal(weights.read(tmp_path / "b").arrays["task_head/kernel"], kernel)
