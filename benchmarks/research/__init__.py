"""The research plane: backtest, features, inference, the whole chain and training beside peers and limits.

One file a comparison, each with ``measure(report) -> list[Row]``.
"""

from __future__ import annotations

from benchmarks.research import backtests, chain, features, training
from benchmarks.rows import Report, Row


def measure(report: Report) -> list[Row]:
    """The rows of this group."""
    return [row for part in (backtests, features, chain, training) for row in part.measure(report)]
