"""The books of one parameter set in the compiled loop: what a fill, a stop, a settlement and a midnight do to them.

Here: writing down. Not here: the arithmetic of one fill (``money``), the order of events (``loop``).
"""

from __future__ import annotations

import math
from typing import Any, Final

from hydra_core.decision import rules
from hydra_core.research.engine.inputs import DAY_NOTIONAL, DAY_VOLATILITY, LAST, OPEN
from hydra_core.research.engine.memory import ABREAST, fetch
from hydra_core.research.engine.money import (
    FEE_DAYS,
    LIQUIDATED,
    average_entry,
    bankruptcy,
    fill_price,
    funding_payment,
    tier_fee,
)
from hydra_core.research.engine.parameters import Costs
from hydra_core.research.engine.state import (
    BARRED,
    BOUGHT,
    BOUGHT_VALUE,
    CASH,
    CEILING,
    DAY_LATCHED,
    DAY_START,
    DRAWDOWN_LATCHED,
    EARNED,
    ENTRY,
    FEE,
    FEES,
    FLOOR,
    FORCED,
    FUNDED,
    FUNDING,
    LARGEST,
    LEVERAGE,
    LIQUIDATIONS,
    NUMBERS,
    OPENED_MS,
    PAID,
    PEAK,
    PROFIT,
    QUANTITY,
    SIDE,
    SIGN,
    SOLD,
    SOLD_VALUE,
    STOP,
    TRADED,
    TRADED_TODAY,
    TRADES,
    TRIP_ROW,
    WANTED,
    WANTED_LEVERAGE,
    WANTED_STOP,
    Books,
)
from hydra_core.risk.margin import forced_price

LIQUIDATION: Final = rules.TAIL + 1
END: Final = rules.TAIL + 2
"""What ended a round trip, beside the reasons of ``decision.rules``."""


def new_day(equity: float, day: int, floors: Any, fees: Any, books: Books) -> None:
    """UTC midnight: latches are taken as released, bars end, the fee follows what was traded."""
    scalars = books.scalars
    if scalars[DAY_LATCHED] + scalars[DRAWDOWN_LATCHED] > 0.0:
        scalars[DAY_LATCHED] = scalars[DRAWDOWN_LATCHED] = 0.0
        scalars[PEAK] = equity
    for i in range(books.stamps.shape[1]):
        books.stamps[BARRED, i] = 0
    scalars[DAY_START] = equity
    scalars[TRADED + day % FEE_DAYS] = scalars[TRADED_TODAY]
    scalars[TRADED_TODAY] = 0.0
    traded = 0.0
    for back in range(FEE_DAYS - 1, -1, -1):
        traded += scalars[TRADED + (day - back) % FEE_DAYS]
    scalars[FEE] = tier_fee(traded, floors, fees)


def fill_wanted(
    i: int,
    slot: int,
    t: int,
    opened_ms: int,
    opening: float,
    traded: float,
    moves: float,
    contracts: Any,
    costs: Costs,
    books: Books,
    log: Any,
    detail: bool,
) -> float:
    """Fill what was decided for one pair at this bar's open; crossing zero is two fills. Returns the profit booked.

    Parameters
    ----------
    opening : the bar's open, USDT ; ``traded``, ``moves`` : ``inputs.DAY_NOTIONAL`` and ``DAY_VOLATILITY``
    """
    numbers, coming = books.numbers, books.coming
    target, quantity = coming[WANTED, slot + i], numbers[QUANTITY, i]
    why = books.reason[slot + i]
    change = target - quantity
    price = fill_price(
        opening,
        change,
        costs.crossing,
        traded,
        moves,
        costs.coefficient,
        costs.factor,
    )
    profit = 0.0
    if quantity * target < 0:
        profit += book_fill(i, -quantity, price, t, opened_ms, why, books, log, detail)
        change = target
    profit += book_fill(i, change, price, t, opened_ms, why, books, log, detail)
    numbers[STOP, i] = coming[WANTED_STOP, slot + i] if target != 0.0 else math.nan
    if abs(target) > abs(quantity) or target * quantity < 0:
        numbers[LEVERAGE, i] = coming[WANTED_LEVERAGE, slot + i]
    size, entry = abs(numbers[QUANTITY, i]), numbers[ENTRY, i]
    if size > 0.0:
        side = 1.0 if target > 0 else -1.0
        wallet = size * entry / numbers[LEVERAGE, i]
        numbers[FORCED, i] = forced_price(side, size, entry, wallet, contracts.rates[i], contracts.cums[i])
    fence(i, numbers)
    return profit


def fence(i: int, numbers: Any) -> None:
    """Write down which side is held, and the prices that a bar must reach to touch its stop or its liquidation."""
    quantity, stop, forced = numbers[QUANTITY, i], numbers[STOP, i], numbers[FORCED, i]
    numbers[FLOOR, i], numbers[CEILING, i], numbers[SIGN, i] = -math.inf, math.inf, 0.0
    if quantity > 0.0:
        numbers[FLOOR, i], numbers[SIGN, i] = forced if math.isnan(stop) else max(stop, forced), 1.0
    elif quantity < 0.0:
        numbers[CEILING, i], numbers[SIGN, i] = forced if math.isnan(stop) else min(stop, forced), -1.0


def fill_all(
    slot: int,
    t: int,
    opened_ms: int,
    prices: Any,
    contracts: Any,
    costs: Costs,
    books: Books,
    log: Any,
    detail: bool,
) -> float:
    """Fill what was decided for every pair at this bar's open; a pair without an open keeps what it has. Returns the profit
    booked."""
    coming, numbers = books.coming, books.numbers
    pairs = numbers.shape[1]
    profit = 0.0
    for i in range(pairs):
        k = t * pairs + i
        if coming[WANTED, slot + i] != numbers[QUANTITY, i]:
            opening, traded, moves = prices[OPEN, k], prices[DAY_NOTIONAL, k], prices[DAY_VOLATILITY, k]
            if opening > 0:
                profit += fill_wanted(
                    i, slot, t, opened_ms, opening, traded, moves, contracts, costs, books, log, detail
                )
        coming[WANTED, slot + i] = numbers[QUANTITY, i]
    return profit


def expect_fills(t: int, prices: Any, pairs: int) -> None:
    """Ask for the three columns that few bars read, as :func:`fill_all` will at bar ``t``."""
    for k in range(t * pairs, (t + 1) * pairs, ABREAST):
        fetch(prices, (OPEN, k))
        fetch(prices, (DAY_NOTIONAL, k))
        fetch(prices, (DAY_VOLATILITY, k))


def any_waiting(slot: int, books: Books) -> bool:
    """Whether something was decided that fills at the next bar's open."""
    waiting = False
    for i in range(books.numbers.shape[1]):
        waiting |= books.coming[WANTED, slot + i] != books.numbers[QUANTITY, i]
    return waiting


def leave(
    i: int, what: int, price: float, t: int, close_ms: int, costs: Costs, books: Books, log: Any, detail: bool
) -> float:
    """A stop or a liquidation inside the bar: the position goes, and what was on its way in that pair with it."""
    numbers = books.numbers
    quantity = numbers[QUANTITY, i]
    why = LIQUIDATION
    if what == LIQUIDATED:
        price = bankruptcy(1.0 if quantity > 0 else -1.0, numbers[ENTRY, i], numbers[LEVERAGE, i])
        books.counts[LIQUIDATIONS] += 1
    else:
        # no impact is known inside a bar: spread and slippage alone
        price = fill_price(price, -quantity, costs.crossing, 0.0, 0.0, costs.coefficient, costs.factor)
        why = rules.STOP
    profit = book_fill(i, -quantity, price, t, close_ms, why, books, log, detail)
    fence(i, numbers)
    for place in range(i, books.reason.size, numbers.shape[1]):
        books.coming[WANTED, place] = 0.0
    return profit


def settle(i: int, price: float, rate: float, books: Books) -> None:
    """Pay or receive funding on one position."""
    payment = funding_payment(books.numbers[QUANTITY, i], price, rate)
    books.scalars[CASH] += payment
    books.scalars[FUNDED] += payment
    books.numbers[EARNED, i] += payment
    books.numbers[FUNDING, i] += payment


def book_fill(
    i: int, change: float, price: float, t: int, ts_ms: int, why: int, books: Books, log: Any, detail: bool
) -> float:
    """One fill that does not cross zero; returns the profit it realised, USDT, before its fee."""
    scalars, numbers = books.scalars, books.numbers
    quantity, size = numbers[QUANTITY, i], abs(change)
    fee = size * price * scalars[FEE]
    scalars[TRADED_TODAY] += size * price
    profit = 0.0
    if books.stamps[TRIP_ROW, i] < 0:
        books.stamps[TRIP_ROW, i] = t
        books.stamps[OPENED_MS, i] = ts_ms
        for sums in range(SIDE, NUMBERS):
            numbers[sums, i] = 0.0
        numbers[SIDE, i] = 1.0 if change > 0 else -1.0
    if quantity == 0.0 or (quantity > 0) == (change > 0):
        numbers[ENTRY, i] = average_entry(quantity, numbers[ENTRY, i], change, price)
        numbers[BOUGHT, i] += size
        numbers[BOUGHT_VALUE, i] += size * price
    else:
        profit = size * numbers[SIDE, i] * (price - numbers[ENTRY, i])
        numbers[SOLD, i] += size
        numbers[SOLD_VALUE, i] += size * price
    left = quantity + change
    numbers[QUANTITY, i] = left
    scalars[CASH] += profit - fee
    scalars[PAID] += fee
    numbers[EARNED, i] += profit - fee
    numbers[PROFIT, i] += profit
    numbers[FEES, i] += fee
    numbers[LARGEST, i] = max(numbers[LARGEST, i], abs(left))
    if detail:
        place = log.written[1]
        if place < log.fills.shape[0]:
            log.fills[place, 0], log.fills[place, 1], log.fills[place, 2] = t, i, change
            log.fills[place, 3], log.fills[place, 4] = price, fee
        log.written[1] += 1
    if left == 0.0:
        numbers[STOP, i] = math.nan
        end_trip(i, t, why, books, log, detail)
    return profit


def end_trip(i: int, t: int, why: int, books: Books, log: Any, detail: bool) -> None:
    """Write down the round trip of one pair and begin no other."""
    if detail:
        place = log.written[0]
        if place < log.trades.shape[0]:
            log.trades[place, 0], log.trades[place, 1], log.trades[place, 2] = i, books.stamps[TRIP_ROW, i], t
            for sums in range(SIDE, NUMBERS):
                log.trades[place, 3 + sums - SIDE] = books.numbers[sums, i]
            log.trades[place, 12] = why
        log.written[0] += 1
    books.counts[TRADES] += 1
    books.stamps[TRIP_ROW, i] = -1


def finish(one: int, market: Any, books: Books, log: Any, detail: bool) -> None:
    """Write down one set's round trips that are still open, marked at the last prices; no money moves."""
    numbers, rows = books.numbers[one], market.close_ms.size
    of_one = Books(
        numbers, books.stamps[one], books.coming[one], books.reason[one], books.scalars[one], books.counts[one]
    )
    for i in range(numbers.shape[1]):
        if of_one.stamps[TRIP_ROW, i] >= 0:
            size, price = abs(numbers[QUANTITY, i]), market.numbers[LAST, (rows - 1) * numbers.shape[1] + i]
            numbers[SOLD, i] += size
            numbers[SOLD_VALUE, i] += size * price
            numbers[PROFIT, i] += numbers[QUANTITY, i] * (price - numbers[ENTRY, i])
            end_trip(i, rows - 1, END, of_one, log, detail)
