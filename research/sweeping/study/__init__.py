"""Optuna's study of a sweep."""
