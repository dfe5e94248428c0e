"""Candle intervals and the grids they span. All times are UTC epoch milliseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from hydra_core.domain.errors import UsageError

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS


class Interval(StrEnum):
    """A candle interval; the value is the exchange's own spelling."""

    M1 = "1m"
    M5 = "5m"
    M15 = "15m"
    H1 = "1h"
    H4 = "4h"
    D1 = "1d"

    @property
    def ms(self) -> int:
        """Length in milliseconds."""
        return _MS[self]

    def floor(self, ts_ms: int) -> int:
        """Open time of the candle that contains ``ts_ms``."""
        return ts_ms - ts_ms % self.ms

    def last_closed(self, now_ms: int) -> int:
        """Open time of the newest candle that is closed at ``now_ms``."""
        return self.floor(now_ms) - self.ms


_MS: Final = {
    Interval.M1: MINUTE_MS,
    Interval.M5: 5 * MINUTE_MS,
    Interval.M15: 15 * MINUTE_MS,
    Interval.H1: HOUR_MS,
    Interval.H4: 4 * HOUR_MS,
    Interval.D1: DAY_MS,
}
DEFAULT_INTERVALS: Final = (Interval.M1, Interval.M5, Interval.M15, Interval.H1, Interval.H4)
FORECAST_INTERVAL: Final = Interval.M5
"""The bar on which features, forecasts and backtests live."""


def next_day_ms(ts_ms: int) -> int:
    """Start of the UTC day after the one that contains ``ts_ms``."""
    return ts_ms - ts_ms % DAY_MS + DAY_MS


def parse_interval(text: str) -> Interval:
    """Interval from its spelling; raises UsageError naming the accepted ones."""
    try:
        return Interval(text.strip().lower())
    except ValueError:
        raise UsageError(f"unknown interval {text!r}", f"Known: {', '.join(Interval)}") from None


def utc(ts_ms: int) -> datetime:
    """Aware UTC datetime of an epoch in milliseconds."""
    return datetime.fromtimestamp(ts_ms / 1000, UTC)


def iso(ts_ms: int) -> str:
    """``2024-12-31T00:00:00Z`` spelling of an epoch in milliseconds."""
    return utc(ts_ms).strftime("%Y-%m-%dT%H:%M:%SZ")


def month_of(ts_ms: int) -> str:
    """``YYYY-MM`` of an epoch in milliseconds."""
    return utc(ts_ms).strftime("%Y-%m")


def month_span(month: str) -> tuple[int, int]:
    """First millisecond of the month ``YYYY-MM`` (or ``YYYY-MM-01``) and of the next one."""
    if not re.fullmatch(r"\d{4}-\d{2}(-01)?", month):
        raise UsageError(f"not a month: {month!r}", "Write YYYY-MM")
    year, number = int(month[:4]), int(month[5:7])
    if not 1 <= number <= 12:
        raise UsageError(f"not a month: {month!r}", "Write YYYY-MM")
    first = datetime(year, number, 1, tzinfo=UTC)
    after = datetime(year + number // 12, number % 12 + 1, 1, tzinfo=UTC)
    return int(first.timestamp() * 1000), int(after.timestamp() * 1000)


def months_between(start_ms: int, end_ms: int) -> tuple[str, ...]:
    """Every month ``YYYY-MM`` that the half-open span [start, end) touches."""
    months: list[str] = []
    at = start_ms
    while at < end_ms:
        months.append(month_of(at))
        at = month_span(months[-1])[1]
    return tuple(months)


def parse_time(text: str) -> int:
    """Epoch milliseconds of an ISO date or date-time; UTC when no zone is given."""
    try:
        moment = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError:
        raise UsageError(f"not a date: {text!r}", "Write 2024-12-31 or 2024-12-31T12:00") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)
