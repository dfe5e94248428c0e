"""The whole trader against an exchange: a dead one's positions, a resting order nobody watches, an account nobody agreed to."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import sqlite3
import sys
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
from pydantic import SecretStr

from hydra_core.broker.opening import check_terms, credentials_of, look
from hydra_core.cli.live import _agree
from hydra_core.domain.errors import UsageError
from hydra_core.domain.trading import OrderState
from hydra_core.home import Home
from hydra_core.ledger.store import Ledger
from hydra_core.settings import RiskSettings, Settings
from hydra_core.trader.service import run_trader

from .registry import scenario
from .rig import Rig
from .trading import BTC, ETH, LIVE, trading, until

PATIENCE_S = 240.0
"""A process of its own is on its feet in five seconds of one core, and in a minute and more where many share two."""


def settings_for(rig: Rig, **changes: object) -> Settings:
    """Settings of a trader on the rig's venue, with its key."""
    base = Settings(pairs=(BTC, ETH), data_root=rig.folder, market="home", venue_url=rig.url)
    secrets = {"exchange_key": SecretStr(rig.credentials.key), "exchange_secret": SecretStr(rig.credentials.secret)}
    live = LIVE.model_copy(update={"reconcile_s": 1.0, "timeout_s": 5.0})
    return base.model_copy(
        update={**secrets, "live": live, "database_url": f"sqlite:///{rig.folder / 'ledger.db'}", **changes}
    )


@scenario("F23", "flatten with a dead trader")
async def dead_trader(rig: Rig, seed: int) -> None:
    """The trader died holding positions; the switch is pulled, a fresh one takes the lock, closes everything and ends
    by itself."""
    async with trading(rig) as hydra:
        await hydra.enter(0.04)
        await hydra.enter(0.3, ETH)
        price = await hydra.resting_price()
        await hydra.send("f23-rest", kind="limit", price=price, quantity="0.01")
    home = Home(rig.folder, "home").create()
    home.kill_file.write_text("flatten\n")
    await asyncio.wait_for(
        run_trader(home, settings_for(rig), rig.endpoint, asyncio.Event(), until_flat=True), PATIENCE_S
    )
    async with trading(rig, fresh=False) as again:
        assert await again.gateway.positions() == {}
        assert await again.gateway.open_orders() == []
        assert again.ledger.order("f23-rest").state is OrderState.CANCELED
        await again.reconcile()
        await again.rounds(1)
        await again.agrees()


@scenario("F12", "the whole trader restarts")
async def trader_restarts(rig: Rig, seed: int) -> None:
    """A trader with a position and its stop is ended and started again: the second one books nothing and sends
    nothing."""
    async with trading(rig) as hydra:
        await hydra.enter(0.04)
        await hydra.round()
        entries = hydra.entries()
        arrived = await hydra.arrived()
    home, stop = Home(rig.folder, "home").create(), asyncio.Event()
    running = asyncio.create_task(run_trader(home, settings_for(rig), rig.endpoint, stop))
    with Ledger.open(f"sqlite:///{rig.folder / 'ledger.db'}") as ledger:

        def open_for_business() -> bool:
            beat = ledger.heartbeats().get("trader")
            return beat is not None and beat.payload["broker"] == {"known": True, "block": ""}

        await until(lambda: running.done() or open_for_business(), "reconciled", 90)
    stop.set()
    await running
    async with trading(rig, fresh=False) as again:
        assert again.entries() == entries
        assert await again.arrived() == arrived
        await again.reconcile()
        await again.agrees()


@contextlib.asynccontextmanager
async def trader_process(rig: Rig) -> AsyncIterator[asyncio.subprocess.Process]:
    """``python -m hydra_core.trader`` on the rig's venue, told everything by its environment; killed at the end."""
    told = {
        "DATA_ROOT": str(rig.folder), "MARKET": "home", "VENUE_URL": rig.url, "PAIRS": f'["{BTC}", "{ETH}"]',
        "DATABASE_URL": f"sqlite:///{rig.folder / 'ledger.db'}", "EXCHANGE_KEY": rig.credentials.key,
        "EXCHANGE_SECRET": rig.credentials.secret, "LIVE__ENABLED": "true", "LIVE__RECONCILE_S": "1", "LOG_LEVEL": "WARNING",
    }  # fmt: skip
    environment = {**os.environ, **{f"HYDRA_{name}": value for name, value in told.items()}}
    log = (rig.folder / "trader.log").open("ab")
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "hydra_core.trader", env=environment, stderr=log
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()
        log.close()


@scenario("F22", "the whole trader loses its database")
async def trader_without_books(rig: Rig, seed: int) -> None:
    """The books are locked under a running trader while a stop fills or the switch is pulled: it lives on, sends nothing
    that would have to be booked, gets flat when it must, and finds its account again once it can book."""
    async with trading(rig) as hydra:
        await hydra.enter(0.04)
        await hydra.enter(0.3, ETH)
        await hydra.round()
        file = hydra.ledger.place
    home = Home(rig.folder, "home").create()
    flatten = rig.rng.random() < 0.5
    async with trader_process(rig) as running:
        with Ledger.open(f"sqlite:///{file}") as ledger:

            def open_for_business(since: int = 0) -> bool:
                assert running.returncode is None, (rig.folder / "trader.log").read_text()
                beat = ledger.heartbeats().get("trader")
                good = {"known": True, "block": ""}
                return beat is not None and beat.wall_ms > since and beat.payload["broker"] == good

            await until(open_for_business, "reconciled", PATIENCE_S)
            locked = sqlite3.connect(file, isolation_level=None, timeout=10.0)
            locked.execute("BEGIN IMMEDIATE")
            since = rig.clock.wall_ms()
            number = await rig.fault("trigger", symbol=BTC)
            log = rig.folder / "trader.log"
            await until(lambda: "nothing is sent until" in log.read_text(), "it noticed", PATIENCE_S)
            arrived = len(await rig.requests("/fapi/v1/order", "POST"))
            if flatten:
                home.kill_file.write_text("flatten\n")
                await until(lambda: "flat by the exchange's word" in log.read_text(), "flat without books", PATIENCE_S)
            else:
                await until(lambda: log.read_text().count("is locked") >= 3, "it waits", PATIENCE_S)
                assert len(await rig.requests("/fapi/v1/order", "POST")) == arrived, "nothing was sent"
            await rig.clear(number)
            locked.rollback()
            locked.close()
            await until(lambda: open_for_business(since), "reconciled again", PATIENCE_S)
            account = ledger.current_account()
            assert account is not None

            def taken_in() -> bool:
                held = ledger.positions(account.name)
                return BTC not in held and (not flatten or not held)

            await until(taken_in, "what happened meanwhile is booked", PATIENCE_S)
            running.terminate()
            assert await asyncio.wait_for(running.wait(), PATIENCE_S) == 0
    async with trading(rig, fresh=False) as again:
        report = await again.reconcile()
        assert not report.failed
        assert set(again.positions) == (set() if flatten else {ETH})
        await again.agrees()


@scenario("F29", "nobody agreed to trade with real money")
async def nobody_agreed(rig: Rig, seed: int) -> None:
    """Orders need the setting, a key, and words typed back that name account and limits; larger limits need them
    again."""
    async with trading(rig) as hydra:
        settings = settings_for(rig)
        for missing in (
            {"live": LIVE.model_copy(update={"enabled": False})},
            {"exchange_key": None},
            {"exchange_secret": None},
        ):
            with pytest.raises(UsageError):
                credentials_of(settings.model_copy(update=missing), rig.endpoint)
        opening = await look(hydra.gateway, settings)
        assert f"{opening.wallet:.2f} USDT" in opening.phrase
        with contextlib.redirect_stderr(io.StringIO()) as shown:
            _agree(opening, opening.phrase)
            for words in ("yes", "trade", opening.phrase.replace("10000", "20000"), opening.phrase.upper()):
                with pytest.raises(UsageError, match="nothing was opened"):
                    _agree(opening, words)
        assert shown.getvalue().count("max_position_notional 10000") == 5
        account = hydra.ledger.account(hydra.account)
        check_terms(account, settings, rig.endpoint)
        larger = settings.model_copy(update={"risk": RiskSettings(max_position_notional=20_000)})
        with pytest.raises(UsageError, match="larger than agreed"):
            check_terms(account, larger, rig.endpoint)
        secret = rig.credentials.secret
        assert secret not in f"{settings!r} {hydra.gateway.endpoint} {account.terms} {opening!r}"


@scenario("F16", "the trader falls silent with an order at rest")
async def dead_man(rig: Rig, seed: int) -> None:
    """The exchange's countdown cancels what rests once nobody renews it; the protective stop stays where it is."""
    live = LIVE.model_copy(update={"dead_man_s": 0.3})
    async with trading(rig, live) as hydra:
        await hydra.enter(0.04)
        await hydra.round()
        price = await hydra.resting_price()
        await hydra.send("dead-man", kind="limit", price=price, quantity="0.01")
        await hydra.broker.keep_countdown()
        stops = [o.client_id for o in await hydra.gateway.open_stops()]
        assert len(stops) == 1

        async def gone() -> bool:
            await rig.now_ms()
            return not await hydra.gateway.open_orders()

        await until(gone, "cancelled by the exchange")
        assert [o.client_id for o in await hydra.gateway.open_stops()] == stops
        await hydra.reconcile()
        assert hydra.ledger.order("dead-man").state is OrderState.CANCELED
        assert hydra.held() == Decimal("0.04")
        await hydra.agrees()
