"""Text from a model: sampled or searched from a GPT, filled in by a BERT."""

from research.generation.beams import Beam, search
from research.generation.fill_mask import fill_masks
from research.generation.sampling import sample
from research.generation.sampling_params import GREEDY, Sampling
from research.generation.text import Beams, Completion, complete

__all__ = [
    "GREEDY",
    "Beam",
    "Beams",
    "Completion",
    "Sampling",
    "complete",
    "fill_masks",
    "sample",
    "search",
]
