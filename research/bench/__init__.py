"""Measures the cost of an experiment's step; needs only jax, flax and optax."""
