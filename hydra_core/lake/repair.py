"""Holes in what was fetched: asked for a second time, then told apart into repaired, verified as no trade, and unresolved.

Nothing is ever filled in. A hole is *no trade* only on the exchange's word: it shows no trade in that span, or did not list the
contract yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import polars as pl

from hydra_core.domain.intervals import HOUR_MS, MINUTE_MS, utc
from hydra_core.domain.pairs import Pair
from hydra_core.domain.tables import CANDLE_TABLES, cadence_of, known_after_ms
from hydra_core.lake.believe import Sifted
from hydra_core.lake.gaps import Gap, GapKind, GapState, find_gaps, missing_settlements, repaired, unverified
from hydra_core.lake.rows import merge
from hydra_core.market.rest import ExchangeClient, together

Source = ExchangeClient | Sifted
REFETCHES: Final = 16
"""Holes that are asked for one by one; more are asked for as one span."""
PROBES: Final = 24
"""Requests for trades that one month's holes are worth; each covers an hour."""
QUIET_MS: Final = 10 * MINUTE_MS
"""Holes younger than this may still fill up by themselves: nothing is said of them yet."""


async def repair(
    client: Source,
    table: str,
    pair: Pair,
    frame: pl.DataFrame,
    span: tuple[int, int],
    now_ms: int,
    known: Sequence[Gap],
    listed_ms: int = 0,
) -> tuple[pl.DataFrame, list[Gap]]:
    """Ask again for the rows that a grid lacks.

    Parameters
    ----------
    client, table, pair : what is asked
    frame : polars.DataFrame, the rows at hand, ascending
    span : (start, end) in epoch ms, what the rows should cover
    now_ms : int, market time
    known : gaps found before: those verified as no trade are not asked for again
    listed_ms : int, epoch ms of the contract's first day, 0 where unknown

    Returns
    -------
    (polars.DataFrame, list of Gap) : the rows, and every gap with what became of it, ascending
    """
    grid = cadence_of(table)
    if grid is None or not frame.height:
        return frame, []
    end = min(span[1], grid.floor(now_ms - known_after_ms(table)) + grid.ms)
    gaps = find_gaps(frame, grid, span[0], end)
    verified = [gap for gap in known if gap.state is GapState.NO_TRADE]
    unsure = [gap for gap in unverified(gaps, verified) if not _unlisted(gap, listed_ms)]
    if unsure:
        spans = [(gap.start, gap.end) for gap in unsure]
        if len(spans) > REFETCHES:
            spans = [(spans[0][0], spans[-1][1])]
        for again in await together(client.table(table, pair, start, stop, now_ms) for start, stop in spans):
            frame = merge(table, frame, again)
    left = find_gaps(frame, grid, span[0], end)
    done = [gap for gap in known if gap.state is GapState.REPAIRED] + repaired(unsure, left)
    done += repaired([gap for gap in known if gap.state is GapState.UNRESOLVED], left)
    found, probes = [], PROBES
    for gap in left:
        state, probes = await _state(client, table, pair, gap, verified, listed_ms, now_ms, probes)
        found.append(replace(gap, state=state))
    return frame, sorted({*done, *found}, key=lambda gap: (gap.start, gap.end))


async def repair_settlements(
    client: Source, pair: Pair, span: tuple[int, int], now_ms: int, listed_ms: int = 0
) -> tuple[pl.DataFrame, list[Gap]]:
    """Settlements of a span, with the holes between them that a second request does not fill.

    Returns
    -------
    (polars.DataFrame, list of Gap) : rows inside the span, and gaps inside it, ascending
    """
    around = await client.settlements(pair, span[0], span[1], now_ms)
    gaps = missing_settlements(around, *span)
    if gaps:
        again = await client.settlements(pair, span[0], span[1], now_ms)
        left = missing_settlements(again, *span)
        left = [replace(gap, state=GapState.NO_TRADE) if _unlisted(gap, listed_ms) else gap for gap in left]
        around, gaps = again, sorted([*repaired(gaps, left), *left], key=lambda gap: gap.start)
    inside = (pl.col("ts") >= utc(span[0])) & (pl.col("ts") < utc(span[1]))
    return around.filter(inside), gaps


async def _state(
    client: Source,
    table: str,
    pair: Pair,
    gap: Gap,
    verified: Sequence[Gap],
    listed_ms: int,
    now_ms: int,
    probes: int,
) -> tuple[GapState, int]:
    """What is known of a hole that stayed, and how many probes are left."""
    if _unlisted(gap, listed_ms) or not unverified([gap], verified):
        return GapState.NO_TRADE, probes
    settled = gap.end <= now_ms - QUIET_MS
    if table not in CANDLE_TABLES or gap.kind is not GapKind.INSIDE or not settled or probes <= 0:
        return GapState.UNRESOLVED, probes
    traded = await client.traded(pair, gap.start, gap.end, probes)
    probes -= -(-(gap.end - gap.start) // HOUR_MS) if traded is False else 1
    return (GapState.NO_TRADE if traded is False else GapState.UNRESOLVED), probes


def _unlisted(gap: Gap, listed_ms: int) -> bool:
    """Whether a hole lies before the contract's first day."""
    return gap.kind in (GapKind.BEFORE, GapKind.ALL) and gap.end <= listed_ms
