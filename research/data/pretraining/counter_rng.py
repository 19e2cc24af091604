"""Counter-based random numbers: each is a pure function of the integers of its address, without a state.

SplitMix64 (Steele, Lea and Flood, 2014), vectorized. Its few lines of arithmetic never change, unlike a
library's generators.
"""

import numpy as np
from numpy.typing import ArrayLike

GAMMA = np.uint64(0x9E3779B97F4A7C15)


def bits(*address: ArrayLike) -> np.ndarray:
    """Random uint64, one for each element of the broadcast address (most significant part first)."""
    with np.errstate(over="ignore"):
        state = np.zeros((), np.uint64)
        for part in address:
            state = _mix(state + (np.asarray(part).astype(np.uint64) + np.uint64(1)) * GAMMA)
    return state


def randint(bound: ArrayLike, *address: ArrayLike) -> np.ndarray:
    """Random int64 from 0 to bound - 1; probabilities deviate from uniform by less than bound / 2^64."""
    return (bits(*address) % np.asarray(bound).astype(np.uint64)).astype(np.int64)


def bernoulli(p: float, *address: ArrayLike) -> np.ndarray:
    """Random bool, true with probability `p`."""
    return uniform(bits(*address)) < p


def uniform(random: np.ndarray) -> np.ndarray:
    """Random bits to float64 in [0, 1), from the upper 53 bits."""
    return (random >> np.uint64(11)).astype(np.float64) * 2.0**-53


def fair_binomial(trials: np.ndarray, *address: ArrayLike) -> np.ndarray:
    """Random int64: the number of successes in `trials` trials of probability 1/2."""
    count, word = np.zeros(trials.shape, np.int64), 0
    while np.any(left := trials > 64 * word):
        used = np.minimum(trials[left] - 64 * word, 64).astype(np.uint64)
        random = bits(*(np.broadcast_to(part, trials.shape)[left] for part in address), word)
        count[left] += np.bitwise_count(random >> (np.uint64(64) - used))
        word += 1
    return count


def _mix(z: np.ndarray) -> np.ndarray:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
