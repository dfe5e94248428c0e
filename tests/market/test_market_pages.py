"""Pages read from their text: the very numbers that parsing them gives, or no word at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hydra_core.market.connect import lists_as_sent, open_exchange
from hydra_core.market.endpoint import Endpoint
from hydra_core.market.exchanges.pages import LONG, Sent, columns_at_sight
from hydra_core.market.exchanges.routes import CANDLE, BadAnswer, Route, columns

STEP = 300_000
START = 1_717_200_000_000


def row(place: int, price: str = "60000.10", volume: str = "12.500", **more: Any) -> list[Any]:
    stamp = START + place * STEP
    return [
        stamp,
        price,
        more.get("high", "60000.20"),
        "59999.90",
        price,
        volume,
        stamp + STEP - 1,
        "1.5",
        20,
        "6",
        "2.25",
        "0",
    ]


def text_of(rows: list[list[Any]]) -> str:
    return orjson.dumps(rows).decode()


def route() -> Route:
    return Route("klines", lambda *_: {}, lambda answer: answer, CANDLE, 1500, STEP, 1500 * STEP, bare=True)


DECIMALS = st.integers(0, 8)
NUMBERS = st.integers(0, 10**15 - 1)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=20), DECIMALS, DECIMALS, st.integers(10**12, 10**13))
def test_numbers_are_those_that_float_reads(values: list[tuple[int, int]], digits: int, more: int, stamp: int) -> None:
    rows = [
        [
            stamp + place,
            *(f"{price / 10**digits:.{digits}f}",) * 4,
            f"{volume / 10**more:.{more}f}",
            1,
            "0",
            2,
            "0",
            "0",
            "0",
        ]
        for place, (price, volume) in enumerate(values)
    ]
    found = columns_at_sight(text_of(rows), CANDLE)
    parsed = columns(rows, CANDLE, "klines")
    assert found is not None
    for name in CANDLE:
        assert found[name].dtype == parsed[name].dtype
        assert found[name].tobytes() == parsed[name].tobytes(), name


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([*b'0123456789.,"[]-e nul{}:\\', 0xC3]), st.booleans())
def test_a_spoiled_page_is_read_as_its_json_is_or_not_at_all(at: int, byte: int, inserted: bool) -> None:
    text = text_of([row(place) for place in range(3)]).encode()
    at %= len(text)
    spoiled = (text[:at] + bytes([byte]) + text[at + (not inserted) :]).decode(errors="replace")
    found = columns_at_sight(spoiled, CANDLE)
    if found is None:
        return
    try:
        rows = orjson.loads(spoiled)
    except orjson.JSONDecodeError:
        rows = orjson.loads(text)  # what is not JSON stands where nobody looks, or changes no number
    parsed = columns(rows, CANDLE, "klines")
    order = np.argsort(found["ts"], kind="stable")
    assert all(found[name][order].tobytes() == parsed[name].tobytes() for name in CANDLE)


@pytest.mark.parametrize(
    "rows",
    [
        [row(0), row(1, volume="nan")],
        [row(0), row(1, volume="1e400")],
        [row(0), row(1, volume="")],
        [row(0), row(1, volume="twelve")],
        [row(0), row(1, volume="12],[5")],
        [row(0), [], row(1)],
        [row(0), [-1, *row(1)[1:]]],
        [row(0), [None, *row(1)[1:]]],
        [row(0), ["1717200300000.5", *row(1)[1:]]],
        [[START, 1.5, 2, 1, 1.5, True, 0, 0, 0, 0, 0, 0]],
        [[START, "1", "2", "1"]],
    ],
)
def test_what_is_not_of_the_plainest_form_goes_the_long_way(rows: list[list[Any]]) -> None:
    assert columns_at_sight(text_of(rows), CANDLE) is None
    assert _outcome(Sent(text_of(rows))) == _outcome(rows)


@pytest.mark.parametrize("rows", [[row(0), row(1)[:-1]], [row(0), [*row(1), "more"]], [row(0)[:6], row(1)]])
def test_what_nobody_looks_at_may_be_there_or_not(rows: list[list[Any]]) -> None:
    assert _outcome(Sent(text_of(rows))) == _outcome(rows)


def _outcome(answer: Any) -> Any:
    aside: list[str] = []
    try:
        found = route().read(answer, aside)
    except BadAnswer as error:
        return str(error)
    return {name: values.tobytes() for name, values in found.items()}, aside


def test_numbers_in_and_out_of_quotes_in_any_order_of_rows() -> None:
    rows = [row(2), row(0, price="7.25"), row(1, price="123456.7", volume="-1e-3")]
    rows = [[*each[:5], float(each[5]), *each[6:]] for each in rows]
    found, parsed = (route().read(answer) for answer in (Sent(text_of(rows)), rows))
    assert columns_at_sight(text_of(rows), CANDLE) is not None
    assert found["ts"].tolist() == [START, START + STEP, START + 2 * STEP]
    assert found["open"].tolist() == [7.25, 123456.7, 60000.10]
    assert {name: values.tobytes() for name, values in found.items()} == {
        name: values.tobytes() for name, values in parsed.items()
    }


@pytest.mark.parametrize("text", ["[[1717200000000,", '[[1,"2"],[3,"4"]', "[[]]", "[[", "[[]", '[["\xe9"]]'])
def test_a_page_cut_off_is_no_answer(text: str) -> None:
    with pytest.raises(BadAnswer, match="klines"):
        route().read(Sent(text))


async def test_only_who_asks_for_the_text_of_a_long_list_gets_it() -> None:
    exchange = open_exchange(Endpoint(base_url="http://127.0.0.1:1"), limiter=False)
    try:
        long, short = (text_of([row(place) for place in range(count)]) for count in (200, 3))
        assert len(short) < LONG <= len(long)
        assert exchange.parse_json(long) == orjson.loads(long)
        with lists_as_sent():
            assert isinstance(exchange.parse_json(long), Sent)
            assert exchange.parse_json(short) == orjson.loads(short)
            assert exchange.parse_json(f'{{"rows": {long}}}') == {"rows": orjson.loads(long)}
        assert isinstance(exchange.parse_json(long), list)
    finally:
        await exchange.close()
