"""Histories that can be traded: hourly candles of a few pairs with observables beside them, planted or empty.

Candles are drawn with exact extremes of the Brownian bridge between open and close. Here: null histories (Gaussian, t-GARCH,
recorded returns with random signs, which keep size and clustering and lose direction) and one with a planted drift.
Not here: rows without candles (``planted``), what is made of a history (``runs``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit

from hydra_core.alpha.forecaster.windows import Features
from hydra_core.domain.errors import UsageError
from hydra_core.domain.intervals import HOUR_MS, Interval
from hydra_core.domain.market import CANDLES, Floats, Panel
from hydra_core.domain.pairs import DEFAULT_PAIRS

START_MS: Final = 1_420_070_400_000
HOUR_SIGMA: Final = 0.006
COMMON: Final = 0.5
"""Share of the variance that all pairs have in common."""
HALF_LIVES: Final = (12.0, 24.0, 48.0, 96.0)
"""Bars; of the observables, in turn. The planted drift follows the second."""
OBSERVABLES: Final = 8
YEAR: Final = 8_760
NULLS: Final = ("gaussian", "garch", "signs")
PLANTED: Final = "planted"


@dataclass(frozen=True, eq=False)
class History:
    """One history of T hourly bars of P pairs.

    Parameters
    ----------
    kind : one of :data:`NULLS`, or :data:`PLANTED`
    features : float32 (T, P, F), known at each bar's close
    names : of the features
    best : (T, P), best forecast of the return over ``horizon`` bars from the next open, in its standard deviations; 0 on nulls
    rho : its correlation with that return
    """

    kind: str
    panel: Panel
    features: Features
    names: tuple[str, ...]
    best: Floats
    rho: float
    horizon: int


def history(
    kind: str,
    bars: int,
    seed: int,
    *,
    pairs: int = 4,
    horizon: int = 12,
    rho: float = 0.0,
    recorded: Floats | None = None,
) -> History:
    """Draw a history.

    Parameters
    ----------
    kind : one of :data:`NULLS`, or :data:`PLANTED`
    rho : correlation of the best forecast with the scaled return over the horizon, for a planted one
    recorded : (n, Q), hourly log returns that ``signs`` are drawn for; whole stretches of all pairs are taken

    Raises
    ------
    UsageError : no such kind, or ``signs`` without recorded returns
    """
    rng = np.random.default_rng((seed, (*NULLS, PLANTED).index(kind)) if kind in (*NULLS, PLANTED) else seed)
    alphas = np.stack(
        [_persistent(rng, bars, pairs, HALF_LIVES[k % len(HALF_LIVES)]) for k in range(OBSERVABLES)], axis=2
    )
    best = np.zeros((bars, pairs))
    if kind == "gaussian":
        moves = HOUR_SIGMA * _shared(rng, rng.standard_normal((bars, pairs)), rng.standard_normal((bars, 1)))
    elif kind == "garch":
        columns = [garch(bars, int(rng.integers(2**31))) for _ in range(pairs + 1)]
        moves = HOUR_SIGMA * _shared(rng, np.stack(columns[:-1], axis=1), columns[-1][:, None])
    elif kind == "signs":
        if recorded is None:
            raise UsageError("random signs need recorded returns", "Give --data FOLDER with hourly candles")
        moves = _with_random_signs(rng, recorded, bars, pairs)
    elif kind == PLANTED:
        moves, best = _planted(rng, alphas[:, :, 1], bars, pairs, horizon, rho)
    else:
        raise UsageError(f"no history {kind!r}", f"Known: {', '.join((*NULLS, PLANTED))}")
    panel = candles(moves, rng)
    features, names = _features(alphas, moves)
    return History(kind, panel, features, names, best, rho if kind == PLANTED else 0.0, horizon)


def candles(moves: Floats, rng: np.random.Generator) -> Panel:
    """Hourly candles whose log returns are ``moves`` (T, P), with highs and lows as a diffusion between them has them."""
    path = np.cumsum(moves, axis=0)
    close = 100.0 * np.exp(path - path.mean(axis=0))
    opened = np.vstack([close[:1] * np.exp(-moves[:1]), close[:-1]])
    inside = np.maximum(_recent_size(moves), 1e-6)
    up, down = -np.log(rng.random((2, *moves.shape)))
    reach = 2 * (0.8 * inside) ** 2
    highest = 0.5 * (moves + np.sqrt(moves**2 + reach * up))
    lowest = 0.5 * (moves - np.sqrt(moves**2 + reach * down))
    none = np.full(moves.shape, np.nan)
    return Panel(
        pairs=DEFAULT_PAIRS[: moves.shape[1]],
        interval=Interval.H1,
        ts=START_MS + HOUR_MS * np.arange(len(moves), dtype=np.int64),
        open=opened,
        high=opened * np.exp(highest),
        low=opened * np.exp(lowest),
        close=close,
        volume=rng.lognormal(14.0, 0.4, moves.shape) / close * 10,
        funding_rate=none,
        open_interest=none.copy(),
        long_short=none.copy(),
        liquidated_long=none.copy(),
        liquidated_short=none.copy(),
        inputs=frozenset({CANDLES}),
    )


@njit(cache=True)  # type: ignore[untyped-decorator]
def _garch(noise: Floats, constant: float, shock: float, memory: float) -> Floats:
    out = np.empty(noise.size)
    variance = constant / (1.0 - shock - memory)
    for row in range(noise.size):
        out[row] = math.sqrt(variance) * noise[row]
        variance = constant + shock * out[row] ** 2 + memory * variance
    return out


def garch(count: int, seed: int, *, shock: float = 0.08, memory: float = 0.90, degrees: float = 4.0) -> Floats:
    """t-GARCH(1,1) returns of unit unconditional variance, shape (n,); nothing in them tells a direction."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_t(degrees, count) / math.sqrt(degrees / (degrees - 2))
    return np.asarray(_garch(noise, 1 - shock - memory, shock, memory))


def _shared(rng: np.random.Generator, own: Floats, common: Floats) -> Floats:
    return math.sqrt(1 - COMMON) * own + math.sqrt(COMMON) * common


def _with_random_signs(rng: np.random.Generator, recorded: Floats, bars: int, pairs: int) -> Floats:
    """Recorded moves in their order, from a random place round the end, each bar turned over or not with all its pairs."""
    columns = rng.choice(recorded.shape[1], pairs, replace=recorded.shape[1] < pairs)
    rows = (int(rng.integers(len(recorded))) + np.arange(bars)) % len(recorded)
    return np.asarray(recorded[rows][:, columns] * rng.choice([-1.0, 1.0], (bars, 1)))


def _planted(
    rng: np.random.Generator, alpha: Floats, bars: int, pairs: int, horizon: int, rho: float
) -> tuple[Floats, Floats]:
    """Moves with a drift that follows an observable, and the forecast that follows from it.

    No pair trends over a year: whether holding a random walk happened to pay is not what is asked of a run here.
    """
    decay = 0.5 ** (1 / HALF_LIVES[1])
    ahead = np.arange(1, horizon + 1)
    known = float((decay**ahead).sum())  # expected drift from the next open on, in units of today's alpha
    apart = np.abs(ahead[:, None] - ahead[None, :])
    spread = float((decay**apart).sum())
    size = math.sqrt(rho**2 * horizon / (known**2 - rho**2 * spread)) if rho else 0.0
    noise = _without_trend(_shared(rng, rng.standard_normal((bars, pairs)), rng.standard_normal((bars, 1))))
    drift = np.vstack([np.zeros((1, pairs)), alpha[:-1]])
    deviation = math.sqrt(horizon + size**2 * spread)
    return HOUR_SIGMA * (noise + size * drift), size * known * alpha / deviation


def _without_trend(noise: Floats) -> Floats:
    """The noise less its mean over each year, which no forecast over hours can tell from the noise itself."""
    out = noise.copy()
    for start in range(0, len(out), YEAR):
        out[start : start + YEAR] -= out[start : start + YEAR].mean(axis=0)
    return out


def _persistent(rng: np.random.Generator, bars: int, pairs: int, half_life: float) -> Floats:
    """Ornstein-Uhlenbeck values of variance 1, half of it common to the pairs, shape (bars, pairs)."""
    from scipy.signal import lfilter

    decay = 0.5 ** (1 / half_life)
    shocks = _shared(rng, rng.standard_normal((bars, pairs)), rng.standard_normal((bars, 1)))
    shocks[1:] *= math.sqrt(1 - decay**2)
    return np.asarray(lfilter([1.0], [1.0, -decay], shocks, axis=0))


def _recent_size(moves: Floats) -> Floats:
    """Root mean square of the last day's moves."""
    total = np.vstack([np.zeros((1, moves.shape[1])), np.cumsum(moves**2, axis=0)])
    rows = np.arange(1, len(moves) + 1)
    first = np.maximum(rows - 24, 0)
    return np.asarray(np.sqrt((total[rows] - total[first]) / (rows - first)[:, None]))


def _features(alphas: Floats, moves: Floats) -> tuple[Features, tuple[str, ...]]:
    """The observables and four features of price, float32 (T, P, F)."""
    path = np.vstack([np.zeros((1, moves.shape[1])), np.cumsum(moves, axis=0)])
    size = np.maximum(_recent_size(moves), 1e-6)
    rows = np.arange(1, len(moves) + 1)
    columns = [(path[rows] - path[np.maximum(rows - n, 0)]) / (size * math.sqrt(n)) for n in (1, 6, 24)]
    columns.append(np.log(size / HOUR_SIGMA))
    names = (
        *tuple(f"observable_{k}" for k in range(alphas.shape[2])),
        "return_1",
        "return_6",
        "return_24",
        "volatility",
    )
    return np.concatenate([alphas, np.stack(columns, axis=2)], axis=2).astype(np.float32), names
