"""Margin tables from an exchange, served here, to the paper account that is liquidated by them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from loguru import logger
from pydantic import SecretStr

from hydra_core.domain.clock import AnchoredClock, ClockAnchor
from hydra_core.domain.market import MarketRules, MarkReading, Quote
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Fill, Side
from hydra_core.home import Home
from hydra_core.ledger.livestate import LiveStateReader, LiveStateWriter
from hydra_core.ledger.store import Ledger
from hydra_core.market.endpoint import Endpoint
from hydra_core.market.rest import ExchangeClient
from hydra_core.risk.margin import liquidation_price, maintenance, table_of
from hydra_core.settings import Settings
from hydra_core.simulation.synthetic import SyntheticMarket
from hydra_core.trader.margins import with_margin_tables
from hydra_core.trader.service import run_trader
from hydra_core.trader.sessions import Parts, paper_session
from hydra_core.trader.view import MarketView
from hydra_core.venue import LOCAL_KEY, LOCAL_SECRET, VenueConfig, serve

BTC, ETH = Pair("BTCUSDT"), Pair("ETHUSDT")
MARKET = SyntheticMarket(7, 0.3, 10)
STEPS = tuple((floor, times / 200) for floor, times in ((0.0, 1), (50_000.0, 2), (250_000.0, 5), (1_000_000.0, 12)))
"""The venue's table of a pair whose public rate is half a percent."""
D = Decimal


@contextlib.asynccontextmanager
async def venue(folder: Path) -> AsyncIterator[Endpoint]:
    """A held venue with two pairs, until the block ends."""
    config = VenueConfig(MARKET, "127.0.0.1", 0, folder, held=True, start_ms=MARKET.start_ms, balance=D(2_500))
    stop, port = asyncio.Event(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(config, stop=stop, ready=lambda _, number: port.set_result(number)))
    await asyncio.wait({task, port}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
    try:
        yield Endpoint(base_url=f"http://127.0.0.1:{port.result()}")
    finally:
        stop.set()
        await task


def settings(folder: Path, **changes: Any) -> Settings:
    made = Settings(pairs=(BTC, ETH), data_root=folder, market="home")
    key = {"exchange_key": SecretStr(LOCAL_KEY), "exchange_secret": SecretStr(LOCAL_SECRET)}
    return made.model_copy(update={**key, **changes})


def clock() -> AnchoredClock:
    return AnchoredClock(ClockAnchor(MARKET.start_ms, 0, 1.0, True))


async def test_the_key_brings_the_exchanges_tables_and_their_last_word_stands_while_it_is_silent(
    tmp_path: Path,
) -> None:
    home, said = Home(tmp_path, "home").create(), list[str]()
    async with venue(tmp_path / "venue") as endpoint:
        async with ExchangeClient(endpoint, clock=clock(), limits=home.limits) as client:
            public = await client.rules()

        async def read(**changes: Any) -> dict[Pair, MarketRules]:
            return await with_margin_tables(home, settings(tmp_path, **changes), endpoint, clock(), public)

        found = await read()
        assert [found[pair].margin_steps for pair in (BTC, ETH)] == [STEPS, STEPS]
        assert found[BTC] == replace(public[BTC], margin_steps=STEPS)
        assert await read(exchange_key=None) == {pair: public[pair] for pair in (BTC, ETH)}, "nobody may ask"
        heard = logger.add(lambda message: said.append(str(message)), level="WARNING", format="{message}")
        try:
            assert await read(exchange_key=SecretStr("another")) == {pair: public[pair] for pair in (BTC, ETH)}
            with LiveStateWriter(home.live_state) as writer:
                writer.set_rules({BTC: found[BTC], ETH: public[ETH]})
            again = await read(exchange_key=SecretStr("another"))
        finally:
            logger.remove(heard)
    assert again == {BTC: found[BTC], ETH: public[ETH]}
    assert len(said) == 2
    assert "0 of 2 pairs go by the tables of the last start" in said[0]
    assert "1 of 2 pairs" in said[1]


async def test_a_trader_on_paper_with_a_key_writes_the_tables_down(tmp_path: Path) -> None:
    home, stop = Home(tmp_path, "home").create(), asyncio.Event()
    async with venue(tmp_path / "venue") as endpoint:
        trader = asyncio.create_task(run_trader(home, settings(tmp_path), endpoint, stop))
        with Ledger.open(home.ledger_url) as ledger:
            async with asyncio.timeout(60):
                while not trader.done() and "trader" not in ledger.heartbeats():
                    await asyncio.sleep(0.02)
        stop.set()
        await trader
    with LiveStateReader(home.live_state, ()) as reader:
        reader.refresh()
        rules = reader.readings().rules
    assert {pair: one.margin_steps for pair, one in rules.items()} == {BTC: STEPS, ETH: STEPS}


@pytest.mark.parametrize("steps", [(), STEPS])
def test_an_account_on_paper_is_liquidated_at_its_tables_price(tmp_path: Path, steps: Any) -> None:
    """Long 1,000 units at 100 with 3,000 USDT: with the table the second step is in force and the mark that ends it lies
    where the formula has it; without one the public rate decides."""
    rules = {BTC: MarketRules(BTC, D("0.01"), D("0.001"), D("0.001"), D(5), margin_steps=steps)}
    at, view = clock(), MarketView((BTC,))
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        account = ledger.open_account("paper", D(3_000), MARKET.start_ms)
        fill = Fill("paper", BTC, "1", "", account.name, Side.LONG, D(1_000), D(100), D(0), False, MARKET.start_ms)
        ledger.record_fill(fill)
        parts = Parts(Home(tmp_path, "home").create(), settings(tmp_path), Endpoint(), at, ledger, view, rules)
        broker = paper_session(parts, account)[0].broker
        price = liquidation_price(1_000, 100, 3_000, table_of(rules[BTC]))
        assert price is not None
        rate = maintenance(1_000 * price, table_of(rules[BTC])) / (1_000 * price)
        assert rate == pytest.approx(0.01 - 250 / (1_000 * price) if steps else 0.01)
        for number, mark in enumerate((price + 0.01, price - 0.01), 1):
            now = MARKET.start_ms + number
            view.on_quote(Quote(BTC, mark - 0.01, 5.0, mark + 0.01, 5.0, now, now))
            view.on_mark(MarkReading(BTC, mark, mark, 0.0, now + 1_000, now, now))
            broker.tick()
            assert bool(ledger.positions(account.name)) == (mark > price)
