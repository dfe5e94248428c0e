"""From plain columns to the aligned panel: the one place where candles and slower readings are joined.

The lake joins history with it, the live state joins the newest bars with it, so both see the same numbers. No reading
of files or databases here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.intervals import HOUR_MS, Interval
from hydra_core.domain.market import (
    CANDLES,
    FIELD_NAMES,
    FUNDING,
    LIQUIDATIONS,
    LONG_SHORT,
    OPEN_INTEREST,
    PUBLICATION_DELAY_MS,
    Bools,
    Floats,
    Ints,
    Liquidation,
    Panel,
)
from hydra_core.domain.pairs import Pair
from hydra_core.domain.series import Bars, Series

MAX_LOOKBACK_BARS: Final = 2304
"""No feature, statistic or model looks back further: 8 days of 5m bars."""

READING_MAX_AGE_MS: Final[Mapping[str, int]] = {FUNDING: 24 * HOUR_MS, OPEN_INTEREST: HOUR_MS, LONG_SHORT: HOUR_MS}
"""A slow reading older than this at a bar's close is stale and joined as NaN: three times the longest funding interval,
twelve publications of the others. It also bounds how much history before a panel its first row needs."""

_CANDLE_FIELDS: Final = ("open", "high", "low", "close", "volume")
_SLOW: Final[Mapping[str, int]] = {
    FUNDING: FIELD_NAMES.index("funding_rate"),
    OPEN_INTEREST: FIELD_NAMES.index("open_interest"),
    LONG_SHORT: FIELD_NAMES.index("long_short"),
}
_FORCED: Final = slice(FIELD_NAMES.index("liquidated_long"), FIELD_NAMES.index("liquidated_short") + 1)
_NEVER: Final = np.iinfo(np.int64).max


def reading_start_ms(start_ms: int) -> int:
    """Earliest stamp that a panel starting at ``start_ms`` can use: load slow readings from here."""
    return start_ms - max(READING_MAX_AGE_MS.values())


def build_panel(
    pairs: Sequence[Pair],
    interval: Interval,
    start_ms: int,
    end_ms: int,
    candles: Mapping[Pair, Bars],
    funding: Mapping[Pair, Series],
    open_interest: Mapping[Pair, Series],
    long_short: Mapping[Pair, Series],
    liquidations: Mapping[Pair, Sequence[Liquidation]] | None,
    *,
    liquidations_from_ms: int | None = None,
) -> Panel:
    """Align candles and slow readings of several pairs on one grid.

    Parameters
    ----------
    pairs : sequence of Pair, length P, the panel's columns in this order
    interval : Interval of the candles
    start_ms, end_ms : int, epoch ms; rows are the bars with start <= open time < end
    candles : Pair -> Bars on the interval's grid; rows outside the span are left out, absent ones become NaN
    funding : Pair -> settled rates (fraction per settlement), joined from their stamp on
    open_interest, long_short : Pair -> published readings (base units; ratio), joined from stamp plus
        :data:`~hydra_core.domain.market.PUBLICATION_DELAY_MS` on
    liquidations : Pair -> forced orders, summed to notional (USDT) per bar, 0 in a quiet bar; None where not captured
    liquidations_from_ms : int, optional, start of the capture: bars that open earlier are NaN, not 0

    Returns
    -------
    Panel : float64 arrays (T, P); an input without a single usable value is not in ``inputs`` and all NaN

    Raises
    ------
    InputMissing : a candle's open time leaves the grid
    """
    first = -(-start_ms // interval.ms) * interval.ms
    sources = Sources(candles, funding, open_interest, long_short, liquidations)
    joined = join_rows(pairs, interval, first, end_ms, sources)
    forced = bool(joined.heard.any())
    fields = dict(zip(FIELD_NAMES, joined.finished(forced, liquidations_from_ms), strict=True))
    return Panel(tuple(pairs), interval, joined.ts, **fields, inputs=held_inputs(fields, forced))


class Sources(NamedTuple):
    """Columns that rows are joined from, by pair; as in :func:`build_panel`."""

    candles: Mapping[Pair, Bars]
    funding: Mapping[Pair, Series]
    open_interest: Mapping[Pair, Series]
    long_short: Mapping[Pair, Series]
    liquidations: Mapping[Pair, Sequence[Liquidation]] | None


class Joined(NamedTuple):
    """Rows joined from their sources.

    Parameters
    ----------
    ts : int64 (T,), open times
    heard : bool (T,), whether a forced order was heard of in the bar
    values : (fields, T, P), in the order of ``FIELD_NAMES``; forced notional as summed, 0 in a quiet bar
    """

    ts: Ints
    heard: Bools
    values: Floats

    def finished(self, forced: bool, liquidations_from_ms: int | None) -> Floats:
        """The values as a panel shows them: forced notional is unknown before its capture, and where no panel holds any."""
        unknown = self.ts < (_NEVER if not forced else liquidations_from_ms or 0)
        if not unknown.any():
            return self.values
        out = self.values.copy()
        out[_FORCED, unknown] = np.nan
        return out


def join_rows(pairs: Sequence[Pair], interval: Interval, first_ms: int, end_ms: int, sources: Sources) -> Joined:
    """The rows that open from ``first_ms`` (on the grid) to before ``end_ms``; each depends on the sources alone.

    Raises
    ------
    InputMissing : a candle's open time leaves the grid
    """
    ts: Ints = np.arange(first_ms, max(first_ms, end_ms), interval.ms, dtype=np.int64)
    close = ts + interval.ms
    values = np.full((len(FIELD_NAMES), ts.size, len(pairs)), np.nan)
    heard = np.zeros(ts.size, np.bool_)
    slow = {FUNDING: sources.funding, OPEN_INTEREST: sources.open_interest, LONG_SHORT: sources.long_short}
    for column, pair in enumerate(pairs):
        if pair in sources.candles:
            _place(values[:, :, column], sources.candles[pair], ts, interval, pair)
        for name, source in slow.items():
            if pair in source:
                values[_SLOW[name], :, column] = as_of(source[pair], close, name)
        if sources.liquidations is not None and pair in sources.liquidations:
            _sum_forced(values[_FORCED, :, column], heard, sources.liquidations[pair], ts, interval)
    return Joined(ts, heard, values)


def held_inputs(fields: Mapping[str, Floats], forced: bool) -> frozenset[str]:
    """Which inputs a panel of these arrays holds; ``forced``: whether a forced order was heard of in its span."""
    names = {CANDLES: "close", FUNDING: "funding_rate", OPEN_INTEREST: "open_interest", LONG_SHORT: "long_short"}
    held = {given for given, name in names.items() if _any_known(fields[name])}
    return frozenset(held | {LIQUIDATIONS} if forced else held)


def _any_known(values: Floats) -> bool:
    """Whether a value is finite; the newest row mostly tells."""
    return bool(np.isfinite(values[-1:]).any() or np.isfinite(values).any())


def as_of(series: Series, at_ms: Ints, name: str) -> Floats:
    """The newest value known at each time, NaN where there is none or it is stale.

    Parameters
    ----------
    series : Series, shape (n,)
    at_ms : int64 array (T,), epoch ms
    name : str, one of the declared inputs: decides its publication delay and greatest age

    Returns
    -------
    float64 array (T,)
    """
    if not len(series):
        return np.full(at_ms.size, np.nan)
    stamps, values = series.ts, series.value
    if stamps.size > 1 and not bool((np.diff(stamps) >= 0).all()):
        order = np.argsort(stamps, kind="stable")
        stamps, values = stamps[order], values[order]
    row = np.searchsorted(stamps + PUBLICATION_DELAY_MS.get(name, 0), at_ms, side="right") - 1
    known = row >= 0
    row = np.maximum(row, 0)
    known &= at_ms - stamps[row] <= READING_MAX_AGE_MS[name]
    return np.where(known, values[row], np.nan)


def _place(values: Floats, bars: Bars, ts: Ints, interval: Interval, pair: Pair) -> None:
    """Put a pair's candles in their rows of ``values`` (fields, T)."""
    if not len(bars) or not ts.size:
        return
    offset = bars.ts - ts[0]
    inside = (offset >= 0) & (offset < ts.size * interval.ms)
    rows, rest = np.divmod(offset[inside], interval.ms)
    if rest.any():
        stray = int(bars.ts[inside][rest != 0][0])
        raise InputMissing(f"{pair}: candle at {stray} leaves the {interval} grid", "Run `hydra backfill` again")
    for number, name in enumerate(_CANDLE_FIELDS):
        values[number, rows] = getattr(bars, name)[inside]


def _sum_forced(forced: Floats, heard: Bools, events: Sequence[Liquidation], ts: Ints, interval: Interval) -> None:
    """Add a pair's forced notional per bar to ``forced`` (2, T), longs first, and note the bars that heard of any."""
    forced[:] = 0.0
    if not ts.size:
        return
    for event in events:
        row = (event.event_ms - int(ts[0])) // interval.ms
        if 0 <= row < ts.size:
            forced[0 if event.long_side else 1, row] += event.quantity * event.price
            heard[row] = True
