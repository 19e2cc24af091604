"""Text from a model: sampling and beam search with a GPT, masked tokens filled in by a BERT."""

from research.generation.beams import Beam, beam_search
from research.generation.fill_mask import fill_masks
from research.generation.sampling import sample
from research.generation.sampling_params import GREEDY, Sampling
from research.generation.text import BeamSearch, Completion, complete

__all__ = [
    "GREEDY",
    "Beam",
    "BeamSearch",
    "Completion",
    "Sampling",
    "beam_search",
    "complete",
    "fill_masks",
    "sample",
]
