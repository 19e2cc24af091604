"""GPT-1: compare two checkpoints of one run. Run with `python experiments/examples/gpt1.py`.

GPT-1 as OpenAI trained it: `load(DIR)` of its release's model/ folder, or "hub:openai-community/openai-gpt".
"""

import tempfile

import numpy as np

from research import load, read_metrics, resolve, train

SMALL = {
    "model.vocabulary": 512,
    "model.width": 64,
    "model.depth": 2,
    "data.tokenizer": "bpe:512",
    "data.length": 64,
    "run.steps": 60,
    "run.log_every": 10,
    "run.evaluate_every": 60,
    "run.checkpoint_every": 30,
    "run.sample": 0,
}
TEXTS = ["The function returns a list of strings.", "Changed in version 3.4"]


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        train(resolve("gpt1_tiny", SMALL), directory)
        losses = read_metrics(directory)["train"]["loss"]
        half, whole = load(f"{directory}:30"), load(directory)
    print(f"training loss: {losses[0]:.3f} to {losses[-1]:.3f}")

    print(whole)
    print(f"norms come after the sum: {whole.config.norm == 'post'}")
    for name, model in (("step 30", half), ("step 60", whole)):
        print(f"{name}: {', '.join(f'{model.loss(text):.3f}' for text in TEXTS)} nats per token")
    first, last = half.parameters["blocks/mlp/expand/kernel"], whole.parameters["blocks/mlp/expand/kernel"]
    print(f"change of the MLPs: {[f'{np.linalg.norm(b - a):.2f}' for a, b in zip(first, last, strict=True)]}")
    batch = whole.encode(TEXTS)  # two rows, the shorter one padded
    print(f"lengths: {batch.lengths_B.tolist()}, logits: {whole.logits(TEXTS).shape}")
    seen = whole.attentions(TEXTS)[-1][1, :, : batch.lengths_B[1]]  # the last block's, of the second text
    print(f"attention to the future: {np.triu(seen[0], 1).sum():.1f}, in all: {seen[0].sum(-1).mean():.1f}")
    print(f"continued: {whole.generate(TEXTS, tokens=8, top_k=40)}")


if __name__ == "__main__":
    main()
