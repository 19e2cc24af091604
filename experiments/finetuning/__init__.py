"""Experiments that fine-tune: a task (`tasks.py`) on pre-trained weights."""
