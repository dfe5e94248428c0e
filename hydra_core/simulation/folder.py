"""Reading recorded history from a folder of Parquet files, each checked before it is believed.

Layout: ``candles/<interval>/<PAIR>.parquet`` (ts, open, high, low, close, volume), ``funding/<PAIR>.parquet`` (ts, rate),
``open_interest/<PAIR>.parquet`` (ts, open_interest), ``long_short/<PAIR>.parquet`` (ts, long_short_ratio),
``liquidations/<PAIR>.parquet`` (ts, side, quantity, price); ts in UTC, a candle's open. Everything but the candles is
optional, other files are ignored. What a market makes of it is in :mod:`recorded`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import polars as pl

from hydra_core.domain.errors import DataCorrupt, UsageError
from hydra_core.domain.intervals import Interval, iso
from hydra_core.domain.market import Floats, Ints, Liquidation
from hydra_core.domain.pairs import Pair
from hydra_core.domain.series import Bars, Series

CANDLES: Final = "candles"
TABLES: Final = (CANDLES, "funding", "open_interest", "long_short", "liquidations")
REPLACE: Final = "Replace the file by a sound copy, or take it out of the folder"


def tables_hash(folder: Path) -> str:
    """SHA-256 over names and contents of every file of the known tables."""
    digest = hashlib.sha256()
    for table in TABLES:
        for path in sorted((folder / table).rglob("*.parquet")):
            digest.update(path.relative_to(folder).as_posix().encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def recorded_intervals(folder: Path) -> tuple[Interval, ...]:
    """Intervals that hold at least one file of candles, finest first.

    Raises
    ------
    UsageError : the folder is none, or holds no candles
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder", "Give the folder that holds candles/<interval>/<PAIR>.parquet")
    found = tuple(interval for interval in Interval if any((folder / CANDLES / interval).glob("*.parquet")))
    if not found:
        raise UsageError(
            f"{folder} holds no recorded candles",
            f"Expected {CANDLES}/<interval>/<PAIR>.parquet with an interval of {', '.join(Interval)}",
        )
    return found


def _frame(path: Path, columns: tuple[str, ...]) -> pl.DataFrame:
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataCorrupt(f"{path} is not a readable Parquet file ({error})", REPLACE) from error
    absent = [name for name in columns if name not in frame.columns]
    if absent:
        raise DataCorrupt(f"{path} lacks the column {absent[0]!r}, it has {', '.join(frame.columns)}", REPLACE)
    return frame.select(columns)


def _stamps(path: Path, frame: pl.DataFrame, *, strictly: bool) -> Ints:
    kind = frame.schema["ts"]
    if isinstance(kind, pl.Datetime):
        column = frame["ts"].dt.cast_time_unit("ms").cast(pl.Int64)
    elif kind == pl.Int64:
        column = frame["ts"]
    else:
        raise DataCorrupt(f"{path}: ts is {kind}, expected a UTC date-time or epoch milliseconds", REPLACE)
    if column.null_count():
        raise DataCorrupt(f"{path}: ts has {column.null_count()} empty values", REPLACE)
    stamps: Ints = column.to_numpy().astype(np.int64)
    backward = np.flatnonzero(np.diff(stamps) < (1 if strictly else 0))
    if backward.size:
        row = int(backward[0]) + 1
        raise DataCorrupt(f"{path}: row {row} ({iso(int(stamps[row]))}) does not come after the row before it", REPLACE)
    return stamps


def _numbers(path: Path, frame: pl.DataFrame, name: str) -> Floats:
    try:
        values: Floats = frame[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    except pl.exceptions.PolarsError as error:
        raise DataCorrupt(f"{path}: {name} holds no numbers ({frame.schema[name]})", REPLACE) from error
    wrong = np.flatnonzero(~np.isfinite(values))
    if wrong.size:
        raise DataCorrupt(f"{path}: {name} is {values[wrong[0]]} in row {wrong[0]}", REPLACE)
    return values


def read_bars(path: Path, interval: Interval) -> Bars:
    """Candles of one file.

    Raises
    ------
    DataCorrupt : unreadable, a column is absent, stamps leave the grid or do not ascend, a price is impossible
    """
    columns = ("open", "high", "low", "close", "volume")
    frame = _frame(path, ("ts", *columns))
    stamps = _stamps(path, frame, strictly=True)
    off = np.flatnonzero(stamps % interval.ms)
    if off.size:
        raise DataCorrupt(f"{path}: {iso(int(stamps[off[0]]))} (row {off[0]}) is not on the {interval} grid", REPLACE)
    bars = Bars(stamps, *(_numbers(path, frame, name) for name in columns))
    wrong = np.flatnonzero(
        (bars.low <= 0)
        | (bars.high < np.maximum(bars.open, bars.close))
        | (bars.low > np.minimum(bars.open, bars.close))
        | (bars.volume < 0)
    )
    if wrong.size:
        row = int(wrong[0])
        raise DataCorrupt(f"{path}: the candle of {iso(int(stamps[row]))} (row {row}) is impossible", REPLACE)
    return bars


def read_series(path: Path, column: str) -> Series:
    """Stamped values of one file; raises DataCorrupt as :func:`read_bars` does."""
    frame = _frame(path, ("ts", column))
    return Series(_stamps(path, frame, strictly=True), _numbers(path, frame, column))


def read_liquidations(path: Path, pair: Pair) -> list[Liquidation]:
    """Forced orders of one file; ``side`` names who was forced out, ``long`` or ``short``."""
    frame = _frame(path, ("ts", "side", "quantity", "price"))
    stamps = _stamps(path, frame, strictly=False)
    quantity, price = _numbers(path, frame, "quantity"), _numbers(path, frame, "price")
    sides: list[Any] = frame["side"].to_list()
    wrong = [row for row, side in enumerate(sides) if side not in {"long", "short"}]
    if wrong:
        raise DataCorrupt(f"{path}: side is {sides[wrong[0]]!r} in row {wrong[0]}, expected long or short", REPLACE)
    return [
        Liquidation(pair, int(stamps[row]), side == "long", float(quantity[row]), float(price[row]))
        for row, side in enumerate(sides)
    ]


T = TypeVar("T")


def read_each(folder: Path, pairs: tuple[Pair, ...], read: Callable[[Path, Pair], T]) -> dict[Pair, T]:
    """Read ``<PAIR>.parquet`` of a folder for every pair that has one."""
    files = {pair: folder / f"{pair}.parquet" for pair in pairs}
    return {pair: read(path, pair) for pair, path in files.items() if path.exists()}
