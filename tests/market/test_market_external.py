"""On-chain and derivatives clients against loopback servers that speak their documented formats; quotas, cache, secrets."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from provider_servers import DAY_S, KEY, Provider, coinglass_answer, glassnode_rows

from hydra_core.domain.clock import ManualClock
from hydra_core.domain.errors import DataCorrupt, HydraError, Refused, UsageError, VenueUnavailable
from hydra_core.domain.intervals import DAY_MS, HOUR_MS, MINUTE_MS
from hydra_core.domain.pairs import Pair
from hydra_core.market.external import coinglass, glassnode
from hydra_core.market.external import http as fetching
from hydra_core.market.external.http import Fetcher, allowed
from hydra_core.market.external.memory import KEPT_BROKEN, Memory, Quota, QuotaSpent

BTC = Pair("BTCUSDT")
FIRST_S = 1_677_715_200
NOW_MS = (FIRST_S + 10 * DAY_S) * 1000 + 7 * HOUR_MS
PATH = "/v1/metrics/addresses/active_count"
METRIC = "addresses/active_count"
OI = "/api/futures/open-interest/aggregated-history"


@pytest.fixture
async def server() -> AsyncIterator[Provider]:
    one = Provider()
    await one.start()
    yield one
    await one.stop()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW_MS)


@pytest.fixture
def memory(tmp_path: Path, clock: ManualClock) -> Memory:
    with Memory(tmp_path / "external.db", clock) as one:
        yield one


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "backoff", lambda attempts: iter([0.0] * (attempts - 1)))


def stored(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in folder.iterdir()]


async def onchain(server: Provider, memory: Memory, quota: Quota | None = None, **options: Any) -> list[Any]:
    who = glassnode.provider(KEY, server.url, quota)
    async with Fetcher(memory) as fetcher:
        return await glassnode.fetch(fetcher, who, BTC, METRIC, FIRST_S * 1000, NOW_MS, **options)


async def test_glassnode_is_asked_and_read_as_documented(server: Provider, memory: Memory) -> None:
    server.bodies[PATH] = glassnode_rows(FIRST_S, [110600.96957325003, 110817.65751791658])
    first, second = await onchain(server, memory)
    assert (first.pair, first.metric, first.value) == (BTC, METRIC, 110600.96957325003)
    assert first.ts_ms == FIRST_S * 1000
    assert first.published_ms == FIRST_S * 1000 + DAY_MS + HOUR_MS, "a stamp is the start of its interval"
    assert second.ts_ms - first.ts_ms == DAY_MS
    path, query, headers = server.asked[0]
    assert (path, query["a"], query["s"], query["i"]) == (PATH, "BTC", str(FIRST_S), "24h")
    assert headers["X-Api-Key"] == KEY
    assert KEY not in str(query)


async def test_a_value_whose_interval_is_not_over_is_not_taken(server: Provider, memory: Memory) -> None:
    server.bodies[PATH] = glassnode_rows(FIRST_S, list(range(20)))
    points = await onchain(server, memory)
    assert max(point.published_ms for point in points) <= NOW_MS
    assert len(points) == 10


async def test_several_values_a_stamp_are_several_metrics(server: Provider, memory: Memory) -> None:
    server.bodies[PATH] = [{"t": FIRST_S, "o": {"up": 1.5, "down": "2.5", "none": None}}]
    points = await onchain(server, memory)
    assert {point.metric: point.value for point in points} == {f"{METRIC}.up": 1.5, f"{METRIC}.down": 2.5}


BROKEN_ROWS = [
    {"t": None, "v": 1}, {"t": FIRST_S}, {"v": 1}, {"t": "soon", "v": 1}, {"t": FIRST_S, "v": "NaN"}, None, [], 7,
    {"t": FIRST_S, "v": {"a": 1}}, {"t": FIRST_S, "v": True}, {"t": -5, "v": 1}, {"t": FIRST_S, "o": [1]},
]  # fmt: skip


async def test_rows_that_cannot_be_read_are_set_aside_and_the_others_kept(server: Provider, memory: Memory) -> None:
    server.bodies[PATH] = [*BROKEN_ROWS, {"t": FIRST_S, "v": 5, "brandNew": {"x": 1}}]
    points = await onchain(server, memory)
    assert [point.value for point in points] == [5]
    assert memory.standing("glassnode").broken == len(BROKEN_ROWS)
    assert len(memory.broken("glassnode")) == len(BROKEN_ROWS)


@pytest.mark.parametrize("body", ['[{"t": 1677715200, "v"', "<html>busy</html>", "", '{"error": "x"}', "null", '"x"'])
async def test_an_answer_that_is_none_is_an_error_that_is_counted(body: str, server: Provider, memory: Memory) -> None:
    server.bodies[PATH] = body
    with pytest.raises(VenueUnavailable, match="glassnode"):
        await onchain(server, memory)
    assert memory.standing("glassnode").broken == 1


async def test_coinglass_is_asked_and_read_as_documented(server: Provider, memory: Memory) -> None:
    row = {"time": 1658966400000, "open": "0.009229", "high": "0.01", "low": "0.007794", "close": "0.01"}
    server.bodies["/api/futures/funding-rate/oi-weight-history"] = coinglass_answer([row])
    server.bodies[OI] = coinglass_answer([row | {"close": "2608846475"}])
    liquidated = {
        "time": 1658966400000,
        "aggregated_long_liquidation_usd": 5916885.14234,
        "aggregated_short_liquidation_usd": 12969583.87632,
    }
    server.bodies["/api/futures/liquidation/aggregated-history"] = coinglass_answer([liquidated])
    who = coinglass.provider(KEY, server.url)
    found = {}
    async with Fetcher(memory) as fetcher:
        for series in coinglass.SERIES:
            for point in await coinglass.fetch(fetcher, who, BTC, series, 0, NOW_MS):
                found[point.metric] = point.value
                assert point.published_ms == 1658966400000 + 4 * HOUR_MS + 5 * MINUTE_MS
    assert found == {
        "open_interest_usd": 2608846475.0,
        "funding_weighted": pytest.approx(0.0001),
        "liquidated_long_usd": 5916885.14234,
        "liquidated_short_usd": 12969583.87632,
    }
    assert all(headers["CG-API-KEY"] == KEY for _, _, headers in server.asked)
    assert all(query["symbol"] == "BTC" for _, query, _ in server.asked)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"code": "401", "msg": "Invalid API key"}, Refused),
        ({"code": "429", "msg": "Too many requests"}, Refused),
        ({"msg": "success", "data": []}, VenueUnavailable),
        ({"code": "0", "msg": "success", "data": None}, VenueUnavailable),
        ({"code": "0", "msg": "success", "data": {"time": 1}}, VenueUnavailable),
        ([], VenueUnavailable),
    ],
)
async def test_what_coinglass_refuses_is_told_in_its_words(
    answer: Any, error: type[HydraError], server: Provider, memory: Memory
) -> None:
    server.bodies[OI] = answer
    async with Fetcher(memory) as fetcher:
        with pytest.raises(error) as caught:
            await coinglass.fetch(fetcher, coinglass.provider(KEY, server.url), BTC, "open_interest", 0, NOW_MS)
    if error is Refused:
        assert answer["msg"] in caught.value.what
        assert coinglass.KEY_NAME in caught.value.remedy
        assert answer["msg"] in memory.standing("coinglass").problem


async def test_a_limit_inside_an_answer_is_a_pause(server: Provider, memory: Memory, clock: ManualClock) -> None:
    server.bodies[OI] = {"code": "429", "msg": "Too many requests"}
    who = coinglass.provider(KEY, server.url)
    async with Fetcher(memory) as fetcher:
        with pytest.raises(Refused):
            await coinglass.fetch(fetcher, who, BTC, "open_interest", 0, NOW_MS)
        with pytest.raises(QuotaSpent, match="pause"):
            await coinglass.fetch(fetcher, who, BTC, "open_interest", 0, NOW_MS)
        assert len(server.asked) == 1
        clock.advance(61_000)
        server.bodies[OI] = coinglass_answer([])
        assert await coinglass.fetch(fetcher, who, BTC, "open_interest", 0, NOW_MS) == []


async def test_an_unknown_series_is_a_usage_error(server: Provider, memory: Memory) -> None:
    async with Fetcher(memory) as fetcher:
        with pytest.raises(UsageError, match="liquidations"):
            await coinglass.fetch(fetcher, coinglass.provider(KEY, server.url), BTC, "weather", 0, NOW_MS)


async def test_an_answer_is_kept_and_costs_one_call(server: Provider, memory: Memory, clock: ManualClock) -> None:
    server.bodies[PATH] = glassnode_rows(FIRST_S, [1, 2])
    assert await onchain(server, memory) == await onchain(server, memory)
    assert len(server.asked) == 1
    assert memory.standing("glassnode").calls_today == 1
    clock.advance(31 * MINUTE_MS)
    await onchain(server, memory)
    assert len(server.asked) == 2


async def test_a_quota_is_kept_by_every_process_and_renewed(
    server: Provider, tmp_path: Path, clock: ManualClock
) -> None:
    server.bodies[PATH] = glassnode_rows(FIRST_S, [1])
    quota = Quota(per_minute=2, per_day=3)
    path = tmp_path / "shared.db"
    with Memory(path, clock) as one, Memory(path, clock) as other:
        for memory in (one, other):
            memory.draw("glassnode", quota)
        with pytest.raises(QuotaSpent, match="2 calls of this minute"):
            one.draw("glassnode", quota)
        clock.advance(MINUTE_MS)
        other.draw("glassnode", quota)
        with pytest.raises(QuotaSpent, match="3 calls of this day"):
            await onchain(server, one, quota)
        assert server.asked == []
        clock.advance(DAY_MS)
        assert await onchain(server, one, quota)
        assert one.standing("glassnode").calls_today == 1


async def test_a_429_is_obeyed_for_as_long_as_it_says(server: Provider, memory: Memory, clock: ManualClock) -> None:
    server.script[PATH] = [(429, "slow down", {"x-rate-limit-reset": "40"})]
    server.bodies[PATH] = glassnode_rows(FIRST_S, [1])
    with pytest.raises(Refused, match="429"):
        await onchain(server, memory)
    clock.advance(39_000)
    with pytest.raises(QuotaSpent):
        await onchain(server, memory)
    clock.advance(2_000)
    assert len(await onchain(server, memory)) == 1


async def test_a_server_that_stumbles_is_asked_again(server: Provider, memory: Memory) -> None:
    server.script[PATH] = [(503, "", {}), (502, "", {})]
    server.bodies[PATH] = glassnode_rows(FIRST_S, [1])
    assert len(await onchain(server, memory)) == 1
    assert memory.standing("glassnode").problem == ""


async def test_a_server_that_stays_down_is_an_error_that_status_shows(server: Provider, memory: Memory) -> None:
    server.script[PATH] = [(503, "", {})] * 9
    with pytest.raises(VenueUnavailable, match="503"):
        await onchain(server, memory)
    assert "503" in memory.standing("glassnode").problem


@pytest.mark.parametrize("status", [401, 403])
async def test_a_key_that_is_not_accepted_is_said_by_its_name_and_never_shown(
    status: int, server: Provider, memory: Memory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.script[PATH] = [(status, f"bad key {KEY}", {})]
    with pytest.raises(Refused) as caught:
        await onchain(server, memory)
    assert glassnode.KEY_NAME in str(caught.value)
    said = str(caught.value) + repr(glassnode.provider(KEY)) + str(memory.standing("glassnode"))
    said += "".join(capsys.readouterr())
    assert KEY not in said
    memory.close()
    assert not any(KEY.encode() in content for content in stored(tmp_path))


async def test_a_key_is_never_sent_on_to_another_address(server: Provider, memory: Memory) -> None:
    server.script[PATH] = [(302, "", {"Location": "http://127.0.0.1:1/elsewhere"})]
    with pytest.raises(Refused, match="leads elsewhere"):
        await onchain(server, memory)


async def test_packed_answers_are_unpacked_and_bombs_refused(server: Provider, memory: Memory) -> None:
    server.packed = True
    server.bodies[PATH] = glassnode_rows(FIRST_S, [1])
    assert len(await onchain(server, memory)) == 1
    server.bodies["/v1/metrics/bomb"] = b" " * (fetching.MAX_BYTES + 1)
    who = glassnode.provider(KEY, server.url)
    async with Fetcher(memory) as fetcher:
        with pytest.raises(Refused, match="more than"):
            await glassnode.fetch(fetcher, who, BTC, "bomb", 0, NOW_MS)


async def test_an_answer_that_is_cut_off_while_packed_is_an_error(server: Provider, memory: Memory) -> None:
    server.script[PATH] = [(200, b"\x1f\x8b\x08 not gzip at all", {"Content-Encoding": "gzip"})] * 3
    with pytest.raises(VenueUnavailable, match="broken"):
        await onchain(server, memory)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "javascript:alert(1)", "", "http://"])
def test_only_http_addresses_are_asked(url: str) -> None:
    with pytest.raises(Refused, match="address"):
        allowed(url, local_only=False)


@pytest.mark.parametrize("url", ["https://api.glassnode.com/v1", "http://10.0.0.5/", "http://127.0.0.1.evil.example/"])
def test_a_local_market_asks_only_this_machine(url: str) -> None:
    allowed(url, local_only=False)
    with pytest.raises(Refused, match="this machine"):
        allowed(url, local_only=True)
    allowed("http://127.0.0.1:8080/x", local_only=True)


def test_what_is_set_aside_is_counted_for_ever_and_kept_within_bounds(memory: Memory) -> None:
    for number in range(KEPT_BROKEN + 50):
        memory.set_aside("feed", "no title", {"number": number, "long": "x" * 5000})
    kept = memory.broken("feed")
    assert memory.standing("feed").broken == KEPT_BROKEN + 50
    assert len(kept) == KEPT_BROKEN
    assert max(len(excerpt) for _, excerpt in kept) <= 300


def test_a_file_that_is_no_database_is_told_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "external.db"
    path.write_bytes(b"this is not a database at all" * 100)
    with pytest.raises(DataCorrupt, match="Move it away"):
        Memory(path)


def test_an_interrupted_change_leaves_the_file_as_it_was(tmp_path: Path, clock: ManualClock) -> None:
    path = tmp_path / "external.db"
    with Memory(path, clock) as memory:
        memory.draw("glassnode", Quota(per_day=5))
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        other.execute("DELETE FROM calls")
        other.close()  # the process died before it could commit
        assert memory.standing("glassnode").calls_today == 1
