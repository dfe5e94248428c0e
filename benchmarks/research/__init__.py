"""The research plane: backtest, replay, features, inference, the whole chain, training and statistics beside peers and limits.

One file a comparison, each with functions of a report that return rows; :data:`PARTS` names them for ``--part``. Not here: how
good forecasts and fits are (``hydra bench truth``).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

from benchmarks.rows import Report, Row


def _part(module: str, function: str = "measure") -> Callable[[Report], list[Row]]:
    """A part that is imported when it is run: one side of a comparison alone shall not load what all the others need."""

    def run(report: Report) -> list[Row]:
        rows: list[Row] = getattr(importlib.import_module(f"benchmarks.research.{module}"), function)(report)
        return rows

    return run


PARTS = {
    "engine": _part("backtests"),
    "features": _part("features"),
    "chain": _part("chain"),
    "replay": _part("event_replay"),
    "training": _part("training"),
    "hawkes": _part("layer2", "hawkes"),
    "merton": _part("layer2", "merton"),
    "live": _part("layer2", "live"),
    "retraining": _part("retraining"),
    "memory": _part("retraining", "long"),
}
"""In the order in which they run: those that take long come last."""
