"""Flat without a ledger: what fails for one pair keeps no other from being closed, and it goes on until nothing is held."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from hydra_core.broker import emergency
from hydra_core.broker.facts import OrderFact, PositionFact
from hydra_core.domain.clock import ManualClock
from hydra_core.domain.errors import HydraError, OutcomeUnknown, Refused, VenueUnavailable
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Side
from hydra_core.execution.orders import Word
from hydra_core.ledger.records import OrderRecord

BTC, ETH, SOL = Pair("BTCUSDT"), Pair("ETHUSDT"), Pair("SOLUSDT")


def fact(pair: Pair, kind: Any) -> OrderFact:
    return OrderFact(f"{kind}-{pair}", "1", pair, Side.SHORT, kind, Word.WORKING, Decimal(1), Decimal(0), True, 0)


class Account:
    """An account whose requests about one pair fail so many times, each in another way."""

    def __init__(self, bad: Pair, failures: int) -> None:
        self.bad, self.failures = bad, failures
        self.held = {BTC: Decimal(1), ETH: Decimal(-2), SOL: Decimal(3)}
        self.resting = [fact(pair, "limit") for pair in (BTC, ETH)]
        self.stops = [fact(pair, "stop") for pair in (BTC, ETH, SOL)]
        self.closed: list[Pair] = []

    def _answer(self, pair: Pair) -> None:
        if pair == self.bad and self.failures:
            self.failures -= 1
            raise (Refused, OutcomeUnknown, VenueUnavailable)[self.failures % 3]("made to fail")

    async def synchronise(self) -> int:
        return 0

    async def positions(self) -> dict[Pair, PositionFact]:
        return {pair: PositionFact(pair, size, Decimal(9), Decimal(0), 0) for pair, size in self.held.items()}

    async def open_orders(self) -> list[OrderFact]:
        return list(self.resting)

    async def open_stops(self) -> list[OrderFact]:
        return list(self.stops)

    async def cancel_all(self, pair: Pair) -> None:
        self._answer(pair)
        self.resting = [one for one in self.resting if one.pair != pair]

    async def place(self, order: OrderRecord) -> None:
        self._answer(order.pair)
        assert order.reduce_only
        assert order.quantity * order.side == -self.held.pop(order.pair)
        self.closed.append(order.pair)

    async def drop_stop(self, stop: OrderFact) -> None:
        assert not self.held, "a stop protects until its position is gone"
        self._answer(stop.pair)
        self.stops.remove(stop)

    async def wallet(self) -> Decimal:
        return Decimal(77)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emergency, "PAUSE_S", 0.0)


@pytest.mark.parametrize("failures", [0, 1, 2, 7])
async def test_one_pair_that_fails_holds_up_no_other(failures: int) -> None:
    account: Any = Account(BTC, failures)
    assert await emergency.flatten(account, ManualClock(0)) == 77
    assert account.held == {}
    assert account.resting == account.stops == []
    assert account.closed[-1 if failures > 1 else 0] == BTC
    assert sorted(account.closed) == [BTC, ETH, SOL]


async def test_what_is_still_held_after_all_rounds_is_said_and_the_rest_is_closed() -> None:
    account: Any = Account(ETH, 10**6)
    with pytest.raises(HydraError, match="still open"):
        await emergency.flatten(account, ManualClock(0), rounds=4)
    assert set(account.held) == {ETH}
