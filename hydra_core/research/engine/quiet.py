"""Bars in which nothing can happen, passed without asking every rule about them.

Most bars of most sets only mark what is held. :func:`survey` asks the rules once, at the corners of a box of prices around the
present ones, how far the next bars may go before any of them could act: a stop, a liquidation, a kill switch, a cap, an exit,
a larger size, a settlement. Every one of them is monotone in each price and in equity, so that nothing happens inside what
holds at the corners. :func:`pass_quiet` then compares a bar with these limits only. A limit may be too narrow, never too wide:
a bar beyond one is traded as a whole (``loop``), and comes to nothing there if nothing was due. Not here: any rule.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

from hydra_core.decision import rules
from hydra_core.domain.intervals import DAY_MS
from hydra_core.domain.trading import Mode
from hydra_core.research.engine import state
from hydra_core.research.engine.inputs import EXPECTED_RETURN, HIGH, LAST, LOW, Market, Signals
from hydra_core.research.engine.state import (
    BARRED,
    DAY_LATCHED,
    DAY_START,
    DRAWDOWN_LATCHED,
    FORCED,
    HIGHEST,
    LOWEST,
    OPENED_MS,
    PEAK,
    QUANTITY,
    STRESS,
)
from hydra_core.risk.exposure import largest_gross, penalty
from hydra_core.risk.switches import (
    CORRELATION_SPIKE,
    DAY_LOSS,
    DRAWDOWN,
    EXTREME_REGIME,
    SWITCHES,
    UNREADABLE_INPUT,
    day_lost,
    drawn_down,
    position_lost,
    stress_bits,
)

_RANKS: Final = {mode: rank for rank, mode in enumerate(Mode)}
_LATCHED_MODE: Final = max(_RANKS[SWITCHES[name].mode] for name in (DAY_LOSS, DRAWDOWN))
_STRESS_MODE: Final = max(_RANKS[SWITCHES[name].mode] for name in (UNREADABLE_INPUT, CORRELATION_SPIKE, EXTREME_REGIME))

WIDTH: Final = 0.01
"""Half the width of the box, as a share of each price; a narrower one is tried where a limit lies near."""
NARROW: Final = 0.002
NEAR: Final = 1.02
"""Where a signal asks for more than a limit over this, the limit is widened by the correlation penalty, which costs time."""
ROUNDING: Final = 1e-9
"""More than what rounding can do to a sum of money, relative."""

FLOOR: Final = 0
CEILING: Final = 1
LOWER: Final = 2
UPPER: Final = 3
SIGN: Final = 4
SUPPORT: Final = 5
SURE: Final = 6
MOST_LONG: Final = 7
MOST_SHORT: Final = 8
HELD: Final = 9
ENTRY: Final = 10
EARNED: Final = 11
NOTIONAL: Final = 12
"""Rows of the ``state.LIMITS`` limits by pair: prices that a stop or a liquidation needs, the box, side held (0: none), least
support of the forecast, least confidence, largest share of equity that a signal of either side may ask for; then what marking
needs."""


class Cubes(NamedTuple):
    """``Market.numbers`` (8, T, P) and ``Signals.numbers`` (9, T, P) once more, by bar."""

    prices: Any
    said: Any

    @classmethod
    def of(cls, market: Market, signals: Signals, pairs: int) -> Cubes:
        """Views of the arrays."""
        return cls(
            market.numbers.reshape(-1, len(market.close_ms), pairs),
            signals.numbers.reshape(-1, len(market.close_ms), pairs),
        )


def mode_of(bits: int, scalars: Any) -> int:
    """The mode that stress bits and latches leave."""
    mode = rules.ACTIVE
    if bits != 0:
        mode = _STRESS_MODE
    if scalars[DAY_LATCHED] + scalars[DRAWDOWN_LATCHED] > 0.0:
        mode = max(mode, _LATCHED_MODE)
    return mode


def track(equity: float, scalars: Any) -> None:
    """The highest equity so far, and the lowest share of it since."""
    if equity >= scalars[HIGHEST]:
        scalars[HIGHEST] = equity
    elif equity < scalars[LOWEST] * scalars[HIGHEST]:
        scalars[LOWEST] = equity / scalars[HIGHEST]


def settles(due: Any, pairs: int, out: Any) -> None:
    """Whether any pair has a settlement, bar by bar."""
    for b in range(due.size // pairs):
        out[b] = False
    for k in range(due.size):
        if due[k]:
            out[k // pairs] = True


def shared_columns(
    expected: Any, confidence: Any, side: Any, edge: Any, risk_share: Any, leverage: Any, out: Any
) -> None:
    """What the sets of a block compare with their limits: the signed share of equity that a signal asks for at most, 0 where
    it asks for none, and how sure it is, minus infinity where it says nothing; flat arrays, written to ``out`` (2, n)."""
    reach, sure = out[0], out[1]
    for at in range(expected.size):
        reach[at] = side[at] * min(risk_share[at], leverage[at]) if edge[at] > 0 else 0.0
    for at in range(expected.size):
        known = (expected[at] == expected[at]) & (confidence[at] == confidence[at])
        sure[at] = confidence[at] if known else -math.inf


def survey(
    t: int,
    width: float,
    close_ms: int,
    market: Any,
    cube: Any,
    reach: Any,
    terms: Any,
    guards: Any,
    initial: float,
    books: Any,
    bounds: Any,
) -> tuple[bool, float, bool]:
    """Limits within which nothing happens from bar ``t`` on.

    Returns
    -------
    Whether there are any; the close from which they hold no more, epoch ms; whether equity may reach a new extreme
    """
    numbers, stamps, scalars = books.numbers, books.stamps, books.scalars
    pairs = numbers.shape[1]
    none = (False, 0.0, False)
    mode = mode_of(int(scalars[STRESS]), scalars)
    until = math.inf
    least = most = initial
    gross_least = gross_most = largest = size = 0.0
    worst = 0.0
    count = 0
    for i in range(pairs):
        quantity, earned = numbers[QUANTITY, i], numbers[state.EARNED, i]
        least += earned
        most += earned
        size += abs(earned)
        open_sky(i, quantity, earned, bounds)
        if quantity == 0.0:
            continue
        price = cube[LAST, t, i]
        if not (price > 0.0 and math.isfinite(price)) or mode >= rules.HALTED:
            return none
        count += 1
        over = stamps[OPENED_MS, i] + terms.horizon_ms
        if close_ms < over:
            until = min(until, over)
        hem_in(i, price, width, terms.confidence_threshold if close_ms >= over else -math.inf, terms, numbers, bounds)
        low, high, entry = bounds[LOWER, i], bounds[UPPER, i], bounds[ENTRY, i]
        bad, good = (low, high) if quantity > 0.0 else (high, low)
        worst = min(worst, quantity * (bad - entry))
        least += quantity * (bad - entry)
        most += quantity * (good - entry)
        gross_least += abs(quantity) * low
        gross_most += abs(quantity) * high
        largest = max(largest, abs(quantity) * high)
    slack = ROUNDING * (initial + size + gross_most)
    least, most = least - slack, most + slack
    peak = max(scalars[PEAK], most)
    if count > 0 and (
        not least > 0.0
        or position_lost(1.0, 0.0, worst, least, guards.position_loss_limit)
        or largest > terms.max_position_notional
        or gross_most > largest_gross(least, terms.max_total_notional, terms.max_leverage)
    ):
        return none
    if (scalars[DAY_LATCHED] == 0.0 and day_lost(least, scalars[DAY_START], guards.day_loss_limit)) or (
        scalars[DRAWDOWN_LATCHED] == 0.0 and drawn_down(least, peak, guards.drawdown_limit)
    ):
        return none
    if mode == rules.ACTIVE:
        hear_out(t, width, count, most, gross_least, market, reach, terms, stamps, bounds)
    extreme = not (most < scalars[HIGHEST] and most < scalars[PEAK] and least > scalars[LOWEST] * scalars[HIGHEST])
    return True, until, extreme


def open_sky(i: int, quantity: float, earned: float, bounds: Any) -> None:
    """Limits of a pair that nothing can reach."""
    bounds[HELD, i], bounds[EARNED, i], bounds[NOTIONAL, i] = quantity, earned, 0.0
    bounds[FLOOR, i] = bounds[LOWER, i] = bounds[SUPPORT, i] = bounds[SURE, i] = -math.inf
    bounds[CEILING, i] = bounds[UPPER, i] = math.inf
    bounds[SIGN, i] = bounds[ENTRY, i] = 0.0
    bounds[MOST_LONG, i] = bounds[MOST_SHORT, i] = math.inf


def hem_in(i: int, price: float, width: float, sure: float, terms: Any, numbers: Any, bounds: Any) -> None:
    """Limits of a held pair: the box around ``price``, its stop or liquidation, and what the forecast must go on saying."""
    quantity, stop, nearer = numbers[QUANTITY, i], numbers[state.STOP, i], numbers[FORCED, i]
    long = quantity > 0.0
    if not math.isnan(stop):
        nearer = max(stop, nearer) if long else min(stop, nearer)
    if long:
        bounds[FLOOR, i] = nearer
    else:
        bounds[CEILING, i] = nearer
    bounds[LOWER, i], bounds[UPPER, i] = price * (1.0 - width), price * (1.0 + width)
    bounds[SIGN, i] = 1.0 if long else -1.0
    bounds[SUPPORT, i], bounds[SURE, i] = terms.side_cost, sure
    bounds[ENTRY, i], bounds[NOTIONAL, i] = numbers[state.ENTRY, i], quantity * price


def hear_out(
    t: int,
    width: float,
    count: int,
    most: float,
    gross_least: float,
    market: Any,
    reach: Any,
    terms: Any,
    stamps: Any,
    bounds: Any,
) -> None:
    """The largest share of equity that a signal of each pair may ask for without being granted anything.

    Parameters
    ----------
    count : pairs held ; ``most`` : equity at most ; ``gross_least`` : sum of notionals at least, USDT
    reach : what signals ask for at present, as of :func:`shared_columns`

    Notes
    -----
    As in ``rules._size``: a larger position must exceed what is held by the resize band, and the room under the caps, or the
    share times equity times the correlation penalty, does not. The penalty is a weighted mean whose weights lie within
    the box, so it keeps at least (1 - width) / (1 + width) of its size.
    """
    matrix = market.correlation[market.correlation_at[t]]
    cap = largest_gross(most, terms.max_total_notional, terms.max_leverage)
    for i in range(bounds.shape[1]):
        quantity = bounds[HELD, i]
        if stamps[BARRED, i]:
            continue
        if quantity == 0.0:
            if count < terms.max_positions:
                bounds[MOST_LONG, i] = bounds[MOST_SHORT, i] = 0.0
            continue
        enough = abs(quantity) * bounds[LOWER, i] * (1.0 + terms.resize_band)
        room = min(terms.max_position_notional, cap - gross_least + abs(quantity) * bounds[UPPER, i])
        if room * (1.0 + ROUNDING) <= enough:
            continue
        side, share = bounds[SIGN, i], enough / most * (1.0 - 1e-7)
        if NEAR * abs(reach[i]) > share:  # only then the penalty is worth asking for
            shrunk = 1.0 - penalty(i, side, bounds[NOTIONAL], matrix, terms.correlation_penalty)
            share /= 1.0 - shrunk * (1.0 - width) / (1.0 + width)
        if side > 0.0:
            bounds[MOST_LONG, i] = share
        else:
            bounds[MOST_SHORT, i] = share


def worth_of(t: int, initial: float, cube: Any, bounds: Any, worth: Any) -> float:
    """Equity at the close of bar ``t``: what every pair has earned, one after the other as in the whole bar."""
    for i in range(worth.size):
        gain = bounds[HELD, i] * (cube[LAST, t, i] - bounds[ENTRY, i])
        worth[i] = bounds[EARNED, i] + gain if bounds[HELD, i] != 0.0 else bounds[EARNED, i]
    total = 0.0
    for i in range(worth.size):
        total += worth[i]
    return initial + total


def pass_quiet(
    t: int,
    begin: int,
    end: int,
    market: Any,
    cubes: Cubes,
    work: Any,
    terms: Any,
    guards: Any,
    approved: bool,
    initial: float,
    books: Any,
    daily: Any,
    first_day: int,
) -> int:
    """Go on to the first bar at which something may happen, or to ``end``; returns it."""
    scalars, stress = books.scalars, market.stress
    cube, said, shared, due, bounds, worth = cubes.prices, cubes.said, work.cube, work.due, work.bounds, work.worth
    pairs = worth.size
    bits = int(scalars[STRESS])
    least_sure = -math.inf if approved else terms.confidence_threshold
    while t < end:
        close_ms = market.close_ms[t]
        day = (close_ms - 1) // DAY_MS
        midnight = (day + 1) * DAY_MS
        reach_now = shared[0, t - begin]
        found, until, extreme = survey(
            t, WIDTH, close_ms, market, cube, reach_now, terms, guards, initial, books, bounds
        )
        if not found:
            found, until, extreme = survey(
                t, NARROW, close_ms, market, cube, reach_now, terms, guards, initial, books, bounds
            )
            if not found:
                return t
        matrix = market.correlation_at[t]
        began = t
        struck = False
        while t < end:
            close_ms = market.close_ms[t]
            if close_ms >= midnight or close_ms >= until or due[t - begin] or market.correlation_at[t] != matrix:
                break
            if (
                stress_bits(
                    stress[0, t],
                    stress[1, t],
                    stress[2, t],
                    guards.correlation_spike,
                    guards.variance_ratio_spike,
                    guards.extreme_regime_probability,
                )
                != bits
            ):
                break
            b = t - begin
            struck = beyond = False
            for i in range(pairs):
                last, reach, sure = cube[LAST, t, i], shared[0, b, i], shared[1, b, i]
                struck |= (
                    (cube[LOW, t, i] <= bounds[FLOOR, i])
                    | (cube[HIGH, t, i] >= bounds[CEILING, i])
                    | (bounds[SIGN, i] * said[EXPECTED_RETURN, t, i] <= bounds[SUPPORT, i])
                    | (sure < bounds[SURE, i])
                )
                beyond |= (
                    (last <= bounds[LOWER, i])
                    | (last >= bounds[UPPER, i])
                    | (((reach > bounds[MOST_LONG, i]) | (-reach > bounds[MOST_SHORT, i])) & (sure >= least_sure))
                )
            if struck or beyond:
                break
            if extreme:
                equity = worth_of(t, initial, cube, bounds, worth)
                scalars[PEAK] = max(scalars[PEAK], equity)
                track(equity, scalars)
            t += 1
        if t == began or struck:
            return t
        if t == end or market.close_ms[t] >= midnight:
            daily[day - first_day] = worth_of(t - 1, initial, cube, bounds, worth)
    return t
