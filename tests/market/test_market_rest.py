"""History over REST against a scripted exchange: pages, holes, broken answers, limits, refusals."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from exchange_double import MINUTE, ScriptedExchange, candle_row

from hydra_core.domain.errors import HydraError, Refused, Unsupported, UsageError, VenueUnavailable
from hydra_core.domain.intervals import Interval
from hydra_core.domain.pairs import Pair
from hydra_core.market.endpoint import Credentials, Endpoint
from hydra_core.market.errors import ORDERS, READS, read_error
from hydra_core.market.rest import ExchangeClient

BTC = Pair("BTCUSDT")
START = 1_717_200_000_000
KLINES = "/fapi/v1/klines"


def client(scripted: ScriptedExchange, **options: Any) -> ExchangeClient:
    return ExchangeClient(Endpoint(base_url=scripted.url), **options)


async def test_pages_are_joined_without_repeats_and_the_running_candle_is_left_out(scripted: ScriptedExchange) -> None:
    now = START + 4000 * MINUTE + 30_000
    async with client(scripted) as exchange:
        frame = await exchange.candles(BTC, Interval.M1, START, START + 5000 * MINUTE, now)
    stamps = frame["ts"].dt.epoch("ms").to_list()
    assert stamps == [START + place * MINUTE for place in range(4000)]
    row = candle_row(START + 1234 * MINUTE, MINUTE)
    assert frame.row(1234)[1:] == tuple(float(value) for value in row[1:6])


async def test_a_server_with_shorter_pages_loses_nothing(scripted: ScriptedExchange) -> None:
    scripted.page_limit = 700
    async with client(scripted) as exchange:
        frame = await exchange.candles(BTC, Interval.M1, START, START + 3100 * MINUTE, 10**13)
    assert frame.height == 3100


async def test_a_hole_stays_a_hole(scripted: ScriptedExchange) -> None:
    scripted.missing = {START + place * MINUTE for place in range(1490, 1510)}
    async with client(scripted) as exchange:
        frame = await exchange.candles(BTC, Interval.M1, START, START + 3000 * MINUTE, 10**13)
    assert frame.height == 2980
    assert frame["ts"].is_sorted()


@pytest.mark.parametrize(
    "fault",
    [
        "reset",
        (503, "<html>down</html>", {}),
        (200, '[[1717200000000,"1"', {}),
        (200, [[START, None, "1", "1", "1", "1"]], {}),
        (200, {"unexpected": 1}, {}),
        (400, {"code": -1001, "msg": "Internal error; unable to process your request."}, {}),
    ],
    ids=["reset", "503", "truncated", "null field", "not a list", "-1001"],
)
async def test_a_broken_answer_is_asked_for_again(scripted: ScriptedExchange, fault: Any) -> None:
    scripted.script[KLINES] = [fault]
    async with client(scripted) as exchange:
        frame = await exchange.candles(BTC, Interval.M1, START, START + 10 * MINUTE, 10**13)
    assert frame.height == 10


async def test_an_exchange_that_stays_down_is_unavailable_in_one_line(scripted: ScriptedExchange) -> None:
    scripted.script[KLINES] = [(503, "", {})] * 9
    async with client(scripted, attempts=2) as exchange:
        with pytest.raises(VenueUnavailable, match="BTCUSDT"):
            await exchange.candles(BTC, Interval.M1, START, START + 10 * MINUTE, 10**13)


async def test_no_server_at_all_is_unavailable() -> None:
    async with ExchangeClient(Endpoint(base_url="http://127.0.0.1:9"), attempts=1) as exchange:
        with pytest.raises(VenueUnavailable):
            await exchange.server_time()


async def test_an_interval_the_exchange_lacks_is_unsupported_once_and_for_all(scripted: ScriptedExchange) -> None:
    scripted.script[KLINES] = [(400, {"code": -1120, "msg": "Invalid interval."}, {})]
    async with client(scripted) as exchange:
        assert exchange.has("candles_1m")
        with pytest.raises(Unsupported):
            await exchange.candles(BTC, Interval.M1, START, START + 9000 * MINUTE, 10**13)
        assert not exchange.has("candles_1m")
        assert exchange.has("candles_5m")
    assert len(scripted.asked) == 1


async def test_an_unknown_pair_is_refused_without_a_second_try(scripted: ScriptedExchange) -> None:
    scripted.script[KLINES] = [(400, {"code": -1121, "msg": "Invalid symbol."}, {})] * 3
    async with client(scripted) as exchange:
        with pytest.raises(Refused, match="Invalid symbol"):
            await exchange.candles(Pair("XXXUSDT"), Interval.M1, START, START + 10 * MINUTE, 10**13)
    assert len(scripted.asked) == 1


async def test_statistics_older_than_the_exchange_keeps_come_back_empty(scripted: ScriptedExchange) -> None:
    scripted.script["/futures/data/openInterestHist"] = [
        (400, {"code": -1130, "msg": "parameter 'startTime' is invalid."}, {})
    ]
    async with client(scripted) as exchange:
        frame = await exchange.open_interest(BTC, START, START + 600 * MINUTE, 10**13)
    assert frame.height == 0
    assert frame.columns == ["ts", "open_interest", "open_interest_value"]


async def test_a_limit_is_waited_out_as_long_as_the_exchange_says(scripted: ScriptedExchange) -> None:
    refusal = {"code": -1003, "msg": "Too many requests."}
    scripted.script[KLINES] = [(429, refusal, {"Retry-After": "1"})]
    async with client(scripted) as exchange:
        frame = await exchange.candles(BTC, Interval.M1, START, START + 10 * MINUTE, 10**13)
        assert exchange.budget.wait_s == 0
    assert frame.height == 10
    assert len(scripted.asked) == 2


async def test_rules_are_exact(scripted: ScriptedExchange) -> None:
    async with client(scripted) as exchange:
        rules = await exchange.rules()
    assert rules[BTC].tick_size == Decimal("0.10")
    assert rules[BTC].min_notional == Decimal(100)


async def test_every_other_address_is_fenced_off(scripted: ScriptedExchange) -> None:
    """Nothing of ccxt may reach past a local venue: spot, options, margin and their streams included."""
    async with client(scripted, credentials=Credentials("key", "secret")) as exchange:
        urls = list(_strings(exchange.exchange.urls["api"]))
    assert urls
    assert all(url.startswith((scripted.url, scripted.url.replace("http", "ws"))) for url in urls)


async def test_futures_error_codes_keep_their_class_on_loopback(scripted: ScriptedExchange) -> None:
    from ccxt.base.errors import InsufficientFunds

    async with client(scripted) as exchange:
        assert exchange.exchange.exceptions["exact"]["-2019"] is InsufficientFunds


def test_a_real_exchange_keeps_its_own_addresses_and_is_limited() -> None:
    from hydra_core.market.connect import open_exchange

    exchange = open_exchange(Endpoint())
    assert exchange.urls["api"]["fapiPublic"] == "https://fapi.binance.com/fapi/v1"
    assert exchange.enableRateLimit


def test_an_unknown_exchange_is_a_usage_error() -> None:
    from hydra_core.market.connect import open_exchange

    with pytest.raises(UsageError, match="nosuch"):
        open_exchange(Endpoint("nosuch"))


def test_every_ccxt_error_has_a_decision_and_only_refusals_before_execution_leave_no_doubt() -> None:
    import ccxt
    from ccxt.base import errors

    silent = {"RequestTimeout", "ExchangeNotAvailable", "OnMaintenance", "NetworkError", "OperationFailed"}
    for name in errors.__all__:
        kind = getattr(errors, name)
        if not (isinstance(kind, type) and issubclass(kind, ccxt.BaseError)):
            continue
        read = read_error(kind("binanceusdm x"), "asking")
        sent = read_error(kind("binanceusdm x"), "sending", order=True)
        assert isinstance(read, HydraError)
        assert (type(sent).__name__ == "OutcomeUnknown") == (ORDERS.get(name) is not READS.get(name) or _unknown(kind))
        assert name not in silent or type(sent).__name__ == "OutcomeUnknown"


def _unknown(kind: type) -> bool:
    nearest = next(parent.__name__ for parent in kind.__mro__ if parent.__name__ in ORDERS)
    return ORDERS[nearest].__name__ == "OutcomeUnknown"


def _strings(tree: Any) -> Any:
    for value in tree.values():
        if isinstance(value, dict):
            yield from _strings(value)
        elif isinstance(value, str):
            yield value
