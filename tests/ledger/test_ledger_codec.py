"""Decisions and plans survive storage bit for bit."""

from __future__ import annotations

import json
import math
import struct
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_core.domain.errors import DataCorrupt
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import (
    Analysis,
    Choice,
    Decision,
    Mode,
    PairDecision,
    Plan,
    Portfolio,
    Position,
    Schedule,
    Side,
    Signal,
    Target,
    Verdict,
    Vote,
)
from hydra_core.ledger import codec

BTC = Pair("BTCUSDT")


def whole_decision(number: float = 0.1) -> Decision:
    """A decision with every kind of field filled."""
    signal = Signal(BTC, number, 0.61, 0.01, 0.02, 14_400_000, 300_000)
    verdict = Verdict(BTC, Side.SHORT, True, 123.456, 1.5, None, "kelly")
    target = Target(BTC, -0.001, 61234.5, "enter", urgent=False)
    plan = Plan("p-1", 300_000, (target,), Schedule("twap", 4, 120_000), 600_000)
    pair = PairDecision(BTC, signal, verdict, (Vote("crowd", Choice.ABSTAIN, "no crowd champion"),), "enter", "3 of 4")
    return Decision(
        cycle_ms=300_000,
        mode=Mode.REDUCING,
        trips={"extreme_regime": "p 0.95"},
        pairs=(pair, PairDecision(Pair("ETHUSDT"), None, None, (), "no-signal", "")),
        plan=plan,
        input_faults=("BTCUSDT: quote is stale",),
        state={"volatility": {"BTCUSDT": number, "ETHUSDT": -0.0}},
        data_hash="ab" * 32,
    )


def test_a_whole_decision_comes_back_equal() -> None:
    decision = whole_decision()
    assert codec.loads(Decision, codec.dumps(decision)) == decision


@given(st.floats(width=64))
def test_every_float_keeps_its_bits(number: float) -> None:
    text = codec.dumps(whole_decision(number))
    back = codec.loads(Decision, text).state["volatility"]["BTCUSDT"]
    if math.isnan(number):
        assert math.isnan(back)
    else:
        assert struct.pack("<d", back) == struct.pack("<d", number)
    assert codec.dumps(codec.loads(Decision, text)) == text


def test_portfolio_and_analysis_come_back_equal() -> None:
    position = Position(BTC, Decimal("-0.010"), Decimal("60000.10"), 5, None, Decimal("1E+2"))
    portfolio = Portfolio("paper", 1.5, 2.5, 3.5, 4.5, {BTC: position}, frozenset({BTC}), {"manual": "file"})
    assert codec.loads(Portfolio, codec.dumps(portfolio)) == portfolio
    zones = ((1.0, 2.0), (3.0, 4.0))
    analysis = Analysis(BTC, 0.5, "long", "short", 0.7, ("x",), zones, ("e1",), "rules", 1, 2, "h", {"n": [1, "a"]})
    assert codec.loads(Analysis, codec.dumps(analysis)) == analysis


def test_equal_values_give_equal_bytes_whatever_the_order_of_keys() -> None:
    assert codec.dumps({"b": 1.0, "a": Decimal("1.0")}) == codec.dumps({"a": Decimal("1.0"), "b": 1.0})


def test_what_has_no_exact_form_is_refused() -> None:
    with pytest.raises(TypeError, match="no exact JSON form"):
        codec.dumps({"a": object()})


@pytest.mark.parametrize("damage", [{"cycle_ms": "soon"}, {"mode": "asleep"}, {"pairs": 7}])
def test_damaged_text_is_named_corrupt(damage: dict[str, object]) -> None:
    data = json.loads(codec.dumps(whole_decision())) | damage
    with pytest.raises(DataCorrupt, match="Decision"):
        codec.decode(Decision, data)
