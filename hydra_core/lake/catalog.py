"""The DuckDB catalogue: one view a table over the files that the manifests name. Parquet is the truth, this a view.

The catalogue is a file on this machine wherever the lake lies. Over an object store its views name the objects by URL: DuckDB
reads them through the driver that :func:`connect` hands it, or by its own extension ``httpfs`` where that is installed.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from hydra_core.domain.errors import HydraError, UsageError
from hydra_core.domain.tables import EXTERNAL_TABLES, SCHEMAS, empty_frame, schema_of
from hydra_core.lake.files import abandoned, is_local
from hydra_core.lake.store import Lake

if TYPE_CHECKING:
    import duckdb

FILES_TABLE = "files"


@dataclass(frozen=True, slots=True)
class View:
    """One view of the catalogue."""

    name: str
    files: int
    rows: int


def rebuild(lake: Lake, path: Path) -> list[View]:
    """Write the catalogue anew and put it in the old one's place.

    Every table that holds data becomes a view with a ``pair`` column: the lake's venue's, and what comes from elsewhere.
    Table ``files`` lists the manifests' entries.

    Parameters
    ----------
    lake : Lake
    path : Path of the DuckDB file

    Returns
    -------
    list of View, in the tables' order

    Raises
    ------
    HydraError : the file cannot be written, or the object store does not answer
    """
    import duckdb

    path.parent.mkdir(parents=True, exist_ok=True)
    for left in abandoned(path.parent):
        if left.name.startswith(f".{path.name}."):
            left.unlink(missing_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    views = []
    try:
        with connect(lake, fresh, read_only=False) as base:
            base.execute("SET TimeZone = 'UTC'")
            base.execute(
                f"CREATE TABLE {FILES_TABLE} (name VARCHAR, pair VARCHAR, month VARCHAR, rows BIGINT, first_ms BIGINT, "
                "last_ms BIGINT, closed BOOLEAN, source VARCHAR, content_hash VARCHAR, path VARCHAR)"
            )
            for table in (*SCHEMAS, *EXTERNAL_TABLES):
                sources = lake.sources(table) if table in EXTERNAL_TABLES else (lake,)
                rows = [
                    (table, pair, month, entry.rows, entry.first_ms, entry.last_ms, entry.closed, entry.source,
                     entry.content_hash, _address(source.path(table, entry)))
                    for source in sources
                    for pair, months in sorted(source.entries(table).items())
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
            f"cannot write the catalogue {path} ({error})",
            "Close other programs that have it open, check the disk"
            + ("" if is_local(lake.root) else " and the store"),
        ) from error
    finally:
        fresh.unlink(missing_ok=True)
        fresh.with_name(fresh.name + ".wal").unlink(missing_ok=True)
    return views


def connect(lake: Lake, path: Path, *, read_only: bool = True) -> duckdb.DuckDBPyConnection:
    """Open a catalogue so that its views can be read wherever the lake lies.

    Parameters
    ----------
    lake : Lake
    path : Path of the DuckDB file
    read_only : bool, whether other programs may have it open at the same time
    """
    import duckdb

    base = duckdb.connect(str(path), read_only=read_only)
    if not is_local(lake.root):
        store: Any = lake.root
        base.register_filesystem(store.fs)
    return base


def scan(lake: Lake, table: str) -> pl.LazyFrame:
    """A table's current files as one lazy frame with a column ``pair``; hashes are not checked, nothing is read yet.

    Raises
    ------
    UsageError : the lake lies in a store that polars cannot scan
    """
    options: dict[str, str] = {}
    if not is_local(lake.root):
        protocol = str(lake.root).partition("://")[0]
        if protocol != "s3":
            raise UsageError(f"no scan over {lake.root}", "Read it pair by pair with Lake.read, or use s3://")
        options = _store_options()
    files = [_address(lake.path(table, entry)) for months in lake.entries(table).values() for entry in months.values()]
    if not files:
        return empty_frame(table).lazy().with_columns(pl.lit("").alias("pair"))
    schema = {**schema_of(table), "venue": pl.String(), "pair": pl.String()}
    return pl.scan_parquet(
        sorted(files),
        hive_partitioning=True,
        hive_schema={"venue": pl.String(), "pair": pl.String()},
        storage_options=options or None,
    ).select([name for name in schema if name != "venue"])


def _store_options() -> dict[str, str]:
    """Where another store than Amazon's answers, from the environment that the lake's own driver reads too."""
    url = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
    return {"aws_endpoint_url": url, "aws_allow_http": str(url.startswith("http://")).lower()} if url else {}


def _address(path: Path) -> str:
    """A file's absolute path, or its URL."""
    return str(path.absolute() if is_local(path) else path)


def _literal(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"
