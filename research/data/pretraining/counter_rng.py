"""Random numbers by address: a draw is a function of the numbers that name it, and of nothing before.

SplitMix64 (Steele, Lea and Flood, 2014), vectorised; its few lines of arithmetic are the same for ever.
"""

import numpy as np
from numpy.typing import ArrayLike

GAMMA = np.uint64(0x9E3779B97F4A7C15)


def bits(*address: ArrayLike) -> np.ndarray:
    """uint64, 64 fair coins an element: of integer arrays that broadcast, most significant first."""
    with np.errstate(over="ignore"):
        state = np.uint64(0)
        for part in address:
            state = _mixed(state + (np.asarray(part).astype(np.uint64) + np.uint64(1)) * GAMMA)
    return state


def below(bound: ArrayLike, *address: ArrayLike) -> np.ndarray:
    """int64 from 0 to bound - 1; uneven by less than bound / 2^64."""
    return (bits(*address) % np.asarray(bound).astype(np.uint64)).astype(np.int64)


def chance(share: float, *address: ArrayLike) -> np.ndarray:
    """bool, true with probability `share`."""
    return unit(bits(*address)) < share


def unit(drawn: np.ndarray) -> np.ndarray:
    """float64 in [0, 1) of the upper 53 bits."""
    return (drawn >> np.uint64(11)).astype(np.float64) * 2.0**-53


def heads(tosses: np.ndarray, *address: ArrayLike) -> np.ndarray:
    """int64: how many of so many fair coins fall heads up."""
    count, word = np.zeros(tosses.shape, np.int64), 0
    while np.any(left := tosses > 64 * word):
        wanted = np.minimum(tosses[left] - 64 * word, 64).astype(np.uint64)
        coins = bits(*(np.broadcast_to(part, tosses.shape)[left] for part in address), word)
        count[left] += np.bitwise_count(coins >> (np.uint64(64) - wanted))
        word += 1
    return count


def _mixed(z: np.ndarray) -> np.ndarray:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
