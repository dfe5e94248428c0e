"""An event-driven backtest that drives the same decision step as the live cycle, bar by bar.

What is assumed inside a bar, in order: orders decided at the last close fill at this bar's open, with slippage and fees; then
stops and liquidations against the bar's extremes, the worse of two that both lie inside; then funding, where the bar's close
is a settlement; then the book is marked at the close, kill switches are judged, and the next decision is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

import numpy as np

from hydra_core.alpha.models import Models
from hydra_core.decision import Assessment, Limits
from hydra_core.domain.market import Floats, Ints, MarketRules, Panel
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Side


@dataclass(frozen=True, slots=True)
class FillRules:
    """How orders fill in a backtest.

    Parameters
    ----------
    cost_factor : multiplies fees, spread and slippage of fills (not what decisions expect): 1.5 is the cost stress
    delay_bars : extra bars between a decision and its fill
    gap_share : share of the way from a stop to the bar's extreme that a stop's fill gives away
    funding_interval_ms : settlements lie on multiples of it
    """

    cost_factor: float = 1.0
    delay_bars: int = 0
    gap_share: float = 0.1
    funding_interval_ms: int = 8 * 3_600_000


@dataclass(frozen=True, slots=True)
class Trade:
    """One round trip, from flat to flat or to the other side.

    Parameters
    ----------
    entered_row, left_row : rows of the panel; ``left_row`` is the last row of the span for a trade still open at the end
    quantity : largest size held, base units
    entered_price, left_price : average prices, USDT
    profit : price profit, USDT, before costs; ``net`` = profit - fees + funding
    why : what ended it: ``stop``, ``liquidation``, ``opposite``, ``cost-band``, ``horizon``, ``kill-switch``, ``end``, ...
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


@dataclass(frozen=True, eq=False)
class BacktestResult:
    """What a backtest did; T rows of the span, P pairs, money in USDT.

    Parameters
    ----------
    ts : int64 (T,), close time of every bar, epoch ms
    equity, cash, unrealised : (T,) at the close; ``equity = cash + unrealised``
    realised, fees, funding : (T,) flows booked in the bar; ``diff(cash) = realised - fees + funding``
    exposure : (T,), gross notional over equity at the close
    quantity : (T, P), signed base units held at the close
    pair_profit : (T, P), change of equity in the bar by pair, after fees and funding
    target : (T, P), signed base units decided at the close
    outcomes : outcome -> count over rows and pairs
    votes : seat -> choice -> count over sized proposals
    trips : kill switch -> rows in which it tripped
    trades : round trips, in order of leaving
    liquidations : number of forced exits
    complete : False when a funding rate that was due is missing: the result must not be scored
    """

    pairs: tuple[Pair, ...]
    ts: Ints
    initial_equity: float
    equity: Floats
    cash: Floats
    unrealised: Floats
    realised: Floats
    fees: Floats
    funding: Floats
    exposure: Floats
    quantity: Floats
    pair_profit: Floats
    target: Floats
    outcomes: Mapping[str, int]
    votes: Mapping[str, Mapping[str, int]]
    trips: Mapping[str, int]
    trades: tuple[Trade, ...]
    liquidations: int
    complete: bool

    @property
    def returns(self) -> Floats:
        """Simple return of equity per bar, shape (T,)."""
        raise NotImplementedError

    def daily(self) -> tuple[Ints, Floats]:
        """UTC days (epoch ms of their start) and the simple return of equity over each."""
        raise NotImplementedError


def backtest(
    panel: Panel,
    signals: Models | Assessment,
    limits: Limits,
    start_row: int = 0,
    end_row: int | None = None,
    initial_equity: float = 10_000.0,
    *,
    models: Models | None = None,
    assume_approvals: Set[str] = frozenset(),
    fills: FillRules = FillRules(),
    rules: Mapping[Pair, MarketRules] | None = None,
) -> BacktestResult:
    """Trade a span of history with the live decision step.

    Parameters
    ----------
    panel : Panel
    signals : Models to assess the panel with, or an Assessment made before (``decision.assess`` or ``decision.assemble`` from
        out-of-fold forecasts); it is matched to the panel by bar close
    start_row, end_row : span [start, end) of panel rows; the first decision is taken at the close of ``start_row``
    models : whose policy sits in its seat when ``signals`` is an Assessment
    assume_approvals : seats taken as approving (``crowd``, ``analyst``, ``policy``, ``forecaster``)
    fills : FillRules
    rules : the exchange's filters; None: sizes are not rounded
    """
    raise NotImplementedError
