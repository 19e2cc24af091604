"""Scaling laws of the loss, fitted to measured points, with bootstrap intervals.

Both are L = E + Σ A / x^a: `power` over one size, `chinchilla` over parameters N and tokens D. They are
fitted as in Hoffmann et al. (2022), approach 3: the Huber loss of the error of log L, by L-BFGS from several
starts. It is summed over points and fully minimised: the original averaged it, stopped early, and got too
narrow intervals (Besiroglu et al., 2024).

Shapes: P points, K sizes, B resamples; a law's vector is (E, A_1 … A_K, a_1 … a_K).
"""

import itertools
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, nnls
from threadpoolctl import threadpool_limits

HUBER = 1e-3  # errors of log L above this count linearly
EXPONENTS = (0.1, 0.3, 0.6, 1.0, 1.6)  # where searches start
STEEPEST, FLATTEST = 4.0, 0.01  # range of exponents
STARTS, STARTS_AGAIN = 6, 1  # searches per fit, and per bootstrap draw
COVERAGE = 0.9  # of intervals
TRIES = 200  # to draw a bootstrap sample with enough different points


class Fit(NamedTuple):
    vector: NDArray  # of the points
    resamples: NDArray  # (B, 1 + 2K), of resampled points
    scatter: float  # standard deviation of a run's log L around the law
    freedom: int  # degrees of freedom of that estimate
    resampled: str  # "seeds" or "runs"


def predicted(vector: NDArray, sizes_PK: NDArray) -> NDArray:
    """L (…, P) at the sizes, for one or several laws (…, 1 + 2K)."""
    K = sizes_PK.shape[1]
    A, a = vector[..., None, 1 : K + 1], vector[..., None, K + 1 :]
    return vector[..., :1] + (A * sizes_PK**-a).sum(-1)


def fit(sizes_PK: NDArray, losses: Sequence[Sequence[float]], resamples: int, seed: int = 0) -> Fit:
    """Fits a law to points, each with the losses of its seeds.

    If every point has several seeds, seeds are resampled, else points. Seeds are assumed to scatter equally
    at all points, so a few per point are enough.
    """
    means_P = np.array([np.mean(of_seeds) for of_seeds in losses])
    vector, random = solve(sizes_PK, means_P), np.random.default_rng(seed)
    by_seed = min(map(len, losses)) > 1
    if by_seed:
        shifts = np.concatenate([_shifts(np.log(of_seeds)) for of_seeds in losses])
        scatter, freedom = float(np.sqrt(np.mean(shifts**2))), len(shifts) - len(means_P)
    else:
        errors = np.log(means_P / predicted(vector, sizes_PK))
        freedom = max(len(errors) - vector.size, 1)
        scatter = float(np.sqrt((errors**2).sum() / freedom))
    found = []
    for _ in range(resamples):
        if by_seed:
            drawn = np.array([random.choice(shifts, len(of_seeds)).mean() for of_seeds in losses])
            found.append(solve(sizes_PK, means_P * np.exp(drawn), guess=vector))
        else:
            at = _points(sizes_PK, vector.size, random)
            found.append(solve(sizes_PK[at], means_P[at], guess=vector))
    return Fit(vector, np.array(found), scatter, freedom, "seeds" if by_seed else "runs")


def interval(values: NDArray) -> list:
    """The limits of the central COVERAGE of resamples (B, …): numbers, or lists of them."""
    return np.quantile(values, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2], axis=0).tolist()


def of_a_run(found: Fit, sizes_K: NDArray) -> list[float]:
    """The interval of the loss of a new run at these sizes: the law's, and a run's scatter around it."""
    losses_B = predicted(found.resamples, sizes_K[None])[:, 0]
    noise = np.random.default_rng(0).standard_t(found.freedom, (50, len(losses_B)))
    return interval((losses_B * np.exp(found.scatter * noise)).ravel())


@threadpool_limits.wrap(limits=1, user_api="blas")  # threads for matrices of 5 × 5 take 50 times as long
def solve(sizes_PK: NDArray, losses_P: NDArray, guess: NDArray | None = None) -> NDArray:
    """The law's vector; with `guess`, the search also begins there, and at fewer other places."""
    K = sizes_PK.shape[1]
    middle_K = np.log(sizes_PK).mean(0)  # centred sizes, so that A and a can be separated
    x_PK, y_P = np.log(sizes_PK) - middle_K, np.log(losses_P)
    starts = _starts(x_PK, losses_P)[: STARTS if guess is None else STARTS_AGAIN]
    if guess is not None:
        A, a = guess[1 : K + 1], guess[K + 1 :]
        starts.append(np.concatenate([np.log(guess[:1]), np.log(A) - a * middle_K, a]))
    low, high = y_P.min(), y_P.max()
    bounds = [(low - 8, low), *[(low - 12, high + 8)] * K, *[(FLATTEST, STEEPEST)] * K]
    options = {"maxiter": 300, "ftol": 1e-11, "gtol": 1e-6}
    search = partial(
        minimize, _objective, args=(x_PK, y_P), method="L-BFGS-B", jac=True, bounds=bounds, options=options
    )
    best = min((search(np.clip(start, *np.transpose(bounds))) for start in starts), key=lambda end: end.fun)
    e, c_K, a_K = best.x[:1], best.x[1 : K + 1], best.x[K + 1 :]
    return np.concatenate([np.exp(e), np.exp(c_K + a_K * middle_K), a_K])


def _objective(vector: NDArray, x_PK: NDArray, y_P: NDArray) -> tuple[float, NDArray]:
    """The summed Huber loss in units of HUBER², and its gradient, by (log E, log A …, a …)."""
    K = x_PK.shape[1]
    terms_PK = vector[1 : K + 1] - vector[K + 1 :] * x_PK
    terms = np.concatenate([np.full((len(y_P), 1), vector[0]), terms_PK], axis=1)
    parts = np.exp(terms)  # log L is within tens of 0, so nothing overflows
    losses_P = parts.sum(1)
    error_P = (np.log(losses_P) - y_P) / HUBER
    size_P = np.abs(error_P)
    value = np.where(size_P <= 1, 0.5 * error_P**2, size_P - 0.5).sum()
    slope_P = np.clip(error_P, -1, 1) / HUBER
    shares = parts * (slope_P / losses_P)[:, None]
    return float(value), np.concatenate([shares.sum(0), -(shares[:, 1:] * x_PK).sum(0)])


def _starts(x_PK: NDArray, losses_P: NDArray) -> list[NDArray]:
    """Start vectors for `_objective`, best first: for given exponents, E and A by least squares."""
    found = []
    for exponents in itertools.product(EXPONENTS, repeat=x_PK.shape[1]):
        columns = np.concatenate([np.ones((len(x_PK), 1)), np.exp(-np.array(exponents) * x_PK)], axis=1)
        factors, _ = nnls(columns / losses_P[:, None], np.ones(len(x_PK)))
        start = np.concatenate([np.log(np.maximum(factors, 1e-3 * losses_P.min())), exponents])
        found.append((_objective(start, x_PK, np.log(losses_P))[0], start))
    return [start for _, start in sorted(found, key=lambda pair: pair[0])]


def _shifts(log_losses: NDArray) -> NDArray:
    """Deviations of seeds from their mean, corrected by the root of n / (n - 1)."""
    n = len(log_losses)
    return (log_losses - log_losses.mean()) * np.sqrt(n / (n - 1))


def _points(sizes_PK: NDArray, least: int, random: np.random.Generator) -> NDArray:
    """Resamples points, at least `least` of them different, and more than two different in each size."""
    for _ in range(TRIES):
        at = random.integers(0, len(sizes_PK), len(sizes_PK))
        if len(set(at)) >= least and all(len(set(column)) > 2 for column in sizes_PK[at].T):
            return at
    return np.arange(len(sizes_PK))
