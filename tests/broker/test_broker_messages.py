"""Documented private messages are read as what they say, every digit of them; spoilt ones are no facts."""

from __future__ import annotations

import re
from typing import Any

import pytest
from account_double import KEY, PASSPHRASE, SECRET, D
from private_messages import MESSAGES, Message

from hydra_core.broker import facts
from hydra_core.broker.bybit import BybitGateway
from hydra_core.broker.gateway import Cause
from hydra_core.broker.gateways import GATEWAYS, insist_on_orders
from hydra_core.broker.okx import OkxGateway
from hydra_core.broker.receipts import ReceiptGateway
from hydra_core.domain.clock import SystemClock
from hydra_core.domain.errors import UsageError
from hydra_core.domain.pairs import Pair
from hydra_core.execution.orders import client_order_id
from hydra_core.market.endpoint import Credentials, Endpoint
from hydra_core.market.exchanges import EXCHANGES, adapter_for
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


@pytest.mark.parametrize(
    ("exchange", "said", "cause"),
    [
        ("bybit", '{"retCode":110093,"retMsg":"expect Falling, but trigger_price >= current"}', Cause.WOULD_TRIGGER),
        ("bybit", '{"retCode":110017,"retMsg":"current position is zero"}', Cause.NOTHING_TO_REDUCE),
        ("bybit", '{"retCode":10001,"retMsg":"params error: symbol invalid"}', Cause.NO_SUCH_PAIR),
        ("bybit", '{"retCode":10001,"retMsg":"Qty invalid"}', Cause.OFF_GRID),
        ("bybit", '{"retCode":10016,"retMsg":"System error"}', Cause.OTHER),
        ("okx", '{"code":"1","data":[{"sCode":"51280","sMsg":"SL trigger price"}],"msg":""}', Cause.WOULD_TRIGGER),
        (
            "okx",
            '{"code":"1","data":[{"sCode":"51169","sMsg":"no positions to reduce"}],"msg":""}',
            Cause.NOTHING_TO_REDUCE,
        ),
        ("okx", '{"code":"51001","data":[],"msg":"Instrument ID does not exist"}', Cause.NO_SUCH_PAIR),
        ("okx", '{"code":"50026","data":[],"msg":"System error"}', Cause.OTHER),
    ],
)
def test_what_a_refusal_tells_of_the_exchange(exchange: str, said: str, cause: Cause) -> None:
    gateway = GATEWAYS[exchange](Endpoint(exchange), Credentials(KEY, SECRET), SystemClock())
    assert gateway.cause(ValueError(f"{exchange} {said}")) is cause


@pytest.mark.parametrize("name", EXCHANGES)
def test_ids_of_ours_can_be_read_back_and_nobody_elses_are_taken_for_them(name: str) -> None:
    rule = adapter_for(name).order_ids
    made = [client_order_id("plan", Pair("BTCUSDT"), place) for place in range(20)]
    sent = [rule.fit(each) for each in made]
    assert all(re.fullmatch(rule.pattern, each) for each in sent)
    assert [rule.own(each) for each in sent] == made
    others = ("", "web-1", "hy-", "hy-not-hex", "x" * 31, "0x" + "a" * 32, "e847386590ce4dBCc1a045253497a547")
    assert not any(rule.own(other) for other in others)


def test_every_exchange_takes_orders_or_says_why_not() -> None:
    assert GATEWAYS.keys() == ORDERS.keys()
    assert ORDERS.keys() | NO_ORDERS.keys() == set(EXCHANGES)
    assert not ORDERS.keys() & NO_ORDERS.keys()
    for name in NO_ORDERS:
        with pytest.raises(UsageError, match=name):
            insist_on_orders(name)
