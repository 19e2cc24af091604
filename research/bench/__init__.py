"""What a step of an experiment costs, measured; needs jax, flax and optax alone."""
