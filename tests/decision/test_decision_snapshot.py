"""The snapshot's hash is taken over the same text as ever: that of the readings as nested tuples."""

from __future__ import annotations

import math
from dataclasses import astuple
from decimal import Decimal

from hydra_core.decision.snapshot import _as_tuple
from hydra_core.domain.market import MarketRules, Quote
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import Plan, Schedule, Target

BTC = Pair("BTCUSDT")


def test_values_are_taken_out_as_the_standard_librarys_own_way_does() -> None:
    targets = (Target(BTC, -0.5, None, "why", True), Target(Pair("ETHUSDT"), 1.0, 2.5, "so", False, (0.25, 1.0)))
    plan = Plan("id", 5, targets, Schedule("twap", 3, 60_000), 9)
    for value in (
        plan,
        Plan("id", 5, (), Schedule(), 9),
        Quote(BTC, 1.0, math.nan, 3.0, 4.0, 5, 6),
        MarketRules(BTC, Decimal("0.10"), Decimal(1), Decimal(1), Decimal(5)),
    ):
        assert repr(_as_tuple(value)) == repr(astuple(value))
