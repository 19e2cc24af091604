"""Optuna's study of a sweep."""

from research.sweeping.study.storage import load_study, open_study, storage_of

__all__ = ["load_study", "open_study", "storage_of"]
