"""Rows of an exchange's history that cannot be read or cannot be true: set aside, told, left out, and nothing else is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from exchange_double import MINUTE, ScriptedExchange

from hydra_core.domain.errors import VenueUnavailable
from hydra_core.domain.intervals import HOUR_MS, month_span
from hydra_core.domain.market import FUNDING
from hydra_core.domain.pairs import Pair
from hydra_core.lake.collect import Collected, collect
from hydra_core.lake.expectations import run_suite
from hydra_core.lake.gaps import GapState
from hydra_core.lake.quality import verdicts
from hydra_core.lake.store import Lake
from hydra_core.market.endpoint import Endpoint

BTC = Pair("BTCUSDT")
JUNE = month_span("2024-06")[0]
TABLE = "candles_1m"
BAD = JUNE + 30 * MINUTE


def spoil(scripted: ScriptedExchange, at: int, change: Callable[[list[Any]], object]) -> None:
    """The candle that opens at a time is told in another way, every time that it is asked for."""
    plain = scripted._klines

    def klines(query: Any) -> list[list[Any]]:
        rows = plain(query)
        for row in rows:
            if row[0] == at:
                change(row)
        return rows

    scripted._klines = klines  # type: ignore[method-assign]


async def gather(scripted: ScriptedExchange, lake: Lake, minutes: int = 60, **options: Any) -> Collected:
    """One collection of the first minutes of June."""
    now = JUNE + 2 * HOUR_MS
    clip = (JUNE, JUNE + minutes * MINUTE)
    done = await asyncio.to_thread(
        collect, Endpoint(base_url=scripted.url), lake, [BTC], ["2024-06"], [TABLE], now, clip=clip, **options
    )
    return done[0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda row: row.__setitem__(4, None), "None is no number"),
        (lambda row: row.__setitem__(1, "NaN"), "not finite"),
        (lambda row: row.__delitem__(slice(3, None)), "IndexError"),
        (lambda row: row.__setitem__(4, "-1.5"), "close is not between 0 and"),
        (lambda row: row.__setitem__(slice(1, 5), ["0", "0", "0", "0"]), "open is not between 0 and"),
        (lambda row: row.__setitem__(5, "-3"), "volume is not between 0"),
        (lambda row: row.__setitem__(2, "1"), "high is below"),
        (lambda row: row.__setitem__(0, BAD + 1), "ts is not on the 1m grid"),
    ],
    ids=["null", "NaN", "cut off", "negative", "zero", "volume", "upside down", "off the grid"],
)
async def test_one_bad_row_is_a_hole_that_is_told_and_the_rest_is_there(
    scripted: ScriptedExchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any, says: str
) -> None:
    monkeypatch.setattr("hydra_core.market.rest.backoff", lambda attempts: iter([0.0]))
    lake = Lake(tmp_path, "x")
    scripted.trades = [{"T": BAD + 1}]
    spoil(scripted, BAD, change)
    one = await gather(scripted, lake)
    assert one.rows == 59
    assert [(gap.start, gap.end, gap.state) for gap in one.gaps] == [(BAD, BAD + MINUTE, GapState.UNRESOLVED)]
    assert len(one.aside) == 1
    assert says in one.aside[0]
    assert "set aside" in one.warnings[0]
    assert not run_suite(lake.read(TABLE, BTC), TABLE).failures("critical")
    [said] = [verdict for verdict in verdicts(lake) if verdict.table == f"aside-{TABLE}"]
    assert (said.pair, said.failures[0].unexpected) == (BTC, 1)
    assert says in said.failures[0].detail
    del scripted._klines  # the exchange has mended it
    healed = await gather(scripted, lake, refresh=True)
    assert (healed.rows, healed.aside, healed.unresolved) == (60, (), ())
    assert not [
        verdict.failures for verdict in verdicts(lake) if verdict.table == f"aside-{TABLE}" and verdict.failures
    ]


async def test_a_good_row_is_not_replaced_by_a_bad_one(scripted: ScriptedExchange, tmp_path: Path) -> None:
    """The newest bars are asked for again; one that comes back impossible leaves the lake's own untouched."""
    lake = Lake(tmp_path, "x")
    await gather(scripted, lake)
    before = lake.read(TABLE, BTC)
    spoil(scripted, JUNE + 59 * MINUTE, lambda row: row.__setitem__(3, "0"))
    one = await gather(scripted, lake, minutes=70)
    assert (one.rows, len(one.aside), one.unresolved) == (70, 1, ())
    assert lake.read(TABLE, BTC)[:60].equals(before)


async def test_an_answer_that_is_rubbish_throughout_is_no_answer(
    scripted: ScriptedExchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hydra_core.market.rest.backoff", lambda attempts: iter([0.0]))
    lake = Lake(tmp_path, "x")
    scripted._klines = lambda query: [[JUNE + place * MINUTE, None] for place in range(60)]  # type: ignore[method-assign]
    with pytest.raises(VenueUnavailable, match="malformed answer"):
        await gather(scripted, lake)
    assert lake.tables() == ()


async def test_funding_too(scripted: ScriptedExchange, tmp_path: Path) -> None:
    """A rate of 40 % is no rate: the settlement is missing, and said to be."""
    lake, now = Lake(tmp_path, "x"), JUNE + 60 * HOUR_MS
    stamps = range(JUNE - 48 * HOUR_MS, now, 8 * HOUR_MS)
    scripted.settlements = [(at, 0.4 if at == JUNE + 24 * HOUR_MS else 1e-4) for at in stamps]
    [one] = await asyncio.to_thread(collect, Endpoint(base_url=scripted.url), lake, [BTC], ["2024-06"], [FUNDING], now)
    assert "rate is not between" in one.aside[0]
    assert [(gap.start, gap.state) for gap in one.gaps] == [(JUNE + 24 * HOUR_MS, GapState.UNRESOLVED)]
    assert lake.read(FUNDING, BTC)["rate"].max() == 1e-4
