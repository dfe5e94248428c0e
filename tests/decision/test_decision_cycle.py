"""One live cycle: faults, switches, the standing plan, the votes, and the bytes that a replay compares."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

import numpy as np
import pytest
from decision_market import FixedCrowd, FixedForecaster, SignPolicy, calm_state, forecast_of, random_panel

from hydra_core.alpha.models import Models
from hydra_core.decision import Limits, Snapshot, assemble, assess, decide
from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import MarketRules, MarkReading, Panel, Quote
from hydra_core.domain.pairs import DEFAULT_PAIRS, Pair
from hydra_core.domain.trading import Analysis, Choice, Mode, Plan, Portfolio, Position, Schedule, Target
from hydra_core.ledger import codec
from hydra_core.settings import RiskSettings

PAIRS = DEFAULT_PAIRS[:3]
BTC, ETH, SOL = PAIRS
PANEL = random_panel(400, PAIRS)
NOW = int(PANEL.close_ms[-1]) + 30_000
LIMITS = Limits()
HOUR = 3_600_000
PRICE = dict(zip(PAIRS, PANEL.close[-1].tolist(), strict=True))
RULES = {p: MarketRules(p, Decimal("0.01"), Decimal("0.001"), Decimal("0.001"), Decimal(5)) for p in PAIRS}
CANDIDATE = (0.01, 0.0, -0.01)  # a long, nothing, a short


@dataclass
class Scene:
    """A calm market, an account, and what the seats say; a test changes one thing."""

    expected: tuple[float, ...] = CANDIDATE
    confidence: float = 0.7
    hazard: float | None = 0.1
    policy: bool = True
    forecaster: bool = True
    positions: Mapping[Pair, Position] = field(default_factory=dict)
    account: dict = field(default_factory=dict)
    snapshot: dict = field(default_factory=dict)
    state: dict = field(default_factory=dict)
    panel: Panel = PANEL
    limits: Limits = LIMITS

    def decide(self):
        portfolio = Portfolio("test", 10_000, 10_000, 10_000, 10_000, self.positions)
        models = Models(policy=SignPolicy() if self.policy else None, absent={"crowd": "no crowd champion"})
        forecast = forecast_of(np.array([self.expected]), self.confidence) if self.forecaster else None
        hazard = None
        if self.hazard is not None:
            hazard = FixedCrowd(self.hazard).hazard(self.panel, 1)
        view = self.view()
        assessment = assemble(
            self.panel,
            self.limits.under(view.rules),
            forecast,
            hazard,
            last=1,
            state=calm_state(1, 3, **self.state),
            absent=models.absent,
        )
        return decide(view, models, replace(portfolio, **self.account), self.limits, assessment)

    def view(self):
        values = {
            "cycle_ms": NOW,
            "wall_ms": NOW,
            "panel": self.panel,
            "quotes": {p: Quote(p, x - 0.01, 5, x + 0.01, 5, NOW, NOW) for p, x in PRICE.items()},
            "marks": {p: MarkReading(p, x, x, 1e-4, NOW + HOUR, NOW, NOW) for p, x in PRICE.items()},
            "rules": RULES,
        }
        return Snapshot(**{**values, **self.snapshot})


def held(pair, quantity, *, entry=None, stop=None, age_ms=HOUR):
    price = Decimal(repr(PRICE[pair] if entry is None else entry))
    return Position(pair, Decimal(quantity), price, NOW - age_ms, None if stop is None else Decimal(repr(stop)))


def outcomes(decision):
    return tuple(said.outcome for said in decision.pairs)


def targets(decision):
    return {t.pair: t.quantity for t in decision.plan.targets} if decision.plan else None


def test_a_sound_proposal_is_sized_voted_on_and_planned():
    decision = Scene().decide()
    assert outcomes(decision) == ("enter", "refused", "enter")
    assert (decision.mode, decision.input_faults, dict(decision.trips)) == (Mode.ACTIVE, (), {})
    plan = decision.plan
    assert [t.pair for t in plan.targets] == [BTC, SOL]
    assert plan.expires_ms == NOW + 300_000
    long, short = plan.targets
    assert long.quantity > 0 > short.quantity
    assert long.stop_price < PRICE[BTC]
    assert short.stop_price > PRICE[SOL]
    for target in plan.targets:  # the stop costs one per cent of equity at most, sizes are whole steps
        lost = abs(target.quantity) * abs(target.stop_price - PRICE[target.pair])
        assert lost <= 0.01 * 10_000 * (1 + 1e-9)
        assert target.quantity / 0.001 == pytest.approx(round(target.quantity / 0.001), abs=1e-6)
    said = decision.pairs[0]
    assert [v.choice for v in said.votes] == [Choice.APPROVE] * 4
    assert said.verdict.approved
    assert said.verdict.notional == pytest.approx(long.quantity * PRICE[BTC], rel=1e-3)
    assert said.signal.bar_close_ms == int(PANEL.close_ms[-1])


def test_a_pair_with_a_dearer_margin_table_gets_a_smaller_position():
    """Leverage binds here, and its liquidation lies two stops away: 1 / (2 stop + rate) of the equity, by pair."""
    risk = RiskSettings(
        risk_per_trade=0.2, max_leverage=20, kelly_fraction=1, edge_observations=0, max_expected_shortfall=1,
        max_position_notional=200_000, max_total_notional=1e6,
    )  # fmt: skip
    steps = {BTC: ((0.0, 0.004), (50_000.0, 0.3)), SOL: ((0.0, 0.15), (200_001.0, 0.4))}
    rules = {pair: replace(rule, margin_steps=steps.get(pair, ())) for pair, rule in RULES.items()}
    scene = Scene((0.1, 0.0, -0.1), 0.95, limits=Limits(risk=risk))
    public, tabled = scene.decide(), replace(scene, snapshot={"rules": rules}).decide()
    stop = 2 * 0.014
    for column, rate in ((0, 0.3), (2, 0.15)):
        before, after = public.pairs[column].verdict, tabled.pairs[column].verdict
        assert before.leverage == pytest.approx(1 / (2 * stop + 0.01))
        assert after.leverage == pytest.approx(1 / (2 * stop + rate))
        assert after.notional == pytest.approx(10_000 * after.leverage, rel=1e-3)
        assert after.notional < before.notional
    assert public.data_hash != tabled.data_hash


@pytest.mark.parametrize(
    ("scene", "outcome", "word"),
    [
        (Scene(confidence=0.59), "outvoted", "forecaster"),
        (Scene(hazard=0.9, policy=False), "outvoted", "crowd"),
        (Scene(hazard=None, policy=False), "outvoted", "crowd abstains"),
        (Scene(hazard=0.9), "enter", ""),
        (Scene(hazard=None), "enter", ""),
        (Scene(expected=(0.0014, 0, 0)), "refused", "round trip"),
        (Scene(confidence=0.3), "refused", "Kelly"),
        (Scene(expected=(math.nan,) * 3), "no-signal", "no forecast"),
        (Scene(forecaster=False), "no-signal", "no forecaster champion"),
        (Scene(account={"barred": frozenset({BTC})}), "blocked", "barred"),
        (Scene(account={"latched": {"correlation_spike": "at noon"}}), "blocked", "reducing"),
        (Scene(account={"latched": {"manual": "by hand"}}), "blocked", "halted"),
        (Scene(account={"latched": {"drawdown": "-10 %"}}), "blocked", "kill switch"),
        (Scene(account={"known": False}), "blocked", "halted"),
        (Scene(account={"equity": 949.0, "day_start_equity": 1000.0, "peak_equity": 1000.0}), "blocked", "kill switch"),
        (Scene(account={"equity": 10.0, "day_start_equity": 10.0, "peak_equity": 10.0}), "refused", "minimum"),
        (Scene(state={"mean_correlation": np.array([0.9]), "variance_ratio": np.full((1, 3), 5.0)}), "blocked", "reducing"),
        (Scene(state={"mean_correlation": np.array([math.nan])}), "blocked", "reducing"),
        (Scene(snapshot={"faults": ("BTCUSDT: mark is stale",)}), "blocked", "mark is stale"),
        (Scene(snapshot={"faults": ("open interest is 900 s old",)}), "blocked", "reducing"),
        (Scene(snapshot={"halt": "trader: last heartbeat 30 s ago"}), "blocked", "halted"),
        (Scene(snapshot={"cycle_ms": NOW + 600_000}), "no-signal", "no forecast"),
        (Scene(snapshot={"cycle_ms": NOW - 60_000}), "no-signal", "no forecast"),
    ],
)  # fmt: skip
def test_what_keeps_a_proposal_from_being_traded_is_said(scene, outcome, word):
    decision = scene.decide()
    assert outcomes(decision)[0] == outcome
    assert word.lower() in decision.pairs[0].reason.lower()
    if outcome != "enter":
        assert BTC not in (targets(decision) or {})


QUOTE = Quote(BTC, PRICE[BTC] - 0.01, 5, PRICE[BTC] + 0.01, 5, NOW, NOW)
MARK = MarkReading(BTC, PRICE[BTC], PRICE[BTC], 1e-4, NOW + HOUR, NOW, NOW)


@pytest.mark.parametrize(
    ("name", "reading", "word"),
    [
        ("quotes", None, "no usable quote"),
        ("quotes", replace(QUOTE, bid=math.nan), "no usable quote"),
        ("quotes", replace(QUOTE, bid=0.0), "no usable quote"),
        ("quotes", replace(QUOTE, bid=QUOTE.ask), "crossed"),
        ("quotes", replace(QUOTE, received_wall_ms=NOW - 15_001), "15.0 s old"),
        ("quotes", replace(QUOTE, received_wall_ms=NOW - 15_000), ""),
        ("quotes", replace(QUOTE, bid=QUOTE.bid * 1.06, ask=QUOTE.ask * 1.06), "contradicts"),
        ("marks", None, "no usable mark"),
        ("marks", replace(MARK, mark=math.nan), "no usable mark"),
        ("marks", replace(MARK, mark=-1.0), "no usable mark"),
        ("marks", replace(MARK, received_wall_ms=NOW - 60_000), "60.0 s old"),
        ("marks", replace(MARK, received_wall_ms=NOW + 15_001), "-15.0 s old"),
        ("marks", replace(MARK, received_wall_ms=NOW + 15_000), ""),
    ],
)
def test_a_bad_reading_blocks_its_pair_and_no_other(name, reading, word):
    scene = Scene()
    readings = {p: r for p, r in getattr(scene.view(), name).items() if p != BTC}
    scene.snapshot = {name: readings if reading is None else {BTC: reading, **readings}}
    decision = scene.decide()
    assert decision.mode is Mode.ACTIVE
    assert outcomes(decision)[2] == "enter"
    if word:
        assert outcomes(decision)[0] == "blocked"
        assert any(fault.startswith("BTCUSDT: ") and word in fault for fault in decision.input_faults)
    else:
        assert outcomes(decision)[0] == "enter"


def test_a_missing_newest_bar_blocks_its_pair():
    panel = replace(PANEL, close=PANEL.close.copy())
    panel.close[-1, 0] = math.nan
    decision = Scene(panel=panel).decide()
    assert outcomes(decision)[0] == "blocked"
    assert "BTCUSDT: newest bar is missing" in decision.input_faults


STALE = {"faults": ("open interest is 900 s old",)}


@pytest.mark.parametrize(
    ("position", "scene", "outcome", "reason", "urgent"),
    [
        (held(BTC, "38"), Scene(), "hold", "", False),
        (held(BTC, "38"), Scene(confidence=0.5), "hold", "", False),
        (held(BTC, "38"), Scene(expected=(0.0008, 0, 0)), "hold", "", False),
        (held(BTC, "1"), Scene(expected=(0.0007, 0, 0)), "close", "cost-band", False),
        (held(BTC, "1"), Scene(expected=(-0.0006, 0, 0)), "close", "cost-band", False),
        (held(BTC, "1"), Scene(expected=(-0.0008, 0, 0)), "close", "opposite", False),
        (held(BTC, "1"), Scene(expected=(-0.01, 0, 0)), "enter", "approved", False),
        (held(BTC, "1"), Scene(expected=(-0.01, 0, 0), confidence=0.5), "close", "opposite", False),
        (held(BTC, "38", age_ms=4 * HOUR), Scene(), "hold", "", False),
        (held(BTC, "38", age_ms=4 * HOUR - 1), Scene(confidence=0.5), "hold", "", False),
        (held(BTC, "1", age_ms=4 * HOUR), Scene(confidence=0.5), "close", "horizon", False),
        (held(BTC, "1", age_ms=4 * HOUR), Scene(forecaster=False), "close", "horizon", False),
        (held(BTC, "38"), Scene(forecaster=False), "hold", "", False),
        (held(BTC, "1", stop=PRICE[BTC]), Scene(), "close", "stop", True),
        (held(BTC, "-1", stop=PRICE[BTC]), Scene(expected=(-0.01, 0, 0)), "close", "stop", True),
        (held(BTC, "38", stop=PRICE[BTC] - 0.01), Scene(), "hold", "", False),
        (held(BTC, "1", entry=PRICE[BTC] + 300), Scene(), "close", "position-loss", True),
        (held(BTC, "1"), Scene(account={"latched": {"day_loss": "-5 %"}}), "close", "kill-switch", True),
        (held(BTC, "38"), Scene(snapshot=STALE), "hold", "", False),
        (held(BTC, "1"), Scene(snapshot=STALE, expected=(-0.01, 0, 0)), "close", "opposite", False),
        (held(BTC, "1", stop=PRICE[BTC]), Scene(snapshot=STALE), "close", "stop", True),
        (held(BTC, "1"), Scene(account={"latched": {"manual": "x"}}, expected=(-0.01, 0, 0)), "blocked", "", False),
        (held(BTC, "200"), Scene(), "reduce", "caps", False),
    ],
)  # fmt: skip
def test_exits_need_no_vote(position, scene, outcome, reason, urgent):
    scene.positions = {BTC: position}
    scene.hazard = 0.9 if outcome == "close" else scene.hazard
    decision = scene.decide()
    assert outcomes(decision)[0] == outcome
    target = next((t for t in decision.plan.targets if t.pair == BTC), None) if decision.plan else None
    if outcome in {"hold", "blocked"}:
        assert target is None or target.quantity == float(position.quantity)
        return
    assert (target.reason, target.urgent) == (reason, urgent)
    if outcome == "close":
        assert target.quantity == 0
    elif outcome == "reduce":
        assert 0 < target.quantity * PRICE[BTC] < 10_000


def test_a_position_is_enlarged_only_beyond_the_band_and_keeps_its_tighter_stop():
    full = Scene(expected=(0.01, 0, 0)).decide().plan.targets[0].quantity
    near, far = held(BTC, f"{full / 1.2:.3f}"), held(BTC, f"{full / 2:.3f}", stop=PRICE[BTC] * 0.999)
    assert Scene(expected=(0.01, 0, 0), positions={BTC: near}).decide().plan is None
    grown = Scene(expected=(0.01, 0, 0), positions={BTC: far}).decide()
    assert outcomes(grown)[0] == "enlarge"
    assert grown.plan.targets[0].stop_price == pytest.approx(PRICE[BTC] * 0.999)
    refused = Scene(expected=(0.01, 0, 0), positions={BTC: far}, confidence=0.5).decide()
    assert (outcomes(refused)[0], refused.plan) == ("hold", None)


def standing(*wanted, urgent=False, expires=NOW + 1):
    return Plan(
        "older", NOW - 60_000, tuple(Target(p, q, 90.0, "approved", urgent) for p, q in wanted), Schedule(), expires
    )


def test_a_plan_that_leads_to_the_same_is_left_alone():
    first = Scene().decide().plan
    again = Scene(snapshot={"standing": first, "cycle_ms": NOW + 30_000, "wall_ms": NOW}).decide()
    assert again.plan is None
    assert set(outcomes(again)) == {"hold", "refused"}


def test_a_plan_that_has_expired_is_decided_anew():
    first = Scene().decide().plan
    late = Scene(snapshot={"standing": replace(first, expires_ms=NOW)}).decide()
    assert targets(late) == {t.pair: t.quantity for t in first.targets}


def test_a_new_plan_repeats_the_targets_that_stand():
    decision = Scene(snapshot={"standing": standing((BTC, 38.0))}).decide()
    assert decision.plan.targets[0] == Target(BTC, 38.0, 90.0, "approved")
    assert SOL in targets(decision)


def test_an_entry_on_its_way_stops_where_it_is_while_only_reducing_is_allowed():
    decision = Scene(
        expected=(0.01, 0, 0),
        positions={BTC: held(BTC, "0.25")},
        snapshot={"standing": standing((BTC, 1.0)), **STALE},
    ).decide()
    assert targets(decision) == {BTC: 0.25}


def test_an_urgent_exit_takes_over_from_a_slow_one_and_is_not_repeated():
    scene = Scene(positions={BTC: held(BTC, "1", stop=PRICE[BTC] + 1)}, expected=(0.01, 0, 0))
    scene.snapshot = {"standing": standing((BTC, 0.0))}
    assert scene.decide().plan.targets[0].urgent
    scene.snapshot = {"standing": standing((BTC, 0.0), urgent=True)}
    assert scene.decide().plan is None


def analysis(**fields):
    values = dict(
        pair=BTC, crowding=0.9, trap="long", bias="short", confidence=0.9, risk_flags=(), forced_exit_zones=(),
        evidence=(), source="openai/gpt-oss-120b", made_ms=NOW - 1000, expires_ms=NOW + 1000,
    )  # fmt: skip
    return Analysis(**{**values, **fields})


@pytest.mark.parametrize(
    ("said", "choice", "source"),
    [
        (analysis(), Choice.REJECT, "gpt-oss"),
        (analysis(bias="neutral"), Choice.REJECT, "gpt-oss"),
        (analysis(bias="neutral", trap="short"), Choice.APPROVE, "gpt-oss"),
        (analysis(bias="bullish"), Choice.ABSTAIN, ""),
        (analysis(expires_ms=NOW), Choice.APPROVE, "rules"),
        (analysis(made_ms=NOW + 1), Choice.APPROVE, "rules"),
        (analysis(source="rules"), Choice.APPROVE, "rules"),
    ],
)
def test_a_language_model_may_veto_while_its_analysis_is_valid(said, choice, source):
    decision = Scene(snapshot={"analyses": {BTC: said}}).decide()
    vote = next(v for v in decision.pairs[0].votes if v.seat == "analyst")
    assert vote.choice is choice
    assert source in vote.reason


def test_deciding_again_gives_the_same_bytes_and_they_are_plain_json():
    scene = Scene(positions={ETH: held(ETH, "2")}, state={"jump": np.full((1, 3), math.nan)})
    first, second = codec.dumps(scene.decide()), codec.dumps(scene.decide())
    assert first == second
    read = json.loads(first)
    assert read["mode"] == "active"
    assert read["pairs"][0]["votes"][0] == {
        "choice": "approve", "reason": "confidence 0.700, threshold 0.600", "seat": "forecaster"
    }  # fmt: skip
    assert json.dumps(read, sort_keys=True, separators=(",", ":"), ensure_ascii=False) == first


def test_the_data_hash_tells_every_reading_apart():
    scene = Scene()
    base = scene.view()
    quote = replace(base.quotes[BTC], bid_size=6)
    others = [
        {"quotes": {**base.quotes, BTC: quote}},
        {"marks": {}},
        {"faults": ("x",)},
        {"wall_ms": NOW + 1},
        {"standing": standing((BTC, 1.0))},
        {"analyses": {BTC: analysis()}},
        {"panel": PANEL.rows(slice(1, 400))},
        {"rules": {}},
    ]
    hashes = {replace(base, **changed).data_hash() for changed in others} | {base.data_hash()}
    assert len(hashes) == len(others) + 1
    assert base.data_hash() == scene.view().data_hash()
    assert base.data_hash() == replace(base, panel_hash=PANEL.content_hash()).data_hash()


def test_no_champion_at_all_means_flat_and_says_why():
    models = Models(absent={k: f"no {k} champion" for k in ("forecaster", "crowd", "policy")})
    portfolio = Portfolio("test", 1000, 1000, 1000, 1000, {})
    decision = decide(Scene().view(), models, portfolio, LIMITS)
    assert outcomes(decision) == ("no-signal",) * 3
    assert decision.plan is None
    assert all("no forecaster champion" in said.reason for said in decision.pairs)


def test_an_empty_panel_is_a_fault_and_stops_still_work():
    panel = PANEL.rows(slice(0, 0))
    decision = decide(
        replace(Scene().view(), panel=panel), Models(),
        Portfolio("test", 1e4, 1e4, 1e4, 1e4, {BTC: held(BTC, "1", stop=PRICE[BTC])}), LIMITS,
    )  # fmt: skip
    assert decision.mode is Mode.REDUCING
    assert outcomes(decision) == ("close", "no-signal", "no-signal")


def test_a_model_whose_input_is_gone_abstains_and_blocks_entries():
    class Needy(FixedForecaster):
        def forecast(self, panel, last):
            raise InputMissing("no open_interest in the panel")

    models = Models(Needy(forecast_of(np.zeros((400, 3))), PANEL))
    decision = decide(Scene().view(), models, Portfolio("test", 1e4, 1e4, 1e4, 1e4, {}), LIMITS)
    assert decision.mode is Mode.REDUCING
    assert any("open_interest" in fault for fault in decision.input_faults)
    assert decision.plan is None


def test_an_assessment_of_another_bar_is_refused():
    models = Models()
    other = assess(PANEL.rows(slice(0, 399)), models, LIMITS)
    with pytest.raises(InputMissing):
        decide(Scene().view(), models, Portfolio("test", 1e4, 1e4, 1e4, 1e4, {}), LIMITS, other)


def test_the_strongest_edges_get_the_slots():
    limits = Limits(risk=LIMITS.risk.model_copy(update={"max_positions": 1}))
    decision = Scene(expected=(0.008, 0.009, -0.012), limits=limits).decide()
    assert outcomes(decision) == ("refused", "refused", "enter")
    assert "number of positions" in decision.pairs[0].reason


def test_a_second_position_that_moves_with_the_first_is_smaller():
    alone = Scene(expected=(0.01, 0, 0)).decide().plan.targets[0].quantity
    beside = Scene(expected=(0.01, 0.01, 0), positions={ETH: held(ETH, "36")}).decide()
    opposite = Scene(expected=(0.01, -0.01, 0), positions={ETH: held(ETH, "-36")}).decide()
    assert outcomes(beside)[1] == outcomes(opposite)[1] == "hold"
    assert targets(beside)[BTC] < 0.9 * alone
    assert targets(opposite)[BTC] == alone
