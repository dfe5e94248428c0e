"""What a table's rows are, apart from where they lie: their bytes, their name by content, their rules, how two meet.

Pure functions of frames; no files.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from hydra_core.domain.errors import DataCorrupt
from hydra_core.domain.intervals import month_span, utc
from hydra_core.domain.pairs import Pair
from hydra_core.domain.tables import APPENDED, STREAM_TABLES, schema_of
from hydra_core.lake.files import sha256

ROW_GROUP: Final = 65_536
"""Rows a Parquet row group; fixed, so that equal rows make equal bytes."""


@dataclass(frozen=True, slots=True)
class Corrections:
    """How rows that were known differ from those that replace them; growth at the end, or before the first row, is none."""

    changed: int
    late: int
    withdrawn: int
    first_ms: int

    @property
    def count(self) -> int:
        """Rows corrected."""
        return self.changed + self.late + self.withdrawn


def corrections(table: str, old: pl.DataFrame, new: pl.DataFrame) -> Corrections:
    """Corrections of ``old`` by ``new``; appended tables only ever gain rows, out of order."""
    if not old.height or table in APPENDED:
        return Corrections(0, 0, 0, 0)
    inside = new.filter(pl.col("ts").is_between(old["ts"][0], old["ts"][-1]))
    withdrawn = old.join(inside, on="ts", how="anti")
    late = inside.join(old, on="ts", how="anti")
    values = [name for name in old.columns if name != "ts"]
    both = old.join(inside, on="ts", how="inner", suffix="_new")
    differs = pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"{name}_new")) for name in values)
    changed = both.filter(differs)
    stamps = [part["ts"].dt.epoch("ms")[0] for part in (withdrawn, late, changed) if part.height]
    return Corrections(changed.height, late.height, withdrawn.height, min(stamps, default=0))


def parquet_bytes(frame: pl.DataFrame) -> bytes:
    """The frame as Parquet: equal rows give equal bytes (same library version)."""
    buffer = io.BytesIO()
    frame.rechunk().write_parquet(
        buffer, compression="zstd", compression_level=3, statistics=True, row_group_size=ROW_GROUP
    )
    return buffer.getvalue()


def hash_rows(frame: pl.DataFrame) -> str:
    """SHA-256 over column names and values, whatever file format or library holds them."""
    parts = []
    for name in frame.columns:
        column = frame[name]
        if column.dtype == pl.String:
            values = "\n".join(column.to_list()).encode()
        elif column.dtype == pl.Float64:
            values = np.ascontiguousarray(column.to_numpy()).tobytes()
        else:
            values = np.ascontiguousarray(column.dt.epoch("ms").to_numpy()).tobytes()
        parts.append(f"{name}:{len(values)}:".encode() + values)
    return sha256(b"\n".join(parts))


def columns_of(content: bytes) -> list[str]:
    """Column names of a Parquet file, none where it is not one."""
    try:
        return list(pl.read_parquet_schema(io.BytesIO(content)))
    except (pl.exceptions.PolarsError, OSError):
        return []


def checked(frame: pl.DataFrame, table: str, pair: Pair, month: str) -> pl.DataFrame:
    """The frame with the table's columns in order; raises DataCorrupt where it breaks the table's rules."""
    schema = schema_of(table)
    where = f"{table} {pair} {month}"
    remedy = "Nothing was written; check what produced these rows"
    if set(frame.columns) != set(schema):
        raise DataCorrupt(f"{where}: columns {frame.columns}, expected {list(schema)}", remedy)
    frame = frame.select(list(schema))
    wrong = {name: kind for name, kind in frame.schema.items() if kind != schema[name]}
    if wrong:
        raise DataCorrupt(f"{where}: column types {wrong}, expected {dict(schema)}", remedy)
    nulls = [name for name in frame.columns if frame[name].null_count()]
    if nulls:
        raise DataCorrupt(f"{where}: null values in {nulls}", remedy)
    stamps = frame["ts"].dt.epoch("ms").to_numpy()
    steps = np.diff(stamps)
    least = 0 if table in APPENDED else 1
    if steps.size and int(steps.min()) < least:
        raise DataCorrupt(f"{where}: ts is not ascending without repeats", remedy)
    first, after = month_span(month)
    if stamps.size and not (first <= int(stamps[0]) and int(stamps[-1]) < after):
        raise DataCorrupt(f"{where}: rows from {utc(int(stamps[0]))} to {utc(int(stamps[-1]))} leave the month", remedy)
    return frame


def merge(table: str, old: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
    """Both frames' rows, ascending; where both have a stamp the new row counts (appended tables: equal rows once).

    What a stream told comes out in one order however it was cut into pieces: rows of one stamp are sorted by their values.
    """
    if table not in APPENDED:
        if not old.height and _ascending(new):
            return new
        return pl.concat([old, new]).unique("ts", keep="last", maintain_order=True).sort("ts")
    if not new.height or not old.height:
        both = old if old.height else new
        return both.unique(maintain_order=True).sort(_order(table), maintain_order=True)
    first, last = new["ts"].min(), new["ts"].max()
    met = pl.concat([old.filter(pl.col("ts").is_between(first, last)), new])
    met = met.unique(maintain_order=True).sort(_order(table), maintain_order=True)
    return pl.concat([old.filter(pl.col("ts") < first), met, old.filter(pl.col("ts") > last)])


def _ascending(frame: pl.DataFrame) -> bool:
    """Whether each stamp is later than the one before."""
    return bool((np.diff(frame["ts"].dt.epoch("ms").to_numpy()) > 0).all())


def _order(table: str) -> list[str]:
    """Columns that appended rows are sorted by."""
    return list(schema_of(table)) if table in STREAM_TABLES else ["ts"]
