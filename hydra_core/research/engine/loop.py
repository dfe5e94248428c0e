"""The loop of the compiled backtest: the same order of events inside a bar as ``research.backtest`` tells.

Here: the order, and the books of one set after the other. Not here: any rule. What is decided, sized, filled, stopped,
liquidated and settled are functions of ``decision.rules``, ``risk``, ``execution`` and ``engine.money``. The functions here
are plain Python too; ``compiled`` compiles them.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from hydra_core.decision import rules
from hydra_core.decision.rules import Verdicts, clean, propose, review
from hydra_core.domain.intervals import DAY_MS
from hydra_core.research.engine.accounts import any_waiting, expect_fills, fill_all, leave, new_day, settle
from hydra_core.research.engine.inputs import (
    ADVERSE_EXCURSION,
    BIAS,
    CONFIDENCE,
    EXPECTED_RETURN,
    HAZARD_LONG,
    HAZARD_SHORT,
    HIGH,
    LAST,
    LOW,
    OPEN,
    PERMITTED,
    RATE,
    TRAP,
    VOLATILITY,
)
from hydra_core.research.engine.money import (
    UNTOUCHED,
    inside_bar,
)
from hydra_core.research.engine.parameters import Costs, Guards, costs_of, guards_of, sizes_of, terms_of
from hydra_core.research.engine.quiet import Cubes, mode_of, pass_quiet, shared_columns, stressed, track, turning
from hydra_core.research.engine.state import (
    BARRED,
    CASH,
    CEILING,
    DAY_LATCHED,
    DAY_START,
    DRAWDOWN_LATCHED,
    EARNED,
    ENTRY,
    FLOOR,
    FORCED,
    FUNDED,
    INCOMPLETE,
    OPENED_MS,
    PAID,
    PEAK,
    QUANTITY,
    STOP,
    STRESS,
    TRIPS,
    WANTED,
    WANTED_LEVERAGE,
    WANTED_STOP,
    Books,
)
from hydra_core.risk.sizing import bound_signals, capped_leverage
from hydra_core.risk.switches import (
    day_lost,
    drawn_down,
    position_lost,
)

BLOCK: Final = 128
"""Bars that one set is carried through before the next takes its turn: what they read stays in the cache."""
SIDE: Final = 0
EDGE: Final = 1
RISK_SHARE: Final = 2
STOP_DISTANCE: Final = 3
SAFE_LEVERAGE: Final = 4
CAP: Final = 5
MULTIPLIER: Final = 6
MAINTENANCE: Final = 7
"""Columns of a block's sizes: what signals permit, the largest leverage of the regime, the pairs' multipliers and rates."""


class Seen(NamedTuple):
    """Signals of one block and what they permit: what ``decision.rules`` calls a row; flat arrays."""

    expected_return: Any
    confidence: Any
    side: Any
    edge: Any
    risk_share: Any
    stop_distance: Any
    leverage: Any
    volatility: Any
    multiplier: Any
    hazard_long: Any
    hazard_short: Any
    bias: Any
    trap: Any


class Held(NamedTuple):
    """What ``decision.rules`` calls a book; arrays of length P."""

    quantity: Any
    age_ms: Any
    stop: Any
    price: Any
    fault: Any
    barred: Any
    step: Any
    min_quantity: Any
    min_notional: Any


def simulate(
    market: Any,
    signals: Any,
    cubes: Cubes,
    contracts: Any,
    parameters: Any,
    group: Any,
    floors: Any,
    fees: Any,
    assumed: Any,
    initial: float,
    interval_ms: int,
    books: Books,
    work: Any,
    log: Any,
    detail: bool,
) -> None:
    """Carry every parameter set through the whole span, a block of bars at a time.

    Parameters
    ----------
    market, signals : ``inputs.Market``, ``inputs.Signals``
    contracts : ``parameters.Contracts``
    parameters, group, floors, fees : ``numbers``, ``group``, ``fee_floors`` and ``fees`` of ``parameters.Parameters``
    initial : USDT that every account begins with
    books, work, log : as in ``state``; written
    detail : write down every bar, fill and round trip of the only set
    """
    rows, pairs = market.close_ms.size, signals.multiplier.size
    said, sizes = signals.numbers, work.sizes
    for at in range(sizes.shape[1]):
        sizes[MULTIPLIER, at] = signals.multiplier[at % pairs]
        sizes[MAINTENANCE, at] = signals.maintenance[at % pairs]
    for begin in range(0, rows, BLOCK):
        end = min(rows, begin + BLOCK)
        low, high = begin * pairs, end * pairs
        before = max(begin - 1, 0)
        turning(
            market.close_ms[begin:end],
            market.correlation_at[begin:end],
            market.due[low:high],
            (market.close_ms[before] - 1) // DAY_MS,
            market.correlation_at[before],
            work.turns,
        )
        for which in range(group.size - 1):
            by = sizes_of(parameters[group[which]])
            permitted = said[PERMITTED, low:high]
            for at in range(permitted.size):
                sizes[CAP, at] = capped_leverage(permitted[at], by.max_leverage)
            bound_signals(
                said[EXPECTED_RETURN, low:high],
                said[CONFIDENCE, low:high],
                said[ADVERSE_EXCURSION, low:high],
                said[VOLATILITY, low:high],
                sizes[MULTIPLIER],
                sizes[CAP],
                sizes[MAINTENANCE],
                by.round_trip,
                by.risk_per_trade,
                by.stop_sigmas,
                sizes[SIDE],
                sizes[EDGE],
                sizes[RISK_SHARE],
                sizes[STOP_DISTANCE],
                sizes[SAFE_LEVERAGE],
            )
            shared_columns(
                said[EXPECTED_RETURN, low:high],
                said[CONFIDENCE, low:high],
                sizes[EDGE],
                sizes[RISK_SHARE],
                sizes[SAFE_LEVERAGE],
                work.shared,
            )
            for one in range(group[which], group[which + 1]):
                of_one = Books(
                    books.numbers[one],
                    books.stamps[one],
                    books.coming[one],
                    books.reason[one],
                    books.scalars[one],
                    books.counts[one],
                )
                row = parameters[one]
                carry(
                    begin,
                    end,
                    market,
                    said,
                    cubes,
                    contracts,
                    row,
                    floors[one],
                    fees[one],
                    assumed,
                    initial,
                    interval_ms,
                    of_one,
                    work,
                    log.daily[one],
                    log,
                    detail,
                )


def carry(
    begin: int,
    end: int,
    market: Any,
    said: Any,
    cubes: Cubes,
    contracts: Any,
    parameters: Any,
    floors: Any,
    fees: Any,
    assumed: Any,
    initial: float,
    interval_ms: int,
    books: Books,
    work: Any,
    daily: Any,
    log: Any,
    detail: bool,
) -> None:
    """Carry one set through the bars [begin, end)."""
    terms, guards, costs = terms_of(parameters), guards_of(parameters), costs_of(parameters)
    numbers, scalars = books.numbers, books.scalars
    prices, pairs = market.numbers, numbers.shape[1]
    low, high = begin * pairs, end * pairs
    sizes, floats, whole = work.sizes, work.floats, work.whole
    seen = Seen(
        said[EXPECTED_RETURN, low:high],
        said[CONFIDENCE, low:high],
        sizes[SIDE],
        sizes[EDGE],
        sizes[RISK_SHARE],
        sizes[STOP_DISTANCE],
        sizes[SAFE_LEVERAGE],
        said[VOLATILITY, low:high],
        sizes[MULTIPLIER],
        said[HAZARD_LONG, low:high],
        said[HAZARD_SHORT, low:high],
        said[BIAS, low:high],
        said[TRAP, low:high],
    )
    delay = int(costs.delay)
    slot = (begin % (delay + 1)) * pairs
    slots = (delay + 1) * pairs
    newest = (slot - pairs) % slots
    straight = delay == 0
    asked = detail or not straight  # what waits to be filled keeps the leverage of what was outvoted too
    nothing, age_ms, exits = floats[1], whole[0], whole[1]
    committed, stops, barred = numbers[QUANTITY] if straight else floats[0], numbers[STOP], books.stamps[BARRED]
    steps, least, least_notional = contracts.filters[0], contracts.filters[1], contracts.filters[2]
    out = verdicts_of(straight, books, work)
    if not straight or begin == 0:
        clean(out)
    dirty = straight  # what the last block left may be on its way still
    first_day = (market.close_ms[0] - 1) // DAY_MS
    skips = straight and not detail
    stress = market.stress
    stressed(stress[0, begin:end], stress[1, begin:end], stress[2, begin:end], guards, work.bits)
    waiting = True  # what the last block left may be on its way still
    t = begin
    while t < end:
        paid, funded = scalars[PAID], scalars[FUNDED]
        opened_ms = market.close_ms[t] - interval_ms
        realised = fill_all(slot, t, opened_ms, prices, contracts, costs, books, log, detail) if waiting else 0.0
        if skips:
            t = pass_quiet(
                t, begin, end, market, cubes, work, terms, guards, assumed.forecaster, initial, books, daily, first_day
            )
            if t == end:
                break
        close_ms = market.close_ms[t]
        base, at = t * pairs, (t - begin) * pairs
        expect_fills(min(t + 1, market.close_ms.size - 1), prices, pairs)
        total, booked, holds = go_through(
            t, newest, straight, market, costs, committed, age_ms, exits, books, log, detail
        )
        realised += booked
        equity = initial + total
        mode = judge(base, equity, holds, prices, work.bits[t - begin], guards, books, exits)
        if dirty:
            clean(out)
            dirty = False
        last, missing = prices[LAST, base : base + pairs], market.missing[base : base + pairs]
        held = Held(committed, age_ms, stops, last, missing, barred, steps, least, least_notional)
        count = review(seen, at, held, exits, equity, terms, mode, asked, out)
        if count > 0:
            matrix = market.correlation[market.correlation_at[t]]
            dirty = propose(seen, at, matrix, held, equity, terms, nothing, assumed, count, asked, out)
        if not straight:
            keep(slot, out, books)
            newest = slot
            slot = slot + pairs if slot + pairs < slots else 0
        waiting = any_waiting(slot, books)
        track(equity, scalars)
        daily[(close_ms - 1) // DAY_MS - first_day] = equity
        if detail:
            note(t, base, equity, realised, scalars[PAID] - paid, scalars[FUNDED] - funded, dirty, books, out, log)
        if close_ms % DAY_MS == 0:
            new_day(equity, close_ms // DAY_MS, floors, fees, books)
        t += 1


def go_through(
    t: int,
    newest: int,
    straight: bool,
    market: Any,
    costs: Costs,
    committed: Any,
    age_ms: Any,
    exits: Any,
    books: Books,
    log: Any,
    detail: bool,
) -> tuple[float, float, bool]:
    """Stops, liquidations and settlements of one bar, pair by pair, and the book marked at its close.

    Returns
    -------
    What all pairs have earned, USDT; the profit booked in the bar; whether anything is held
    """
    numbers, prices, close_ms = books.numbers, market.numbers, market.close_ms[t]
    pairs = numbers.shape[1]
    total = realised = 0.0
    holds = False
    for i in range(pairs):
        k = t * pairs + i
        if prices[LOW, k] <= numbers[FLOOR, i] or prices[HIGH, k] >= numbers[CEILING, i]:
            realised += touch(i, t, k, close_ms, prices, costs, books, log, detail)
        worth = mark(i, k, prices, market.due, books)
        quantity = numbers[QUANTITY, i]
        holds = holds or quantity != 0.0
        if detail:
            log.tables[1, k] = worth
        total += worth
        goal = quantity if straight else books.coming[WANTED, newest + i]
        if not straight:
            committed[i] = goal
        if goal != 0.0:
            age_ms[i] = close_ms - books.stamps[OPENED_MS, i] if quantity * goal > 0 else 0
            exits[i] = rules.NONE
    return total, realised, holds


def verdicts_of(straight: bool, books: Books, work: Any) -> Verdicts:
    """Where decisions are written: with no delay where the next bar's fills look for them, as nothing else is on its
    way, else aside."""
    floats, whole, coming, pairs = work.floats, work.whole, books.coming, books.numbers.shape[1]
    return Verdicts(
        coming[WANTED, :pairs] if straight else floats[2],
        coming[WANTED_STOP, :pairs] if straight else floats[3],
        floats[4],
        coming[WANTED_LEVERAGE, :pairs] if straight else floats[5],
        whole[3],
        books.reason[:pairs] if straight else whole[4],
        whole[5],
        work.cast,
        whole[6],
        floats[6],
    )


def touch(
    i: int,
    t: int,
    k: int,
    close_ms: int,
    prices: Any,
    costs: Costs,
    books: Books,
    log: Any,
    detail: bool,
) -> float:
    """A held pair's stop or liquidation inside the bar, if it comes to one; returns the profit booked."""
    numbers = books.numbers
    what, price = inside_bar(
        numbers[QUANTITY, i],
        numbers[STOP, i],
        numbers[FORCED, i],
        prices[OPEN, k],
        prices[HIGH, k],
        prices[LOW, k],
        costs.gap_share,
    )
    return leave(i, what, price, t, close_ms, costs, books, log, detail) if what != UNTOUCHED else 0.0


def mark(i: int, k: int, prices: Any, due: Any, books: Books) -> float:
    """Mark one pair at the last known close, funding included where it is due; returns what the pair has earned, USDT."""
    numbers = books.numbers
    quantity = numbers[QUANTITY, i]
    if quantity == 0.0:
        return float(numbers[EARNED, i])
    price = prices[LAST, k]
    if due[k]:
        if prices[RATE, k] == prices[RATE, k]:
            settle(i, price, prices[RATE, k], books)
        else:
            books.counts[INCOMPLETE] += 1
    return float(numbers[EARNED, i] + quantity * (price - numbers[ENTRY, i]))


def keep(slot: int, out: Verdicts, books: Books) -> None:
    """Put decisions that fill later on their way."""
    for i in range(len(out.target)):
        books.coming[WANTED, slot + i] = out.target[i]
        books.coming[WANTED_STOP, slot + i] = out.stop[i]
        books.coming[WANTED_LEVERAGE, slot + i] = out.leverage[i]
        books.reason[slot + i] = out.reason[i]


def note(
    t: int,
    base: int,
    equity: float,
    realised: float,
    paid: float,
    funded: float,
    voted: bool,
    books: Books,
    out: Verdicts,
    log: Any,
) -> None:
    """Write down one instant: money, positions, outcomes, and the seats' choices where something was put to the vote."""
    log.lines[0, t], log.lines[1, t], log.lines[2, t] = equity, books.scalars[CASH], realised
    log.lines[3, t], log.lines[4, t] = paid, funded
    for i in range(len(out.outcome)):
        log.tables[0, base + i] = books.numbers[QUANTITY, i]
        log.tables[2, base + i] = out.target[i]
        log.outcomes[out.outcome[i]] += 1
        if voted and out.voted[i]:
            for seat in range(4):
                log.votes[3 * seat + out.cast[4 * i + seat] + 1] += 1


def judge(
    base: int,
    equity: float,
    holds: bool,
    prices: Any,
    bits: int,
    guards: Guards,
    books: Books,
    exits: Any,
) -> int:
    """The kill switches at a close: the mode they leave; exits due at once and bars are written."""
    scalars, counts, numbers = books.scalars, books.counts, books.numbers
    scalars[PEAK] = max(scalars[PEAK], equity)
    if scalars[DAY_LATCHED] == 0.0 and day_lost(equity, scalars[DAY_START], guards.day_loss_limit):
        scalars[DAY_LATCHED] = 1.0
        counts[TRIPS] += 1
    if scalars[DRAWDOWN_LATCHED] == 0.0 and drawn_down(equity, scalars[PEAK], guards.drawdown_limit):
        scalars[DRAWDOWN_LATCHED] = 1.0
        counts[TRIPS + 1] += 1
    if holds:
        for i in range(numbers.shape[1]):
            if numbers[QUANTITY, i] != 0.0 and position_lost(
                numbers[QUANTITY, i], numbers[ENTRY, i], prices[LAST, base + i], equity, guards.position_loss_limit
            ):
                exits[i] = rules.POSITION_LOSS
                books.stamps[BARRED, i] = 1
                counts[TRIPS + 2] += 1
    before = int(scalars[STRESS])
    if bits != before:
        for bit in range(3):
            counts[TRIPS + 3 + bit] += ((bits & ~before) >> bit) & 1
        scalars[STRESS] = bits
    return mode_of(bits, scalars)
