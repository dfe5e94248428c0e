"""One live cycle: faults, kill switches, one :func:`step`, and the plan with every reason written down.

Here: turning a snapshot and a portfolio into what a step needs, and its answer into a :class:`Decision`. Not here: any
rule.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Final

from hydra_core.alpha.analyst.rules import SOURCE as RULES
from hydra_core.alpha.models import Models
from hydra_core.decision.assessment import Assessment, Row, assess
from hydra_core.decision.snapshot import Faults, Snapshot, find_faults
from hydra_core.decision.step import (
    CLOSE,
    POSITION_LOSS,
    REASONS,
    REFUSED,
    STOP,
    URGENT,
    Book,
    Step,
    step,
)  # fmt: skip
from hydra_core.domain.errors import InputMissing
from hydra_core.domain.market import MarketRules
from hydra_core.domain.pairs import Pair
from hydra_core.domain.trading import (
    Analysis,
    Choice,
    Decision,
    Mode,
    PairDecision,
    Plan,
    Portfolio,
    Side,
    Signal,
    Target,
    Verdict,
)  # fmt: skip
from hydra_core.execution.curves import spread
from hydra_core.execution.schedule import planned
from hydra_core.risk.limits import Limits
from hydra_core.risk.switches import UNREADABLE_INPUT, Judgement, evaluate

_LEANS: Final[Mapping[str, float]] = {"long": 1.0, "short": -1.0, "neutral": 0.0, "none": 0.0}
_STATE_FIELDS: Final = (
    "volatility", "variance_ratio", "move_15m", "move_60m", "jump", "jump_rate", "hawkes_intensity", "branching", "extreme",
)  # fmt: skip


def decide(
    snapshot: Snapshot, models: Models, portfolio: Portfolio, limits: Limits, assessment: Assessment | None = None
) -> Decision:
    """One decision: a function of its arguments and nothing else.

    Parameters
    ----------
    snapshot : Snapshot
    models : Models, who holds the seats
    portfolio : Portfolio, marked
    limits : Limits
    assessment : Assessment, optional
        ``assess(snapshot.panel, models, limits.under(snapshot.rules))`` where the caller has it already; its newest row
        is used.

    Raises
    ------
    InputMissing : the assessment is not of the snapshot's newest bar
    """
    if assessment is None and len(snapshot.panel):
        assessment = assess(snapshot.panel, models, limits.under(snapshot.rules))
    faults = find_faults(snapshot, assessment.faults if assessment else (), limits.risk)
    row = _row(snapshot, assessment)
    marks = {pair: reading.mark for pair, reading in snapshot.marks.items()}
    judgement = evaluate(portfolio, marks, row.stress if assessment else None, faults.everywhere, limits.risk)
    if snapshot.halt:
        judgement = Judgement(Mode.HALTED, {**judgement.trips, UNREADABLE_INPUT: snapshot.halt}, judgement.close)
    _hear_analyst(row, snapshot)
    book = _book(snapshot, portfolio, judgement, faults)
    result = step(row, book, limits, judgement.mode, models.policy)
    plan = None if judgement.mode is Mode.HALTED else _plan(snapshot, portfolio, limits, result)
    return Decision(
        cycle_ms=snapshot.cycle_ms,
        mode=judgement.mode,
        trips=judgement.trips,
        pairs=tuple(
            _said(i, pair, row, result, assessment, limits, faults) for i, pair in enumerate(snapshot.panel.pairs)
        ),
        plan=plan,
        input_faults=faults.listed,
        state=_state(snapshot, assessment),
        data_hash=snapshot.data_hash(),
    )


def _row(snapshot: Snapshot, assessment: Assessment | None) -> Row:
    """The newest row; its signals are unknown where the newest bar is too old or not yet closed."""
    if assessment is None:
        return Row.unknown(len(snapshot.panel.pairs))
    row = assessment.row(-1)
    if row.bar_close_ms != int(snapshot.panel.close_ms[-1]) or assessment.pairs != snapshot.panel.pairs:
        raise InputMissing("the assessment is not of the snapshot's newest bar", "Assess the snapshot's own panel")
    if not snapshot.fresh:
        return row.without_signals()
    return row


def _hear_analyst(row: Row, snapshot: Snapshot) -> None:
    """Let a language model's analyses take the seat of the rules; an expired one is not heard, nor rules at second hand."""
    if not snapshot.analyses:
        return
    row.bias, row.trap, row.source = list(row.bias), list(row.trap), list(row.source)
    for i, pair in enumerate(snapshot.panel.pairs):
        said: Analysis | None = snapshot.analyses.get(pair)
        if said is None or said.source == RULES:
            continue
        if said.made_ms <= snapshot.cycle_ms < said.expires_ms:
            row.bias[i], row.trap[i] = _LEANS.get(said.bias, math.nan), _LEANS.get(said.trap, math.nan)
            row.source[i] = said.source


def _book(snapshot: Snapshot, portfolio: Portfolio, judgement: Judgement, faults: Faults) -> Book:
    pairs = snapshot.panel.pairs
    rules: list[MarketRules | None] = [snapshot.rules.get(pair) for pair in pairs]
    exits = [_exit(pair, snapshot, portfolio, judgement) for pair in pairs]
    committed = [
        _committed(pair, snapshot, portfolio, judgement.mode, why) for pair, why in zip(pairs, exits, strict=True)
    ]
    return Book(
        quantity=[quantity for quantity, _ in committed],
        age_ms=[
            _age(pair, snapshot, portfolio, quantity) for pair, (quantity, _) in zip(pairs, committed, strict=True)
        ],
        stop=[stop for _, stop in committed],
        price=[_price(pair, snapshot) for pair in pairs],
        equity=portfolio.equity,
        exits=exits,
        barred=[pair in portfolio.barred or bool(why) for pair, why in zip(pairs, exits, strict=True)],
        fault=[pair in faults.by_pair for pair in pairs],
        step=[float(rule.step_size) if rule else 0.0 for rule in rules],
        min_quantity=[float(rule.min_quantity) if rule else 0.0 for rule in rules],
        min_notional=[float(rule.min_notional) if rule else 0.0 for rule in rules],
    )


def _held(pair: Pair, portfolio: Portfolio) -> float:
    position = portfolio.positions.get(pair)
    return float(position.quantity) if position else 0.0


def _exit(pair: Pair, snapshot: Snapshot, portfolio: Portfolio, judgement: Judgement) -> str:
    """Why a held position must go at once, whatever the forecast says."""
    if pair in judgement.close:
        return POSITION_LOSS
    position, mark = portfolio.positions.get(pair), snapshot.marks.get(pair)
    if position is None or position.stop_price is None or mark is None:
        return ""
    beyond = (mark.mark - float(position.stop_price)) * float(position.quantity)
    return STOP if beyond <= 0 and position.quantity else ""


def _committed(pair: Pair, snapshot: Snapshot, portfolio: Portfolio, mode: Mode, exit_now: str) -> tuple[float, float]:
    """Signed size that the pair is committed to, and its stop: the standing plan's target while it is worked, else what
    is held.

    While positions may only become smaller a standing entry stops where it is; an exit that is due at once is measured
    on what is held, unless it is on its way already.
    """
    held = _held(pair, portfolio)
    position = portfolio.positions.get(pair)
    stop = float(position.stop_price) if position and position.stop_price is not None else math.nan
    target = snapshot.standing_target(pair)
    if target is None:
        return held, stop
    wanted = target.quantity
    at_once = bool(exit_now) or mode is Mode.FLATTEN
    if at_once and held and not (target.urgent and wanted == 0.0):
        return held, stop
    if mode is Mode.REDUCING and abs(wanted) > abs(held) and wanted * held >= 0:
        return held, stop
    return wanted, stop if target.stop_price is None else target.stop_price


def _age(pair: Pair, snapshot: Snapshot, portfolio: Portfolio, quantity: float) -> int:
    position = portfolio.positions.get(pair)
    if position is None or float(position.quantity) * quantity <= 0:
        return 0
    return snapshot.cycle_ms - position.opened_ms


def _price(pair: Pair, snapshot: Snapshot) -> float:
    """Price at which sizes are computed, USDT: the quote's middle, else the mark."""
    quote, mark = snapshot.quotes.get(pair), snapshot.marks.get(pair)
    for price in (quote.mid if quote else math.nan, mark.mark if mark else math.nan):
        if math.isfinite(price) and price > 0:
            return price
    return math.nan


def _plan(snapshot: Snapshot, portfolio: Portfolio, limits: Limits, result: Step) -> Plan | None:
    """Targets of every pair held or wanted, or None where the plan in force, or doing nothing, leads to the same."""
    changed = False
    targets: list[Target] = []
    schedule = planned(limits.decision)
    for i, pair in enumerate(snapshot.panel.pairs):
        quantity, stop = result.target[i], result.stop[i]
        standing = snapshot.standing_target(pair)
        before = standing.quantity if standing else _held(pair, portfolio)
        urgent = result.outcome[i] == CLOSE and result.reason[i] in URGENT
        same = quantity == before and not (urgent and standing and not standing.urgent)
        if same and standing:
            targets.append(standing)
            continue
        changed = changed or not same
        if quantity or before or _held(pair, portfolio):
            held = _held(pair, portfolio)
            shares = () if urgent else spread(
                schedule, limits, snapshot.panel, i, quantity - held, _price(pair, snapshot), portfolio.equity,
                snapshot.cycle_ms,
            )  # fmt: skip
            kept = None if math.isnan(stop) or not quantity else stop
            targets.append(Target(pair, quantity, kept, result.reason[i], urgent, shares))
    if not changed:
        return None
    settings = limits.decision
    content = repr((portfolio.account, snapshot.cycle_ms, targets))
    return Plan(
        plan_id=hashlib.sha256(content.encode()).hexdigest()[:24],
        cycle_ms=snapshot.cycle_ms,
        targets=tuple(targets),
        schedule=schedule,
        expires_ms=snapshot.cycle_ms + settings.plan_ttl_s * 1000,
    )


def _said(
    i: int, pair: Pair, row: Row, result: Step, assessment: Assessment | None, limits: Limits, faults: Faults
) -> PairDecision:
    """Signal, verdict, votes and outcome of one pair."""
    side = Side.LONG if row.side[i] >= 0 else Side.SHORT
    reason = result.reason[i]
    sentence = REASONS[reason]
    if reason == "fault":
        sentence = f"{sentence}: {'; '.join(faults.by_pair.get(pair, ('no usable price',)))}"
    elif reason == "votes":
        against = ", ".join(f"{v.seat} {v.choice.value}s" for v in result.votes[i] if v.choice is not Choice.APPROVE)
        sentence = f"{sentence}: {against}"
    elif reason == "no-forecast" and "forecaster" in row.absent:
        sentence = f"{sentence}: {row.absent['forecaster']}"
    verdict = None
    if result.notional[i] > 0 or result.outcome[i] == REFUSED:
        granted = result.notional[i] > 0
        verdict = Verdict(
            pair=pair,
            side=side,
            approved=granted,
            notional=result.notional[i],
            leverage=result.leverage[i] if granted else 0.0,
            stop_price=None if math.isnan(result.stop[i]) else result.stop[i],
            reason="sized" if granted else sentence,
        )
    return PairDecision(
        pair, _signal(i, pair, row, assessment, limits), verdict, result.votes[i], result.outcome[i], sentence
    )


def _signal(i: int, pair: Pair, row: Row, assessment: Assessment | None, limits: Limits) -> Signal | None:
    if assessment is None or row.side[i] == 0.0:
        return None
    words = assessment.forecast
    return Signal(
        pair=pair,
        expected_return=row.expected_return[i],
        confidence=row.confidence[i],
        adverse_excursion=float(words.adverse_excursion[-1, i]),
        volatility=float(words.volatility[-1, i]),
        horizon_ms=limits.horizon_ms,
        bar_close_ms=row.bar_close_ms,
    )


def _state(snapshot: Snapshot, assessment: Assessment | None) -> dict[str, dict[str, float]]:
    """Layer 2 numbers by name, then pair; what is unknown is left out."""
    if assessment is None:
        return {}
    recorded: dict[str, dict[str, float]] = {}
    for name in _STATE_FIELDS:
        newest = getattr(assessment.state, name)[-1].tolist()
        recorded[name] = {
            str(pair): value for pair, value in zip(snapshot.panel.pairs, newest, strict=True) if math.isfinite(value)
        }
    correlation = float(assessment.state.mean_correlation[-1])
    recorded["mean_correlation"] = {"market": correlation} if math.isfinite(correlation) else {}
    return recorded
