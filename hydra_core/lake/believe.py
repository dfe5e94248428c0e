"""What an exchange's history is believed of: rows that cannot be read, or cannot be true, are set aside, told, and left out.

The rules are the critical ones of :mod:`rules`. A row that is left out is a hole: it is asked for again, and unresolved
if the exchange tells the same once more, so nothing is lost silently and one bad row stops no collection.
"""

from __future__ import annotations

from functools import reduce
from operator import or_

import polars as pl

from hydra_core.domain.market import FUNDING
from hydra_core.domain.pairs import Pair
from hydra_core.domain.tables import cadence_of
from hydra_core.lake.rules import CRITICAL, RULES, Rule
from hydra_core.market.rest import ExchangeClient


def sift(frame: pl.DataFrame, table: str) -> tuple[pl.DataFrame, list[str]]:
    """The rows that can be true, and a line for each that cannot.

    Parameters
    ----------
    frame : polars.DataFrame, the table's columns
    table : str
    """
    grid = cadence_of(table)
    broken = {_told(rule): breaks for rule in RULES[table] if (breaks := _breaks(rule)) is not None}
    if grid is not None:
        broken[f"ts is not on the {grid} grid"] = pl.col("ts").dt.epoch("ms") % grid.ms != 0
    wrong = frame.filter(reduce(or_, broken.values())) if broken else frame.clear()
    if not wrong.height:
        return frame, []
    names = wrong.select(breaks.alias(name) for name, breaks in broken.items()).rows(named=True)
    rows = wrong.with_columns(pl.col("ts").dt.epoch("ms")).rows(named=True)
    lines = [
        f"{row} ({', '.join(name for name, is_so in found.items() if is_so)})"
        for row, found in zip(rows, names, strict=True)
    ]
    return frame.join(wrong.select("ts"), on="ts", how="anti", maintain_order="left"), lines


def _breaks(rule: Rule) -> pl.Expr | None:
    """An expression that is true where a row breaks a rule; None for rules that are no bounds, or not critical."""
    told = rule.arguments
    if rule.severity != CRITICAL:
        return None
    if rule.kind == "ExpectColumnPairValuesAToBeGreaterThanB":
        upper, lower = pl.col(told["column_A"]), pl.col(told["column_B"])
        return (upper < lower) if told.get("or_equal") else (upper <= lower)
    if rule.kind != "ExpectColumnValuesToBeBetween":
        return None
    value, low, high = pl.col(told["column"]), told["min_value"], told["max_value"]
    parts = [value.is_nan()]
    if low is not None:
        parts.append(value <= low if told.get("strict_min") else value < low)
    if high is not None:
        parts.append(value > high)
    return reduce(or_, parts)


def _told(rule: Rule) -> str:
    told = rule.arguments
    if "column_A" in told:
        return f"{told['column_A']} is below {told['column_B']}"
    return f"{told['column']} is not between {told['min_value']} and {told['max_value']}"


class Sifted:
    """An exchange's history of one table and pair as far as it can be believed.

    Parameters
    ----------
    client : ExchangeClient
    """

    def __init__(self, client: ExchangeClient) -> None:
        self._client = client
        self._aside: dict[str, None] = {}

    @property
    def aside(self) -> tuple[str, ...]:
        """Rows set aside, each once, with what is wrong with it."""
        return tuple(self._aside)

    async def table(self, table: str, pair: Pair, start_ms: int, end_ms: int, now_ms: int) -> pl.DataFrame:
        """See :meth:`ExchangeClient.table`."""
        unread: list[str] = []
        return self._taken(table, await self._client.table(table, pair, start_ms, end_ms, now_ms, unread), unread)

    async def settlements(self, pair: Pair, start_ms: int, end_ms: int, now_ms: int) -> pl.DataFrame:
        """See :meth:`ExchangeClient.settlements`."""
        unread: list[str] = []
        return self._taken(FUNDING, await self._client.settlements(pair, start_ms, end_ms, now_ms, unread), unread)

    async def traded(self, pair: Pair, start_ms: int, end_ms: int, most: int) -> bool | None:
        """See :meth:`ExchangeClient.traded`."""
        return await self._client.traded(pair, start_ms, end_ms, most)

    def _taken(self, table: str, frame: pl.DataFrame, unread: list[str]) -> pl.DataFrame:
        sound, wrong = sift(frame, table)
        self._aside |= dict.fromkeys([*unread, *wrong])
        return sound
