"""Scenarios of malformed payloads, over REST and streams (M40)."""

from __future__ import annotations

import asyncio
import math
from decimal import Decimal

import polars as pl

from hydra_core.domain.errors import HydraError
from hydra_core.domain.intervals import HOUR_MS, Interval
from hydra_core.domain.market import Liquidation, MarkReading, Quote
from hydra_core.domain.trading import OrderState
from hydra_core.market.rest import ExchangeClient
from hydra_core.market.streams import CANDLE_STREAM, MARK_STREAM, QUOTE_STREAM, MarketStreams, Quarantine
from hydra_core.venue.spoiling import SPOILINGS

from .registry import scenario
from .rig import Rig, eventually
from .trading import BTC, ETH, trading

ORDER = "/fapi/v1/order"


@scenario("M40", "malformed history is asked for again or refused, never believed")
async def malformed_history(rig: Rig, seed: int) -> None:
    """Answers of history are spoilt in every way: what comes through equals the truth, or is an error of ours."""
    start, now = rig.market.start_ms - HOUR_MS, rig.market.start_ms

    async def read(client: ExchangeClient, what: str) -> pl.DataFrame:
        if what == "candles":
            return await client.candles(BTC, Interval.M5, start, now, now)
        if what == "funding":
            return await client.funding(BTC, start - 48 * HOUR_MS, now, now)
        return await getattr(client, what)(BTC, start, now, now)

    async with ExchangeClient(rig.endpoint, clock=rig.clock, attempts=2) as client:
        names = ("candles", "funding", "open_interest", "long_short")
        truth = {name: await read(client, name) for name in names}
        for name in names:
            assert truth[name].height, name
        for how in SPOILINGS:
            name = rig.rng.choice(names)
            await rig.fault("malformed", how=how, path="/(fapi|futures)/.*", times=rig.rng.randint(1, 3))
            try:
                frame = await read(client, name)
            except HydraError:
                frame = None
            await rig.clear()
            # A well formed answer that lacks rows says that there are none: no client can know better.
            if frame is not None and how not in {"empty", "list", "swapped", "extra", "missing"}:
                assert frame.equals(truth[name]), f"{how} {name}: a spoilt answer was believed"
            if frame is not None:
                numbers = [value for column in frame.columns[1:] for value in frame[column].to_list()]
                assert all(math.isfinite(value) for value in numbers), f"{how} {name}"
            assert (await read(client, name)).equals(truth[name])


@scenario("M40", "a malformed answer to an order leaves its outcome unknown")
async def malformed_order(rig: Rig, seed: int) -> None:
    """The order was executed, its answer cannot be read: it is looked up by its id and counts once."""
    how = rig.rng.choice(SPOILINGS)
    async with trading(rig) as hydra:
        await rig.fault("malformed", how=how, method="POST", path=ORDER)
        await hydra.send("m40", quantity="0.01")

        async def known() -> bool:
            await hydra.reconcile()
            return hydra.ledger.order("m40").state is OrderState.FILLED

        await eventually(known, 20, f"filled after a {how} answer")
        assert await hydra.arrived("m40") == 1
        assert len(await rig.requests(ORDER, "POST")) == 1
        await hydra.agrees()


@scenario("M40", "a user event that cannot be read is set aside, and the account compared before anything is opened")
async def malformed_user_events(rig: Rig, seed: int) -> None:
    """An order fills while the words on it are spoilt: each is counted, entries are shut until REST has told what they
    said, and nothing is booked twice."""
    how = rig.rng.choice(["truncated", "words", "empty"])
    async with trading(rig, stream=True) as hydra:
        price = await hydra.resting_price()
        await hydra.send("m40-user", kind="limit", price=price, quantity="0.02")
        await rig.fault("spoilt", private=True, event="ORDER_TRADE_UPDATE|TRADE_LITE", how=how, times=-1)
        await rig.fault("fill", client_id="m40-user")
        await eventually(lambda: hydra.broker.standing.block, 20, "entries are shut")
        assert hydra.held() == 0
        await rig.clear()
        report = await hydra.reconcile()
        assert any("could not be read" in words for words in report.differences), report
        assert hydra.held() == Decimal("0.02")
        await hydra.reconcile()
        assert not hydra.broker.standing.block
        await hydra.agrees()


class Ear:
    """Takes what the streams tell, and remembers every number of it."""

    def __init__(self) -> None:
        self.numbers: list[float] = []
        self.quotes = 0

    def on_candle(self, pair: object, interval: object, ts: int, *numbers: float) -> None:
        self.numbers += numbers[:4]

    def on_quote(self, quote: Quote) -> None:
        self.numbers += [quote.bid, quote.ask]
        self.quotes += 1

    def on_mark(self, mark: MarkReading) -> None:
        self.numbers += [mark.mark, mark.index]

    def on_liquidation(self, liquidation: Liquidation) -> None:
        self.numbers.append(liquidation.price)

    def on_health(self, stream: str, ok: bool, event_ms: int, message: str) -> None:
        return


@scenario("M40", "malformed stream messages are counted and set aside")
async def malformed_messages(rig: Rig, seed: int) -> None:
    """Stream messages are spoilt: each is counted and kept for a person, no connection ends, no bad number passes."""
    how, times = rig.rng.choice(["truncated", "words", "nulls", "missing", "swapped", "extra", "list", "empty"]), 6
    ear, quarantine = Ear(), Quarantine(rig.clock, rig.folder / "quarantine.jsonl")
    streams = MarketStreams(
        rig.endpoint, [BTC, ETH], [Interval.M1], ear, rig.clock,
        topics=(CANDLE_STREAM, QUOTE_STREAM, MARK_STREAM), quarantine=quarantine, seed=seed,
    )  # fmt: skip
    task = asyncio.create_task(streams.run())
    try:
        await eventually(lambda: all(one.ok for one in streams.health()), what="every stream is up")
        await rig.fault("spoilt", private=False, how=how, times=times, chance=0.5)

        async def spoilt() -> bool:
            await rig.advance(1_000)
            return len(await rig.struck()) >= times

        await eventually(spoilt, 20, f"{times} spoilt messages")
        heard = ear.quotes
        await eventually(lambda: ear.quotes > heard + 3, 20, "quotes go on")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    opened = await rig.wire_log(channel="socket", what="opened")
    assert len(opened) == len(streams.lines), "a connection ended for a message"
    assert quarantine.total <= times
    if how in {"truncated", "words", "list", "empty"}:
        assert quarantine.total == times, f"{quarantine.total} of {times} {how} messages were counted"
        assert len((rig.folder / "quarantine.jsonl").read_text().splitlines()) == times
    low, high = (rig.market.price(BTC, rig.market.start_ms) * part for part in (1e-6, 2.0))
    assert all(math.isfinite(number) and low < number < high for number in ear.numbers)
