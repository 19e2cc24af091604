"""Which heads of a small GPT-2 copy: found by what they attend to, proved by silencing them.

A model with two blocks learns lines whose second half repeats the first. Its activations show the heads that
attend to the token to be repeated; edits show which of them the prediction needs, and how much of it comes
back with the states of another text. Run with `python experiments/examples/heads.py`.
"""

import random
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from research import load, observed, resolve, train

HALF = 16  # letters, which a line repeats
SETTINGS = {
    "model.vocabulary": 32,
    "model.width": 64,
    "model.depth": 2,
    "model.heads": 4,
    "data.tokenizer": "char",
    "data.length": 66,
    "optimizer.rate.peak": 3e-3,
    "run.steps": 900,
    "run.log_every": 300,
    "run.evaluate_every": 900,
    "run.sample": 0,
}
SECOND = np.arange(HALF + 1, 2 * HALF)  # positions of the second half whose next letter is a repeated one


def line(rng: random.Random) -> str:
    half = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=HALF))
    return half + half


def main() -> None:
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder, "repeated.txt")
        text.write_text("\n".join(line(rng) for _ in range(20_000)))
        train(resolve("gpt2_tiny", SETTINGS | {"data.source": f"files:{text}"}), f"{folder}/run")
        model = load(f"{folder}/run")
    print(model)
    depth, heads = model.config.depth, model.config.heads
    texts = ["\n" + line(rng) for _ in range(32)]
    tokens_BL = jnp.asarray(model.encode(texts).tokens_BL)

    def loss_of(logits_BLV: jax.Array) -> jax.Array:
        log = jax.nn.log_softmax(logits_BLV[:, SECOND])
        return -jnp.take_along_axis(log, tokens_BL[:, SECOND + 1, None], axis=2).mean()

    # 1. Read: the share of attention that goes to the letter to be repeated.
    patterns = model.attentions(texts)
    shares = np.asarray([p_BHLL[:, :, SECOND, SECOND + 1 - HALF].mean((0, 2)) for p_BHLL in patterns])
    print(f"attention to the letter to be repeated, by block and head:\n{shares.round(2)}")

    # 2. Silence each head in turn: one compiled program for all, since the head is an argument. So is the
    # module, whose parameters would be constants otherwise, which take longer to compile.
    def without(module: Any, block: jax.Array, head: jax.Array) -> jax.Array:
        def silence(n: int):
            return lambda x_BLHK: jnp.where((n == block) & (jnp.arange(heads)[:, None] == head), 0, x_BLHK)

        edits = {f"blocks/{n}/attention/heads": silence(n) for n in range(depth)}
        return loss_of(observed(module, edits=edits)(tokens_BL)[0])

    silenced = jax.jit(jax.vmap(without, (None, 0, 0)))
    losses = np.asarray(silenced(model.module, *jnp.divmod(jnp.arange(depth * heads), heads)))
    losses = losses.reshape(depth, heads)
    whole = float(loss_of(jnp.asarray(model.logits(texts))))
    print(f"loss of the second half: {whole:.2f} nats; more without one head:\n{(losses - whole).round(2)}")
    block, head = map(int, np.unravel_index(losses.argmax(), losses.shape))
    print(f"the head needed most is {head} of block {block}, with {shares[block, head]:.2f} of its attention")

    # 3. Patch: the texts with another first half, but with this head's output from the right texts.
    others = ["\n" + line(rng)[:HALF] + text[HALF + 1 :] for text in texts]
    site = f"blocks/{block}/attention/heads"
    right = model.activations(texts, site)[site][:, :, head]
    patched = model.edited({site: lambda x_BLHK: x_BLHK.at[:, :, head].set(right)})
    print(f"with another first half: {loss_of(jnp.asarray(model.logits(others))):.2f} nats")
    print(f"the same, this head patched: {loss_of(jnp.asarray(patched.logits(others))):.2f} nats")


if __name__ == "__main__":
    main()
