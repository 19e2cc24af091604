"""Writes tests/golden/*: small random models of Transformers and what they give. Needs the extra `parity`.

    python -m tests.golden.make

Each directory is a Hugging Face directory with two files more: batch.safetensors and reference.safetensors.
"""

from pathlib import Path

from safetensors.numpy import save_file

from tests.golden.reference import batch, make, reference

GPT = {"vocab_size": 53, "n_positions": 19, "n_embd": 20, "n_layer": 3, "n_head": 5}
BERT = {
    "vocab_size": 53,
    "max_position_embeddings": 19,
    "hidden_size": 20,
    "num_hidden_layers": 3,
    "num_attention_heads": 5,
    "intermediate_size": 80,
}
CASES = {
    "gpt1": ("gpt1", GPT),
    "gpt2": ("gpt2", GPT),
    "bert": ("bert", BERT | {"hidden_act": "gelu_new"}),
    "bert_erf": ("bert", BERT),
}


def main() -> None:
    for name, (family, sizes) in CASES.items():
        folder = Path(__file__).parent / name
        model = make(family, 0, **sizes)
        model.save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        inputs = batch(family, 1, vocabulary=53, rows=3, length=17)
        save_file(inputs, folder / "batch.safetensors")
        save_file(reference(family, model, inputs), folder / "reference.safetensors")


if __name__ == "__main__":
    main()
