"""Measures the cost of an experiment's step; needs jax, flax and optax alone."""
