"""The lake: tables of Parquet files, one a pair and month, named by their content; the manifest says which are current.

Writing the same rows again changes nothing, bytes included. A file that grew is deleted once superseded, unless it is pinned;
one whose rows were corrected is kept as a revision. Every read checks the file against its recorded hash. The lake lies in a
folder or under an object store's URL (see :mod:`files` for what is atomic where).
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import polars as pl
from loguru import logger

from hydra_core.domain.errors import DataCorrupt, HydraError, UsageError
from hydra_core.domain.intervals import month_of, month_span, months_between, utc
from hydra_core.domain.pairs import Pair
from hydra_core.domain.tables import EXTERNAL_TABLES, SCHEMAS, STREAM_TABLES, empty_frame, schema_of
from hydra_core.lake.combining import Combined
from hydra_core.lake.files import Changed, abandoned, folder_at, is_local, leftovers, locked, sha256, write_atomic
from hydra_core.lake.gaps import Gap
from hydra_core.lake.manifest import (
    Entries,
    Entry,
    Revision,
    former_entry,
    open_manifest,
    read_manifest,
    write_manifest,
)
from hydra_core.lake.pins import NAMED_BY, Pins
from hydra_core.lake.rows import checked, columns_of, corrections, hash_rows, parquet_bytes

QUARANTINE: Final = ".corrupt"
QUALITY: Final = "quality"
"""Folder at the root of what checks said; see :mod:`quality`."""
ATTEMPTS: Final = 16
"""Tries to change a manifest that other machines change too."""
REVISIONS_KEPT: Final = 8
"""Former contents of a corrected month; older ones are forgotten unless they are pinned."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a write left behind; ``changed`` is False where the same rows were there already."""

    path: Path
    content_hash: str
    rows: int
    changed: bool
    entry: Entry
    """What the manifest says of the month since then."""


@dataclass(frozen=True, slots=True)
class _Change:
    """A month's new content, on the disk already and not yet named by the manifest."""

    pair: Pair
    month: str
    frame: pl.DataFrame
    content: bytes
    entry: Entry
    as_of_ms: int


def open_lake(folder: Path, venue: str, url: str = "") -> Lake:
    """A home's lake: in its folder, or below the URL where one is set, in a folder of the home's name.

    Parameters
    ----------
    folder : Path, the home's own folder for it
    venue : str, exchange whose data it is
    url : str, object store, e.g. ``s3://bucket/hydra``; empty: on disk
    """
    return Lake(f"{url.rstrip('/')}/{folder.parent.name}" if url else folder, venue)


class Lake:
    """Tables of one venue's market data.

    Parameters
    ----------
    root : Path or str, the lake's folder in the market home, or a URL such as ``s3://bucket/prefix``
    venue : str, exchange or local market that the data came from; part of every path
    """

    def __init__(self, root: Path | str, venue: str) -> None:
        self.root = folder_at(root)
        self.venue = venue
        self.pins = Pins(self.root)
        self._changes: dict[str, Combined[_Change, Written]] = {}

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
        gaps: Sequence[Gap] = (),
        as_of_ms: int = 0,
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
        gaps : what is missing in it, or was, and what is known of that
        as_of_ms : int, market time of the collection (epoch ms), noted where it corrects former rows

        Raises
        ------
        DataCorrupt : the frame breaks the table's rules; nothing is written
        HydraError : the disk does not take it; nothing is half-written
        """
        month = month_of(month_span(month)[0])
        frame = checked(frame, table, pair, month)
        content_hash = hash_rows(frame)
        name = f"pair={pair}/{month}-{content_hash[:NAMED_BY]}.parquet"
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
            gaps=tuple(gaps),
        )
        path = self.path(table, entry)
        # Beside the other writers: a file is nothing until the manifest names it, and only that is done one at a time.
        if not path.exists() or sha256(path.read_bytes()) != entry.file_hash:
            write_atomic(path, content)
        return self._combined(table).do(_Change(pair, month, frame, content, entry, as_of_ms))

    def _combined(self, table: str) -> Combined[_Change, Written]:
        """Where this table's changes meet."""
        return self._changes.setdefault(table, Combined(partial(self._make_current, table)))

    def _make_current(self, table: str, changes: Sequence[_Change]) -> list[Written]:
        """Have the manifest name what is written."""
        for _ in range(ATTEMPTS):
            try:
                return self._put(table, changes)
            except Changed:
                continue  # another machine wrote the manifest: take its state in and put ours on top
        raise HydraError(f"{table}: others write {self.root} all the time", "Run it again")

    def _put(self, table: str, changes: Sequence[_Change]) -> list[Written]:
        """One try to make entries current, all of them or none."""
        folder = self._folder(table)
        found: list[Written] = []
        superseded: list[tuple[_Change, Entry]] = []
        with locked(folder / ".lock"):
            entries, version = open_manifest(folder)
            former = {pair: dict(months) for pair, months in entries.items()}
            for change in changes:
                entry, path = change.entry, folder / change.entry.file
                before = entries.get(change.pair, {}).get(change.month)
                changed = before is None or before.content_hash != entry.content_hash
                revisions = before.revisions if before is not None else ()
                if before is not None and changed:
                    revisions = self._revised(table, change.pair, before, change.frame, change.as_of_ms)
                entry = replace(entry, revisions=revisions)
                if not path.exists():  # whoever tidied up meanwhile found nothing that named it
                    write_atomic(path, change.content)
                entries.setdefault(change.pair, {})[change.month] = entry
                if before is not None:
                    superseded.append((change, before))
                found.append(Written(path, entry.content_hash, entry.rows, changed, entry))
            if entries != former:
                write_manifest(folder, entries, version)
            for change, before in superseded:
                now = entries[change.pair][change.month]
                kept = {now.file, *(revision.file for revision in now.revisions)}
                for file in {before.file, *(revision.file for revision in before.revisions)} - kept:
                    self._retire(folder, before, file)
        return found

    def _revised(
        self, table: str, pair: Pair, before: Entry, frame: pl.DataFrame, as_of_ms: int
    ) -> tuple[Revision, ...]:
        """The month's former contents, with the one that is replaced now where rows of it were corrected."""
        try:
            old = self._load(table, pair, before)
        except DataCorrupt:  # what cannot be read cannot be kept as a version
            return before.revisions
        found = corrections(table, old, frame)
        if not found.count:
            return before.revisions
        number = before.revisions[-1].number + 1 if before.revisions else 1
        newest = Revision(
            number,
            before.file,
            before.content_hash,
            before.file_hash,
            before.rows,
            as_of_ms,
            found.changed,
            found.late,
            found.withdrawn,
            found.first_ms,
        )
        return (*before.revisions, newest)[-REVISIONS_KEPT:]

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

    def read_revision(self, table: str, pair: Pair, month: str, number: int) -> pl.DataFrame:
        """A month as it was before its correction ``number``.

        Raises
        ------
        UsageError : there is no such revision, or it is older than the newest that are kept
        DataCorrupt : its file is damaged
        """
        entry = self.entry(table, pair, month)
        kept = {revision.number: revision for revision in entry.revisions} if entry is not None else {}
        if entry is None or number not in kept:
            raise UsageError(f"{table} {pair} {month} has no revision {number}", f"Kept: {sorted(kept) or 'none'}")
        return self._load(table, pair, former_entry(entry, kept[number]))

    def tables(self) -> tuple[str, ...]:
        """Tables that hold at least one file."""
        return tuple(table for table in SCHEMAS if self.entries(table))

    def venues(self, table: str) -> tuple[str, ...]:
        """Venues and sources, not this lake's alone, whose files of a table lie below the root."""
        folder = self.root / table
        names = sorted(path.name.rstrip("/") for path in folder.iterdir()) if folder.exists() else []
        return tuple(name.removeprefix("venue=") for name in names if name.startswith("venue="))

    def sources(self, table: str) -> tuple[Lake, ...]:
        """A lake of each of :meth:`venues`."""
        return tuple(Lake(self.root, venue) for venue in self.venues(table))

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
        """Whether the month is there, its bytes are the recorded ones and its columns those of today."""
        entry = self.entry(table, pair, month)
        if entry is None:
            return False
        path = self.path(table, entry)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return False
        return sha256(content) == entry.file_hash and columns_of(content) == list(schema_of(table))

    def quarantine(self, table: str, pair: Pair, month: str) -> Path | None:
        """Set a damaged file aside and forget it, so that it is fetched again; returns where it went."""
        folder = self._folder(table)
        with locked(folder / ".lock"):
            entries, version = open_manifest(folder)
            entry = entries.get(pair, {}).pop(month, None)
            if entry is None:
                return None
            path = folder / entry.file
            aside = path.with_name(path.name + QUARANTINE)
            if path.exists() and is_local(path):
                path.replace(aside)
            elif path.exists():
                write_atomic(aside, path.read_bytes())
                path.unlink()
            write_manifest(folder, entries, version)
        logger.warning("{} cannot be used: set aside as {}", path, aside.name)
        return aside

    def tidy(self, tables: Iterable[str]) -> int:
        """Delete what writes left behind that a crash cut off: parts of files, and files that no manifest names.

        Returns
        -------
        int : files deleted; pinned ones and quarantined ones stay
        """
        deleted = 0
        for path in (*abandoned(self.root), *abandoned(self.root / QUALITY)):
            path.unlink(missing_ok=True)
            deleted += 1
        for table in tables:
            folder = self._folder(table)
            if not is_local(folder) or not folder.is_dir():
                continue
            with locked(folder / ".lock"), self.pins.held():
                pinned = self.pins.names()
                named = {
                    folder / file
                    for months in read_manifest(folder).values()
                    for entry in months.values()
                    for file in (entry.file, *(revision.file for revision in entry.revisions))
                }
                orphans = [
                    path
                    for path in folder.glob("pair=*/*.parquet")
                    if path not in named and path.stem.rpartition("-")[2] not in pinned
                ]
                for path in (*leftovers(folder), *orphans):
                    path.unlink(missing_ok=True)
                    deleted += 1
        return deleted

    def verify(self) -> list[str]:
        """Check every file below the root against its recorded hash, of every venue and source, former contents and pinned
        files included; one line a problem, with its remedy.
        """
        problems = []
        for table in (*SCHEMAS, *EXTERNAL_TABLES):
            for lake in self.sources(table):
                problems += lake._damage(table)
        there = {path.stem.rpartition("-")[2] for path in self.root.glob("*/*/*/*.parquet")}
        problems += [
            f"a file with the content {content_hash} is gone, from which {', '.join(by)} was made. Restore it from a backup"
            for content_hash, by in self.pins.read().items()
            if content_hash[:NAMED_BY] not in there
        ]
        return problems

    def _damage(self, table: str) -> list[str]:
        """What is wrong with this venue's files of a table."""
        try:
            entries = self.entries(table)
        except DataCorrupt as damage:
            return [str(damage)]
        problems = []
        for pair, months in entries.items():
            for entry in months.values():
                try:
                    self._load(table, pair, entry)
                    for former in entry.revisions:
                        self._bytes(table, pair, former_entry(entry, former))
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
        self.pins.add(hashes, by)

    def _retire(self, folder: Path, entry: Entry, file: str) -> None:
        """Delete a superseded file that nothing was made from."""
        hashes = {revision.file: revision.content_hash for revision in entry.revisions}
        with self.pins.held():
            if hashes.get(file, entry.content_hash) not in self.pins.read():
                (folder / file).unlink(missing_ok=True)

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
        path, remedy = self.path(table, entry), _remedy(table, pair, entry)
        try:
            frame = pl.read_parquet(io.BytesIO(self._bytes(table, pair, entry)), use_pyarrow=False)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DataCorrupt(f"{path} is not Parquet ({error})", remedy) from error
        if frame.columns != list(schema_of(table)):
            raise DataCorrupt(f"{path} has the columns of an older version: {frame.columns}", remedy)
        return frame

    def _bytes(self, table: str, pair: Pair, entry: Entry) -> bytes:
        """The bytes of one file, which are the recorded ones."""
        path, remedy = self.path(table, entry), _remedy(table, pair, entry)
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
        return content


def _remedy(table: str, pair: Pair, entry: Entry) -> str:
    """What brings a damaged month back, as far as anything does."""
    if table in EXTERNAL_TABLES:
        return "The next look at its source sets it aside and fetches again what the source still tells"
    first, after = (utc(at).date() for at in (entry.start_ms, month_span(month_of(entry.start_ms))[1]))
    command = f"Run `hydra backfill --pairs {pair} --from {first} --to {after} --tables {table}`: it is set aside and"
    return f"{command} {'begun anew from what the spool still has' if table in STREAM_TABLES else 'fetched again'}"
