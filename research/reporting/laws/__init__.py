"""Scaling laws, fitted to the losses of runs."""
