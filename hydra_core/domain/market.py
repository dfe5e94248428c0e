"""What is known of the market: single readings as they arrive, and the aligned panel that models and rules read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.intervals import Interval
from hydra_core.domain.pairs import Pair

if TYPE_CHECKING:
    from hydra_core.domain.rowmemory import RowMemory

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
MarginSteps = tuple[tuple[float, float], ...]
"""(Notional in USDT from which it applies, maintenance margin as a fraction of notional), ascending from 0."""

CANDLES: Final = "candles"
FUNDING: Final = "funding"
OPEN_INTEREST: Final = "open_interest"
LONG_SHORT: Final = "long_short"
LIQUIDATIONS: Final = "liquidations"
INPUTS: Final = (CANDLES, FUNDING, OPEN_INTEREST, LONG_SHORT, LIQUIDATIONS)
"""Names of the declared inputs; a panel lists those it holds, a model those it needs."""

PUBLICATION_DELAY_MS: Final[Mapping[str, int]] = {OPEN_INTEREST: 60_000, LONG_SHORT: 60_000}
"""A reading stamped t may be used from t + delay on: the exchange publishes these some seconds after their stamp."""


@dataclass(frozen=True, slots=True)
class MarketRules:
    """An exchange's filters for one pair; money and sizes are rounded to them.

    Parameters
    ----------
    maintenance_margin : the one rate that the exchange publishes for everybody, a fraction of notional
    margin_steps : the maintenance margin table that it shows to owners of a key; empty where it is not known
    """

    pair: Pair
    tick_size: Decimal
    step_size: Decimal
    min_quantity: Decimal
    min_notional: Decimal
    taker_fee: Decimal = Decimal("0.0005")
    maker_fee: Decimal = Decimal("0.0002")
    max_leverage: int = 20
    maintenance_margin: Decimal = Decimal("0.01")
    margin_steps: MarginSteps = ()


@dataclass(frozen=True, slots=True)
class Quote:
    """Best bid and ask: prices in USDT, sizes in base units, times in epoch ms (event: market, received: wall)."""

    pair: Pair
    bid: float
    bid_size: float
    ask: float
    ask_size: float
    event_ms: int
    received_wall_ms: int

    @property
    def mid(self) -> float:
        """Middle of bid and ask, USDT."""
        return (self.bid + self.ask) / 2


@dataclass(frozen=True, slots=True)
class MarkReading:
    """Mark and index price (USDT), the coming settlement's predicted rate (a fraction) and time (epoch ms)."""

    pair: Pair
    mark: float
    index: float
    funding_rate: float
    next_funding_ms: int
    event_ms: int
    received_wall_ms: int


@dataclass(frozen=True, slots=True)
class Liquidation:
    """One forced order: the side that was liquidated, its size in base units and price in USDT."""

    pair: Pair
    event_ms: int
    long_side: bool
    quantity: float
    price: float


@dataclass(frozen=True, eq=False)
class Panel:
    """Closed bars of several pairs on one grid, with the slower readings known at each bar's close.

    Row t stands for the bar that opens at ``ts[t]`` and closes ``interval.ms`` later; every value in it was known at
    that close. Missing values are NaN, never filled by guess.

    Parameters
    ----------
    pairs : tuple of Pair, length P
    interval : Interval
    ts : int64 array (T,), open times in epoch ms, strictly on the grid, ascending, without holes
    open, high, low, close : float64 arrays (T, P), USDT
    volume : float64 array (T, P), base units in the bar
    funding_rate : float64 array (T, P), last settled rate (fraction per settlement)
    open_interest : float64 array (T, P), last published, base units
    long_short : float64 array (T, P), last published ratio of accounts long to accounts short
    liquidated_long, liquidated_short : float64 array (T, P), forced notional in the bar, USDT
    inputs : frozenset of str
        Which of :data:`INPUTS` the panel really holds; the arrays of the others are all NaN.
    memory : RowMemory, optional
        What was computed of these very rows before; never a part of what the panel says.
    """

    pairs: tuple[Pair, ...]
    interval: Interval
    ts: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    funding_rate: Floats
    open_interest: Floats
    long_short: Floats
    liquidated_long: Floats
    liquidated_short: Floats
    inputs: frozenset[str]
    memory: RowMemory | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        shape = (self.ts.size, len(self.pairs))
        for name in FIELD_NAMES:
            if getattr(self, name).shape != shape:
                raise InputMissing(f"panel field {name} has shape {getattr(self, name).shape}, expected {shape}")
        if self.ts.size > 1 and not bool((np.diff(self.ts) == self.interval.ms).all()):
            raise InputMissing(f"panel rows leave the {self.interval} grid", "Reindex before building a panel")

    def __len__(self) -> int:
        return int(self.ts.size)

    @property
    def close_ms(self) -> Ints:
        """Close time of every bar, epoch ms, shape (T,)."""
        return self.ts + self.interval.ms

    def last(self, bars: int) -> Panel:
        """The newest ``bars`` rows."""
        return self.rows(slice(max(0, len(self) - bars), len(self)))

    def rows(self, rows: slice) -> Panel:
        """A contiguous part of the panel."""
        part = object.__new__(Panel)  # consecutive rows of a panel need no second look
        vars(part).update(vars(self), ts=self.ts[rows], **{name: getattr(self, name)[rows] for name in FIELD_NAMES})
        return part

    def until(self, close_ms: int) -> Panel:
        """Rows that are closed at ``close_ms``."""
        return self.rows(slice(0, int(np.searchsorted(self.close_ms, close_ms, side="right"))))

    def content_hash(self) -> str:
        """SHA-256 over pairs, grid and values (NaN by its bits): equal exactly when the panels are.

        It is taken over the digests of blocks of :data:`HASH_ROWS` bars on the UTC grid, so that a panel which has moved on
        by a bar digests the blocks at its two ends only.
        """
        from hydra_core.domain.rowmemory import memory_of

        digest = hashlib.sha256(repr((self.pairs, str(self.interval), sorted(self.inputs))).encode())
        memory = memory_of(self)
        known = memory.digests if memory is not None else {}
        rows = len(self)
        first = int(self.ts[0]) // self.interval.ms if rows else 0
        for block in range(first // HASH_ROWS, -(-(first + rows) // HASH_ROWS)):
            begin, end = max(block * HASH_ROWS - first, 0), min((block + 1) * HASH_ROWS - first, rows)
            whole = end - begin == HASH_ROWS
            told = known.get(block) if whole else None
            if told is None:
                told = self._digest(slice(begin, end))
                if whole:
                    known[block] = told
            digest.update(told)
        return digest.hexdigest()

    def _digest(self, rows: slice) -> bytes:
        digest = hashlib.sha256(np.ascontiguousarray(self.ts[rows]).data)
        for name in FIELD_NAMES:
            digest.update(np.ascontiguousarray(getattr(self, name)[rows]).data)
        return digest.digest()


HASH_ROWS: Final = 24
"""Bars whose rows are digested together: two hours at 5m."""
FIELD_NAMES: Final = tuple(
    f.name for f in fields(Panel) if f.name not in {"pairs", "interval", "ts", "inputs", "memory"}
)
"""Names of a panel's (T, P) arrays."""


def noise_after(panel: Panel, row: int, rng: np.random.Generator) -> Panel:
    """The panel with every value from ``row`` on replaced by plausible noise: what causality is tested with."""

    def noisy(values: Floats) -> Floats:
        out = values.copy()
        tail = out[row:]
        tail *= np.exp(rng.normal(0.0, 0.3, tail.shape))
        return out

    changed = {name: noisy(getattr(panel, name)) for name in FIELD_NAMES}
    spread = np.stack([changed[name] for name in ("open", "high", "low", "close")])
    changed["high"][row:] = spread.max(axis=0)[row:]
    changed["low"][row:] = spread.min(axis=0)[row:]
    return replace(panel, **changed)  # type: ignore[arg-type]
