"""The lake: tables of Parquet files, one a pair and month, named by their content; the manifest says which are current.

Writing the same rows again changes nothing, bytes included. A file that was superseded is deleted unless it is pinned.
Every read checks the file against its recorded hash.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from loguru import logger

from hydra_core.domain.errors import DataCorrupt, HydraError
from hydra_core.domain.intervals import month_of, month_span, months_between, utc
from hydra_core.domain.market import LIQUIDATIONS
from hydra_core.domain.pairs import Pair
from hydra_core.domain.tables import SCHEMAS, empty_frame, schema_of
from hydra_core.lake.files import locked, sha256, write_atomic
from hydra_core.lake.manifest import Entries, Entry, read_manifest, write_manifest

PINS: Final = "pins.json"
QUARANTINE: Final = ".corrupt"
ROW_GROUP: Final = 65_536
"""Rows a Parquet row group; fixed, so that equal rows make equal bytes."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a write left behind; ``changed`` is False where the same rows were there already."""

    path: Path
    content_hash: str
    rows: int
    changed: bool


class Lake:
    """Tables of one venue's market data.

    Parameters
    ----------
    root : Path, the lake's folder in the market home
    venue : str, exchange or local market that the data came from; part of every path
    """

    def __init__(self, root: Path, venue: str) -> None:
        self.root = root
        self.venue = venue

    def write(
        self,
        table: str,
        pair: Pair,
        month: str,
        frame: pl.DataFrame,
        *,
        closed: bool,
        source: str,
        span: tuple[int, int] | None = None,
        verified_gaps: Sequence[tuple[int, int]] = (),
    ) -> Written:
        """Make ``frame`` the month's content.

        Parameters
        ----------
        table, pair : which table and pair
        month : str, ``YYYY-MM``
        frame : polars.DataFrame, the table's columns, ascending in ts, every ts inside the month, each once
        closed : bool, whether the month is complete and will not change
        source : str, where the rows came from
        span : (start, end) in epoch ms, what was asked for; the whole month by default
        verified_gaps : spans in which the source has nothing

        Raises
        ------
        DataCorrupt : the frame breaks the table's rules; nothing is written
        HydraError : the disk does not take it; nothing is half-written
        """
        month = month_of(month_span(month)[0])
        frame = _checked(frame, table, pair, month)
        content_hash = hash_rows(frame)
        name = f"pair={pair}/{month}-{content_hash[:12]}.parquet"
        content = parquet_bytes(frame)
        start, end = span or month_span(month)
        stamps = frame["ts"].dt.epoch("ms")
        entry = Entry(
            file=name,
            content_hash=content_hash,
            file_hash=sha256(content),
            rows=frame.height,
            first_ms=int(stamps[0]) if frame.height else 0,
            last_ms=int(stamps[-1]) if frame.height else 0,
            start_ms=start,
            end_ms=end,
            closed=closed,
            source=source,
            verified_gaps=tuple(verified_gaps),
        )
        folder = self._folder(table)
        with locked(folder / ".lock"):
            entries = read_manifest(folder)
            before = entries.get(pair, {}).get(month)
            path = folder / name
            if before == entry and path.exists():
                return Written(path, content_hash, frame.height, changed=False)
            changed = before is None or before.content_hash != content_hash
            if not path.exists() or sha256(path.read_bytes()) != entry.file_hash:
                write_atomic(path, content)
            entries.setdefault(pair, {})[month] = entry
            write_manifest(folder, entries)
            if before is not None and before.file != name:
                self._retire(folder, before)
        return Written(path, content_hash, frame.height, changed)

    def read(self, table: str, pair: Pair, start_ms: int | None = None, end_ms: int | None = None) -> pl.DataFrame:
        """Rows with start <= ts < end, ascending; no rows where nothing was collected.

        Raises
        ------
        DataCorrupt : a file is missing, truncated or altered; names it and the remedy
        """
        try:
            frames = self._frames(table, pair, start_ms, end_ms)
        except DataCorrupt:  # a writer may have replaced a file between manifest and read: look once more
            frames = self._frames(table, pair, start_ms, end_ms)
        if not frames:
            return empty_frame(table)
        frame = pl.concat(frames)
        if start_ms is not None:
            frame = frame.filter(pl.col("ts") >= utc(start_ms))
        if end_ms is not None:
            frame = frame.filter(pl.col("ts") < utc(end_ms))
        return frame

    def tables(self) -> tuple[str, ...]:
        """Tables that hold at least one file."""
        return tuple(table for table in SCHEMAS if self.entries(table))

    def pairs(self, table: str) -> tuple[Pair, ...]:
        """Pairs that a table holds."""
        return tuple(sorted(self.entries(table)))

    def months(self, table: str, pair: Pair) -> tuple[str, ...]:
        """Months that a table holds of a pair, ascending."""
        return tuple(sorted(self.entries(table).get(pair, {})))

    def entries(self, table: str) -> Entries:
        """The table's manifest."""
        return read_manifest(self._folder(table))

    def entry(self, table: str, pair: Pair, month: str) -> Entry | None:
        """What the manifest says of one month; None where it was not collected."""
        return self.entries(table).get(pair, {}).get(month)

    def path(self, table: str, entry: Entry) -> Path:
        """Where an entry's file lies."""
        return self._folder(table) / entry.file

    def healthy(self, table: str, pair: Pair, month: str) -> bool:
        """Whether the month is there and its bytes are the recorded ones."""
        entry = self.entry(table, pair, month)
        if entry is None:
            return False
        path = self.path(table, entry)
        return path.exists() and sha256(path.read_bytes()) == entry.file_hash

    def quarantine(self, table: str, pair: Pair, month: str) -> Path | None:
        """Set a damaged file aside and forget it, so that it is fetched again; returns where it went."""
        folder = self._folder(table)
        with locked(folder / ".lock"):
            entries = read_manifest(folder)
            entry = entries.get(pair, {}).pop(month, None)
            if entry is None:
                return None
            path = folder / entry.file
            aside = path.with_name(path.name + QUARANTINE)
            if path.exists():
                path.replace(aside)
            write_manifest(folder, entries)
        logger.warning("{} is damaged: set aside as {}", path, aside.name)
        return aside

    def verify(self) -> list[str]:
        """Check every current file against its recorded hash; one line a problem, with its remedy."""
        problems = []
        for table in SCHEMAS:
            for pair, months in self.entries(table).items():
                for entry in months.values():
                    try:
                        self._load(table, pair, entry)
                    except DataCorrupt as damage:
                        problems.append(str(damage))
        return problems

    def hashes(self, tables: Iterable[str], pairs: Iterable[Pair], start_ms: int, end_ms: int) -> tuple[str, ...]:
        """Content hashes of every file that a span touches, in a fixed order: what a model card pins."""
        return tuple(entry.content_hash for _, _, entry in self._span(tables, pairs, start_ms, end_ms))

    def data_hash(self, tables: Iterable[str], pairs: Iterable[Pair], start_ms: int, end_ms: int) -> str:
        """SHA-256 naming the data of a span: tables, pairs, months and their content, not how it is stored."""
        named = [
            f"{table} {pair} {entry.content_hash}" for table, pair, entry in self._span(tables, pairs, start_ms, end_ms)
        ]
        return sha256("\n".join([self.venue, f"{start_ms} {end_ms}", *named]).encode())

    def pin(self, hashes: Iterable[str], by: str) -> None:
        """Keep files of these content hashes for ever, because ``by`` (a model, a decision) was made from them."""
        with locked(self.root / ".pins.lock"):
            pins = self._pins()
            for content_hash in hashes:
                pins[content_hash] = sorted({*pins.get(content_hash, []), by})
            write_atomic(self.root / PINS, json.dumps(pins, indent=1, sort_keys=True).encode())

    def _pins(self) -> dict[str, list[str]]:
        path = self.root / PINS
        try:
            pins: dict[str, list[str]] = json.loads(path.read_bytes()) if path.exists() else {}
        except ValueError as error:
            raise DataCorrupt(
                f"{path} is not readable ({error})", "Restore it from a backup; nothing is deleted"
            ) from error
        return pins

    def _retire(self, folder: Path, entry: Entry) -> None:
        """Delete a superseded file that nothing was made from."""
        with locked(self.root / ".pins.lock"):
            if entry.content_hash not in self._pins():
                (folder / entry.file).unlink(missing_ok=True)

    def _folder(self, table: str) -> Path:
        schema_of(table)
        return self.root / table / f"venue={self.venue}"

    def _span(
        self, tables: Iterable[str], pairs: Iterable[Pair], start_ms: int, end_ms: int
    ) -> list[tuple[str, Pair, Entry]]:
        months = months_between(start_ms, end_ms)
        wanted = sorted(set(pairs))
        found: list[tuple[str, Pair, Entry]] = []
        for table in sorted(set(tables)):
            entries = self.entries(table)
            for pair in wanted:
                held = entries.get(pair, {})
                found.extend((table, pair, held[month]) for month in months if month in held)
        return found

    def _frames(self, table: str, pair: Pair, start_ms: int | None, end_ms: int | None) -> list[pl.DataFrame]:
        months = self.entries(table).get(pair, {})
        frames = []
        for month in sorted(months):
            first, after = month_span(month)
            if (start_ms is None or after > start_ms) and (end_ms is None or first < end_ms):
                frames.append(self._load(table, pair, months[month]))
        return frames

    def _load(self, table: str, pair: Pair, entry: Entry) -> pl.DataFrame:
        """One file, checked."""
        path = self.path(table, entry)
        day = utc(entry.start_ms).date()
        remedy = f"Run `hydra backfill --pairs {pair} --from {day}`: it is set aside and fetched again"
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise DataCorrupt(f"{path} is missing", remedy) from None
        except OSError as error:
            raise HydraError(
                f"cannot read {path} ({error.strerror or error})", "Check the disk and permissions"
            ) from error
        if sha256(content) != entry.file_hash:
            raise DataCorrupt(f"{path} is damaged: {len(content)} bytes do not match their recorded hash", remedy)
        try:
            return pl.read_parquet(io.BytesIO(content), use_pyarrow=False)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DataCorrupt(f"{path} is not Parquet ({error})", remedy) from error


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


def _checked(frame: pl.DataFrame, table: str, pair: Pair, month: str) -> pl.DataFrame:
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
    least = 0 if table == LIQUIDATIONS else 1
    if steps.size and int(steps.min()) < least:
        raise DataCorrupt(f"{where}: ts is not ascending without repeats", remedy)
    first, after = month_span(month)
    if stamps.size and not (first <= int(stamps[0]) and int(stamps[-1]) < after):
        raise DataCorrupt(f"{where}: rows from {utc(int(stamps[0]))} to {utc(int(stamps[-1]))} leave the month", remedy)
    return frame


def merge(table: str, old: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
    """Both frames' rows, ascending; where both have a stamp the new row counts (forced orders: equal rows once)."""
    both = pl.concat([old, new])
    if table == LIQUIDATIONS:
        return both.unique(maintain_order=True).sort("ts", maintain_order=True)
    return both.unique("ts", keep="last", maintain_order=True).sort("ts")
