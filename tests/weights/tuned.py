"""Fine-tuned Transformers models of random weights, saved as a user has them."""

from pathlib import Path
from typing import Any

from tests.data.finetuning.labelled import VOCABULARY, vocabulary

SIZES = {
    "Bert": {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 24,
    },
    "GPT2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 24, "pad_token_id": 0},
}
SIZES["OpenAIGPT"] = SIZES["GPT2"]
CLASSES = {  # class, labels → objective
    ("BertForSequenceClassification", 3): "classification",
    ("BertForSequenceClassification", 1): "regression",
    ("BertForMultipleChoice", 2): "choice",
    ("BertForTokenClassification", 4): "tags",
    ("BertForQuestionAnswering", 2): "spans",
    ("GPT2ForSequenceClassification", 3): "classification",
    ("GPT2ForSequenceClassification", 1): "regression",
    ("GPT2ForTokenClassification", 4): "tags",
    ("OpenAIGPTForSequenceClassification", 2): "classification",
}


def saved(name: str, folder: Path, labels: int = 2, seed: int = 0, **config: Any):
    """A random model of the class `name`, also its biases, saved with a tokenizer to `folder`."""
    import torch
    import transformers

    torch.manual_seed(seed)
    family = name.partition("For")[0]
    config = SIZES[family] | {"vocab_size": VOCABULARY, "num_labels": labels} | config
    model = getattr(transformers, name)(getattr(transformers, f"{family}Config")(**config)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    vocabulary(folder)
    return model


def named(labels: dict[int, str]) -> dict[str, Any]:
    """The class names in a config.json."""
    return {"id2label": labels, "label2id": {label: n for n, label in labels.items()}}
