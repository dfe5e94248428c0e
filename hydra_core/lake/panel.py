"""From the lake to a panel; the joining is :func:`hydra_core.domain.panel.build_panel`, shared with live data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.intervals import FORECAST_INTERVAL, iso, month_span
from hydra_core.domain.market import FUNDING, LIQUIDATIONS, LONG_SHORT, OPEN_INTEREST, Liquidation, Panel
from hydra_core.domain.pairs import Pair
from hydra_core.domain.panel import build_panel, reading_start_ms
from hydra_core.domain.series import Bars, Series
from hydra_core.domain.settlements import ends
from hydra_core.domain.tables import candle_table
from hydra_core.lake.store import Lake


def load_panel(lake: Lake, pairs: Sequence[Pair], start_ms: int, end_ms: int) -> Panel:
    """Panel of 5m bars with start <= open time < end.

    Parameters
    ----------
    lake : Lake
    pairs : sequence of Pair, length P
    start_ms, end_ms : int, epoch ms

    Returns
    -------
    Panel : (T, P); a pair without candles in the span is NaN, inputs that the lake lacks are left out

    Raises
    ------
    InputMissing : no candle of any pair lies in the span
    DataCorrupt : a file is damaged
    """
    early = reading_start_ms(start_ms)
    table = candle_table(FORECAST_INTERVAL)
    candles = {pair: bars_of(lake.read(table, pair, start_ms, end_ms)) for pair in pairs}
    if not any(len(bars) for bars in candles.values()):
        raise InputMissing(
            f"no {table} of {', '.join(pairs)} between {iso(start_ms)} and {iso(end_ms)} in {lake.root}",
            "Run `hydra backfill` for this span",
        )
    captured = [month for pair in pairs for month in lake.months(LIQUIDATIONS, pair)]
    return build_panel(
        pairs,
        FORECAST_INTERVAL,
        start_ms,
        end_ms,
        candles,
        {pair: rates_of(lake.read(FUNDING, pair, early, end_ms + 1)) for pair in pairs},
        {pair: series_of(lake.read(OPEN_INTEREST, pair, early, end_ms), "open_interest") for pair in pairs},
        {pair: series_of(lake.read(LONG_SHORT, pair, early, end_ms), "long_short_ratio") for pair in pairs},
        {pair: liquidations_of(lake.read(LIQUIDATIONS, pair, start_ms, end_ms), pair) for pair in pairs}
        if captured
        else None,
        liquidations_from_ms=month_span(min(captured))[0] if captured else None,
    )


def bars_of(frame: pl.DataFrame) -> Bars:
    """A candle table's rows as columns."""
    ts = frame["ts"].dt.epoch("ms").to_numpy()
    values = (frame[name].to_numpy() for name in ("open", "high", "low", "close", "volume"))
    return Bars(ts.astype(np.int64), *values)


def series_of(frame: pl.DataFrame, column: str) -> Series:
    """One column of a readings table."""
    return Series(frame["ts"].dt.epoch("ms").to_numpy().astype(np.int64), frame[column].to_numpy())


def rates_of(frame: pl.DataFrame) -> Series:
    """Funding rates, each in force for its own interval: where the next settlement is missing, NaN begins there.

    A row is not needed to know that: the contract's interval says when the next settlement is due.
    """
    rates = series_of(frame, "rate")
    if not len(rates):
        return rates
    until = ends(rates.ts, frame["interval_hours"].to_numpy())
    lapsed = np.append(until[:-1] < rates.ts[1:], True)
    stamps = np.concatenate([rates.ts, until[lapsed]])
    values = np.concatenate([rates.value, np.full(int(lapsed.sum()), np.nan)])
    order = np.argsort(stamps, kind="stable")
    return Series(stamps[order], values[order])


def frame_of(bars: Bars) -> pl.DataFrame:
    """The inverse of :func:`bars_of`."""
    stamps = pl.Series("ts", bars.ts).cast(pl.Datetime("ms", "UTC"))
    return pl.DataFrame([stamps]).with_columns(
        pl.Series(name, getattr(bars, name)) for name in ("open", "high", "low", "close", "volume")
    )


def liquidations_of(frame: pl.DataFrame, pair: Pair) -> list[Liquidation]:
    """Forced orders of one pair."""
    return [
        Liquidation(pair, int(ts), side == "long", quantity, price)
        for ts, side, quantity, price in zip(
            frame["ts"].dt.epoch("ms"), frame["side"], frame["quantity"], frame["price"], strict=True
        )
    ]
