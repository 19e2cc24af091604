"""Settings that an experiment takes from its data and weights, unless the user gives them."""

from research.training.resolving.names import DECISIVE, SOURCES, VOCABULARY, WEIGHTS
from research.training.resolving.resolve import resolve

__all__ = ["DECISIVE", "SOURCES", "VOCABULARY", "WEIGHTS", "resolve"]
