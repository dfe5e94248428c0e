"""Carrying a position to what an exchange holds: for any two, the fewest entries, the exchange's entry price, the same ids."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from hydra_core.broker.facts import PositionFact
from hydra_core.broker.reconcile import adjustments
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Position
from hydra_core.ledger.accounting import apply_fill

BTC = Pair("BTCUSDT")
SIZES = st.integers(-500, 500).map(lambda n: Decimal(n) / 1000)
PRICES = st.integers(100_000, 900_000).map(lambda n: Decimal(n) / 10)


@given(SIZES, PRICES, SIZES, PRICES, st.integers(0, 2**41))
def test_any_position_becomes_the_exchanges(
    ours: Decimal, entry: Decimal, theirs: Decimal, at: Decimal, ms: int
) -> None:
    if ours == theirs:
        return
    held = Position(BTC, ours, entry, ms) if ours else None
    fact = PositionFact(BTC, theirs, at, Decimal(0), ms) if theirs else None
    fills = adjustments("live", "binanceusdm", BTC, held, fact)
    assert len(fills) == (2 if ours * theirs < 0 else 1)
    cash = Decimal(0)
    after: Position | None = held
    for fill in fills:
        assert fill.price > 0
        booked = apply_fill(after, fill, Decimal(0))
        after, cash = booked.position, cash + booked.cash_change
    assert cash == 0, "money follows from the wallet alone"
    assert (after.quantity if after else Decimal(0)) == theirs
    grew = abs(theirs) > abs(ours) or ours * theirs < 0
    possible = ours * theirs <= 0 or (at * theirs - entry * ours) / (theirs - ours) > 0
    if after is not None and grew and possible:
        assert abs(after.entry_price - at) <= Decimal("1e-9")
    again = adjustments("live", "binanceusdm", BTC, held, fact)
    assert [fill.trade_id for fill in again] == [fill.trade_id for fill in fills]
    assert len({fill.trade_id for fill in fills}) == len(fills)
