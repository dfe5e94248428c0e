"""What a candidate must pass to hold a seat: a list of verdicts in plain words, one list a kind.

Every gate compares one measured number with one limit; nothing is computed here but the comparison. On pure noise the
forecaster's calibrated slope is zero, nothing is traded, and the count of trades alone refuses it.

Not here: how the numbers are made (``evaluation``, ``books``, ``metrics``), who acts on the verdicts (``pipeline``).
Sources: notes on research honesty, section 6; Bailey and Lopez de Prado (2012, 2014); Bailey et al. (2017); Hansen (2005).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np

from hydra_core.alpha.crowd import CrowdMetrics
from hydra_core.domain.market import Ints
from hydra_core.research.bootstrap import Interval
from hydra_core.research.evaluation import Reliability, Skill

MIN_TRADES: Final = 200
MIN_SHARPE: Final = 1.0
MIN_PROBABILITY: Final = 0.95
MAX_OVERFITTING: Final = 0.2
MAX_P_VALUE: Final = 0.05
MIN_GOOD_PERIODS: Final = 0.6
MAX_OVERCONFIDENCE: Final = 0.03
MAX_LAG_FALL: Final = 0.5
MIN_EVENTS: Final = 20
MIN_MOVES: Final = 50
REAL_MARKET_IC: Final = 0.10
"""4 h correlation above which a result on a real market is a leak until shown otherwise."""
REAL_MARKET_ACCURACY: Final = 0.56
"""The same of the share of right signs, at horizons up to :data:`SHORT_HORIZON_MS`."""
REAL_MARKET_SHARPE: Final = 5.0
"""The same of the annual net Sharpe ratio."""
MOST_ROC: Final = 0.95
"""Area under the ROC curve above which a hazard is a leak until shown otherwise; volatility alone reaches about 0.8."""
MOST_PR_RATIO: Final = 5.0
"""The same of PR-AUC over volatility alone: who knows every liquidation price of a simulated market reaches 4.5."""
SHORT_HORIZON_MS: Final = 3_600_000
_SYNTHETIC: Final = re.compile(r"^synthetic-\d+-(?P<signal>\d+(\.\d+)?)$")


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """One gate's word on one candidate.

    Parameters
    ----------
    value, limit : what was measured and what it is held against; None where it could not be measured (then it failed)
    note : the comparison in plain words
    """

    name: str
    passed: bool
    value: float | None
    limit: float | None
    note: str

    def to_json(self) -> dict[str, Any]:
        """JSON-serialisable form."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Caps:
    """Figures above which a result is a leak until shown otherwise (L9).

    Parameters
    ----------
    correlation, accuracy, sharpe : inf where nothing is known to hold them
    """

    correlation: float
    accuracy: float = math.inf
    sharpe: float = math.inf


@dataclass(frozen=True)
class ForecasterEvidence:
    """What the forecaster's gates judge; out of sample means walk-forward blocks and lock-box together.

    Parameters
    ----------
    trades : round trips, out of sample
    independent_trades : what they are worth as independent ones (:func:`independent_trades`)
    sharpe, psr : annual Sharpe ratio and probability that it is above 0, of lock-box days, net of costs
    dsr : deflated for ``trials``, of all out-of-sample days
    pbo : None where it cannot be computed
    spa : p-value against holding nothing, over all trials
    good_periods : share of months (or tenths) with a profit
    stressed : mean daily return of the lock-box at costs x 1.5
    drawdown : deepest, out of sample
    skill : of the out-of-sample forecasts
    reliability : of lock-box confidences
    mean_daily : of all out-of-sample days; ``baselines`` the same by rule, at this book's volatility
    ridge_correlation : IC of ridge regression on the same rows
    champion_daily : the standing champion's mean daily return on the lock-box beside the candidate's own; None without one
    causal : the leak audit's word on the artifact
    leaks : what the leak suite found, check by check; None where it was not run, and then it is not passed
    caps : what is believable on this market
    complete : no funding rate that was due is missing
    """

    trades: int
    independent_trades: float
    sharpe: float
    psr: float
    dsr: float
    trials: int
    pbo: float | None
    spa: float
    good_periods: float
    stressed: float
    drawdown: float
    drawdown_limit: float
    skill: Skill | None
    reliability: Reliability | None
    mean_daily: float
    baselines: dict[str, float]
    ridge_correlation: float
    champion_daily: tuple[float, float] | None
    causal: tuple[bool, str]
    leaks: tuple[str, ...] | None
    caps: Caps
    complete: bool
    extra: dict[str, float] = field(default_factory=dict)


def plausible_correlation(market: str) -> float:
    """Largest believable 4 h IC on a market by its name: 1.1 times a synthetic one's known optimum, else 0.10."""
    match = _SYNTHETIC.match(market)
    return 1.1 * float(match["signal"]) if match else REAL_MARKET_IC


def plausible_caps(market: str, horizon_ms: int) -> Caps:
    """What is believable on a market by its name.

    On a synthetic one 1.1 times its known optimum, as a correlation and as the share of right signs that goes with it
    (1/2 + asin(IC) / pi for elliptical returns); a Sharpe ratio is not known there. On a real one the fixed caps, that of
    accuracy at short horizons only.
    """
    largest = plausible_correlation(market)
    if _SYNTHETIC.match(market):
        return Caps(largest, 0.5 + math.asin(min(1.0, largest)) / math.pi)
    accuracy = REAL_MARKET_ACCURACY if horizon_ms <= SHORT_HORIZON_MS else math.inf
    return Caps(largest, accuracy, REAL_MARKET_SHARPE)


def plausible_pr_ratio(market: str) -> float:
    """Largest believable PR-AUC over volatility alone; inf on a synthetic market, where what crowding adds is planted."""
    return math.inf if _SYNTHETIC.match(market) else MOST_PR_RATIO


def plausible_precision(base_rate: float) -> float:
    """Largest believable PR-AUC at a base rate: what :data:`MOST_ROC` comes to where scores of both classes are normal.

    Integrates precision over recall along the threshold, with d' = sqrt(2) Phi^-1(AUC) between the classes.
    """
    from scipy.special import ndtr, ndtri

    apart = math.sqrt(2.0) * float(ndtri(MOST_ROC))
    threshold = np.linspace(-8.0, 8.0 + apart, 4_001)
    hits, alarms = base_rate * ndtr(apart - threshold), (1.0 - base_rate) * ndtr(-threshold)
    density = np.exp(-0.5 * (threshold - apart) ** 2) / math.sqrt(2.0 * math.pi)
    return float(np.trapezoid(hits / np.maximum(hits + alarms, 1e-300) * density, threshold))


def independent_trades(entered_ms: Ints, horizon_ms: int, likeness: float) -> float:
    """What round trips are worth as independent ones: those of one horizon are held together, and pairs move together.

    k trades that begin within one horizon count as k / (1 + (k - 1) r).

    Parameters
    ----------
    entered_ms : (k,), when each was entered, epoch ms
    likeness : mean correlation r of the pairs' returns, in [0, 1]
    """
    _, together = np.unique(entered_ms // horizon_ms, return_counts=True)
    return float((together / (1 + (together - 1) * min(max(likeness, 0.0), 1.0))).sum())


def forecaster_gates(seen: ForecasterEvidence) -> list[GateVerdict]:
    """The forecaster, judged by what would be traded on its word with the other seats approving."""
    best = max(seen.baselines, key=lambda name: seen.baselines[name], default="")
    gates = [
        _least(
            "trades",
            seen.independent_trades,
            MIN_TRADES,
            f"independent ones of {seen.trades} round trips out of sample",
        ),
        _more("sharpe", seen.sharpe, MIN_SHARPE, "annual net Sharpe ratio in the lock-box"),
        _more("psr", seen.psr, MIN_PROBABILITY, "probability that the lock-box Sharpe ratio is above 0"),
        _more("dsr", seen.dsr, MIN_PROBABILITY, f"the same out of sample, deflated for {seen.trials} trials"),
        _less("pbo", seen.pbo, MAX_OVERFITTING, "probability that the choice among trials and rules was luck"),
        _less("spa", seen.spa, MAX_P_VALUE, "p-value of beating an empty book, all trials counted"),
        _least("good_periods", seen.good_periods, MIN_GOOD_PERIODS, "share of periods with a profit"),
        _more("costs_x1.5", seen.stressed, 0.0, "mean daily lock-box return at costs x 1.5"),
        _less("drawdown", seen.drawdown, seen.drawdown_limit, "deepest fall from a peak out of sample"),
        *_skill_gates(seen),
        _calibration_gate(seen.reliability),
        _more(
            "baselines",
            seen.mean_daily,
            max(0.0, seen.baselines.get(best, 0.0)),
            f"mean daily return against an empty book and the best plain rule of equal volatility ({best or 'none'})",
        ),
    ]
    if seen.champion_daily is not None:
        own, champion = seen.champion_daily
        gates.append(_least("champion", own, champion, "mean daily lock-box return against the standing champion's"))
    if math.isfinite(seen.caps.sharpe):
        gates.append(
            _at_most("plausible_sharpe", seen.sharpe, seen.caps.sharpe, "lock-box Sharpe ratio, or it is a leak")
        )
    causal, detail = seen.causal
    gates.append(GateVerdict("causal", causal, float(causal), 1.0, f"prefix invariance of its forecasts: {detail}"))
    gates.append(leak_gate(seen.leaks))
    words = "every funding rate that was due is known" if seen.complete else "a funding rate that was due is missing"
    gates.append(GateVerdict("complete", seen.complete, float(seen.complete), 1.0, words))
    return gates


def crowd_gates(seen: CrowdMetrics, ratio_cap: float = math.inf) -> list[GateVerdict]:
    """The crowd model on the lock-box, against volatility alone.

    Parameters
    ----------
    ratio_cap : largest believable PR-AUC over volatility alone; inf where nothing is known to hold it
    """
    gates = [
        _least("events", seen.events, MIN_EVENTS, "forced exits in the lock-box"),
        _more("pr_auc_ratio", seen.ratio_low, 1.0, f"lower end of PR-AUC over volatility alone ({seen.ratio:.2f})"),
        _more("brier_skill", seen.brier_skill, 0.0, "Brier skill against the usual rate"),
        _at_most(
            "plausible",
            seen.pr_auc_low,
            plausible_precision(seen.base_rate),
            f"lower end of PR-AUC ({seen.pr_auc:.3f}), or it is a leak",
        ),
    ]
    if math.isfinite(ratio_cap):
        what = f"lower end of PR-AUC over volatility alone ({seen.ratio:.2f}), or it is a leak"
        gates.append(_at_most("plausible_ratio", seen.ratio_low, ratio_cap, what))
    return gates


@dataclass(frozen=True)
class PolicyEvidence:
    """What the policy's gates judge, on days that neither it nor the band's thresholds have seen.

    Parameters
    ----------
    gain, gain_low : mean daily net return beyond the no-trade band on unit notional, and the lower end of its interval
    net : mean daily net return of the policy itself
    moves : changes of position
    sharpe : annual Sharpe ratio of those days
    sharpe_cap : largest believable one; inf where nothing is known to hold it
    """

    gain: float
    gain_low: float
    net: float
    moves: int
    days: int
    sharpe: float = 0.0
    sharpe_cap: float = math.inf


def policy_gates(seen: PolicyEvidence) -> list[GateVerdict]:
    """The policy on unseen days, paired with the no-trade band on the same forecasts."""
    gates = [
        _least("moves", seen.moves, MIN_MOVES, "changes of position on unseen days"),
        _more("net", seen.net, 0.0, "mean daily net return on unit notional"),
        _more("gain", seen.gain_low, 0.0, f"lower end of the paired gain a day over the band ({seen.gain:.5f})"),
    ]
    if math.isfinite(seen.sharpe_cap):
        gates.append(_at_most("plausible_sharpe", seen.sharpe, seen.sharpe_cap, "net Sharpe ratio, or it is a leak"))
    return gates


@dataclass(frozen=True)
class CommitteeEvidence:
    """What the four seats together are judged by, on the lock-box."""

    trades: int
    sharpe: float
    dsr: float
    trials: int
    stressed: float
    complete: bool


def committee_gates(seen: CommitteeEvidence) -> list[GateVerdict]:
    """The four together: deflated Sharpe and costs x 1.5."""
    return [
        _least("trades", seen.trades, 1, "round trips in the lock-box"),
        _more("dsr", seen.dsr, MIN_PROBABILITY, f"lock-box Sharpe ratio deflated for {seen.trials} trials"),
        _more("costs_x1.5", seen.stressed, 0.0, "mean daily return at costs x 1.5"),
        GateVerdict("complete", seen.complete, float(seen.complete), 1.0, "every funding rate that was due is known"),
    ]


@dataclass(frozen=True, slots=True)
class RecalibrationEvidence:
    """What a renewed calibration shows on weeks that neither it nor the one in force was fitted on.

    Parameters
    ----------
    won : squared error won over the calibration in force, horizon variances, mean over days with its 90 % interval
    reliability : of its confidences
    mean_daily, champion_daily : net return a day traded by either
    weights_passed : whether the weights hold the verdict that they were seated with, the leak suite's too
    """

    won: Interval
    reliability: Reliability
    mean_daily: float
    champion_daily: float
    weights_passed: bool


def recalibration_gates(seen: RecalibrationEvidence) -> list[GateVerdict]:
    """Every gate that a renewed calibration of standing weights must pass; the weights have passed their own."""
    ok = seen.weights_passed
    gates = [
        GateVerdict(
            "weights",
            ok,
            None,
            None,
            f"the weights {'passed' if ok else 'have no verdict of'} their own gates and leak suite",
        ),
        _more("better", seen.won.low, 0.0, "lower end of squared error won a day over the calibration in force"),
        _least("net", seen.mean_daily - seen.champion_daily, 0.0, "net return a day less that of the one in force"),
    ]
    # Confidence that never reaches the threshold trades nothing: the right answer to a signal that has gone.
    return gates if seen.reliability.excess is None else [*gates, _calibration_gate(seen.reliability)]


def passed(gates: Sequence[GateVerdict]) -> bool:
    """Whether there are gates and every one passed."""
    return bool(gates) and all(gate.passed for gate in gates)


def why_refused(gates: Sequence[GateVerdict]) -> str:
    """The failed gates in one line; empty when all passed."""
    return "; ".join(f"{gate.name}: {gate.note}" for gate in gates if not gate.passed)


def _skill_gates(seen: ForecasterEvidence) -> list[GateVerdict]:
    skill = seen.skill
    if skill is None:
        return [GateVerdict("correlation", False, None, 0.0, "too few forecasts to correlate with anything")]
    ic = skill.correlation
    fall = 1.0 - skill.by_lag[1] / ic.value if ic.value > 0 else 1.0
    return [
        _more("correlation", ic.low, 0.0, f"lower end of the correlation with the scaled return ({ic.value:.3f})"),
        _less("lag_decay", fall, MAX_LAG_FALL, "share of the correlation lost when the entry comes one bar later"),
        _at_most(
            "plausible",
            ic.low,
            seen.caps.correlation,
            f"lower end of the correlation ({ic.value:.3f}), or it is a leak",
        ),
        *_accuracy_gate(skill, seen.caps),
        _least("ridge", ic.value, seen.ridge_correlation - 0.03, "correlation against ridge regression, less 0.03"),
    ]


def _accuracy_gate(skill: Skill, caps: Caps) -> list[GateVerdict]:
    if not math.isfinite(caps.accuracy):
        return []
    low = skill.accuracy - 1.96 * skill.accuracy_error
    what = f"lower end of the share of right signs ({skill.accuracy:.3f}), or it is a leak"
    return [_at_most("plausible_accuracy", low, caps.accuracy, what)]


def leak_gate(leaks: tuple[str, ...] | None) -> GateVerdict:
    """The leak suite's word on a candidate of any kind: what it found, check by check; None where it was not run."""
    if leaks is None:
        return GateVerdict("leak_suite", False, None, 0.0, "the leak suite was not run")
    said = "; ".join(leaks[:3]) or "nothing found"
    return _at_most("leak_suite", float(len(leaks)), 0.0, f"findings of the leak suite ({said})")


def _calibration_gate(seen: Reliability | None) -> GateVerdict:
    if seen is None or seen.excess is None:
        return GateVerdict(
            "calibration", False, None, MAX_OVERCONFIDENCE, "confidence never reaches the threshold in the lock-box"
        )
    return _at_most(
        "calibration",
        seen.excess.low,
        MAX_OVERCONFIDENCE,
        f"lower end of confidence less share won, where it is acted on ({seen.excess.value:+.3f})",
    )


def _verdict(name: str, ok: bool, value: float | None, limit: float, sign: str, what: str) -> GateVerdict:
    said = "not known" if value is None else f"{value:.4g}"
    return GateVerdict(name, ok, value, limit, f"{what}: {said}, asked {sign} {limit:.4g}")


def _more(name: str, value: float, limit: float, what: str) -> GateVerdict:
    return _verdict(name, value > limit, value, limit, ">", what)


def _least(name: str, value: float, limit: float, what: str) -> GateVerdict:
    return _verdict(name, value >= limit, value, limit, ">=", what)


def _less(name: str, value: float | None, limit: float, what: str) -> GateVerdict:
    return _verdict(name, value is not None and value < limit, value, limit, "<", what)


def _at_most(name: str, value: float, limit: float, what: str) -> GateVerdict:
    return _verdict(name, value <= limit, value, limit, "<=", what)
