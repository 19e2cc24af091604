"""A training loop of one's own: two models at once, gradients looked into, weights changed half-way.

Run with `python experiments/examples/own_loop.py`.
"""

import jax
import optax

import research

SMALL = {
    "model.vocabulary": 512,
    "model.width": 64,
    "model.depth": 2,
    "data.tokenizer": "bpe:512",
    "data.length": 64,
    "run.steps": 60,
    "run.sample": 0,
}


def main() -> None:
    first, second = (research.resolve("gpt2_tiny", SMALL | {"run.seed": seed}) for seed in (0, 1))
    batch, step = research.batches(first), research.compile_step(first)
    evaluate = research.compile_evaluation(first)
    gradient = jax.jit(jax.grad(research.loss_function(first), has_aux=True))
    one, other = research.first_state(first), research.first_state(second)
    for n in range(first.run.steps):
        if n == 30:
            look(gradient, one.model, batch[n])
            one = one.replace(model=jax.tree.map(lambda x: 0.9 * x, one.model))
            print(f"validation loss after shrinking the weights: {evaluate(one)['loss']:.3f}")
        one, metrics = step(one, batch[n])
        other, _ = step(other, batch[n])  # the same batches, other initial parameters
        if n % 30 == 0:
            print(f"loss before update {n}: {float(metrics['loss']):.3f}")
    print(f"validation losses: {evaluate(one)['loss']:.3f}, {evaluate(other)['loss']:.3f}")
    between = jax.tree.map(lambda x, y: (x + y) / 2, one.model, other.model)
    print(f"half-way between the two: {evaluate(one.replace(model=between))['loss']:.3f}")
    print(f"text: {research.language_model(first, one).generate('The function', tokens=10)!r}")


def look(gradient, model, batch) -> None:
    """Prints the gradient's norm by layer, and its noise scale (McCandlish et al., 2018, appendix A.1)."""
    whole, rows = gradient(model, batch)[0], len(batch["tokens"])
    norms_N = jax.vmap(optax.tree.norm)(whole.blocks)  # the blocks have a leading axis of layers
    print(f"gradient norms of the blocks: {[round(float(norm), 3) for norm in norms_N]}")
    half = gradient(model, {name: array[: rows // 2] for name, array in batch.items()})[0]
    large, small = (float(optax.tree.norm(grads, squared=True)) for grads in (whole, half))
    signal, noise = 2 * large - small, (small - large) * rows
    print(f"gradient noise scale: {noise / signal:.1f} sequences")


if __name__ == "__main__":
    main()
