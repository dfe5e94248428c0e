"""Planted markets: nineteen observables, one next return, and a signal in them whose worth is known exactly.

Volatility is stochastic, funding and open interest are persistent, and the planted signal s is a function of what is
observed, with mean 0 and variance 1, so that the best correlation is the planted rho:

*linear*: a three-bar reversal. *interaction*: minus funding times open interest. *rare*: the sign of an extreme funding rate
while open interest is high, one bar in twenty-five. *regime*: the reversal turns into momentum in the turbulent state, where
volatility is twice as high; the optimum knows the state. *drift*: the reversal turns into momentum half way. *latent*: a hidden
drift, known through its filter alone. *null*: nothing.

Not here: panels of candles that can be traded (``histories``), closed forms (``optimum``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from hydra_core.domain.errors import UsageError
from hydra_core.domain.market import Bools, Floats

OBSERVABLES: Final = (
    "return_1", "return_2", "return_3", "return_6", "return_12", "return_48", "volatility_12", "volatility_48",
    "volatility_ratio", "funding", "funding_change", "open_interest", "open_interest_change", "long_short", "imbalance",
    "volume", "basis", "hour_sin", "hour_cos",
)  # fmt: skip
"""Standardised and known at the bar's close; every mechanism is a function of some of them, none of all."""
WARM_UP: Final = 600
RARE_FUNDING: Final = 1.5
RARE_INTEREST: Final = 0.5
DWELL: Final = 288
"""Mean bars in a regime."""
SPREAD: Final = 0.15
"""Standard deviation of the log of one-bar volatility over its slow part."""


Floats32 = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Planted:
    """One draw of a market of n rows.

    Parameters
    ----------
    kind : one of :data:`KINDS`
    rho : planted correlation of ``signal`` with ``scaled``
    observables : float32 (n, 19), known at each row's close
    signal : (n,), the best causal forecast of ``scaled`` over rho; all 0 on the null market
    scaled : (n,), next bar's return over its own standard deviation
    returns : (n,), next bar's log return
    sigma : (n,), its standard deviation, known
    """

    kind: str
    rho: float
    observables: Floats32
    signal: Floats
    scaled: Floats
    returns: Floats
    sigma: Floats

    def __len__(self) -> int:
        return int(self.signal.size)


def plant(kind: str, rho: float, rows: int, seed: int) -> Planted:
    """Draw a market.

    Parameters
    ----------
    kind : one of :data:`KINDS`
    rho : best correlation with the next scaled return, in [0, 1); for ``latent`` the size of the hidden drift in standard
        deviations (the draw then tells the filter's correlation as its rho)
    rows : number of rows after the warm-up

    Raises
    ------
    UsageError : no such kind, or rho outside its range
    """
    if kind not in KINDS:
        raise UsageError(f"no planted market {kind!r}", f"Known: {', '.join(KINDS)}")
    if not 0 <= rho < 1:
        raise UsageError(f"planted correlation {rho}", "In [0, 1)")
    rng = np.random.default_rng((seed, KINDS.index(kind)))
    total = rows + WARM_UP
    outside = _outside(rng, total)
    draws = Draws(rng.standard_normal(total), outside, _chain(rng.random(total), 1.0 / DWELL))
    sigma = outside["sigma"] * np.where(draws.turbulent & (kind == "regime"), 2.0, 1.0)
    shown, scaled = _MECHANISMS[kind](rho, draws)
    if kind == "latent":
        rho = float(shown.std() / scaled.std())
        shown = shown / max(float(shown.std()), 1e-12)
    returns = sigma * scaled
    seen = _observe(returns, sigma, outside, rng)
    cut = slice(WARM_UP, None)
    return Planted(kind, rho if kind != "null" else 0.0, seen[cut], shown[cut], scaled[cut], returns[cut], sigma[cut])


class Draws(NamedTuple):
    """What a mechanism is made from; arrays of one length.

    Parameters
    ----------
    noise : standard normal
    outside : what moves by itself, by name
    turbulent : bool, the state of a symmetric two-state chain
    """

    noise: Floats
    outside: dict[str, Floats]
    turbulent: Bools


Mechanism = Callable[[float, Draws], tuple[Floats, Floats]]
"""(rho, draws) -> the best forecast over its own standard deviation, and the next bar's scaled return."""


def _outside(rng: np.random.Generator, total: int) -> dict[str, Floats]:
    """What moves by itself: volatility, funding, open interest, long/short ratio, basis."""
    sizes = {"sigma": 96.0, "slow": 2016.0, "funding": 48.0, "interest": 72.0, "ratio": 72.0, "basis": 24.0}
    made = {name: persistent(rng.standard_normal(total), life) for name, life in sizes.items()}
    made["sigma"] = 0.0015 * np.exp(SPREAD * made["sigma"] + 0.25 * made.pop("slow"))
    return made


@njit(cache=True)  # type: ignore[untyped-decorator]
def persistent(shocks: Floats, half_life: float) -> Floats:
    """Ornstein-Uhlenbeck values of variance 1."""
    decay = 0.5 ** (1.0 / half_life)
    spread = math.sqrt(1.0 - decay * decay)
    out = np.empty(shocks.size)
    level = shocks[0]
    for row in range(shocks.size):
        level = decay * level + spread * shocks[row]
        out[row] = level
    return out


@njit(cache=True)  # type: ignore[untyped-decorator]
def _chain(uniform: Floats, leave: float) -> Bools:
    """A symmetric two-state chain."""
    out = np.empty(uniform.size, np.bool_)
    state = False
    for row in range(uniform.size):
        if uniform[row] < leave:
            state = not state
        out[row] = state
    return out


@njit(cache=True)  # type: ignore[untyped-decorator]
def _walk(noise: Floats, sign: Floats, weights: Floats, own: float) -> tuple[Floats, Floats]:
    """Scaled returns that take back (sign 1) or follow (sign -1) the sum of the last three, and that sum at each row."""
    rows = noise.size
    total, scaled = np.zeros(rows), noise.copy()
    for row in range(2, rows):
        total[row] = scaled[row] + scaled[row - 1] + scaled[row - 2]
        if row < rows - 1:
            weight = weights[0] if sign[row] > 0 else -weights[1]
            scaled[row + 1] = -weight * total[row] + own * noise[row + 1]
    return total, scaled


def _three_bars(rho: float, noise: Floats, sign: Floats) -> tuple[Floats, Floats]:
    """The three-bar reversal (momentum where ``sign`` is -1) with unit variance of return and signal.

    x' = -w (x1 + x2 + x3) + e has both first autocorrelations -w / (1 + 2 w), so the sum has variance 3 / (1 + 2 w) and
    rho^2 = 3 w^2 / (1 + 2 w); for momentum w counts negative.
    """
    square = rho**2
    root = math.sqrt(square**2 + 3 * square)
    weights = np.array([(square + root) / 3, (root - square) / 3])
    total, scaled = _walk(noise, sign, weights, math.sqrt(1 - square))
    deviation = np.sqrt(np.where(sign > 0, 3 / (1 + 2 * weights[0]), 3 / (1 - 2 * weights[1])))
    return -sign * total / deviation, _ahead(scaled, noise)


def _ahead(scaled: Floats, noise: Floats) -> Floats:
    """The next row's value; the last row gets a draw of its own."""
    return np.append(scaled[1:], noise[0])


def _null(rho: float, draws: Draws) -> tuple[Floats, Floats]:
    return np.zeros(draws.noise.size), draws.noise


def _linear(rho: float, draws: Draws) -> tuple[Floats, Floats]:
    return _three_bars(rho, draws.noise, np.ones(draws.noise.size))


def _regime(rho: float, draws: Draws) -> tuple[Floats, Floats]:
    return _three_bars(rho, draws.noise, np.where(draws.turbulent, -1.0, 1.0))


def _drift(rho: float, draws: Draws) -> tuple[Floats, Floats]:
    count = draws.noise.size
    turned = np.arange(count) >= WARM_UP + (count - WARM_UP) // 2
    return _three_bars(rho, draws.noise, np.where(turned, -1.0, 1.0))


def _from(shown: Floats, rho: float, draws: Draws) -> tuple[Floats, Floats]:
    return shown, rho * shown + math.sqrt(1 - rho**2) * draws.noise


def _interaction(rho: float, draws: Draws) -> tuple[Floats, Floats]:
    return _from(-draws.outside["funding"] * draws.outside["interest"], rho, draws)


def rare_share() -> float:
    """Share of bars in which the rare signal speaks: 2 (1 - Phi(1.5)) (1 - Phi(0.5))."""
    from scipy.special import ndtr

    return float(2 * ndtr(-RARE_FUNDING) * ndtr(-RARE_INTEREST))


def _rare(rho: float, draws: Draws) -> tuple[Floats, Floats]:
    funding, interest = draws.outside["funding"], draws.outside["interest"]
    speaks = (np.abs(funding) > RARE_FUNDING) & (interest > RARE_INTEREST)
    return _from(np.where(speaks, np.sign(funding), 0.0) / math.sqrt(rare_share()), rho, draws)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _drift_filter(scaled: Floats, size: float, stay: float) -> Floats:
    """P(up | returns so far), carried one bar ahead, of a drift that is +size or -size."""
    out = np.empty(scaled.size)
    up = 0.5
    for row in range(scaled.size):
        high = up * math.exp(size * scaled[row])
        low = (1.0 - up) * math.exp(-size * scaled[row])
        up = high / (high + low)
        up = stay * up + (1.0 - stay) * (1.0 - up)
        out[row] = up
    return out


def _latent(rho: float, draws: Draws) -> tuple[Floats, Floats]:
    scaled = np.where(draws.turbulent, -rho, rho) + draws.noise
    expected = rho * (2 * _drift_filter(scaled, rho, 1 - 1 / DWELL) - 1)
    return np.asarray(expected), _ahead(scaled, draws.noise)


_MECHANISMS: Final[dict[str, Mechanism]] = {
    "null": _null,
    "linear": _linear,
    "interaction": _interaction,
    "rare": _rare,
    "regime": _regime,
    "drift": _drift,
    "latent": _latent,
}
KINDS: Final = tuple(_MECHANISMS)


def _observe(returns: Floats, sigma: Floats, outside: dict[str, Floats], rng: np.random.Generator) -> Floats32:
    """The nineteen observables at each row's close; ``returns`` are those of the bar after each row."""
    total = returns.size
    past = np.concatenate([[0.0], returns[:-1]]) / np.concatenate([[1.0], sigma[:-1]])
    path = np.concatenate([[0.0], np.cumsum(past)])

    def over(bars: int) -> Floats:
        rows = np.arange(1, total + 1)
        return np.asarray((path[rows] - path[np.maximum(rows - bars, 0)]) / math.sqrt(bars))

    level = np.log(sigma)
    square = np.concatenate([[0.0], np.cumsum((past * np.concatenate([[1.0], sigma[:-1]])) ** 2)])

    def spread(bars: int) -> Floats:
        rows = np.arange(1, total + 1)
        return np.asarray(0.5 * np.log(np.maximum(square[rows] - square[np.maximum(rows - bars, 0)], 1e-12) / bars))

    clock = 2 * np.pi * (np.arange(total) % 288) / 288
    columns = (
        past,
        np.append(0.0, past[:-1]),
        np.append([0.0, 0.0], past[:-2]),
        over(6),
        over(12),
        over(48),
        spread(12),
        spread(48),
        spread(12) - spread(48),
        outside["funding"],
        np.diff(outside["funding"], prepend=outside["funding"][0]) * 5,
        outside["interest"],
        np.diff(outside["interest"], prepend=outside["interest"][0]) * 5,
        outside["ratio"],
        rng.standard_normal(total) * 0.9 + 0.3 * past,
        level * 2 + 0.5 * rng.standard_normal(total),
        outside["basis"],
        np.sin(clock),
        np.cos(clock),
    )
    return np.stack(columns, axis=1).astype(np.float32)
