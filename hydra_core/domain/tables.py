"""The tables that market data comes in: their names, columns and cadence. No files, no network.

``ts`` is a candle's open time, a funding rate's settlement, a reading's stamp, a forced order's time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import polars as pl

from hydra_core.domain.errors import UsageError
from hydra_core.domain.intervals import DEFAULT_INTERVALS, Interval
from hydra_core.domain.market import CANDLES, FUNDING, LIQUIDATIONS, LONG_SHORT, OPEN_INTEREST

Schema = Mapping[str, pl.DataType]

TS: Final = pl.Datetime("ms", "UTC")
_CANDLE: Final[Schema] = {
    "ts": TS,
    "open": pl.Float64(),
    "high": pl.Float64(),
    "low": pl.Float64(),
    "close": pl.Float64(),
    "volume": pl.Float64(),
}


def candle_table(interval: Interval) -> str:
    """Table of an interval's candles, e.g. ``candles_5m``."""
    return f"{CANDLES}_{interval}"


CANDLE_TABLES: Final[Mapping[str, Interval]] = {candle_table(interval): interval for interval in DEFAULT_INTERVALS}
"""Candle tables and their interval, finest first."""

SCHEMAS: Final[Mapping[str, Schema]] = {
    **dict.fromkeys(CANDLE_TABLES, _CANDLE),
    FUNDING: {"ts": TS, "rate": pl.Float64()},
    OPEN_INTEREST: {"ts": TS, "open_interest": pl.Float64(), "open_interest_value": pl.Float64()},
    LONG_SHORT: {"ts": TS, "long_short_ratio": pl.Float64()},
    LIQUIDATIONS: {"ts": TS, "side": pl.String(), "quantity": pl.Float64(), "price": pl.Float64()},
}
"""Columns of every table; side is the side that was liquidated, ``long`` or ``short``."""

READING_INTERVAL: Final = Interval.M5
"""Cadence of open interest and long/short readings."""

EXCHANGE_TABLES: Final = tuple(name for name in SCHEMAS if name != LIQUIDATIONS)
"""Tables that an exchange's REST interface has a history of; forced orders are only ever streamed."""


def schema_of(table: str) -> Schema:
    """Columns of a table; raises UsageError naming the known ones."""
    if table not in SCHEMAS:
        raise UsageError(f"unknown table {table!r}", f"Known: {', '.join(SCHEMAS)}")
    return SCHEMAS[table]


def cadence_of(table: str) -> Interval | None:
    """Grid that a table's rows stand on; None where rows come when they come."""
    if table in CANDLE_TABLES:
        return CANDLE_TABLES[table]
    return READING_INTERVAL if table in (OPEN_INTEREST, LONG_SHORT) else None


def empty_frame(table: str) -> pl.DataFrame:
    """A table's columns without rows."""
    return pl.DataFrame(schema=dict(schema_of(table)))
