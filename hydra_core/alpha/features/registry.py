"""The feature registry and the set that computes many features over one panel."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt
from numba import get_num_threads, njit

from hydra_core.domain.errors import InputMissing, UsageError
from hydra_core.domain.market import CANDLES, PUBLICATION_DELAY_MS, Floats, Panel
from hydra_core.domain.panel import MAX_LOOKBACK_BARS
from hydra_core.domain.rowmemory import bar_of, memory_of
from hydra_core.statistics.view import View, tail_view

Floats32 = npt.NDArray[np.float32]

_TOGETHER: Final = 16
"""Columns laid into the result at once: 64 bytes, a line of the processor's cache."""

_MOST_ROWS: Final = 24_576
"""Rows computed together: what the features of a longer history share would fill the memory."""
_LEAST_ROWS: Final = 8192
"""Rows that are worth a thread: each begins with the look-back of what it computes."""


@dataclass(frozen=True, eq=False)
class Feature:
    """One registered feature.

    Parameters
    ----------
    name : str, unique
    lookback : int, rows before and including the one it is for
    reach : int, the same beside what its views keep (``View.kept``)
    inputs : panel inputs without which it does not exist
    compute : View -> float64 array (T, P), causal, scale-free, NaN only in warm-up and where the market was silent
    usual : whether a set that names no features holds it; models are trained on these. The others are there to be named
    steady : whether a row's value has the same bits however many rows are computed with it; else it is right to 1e-9 only,
        and is never taken from an earlier bar
    """

    name: str
    lookback: int
    inputs: frozenset[str]
    compute: Callable[[View], Floats]
    usual: bool = True
    steady: bool = True
    reach: int = 0

    @property
    def family(self) -> str:
        """Name of its family: the module that registers it."""
        return self.compute.__module__.rpartition(".")[2]

    @property
    def delay_ms(self) -> int:
        """How long after its stamp the slowest of its inputs is known, ms; the panel joins it no earlier."""
        return max((PUBLICATION_DELAY_MS.get(name, 0) for name in self.inputs), default=0)

    def __str__(self) -> str:
        return self.name


_REGISTRY: Final[dict[str, Feature]] = {}


def feature(
    name: str,
    lookback: int,
    inputs: Iterable[str] = (CANDLES,),
    *,
    usual: bool = True,
    steady: bool = True,
    reach: int | None = None,
) -> Callable[[Callable[[View], Floats]], Callable[[View], Floats]]:
    """Register a function of a :class:`~hydra_core.statistics.view.View` as a feature.

    Raises
    ------
    UsageError : the name is taken, or the look-back exceeds :data:`~hydra_core.domain.panel.MAX_LOOKBACK_BARS`
    """
    if name in _REGISTRY:
        raise UsageError(f"feature {name!r} is registered twice", "Choose another name")
    if not 1 <= lookback <= MAX_LOOKBACK_BARS:
        raise UsageError(
            f"feature {name!r} looks back {lookback} rows", f"Between 1 and {MAX_LOOKBACK_BARS} can be kept"
        )

    def register(compute: Callable[[View], Floats]) -> Callable[[View], Floats]:
        _REGISTRY[name] = Feature(name, lookback, frozenset(inputs), compute, usual, steady, reach or lookback)
        return compute

    return register


def features() -> tuple[Feature, ...]:
    """Every registered feature, in order of registration."""
    return tuple(_REGISTRY.values())


class FeatureSet:
    """An ordered choice of features, computed together over one panel.

    Parameters
    ----------
    names : features in column order; the usual ones where None

    Raises
    ------
    UsageError : a name is not registered
    """

    def __init__(self, names: Iterable[str] | None = None) -> None:
        usual = (name for name, member in _REGISTRY.items() if member.usual)
        chosen = tuple(usual if names is None else names)
        unknown = [name for name in chosen if name not in _REGISTRY]
        if unknown:
            raise UsageError(f"unknown features: {', '.join(unknown)}", f"Known: {', '.join(_REGISTRY)}")
        self.features: tuple[Feature, ...] = tuple(_REGISTRY[name] for name in chosen)

    @classmethod
    def every(cls) -> FeatureSet:
        """All registered features."""
        return cls(_REGISTRY)

    def __len__(self) -> int:
        return len(self.features)

    @property
    def names(self) -> tuple[str, ...]:
        """Names in column order."""
        return tuple(member.name for member in self.features)

    @property
    def inputs(self) -> frozenset[str]:
        """Panel inputs that the set cannot do without."""
        return frozenset().union(*(member.inputs for member in self.features))

    @property
    def lookback(self) -> int:
        """Rows before and including the first one asked for."""
        return max((member.lookback for member in self.features), default=1)

    def available(self, panel_inputs: Iterable[str]) -> FeatureSet:
        """The features whose inputs a panel holds."""
        held = frozenset(panel_inputs)
        return FeatureSet(member.name for member in self.features if member.inputs <= held)

    def compute(self, panel: Panel, last: int | None = None) -> Floats32:
        """Feature columns of every row, or of the newest ``last`` rows; long histories in as many threads as numba may use.

        Parameters
        ----------
        panel : Panel, T rows, P pairs
        last : int, optional; only the rows needed for these are read, and rows that an earlier panel had are not
            computed again

        Returns
        -------
        float32 array of shape (T, P, F), or (last, P, F); not to be written to

        Raises
        ------
        InputMissing : the panel lacks a declared input, or has fewer than ``last`` rows
        """
        lacking = self.inputs - panel.inputs
        if lacking:
            raise InputMissing(f"features need {', '.join(sorted(lacking))}, the panel has none", "Collect it first")
        memory = memory_of(panel)
        if last is None or memory is None or not last <= len(panel) - self.lookback + 1:
            return self._computed(panel, last)
        end = bar_of(panel, -1) + 1
        steady = [place for place, member in enumerate(self.features) if member.steady]
        if len(steady) < len(self):
            unsteady = [place for place in range(len(self)) if place not in steady]
            out = np.empty((last, len(panel.pairs), len(self)), np.float32)
            for places, part in ((steady, self._only(steady).compute), (unsteady, self._only(unsteady)._computed)):
                out[:, :, places] = part(panel, last)
            return out
        known = memory.recall(("features", self.names), end - last, end, partial(self._computed, panel))
        return self._computed(panel, last) if known is None else known

    def _only(self, places: list[int]) -> FeatureSet:
        return FeatureSet(self.features[place].name for place in places)

    def _computed(self, panel: Panel, last: int | None) -> Floats32:
        rows = len(panel) if last is None else last
        out = np.empty((rows, len(panel.pairs), len(self.features)), np.float32)
        threads = max(1, min(get_num_threads(), rows // _LEAST_ROWS))
        if (threads < 2 and rows <= _MOST_ROWS) or not all(member.steady for member in self.features):
            self._fill(tail_view(panel, self.lookback, last), out)
            return out
        apart = replace(panel, memory=None)  # rows that a table remembers are its newest; these are all of them
        size = min(_MOST_ROWS, -(-rows // threads))

        def fill(first: int) -> None:
            block = out[first : first + size]
            end = len(panel) - rows + first + len(block)
            self._fill(tail_view(apart.rows(slice(0, end)), self.lookback, len(block)), block)

        with ThreadPoolExecutor(threads) as pool:
            for part in [pool.submit(copy_context().run, fill, first) for first in range(0, rows, size)]:
                part.result()
        return out

    def _fill(self, view: View, out: Floats32) -> None:
        """Compute the newest rows of a view into ``out`` (rows, P, F)."""
        rows, pairs, _ = out.shape
        flat = out.reshape(rows * pairs, len(self.features))
        columns = np.empty((_TOGETHER, flat.shape[0]), np.float32)
        for first in range(0, len(self.features), _TOGETHER):
            members = self.features[first : first + _TOGETHER]
            for column, member in zip(columns, members, strict=False):
                values = member.compute(view.reaching(member.lookback, member.reach, rows))
                column.reshape(rows, pairs)[...] = values[values.shape[0] - rows :]
            _lay(columns[: len(members)], first, flat)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _lay(columns: Floats32, first: int, out: Floats32) -> None:
    """Lay columns (k, n) side by side into ``out`` (n, F) from column ``first`` on."""
    for i in range(out.shape[0]):
        for column in range(columns.shape[0]):
            out[i, first + column] = columns[column, i]
