"""One cycle through the five layers, pure: what is known and held goes in, target positions with their reasons come
out.

:func:`assess` runs layers 2 and 3 over many bars at once, :func:`step` runs layers 4 and 5 on one instant (the backtest
calls it bar by bar), :func:`decide` wraps one step into a :class:`Decision` that says why. Not here: the rules
themselves (``risk``, ``execution``), clocks, files, sockets.
"""

from hydra_core.decision.assessment import Assessment, Row, assemble, assess
from hydra_core.decision.cycle import decide
from hydra_core.decision.snapshot import Faults, Snapshot, find_faults
from hydra_core.decision.step import OUTCOMES, REASONS, Book, Step, step
from hydra_core.risk.limits import Limits

__all__ = [
    "OUTCOMES",
    "REASONS",
    "Assessment",
    "Book",
    "Faults",
    "Limits",
    "Row",
    "Snapshot",
    "Step",
    "assemble",
    "assess",
    "decide",
    "find_faults",
    "step",
]
