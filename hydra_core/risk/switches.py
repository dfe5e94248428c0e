"""The kill switches: what trips each, what it does, and which one wins when several are tripped.

Here: judgements over numbers that are handed in, used by the trader's guard, the live decision and the backtest alike.
Not here: who latches a trip and who acts on it (``trader``, ``ledger``).

A switch that cannot evaluate its inputs is tripped. An account that cannot be read is halted, never flattened: orders
that close a position must know it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Mode, Portfolio
from hydra_core.settings import RiskSettings

DAY_LOSS: Final = "day_loss"
DRAWDOWN: Final = "drawdown"
POSITION_LOSS: Final = "position_loss"
CORRELATION_SPIKE: Final = "correlation_spike"
EXTREME_REGIME: Final = "extreme_regime"
UNREADABLE_INPUT: Final = "unreadable_input"
POSITIONS_UNKNOWN: Final = "positions_unknown"
LIQUIDATION: Final = "liquidation"
FOREIGN_PROCESS: Final = "foreign_process"
MANUAL: Final = "manual"
MANUAL_FLATTEN: Final = "manual_flatten"


@dataclass(frozen=True, slots=True)
class Switch:
    """What a tripped switch does.

    Parameters
    ----------
    mode : Mode it puts the platform in
    latches : bool
        Whether it holds until ``hydra resume``. The two that tell of a reading clear when it can be read again.
    """

    mode: Mode
    latches: bool = True


SWITCHES: Final[Mapping[str, Switch]] = {
    DAY_LOSS: Switch(Mode.FLATTEN),
    DRAWDOWN: Switch(Mode.FLATTEN),
    POSITION_LOSS: Switch(Mode.ACTIVE, latches=False),  # closes one position; its pair is barred for the day instead
    CORRELATION_SPIKE: Switch(Mode.REDUCING),
    EXTREME_REGIME: Switch(Mode.REDUCING),
    UNREADABLE_INPUT: Switch(Mode.REDUCING, latches=False),
    POSITIONS_UNKNOWN: Switch(Mode.HALTED, latches=False),
    LIQUIDATION: Switch(Mode.HALTED),
    FOREIGN_PROCESS: Switch(Mode.HALTED),
    MANUAL: Switch(Mode.HALTED),
    MANUAL_FLATTEN: Switch(Mode.FLATTEN),
}
_RANK: Final = {mode: rank for rank, mode in enumerate(Mode)}


@dataclass(frozen=True, slots=True)
class Stress:
    """Market-wide numbers of one instant that two of the switches judge; NaN means unreadable.

    Parameters
    ----------
    mean_correlation : float, mean pairwise correlation of returns
    variance_ratio : float, variance of a short half-life over that of the long run, mean over pairs
    extreme_probability : float, probability of the extreme volatility regime, median over pairs
    """

    mean_correlation: float
    variance_ratio: float
    extreme_probability: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the switches say together.

    Parameters
    ----------
    mode : Mode
    trips : switch -> reason, latched ones included
    close : pairs whose position is closed at once, and barred for the day
    """

    mode: Mode
    trips: Mapping[str, str] = field(default_factory=dict)
    close: frozenset[Pair] = frozenset()


def account_readable(equity: float, peak: float, day_start: float) -> bool:
    """Whether the numbers that the money switches judge are there."""
    return math.isfinite(equity) and math.isfinite(peak) and math.isfinite(day_start) and day_start > 0 and peak > 0


def day_lost(equity: float, day_start: float, limit: float) -> bool:
    """Whether equity has fallen by ``limit`` (a fraction) or more since the UTC day began."""
    return equity <= day_start * (1.0 - limit)


def drawn_down(equity: float, peak: float, limit: float) -> bool:
    """Whether equity has fallen by ``limit`` (a fraction) or more from its peak."""
    return equity <= peak * (1.0 - limit)


def position_lost(quantity: float, entry: float, price: float, equity: float, limit: float) -> bool:
    """Whether one position has lost ``limit`` (a fraction) of equity or more."""
    return quantity * (price - entry) <= -limit * equity


STRESS_UNREADABLE: Final = 1
STRESS_CORRELATION: Final = 2
STRESS_EXTREME: Final = 4


def stress_bits(
    mean_correlation: float,
    variance_ratio: float,
    extreme_probability: float,
    correlation_spike: float,
    variance_ratio_spike: float,
    extreme_regime_probability: float,
) -> int:
    """The market's switches as bits: unreadable; pairs moving as one while variance has jumped (either alone is an
    ordinary day); the market at large in its extreme volatility regime."""
    if not (math.isfinite(mean_correlation) and math.isfinite(variance_ratio) and math.isfinite(extreme_probability)):
        return STRESS_UNREADABLE
    bits = 0
    if mean_correlation > correlation_spike and variance_ratio > variance_ratio_spike:
        bits += STRESS_CORRELATION
    if extreme_probability >= extreme_regime_probability:
        bits += STRESS_EXTREME
    return bits


def combine(names: Iterable[str]) -> Mode:
    """The mode of several tripped switches: the least free one, but an unknown position halts whatever else is tripped.

    A name that is no switch of ours (a latch written by another version) halts.
    """
    modes = {name: SWITCHES[name].mode if name in SWITCHES else Mode.HALTED for name in names}
    if POSITIONS_UNKNOWN in modes:
        return Mode.HALTED
    return max(modes.values(), key=_RANK.__getitem__, default=Mode.ACTIVE)


def manual_name(asked: Mode) -> str:
    """The switch that a person pulled, by what it asks for."""
    return MANUAL_FLATTEN if asked is Mode.FLATTEN else MANUAL


def judge_money(portfolio: Portfolio, prices: Mapping[Pair, float], risk: RiskSettings) -> Judgement:
    """The switches on money: day loss, drawdown, position loss, positions unknown, and what is latched.

    Parameters
    ----------
    portfolio : Portfolio, marked
    prices : mark price by pair, USDT; a held pair without a finite one trips ``unreadable_input``
    """
    trips = dict(portfolio.latched)
    equity = portfolio.equity
    close: set[Pair] = set()
    if not portfolio.known or not account_readable(equity, portfolio.peak_equity, portfolio.day_start_equity):
        trips[POSITIONS_UNKNOWN] = "the account's positions or equity cannot be read"
        return Judgement(combine(trips), trips)
    if day_lost(equity, portfolio.day_start_equity, risk.day_loss_limit):
        trips[DAY_LOSS] = (
            f"equity {equity:.2f}, day began at {portfolio.day_start_equity:.2f}, limit {risk.day_loss_limit:.1%}"
        )
    if drawn_down(equity, portfolio.peak_equity, risk.drawdown_limit):
        trips[DRAWDOWN] = f"equity {equity:.2f}, peak {portfolio.peak_equity:.2f}, limit {risk.drawdown_limit:.1%}"
    for pair, position in portfolio.positions.items():
        price = prices.get(pair, math.nan)
        quantity, entry = float(position.quantity), float(position.entry_price)
        if not (math.isfinite(price) and price > 0):
            _add(trips, UNREADABLE_INPUT, f"{pair} is held and has no mark price")
        elif position_lost(quantity, entry, price, equity, risk.position_loss_limit):
            close.add(pair)
            lost = f"{pair} has lost {-quantity * (price - entry):.2f} of {equity:.2f}"
            _add(trips, POSITION_LOSS, lost)
    return Judgement(combine(trips), trips, frozenset(close))


def judge_market(stress: Stress, risk: RiskSettings) -> dict[str, str]:
    """The switches on the market: trips by name; a number that cannot be read trips ``unreadable_input``."""
    bits = stress_bits(
        stress.mean_correlation,
        stress.variance_ratio,
        stress.extreme_probability,
        risk.correlation_spike,
        risk.variance_ratio_spike,
        risk.extreme_regime_probability,
    )
    if bits & STRESS_UNREADABLE:
        return {UNREADABLE_INPUT: "correlation, variance ratio or regime cannot be read"}
    trips: dict[str, str] = {}
    if bits & STRESS_CORRELATION:
        trips[CORRELATION_SPIKE] = (
            f"mean correlation {stress.mean_correlation:.2f} over {risk.correlation_spike:.2f}, "
            f"variance ratio {stress.variance_ratio:.1f} over {risk.variance_ratio_spike:.1f}"
        )
    if bits & STRESS_EXTREME:
        trips[EXTREME_REGIME] = (
            f"probability {stress.extreme_probability:.2f}, limit {risk.extreme_regime_probability:.2f}"
        )
    return trips


def evaluate(
    portfolio: Portfolio,
    prices: Mapping[Pair, float],
    stress: Stress | None,
    faults: Iterable[str],
    risk: RiskSettings,
    manual: Mode | None = None,
) -> Judgement:
    """All the switches together.

    Parameters
    ----------
    portfolio : Portfolio, marked
    prices : mark price by pair, USDT
    stress : Stress or None; None where the caller does not watch the market (the guard between two decisions)
    faults : what could not be read and concerns every pair; faults of one pair block that pair alone and are not given
        here
    risk : RiskSettings
    manual : HALTED or FLATTEN where a person pulled the switch (the kill file), else None
    """
    money = judge_money(portfolio, prices, risk)
    trips = dict(money.trips)
    for name, reason in judge_market(stress, risk).items() if stress is not None else ():
        _add(trips, name, reason)
    for fault in faults:
        _add(trips, UNREADABLE_INPUT, fault)
    if manual is not None:
        trips[manual_name(manual)] = "pulled by hand"
    return Judgement(combine(trips), trips, money.close)


def _add(trips: dict[str, str], name: str, reason: str) -> None:
    """Trip a switch, its reasons one after the other; a latched reason is kept."""
    trips[name] = f"{trips[name]}; {reason}" if name in trips else reason
