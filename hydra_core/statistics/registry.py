"""The registry of statistics: each is a causal function of a view with a declared look-back.

One parametrised test holds every member to causality and to its look-back; a new one is tested once it is registered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from hydra_core.domain.errors import InputMissing, UsageError
from hydra_core.domain.market import CANDLES, Floats, Panel
from hydra_core.domain.panel import MAX_LOOKBACK_BARS
from hydra_core.statistics.view import View, tail_view


@dataclass(frozen=True, eq=False)
class Statistic:
    """One registered statistic.

    Parameters
    ----------
    name : str, unique
    lookback : int, rows before and including the one it is for
    reach : int, the same beside what its views keep (``View.kept``)
    inputs : panel inputs without which it does not exist
    compute : View -> float64 array with time first, causal, NaN where not yet known
    """

    name: str
    lookback: int
    inputs: frozenset[str]
    compute: Callable[[View], Floats]
    reach: int

    def __str__(self) -> str:
        return self.name

    def of(self, view: View, last: int) -> Floats:
        """The newest ``last`` values from a view that is long enough."""
        values = self.compute(view.reaching(self.lookback, self.reach, last))
        return values[values.shape[0] - last :]

    def __call__(self, panel: Panel, last: int | None = None) -> Floats:
        """Values of every row, or of the newest ``last`` rows; raises InputMissing when an input is absent."""
        lacking = self.inputs - panel.inputs
        if lacking:
            raise InputMissing(
                f"{self.name} needs {', '.join(sorted(lacking))}, the panel has none", "Collect it first"
            )
        view = tail_view(panel, self.lookback, last)
        return self.of(view, len(panel) if last is None else last)


_REGISTRY: Final[dict[str, Statistic]] = {}


def statistic(
    name: str, lookback: int, inputs: Iterable[str] = (CANDLES,), *, reach: int | None = None
) -> Callable[[Callable[[View], Floats]], Statistic]:
    """Register a function of a view; the decorated name becomes the :class:`Statistic`.

    Raises
    ------
    UsageError : the name is taken, or the look-back exceeds :data:`~hydra_core.domain.panel.MAX_LOOKBACK_BARS`
    """
    if name in _REGISTRY:
        raise UsageError(f"statistic {name!r} is registered twice", "Choose another name")
    if not 1 <= lookback <= MAX_LOOKBACK_BARS:
        raise UsageError(f"statistic {name!r} looks back {lookback} rows", f"At most {MAX_LOOKBACK_BARS} can be kept")

    def register(compute: Callable[[View], Floats]) -> Statistic:
        member = Statistic(name, lookback, frozenset(inputs), compute, reach or lookback)
        _REGISTRY[name] = member
        return member

    return register


def statistics() -> tuple[Statistic, ...]:
    """Every registered statistic, in order of registration."""
    from hydra_core.statistics import state  # importing it registers them all

    del state
    return tuple(_REGISTRY.values())
