"""BERT: train a tiny one, then fill in masks. Run with `python experiments/examples/bert.py`.

For BERT as Google trained it, replace the run by "hub:google-bert/bert-base-uncased" in `load`.
"""

import tempfile

from research import load, read_metrics, resolve, train

SMALL = {
    "model.vocabulary": 512,
    "model.width": 64,
    "model.depth": 2,
    "data.tokenizer": "wordpiece:512",
    "data.batch": 16,
    "run.steps": 60,
    "run.log_every": 10,
    "run.evaluate_every": 30,
}
TEXT = "the function returns a [MASK] of strings ."


def main() -> None:
    experiment = resolve("bert_tiny", SMALL)
    with tempfile.TemporaryDirectory() as directory:
        train(experiment, directory)
        validation = read_metrics(directory)["validation"]
        model = load(directory)
    print(f"masked tokens right: {validation['masked_accuracy'][-1]:.1%}")
    print(
        f"losses: {validation['masked_loss'][-1]:.3f} masked, {validation['next_loss'][-1]:.3f} next sentence"
    )

    print(model)
    assert model.tokenizer is not None  # a run has one
    ids = model.encode(TEXT).rows[0].tolist()
    print(
        f"{len(ids)} tokens, from {model.tokenizer.id_to_token(ids[0])}"
        f" to {model.tokenizer.id_to_token(ids[-1])}"
    )
    place = ids.index(model.tokenizer.token_to_id("[MASK]"))
    logits = model.logits(TEXT)  # (1, L, V)
    best = model.tokenizer.id_to_token(int(logits[0, place].argmax()))
    filled = model.fill_mask(TEXT, top=3)
    print(f"logits: {logits.shape}, the largest at [MASK]: {best}")
    print(f"filled in: {[f'{piece} {probability:.3f}' for piece, probability in filled.masks[0]]}")
    before, *_, final = model.hidden_states(TEXT)
    print(f"states: {before.shape} before the first block, {final.shape} after the last")
    after = model.attentions(TEXT)[0][0, :, place, place + 1 :].sum(-1)  # of each head of the first block
    print(f"attention of [MASK] to what follows it: {[f'{share:.2f}' for share in after]}")


if __name__ == "__main__":
    main()
