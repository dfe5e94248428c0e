"""The venue as a process and over time: clock, restart, the market's end, the state folder, the command line."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import ccxt
import pytest
from venue_harness import DAYS, Served, eventually, served, synthetic

from hydra_core.domain.errors import DataCorrupt, LockHeld, UsageError
from hydra_core.domain.intervals import MINUTE_MS
from hydra_core.domain.pairs import Pair, ccxt_symbol
from hydra_core.simulation.synthetic import SyntheticMarket
from hydra_core.venue import VenueConfig
from hydra_core.venue.admission import OrderRequest
from hydra_core.venue.engine import Engine
from hydra_core.venue.feed import Feed
from hydra_core.venue.state import VenueStore

BTC = Pair("BTCUSDT")
SYMBOL = ccxt_symbol(BTC)


async def test_speed_and_hold_keep_market_time_continuous(venue: Served) -> None:
    start = venue.market.start_ms
    assert await venue.now_ms() == start
    loop = asyncio.get_running_loop()
    began = loop.time()
    told = await venue.control("POST", "clock", {"speed": 100, "held": False})
    assert (told["speed"], told["held"]) == (100, False)

    async def a_minute_on() -> bool:
        return await venue.now_ms() >= start + MINUTE_MS

    await eventually(a_minute_on)
    held = await venue.control("POST", "clock", {"held": True})
    passed = held["market_ms"] - start
    assert MINUTE_MS <= passed <= (loop.time() - began) * 100_000
    assert await venue.now_ms() == held["market_ms"]
    slower = await venue.control("POST", "clock", {"speed": 1, "held": False})
    assert held["market_ms"] <= slower["market_ms"] <= held["market_ms"] + 1_000


@pytest.mark.parametrize("body", [{"speed": 0}, {"speed": -1}, {"speed": True}, {"held": 1}, {"fast": 2}, [1]])
async def test_impossible_clock_orders_change_nothing(venue: Served, body: Any) -> None:
    before = await venue.control("GET", "clock")
    async with venue.session.post(f"{venue.base}/_venue/clock", json=body) as answer:
        assert answer.status == 400
    after = await venue.control("GET", "clock")
    assert {**after, "wall_ms": 0} == {**before, "wall_ms": 0}


async def test_the_receive_window_widens_with_the_speed(venue: Served, exchange: Any) -> None:
    await venue.control("POST", "clock", {"speed": 300, "held": False})
    exchange.milliseconds = (await venue.clock()).market_ms
    for _ in range(20):
        assert (await exchange.fetch_balance())["USDT"]["total"] == 10_000


async def test_restart_resumes_clock_and_account(tmp_path: Path) -> None:
    async with served(tmp_path) as venue:
        exchange = await venue.exchange()
        order = await exchange.create_order(SYMBOL, "market", "buy", 0.05)
        low = round(order["average"] * 0.95, 1)
        resting = await exchange.create_order(SYMBOL, "limit", "buy", 0.01, low)
        stop = await exchange.create_order(SYMBOL, "market", "sell", 0.05, params={"stopLossPrice": low})
        await exchange.set_leverage(9, SYMBOL)
        await venue.pass_to(await venue.now_ms() + 2 * MINUTE_MS, 600)
        left_at, wallet = await venue.now_ms(), (await exchange.fetch_balance())["info"]["totalWalletBalance"]
    async with served(tmp_path, balance=5) as venue:
        assert await venue.now_ms() == left_at
        assert (await venue.control("GET", "clock"))["held"] is True
        exchange = await venue.exchange()
        assert (await exchange.fetch_balance())["info"]["totalWalletBalance"] == wallet
        assert (await exchange.fetch_order(order["id"], SYMBOL))["filled"] == 0.05
        assert [one["id"] for one in await exchange.fetch_open_orders(SYMBOL)] == [resting["id"]]
        [waiting] = await exchange.fetch_open_orders(SYMBOL, params={"trigger": True})
        assert waiting["id"] == stop["id"]
        assert (await exchange.fetch_leverage(SYMBOL))["longLeverage"] == 9
        assert (await exchange.fetch_positions([SYMBOL]))[0]["contracts"] == 0.05
        newer = await exchange.create_order(SYMBOL, "market", "sell", 0.05)
        assert int(newer["id"]) > int(stop["id"])


def test_after_a_kill_what_was_missed_happens_once(tmp_path: Path) -> None:
    """Killed with a position: the settlements since then are charged at the next start, and never twice."""
    market, told = synthetic(), []
    feed, start = Feed(market), market.start_ms

    def resume() -> tuple[VenueStore, Engine]:
        store = VenueStore(tmp_path)
        return store, Engine(feed, store, Decimal(10_000), start, told.append)

    store, engine = resume()
    engine.place(OrderRequest(BTC, 1, "MARKET", "GTC", Decimal("0.1"), Decimal(0), False, "kept"))
    store.close()
    until = start + 17 * 60 * MINUTE_MS
    for _ in range(2):
        store, engine = resume()
        engine.advance(until)
        store.close()
    paid = [entry.ts for entry in engine.book.income if entry.kind == "FUNDING_FEE"]
    assert paid == market.funding(BTC, start + 1, until + 1).ts.tolist()
    assert engine.account.wallet == 10_000 + sum(entry.amount for entry in engine.book.income)


class EndingSoon(SyntheticMarket):
    """The synthetic market, over half an hour after its start."""

    @property
    def end_ms(self) -> int:
        return self.start_ms + 30 * MINUTE_MS


async def test_the_market_ends_in_maintenance(tmp_path: Path) -> None:
    market = EndingSoon(7, 0.3, DAYS)
    async with served(tmp_path, market) as venue:
        exchange = await venue.exchange()
        await exchange.create_order(SYMBOL, "market", "buy", 0.01)
        closed: list[int] = []
        async with venue.session.ws_connect(f"{venue.base}/market/ws/btcusdt@kline_1m") as stream:
            await venue.control("POST", "clock", {"speed": 3_000, "held": False})
            while not (message := await asyncio.wait_for(stream.receive(), 10)).type.name.startswith("CLOS"):
                candle = json.loads(message.data)["k"]
                closed += [candle["t"]] if candle["x"] else []
        assert closed == list(range(market.start_ms, market.end_ms, MINUTE_MS))
        told = await venue.control("GET", "clock")
        assert (told["market_ms"], told["held"], told["end_ms"]) == (market.end_ms, True, market.end_ms)
        with pytest.raises(ccxt.OnMaintenance):
            await exchange.fetch_ohlcv(SYMBOL, "1m")
        with pytest.raises(ccxt.OnMaintenance):
            await exchange.create_order(SYMBOL, "market", "sell", 0.01)
        async with venue.session.get(f"{venue.base}/market/ws") as answer:
            assert answer.status == 503


async def test_one_state_folder_serves_one_venue_and_one_market(tmp_path: Path) -> None:
    async with served(tmp_path):
        with pytest.raises(LockHeld, match="in use"):
            async with served(tmp_path):
                pass
    with pytest.raises(DataCorrupt, match=r"belongs to market synthetic-7-0\.3"):
        async with served(tmp_path, SyntheticMarket(8, 0.3, 1)):
            pass
    (tmp_path / "venue.db").write_bytes(b"no database" * 500)
    with pytest.raises(DataCorrupt, match=r"venue\.db"):
        async with served(tmp_path):
            pass


@pytest.mark.parametrize("change", [{"speed": 0.0}, {"balance": -1}, {"start_ms": 5}])
def test_impossible_configurations_are_usage_errors(tmp_path: Path, change: dict[str, Any]) -> None:
    market = synthetic()
    values = {"start_ms": market.start_ms, **change}
    with pytest.raises(UsageError):
        VenueConfig(market=market, host="127.0.0.1", port=0, state_dir=tmp_path, **values)


class Process:
    """``python -m hydra_core.venue`` as a child."""

    def __init__(self, child: asyncio.subprocess.Process, ready: dict[str, Any]) -> None:
        self.child = child
        self.ready = ready

    @classmethod
    async def start(cls, state_dir: Path, *words: str) -> Process:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "hydra_core.venue", "--market", "synthetic-7-0.3", "--days", "3", "--state-dir",
            str(state_dir), "--port", "0", *words,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert child.stdout is not None
        line = await asyncio.wait_for(child.stdout.readline(), 20)
        return cls(child, json.loads(line))

    async def clock(self, session: Any) -> dict[str, Any]:
        async with session.get(f"http://127.0.0.1:{self.ready['port']}/_venue/clock") as answer:
            return dict(await answer.json())

    async def end(self, number: signal.Signals) -> tuple[int, str]:
        self.child.send_signal(number)
        out, _ = await asyncio.wait_for(self.child.communicate(), 15)
        return self.child.returncode or 0, out.decode()


async def test_the_process_ends_orderly_and_after_a_kill_time_never_runs_back(tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as session:
        first = await Process.start(tmp_path, "--speed", "50")
        assert first.ready["event"] == "ready"
        assert first.ready["pid"] == first.child.pid
        seen = (await first.clock(session))["market_ms"]
        code, out = await first.end(signal.SIGTERM)
        assert (code, out) == (0, "")
        second = await Process.start(tmp_path)
        resumed = await second.clock(session)
        assert resumed["speed"] == 50
        assert resumed["market_ms"] >= seen

        async def moved() -> bool:
            return bool((await second.clock(session))["market_ms"] > resumed["market_ms"] + 60_000)

        await eventually(moved)
        seen = (await second.clock(session))["market_ms"]
        await second.end(signal.SIGKILL)
        third = await Process.start(tmp_path, "--held")
        assert (await third.clock(session))["market_ms"] >= seen
        assert (await third.end(signal.SIGINT))[0] == 0


async def test_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "hydra_core.venue", "--market", "synthetic-7-0.3", "--days", "1", "--state-dir",
            str(tmp_path), "--port", str(taken.getsockname()[1]), "--log-level", "error",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await asyncio.wait_for(child.communicate(), 20)
    assert (child.returncode, out) == (1, b"")
    assert len(err.decode().strip().splitlines()) == 1
    assert "cannot listen" in err.decode()
    assert "--port" in err.decode()
