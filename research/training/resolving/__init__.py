"""An experiment takes what its data and its weights decide, unless it was typed."""

from research.training.resolving.names import DECISIVE, SOURCES, WEIGHTS
from research.training.resolving.resolve import resolve

__all__ = ["DECISIVE", "SOURCES", "WEIGHTS", "resolve"]
