"""Parts of a model, chosen by `model.normalization`, `model.positions` and `model.activation`.

Each file documents the interface of its kind of part. Another package adds a part by registering it:

    @ACTIVATIONS.register("relu")
    def relu(x):
        return jax.nn.relu(x)

Training, evaluation and cached decoding run the same forward pass, so you write a part once.
"""

from research.models.parts import activations, norms, positions

__all__ = ["activations", "norms", "positions"]
