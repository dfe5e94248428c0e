"""Traded series: what a forecast, a set of models or a plain rule would have earned on a span, day by day.

A forecast is traded through layers 4 and 5 with the live decision step, the seats that are not on trial approving.
Not here: the engine (``backtest``), what the series must reach (``gates``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from hydra_core.alpha.models import Forecast, Models
from hydra_core.decision.assessment import Assessment, assemble, assess
from hydra_core.domain.intervals import DAY_MS
from hydra_core.domain.market import Floats, Ints, Panel
from hydra_core.execution.committee import ANALYST, CROWD, POLICY
from hydra_core.research.backtest import BacktestResult, FillRules, backtest
from hydra_core.research.conditions import ASSUMED, Conditions
from hydra_core.research.engine.inputs import Settlements
from hydra_core.research.engine.results import Prepared, trade
from hydra_core.research.folds import Span
from hydra_core.risk.limits import Limits

OTHER_SEATS: Final = frozenset({CROWD, ANALYST, POLICY})
"""Approve while the forecaster is on trial."""
CAPITAL: Final = 10_000.0
"""USDT at the start of a judged span."""


@dataclass(frozen=True, eq=False)
class Book:
    """One traded series.

    Parameters
    ----------
    ts : int64 (n,), close of each bar, epoch ms
    equity : (n,), USDT
    days : int64 (d,), start of each UTC day, epoch ms
    daily : (d,), simple return of equity over each
    entered_ms : int64 (k,), close of the bar in which each round trip was entered
    complete : False when a funding rate that was due is missing
    """

    ts: Ints
    equity: Floats
    days: Ints
    daily: Floats
    entered_ms: Ints
    complete: bool = True

    def since(self, start_ms: int) -> Book:
        """The part from a moment on; the day it lies in is left out unless it begins there."""
        rows, days = self.ts > start_ms, self.days >= start_ms
        return Book(
            self.ts[rows],
            self.equity[rows],
            self.days[days],
            self.daily[days],
            self.entered_ms[self.entered_ms > start_ms],
            self.complete,
        )

    def arrays(self) -> dict[str, Any]:
        """As named arrays, for a file."""
        return {
            "ts": self.ts,
            "equity": self.equity,
            "days": self.days,
            "daily": self.daily,
            "entered_ms": self.entered_ms,
            "complete": np.array(self.complete),
        }

    @classmethod
    def of_arrays(cls, arrays: dict[str, Any]) -> Book:
        """The inverse of :meth:`arrays`."""
        return cls(**{**arrays, "complete": bool(arrays["complete"])})


def trade_forecast(
    panel: Panel,
    forecast: Forecast,
    limits: Limits,
    span: Span,
    *,
    cost_factor: float = 1.0,
    conditions: Conditions = ASSUMED,
) -> Book:
    """Trade a forecast of shape (T, P) over a span of a panel's rows with the other seats approving."""
    prepared, limits, _ = prepared_forecast(panel, forecast, limits, span, conditions)
    fills = FillRules(cost_factor=cost_factor)
    result = trade(prepared, limits, CAPITAL, fills=fills, assume_approvals=OTHER_SEATS).result
    return book_of(result, prepared.panel)


def prepared_forecast(
    panel: Panel, forecast: Forecast, limits: Limits, span: Span, conditions: Conditions = ASSUMED
) -> tuple[Prepared, Limits, Assessment]:
    """A forecast of shape (T, P) ready to be traded over a span, the limits it is sized by, and the assessment behind it."""
    part, limits = panel.rows(slice(0, span.end)), conditions.limits(limits)
    assessment = assemble(part, limits, forecast.rows(slice(span.start, span.end)))
    more: Any = {"rules": conditions.rules, "settlements": conditions.until(span.end)}
    return Prepared.of(part, assessment, limits, span.start, span.end, **more), limits, assessment


def trade_models(
    panel: Panel,
    models: Models,
    limits: Limits,
    span: Span,
    *,
    cost_factor: float = 1.0,
    conditions: Conditions = ASSUMED,
) -> Book:
    """Trade a set of models over a span, every seat voting for itself.

    A policy must be asked bar by bar, as its word depends on what is held; without one the compiled engine serves.
    """
    part, limits = panel.rows(slice(0, span.end)), conditions.limits(limits)
    fills = FillRules(cost_factor=cost_factor)
    more: Any = {"fills": fills, "rules": conditions.rules, "settlements": conditions.until(span.end)}
    if models.policy is None:
        assessment = assess(part, models, limits, last=span.end - span.start)
        prepared = Prepared.of(part, assessment, limits, span.start, span.end, **more)
        return book_of(trade(prepared, limits, CAPITAL, fills=fills).result, part)
    return book_of(backtest(part, models, limits, span.start, span.end, CAPITAL, **more), part)


def book_of(result: BacktestResult, panel: Panel) -> Book:
    """The series of a backtest over rows of ``panel``."""
    days, daily = result.daily()
    entered = np.array([trade.entered_row for trade in result.trades], np.int64)
    return Book(result.ts, result.equity, days, daily, panel.close_ms[entered], result.complete)


def buy_and_hold(panel: Panel, span: Span, side_cost: float, settlements: Settlements | None = None) -> Book:
    """Equal parts of every pair, bought at the span's second open and held; funding is paid where it is known.

    Parameters
    ----------
    side_cost : of buying, fraction of notional
    settlements : over the panel's rows; None: every 8 h
    """
    rows = slice(span.start, span.end)
    funding = (settlements or Settlements.on_grid(panel, FillRules().funding_interval_ms)).rows(rows)
    close, ts = panel.close[rows], panel.close_ms[rows]
    known = np.where(np.isfinite(close), np.arange(len(close))[:, None], 0)
    filled = np.take_along_axis(close, np.maximum.accumulate(known, axis=0), axis=0)
    first = np.where(np.isfinite(filled[0]), filled[0], np.nanmean(filled, axis=0))
    worth = np.nan_to_num(filled / first, nan=1.0)
    paid = np.cumsum(np.where(funding.due, np.nan_to_num(funding.rate) * worth, 0.0), axis=0)
    equity = CAPITAL * ((worth - paid).mean(axis=1) - side_cost)
    day = (ts - 1) // DAY_MS
    last = np.flatnonzero(np.append(day[1:] != day[:-1], True))
    ends = equity[last]
    before = np.concatenate([[CAPITAL], ends[:-1]])
    return Book(ts, equity, day[last] * DAY_MS, ends / before - 1, np.empty(0, np.int64))


def aligned(books: list[Book]) -> Floats:
    """Daily returns of several books over the days that all of them have, shape (days, books)."""
    shared = books[0].days
    for book in books[1:]:
        shared = np.intersect1d(shared, book.days)
    return np.stack([book.daily[np.searchsorted(book.days, shared)] for book in books], axis=1)
