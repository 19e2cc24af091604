"""Weights as others publish them."""
