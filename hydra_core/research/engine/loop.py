"""The loop of the compiled backtest: the same order of events inside a bar as ``research.backtest`` tells.

Here: the order, and the books of one set after the other. Not here: any rule. What is decided, sized, filled, stopped,
liquidated and settled are functions of ``decision.rules``, ``risk``, ``execution`` and ``engine.money``. The functions here
are plain Python too; ``compiled`` compiles them.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from hydra_core.decision import rules
from hydra_core.decision.rules import Terms, Verdicts, clean, propose, review
from hydra_core.domain.intervals import DAY_MS
from hydra_core.domain.trading import Mode
from hydra_core.research.engine.accounts import fill_wanted, leave, new_day, settle
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
from hydra_core.research.engine.parameters import Costs, Guards, Sizes
from hydra_core.research.engine.state import (
    BARRED,
    CASH,
    DAY_LATCHED,
    DAY_START,
    DRAWDOWN_LATCHED,
    EARNED,
    ENTRY,
    FORCED,
    FUNDED,
    HIGHEST,
    INCOMPLETE,
    LOWEST,
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

BLOCK: Final = 128
"""Bars that one set is carried through before the next takes its turn: what they read stays in the cache."""
SIDE: Final = 0
EDGE: Final = 1
RISK_SHARE: Final = 2
STOP_DISTANCE: Final = 3
SAFE_LEVERAGE: Final = 4
CAP: Final = 5
MULTIPLIER: Final = 6
"""Columns of a block's sizes: what signals permit, the largest leverage of the regime, the pairs' multipliers."""
_RANKS: Final = {mode: rank for rank, mode in enumerate(Mode)}
_LATCHED_MODE: Final = max(_RANKS[SWITCHES[name].mode] for name in (DAY_LOSS, DRAWDOWN))
_STRESS_MODE: Final = max(_RANKS[SWITCHES[name].mode] for name in (UNREADABLE_INPUT, CORRELATION_SPIKE, EXTREME_REGIME))


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
    for begin in range(0, rows, BLOCK):
        end = min(rows, begin + BLOCK)
        low, high = begin * pairs, end * pairs
        for which in range(group.size - 1):
            by = sizes_of(parameters[group[which]])
            for at in range(high - low):
                sizes[CAP, at] = capped_leverage(said[PERMITTED, low + at], by.max_leverage)
            bound_signals(
                said[EXPECTED_RETURN, low:high],
                said[CONFIDENCE, low:high],
                said[ADVERSE_EXCURSION, low:high],
                said[VOLATILITY, low:high],
                sizes[MULTIPLIER],
                sizes[CAP],
                by.round_trip,
                by.risk_per_trade,
                by.stop_sigmas,
                sizes[SIDE],
                sizes[EDGE],
                sizes[RISK_SHARE],
                sizes[STOP_DISTANCE],
                sizes[SAFE_LEVERAGE],
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


def terms_of(row: Any) -> Terms:
    """Named numbers of one row of the parameters."""
    return Terms(
        row[0],
        row[1],
        row[2],
        row[3],
        row[4],
        row[5],
        row[6],
        row[7],
        row[8],
        row[9],
        row[10],
        row[11],
        row[12],
        row[13],
    )


def sizes_of(row: Any) -> Sizes:
    """Named numbers of one row of the parameters."""
    return Sizes(row[14], row[15], row[16], row[17])


def guards_of(row: Any) -> Guards:
    """Named numbers of one row of the parameters."""
    return Guards(row[18], row[19], row[20], row[21], row[22], row[23])


def costs_of(row: Any) -> Costs:
    """Named numbers of one row of the parameters."""
    return Costs(row[24], row[25], row[26], row[27], row[28])


def carry(
    begin: int,
    end: int,
    market: Any,
    said: Any,
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
    numbers, coming, scalars = books.numbers, books.coming, books.scalars
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
    for t in range(begin, end):
        close_ms = market.close_ms[t]
        base, at = t * pairs, (t - begin) * pairs
        paid, realised, funded = scalars[PAID], 0.0, scalars[FUNDED]
        total = 0.0
        holds = False
        for i in range(pairs):
            k = base + i
            realised += touch(i, slot, t, k, close_ms, interval_ms, prices, contracts, costs, books, log, detail)
            worth = mark(i, k, prices, market.due, books)
            quantity = numbers[QUANTITY, i]
            holds = holds or quantity != 0.0
            if detail:
                log.tables[1, k] = worth
            total += worth
            goal = quantity if straight else coming[WANTED, newest + i]
            if not straight:
                committed[i] = goal
            if goal != 0.0:
                age_ms[i] = close_ms - books.stamps[OPENED_MS, i] if quantity * goal > 0 else 0
                exits[i] = rules.NONE
        equity = initial + total
        mode = judge(t, base, equity, holds, prices, market.stress, guards, books, exits)
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
        track(equity, scalars)
        daily[(close_ms - 1) // DAY_MS - first_day] = equity
        if detail:
            note(t, base, equity, realised, scalars[PAID] - paid, scalars[FUNDED] - funded, dirty, books, out, log)
        if close_ms % DAY_MS == 0:
            new_day(equity, close_ms // DAY_MS, floors, fees, books)


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
    slot: int,
    t: int,
    k: int,
    close_ms: int,
    interval_ms: int,
    prices: Any,
    contracts: Any,
    costs: Costs,
    books: Books,
    log: Any,
    detail: bool,
) -> float:
    """Fill what was decided for one pair, then its stop or liquidation inside the bar; returns the profit booked."""
    numbers = books.numbers
    realised = 0.0
    if books.coming[WANTED, slot + i] != numbers[QUANTITY, i] and prices[OPEN, k] > 0:
        realised += fill_wanted(i, slot, t, close_ms - interval_ms, prices, k, contracts, costs, books, log, detail)
    if numbers[QUANTITY, i] != 0.0:
        what, price = inside_bar(
            numbers[QUANTITY, i],
            numbers[STOP, i],
            numbers[FORCED, i],
            prices[OPEN, k],
            prices[HIGH, k],
            prices[LOW, k],
            costs.gap_share,
        )
        if what != UNTOUCHED:
            realised += leave(i, what, price, t, close_ms, costs, books, log, detail)
    return realised


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


def track(equity: float, scalars: Any) -> None:
    """The highest equity so far, and the lowest share of it since."""
    if equity >= scalars[HIGHEST]:
        scalars[HIGHEST] = equity
    elif equity < scalars[LOWEST] * scalars[HIGHEST]:
        scalars[LOWEST] = equity / scalars[HIGHEST]


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
    t: int,
    base: int,
    equity: float,
    holds: bool,
    prices: Any,
    stress: Any,
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
    bits = stress_bits(
        stress[0, t],
        stress[1, t],
        stress[2, t],
        guards.correlation_spike,
        guards.variance_ratio_spike,
        guards.extreme_regime_probability,
    )
    before = int(scalars[STRESS])
    if bits != before:
        for bit in range(3):
            counts[TRIPS + 3 + bit] += ((bits & ~before) >> bit) & 1
        scalars[STRESS] = bits
    mode = rules.ACTIVE
    if bits != 0:
        mode = _STRESS_MODE
    if scalars[DAY_LATCHED] + scalars[DRAWDOWN_LATCHED] > 0.0:
        mode = max(mode, _LATCHED_MODE)
    return mode
