"""Optimizers, schedules, and which parameters they change: optax transformations."""
