"""Documented private messages are read as what they say, every digit of them; spoilt ones are no facts."""

from __future__ import annotations

from typing import Any

import pytest
from account_double import KEY, PASSPHRASE, SECRET, D
from private_messages import MESSAGES, Message

from hydra_core.broker import facts
from hydra_core.broker.bybit import BybitGateway
from hydra_core.broker.gateways import GATEWAYS, insist_on_orders
from hydra_core.broker.okx import OkxGateway
from hydra_core.broker.receipts import ReceiptGateway
from hydra_core.domain.clock import SystemClock
from hydra_core.domain.errors import UsageError
from hydra_core.domain.pairs import Pair
from hydra_core.market.endpoint import Credentials, Endpoint
from hydra_core.market.exchanges import EXCHANGES
from hydra_core.market.exchanges.capabilities import NO_ORDERS, ORDERS

VITAL = {
    "bybit": {"_order_fact": "orderStatus", "_fill": "execQty", "_position": "size", "_entry": "change"},
    "okx": {"_order_fact": "state", "_algo": "state", "_fill": "fillSz", "_position": "pos", "_entry": "balChg"},
}
"""What cannot be missing from each kind of row."""


def reader(message: Message) -> Any:
    kinds: dict[str, type[ReceiptGateway]] = {"bybit": BybitGateway, "okx": OkxGateway}
    gateway = kinds[message.exchange](Endpoint(message.exchange), Credentials(KEY, SECRET, PASSPHRASE), SystemClock())
    if isinstance(gateway, OkxGateway):
        gateway._contracts = {Pair("BTCUSDT"): (D("0.01"), D(1)), Pair("LINKUSDT"): (D(1), D("0.1"))}
    return getattr(gateway, message.reader)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: f"{m.exchange}{m.reader}")
def test_a_documented_message_is_read_exactly(message: Message) -> None:
    assert reader(message)(message.row) == message.says
    assert message.source


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: f"{m.exchange}{m.reader}")
def test_a_spoilt_message_is_no_fact(message: Message) -> None:
    read = reader(message)
    field = VITAL[message.exchange][message.reader]
    for row in (
        message.row | {field: "spoilt"},
        {name: value for name, value in message.row.items() if name != field},
    ):
        with pytest.raises(facts.MALFORMED):
            read(row)


def test_every_exchange_takes_orders_or_says_why_not() -> None:
    assert GATEWAYS.keys() == ORDERS.keys()
    assert ORDERS.keys() | NO_ORDERS.keys() == set(EXCHANGES)
    assert not ORDERS.keys() & NO_ORDERS.keys()
    for name in NO_ORDERS:
        with pytest.raises(UsageError, match=name):
            insist_on_orders(name)
