"""Everything that a kill switch depends on is made to fail in turn: to raise, to hang, to say NaN, to go stale.

Each time the real session (paper broker, guard, desk on a real ledger) holds 0.1 BTC with a stop and is about to enter ETH.
From the first round after the failure nothing may be entered; exits go as the mode allows; once healed it goes on.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from unittest.mock import PropertyMock

import pytest

from hydra_core.broker.paper import PaperBroker
from hydra_core.domain.clock import ManualClock
from hydra_core.domain.errors import LedgerUnusable, VenueUnavailable
from hydra_core.domain.market import MarketRules, MarkReading, Quote
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Mode, Plan, Schedule, Target
from hydra_core.home import Home
from hydra_core.ledger.store import Ledger
from hydra_core.market.endpoint import Endpoint
from hydra_core.settings import Settings
from hydra_core.trader import guard as guard_module
from hydra_core.trader.sessions import Parts, paper_session
from hydra_core.trader.view import MarketView

BTC, ETH = Pair("BTCUSDT"), Pair("ETHUSDT")
START = 1_720_000_020_000
RULES = {pair: MarketRules(pair, Decimal("0.1"), Decimal("0.001"), Decimal("0.001"), Decimal(5)) for pair in (BTC, ETH)}
PRICES = {BTC: 60_000.0, ETH: 3_000.0}
STOP = 59_000.0


class Rig:
    """A session on paper, moved by hand; readings are fresh unless a test says otherwise."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        self.ledger, self.home, self.clock = ledger, Home(folder, "test").create(), ManualClock(START)
        self.view = MarketView((BTC, ETH))
        self.prices = dict(PRICES)
        self.live = True
        self.silent: set[tuple[str, Pair]] = set()
        """Readings that arrive no more: "quote" or "mark" of a pair."""
        account = ledger.open_account("paper", Decimal(10_000), START)
        self.account = account.name
        settings = Settings(data_root=folder, pairs=(BTC, ETH))
        self.session, _ = paper_session(
            Parts(self.home, settings, Endpoint(), self.clock, ledger, self.view, RULES), account
        )
        self._plans = 0

    def plan(self, **quantities: float) -> None:
        """Book a plan of targets, each with a stop where it is BTC's."""
        self._plans += 1
        now = START + 1000 * self._rounds()
        targets = tuple(
            Target(pair, quantities[pair], STOP if pair == BTC and quantities[pair] else None, "test")
            for pair in (BTC, ETH)
            if pair in quantities
        )
        plan = Plan(f"plan-{self._plans:03}", now, targets, Schedule("twap", 1, 0), now + 10_000_000)
        assert self.ledger.record_plan(plan, self.account, "hydra")

    def round(self) -> Mode:
        """A second goes by, readings arrive, the trader does one round."""
        self.clock.advance(1000)
        if self.live:
            now, wall = START + 1000 * self._rounds(), ManualClock.wall_ms(self.clock)
            for pair, price in self.prices.items():
                if ("quote", pair) not in self.silent:
                    self.view.on_quote(Quote(pair, price * 0.9999, 100.0, price * 1.0001, 100.0, now, wall))
                if ("mark", pair) not in self.silent:
                    self.view.on_mark(MarkReading(pair, price, price, 0.0001, now + 1000, now, wall))
        return self.session.tick()

    def held(self, pair: Pair = BTC) -> Decimal:
        """Base units on the books."""
        position = Ledger.positions(self.ledger, self.account).get(pair)
        return position.quantity if position else Decimal(0)

    def entries(self) -> int:
        """Orders that opened or enlarged something."""
        return sum(not order.reduce_only for order in Ledger.orders(self.ledger, self.account))

    def _rounds(self) -> int:
        return (ManualClock.market_ms(self.clock) - START) // 1000


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        made = Rig(tmp_path, ledger)
        made.round()
        made.plan(BTCUSDT=0.1)
        for _ in range(4):
            assert made.round() is Mode.ACTIVE
        assert made.held() == Decimal("0.1")
        yield made


def broken(*_: object, **__: object) -> object:
    raise VenueUnavailable("made to fail")


def clumsy(*_: object, **__: object) -> object:
    raise AttributeError("'NoneType' object has no attribute 'mark'")


Break = Callable[[Rig, pytest.MonkeyPatch, Callable[..., object]], None]


def of(owner: str, name: str) -> Break:
    """Replace a method of a part of the rig."""

    def do(rig: Rig, patch: pytest.MonkeyPatch, how: Callable[..., object]) -> None:
        parts = {
            "ledger": rig.ledger, "broker": rig.session.broker, "view": rig.view, "clock": rig.clock,
            "desk": rig.session.desk, "guard": guard_module,
        }  # fmt: skip
        patch.setattr(parts[owner], name, how)

    return do


def standing(rig: Rig, patch: pytest.MonkeyPatch, how: Callable[..., object]) -> None:
    patch.setattr(PaperBroker, "standing", PropertyMock(side_effect=how))


def marks(rig: Rig, patch: pytest.MonkeyPatch, how: Callable[..., object]) -> None:
    class Marks(dict):
        items = values = get = __getitem__ = how

    rig.live = False
    patch.setattr(rig.view, "marks", Marks())


def equity(rig: Rig, patch: pytest.MonkeyPatch, how: Callable[..., object]) -> None:
    patch.setattr(rig.ledger, "record_equity", how)
    rig.session.guard._booked_minute = -1  # a new minute: it is due


RAISING: dict[str, tuple[Break, Mode, bool]] = {
    "commands": (of("ledger", "pending_commands"), Mode.REDUCING, True),
    "decisions": (of("ledger", "decisions"), Mode.REDUCING, True),
    "incidents": (of("broker", "incidents"), Mode.REDUCING, True),
    "stops at the exchange": (of("broker", "must_close"), Mode.REDUCING, True),
    "equity's booking": (equity, Mode.REDUCING, True),
    "wall clock": (of("clock", "wall_ms"), Mode.REDUCING, False),
    "standing of the account": (standing, Mode.HALTED, False),
    "fills": (of("broker", "tick"), Mode.HALTED, False),
    "account": (of("ledger", "portfolio"), Mode.HALTED, False),
    "marks": (marks, Mode.HALTED, False),
    "market clock": (of("clock", "market_ms"), Mode.HALTED, False),
    "the switches' own code": (of("guard", "evaluate"), Mode.HALTED, True),
}
"""What fails -> how, the mode that follows, and whether a stop is still carried out: it needs account, marks and broker."""


@pytest.mark.parametrize("how", [broken, clumsy], ids=["error", "bug"])
@pytest.mark.parametrize("what", RAISING)
def test_what_raises_trips_within_one_round(rig: Rig, what: str, how: Callable[..., object]) -> None:
    """No entry from the first round on, a stop where it can still be carried out, and back to work once it is healed."""
    fail, mode, stops = RAISING[what]
    before = rig.entries()
    with pytest.MonkeyPatch.context() as patch:
        fail(rig, patch, how)
        assert [rig.round(), rig.round()] == [mode, mode]
        assert "made to fail" in str(rig.session.guard.trips) or "NoneType" in str(rig.session.guard.trips)
        rig.plan(BTCUSDT=0.1, ETHUSDT=1.0)
        assert {rig.round() for _ in range(5)} == {mode}
        assert (rig.held(ETH), rig.entries()) == (0, before)
        rig.prices[BTC] = STOP - 10
        for _ in range(4):
            rig.round()
        assert rig.held() == (0 if stops else Decimal("0.1"))
        assert (rig.held(ETH), rig.entries()) == (0, before)
    rig.live = True
    for _ in range(4):
        rig.round()
    assert rig.held() == 0, "healed: the stop is carried out"
    assert rig.session.guard.mode is Mode.ACTIVE, "what only told of a reading does not latch"
    rig.plan(ETHUSDT=1.0)
    for _ in range(3):
        rig.round()
    assert rig.held(ETH) == 1


@pytest.mark.parametrize("what", [name for name, (_, mode, _) in RAISING.items() if mode is Mode.REDUCING])
def test_while_reducing_a_plan_may_make_positions_smaller(rig: Rig, what: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        RAISING[what][0](rig, patch, broken)
        rig.round()
        rig.round()
        rig.plan(BTCUSDT=0.04)
        for _ in range(4):
            assert rig.round() is Mode.REDUCING
        assert rig.held() == Decimal("0.04")


def test_an_order_on_its_way_when_it_fails_is_called_back(rig: Rig) -> None:
    """The order is sent in the same round in which a reading fails for the first time: it never fills."""
    rig.plan(BTCUSDT=0.1, ETHUSDT=1.0)
    rig.session.guard._broker._costs = rig.session.guard._broker._costs.model_copy(update={"latency_ms": 1500})
    rig.round()
    assert rig.entries() == 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rig.ledger, "decisions", broken)
        for _ in range(5):
            assert rig.round() is Mode.REDUCING
    assert rig.held(ETH) == 0
    assert rig.session.broker.working() == []


def nan_account(rig: Rig, patch: pytest.MonkeyPatch, name: str) -> None:
    read = rig.ledger.portfolio
    patch.setattr(rig.ledger, "portfolio", lambda *a: replace(read(*a), **{name: math.nan}))


def nan_mark(rig: Rig, patch: pytest.MonkeyPatch, pair: Pair) -> None:
    read = dict(rig.view.marks)
    rig.live = False
    patch.setattr(rig.view, "marks", {**read, pair: replace(read[pair], mark=math.nan)})


NAN: dict[str, tuple[Callable[[Rig, pytest.MonkeyPatch], None], Mode]] = {
    "equity": (lambda rig, patch: nan_account(rig, patch, "equity"), Mode.HALTED),
    "peak": (lambda rig, patch: nan_account(rig, patch, "peak_equity"), Mode.HALTED),
    "start of day": (lambda rig, patch: nan_account(rig, patch, "day_start_equity"), Mode.HALTED),
    "mark of what is held": (lambda rig, patch: nan_mark(rig, patch, BTC), Mode.HALTED),
}


@pytest.mark.parametrize("what", NAN)
def test_what_is_not_a_number_trips_within_one_round(rig: Rig, what: str) -> None:
    spoil, mode = NAN[what]
    before = rig.entries()
    with pytest.MonkeyPatch.context() as patch:
        spoil(rig, patch)
        rig.plan(BTCUSDT=0.1, ETHUSDT=1.0)
        assert {rig.round() for _ in range(4)} == {mode}
        assert (rig.held(), rig.held(ETH), rig.entries()) == (Decimal("0.1"), 0, before)
    rig.live = True
    assert rig.round() is Mode.ACTIVE


def test_a_stream_never_hands_on_a_mark_that_is_no_number(rig: Rig) -> None:
    reading = rig.view.marks[BTC]
    for mark in (math.nan, math.inf, 0.0, -1.0):
        assert not rig.view.on_mark(replace(reading, mark=mark, event_ms=reading.event_ms + 1))
    assert rig.view.marks[BTC] is reading
    quote = rig.view.quotes[BTC]
    for bid, ask in (
        (math.nan, quote.ask),
        (quote.bid, math.nan),
        (quote.bid, math.inf),
        (0.0, quote.ask),
        (-1.0, 1.0),
    ):
        assert not rig.view.on_quote(replace(quote, bid=bid, ask=ask, event_ms=quote.event_ms + 1))
    assert rig.view.quotes[BTC] is quote


def test_marks_that_go_stale_reduce_and_their_stop_waits_for_a_fresh_one(rig: Rig) -> None:
    """Nothing arrives any more: within one tick of the age limit only smaller positions are allowed."""
    rig.live = False
    limit = int(Settings().risk.max_quote_age_s)
    seen = [rig.round() for _ in range(limit + 3)]
    assert seen[: limit - 1] == [Mode.ACTIVE] * (limit - 1)
    assert set(seen[limit + 1 :]) == {Mode.REDUCING}
    before = rig.entries()
    rig.plan(BTCUSDT=0.1, ETHUSDT=1.0)
    for _ in range(4):
        rig.round()
    assert (rig.held(ETH), rig.entries()) == (0, before)
    rig.live, rig.prices[BTC] = True, STOP - 10
    for _ in range(4):
        rig.round()
    assert rig.held() == 0


@pytest.mark.parametrize("reading", ["quote", "mark"])
def test_a_pair_whose_reading_goes_stale_is_not_entered_and_the_others_go_on(rig: Rig, reading: str) -> None:
    """Nothing is held of ETH, so no switch is tripped: its plan waits for a fresh reading, and then goes on."""
    rig.silent = {(reading, ETH)}
    for _ in range(int(Settings().risk.max_quote_age_s) + 1):
        assert rig.round() is Mode.ACTIVE
    before = rig.entries()
    rig.plan(BTCUSDT=0.15, ETHUSDT=1.0)
    for _ in range(4):
        assert rig.round() is Mode.ACTIVE
    assert (rig.held(), rig.held(ETH), rig.entries()) == (Decimal("0.15"), 0, before + 1)
    assert rig.ledger.standing_plan(rig.account, rig.clock.market_ms()) is not None, "what waits is not done"
    rig.silent = set()
    for _ in range(3):
        rig.round()
    assert rig.held(ETH) == 1


def test_what_is_held_can_be_made_smaller_on_a_stale_quote(rig: Rig) -> None:
    rig.silent = {("quote", BTC)}
    for _ in range(int(Settings().risk.max_quote_age_s) + 1):
        assert rig.round() is Mode.ACTIVE
    rig.plan(BTCUSDT=0.04)
    rig.round()
    newest = Ledger.orders(rig.ledger, rig.account)[0]
    assert (newest.reduce_only, newest.quantity) == (True, Decimal("0.06"))


KILL_FILES: dict[str, Callable[[Path], object]] = {
    "a folder": lambda file: file.mkdir(),
    "bytes that are no text": lambda file: file.write_bytes(b"\xff\xfe\x00flatten"),
    "a pipe that nobody writes": lambda file: os.mkfifo(file),
    "an empty file": lambda file: file.touch(),
}


@pytest.mark.parametrize("what", KILL_FILES)
def test_a_kill_file_that_cannot_be_read_halts(rig: Rig, what: str) -> None:
    KILL_FILES[what](rig.home.kill_file)
    before = rig.entries()
    assert rig.round() is Mode.HALTED
    rig.plan(BTCUSDT=0.05, ETHUSDT=1.0)
    for _ in range(4):
        assert rig.round() is Mode.HALTED
    assert (rig.held(), rig.held(ETH), rig.entries()) == (Decimal("0.1"), 0, before)
    rig.prices[BTC] = STOP - 10
    for _ in range(4):
        rig.round()
    assert rig.held() == 0, "a protective stop goes on working"


def test_a_trip_that_cannot_be_booked_stands_all_the_same(rig: Rig) -> None:
    """The latch cannot be written, the market comes back: the switch holds, and is booked once it can be."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rig.ledger, "latch", broken)
        rig.session.desk.close(BTC, rig.ledger.positions(rig.account)[BTC], "made flat", "test")
        rig.round()
        rig.plan(BTCUSDT=0.4)
        for _ in range(3):
            rig.round()
        rig.prices[BTC] = 58_000
        assert rig.round() is Mode.FLATTEN
        rig.prices[BTC] = 62_000
        for _ in range(4):
            assert rig.round() is Mode.FLATTEN
        assert rig.held() == 0
        assert rig.ledger.latched(rig.account) == {}
    rig.round()
    assert set(rig.ledger.latched(rig.account)) == {"day_loss"}
    assert rig.round() is Mode.FLATTEN


def test_without_books_nothing_is_sent_and_the_session_ends(rig: Rig) -> None:
    """The trader waits for its books outside the session; the session itself says so at once."""
    before = rig.entries()
    rig.plan(BTCUSDT=0.1, ETHUSDT=1.0)

    def unusable(*_: object, **__: object) -> object:
        raise LedgerUnusable("the disk is full")

    for name in ("pending_commands", "decisions", "portfolio", "latch"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rig.ledger, name, unusable)
            if name == "latch":
                rig.home.kill_file.write_text("halt\n")
            with pytest.raises(LedgerUnusable, match="disk is full"):
                rig.round()
    assert rig.entries() == before


@pytest.mark.parametrize("what", RAISING)
def test_while_a_reading_hangs_nothing_is_sent(rig: Rig, what: str) -> None:
    """The round stands still in the reading; whatever the plan says, no order goes out until it answers. It then says no:
    the round that it held up trips, and enters nothing either."""
    fail, mode, _ = RAISING[what]
    reached, answer = threading.Event(), threading.Event()

    def hang(*_: object, **__: object) -> object:
        reached.set()
        assert answer.wait(30)
        raise VenueUnavailable("made to fail")

    before = rig.entries()
    rig.plan(BTCUSDT=0.1, ETHUSDT=1.0)
    with pytest.MonkeyPatch.context() as patch:
        fail(rig, patch, hang)
        stuck = threading.Thread(target=rig.round, daemon=True)
        stuck.start()
        assert reached.wait(30)
        assert (rig.held(), rig.held(ETH), rig.entries()) == (Decimal("0.1"), 0, before)
        answer.set()
        stuck.join(30)
        assert not stuck.is_alive()
        assert rig.round() is mode
        for _ in range(3):
            rig.round()
        assert (rig.held(), rig.held(ETH)) == (Decimal("0.1"), 0)
        assert rig.session.broker.working() == []
