"""What was recorded, lived through again: one decision bit for bit, a paper session to the cent, a crash by the real trader.

Not here: the decision, the desk, the guard, the backtester themselves; they are driven as they are. Pages and tables are
made in ``report``.
"""

from hydra_core.replay.decision import Difference, Remaker, ReplayResult, replay

__all__ = ["Difference", "Remaker", "ReplayResult", "replay"]
