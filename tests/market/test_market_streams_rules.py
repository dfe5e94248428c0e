"""The rules between the sockets and the sink: what may be acted on, what is stale, what is dropped, what is set aside."""

from __future__ import annotations

import asyncio
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from hydra_core.domain.clock import AnchoredClock, ClockAnchor, ManualClock
from hydra_core.domain.intervals import MINUTE_MS, Interval
from hydra_core.domain.pairs import Pair
from hydra_core.market.streams import messages
from hydra_core.market.streams.candles import CandleGate, Verdict
from hydra_core.market.streams.line import NOBODY_CAP_S, REFUSED_CAP_S, Door
from hydra_core.market.streams.mailbox import Mailbox
from hydra_core.market.streams.quarantine import KEPT_CHARACTERS, PER_SECOND, Quarantine
from hydra_core.market.streams.readings import QUOTE_STREAM, TOPICS, TRADE_STREAM, CandleTick, Trade
from hydra_core.market.streams.standing import HOLD_BELIEVED_MS, Standing, State
from hydra_core.market.streams.trades import TradeSequence

BTC, ETH = Pair("BTCUSDT"), Pair("ETHUSDT")
M1 = Interval.M1
START = 1_717_200_000_000


def tick(place: int, closed: bool, close: float = 1.0) -> CandleTick:
    ts = START + place * MINUTE_MS
    return CandleTick(BTC, M1, ts, 1.0, 3.0, 0.5, close, 7.0, closed, ts + 1, ts + 1)


# -- candles ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "verdicts"),
    [
        pytest.param([(1, True, 1)], ["closed"], id="the direct successor"),
        pytest.param([(1, False, 1), (1, True, 1)], ["running", "closed"], id="running, then closed"),
        pytest.param([(1, True, 1), (1, True, 1)], ["closed", "repeat"], id="told twice"),
        pytest.param([(1, True, 1), (1, True, 2)], ["closed", "revision"], id="corrected"),
        pytest.param([(1, True, 1), (1, False, 2)], ["closed", "repeat"], id="running again after its close"),
        pytest.param([(2, False, 1)], ["unconfirmed"], id="the successor runs, the close was never told"),
        pytest.param([(3, True, 1)], ["ahead"], id="closed with a hole before it"),
        pytest.param(
            [(2, True, 1), (1, True, 1), (3, True, 1)], ["ahead", "closed", "closed"], id="in the wrong order"
        ),
        pytest.param([(0, True, 1)], ["repeat"], id="what REST had told already"),
        pytest.param([(-40, True, 1)], ["revision"], id="so old that it is not remembered: the file decides"),
    ],
)
def test_what_a_candle_message_is(told: list[tuple[int, bool, float]], verdicts: list[str]) -> None:
    gate = CandleGate()
    assert gate.confirmed(BTC, M1, START, tick(0, True).values)
    assert [gate.judge(tick(*one)).value for one in told] == verdicts


def test_a_hole_filled_by_rest_closes_up_over_what_was_ahead() -> None:
    gate = CandleGate()
    gate.confirmed(BTC, M1, START, tick(0, True).values)
    assert gate.judge(tick(2, True)) is Verdict.AHEAD
    assert gate.newest(BTC, M1) == START
    assert gate.confirmed(BTC, M1, START + MINUTE_MS, tick(1, True).values)
    assert gate.newest(BTC, M1) == START + 2 * MINUTE_MS
    assert not gate.confirmed(BTC, M1, START + MINUTE_MS, tick(1, True).values)
    assert gate.confirmed(BTC, M1, START + MINUTE_MS, tick(1, True, 2.0).values)


# -- trades ----------------------------------------------------------------------------------------------------------------


def trade(number: int) -> Trade:
    return Trade(BTC, number, 1.0, 1.0, False, START + number, START)


def test_trades_behind_a_hole_wait_until_it_is_filled_or_given_up() -> None:
    sequence = TradeSequence(BTC)
    assert [one.trade_id for one in sequence.take(trade(5))] == [5]
    assert sequence.take(trade(8)) == ()
    assert sequence.take(trade(9)) == ()
    assert sequence.hole == (6, 7)
    assert [one.trade_id for one in sequence.fill([trade(6)], complete=False)] == [6]
    assert [one.trade_id for one in sequence.take(trade(7))] == [7, 8, 9]
    assert sequence.take(trade(12)) == ()
    assert [one.trade_id for one in sequence.fill([trade(11), trade(12)], complete=True)] == [11, 12]
    assert sequence.take(trade(20)) == ()
    assert [one.trade_id for one in sequence.give_up()] == [20]
    assert (sequence.unfilled, sequence.holes, sequence.repeats) == (7, 3, 0)
    assert sequence.take(trade(3)) == ()
    assert sequence.repeats == 1


@pytest.mark.parametrize("seed", range(5))
def test_any_order_with_repeats_comes_out_in_order_once(seed: int) -> None:
    rng = random.Random(seed)
    numbers = list(range(1, 60))
    told = sorted(numbers * 2, key=lambda number: number + rng.uniform(0, 6))
    told.insert(0, 0)
    sequence, out = TradeSequence(BTC), list[int]()
    for number in told:
        out += [one.trade_id for one in sequence.take(trade(number))]
    assert out == [0, *numbers]


# -- staleness -------------------------------------------------------------------------------------------------------------


def standing(clock: Any, name: str = QUOTE_STREAM, **options: Any) -> Standing:
    made = Standing(TOPICS[name], (BTC, ETH), clock, **options)
    made.renewed()
    made.state = State.UP
    return made


def test_each_pair_has_its_own_clock() -> None:
    clock = ManualClock(START)
    quotes = standing(clock)
    for _ in range(4):
        clock.advance(5_000)
        quotes.note(BTC, clock.market_ms(), clock.wall_ms())
    assert quotes.silent() == (ETH,)
    told = quotes.health()
    assert (told.ok, told.state) == (False, "stale")
    assert "ETHUSDT" in told.message
    quotes.note(ETH, clock.market_ms(), clock.wall_ms())
    assert quotes.health().ok


def test_old_event_times_are_stale_however_freshly_they_arrive() -> None:
    clock = ManualClock(START)
    quotes = standing(clock)
    for _ in range(20):
        clock.advance(1_000)
        quotes.note(BTC, clock.market_ms(), clock.wall_ms())
        quotes.note(ETH, START, clock.wall_ms())
    assert quotes.silent() == (ETH,)


def test_a_new_connection_excuses_silence_but_makes_no_old_number_fresh() -> None:
    clock = ManualClock(START)
    quotes = standing(clock)
    quotes.note(BTC, clock.market_ms(), clock.wall_ms())
    assert quotes.fresh(BTC)
    clock.advance(40_000)
    quotes.renewed()
    quotes.note(ETH, clock.market_ms(), clock.wall_ms())
    assert quotes.silent() == ()
    assert (quotes.fresh(BTC), quotes.fresh(ETH)) == (False, True)


def test_trades_are_judged_as_a_whole_and_forced_orders_not_at_all() -> None:
    clock = ManualClock(START)
    trades, forced = standing(clock, TRADE_STREAM), standing(clock, "liquidations")
    clock.advance(100_000)
    trades.note(BTC, clock.market_ms(), clock.wall_ms())
    clock.advance(100_000)
    assert trades.silent() == ()
    assert forced.health().ok
    assert math.isinf(forced.limit_s)
    clock.advance(30_000)
    assert not trades.health().ok


def test_a_held_market_is_silent_by_rights_but_only_while_the_venue_says_so() -> None:
    wall = ManualClock(START)
    clock = AnchoredClock(ClockAnchor(START, START, 1.0, True), wall)
    quotes = standing(clock)
    for _ in range(30):
        wall.advance(1_000)
        clock.set_anchor(ClockAnchor(START, wall.wall_ms(), 1.0, True))
        assert quotes.silent() == ()
    wall.advance(HOLD_BELIEVED_MS + 16_000)
    assert quotes.silent() == (BTC, ETH)


def test_a_fast_market_ages_by_the_wall() -> None:
    """At 1800 times the wall's speed, an event 15 wall seconds old is 7.5 market hours old: that alone is no fault."""
    wall = ManualClock(START)
    clock = AnchoredClock(ClockAnchor(START, START, 1800.0, False), wall)
    quotes = standing(clock)
    for pair in (BTC, ETH):
        quotes.note(pair, clock.market_ms(), clock.wall_ms())
    wall.advance(14_000)
    assert quotes.silent() == ()
    wall.advance(2_000)
    assert quotes.silent() == (BTC, ETH)


def test_a_pair_that_a_new_connection_did_not_bring_back_is_waited_for_longer_but_never_healthy() -> None:
    clock = ManualClock(START)
    quotes = standing(clock)
    ends = 0
    for _ in range(400):
        clock.advance(1_000)
        quotes.note(BTC, clock.market_ms(), clock.wall_ms())
        if late := quotes.silent(patiently=True):
            ends += 1
            quotes.be_patient(late)
            quotes.renewed()
            assert not quotes.health().ok, "new connection, but the pair still owes an event"
    assert 3 <= ends <= 5
    quotes.note(ETH, clock.market_ms(), clock.wall_ms())
    assert quotes.health().ok


async def test_a_withdrawn_pair_is_waited_for_by_nobody_until_it_is_back() -> None:
    clock = ManualClock(START)
    quotes = standing(clock)
    for _ in range(20):
        clock.advance(1_000)
        quotes.note(BTC, clock.market_ms(), clock.wall_ms())
    quotes.be_patient(quotes.silent())
    assert not quotes.health().ok
    quotes.withdraw({ETH})
    assert quotes.health().ok
    assert quotes.health().age_s == 0.0, "its age is not the stream's"
    clock.advance(20_000)
    assert quotes.silent() == (BTC,), "the others are judged as ever"
    quotes.withdraw({BTC, ETH})
    quotes.renewed()
    await asyncio.wait_for(quotes.heard(), 1.0)
    quotes.withdraw(())
    assert quotes.silent() == (), "it has the whole limit again"
    clock.advance(16_000)
    assert quotes.silent() == (BTC, ETH)


# -- queue -----------------------------------------------------------------------------------------------------------------


async def test_only_quotes_are_dropped_and_the_oldest_first() -> None:
    box, out = Mailbox(lossy_max=3, lossless_max=1000), list[str]()
    for place in range(10):
        box.put("quotes", False, lambda place=place: out.append(f"quote {place}"))
        box.put("trades", True, lambda place=place: out.append(f"trade {place}"))
    task = asyncio.create_task(box.deliver())
    while len(box):
        await asyncio.sleep(0)
    task.cancel()
    assert out == [*(f"trade {place}" for place in range(10)), "quote 7", "quote 8", "quote 9"]
    assert box.dropped == {"quotes": 7}


async def test_a_full_box_pauses_reading_until_there_is_room() -> None:
    box, read = Mailbox(lossless_max=4), list[int]()
    for _ in range(4):
        box.put("trades", True, lambda: None)
    box.when_room(lambda: read.append(1))
    assert read == []
    assert box.full
    task = asyncio.create_task(box.deliver())
    while not read:
        await asyncio.sleep(0)
    task.cancel()
    assert box.pauses == 1
    box.when_room(lambda: read.append(2))
    assert read == [1, 2]


async def test_what_a_delivery_raises_ends_the_delivering() -> None:
    box = Mailbox()

    def fails() -> None:
        raise RuntimeError("disk is full")

    box.put("trades", True, fails)
    with pytest.raises(RuntimeError, match="disk is full"):
        await box.deliver()


# -- door ------------------------------------------------------------------------------------------------------------------


async def test_pauses_grow_to_their_caps_and_obey_what_was_asked() -> None:
    door = Door(random.Random(1))
    for failures, refused, asked, low, high in [
        (1, False, 0.0, 0.05, 0.1), (40, False, 0.0, NOBODY_CAP_S / 2, NOBODY_CAP_S),
        (40, True, 0.0, REFUSED_CAP_S / 2, REFUSED_CAP_S), (1, True, 60.0, 60.0, 66.0),
    ]:  # fmt: skip
        door._failures = failures
        door.failed(refused, asked)
        assert low <= door.pause_s() <= high


# -- malformed -------------------------------------------------------------------------------------------------------------

GOOD = {
    "kline": {
        "e": "kline", "E": START + 1, "s": BTC,
        "k": {"t": START, "s": BTC, "i": "1m", "o": "1", "h": "3", "l": "0.5", "c": "2", "v": "7", "x": False},
    },
    "aggTrade": {"e": "aggTrade", "E": START, "s": BTC, "a": 5, "p": "1", "q": "2", "T": START, "m": True},
    "bookTicker": {"e": "bookTicker", "u": 3, "s": BTC, "b": "1", "B": "1", "a": "2", "A": "1", "T": START, "E": START},
    "depthUpdate": {
        "e": "depthUpdate", "E": START, "T": START, "s": BTC, "U": 1, "u": 2, "pu": 0, "b": [["1", "0"]], "a": [],
    },
    "markPriceUpdate": {"e": "markPriceUpdate", "E": START, "s": BTC, "p": "1", "i": "1", "r": "-0.1", "T": START},
    "forceOrder": {"e": "forceOrder", "E": START, "o": {"s": BTC, "S": "SELL", "l": "1", "ap": "2", "T": START}},
}  # fmt: skip


def read(message: dict[str, Any]) -> Any:
    return messages.KINDS[message["e"]][1](message, START)


@pytest.mark.parametrize("kind", GOOD)
def test_a_good_message_reads_and_may_carry_unknown_keys_and_numbers_either_way(kind: str) -> None:
    assert (
        read(GOOD[kind])
        == read({**GOOD[kind], "unknown": [1]})
        == read(json.loads(json.dumps(GOOD[kind]), parse_int=str))
    )


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [place for key, inner in value.items() if key != "e" for place in _places(inner, (*path, key))]
    return [path]


def _spoilt(message: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(message))
    holder: Any = copy
    for key in path[:-1]:
        holder = holder[key]
    if value is KeyError:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    return copy


UNREAD = {
    ("kline", ("s",)),
    ("aggTrade", ("E",)),
    ("bookTicker", ("E",)),
    ("depthUpdate", ("E",)),
    ("forceOrder", ("E",)),
}
"""Fields that say again what another one says."""


@pytest.mark.parametrize("kind", GOOD)
@pytest.mark.parametrize("value", [None, {}, "abc", True, KeyError], ids=["null", "object", "word", "true", "absent"])
def test_any_spoilt_field_is_refused(kind: str, value: Any) -> None:
    refused = 0
    for path in _places(GOOD[kind]):
        if (kind, path) in UNREAD or (path[-1] == "T" and value is KeyError and kind in ("bookTicker", "depthUpdate")):
            continue
        if (path[-1] in ("x", "m") and value is True) or (path[-1] == "s" and value == "abc"):
            continue
        with pytest.raises(messages.MALFORMED):
            read(_spoilt(GOOD[kind], path, value))
        refused += 1
    assert refused > 3


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("bookTicker", ("b",), "2"), ("bookTicker", ("a",), "0"), ("bookTicker", ("a",), "-5"), ("kline", ("k", "l"), "2.5"),
        ("kline", ("k", "c"), "NaN"), ("kline", ("k", "t"), START + 1), ("aggTrade", ("p",), "Infinity"),
        ("aggTrade", ("q",), "0"), ("markPriceUpdate", ("p",), 0), ("depthUpdate", ("b",), [["-1", "2"]]),
        ("depthUpdate", ("b",), [["1", "-2"]]), ("depthUpdate", ("b",), [["1"]]), ("forceOrder", ("o", "S"), "HOLD"),
    ],
)  # fmt: skip
def test_impossible_values_are_refused(kind: str, path: tuple[str, ...], value: Any) -> None:
    with pytest.raises(messages.MALFORMED):
        read(_spoilt(GOOD[kind], path, value))


def test_the_quarantine_counts_everything_and_keeps_a_bounded_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hydra_core.market.streams import quarantine as module

    monkeypatch.setattr(module, "MAX_BYTES", 50_000)
    clock, file = ManualClock(START), tmp_path / "q" / "streams.jsonl"
    aside = Quarantine(clock, file)
    for place in range(40 * PER_SECOND):
        if place % (2 * PER_SECOND) == 0:
            clock.advance(1_000)
        aside.add("quotes" if place % 2 else "user", ValueError("crossed"), {"listenKey": "SECRET", "x": "y" * 5_000})
    assert aside.total == 40 * PER_SECOND
    assert aside.counts == {"quotes": 20 * PER_SECOND, "user": 20 * PER_SECOND}
    assert aside.reasons == {"ValueError": 40 * PER_SECOND}
    kept = [*file.read_text().splitlines(), *file.with_suffix(".old").read_text().splitlines()]
    assert sum(path.stat().st_size for path in file.parent.iterdir()) < 2 * 50_000 + 10_000
    assert 0 < len(kept) < 20 * PER_SECOND
    row = json.loads(kept[0])
    assert row["stream"] in ("user", "quotes")
    assert len(row["message"]) == KEPT_CHARACTERS
    assert "SECRET" not in "".join(kept)
