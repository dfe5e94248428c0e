"""The book of a backtest: what fills, stops, liquidations and funding do to cash and positions.

Here: the rules of filling, and the books of one instrument after the other, on plain floats. Not here: the arithmetic of
one fill (``engine.money``), what to hold (``decision``), the order of events inside a bar (``backtest``).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from hydra_core.domain.errors import UsageError
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Side
from hydra_core.research.engine import money
from hydra_core.risk.margin import Tier, forced_price
from hydra_core.settings import CostSettings

LIQUIDATION: Final = "liquidation"
STOP: Final = "stop"
END: Final = "end"


@dataclass(frozen=True, slots=True)
class FillRules:
    """How orders fill in a backtest.

    Parameters
    ----------
    cost_factor : multiplies fees, spread, slippage and impact of fills, not what decisions expect: 1.5 is the cost
        stress
    fee_factor, slippage_factor : multiply the fees alone; slippage and impact, not the spread; beside ``cost_factor``
    delay_bars : extra bars between a decision and its fill
    gap_share : share of the way from a stop to the bar's extreme that a stop's fill gives away
    funding_interval_ms : settlements lie on multiples of it, where the contract's own are not at hand
    fee_tiers : (USDT traded in the last :data:`money.FEE_DAYS` UTC days from which it holds, taker fee in bp), ascending
        from 0; empty: the fee and the fee tiers of the cost settings
    margin_tiers : pair -> its table of maintenance margin; others have one rate

    Raises
    ------
    UsageError : negative delay, factor or interval, or fee tiers that do not ascend from 0
    """

    cost_factor: float = 1.0
    delay_bars: int = 0
    gap_share: float = 0.1
    funding_interval_ms: int = 8 * 3_600_000
    fee_tiers: tuple[tuple[float, float], ...] = ()
    margin_tiers: Mapping[Pair, Sequence[Tier]] = field(default_factory=dict)
    fee_factor: float = 1.0
    slippage_factor: float = 1.0

    def __post_init__(self) -> None:
        factors = self.cost_factor, self.fee_factor, self.slippage_factor
        if self.delay_bars < 0 or min(factors) < 0 or self.funding_interval_ms <= 0 or not 0 <= self.gap_share <= 1:
            raise UsageError(
                f"fill rules: delay {self.delay_bars}, factors of costs, fees and slippage {factors}, "
                f"gap share {self.gap_share}, funding interval {self.funding_interval_ms}",
                "Delay and factors are not negative, the interval is positive, the share lies in [0, 1]",
            )
        floors = [floor for floor, _ in self.fee_tiers]
        if floors and (floors[0] != 0 or any(later <= floor for floor, later in pairwise(floors))):
            raise UsageError(f"fee tiers must ascend from 0: {floors}")

    def fees(self, costs: CostSettings) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Floors (USDT) and taker fees (fraction of notional, the factors included)."""
        scheduled = ((0.0, costs.taker_fee_bp), *((tier.volume, tier.taker_bp) for tier in costs.fee_tiers))
        tiers = self.fee_tiers or scheduled
        factor = self.cost_factor * self.fee_factor
        return tuple(floor for floor, _ in tiers), tuple(bp * 1e-4 * factor for _, bp in tiers)

    def crossing(self, costs: CostSettings) -> tuple[float, float]:
        """Half the spread and slippage (fraction of price), and Y of the square-root law, the cost factor left out."""
        crossing = (costs.half_spread_bp + costs.slippage_bp * self.slippage_factor) * 1e-4
        return crossing, costs.impact_coefficient * self.slippage_factor


@dataclass(frozen=True, slots=True)
class Trade:
    """One round trip, from flat to flat or to the other side.

    Parameters
    ----------
    entered_row, left_row : rows of the panel; ``left_row`` is the last row of the span for a trade still open at the
        end
    quantity : largest size held, base units
    entered_price, left_price : average fill prices, USDT
    profit : price profit, USDT, before costs
    fees : USDT paid; ``funding`` : USDT received, negative when paid
    why : what ended it: ``stop``, ``liquidation``, ``end``, or a reason of ``decision.step``
    """

    pair: Pair
    side: Side
    entered_row: int
    left_row: int
    quantity: float
    entered_price: float
    left_price: float
    profit: float
    fees: float
    funding: float
    why: str

    @property
    def net(self) -> float:
        """Profit after fees and funding, USDT."""
        return self.profit - self.fees + self.funding


@dataclass(slots=True)
class _Open:
    """Running sums of the round trip that is open in one pair."""

    row: int
    side: int
    largest: float = 0.0
    bought: float = 0.0
    bought_value: float = 0.0
    sold: float = 0.0
    sold_value: float = 0.0
    profit: float = 0.0
    fees: float = 0.0
    funding: float = 0.0


class Account:
    """Cash and positions of a backtest; lists of length P.

    Attributes
    ----------
    cash : float, USDT
    quantity : signed base units; ``entry`` : average entry price, USDT; ``stop`` : USDT, NaN without one
    leverage : notional over isolated margin at entry
    opened_ms : market time at which each position was opened
    earned : USDT by pair so far: realised profit - fees + funding
    realised, fees, funding : USDT booked since :meth:`new_bar`
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        cash: float,
        costs: CostSettings,
        rules: FillRules,
        margin: Sequence[Sequence[Tier]],
    ) -> None:
        count = len(pairs)
        self.pairs = tuple(pairs)
        self.cash = cash
        self.quantity = [0.0] * count
        self.entry = [0.0] * count
        self.stop = [math.nan] * count
        self.leverage = [1.0] * count
        self.opened_ms = [0] * count
        self.earned = [0.0] * count
        self.realised = self.fees = self.funding = 0.0
        self.trades: list[Trade] = []
        self.liquidations = 0
        self._open: list[_Open | None] = [None] * count
        self._crossing = rules.crossing(costs)
        self._rules = rules
        self._rates = [[tier.rate for tier in table] for table in margin]
        self._cums = [[tier.cum for tier in table] for table in margin]
        self._fees = rules.fees(costs)
        self._traded: deque[float] = deque([0.0] * money.FEE_DAYS, maxlen=money.FEE_DAYS)
        self._traded_today = 0.0
        self._fee = money.tier_fee(0.0, *self._fees)

    def new_bar(self) -> None:
        """Begin the flows of a bar at zero."""
        self.realised = self.fees = self.funding = 0.0

    def new_day(self) -> None:
        """The UTC day is over: what was traded in the last days decides the fee of the next."""
        self._traded.append(self._traded_today)
        self._traded_today = 0.0
        self._fee = money.tier_fee(sum(self._traded), *self._fees)

    def adopt(self, i: int, quantity: float, entry: float, ts_ms: int) -> None:
        """Begin with a position that was opened earlier; no money moves, and its trade counts from here."""
        self.quantity[i], self.entry[i], self.opened_ms[i] = quantity, entry, ts_ms
        size = abs(quantity)
        self._open[i] = _Open(0, 1 if quantity > 0 else -1, size, bought=size, bought_value=size * entry)

    def trade_to(
        self,
        i: int,
        target: float,
        price: float,
        row: int,
        ts_ms: int,
        why: str,
        day_notional: float = 0.0,
        day_volatility: float = 0.0,
    ) -> None:
        """Fill the change to ``target`` (signed base units) by market orders around ``price``; crossing zero is two fills."""
        quantity = self.quantity[i]
        change = target - quantity
        if change == 0.0:
            return
        crossing, coefficient = self._crossing
        fill = money.fill_price(
            price, change, crossing, day_notional, day_volatility, coefficient, self._rules.cost_factor
        )
        if quantity * target < 0:
            self._fill(i, -quantity, fill, row, ts_ms, why)
            self._fill(i, target, fill, row, ts_ms, why)
        else:
            self._fill(i, change, fill, row, ts_ms, why)

    def inside_bar(self, i: int, opening: float, high: float, low: float, row: int, ts_ms: int) -> str:
        """Stop or liquidation of one position against a bar's extremes; returns what happened, empty for nothing."""
        quantity = self.quantity[i]
        if quantity == 0.0:
            return ""
        side = 1.0 if quantity > 0 else -1.0
        wallet = abs(quantity) * self.entry[i] / self.leverage[i]
        forced = forced_price(side, abs(quantity), self.entry[i], wallet, self._rates[i], self._cums[i])
        what, fill = money.inside_bar(quantity, self.stop[i], forced, opening, high, low, self._rules.gap_share)
        if what == money.LIQUIDATED:
            self.liquidations += 1
            self._fill(i, -quantity, money.bankruptcy(side, self.entry[i], self.leverage[i]), row, ts_ms, LIQUIDATION)
            return LIQUIDATION
        if what == money.STOPPED:
            self.trade_to(i, 0.0, fill, row, ts_ms, STOP)
            return STOP
        return ""

    def settle(self, i: int, price: float, rate: float) -> None:
        """Pay or receive funding: cash changes by minus signed quantity times price times rate."""
        payment = money.funding_payment(self.quantity[i], price, rate)
        self.cash += payment
        self.funding += payment
        self.earned[i] += payment
        trip = self._open[i]
        if trip is not None:
            trip.funding += payment

    def unrealised(self, i: int, price: float) -> float:
        """Profit of an open position at a price, USDT."""
        quantity = self.quantity[i]
        return quantity * (price - self.entry[i]) if quantity else 0.0

    def finish(self, row: int, prices: Sequence[float]) -> None:
        """Write down trades that are still open, marked at the last prices; no money moves."""
        for i, trip in enumerate(self._open):
            if trip is not None:
                quantity = abs(self.quantity[i])
                trip.sold += quantity
                trip.sold_value += quantity * prices[i]
                trip.profit += self.unrealised(i, prices[i])
                self._record(i, trip, row, END)

    def _fill(self, i: int, change: float, price: float, row: int, ts_ms: int, why: str) -> None:
        """One fill that does not cross zero."""
        quantity, size = self.quantity[i], abs(change)
        fee = size * price * self._fee
        self._traded_today += size * price
        trip = self._open[i]
        profit = 0.0
        if trip is None:
            trip = self._open[i] = _Open(row, 1 if change > 0 else -1)
            self.opened_ms[i] = ts_ms
        if quantity == 0.0 or (quantity > 0) == (change > 0):
            self.entry[i] = money.average_entry(quantity, self.entry[i], change, price)
            trip.bought += size
            trip.bought_value += size * price
        else:
            profit = size * trip.side * (price - self.entry[i])
            trip.sold += size
            trip.sold_value += size * price
        self.quantity[i] = quantity + change
        self.cash += profit - fee
        self.realised += profit
        self.fees += fee
        self.earned[i] += profit - fee
        trip.profit += profit
        trip.fees += fee
        trip.largest = max(trip.largest, abs(self.quantity[i]))
        if self.quantity[i] == 0.0:
            self.stop[i] = math.nan
            self._record(i, trip, row, why)
            self._open[i] = None

    def _record(self, i: int, trip: _Open, row: int, why: str) -> None:
        self.trades.append(
            Trade(
                pair=self.pairs[i],
                side=Side(trip.side),
                entered_row=trip.row,
                left_row=row,
                quantity=trip.largest,
                entered_price=trip.bought_value / trip.bought,
                left_price=trip.sold_value / trip.sold if trip.sold else math.nan,
                profit=trip.profit,
                fees=trip.fees,
                funding=trip.funding,
                why=why,
            )
        )
