"""Lineage: GPT-1, GPT-2 and BERT in JAX, for research."""

__version__ = "0.1.0"
