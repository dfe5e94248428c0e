"""The shared budget of requests: what each lane may fill, what the exchange says counts more, and no crash costs a minute."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
from email.utils import format_datetime
from pathlib import Path

import pytest

from hydra_core.domain.clock import ManualClock
from hydra_core.domain.intervals import MINUTE_MS, utc
from hydra_core.market.endpoint import Endpoint
from hydra_core.market.limits import (
    BULK_BESIDE_TRADER,
    EDGE_MS,
    FLIGHT_S,
    LANDING_S,
    SHARE,
    Lane,
    Permit,
    RequestBudget,
    lane,
)
from hydra_core.market.shared_state import Busy, Shared

START = 28_620_000 * MINUTE_MS
LIMIT = 2400
VENUE = Endpoint(base_url="http://127.0.0.1:1")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


def draw(budget: RequestBudget, weight: int, kind: Lane, orders: int = 0) -> tuple[Permit | None, float]:
    return budget.draw(weight, orders, kind)


def order(budget: RequestBudget, kind: Lane, orders: int = 1) -> bool:
    """Draw orders that are answered at once; whether they may go."""
    permit, _ = draw(budget, 1, kind, orders)
    if permit is not None:
        budget.settle(permit)
    return permit is not None


def fill(budget: RequestBudget, kind: Lane, weight: int = 2) -> int:
    """Draw until the budget says wait; returns the weight drawn."""
    drawn = 0
    while (permit := draw(budget, weight, kind)[0]) is not None:
        budget.settle(permit)
        drawn += weight
    return drawn


@pytest.mark.parametrize("kind", Lane)
def test_a_lane_fills_its_share_of_a_minute_and_waits_for_the_next(clock: ManualClock, kind: Lane) -> None:
    budget = RequestBudget(LIMIT, clock)
    assert fill(budget, kind) == SHARE[kind] * LIMIT // 2 * 2
    clock.advance(20_000)
    _, pause = draw(budget, 2, kind)
    assert pause == pytest.approx(40 + (EDGE_MS / 1000 if kind is Lane.BULK else 0))
    clock.advance(MINUTE_MS)
    assert draw(budget, 2, kind)[0] is not None


def test_what_is_kept_for_the_protective_lane_is_there_when_bulk_work_is_done(clock: ManualClock) -> None:
    budget = RequestBudget(LIMIT, clock)
    bulk = fill(budget, Lane.BULK)
    assert bulk >= 0.95 * LIMIT
    trading = fill(budget, Lane.TRADING, 1)
    assert fill(budget, Lane.PROTECTIVE, 1) == LIMIT - bulk - trading > 0.02 * LIMIT


def test_bulk_work_leaves_a_trader_its_room(clock: ManualClock, tmp_path: Path) -> None:
    """Two processes of one home: as soon as one of them trades, the other's history takes a smaller share."""
    trader = RequestBudget.open(tmp_path, VENUE, "key", clock=clock)
    history = RequestBudget.open(tmp_path, VENUE, clock=clock, usual=Lane.BULK)
    assert draw(trader, 5, Lane.TRADING)[0] is not None
    assert fill(history, Lane.BULK) + 5 <= BULK_BESIDE_TRADER * LIMIT
    assert fill(trader, Lane.TRADING) > 0.2 * LIMIT
    assert history.status().trader_about
    clock.advance(6 * MINUTE_MS + EDGE_MS)
    assert not history.status().trader_about
    assert fill(history, Lane.BULK) == SHARE[Lane.BULK] * LIMIT // 2 * 2


async def test_the_exchanges_own_count_corrects_ours(clock: ManualClock) -> None:
    """Another program on this address used 2000 that nobody here knows of."""
    budget = RequestBudget(LIMIT, clock)
    async with budget.spend(10):
        budget.note(200, {"x-mbx-used-weight-1m": "2010", "Date": format_datetime(utc(START), usegmt=True)})
    assert budget.status().used == 2010
    assert fill(budget, Lane.BULK) <= SHARE[Lane.BULK] * LIMIT - 2010


async def test_a_late_answer_of_the_last_minute_says_nothing_of_this_one(clock: ManualClock) -> None:
    budget = RequestBudget(LIMIT, clock)
    async with budget.spend(10):
        before = format_datetime(utc(clock.wall_ms()), usegmt=True)
        clock.advance(MINUTE_MS)
        assert draw(budget, 2, Lane.TRADING)[0] is not None
        budget.note(200, {"X-MBX-USED-WEIGHT-1M": "2300", "Date": before})
    assert budget.status().used < 20


async def test_what_is_on_its_way_at_the_turn_of_a_minute_weighs_on_both(clock: ManualClock) -> None:
    """Sent in one minute, counted by the exchange in the next: neither may end beyond the limit."""
    budget = RequestBudget(LIMIT, clock)
    async with budget.spend(40):
        clock.advance(MINUTE_MS)
        assert fill(budget, Lane.PROTECTIVE, 1) == LIMIT - 40
    clock.advance(MINUTE_MS)  # what never came back is forgotten after that
    assert fill(budget, Lane.PROTECTIVE, 1) == LIMIT


def test_429_is_obeyed_to_the_second_by_every_process_but_protective_requests_go(
    clock: ManualClock, tmp_path: Path
) -> None:
    one, other = (RequestBudget.open(tmp_path, VENUE, clock=clock) for _ in range(2))
    one.note(429, {"Retry-After": "17"})
    assert other.wait_s == 17
    assert draw(other, 1, Lane.TRADING) == (None, 17.0)
    assert draw(other, 1, Lane.BULK)[0] is None
    assert draw(other, 1, Lane.PROTECTIVE)[0] is not None
    clock.advance(16_999)
    assert draw(other, 1, Lane.TRADING)[0] is None
    clock.advance(1)
    assert draw(other, 1, Lane.TRADING)[0] is not None


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"retry-after": "90"}, "", 90),
        ({}, "", 120),
        ({}, f"Way too many requests; IP banned until {START + 45_000}. Please use the websocket", 120),
        ({"Retry-After": "3"}, f"IP banned until {START + 45_000}.", 45),
    ],
)
def test_a_ban_stops_every_lane(
    clock: ManualClock, tmp_path: Path, headers: dict[str, str], body: str, seconds: int
) -> None:
    one, other = (RequestBudget.open(tmp_path, VENUE, clock=clock, limit=None) for _ in range(2))
    one.note(418, headers, body)
    for kind in Lane:
        assert draw(other, 1, kind) == (None, float(seconds))
    clock.advance(seconds * 1000)
    assert all(draw(other, 1, kind)[0] is not None for kind in Lane)


def test_orders_are_counted_apart_by_account_in_two_windows(clock: ManualClock, tmp_path: Path) -> None:
    budget = RequestBudget.open(tmp_path, VENUE, "mine", clock=clock)
    budget.learn(
        [
            {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 3000},
            {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 20},
            {"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": 50},
            {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 1},
        ]
    )
    assert budget.status().limit == 3000
    assert all(order(budget, Lane.TRADING) for _ in range(18))
    assert draw(budget, 1, Lane.TRADING, 1) == (None, 11.0)  # counts are kept by whole seconds
    assert draw(budget, 1, Lane.TRADING)[0] is not None
    assert order(budget, Lane.PROTECTIVE, 2)
    assert not order(budget, Lane.PROTECTIVE)
    assert order(RequestBudget.open(tmp_path, VENUE, "yours", clock=clock), Lane.TRADING, 5)
    for _ in range(2):
        clock.advance(11_000)
        sent = 0
        while order(budget, Lane.TRADING):
            sent += 1
    assert budget.status().orders_minute == 45
    clock.advance(MINUTE_MS)
    budget.note(200, {"X-MBX-ORDER-COUNT-10S": "19", "X-MBX-ORDER-COUNT-1M": "19"})
    assert draw(budget, 1, Lane.TRADING, 1)[0] is None


async def test_orders_count_from_their_arrival_not_from_when_they_were_drawn(
    clock: ManualClock, tmp_path: Path
) -> None:
    """Held up on the way for longer than the window: until their answer they use it up, and from then on for all of it."""
    budget = RequestBudget.open(tmp_path, VENUE, "mine", clock=clock)
    budget.learn([{"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 10}])
    async with budget.spend(1, 9) as permit:
        clock.advance(15_000)
        assert draw(budget, 1, Lane.TRADING, 1) == (None, LANDING_S)
        assert budget.status().orders_minute == 9
        budget.note(200, {"X-MBX-ORDER-COUNT-10S": "9"})
        assert permit.orders == 0
        assert draw(budget, 1, Lane.TRADING, 1) == (None, 11.0)
        assert budget.status().orders_minute == 9, "counted once"
    clock.advance(11_000)
    async with budget.spend(1, 9):
        clock.advance(3_000)
    assert draw(budget, 1, Lane.TRADING, 1) == (None, 11.0), "without an answer it may have arrived until now"
    clock.advance(11_000)
    assert draw(budget, 1, Lane.TRADING, 9)[0] is not None
    clock.advance(FLIGHT_S * 1000)
    assert draw(budget, 1, Lane.TRADING, 9)[0] is not None, "whoever drew the others is gone"


def test_a_record_that_cannot_be_read_counts_as_used_up(clock: ManualClock, tmp_path: Path) -> None:
    budget = RequestBudget.open(tmp_path, VENUE, clock=clock)
    draw(budget, 2, Lane.BULK)
    (path,) = tmp_path.glob("*.json")
    path.write_text('{"minute": 12, "gran')
    assert draw(budget, 2, Lane.BULK)[0] is None
    clock.advance(MINUTE_MS + EDGE_MS)
    assert draw(budget, 2, Lane.BULK)[0] is not None


async def test_a_protective_request_does_not_wait_for_a_stuck_record(tmp_path: Path) -> None:
    """A process that is stopped inside the lock must not keep a stop from being placed."""
    budget, path = RequestBudget.open(tmp_path, VENUE), tmp_path / "binanceusdm-http-127.0.0.1-1.json"
    budget.draw(1)
    with Shared(path).held():
        with lane(Lane.PROTECTIVE):
            async with budget.spend(1, 1) as permit:
                assert permit.settled
        with pytest.raises(Busy):
            budget.draw(1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(budget.spend(1).__aenter__(), 0.4)
        budget.note(429, {"retry-after": "30"})  # heard while the record was held: remembered for later
    assert budget.draw(1)[0] is None
    assert RequestBudget.open(tmp_path, VENUE).wait_s > 29


def _spend(folder: Path, name: str) -> None:
    budget = RequestBudget.open(folder, VENUE, limit=500)
    minutes: list[int] = []
    while len(minutes) < 400:
        try:
            permit, _ = budget.draw(1, 0, Lane.PROTECTIVE)
        except Busy:
            continue
        if permit is None:
            break
        minutes.append(permit.minute)
    (folder / f"{name}.drawn").write_text(json.dumps(minutes))


def test_processes_together_draw_one_limit_a_minute_and_all_of_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_spend, args=(tmp_path, f"w{place}")) for place in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    minutes = [minute for path in tmp_path.glob("*.drawn") for minute in json.loads(path.read_text())]
    assert len(minutes) >= 500
    assert max(minutes.count(minute) for minute in minutes) <= 500
