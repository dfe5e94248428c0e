"""What the books say filled in a recorded session, the market it filled in, and how that compares with the declared model.

The middle price of a fill comes from the book that the trader noted with it; where none was noted, from the last public
trade before it, else from the readings of the decision before it. The source is told with every fill.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from hydra_core.domain.intervals import HOUR_MS, iso
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Fill
from hydra_core.execution.slippage import AVERAGE_SHARE, expected_cost, peak_impact, sweep_price
from hydra_core.lake.spool import OWN_FILLS, TRADES, read_spool
from hydra_core.ledger.records import ADL, LIQUIDATION
from hydra_core.settings import CostSettings

BOOK: Final = "book"
TRADE: Final = "trade"
DECISION: Final = "decision"
FORCED: Final = frozenset({LIQUIDATION, ADL})
"""Plans of fills that no order of ours asked for: they happen at the mark, whatever a model of costs says."""
PRICE_STEP: Final = 1e-8
_TRADE_SEEN_MS: Final = HOUR_MS
"""How far back a public trade may lie and still tell where the market was."""


@dataclass(frozen=True, slots=True)
class Market:
    """The market as a fill found it: prices in USDT, sizes in base units, turnover in USDT; NaN where unknown."""

    mid: float
    source: str
    bid: float = math.nan
    bid_size: float = math.nan
    ask: float = math.nan
    ask_size: float = math.nan
    day_notional: float = 0.0
    day_volatility: float = 0.0


@dataclass(frozen=True, slots=True)
class FillCheck:
    """One fill against the declared model of costs.

    Parameters
    ----------
    mid, source : middle price when it filled, USDT, and where that is known from
    slippage_bp : by how much it was worse than the middle price, bp; negative: better
    declared_bp : what the backtester expects of an order of this size, bp
    allowed_bp : the most that the declared model lets it cost in the market that it found, bp
    slippage, declared : the first two in USDT
    """

    trade_id: str
    order_id: str
    plan_id: str
    pair: Pair
    event_ms: int
    side: int
    quantity: float
    price: float
    fee: float
    mid: float
    source: str
    slippage_bp: float
    declared_bp: float
    allowed_bp: float
    slippage: float
    declared: float
    maker: bool
    reason: str

    @property
    def within(self) -> bool:
        """Whether it cost no more than the declared model allows; a forced fill is not judged by it."""
        return self.plan_id in FORCED or self.slippage_bp <= self.allowed_bp + PRICE_STEP / self.mid * 1e4

    def to_json(self) -> dict[str, Any]:
        """The check as plain data."""
        return {**asdict(self), "time": iso(self.event_ms), "within": self.within}


class Markets:
    """Where the market was when orders filled, from the trader's captures.

    Parameters
    ----------
    spool : Path, the home's captures
    pairs : which pairs
    start_ms, end_ms : span, end excluded
    """

    def __init__(self, spool: Path, pairs: Iterable[Pair], start_ms: int, end_ms: int) -> None:
        self._spool = spool
        self._span = (start_ms, end_ms)
        self._books: dict[tuple[Pair, str], Market] = {}
        self._trades: dict[Pair, tuple[Sequence[int], Sequence[float]]] = {}
        for pair in pairs:
            for row in read_spool(spool, pair, start_ms, end_ms, OWN_FILLS).iter_rows(named=True):
                self._books[pair, row["trade_id"]] = Market(
                    mid=(row["bid"] + row["ask"]) / 2,
                    source=BOOK,
                    bid=row["bid"],
                    bid_size=row["bid_size"],
                    ask=row["ask"],
                    ask_size=row["ask_size"],
                    day_notional=row["day_notional"],
                    day_volatility=row["day_volatility"],
                )

    def at(self, fill: Fill, decided: float, day: tuple[float, float]) -> Market:
        """The market of one fill.

        Parameters
        ----------
        decided : middle price at the decision before it, NaN where unknown
        day : turnover (USDT) and volatility of the pair's last day at that decision
        """
        noted = self._books.get((fill.pair, fill.trade_id))
        if noted is not None:
            return noted
        traded = self._last_trade(fill.pair, fill.event_ms)
        if traded is not None:
            return Market(traded, TRADE, day_notional=day[0], day_volatility=day[1])
        mid = decided if math.isfinite(decided) else float(fill.price)
        return Market(mid, DECISION, day_notional=day[0], day_volatility=day[1])

    def _last_trade(self, pair: Pair, ts_ms: int) -> float | None:
        if pair not in self._trades:
            frame = read_spool(self._spool, pair, self._span[0] - _TRADE_SEEN_MS, self._span[1], TRADES)
            self._trades[pair] = (frame["ts"].dt.epoch("ms").to_list(), frame["price"].to_list())
        stamps, prices = self._trades[pair]
        at = bisect_right(stamps, ts_ms) - 1
        return prices[at] if at >= 0 and ts_ms - stamps[at] <= _TRADE_SEEN_MS else None


def check(fill: Fill, plan_id: str, market: Market, costs: CostSettings) -> FillCheck:
    """One fill against the declared model: half the spread, slippage, and the square-root law of impact."""
    quantity, price, side = float(fill.quantity), float(fill.price), int(fill.side)
    mid = market.mid
    crossing = (costs.half_spread_bp + costs.slippage_bp) * 1e-4
    coefficient = costs.impact_coefficient
    expected = expected_cost(crossing, quantity * mid, market.day_notional, market.day_volatility, coefficient)
    return FillCheck(
        trade_id=fill.trade_id,
        order_id=fill.order_id,
        plan_id=plan_id,
        pair=fill.pair,
        event_ms=fill.event_ms,
        side=side,
        quantity=quantity,
        price=price,
        fee=float(fill.fee),
        mid=mid,
        source=market.source,
        slippage_bp=side * (price / mid - 1) * 1e4,
        declared_bp=expected * 1e4,
        allowed_bp=_allowed(quantity, side, market, coefficient, expected) * 1e4,
        slippage=side * quantity * (price - mid),
        declared=quantity * mid * expected,
        maker=fill.maker,
        reason=fill.reason,
    )


def _allowed(quantity: float, side: int, market: Market, coefficient: float, expected: float) -> float:
    """Most that the model lets an order cost: what it expects, or the sweep of the book that the order really found."""
    best, size = (market.ask, market.ask_size) if side > 0 else (market.bid, market.bid_size)
    if not math.isfinite(best):
        return expected
    impact = AVERAGE_SHARE * peak_impact(quantity * best, market.day_notional, market.day_volatility, coefficient)
    return max(expected, side * (sweep_price(best, size, quantity, side > 0, impact) / market.mid - 1))


def summary(checks: Sequence[FillCheck]) -> Mapping[str, float]:
    """Fills in numbers: how many, how many within the model, and what they cost and should have, bp of the traded value."""
    judged = [one for one in checks if one.plan_id not in FORCED]
    traded = sum(one.quantity * one.mid for one in judged)
    return {
        "fills": len(checks),
        "within": sum(one.within for one in checks),
        "slippage_bp": sum(one.slippage for one in judged) / traded * 1e4 if traded else 0.0,
        "declared_bp": sum(one.declared for one in judged) / traded * 1e4 if traded else 0.0,
    }
