"""The account's stream when its listen key ends, is refused or must be kept alive: M05."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Self

from hydra_core.domain.pairs import Pair
from hydra_core.market.rest import ExchangeClient
from hydra_core.market.streams import UserEvent, UserStream

from .registry import scenario
from .rig import Rig, eventually

BTC = Pair("BTCUSDT")


class Account:
    """HYDRA listens to the account."""

    def __init__(self, rig: Rig, **options: Any) -> None:
        self.rig = rig
        self.events: list[UserEvent] = []
        self.reconciled: list[str] = []
        self.shown: list[str] = []
        self.keys: set[str] = set()
        self._options = {"seed": rig.seed, "told": lambda health: self.shown.append(health.message), **options}
        self._stack = contextlib.AsyncExitStack()

    def on_user(self, event: UserEvent) -> None:
        self.events.append(event)

    async def reconcile(self, why: str) -> None:
        await self.client.ask("fapiPrivateGetOpenOrders", {}, list)
        self.reconciled.append(why)

    async def __aenter__(self) -> Self:
        rig = self.rig
        await rig.now_ms()
        self.client = await self._stack.enter_async_context(
            ExchangeClient(rig.endpoint, credentials=rig.credentials, clock=rig.clock)
        )
        self.stream = UserStream(rig.endpoint, self.client, self, rig.clock, self.reconcile, **self._options)
        self._task = asyncio.create_task(self.stream.run())
        await self.connected(1)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._stack.aclose()
        assert not [message for message in self.shown for key in self.keys if key in message], (
            "a listen key is a secret"
        )

    async def connected(self, times: int) -> None:
        await eventually(
            lambda: (self.stream.connections >= times and self.stream.health().ok) or self._task.done(),
            20.0,
            "connected",
        )
        assert len(self.reconciled) >= times
        self.keys.add(await self.stream.key.current())

    async def hears(self) -> None:
        """An order on the account is told over the stream."""
        before = len(self.events)
        mark = self.rig.market.mark(BTC, self.rig.clock.market_ms()).mark
        order = {"symbol": BTC, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.010"}
        answer = await self.client.ask("fapiPrivatePostOrder", {**order, "price": f"{0.98 * mark:.1f}"}, dict)
        await self.client.ask("fapiPrivateDeleteOrder", {"symbol": BTC, "orderId": answer["orderId"]}, dict)
        await eventually(
            lambda: (
                {event.payload["o"]["X"] for event in self.events[before:] if event.kind == "ORDER_TRADE_UPDATE"}
                >= {"NEW", "CANCELED"}
            ),
            what="both updates of the order",
        )


@scenario("M05", "listen key ends, told or in silence: a new key, a new connection, the account reconciled")
async def listen_key_ends(rig: Rig, seed: int) -> None:
    event, close = rig.rng.choice([(True, True), (True, False), (False, True), (False, False)])
    async with Account(rig, keep_alive_ms=300) as account:
        await account.hears()
        await rig.fault("expire_listen_key", event=event, close=close)
        await account.connected(2)
        await account.hears()
        assert account.stream.key.made >= 2
        assert account.reconciled[1:] == ["connected again"] * len(account.reconciled[1:])
        posts = await rig.requests("/fapi/v1/listenKey", "POST")
        assert len(posts) >= 2
        before = account.stream.connections
        await rig.fault("deny", seconds=0.5, private=True)
        await rig.fault("drop", private=True)
        await account.connected(before + 1)


@scenario("M05", "the key is kept alive by HYDRA itself, and a dead key that answers 400 on the upgrade is replaced")
async def listen_key_kept_alive(rig: Rig, seed: int) -> None:
    await rig.fault("key_life", seconds=2.0)
    async with Account(rig, keep_alive_ms=150) as account:
        made = rig.clock.wall_ms()
        await eventually(lambda: rig.clock.wall_ms() - made > 2_200 and account.stream.key.extensions >= 5)
        assert account.stream.connections == 1, "the key lived on: no reason to reconnect"
        assert account.stream.key.made == 1
        puts = await rig.requests("/fapi/v1/listenKey", "PUT")
        assert len(puts) >= 5
        assert all(row["status"] == 200 for row in puts)
        number = await rig.fault("refuse", method="PUT", path="/fapi/v1/listenKey", code=-1125, times=1)
        await account.connected(2)
        await rig.clear(number)
        await account.hears()
