"""A run's checkpoints on disk."""
