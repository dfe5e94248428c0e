"""The order book: sequence, crossing, refusal while out of sync; the real feed replayed through it and the trade code."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby, pairwise

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from real_history import FOLDER, needs

from hydra_core.domain.errors import InputStale
from hydra_core.domain.pairs import Pair
from hydra_core.market.streams.book import KEPT_DIFFS, OrderBook
from hydra_core.market.streams.readings import BookDiff, Trade
from hydra_core.market.streams.trades import TradeSequence

BTC = Pair("BTCUSDT")
REAL = FOLDER / "capture" / BTC
needs_capture = needs(REAL)
Level = tuple[float, float]


def diff(
    first: int, final: int, previous: int, bids: list[Level] | None = None, asks: list[Level] | None = None
) -> BookDiff:
    return BookDiff(BTC, first, final, previous, tuple(bids or ()), tuple(asks or ()), final, final)


def book_at(update_id: int = 100) -> OrderBook:
    book = OrderBook(BTC)
    assert book.load(update_id, [(99.0, 1.0), (98.0, 5.0)], [(101.0, 2.0), (102.0, 3.0)])
    return book


def test_a_book_without_a_snapshot_is_refused() -> None:
    book = OrderBook(BTC)
    with pytest.raises(InputStale, match="out of sync"):
        book.best()
    with pytest.raises(InputStale):
        book.top(5)


@pytest.mark.parametrize(
    ("first", "final", "previous", "meets"),
    [
        pytest.param(95, 105, 94, True, id="the snapshot lies inside the first event"),
        pytest.param(100, 105, 94, True, id="it is its first id"),
        pytest.param(95, 100, 94, True, id="it is its last id"),
        pytest.param(104, 105, 100, True, id="the event follows it directly"),
        pytest.param(104, 105, 103, False, id="something lies between"),
    ],
)
def test_the_first_event_must_meet_the_snapshot(first: int, final: int, previous: int, meets: bool) -> None:
    book = book_at(100)
    assert book.apply(diff(first, final, previous, bids=[(99.5, 4.0)])) is meets
    assert book.synced is meets
    assert book.counts.gaps == (not meets)
    if meets:
        assert book.best() == ((99.5, 4.0), (101.0, 2.0))


def test_an_event_from_before_the_snapshot_changes_nothing() -> None:
    book = book_at(100)
    assert book.apply(diff(80, 90, 79, bids=[(99.5, 4.0)]))
    assert book.best()[0] == (99.0, 1.0)
    assert book.counts.stale == 1


def test_events_follow_each_other_or_the_book_is_lost() -> None:
    book = book_at(100)
    assert book.apply(diff(100, 110, 99, bids=[(99.0, 0.0)]))
    assert book.best()[0] == (98.0, 5.0)
    assert book.apply(diff(100, 110, 99))  # the same once more
    assert not book.apply(diff(120, 130, 115))
    with pytest.raises(InputStale, match="gap"):
        book.best()
    assert not book.apply(diff(131, 140, 130))
    assert book.load(125, [(90.0, 1.0)], [(91.0, 1.0)])  # both waiting events are applied on top
    assert book.synced
    assert book.update_id == 140


def test_a_snapshot_older_than_what_waits_is_not_used() -> None:
    book = OrderBook(BTC)
    book.apply(diff(200, 210, 199))
    assert not book.load(150, [(90.0, 1.0)], [(91.0, 1.0)])
    assert not book.synced
    assert book.load(205, [(90.0, 1.0)], [(91.0, 1.0)])


def test_a_crossed_book_is_lost_not_shown() -> None:
    book = book_at(100)
    assert not book.apply(diff(100, 101, 99, bids=[(101.5, 1.0)]))
    assert book.counts.crossed == 1
    with pytest.raises(InputStale, match="crossed"):
        book.best()
    assert not book.load(300, [(10.0, 1.0)], [(9.0, 1.0)])
    assert not book.synced


def test_what_waits_for_a_snapshot_is_bounded() -> None:
    book = OrderBook(BTC)
    for place in range(KEPT_DIFFS + 5):
        book.apply(diff(place, place, place - 1))
    assert book.counts.overflows == 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.booleans(), st.integers(1, 60), st.integers(0, 4)), max_size=8), min_size=1, max_size=30
    )
)
def test_the_book_is_what_a_dictionary_of_levels_is(changes: list[list[tuple[bool, int, int]]]) -> None:
    """Bids below 100, asks above: against a plain dictionary, at every step."""
    book = OrderBook(BTC)
    book.load(0, [], [])
    bids: dict[float, float] = {}
    asks: dict[float, float] = {}
    for number, rows in enumerate(changes, 1):
        for is_bid, offset, size in rows:
            side, price = (bids, 100.0 - offset) if is_bid else (asks, 100.0 + offset)
            side.pop(price, None) if size == 0 else side.__setitem__(price, float(size))
        made = [[(100.0 - o if b else 100.0 + o, float(s)) for b, o, s in rows if b is want] for want in (True, False)]
        assert book.apply(diff(number, number, number - 1, *made))
        assert book.top(100) == (sorted(bids.items(), reverse=True), sorted(asks.items()))
        assert len(book) == len(bids) + len(asks)


# -- the real feed ---------------------------------------------------------------------------------------------------------


def captured_diffs(frame: pl.DataFrame) -> Iterator[BookDiff]:
    """Events of a captured depth frame, in the order in which they were received."""
    rows = frame.filter(~pl.col("is_snapshot")).sort("recv_ts", "last_id", maintain_order=True)
    columns = ("last_id", "first_id", "prev_id", "side", "price", "qty")
    for (final, first, previous), group in groupby(rows.select(columns).iter_rows(), key=lambda row: row[:3]):
        sides: dict[str, list[Level]] = {"bid": [], "ask": []}
        for *_, side, price, size in group:
            sides[side].append((price, size))
        yield diff(first, final, previous, sides["bid"], sides["ask"])


def snapshot_into(book: OrderBook, frame: pl.DataFrame) -> bool:
    told = frame.filter("is_snapshot")
    sides = [list(told.filter(pl.col("side") == side).select("price", "qty").iter_rows()) for side in ("bid", "ask")]
    return book.load(told["last_id"][0], *sides)


@needs_capture
def test_the_real_book_is_never_crossed_and_agrees_with_the_captured_ticker() -> None:
    """Every best price that the ticker told with an update id at which the book stood is the book's own."""
    frame = pl.read_parquet(REAL / "depth.parquet")
    told = pl.read_parquet(REAL / "ticker.parquet").select("update_id", "bid", "bid_qty", "ask", "ask_qty")
    ticker = {number: ((bid, size), (ask, amount)) for number, bid, size, ask, amount in told.iter_rows()}
    book = OrderBook(BTC)
    assert snapshot_into(book, frame)
    start = book.update_id
    numbers = sorted(number for number in ticker if number > start)
    compared, at = 0, 0
    for event in captured_diffs(frame):
        assert book.apply(event), book.reason
        bid, ask = book.best()
        assert bid[0] < ask[0]
        while at < len(numbers) and numbers[at] < event.final_id:
            at += 1
        # The newest quote up to this event's final id is the best of the book then: nothing at the top has changed since.
        newest = numbers[at] if at < len(numbers) and numbers[at] == event.final_id else numbers[at - 1] if at else None
        if newest is not None and event.first_id <= newest:
            assert (bid, ask) == ticker[newest], event
            compared += 1
    assert compared > 1000
    assert book.counts.gaps == 0 == book.counts.crossed


@needs_capture
def test_gaps_that_are_found_are_the_gaps_of_the_data() -> None:
    """The capture has none; then events are taken out, and each hole is found once, and only those."""
    frame = pl.read_parquet(REAL / "depth.parquet")
    events = list(captured_diffs(frame))
    breaks = sum(a.final_id != b.previous_id for a, b in pairwise(events))
    assert breaks == 0
    for removed in ({50}, {10, 900, 901, 3000}, set(range(100, 4000, 130))):
        kept = [event for place, event in enumerate(events) if place not in removed]
        holes = sum(a.final_id != b.previous_id for a, b in pairwise(kept))
        book = OrderBook(BTC)
        assert snapshot_into(book, frame)
        for event in kept:
            if not book.apply(event):  # a new snapshot, as REST would tell it: empty but for the top, at this event
                assert book.load(event.final_id, [(1.0, 1.0)], [(1e9, 1.0)])
        assert book.counts.gaps == holes


@needs_capture
def test_the_real_trades_are_whole_and_holes_are_found() -> None:
    frame = pl.read_parquet(REAL / "trades.parquet").sort("trade_id")
    columns = frame.select("trade_id", "price", "qty", "taker_side", pl.col("ts").dt.epoch("ms"))
    trades = [
        Trade(BTC, number, price, size, side == "sell", ts, ts) for number, price, size, side, ts in columns.iter_rows()
    ]
    whole = TradeSequence(BTC)
    assert [one for trade in trades for one in whole.take(trade)] == trades
    assert whole.holes == 0 == whole.repeats
    holed = TradeSequence(BTC)
    got: list[Trade] = []
    for place, trade in enumerate(trades):
        if place in (5, 6, 700):
            continue
        got += holed.take(trade)
        got += holed.take(trade)  # everything twice
        if holed.hole is not None:
            missing = [one for one in trades if holed.hole[0] <= one.trade_id <= holed.hole[1]]
            got += holed.fill(missing, complete=True)
    assert got == trades
    assert holed.holes == 2
