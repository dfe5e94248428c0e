"""The DuckDB catalogue: one view a table over the files that the manifests name. Parquet is the truth, this a view."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from hydra_core.domain.errors import HydraError, UsageError
from hydra_core.domain.tables import SCHEMAS, empty_frame, schema_of
from hydra_core.lake.files import is_local
from hydra_core.lake.store import Lake

FILES_TABLE = "files"


@dataclass(frozen=True, slots=True)
class View:
    """One view of the catalogue."""

    name: str
    files: int
    rows: int


def rebuild(lake: Lake, path: Path) -> list[View]:
    """Write the catalogue anew and put it in the old one's place.

    Every table that holds data becomes a view with a ``pair`` column; table ``files`` lists the manifests' entries.

    Parameters
    ----------
    lake : Lake
    path : Path of the DuckDB file

    Returns
    -------
    list of View, in the tables' order

    Raises
    ------
    UsageError : the lake lies in an object store: DuckDB reads it with its own extension and keys, not through this file
    HydraError : the file cannot be written
    """
    import duckdb

    if not is_local(lake.root):
        raise UsageError(
            f"no catalogue over {lake.root}", "Read the object store with DuckDB's httpfs, or keep a local copy"
        )

    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    views = []
    try:
        with duckdb.connect(str(fresh)) as base:
            base.execute("SET TimeZone = 'UTC'")
            base.execute(
                f"CREATE TABLE {FILES_TABLE} (name VARCHAR, pair VARCHAR, month VARCHAR, rows BIGINT, first_ms BIGINT, "
                "last_ms BIGINT, closed BOOLEAN, source VARCHAR, content_hash VARCHAR, path VARCHAR)"
            )
            for table in SCHEMAS:
                rows = [
                    (table, pair, month, entry.rows, entry.first_ms, entry.last_ms, entry.closed, entry.source,
                     entry.content_hash, str(lake.path(table, entry).absolute()))
                    for pair, months in sorted(lake.entries(table).items())
                    for month, entry in sorted(months.items())
                ]  # fmt: skip
                if not rows:
                    continue
                base.executemany(f"INSERT INTO {FILES_TABLE} VALUES ({', '.join('?' * 10)})", rows)
                files = ", ".join(_literal(row[-1]) for row in rows)
                base.execute(
                    f"CREATE VIEW {table} AS SELECT pair, * EXCLUDE (pair, venue) "
                    f"FROM read_parquet([{files}], hive_partitioning = true, hive_types_autocast = false)"
                )
                views.append(View(table, len(rows), sum(row[3] for row in rows)))
        fresh.replace(path)
    except (duckdb.Error, OSError) as error:
        raise HydraError(
            f"cannot write the catalogue {path} ({error})", "Close other programs that have it open, check the disk"
        ) from error
    finally:
        fresh.unlink(missing_ok=True)
        fresh.with_name(fresh.name + ".wal").unlink(missing_ok=True)
    return views


def scan(lake: Lake, table: str) -> pl.LazyFrame:
    """A table's current files as one lazy frame with a column ``pair``; hashes are not checked, nothing is read yet.

    Raises
    ------
    UsageError : the lake lies in an object store
    """
    if not is_local(lake.root):
        raise UsageError(f"no scan over {lake.root}", "Read it pair by pair with Lake.read, or keep a local copy")
    files = [lake.path(table, entry) for months in lake.entries(table).values() for entry in months.values()]
    if not files:
        return empty_frame(table).lazy().with_columns(pl.lit("").alias("pair"))
    schema = {**schema_of(table), "venue": pl.String(), "pair": pl.String()}
    return pl.scan_parquet(
        sorted(files), hive_partitioning=True, hive_schema={"venue": pl.String(), "pair": pl.String()}
    ).select([name for name in schema if name != "venue"])


def _literal(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"
