"""GPT-2: train a tiny one, read its metrics, look into it. Run with `python experiments/examples/gpt2.py`.

For GPT-2 as OpenAI trained it, replace the run by "hub:openai-community/gpt2" in `load`.
"""

import tempfile

from research import load, read_metrics, resolve, train

SMALL = {
    "model.vocabulary": 512,
    "model.width": 64,
    "model.depth": 2,
    "data.tokenizer": "bpe:512",
    "data.length": 64,
    "run.steps": 60,
    "run.log_every": 10,
    "run.evaluate_every": 30,
    "run.sample": 0,
}
TEXT = "The function returns a list of strings."


def main() -> None:
    experiment = resolve("gpt2_tiny", SMALL)
    with tempfile.TemporaryDirectory() as directory:
        result = train(experiment, directory)
        metrics = read_metrics(directory)
        model = load(directory)
    print(f"steps: {result.step}")
    validation = metrics["validation"]
    for step, loss in zip(validation["step"], validation["loss"], strict=True):
        print(f"validation loss at step {step}: {loss:.3f}")

    print(model)
    assert model.tokenizer is not None  # a run has one
    ids = model.encode(TEXT).rows[0]
    print(f"{len(ids)} tokens: {[model.tokenizer.decode([token]) for token in ids.tolist()]}")
    print(f"loss: {model.loss(TEXT):.3f} nats per token")
    logits = model.logits(TEXT)  # (1, L, V)
    print(f"logits: {logits.shape}")
    print(f"likeliest next token: {model.tokenizer.decode([int(logits[0, -1].argmax())])!r}")
    print(f"hidden states: {len(model.hidden_states(TEXT))} of {model.hidden_states(TEXT)[0].shape}")
    attention = model.attentions(TEXT)[0][0]  # the first block's, (H, L, L)
    print(f"the last token of each head looks at: {attention[:, -1].argmax(-1).tolist()}")
    print(f"greedy: {model.generate(TEXT, tokens=10, temperature=0)!r}")
    print(f"sampled: {model.generate([TEXT, 'import '], tokens=10, seed=1)}")


if __name__ == "__main__":
    main()
