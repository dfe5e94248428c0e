"""The page on data says what the tables are: it is written from their definition."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest

from hydra_core.domain.market import INPUTS
from hydra_core.domain.tables import (
    CAPTURES,
    REFERENCE_PRICES,
    SCHEMAS,
    TABLES,
    TS,
    cadence_of,
    empty_frame,
    known_after_ms,
)
from hydra_core.lake.describe import BEGIN, END, describe
from hydra_core.lake.spool import TRADE_SCHEMA

PAGE = Path(__file__).parents[2] / "docs/data.md"


def test_the_page_is_written_from_the_tables() -> None:
    """When this fails: put what `hydra lake tables` prints between the two marks."""
    page = PAGE.read_text()
    assert page[page.index(BEGIN) + len(BEGIN) : page.index(END)].strip() == describe()


@pytest.mark.parametrize("name", TABLES)
def test_every_table_names_its_columns_units_source_delay_and_gaps(name: str) -> None:
    table = TABLES[name]
    section = next(
        part for part in re.split(r"\n(?=### )", describe()) if re.search(rf"\b{name}\b", part.splitlines()[0])
    )
    for column in SCHEMAS[name]:
        stem = column.rstrip("0123456789")
        assert column in section or f"{stem}1 to" in section, column
    for words in (table.source, table.delay, table.gaps, table.stamp, f"market/{table.group}"):
        assert words in section
    assert all(table.units.values())
    assert dict(empty_frame(name).schema) == dict(SCHEMAS[name])
    assert SCHEMAS[name]["ts"] == TS


def test_every_table_belongs_to_a_market_asset_and_bars_have_a_grid() -> None:
    assert {table.group for table in TABLES.values()} == {*INPUTS, REFERENCE_PRICES, CAPTURES}
    for name, table in TABLES.items():
        assert not table.bars or (cadence_of(name) is not None and known_after_ms(name) > 0)
        assert set(table.words) | set(table.may_lack) <= set(table.units)


def test_captured_trades_have_the_columns_of_their_table() -> None:
    assert list(TRADE_SCHEMA) == list(SCHEMAS["trades"])
    assert all(kind in (pl.Float64(), pl.String(), TS) for schema in SCHEMAS.values() for kind in schema.values())
