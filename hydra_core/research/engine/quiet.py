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
from hydra_core.research.engine.inputs import (
    ADVERSE_EXCURSION,
    CONFIDENCE,
    EXPECTED_RETURN,
    HIGH,
    LAST,
    LOW,
    PERMITTED,
    VOLATILITY,
    Market,
    Signals,
)
from hydra_core.research.engine.memory import ABREAST, fetch
from hydra_core.research.engine.state import (
    BARRED,
    CEILING,
    DAY_LATCHED,
    DAY_START,
    DRAWDOWN_LATCHED,
    EARNED,
    ENTRY,
    FLOOR,
    HIGHEST,
    LOWEST,
    OPENED_MS,
    PEAK,
    QUANTITY,
    SIGN,
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
"""Half the width of the box, as a share of each price; halved where a limit of equity lies near, down to :data:`NARROWEST`."""
NARROWEST: Final = 0.0012
NEAR: Final = 1.02
"""Where a signal asks for more than a limit over this, the limit is widened by the correlation penalty, which costs time."""
ROUNDING: Final = 1e-9
"""More than what rounding can do to a sum of money, relative."""

LOWER: Final = 0
UPPER: Final = 1
SURE: Final = 2
MOST: Final = 3
NOTIONAL: Final = 4
"""Rows of the ``state.LIMITS`` limits by pair: the box, least confidence, largest share of equity that a signal may ask for;
and the signed notional at the price the box is built around."""

AHEAD: Final = 16
"""Bars between the one that is looked at and the one whose prices are asked for."""

QUIET: Final = 0
TURNS: Final = 1
ACTS: Final = 2
"""What a bar brings whatever the prices: nothing; a day or a correlation matrix that limits were not asked for; a settlement
or a day's end, with which something does happen."""


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


def turning(close_ms: Any, matrices: Any, due: Any, day: int, matrix: int, out: Any) -> None:
    """:data:`QUIET`, :data:`TURNS` or :data:`ACTS` of each bar of a block.

    Parameters
    ----------
    close_ms, matrices : of the block's bars ; ``due`` : of its bars and pairs, flat
    day, matrix : UTC day and correlation matrix of the bar before
    """
    pairs = due.size // close_ms.size
    for b in range(close_ms.size):
        today, now = (close_ms[b] - 1) // DAY_MS, matrices[b]
        ends = close_ms[b] - today * DAY_MS == DAY_MS
        out[b] = ACTS if ends else (QUIET if today == day and now == matrix else TURNS)
        day, matrix = today, now
    for at in range(due.size):
        if due[at]:
            out[at // pairs] = ACTS


def stressed(correlation: Any, variance: Any, extreme: Any, guards: Any, out: Any) -> None:
    """The stress bits of each bar of a block."""
    for b in range(correlation.size):
        out[b] = stress_bits(
            correlation[b],
            variance[b],
            extreme[b],
            guards.correlation_spike,
            guards.variance_ratio_spike,
            guards.extreme_regime_probability,
        )


def shared_columns(expected: Any, confidence: Any, edge: Any, risk_share: Any, leverage: Any, out: Any) -> None:
    """What the sets of a block compare with their limits: the share of equity that a signal asks for at most, 0 where it asks
    for none, and how sure it is, minus infinity where it says nothing; flat arrays, written to ``out`` (2, n)."""
    reach, sure = out[0], out[1]
    for at in range(expected.size):
        reach[at] = min(risk_share[at], leverage[at]) if edge[at] > 0 else 0.0
    for at in range(expected.size):
        known = (expected[at] == expected[at]) & (confidence[at] == confidence[at])
        sure[at] = confidence[at] if known else -math.inf


def survey(
    t: int,
    market: Any,
    cube: Any,
    reach: Any,
    sure: Any,
    least_sure: float,
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

    Notes
    -----
    With every price within ``width`` of its present one, a position's profit moves by at most ``width`` times its notional,
    so the corners of the box follow from sums at present prices.
    """
    numbers, stamps, scalars, close_ms = books.numbers, books.stamps, books.scalars, market.close_ms[t]
    mode = mode_of(int(scalars[STRESS]), scalars)
    until = math.inf
    equity = size = initial
    gross = largest = worst = 0.0
    count = 0
    for i in range(numbers.shape[1]):
        quantity, earned = numbers[QUANTITY, i], numbers[EARNED, i]
        equity += earned
        size += abs(earned)
        bounds[SURE, i], bounds[MOST, i], bounds[NOTIONAL, i] = -math.inf, math.inf, 0.0
        bounds[LOWER, i], bounds[UPPER, i] = -math.inf, math.inf
        if quantity == 0.0:
            continue
        price = cube[LAST, t, i]
        if not (price > 0.0 and math.isfinite(price)) or mode >= rules.HALTED:
            return False, 0.0, False
        count += 1
        over = stamps[OPENED_MS, i] + terms.horizon_ms
        if close_ms < over:
            until = min(until, over)
        else:
            bounds[SURE, i] = terms.confidence_threshold
        gain, notional = quantity * (price - numbers[ENTRY, i]), quantity * price
        bounds[NOTIONAL, i] = notional
        equity += gain
        gross += abs(notional)
        largest, worst = max(largest, abs(notional)), min(worst, gain)
    slack = ROUNDING * (size + gross)
    width = WIDTH
    while not holds_still(equity, width, slack, gross, largest, worst, count, terms, guards, scalars):
        width *= 0.5
        if width < NARROWEST or count == 0:
            return False, 0.0, False
    hem_in(t, width, cube, numbers, bounds)
    least, most = equity - width * gross - slack, equity + width * gross + slack
    if mode == rules.ACTIVE:
        hear_out(t, width, count, most, gross, market, reach, sure, least_sure, terms, books, bounds)
    extreme = not (most < scalars[HIGHEST] and most < scalars[PEAK] and least > scalars[LOWEST] * scalars[HIGHEST])
    return True, until, extreme


def holds_still(
    equity: float,
    width: float,
    slack: float,
    gross: float,
    largest: float,
    worst: float,
    count: int,
    terms: Any,
    guards: Any,
    scalars: Any,
) -> bool:
    """Whether no switch trips and no cap is outgrown in a box of a width.

    Parameters
    ----------
    slack : more than rounding can do to equity, USDT; ``gross``, ``largest`` : of the notionals held, USDT
    worst : least profit of a held position, USDT, not above 0; ``count`` : positions held
    """
    least, most = equity - width * gross - slack, equity + width * gross + slack
    if (scalars[DAY_LATCHED] == 0.0 and day_lost(least, scalars[DAY_START], guards.day_loss_limit)) or (
        scalars[DRAWDOWN_LATCHED] == 0.0 and drawn_down(least, max(scalars[PEAK], most), guards.drawdown_limit)
    ):
        return False
    wider = 1.0 + width + ROUNDING
    return count == 0 or (
        least > 0.0
        and not position_lost(1.0, 0.0, worst - width * largest - slack, least, guards.position_loss_limit)
        and not largest * wider > terms.max_position_notional
        and not gross * wider > largest_gross(least, terms.max_total_notional, terms.max_leverage)
    )


def hem_in(t: int, width: float, cube: Any, numbers: Any, bounds: Any) -> None:
    """Write the box around the prices of what is held."""
    for i in range(bounds.shape[1]):
        if numbers[SIGN, i] != 0.0:
            price = cube[LAST, t, i]
            bounds[LOWER, i], bounds[UPPER, i] = price * (1.0 - width), price * (1.0 + width)


def hear_out(
    t: int,
    width: float,
    count: int,
    most: float,
    gross: float,
    market: Any,
    reach: Any,
    sure: Any,
    least_sure: float,
    terms: Any,
    books: Any,
    bounds: Any,
) -> None:
    """The largest share of equity that a signal of each pair may ask for without being granted anything.

    Parameters
    ----------
    count : pairs held ; ``most`` : equity at most ; ``gross`` : sum of notionals, USDT
    reach, sure : what signals ask for at present, as of :func:`shared_columns` ; ``least_sure`` : outvoted below it

    Notes
    -----
    As in ``rules._size``: a larger position must exceed what is held by the resize band, and the room under the caps, or the
    share times equity times the correlation penalty, does not. The penalty is a weighted mean whose weights lie within
    the box, so it keeps at least (1 - width) / (1 + width) of its size. A signal against what is held needs no limit: it no
    longer carries the position, which is looked at before.
    """
    matrix = market.correlation[market.correlation_at[t]]
    cap = largest_gross(most, terms.max_total_notional, terms.max_leverage)
    per_equity = (1.0 - 1e-7) / most
    free = 0.0 if count < terms.max_positions else math.inf
    for i in range(bounds.shape[1]):
        if books.stamps[BARRED, i]:
            continue
        side = books.numbers[SIGN, i]
        if side == 0.0:
            bounds[MOST, i] = free
            continue
        notional = abs(bounds[NOTIONAL, i])
        enough = notional * (1.0 - width - ROUNDING) * (1.0 + terms.resize_band)
        room = min(terms.max_position_notional, cap - gross * (1.0 - width) + notional * (1.0 + width))
        if room * (1.0 + ROUNDING) <= enough:
            continue
        share = enough * per_equity
        if NEAR * reach[i] > share and sure[i] >= least_sure:  # only then the penalty is worth asking for
            shrunk = 1.0 - penalty(i, side, bounds[NOTIONAL], matrix, terms.correlation_penalty)
            share /= 1.0 - shrunk * (1.0 - width) / (1.0 + width)
        bounds[MOST, i] = share


def worth_of(t: int, initial: float, cube: Any, numbers: Any, worth: Any) -> float:
    """Equity at the close of bar ``t``: what every pair has earned, one after the other as in the whole bar."""
    for i in range(worth.size):
        gain = numbers[QUANTITY, i] * (cube[LAST, t, i] - numbers[ENTRY, i])
        worth[i] = numbers[EARNED, i] + gain if numbers[QUANTITY, i] != 0.0 else numbers[EARNED, i]
    total = 0.0
    for i in range(worth.size):
        total += worth[i]
    return initial + total


def look_ahead(t: int, block: int, market: Any, cubes: Cubes) -> None:
    """Ask for what will be read some bars after ``t``: prices of each bar and whether it has candles; and of the block of bars
    after this one what signals say, which all of its sets are bounded by before any of them begins it."""
    prices, said = cubes.prices, cubes.said
    newest, pairs = prices.shape[1] - 1, prices.shape[2]
    soon, later = min(t + AHEAD, newest), min(t + block, newest)
    fetch(market.missing, (soon * pairs,))
    for i in range(0, pairs, ABREAST):
        fetch(prices, (LAST, soon, i))
        fetch(prices, (LOW, soon, i))
        fetch(prices, (HIGH, soon, i))
        fetch(said, (EXPECTED_RETURN, later, i))
        fetch(said, (CONFIDENCE, later, i))
        fetch(said, (ADVERSE_EXCURSION, later, i))
        fetch(said, (VOLATILITY, later, i))
        fetch(said, (PERMITTED, later, i))


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
    scalars, numbers, bounds, worth = books.scalars, books.numbers, work.bounds, work.worth
    cube, said, shared, turns, bits = cubes.prices, cubes.said, work.cube, work.turns, work.bits
    pairs = worth.size
    now = int(scalars[STRESS])
    side_cost = terms.side_cost
    least_sure = -math.inf if approved else terms.confidence_threshold
    while t < end and turns[t - begin] != ACTS and bits[t - begin] == now:
        reach_now, sure_now = shared[0, t - begin], shared[1, t - begin]
        found, until, extreme = survey(
            t, market, cube, reach_now, sure_now, least_sure, terms, guards, initial, books, bounds
        )
        if not found:
            return t
        began = t
        struck = False
        while True:
            look_ahead(t, turns.size, market, cubes)
            b = t - begin
            beyond = False
            for i in range(pairs):
                sign, last, reach, sure = numbers[SIGN, i], cube[LAST, t, i], shared[0, b, i], shared[1, b, i]
                struck |= (
                    (cube[LOW, t, i] <= numbers[FLOOR, i])
                    | (cube[HIGH, t, i] >= numbers[CEILING, i])
                    | ((sign * said[EXPECTED_RETURN, t, i] <= side_cost) & (sign != 0.0))
                    | (sure < bounds[SURE, i])
                )
                beyond |= (
                    (last <= bounds[LOWER, i])
                    | (last >= bounds[UPPER, i])
                    | ((reach > bounds[MOST, i]) & (sure >= least_sure))
                )
            if struck or beyond:
                break
            if extreme:
                equity = worth_of(t, initial, cube, numbers, worth)
                scalars[PEAK] = max(scalars[PEAK], equity)
                track(equity, scalars)
            t += 1
            if t == end or turns[t - begin] != QUIET or bits[t - begin] != now or market.close_ms[t] >= until:
                break
        if t == began or struck:
            return t
        day = (market.close_ms[t - 1] - 1) // DAY_MS
        if t == end or (market.close_ms[t] - 1) // DAY_MS != day:
            daily[day - first_day] = worth_of(t - 1, initial, cube, numbers, worth)
    return t
