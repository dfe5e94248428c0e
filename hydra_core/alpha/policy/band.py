"""The no-trade-band rule and the simple book on which it and the policy are compared.

The rule: enter when the expected return exceeds ``enter`` round trips, leave when what is left in the direction held falls
below ``leave`` round trips. With proportional costs the best policy is of this form (Davis and Norman, 1990).

Not here: sizing, stops and votes; every position is -1, 0 or 1 of the same notional, filled at the next open.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from hydra_core.alpha.models import PolicyObservation
from hydra_core.domain.market import Floats, Panel

ENTER_GRID: Final = (1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0)
USUAL_MS: Final = 28_800_000
"""Time between two settlements of most contracts."""
LEAVE_GRID: Final = (-1.0, -0.5, 0.0, 0.25, 0.5, 0.75, 1.0)
Target = Callable[[PolicyObservation], Floats]
"""Observation with arrays (P,) to wanted positions (P,)."""


@dataclass(frozen=True, slots=True)
class Band:
    """Thresholds in round trips."""

    enter: float
    leave: float

    def target(self, observation: PolicyObservation) -> Floats:
        """Wanted positions of the observation's shape; 0 where the forecast is unknown."""
        return band_target(worth(observation), observation.position, self.enter, self.leave)


@dataclass(frozen=True, eq=False)
class Lanes:
    """Recorded forecasts and what followed them: what the band is tuned on, the policy trained on, both judged on.

    Parameters
    ----------
    observation : PolicyObservation with arrays (n, P) and positions of zero
    returns : array (n, P), simple return from the open after row t to the one after that, 0 where unknown
    funding : array (n, P), what a long of notional 1 pays at settlements inside that bar
    side_cost : cost of one side, fraction of notional
    days : array (n,), UTC day number of each row
    """

    observation: PolicyObservation
    returns: Floats
    funding: Floats
    side_cost: float
    days: Floats

    def __len__(self) -> int:
        return int(self.returns.shape[0])

    def rows(self, rows: slice) -> Lanes:
        """A contiguous part."""
        return Lanes(
            _part(self.observation, rows), self.returns[rows], self.funding[rows], self.side_cost, self.days[rows]
        )


def lanes(panel: Panel, observation: PolicyObservation, side_cost: float, paid: Floats | None = None) -> Lanes:
    """Lanes over the newest rows of a panel, as many as the observation has; the last two have no return and are dropped.

    Parameters
    ----------
    paid : (T, P), what a long of notional 1 pays at the settlements of each of the panel's bars; None: the panel's rates
        every 8 h
    """
    n = observation.forecast_z.shape[0]
    part = panel.last(n)
    returns = np.nan_to_num(part.open[2:] / part.open[1:-1] - 1.0)
    if paid is None:
        settles = part.close_ms % USUAL_MS == 0
        paid = np.where(settles[:, None], np.nan_to_num(part.funding_rate), 0.0)
    paid = paid[len(paid) - n + 1 : len(paid) - 1]
    days = (part.ts[:-2] // 86_400_000).astype(np.float64)
    return Lanes(_part(observation, slice(0, n - 2)), returns, paid, side_cost, days)


def trade(book: Lanes, target: Target) -> tuple[Floats, Floats]:
    """Hold what a rule wants, bar by bar; where it does not know (NaN), what :func:`silent` says.

    Returns
    -------
    (net, position) : arrays (n, P), net return of the bar after row t on unit notional, and the position held in it
    """
    n, pairs = book.returns.shape
    net, held = np.empty((n, pairs)), np.empty((n, pairs))
    position = np.zeros(pairs)
    for row in range(n):
        seen = _row(book.observation, row, position)
        wanted = target(seen)
        if (unknown := np.isnan(wanted)).any():
            wanted = np.where(unknown, silent(seen), wanted)
        net[row] = wanted * (book.returns[row] - book.funding[row]) - book.side_cost * np.abs(wanted - position)
        held[row] = position = wanted
    return net, held


def tune_band(book: Lanes) -> Band:
    """The thresholds with the largest mean net return on these rows; the widest band on a tie."""
    grid = [(enter, leave) for enter, leave in itertools.product(ENTER_GRID, LEAVE_GRID) if leave < enter]
    enter, leave = (np.array(column)[:, None] for column in zip(*grid, strict=True))
    total = np.zeros(len(grid))
    value = worth(book.observation)
    position = np.zeros((len(grid), book.returns.shape[1]))
    for row in range(len(book)):
        wanted = band_target(value[row][None], position, enter, leave)
        total += (wanted * (book.returns[row] - book.funding[row])).sum(axis=1)
        total -= book.side_cost * np.abs(wanted - position).sum(axis=1)
        position = wanted
    best = max(range(len(grid)), key=lambda i: (round(float(total[i]), 12), grid[i][0] - grid[i][1]))
    return Band(*grid[best])


def worth(observation: PolicyObservation) -> Floats:
    """Expected return in round trips, signed, of the observation's shape."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return observation.forecast_z / observation.cost_bp_over_sigma


def band_target(value: Floats, position: Floats, enter: float | Floats, leave: float | Floats) -> Floats:
    """What the rule holds next: -1, 0 or 1; 0 where the value is unknown.

    Parameters
    ----------
    value : expected return in round trips, as from :func:`worth`
    position : what it holds now; only the sign counts
    enter, leave : thresholds in round trips
    """
    known = np.isfinite(value)
    keep = known & (position != 0) & (np.sign(position) * value >= leave)
    entered = np.where(known & (np.abs(value) > enter), np.sign(value), 0.0)
    return np.where(entered != 0, entered, np.where(keep, np.sign(position), 0.0))


def silent(observation: PolicyObservation) -> Floats:
    """What is held where a rule says nothing: what it was while the forecast is known, nothing where even that is not."""
    return np.where(np.isfinite(worth(observation)), np.sign(observation.position), 0.0)


def _row(observation: PolicyObservation, row: int, position: Floats) -> PolicyObservation:
    return PolicyObservation(
        forecast_z=observation.forecast_z[row],
        confidence=observation.confidence[row],
        position=position,
        displacement_z=observation.displacement_z[row],
        volatility_ratio=observation.volatility_ratio[row],
        cost_bp_over_sigma=observation.cost_bp_over_sigma[row],
    )


def _part(observation: PolicyObservation, rows: slice) -> PolicyObservation:
    return PolicyObservation(
        forecast_z=observation.forecast_z[rows],
        confidence=observation.confidence[rows],
        position=observation.position[rows],
        displacement_z=observation.displacement_z[rows],
        volatility_ratio=observation.volatility_ratio[rows],
        cost_bp_over_sigma=observation.cost_bp_over_sigma[rows],
    )
