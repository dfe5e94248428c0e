"""The window run: decide every 30 s of market time while holding the lease, commit each decision, end when told.

It needs no connection to the venue: market time, candles and readings come from the live state that the trader writes,
positions from the ledger. What is decided is :mod:`hydra_core.decision`'s matter, who trades it the trader's.
"""

from hydra_core.window.config import CycleReport, WindowConfig, WindowSummary
from hydra_core.window.run import run_window

__all__ = ["CycleReport", "WindowConfig", "WindowSummary", "run_window"]
