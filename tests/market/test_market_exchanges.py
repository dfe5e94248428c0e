"""The table of capabilities against ccxt, and every adapter's reading of a documented message."""

from __future__ import annotations

import copy
import json
import math
import random
import re
from collections.abc import Iterator
from typing import Any

import pytest
from exchange_messages import PAGES, PRESENT, Page, Present

from hydra_core.domain.errors import Unsupported, UsageError
from hydra_core.domain.intervals import DEFAULT_INTERVALS, Interval
from hydra_core.domain.market import FUNDING, LONG_SHORT, OPEN_INTEREST
from hydra_core.domain.pairs import DEFAULT_PAIRS, Pair
from hydra_core.market.exchanges import (
    ADAPTERS,
    EXCHANGES,
    BadAnswer,
    Capability,
    Price,
    Support,
    UnsupportedCapability,
    adapter_for,
    require,
    support,
)
from hydra_core.market.exchanges.adapter import CANDLE_CAPABILITY, HISTORY_CAPABILITY, PRESENT_CAPABILITIES
from hydra_core.market.exchanges.capabilities import SPOT_ONLY

BTC = Pair("BTCUSDT")


@pytest.fixture(scope="module")
def peers() -> dict[str, Any]:
    import ccxt.pro

    return {name: getattr(ccxt.pro, name)() for name in EXCHANGES}


@pytest.mark.parametrize("name", EXCHANGES)
def test_the_table_says_what_ccxt_says(name: str, peers: dict[str, Any]) -> None:
    offers = {True: Support.NATIVE, "emulated": Support.EMULATED, False: Support.ABSENT, None: Support.ABSENT}
    theirs = {capability: offers[peers[name].has.get(capability)] for capability in Capability}
    theirs |= {capability: Support.ABSENT for exchange, capability in SPOT_ONLY if exchange == name}
    assert {capability: support(name, capability) for capability in Capability} == theirs


@pytest.mark.parametrize("name", EXCHANGES)
def test_every_endpoint_that_is_asked_exists(name: str, peers: dict[str, Any]) -> None:
    adapter = adapter_for(name)
    routes = [*_routes(name)]
    methods = {route.method for _, route in routes} | {ask.method for ask in adapter.present()}
    assert methods
    assert [method for method in sorted(methods) if not callable(getattr(peers[name], method, None))] == []


@pytest.mark.parametrize("name", EXCHANGES)
def test_intervals_are_spelled_as_the_exchange_spells_them(name: str, peers: dict[str, Any]) -> None:
    """Whatever the parameter is called, ccxt's own spelling of the interval is in it (a UTC day marked as such)."""
    adapter = adapter_for(name)
    for interval in (*DEFAULT_INTERVALS, Interval.D1):
        sent = json.dumps(adapter.candles(interval).query(BTC, 0, 1, 1))
        theirs = peers[name].timeframes[str(interval)]
        spelled = {theirs, theirs.replace("h", "H"), theirs.upper() + "utc" if interval is Interval.D1 else theirs}
        assert any(f'"{each}"' in sent for each in spelled), (sent, spelled)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.exchange}-{page.what}-{page.price}")
def test_a_documented_page_is_read_as_documented(page: Page) -> None:
    rows = page.route.read(page.answer)
    assert {name: values.tolist() for name, values in rows.items()} == page.expected


@pytest.mark.parametrize("now", PRESENT, ids=lambda now: now.exchange)
def test_a_documented_present_reading_is_read_as_documented(now: Present) -> None:
    adapter = adapter_for(now.exchange)
    assert {ask.method for ask in adapter.present()} == set(now.answers)
    reading = adapter.reading(now.pair, {method: answer for method, (_, answer) in now.answers.items()})
    assert {name: getattr(reading, name) for name in now.expected} == now.expected


def test_what_is_claimed_verified_has_a_message_here_and_nothing_else_is() -> None:
    checked = {
        (page.exchange, CANDLE_CAPABILITY[page.price] if page.what == "candles" else HISTORY_CAPABILITY[page.what])
        for page in PAGES
    }
    present = {now.exchange for now in PRESENT}
    for name, adapter in ADAPTERS.items():
        for capability, sources in adapter.sources().items():
            if capability in adapter.streams or capability is Capability.ORDER_BOOK:
                continue  # their messages stand with the streams, and with the venue's documented formats
            if capability in PRESENT_CAPABILITIES:
                assert all(sources) == (name in present), (name, capability)
            elif (name, capability) not in checked and adapter.verified(capability):
                kin = [route for found, route in _routes(name) if found is capability]
                shared = {page.route.fields == route.fields for page in PAGES if page.exchange == name for route in kin}
                assert True in shared, f"{name} {capability}: verified by nothing"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.exchange}-{page.what}-{page.price}")
def test_broken_pages_are_an_error_and_never_a_number(page: Page) -> None:
    for broken in _broken(page.answer, random.Random(7)):
        try:
            rows = page.route.read(broken)
        except BadAnswer:
            continue
        for values in rows.values():
            assert all(math.isfinite(value) for value in values.tolist())


@pytest.mark.parametrize("now", PRESENT, ids=lambda now: now.exchange)
def test_broken_readings_are_an_error_and_never_a_number(now: Present) -> None:
    adapter = adapter_for(now.exchange)
    refused = 0
    for method, (_, answer) in now.answers.items():
        for broken in _broken(answer, random.Random(11)):
            try:
                reading = adapter.reading(now.pair, {method: broken})
            except BadAnswer:
                refused += 1
                continue
            for name in now.expected:
                value = getattr(reading, name)
                assert value is None or math.isfinite(value)
    assert refused > 10


def test_a_broken_answer_is_told_with_its_endpoint_and_the_row() -> None:
    route = adapter_for("binanceusdm").history(FUNDING)
    with pytest.raises(BadAnswer, match=r"fapiPublicGetFundingRate: row 1 .*None is no number"):
        route.read([{"fundingTime": 1, "fundingRate": "0.1"}, {"fundingTime": 2, "fundingRate": None}])
    with pytest.raises(BadAnswer, match="publicGetV5MarketTickers BTCUSDT"):
        adapter_for("bybit").reading(BTC, {"publicGetV5MarketTickers": {"result": {}}})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.exchange}-{page.what}-{page.price}")
def test_unknown_keys_and_numbers_for_text_change_nothing(page: Page) -> None:
    def dressed(part: Any) -> Any:
        if isinstance(part, dict):
            return {**{key: dressed(value) for key, value in part.items()}, "brandNew": {"deep": [1]}}
        if isinstance(part, list):
            return [dressed(inner) for inner in part]
        if isinstance(part, str) and re.fullmatch(r"-?\d+(\.\d+)?", part):
            return float(part) if "." in part else int(part)
        return part

    rows = page.route.read(dressed(page.answer))
    assert {name: values.tolist() for name, values in rows.items()} == page.expected


def test_no_rows_are_no_rows() -> None:
    for page in PAGES:
        emptied = json.loads(json.dumps(page.answer))
        target = emptied if isinstance(emptied, list) else emptied.get("data", emptied.get("result"))
        (target["list"] if isinstance(target, dict) else target).clear()
        assert page.route.read(emptied)["ts"].size == 0


@pytest.mark.parametrize(
    ("name", "capability", "asked"),
    [
        ("bitget", Capability.OPEN_INTEREST_HISTORY, lambda: adapter_for("bitget").history(OPEN_INTEREST)),
        ("hyperliquid", Capability.LONG_SHORT_HISTORY, lambda: adapter_for("hyperliquid").history(LONG_SHORT)),
        ("hyperliquid", Capability.MARK_CANDLES, lambda: adapter_for("hyperliquid").candles(Interval.H1, Price.MARK)),
        ("okx", Capability.PREMIUM_CANDLES, lambda: adapter_for("okx").candles(Interval.H1, Price.PREMIUM)),
        ("weex", Capability.CREATE_ORDERS, lambda: require("weex", Capability.CREATE_ORDERS)),
    ],
)
def test_what_an_exchange_lacks_is_an_error_that_says_what_where_and_what_to_do(name, capability, asked) -> None:
    with pytest.raises(UnsupportedCapability) as caught:
        asked()
    assert isinstance(caught.value, Unsupported)
    assert name in caught.value.what
    assert capability in caught.value.what
    assert caught.value.remedy


def test_unknown_names_are_usage_errors_that_list_the_known_ones() -> None:
    for asked in (lambda: adapter_for("mtgox"), lambda: support("mtgox", Capability.CANDLES)):
        with pytest.raises(UsageError, match="binanceusdm"):
            asked()
    with pytest.raises(UsageError, match=FUNDING):
        adapter_for("okx").history("weather")


@pytest.mark.parametrize("name", EXCHANGES)
def test_pairs_come_back_from_their_native_names(name: str) -> None:
    adapter = adapter_for(name)
    assert tuple(adapter.pair(adapter.native(pair)) for pair in DEFAULT_PAIRS) == DEFAULT_PAIRS
    assert adapter.symbol(BTC) == f"BTC/{adapter.quote}:{adapter.quote}"


def test_weex_reads_its_older_ids() -> None:
    assert adapter_for("weex").pair("cmt_btcusdt") == BTC


@pytest.mark.parametrize("name", EXCHANGES)
def test_client_order_ids_fit_and_stay_the_same(name: str) -> None:
    rule = adapter_for(name).order_ids
    ids = ["a" * 20, "0xA plan/with:everything in it" * 4, "h-BTCUSDT-17-slice", ""]
    fitted = [rule.fit(each) for each in ids]
    assert all(re.fullmatch(rule.pattern, each) for each in fitted), fitted
    assert fitted == [rule.fit(each) for each in ids]
    assert len(set(fitted)) == len(ids)
    assert rule.fit(fitted[1]) == fitted[1], "a fitting id is taken as it is"


@pytest.mark.parametrize("name", EXCHANGES)
def test_a_protective_stop_is_built_by_unmodified_ccxt(name: str, peers: dict[str, Any]) -> None:
    """The stop's parameters make ccxt build a conditional order at the trigger price, on the closing side."""
    exchange, adapter = peers[name], adapter_for(name)
    symbol = adapter.symbol(BTC)
    exchange.markets = exchange.markets_by_id = None
    exchange.set_markets([_market(exchange, adapter.native(BTC), symbol)])
    price = "51000" if name == "hyperliquid" else None
    params = adapter.stop_params(50_000.0, long=True)
    if name == "hyperliquid":
        params["slippage"] = "0.05"  # what ccxt's own create_order adds
    build = exchange.create_contract_order_request if name == "weex" else exchange.create_order_request
    request = build(symbol, "market", "sell", "0.01" if name == "hyperliquid" else 0.01, price, dict(params))
    words = json.dumps(request)
    assert "50000" in words
    triggers = ("triggerPrice", "stopPrice", "slTriggerPx", "triggerPx")
    assert any(word in words for word in triggers), words


def _market(exchange: Any, native: str, symbol: str) -> dict[str, Any]:
    base, quote = symbol.split(":")[0].split("/")
    return exchange.safe_market_structure({
        "id": native, "symbol": symbol, "base": base, "quote": quote, "settle": quote, "baseId": "0", "quoteId": quote,
        "settleId": quote, "type": "swap", "spot": False, "margin": False, "swap": True, "future": False,
        "option": False, "active": True, "contract": True, "linear": True, "inverse": False, "contractSize": 1.0,
        "precision": {"amount": 0.001, "price": 0.1}, "limits": {},
        "info": {"instFamily": "BTC-USDT", "orderTypes": ["MARKET", "STOP_MARKET"]},
        "baseName": base,
    })  # fmt: skip


def _routes(name: str) -> Iterator[tuple[Capability, Any]]:
    adapter = adapter_for(name)
    for price, capability in CANDLE_CAPABILITY.items():
        if support(name, capability) is not Support.ABSENT:
            yield capability, adapter.candles(Interval.H1, price)
    for table, capability in HISTORY_CAPABILITY.items():
        if support(name, capability) is not Support.ABSENT:
            yield capability, adapter.history(table)


def _broken(answer: Any, rng: random.Random) -> Iterator[Any]:
    """The answer with one thing wrong at a time: cut off, emptied, nulls, other types, nonsense."""
    text = json.dumps(answer)
    yield from (
        None,
        "",
        [],
        {},
        17,
        text[: len(text) // 2],
        {"code": "1", "msg": "no", "data": None},
        [None],
        [[]],
        [{}],
    )
    nonsense = (None, "NaN", "", "abc", [], {}, True, float("inf"), "1e999")
    for path in _paths(answer):
        for wrong in rng.sample(nonsense, 3):
            broken = copy.deepcopy(answer)
            part = broken
            for key in path[:-1]:
                part = part[key]
            part[path[-1]] = wrong
            yield broken


def _paths(part: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    for key, inner in items:
        yield (*at, key)
        yield from _paths(inner, (*at, key))
