"""The ledger's tables as Parquet or CSV files, all from one moment, for tools that know nothing of HYDRA.

Money stays exact: decimal notation in CSV, ``decimal(38, 18)`` in Parquet. Not here: a copy to restore from (``backup``).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from hydra_core.domain.errors import UsageError
from hydra_core.ledger import schema
from hydra_core.ledger.accounting import exact
from hydra_core.ledger.engine import open_engine, prepare_schema, reading

Format = Literal["parquet", "csv"]
TABLES: Final = tuple(table.name for table in schema.metadata.sorted_tables)
_STEP: Final = Decimal("1e-18")
_BATCH: Final = 2_000


def export(url: str, folder: Path, kind: Format = "parquet", tables: Iterable[str] = ()) -> dict[str, int]:
    """Write one file a table into a folder; files of an earlier export are replaced one by one, each whole.

    Parameters
    ----------
    url : str, of the ledger
    folder : Path, made when it is not there
    kind : ``parquet`` or ``csv``
    tables : names from :data:`TABLES`; empty: all of them

    Returns
    -------
    rows written, by table

    Raises
    ------
    UsageError : an unknown format or table
    """
    if kind not in ("parquet", "csv"):
        raise UsageError(f"unknown format {kind!r}", "Write parquet or csv")
    wanted = list(tables) or list(TABLES)
    if unknown := sorted(set(wanted) - set(TABLES)):
        raise UsageError(f"the ledger has no table {', '.join(unknown)}", f"It has {', '.join(TABLES)}")
    folder.mkdir(parents=True, exist_ok=True)
    engine = open_engine(url)
    written: dict[str, int] = {}
    try:
        prepare_schema(engine, migrate=False)
        with reading(engine) as connection:
            for name in wanted:
                table = schema.metadata.tables[name]
                target = folder / f"{name}.{kind}"
                part = target.with_name(target.name + ".part")
                write = _write_parquet if kind == "parquet" else _write_csv
                written[name] = write(part, table, _batches(connection, table))
                part.replace(target)
    finally:
        engine.dispose()
    return written


def _batches(connection: Connection, table: sa.Table) -> Iterator[Sequence[RowMapping]]:
    query = sa.select(table).order_by(*table.primary_key)
    yield from connection.execution_options(yield_per=_BATCH).execute(query).mappings().partitions(_BATCH)


def _write_csv(path: Path, table: sa.Table, batches: Iterable[Sequence[RowMapping]]) -> int:
    count = 0
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([column.name for column in table.columns])
        for batch in batches:
            for row in batch:
                writer.writerow([format(value, "f") if isinstance(value, Decimal) else value for value in row.values()])
            count += len(batch)
    return count


def _write_parquet(path: Path, table: sa.Table, batches: Iterable[Sequence[RowMapping]]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = pa.schema([pa.field(column.name, _arrow(column), bool(column.nullable)) for column in table.columns])
    count = 0
    with pq.ParquetWriter(path, fields, compression="zstd") as writer:
        for batch in batches:
            columns = {column.name: [_fitted(row[column.name]) for row in batch] for column in table.columns}
            writer.write_table(pa.table(columns, schema=fields))
            count += len(batch)
    return count


def _arrow(column: sa.Column[Any]) -> Any:
    import pyarrow as pa

    if isinstance(column.type, schema.DecimalText):
        return pa.decimal128(38, 18)
    if isinstance(column.type, sa.Boolean):
        return pa.bool_()
    return pa.int64() if isinstance(column.type, sa.Integer) else pa.string()


def _fitted(value: Any) -> Any:
    if not isinstance(value, Decimal):
        return value
    with exact():
        return value.quantize(_STEP, ROUND_HALF_EVEN)
