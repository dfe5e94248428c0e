"""From plain columns to the aligned panel: the one place where candles and slower readings are joined.

The lake joins history with it, the live state joins the newest bars with it, so both see the same numbers. No reading
of files or databases here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.intervals import HOUR_MS, Interval
from hydra_core.domain.market import (
    CANDLES,
    FUNDING,
    LIQUIDATIONS,
    LONG_SHORT,
    OPEN_INTEREST,
    PUBLICATION_DELAY_MS,
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
    ts: Ints = np.arange(first, max(first, end_ms), interval.ms, dtype=np.int64)
    close = ts + interval.ms
    columns = {name: np.full((ts.size, len(pairs)), np.nan) for name in ("open", "high", "low", "close", "volume")}
    slow = {name: np.full((ts.size, len(pairs)), np.nan) for name in (FUNDING, OPEN_INTEREST, LONG_SHORT)}
    forced_long, forced_short = (np.full((ts.size, len(pairs)), np.nan) for _ in range(2))
    sources = {FUNDING: funding, OPEN_INTEREST: open_interest, LONG_SHORT: long_short}

    any_forced = False
    for column, pair in enumerate(pairs):
        if pair in candles:
            _place(columns, column, candles[pair], ts, interval, pair)
        for name, source in sources.items():
            if pair in source:
                slow[name][:, column] = as_of(source[pair], close, name)
        if liquidations is not None and pair in liquidations:
            any_forced |= _sum_forced(forced_long, forced_short, column, liquidations[pair], ts, interval)
    if liquidations_from_ms is not None:
        before = ts < liquidations_from_ms
        forced_long[before] = forced_short[before] = np.nan
    if not any_forced:
        forced_long[:] = forced_short[:] = np.nan

    held = {name for name, values in slow.items() if np.isfinite(values).any()}
    held |= {CANDLES} if np.isfinite(columns["close"]).any() else set()
    held |= {LIQUIDATIONS} if any_forced else set()
    return Panel(
        pairs=tuple(pairs),
        interval=interval,
        ts=ts,
        **columns,
        funding_rate=slow[FUNDING],
        open_interest=slow[OPEN_INTEREST],
        long_short=slow[LONG_SHORT],
        liquidated_long=forced_long,
        liquidated_short=forced_short,
        inputs=frozenset(held),
    )


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


def _place(columns: Mapping[str, Floats], column: int, bars: Bars, ts: Ints, interval: Interval, pair: Pair) -> None:
    """Put a pair's candles in their rows."""
    if not len(bars) or not ts.size:
        return
    offset = bars.ts - ts[0]
    inside = (offset >= 0) & (offset < ts.size * interval.ms)
    rows, rest = np.divmod(offset[inside], interval.ms)
    if rest.any():
        stray = int(bars.ts[inside][rest != 0][0])
        raise InputMissing(f"{pair}: candle at {stray} leaves the {interval} grid", "Run `hydra backfill` again")
    for name, values in columns.items():
        values[rows, column] = getattr(bars, name)[inside]


def _sum_forced(
    forced_long: Floats, forced_short: Floats, column: int, events: Sequence[Liquidation], ts: Ints, interval: Interval
) -> bool:
    """Add a pair's forced notional per bar; True where at least one event lies in the span."""
    forced_long[:, column] = forced_short[:, column] = 0.0
    if not ts.size:
        return False
    any_inside = False
    for event in events:
        row = (event.event_ms - int(ts[0])) // interval.ms
        if 0 <= row < ts.size:
            (forced_long if event.long_side else forced_short)[row, column] += event.quantity * event.price
            any_inside = True
    return any_inside
