"""The research plane: backtest, features and training beside what one would use without HYDRA.

One file a comparison, each with ``measure(report) -> list[Row]``.
"""

from __future__ import annotations

from benchmarks.research import backtests, features, training
from benchmarks.rows import Report, Row


def measure(report: Report) -> list[Row]:
    """The rows of this group."""
    return [row for part in (backtests, features, training) for row in part.measure(report)]
