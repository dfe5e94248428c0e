"""The protocol around a model: folds, trials, sweeps, evaluation, gates, leak audit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hydra_core.alpha.models import Forecast
from hydra_core.domain.errors import DataCorrupt, InputMissing
from hydra_core.domain.market import Floats
from hydra_core.research.bootstrap import Interval
from hydra_core.research.evaluation import Reliability, Skill, correlation, effective_count, reliability, skill
from hydra_core.research.folds import blocks, walk_forward
from hydra_core.research.gates import (
    Caps,
    CommitteeEvidence,
    ForecasterEvidence,
    PolicyEvidence,
    committee_gates,
    forecaster_gates,
    independent_trades,
    passed,
    plausible_caps,
    plausible_correlation,
    policy_gates,
    why_refused,
)
from hydra_core.research.sweeps import TrialPruned, sweep
from hydra_core.research.trials import (
    BACKTEST,
    COMPARISON,
    VALIDATION,
    Journal,
    lockbox_ledger,
    read_lockbox,
    trials_of,
)

HORIZON = 48


@settings(max_examples=60, deadline=None)
@given(st.integers(9_000, 60_000), st.integers(2, 5), st.sampled_from([12, 48]), st.integers(0, 2_200))
def test_no_label_of_an_earlier_span_reaches_into_a_later_one(
    rows: int, folds: int, horizon: int, warm_up: int
) -> None:
    plan = walk_forward(rows, folds, horizon, 96, 0.2, warm_up=warm_up)
    assert len(plan.folds) == folds
    for fold in (*plan.folds, plan.final):
        assert warm_up <= fold.train.start < fold.train.end < fold.valid.start < fold.valid.end < fold.test.start
        assert fold.valid.start - fold.train.end >= horizon + 1 + 96
        assert fold.test.start - fold.valid.end >= horizon + 1 + 96
    for earlier, later in zip(plan.folds, plan.folds[1:], strict=False):
        assert earlier.test.end == later.test.start
        assert later.valid.end > earlier.valid.end
    assert plan.development.end + horizon + 96 < plan.lockbox.start
    assert plan.lockbox.end + horizon < rows
    assert plan.lockbox.start == rows - int(rows * 0.2)


def test_a_history_too_short_for_the_protocol_says_so() -> None:
    with pytest.raises(InputMissing, match="Collect a longer history"):
        walk_forward(4_000, 3, HORIZON, 288, 0.2, warm_up=2_109)


def test_periods_are_months_when_there_are_ten_of_them_else_tenths() -> None:
    short = blocks(np.arange(82), np.arange(82))
    assert [len(part) for part in short] == [9, 9, *[8] * 8]
    long = blocks(np.arange(19_723, 19_723 + 366), np.arange(366))  # the year 2024
    assert [len(part) for part in long] == [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]


def test_every_trial_counts_and_a_stopped_sweep_goes_on(tmp_path: Path) -> None:
    """The first try dies in its second trial; the next run keeps what was done, and the dead trial stays counted."""
    seen: list[int] = []

    def suggest(trial: object) -> dict[str, float]:
        return {"x": trial.suggest_float("x", 0.0, 1.0)}  # type: ignore[attr-defined]

    def dies(number: int, parameters: dict[str, float], report: object) -> float:
        seen.append(number)
        if number == 1:
            raise KeyboardInterrupt
        return parameters["x"]

    with pytest.raises(KeyboardInterrupt):
        sweep(tmp_path, "s", {"x": 0.5}, suggest, dies, 3, seed=1)

    def lives(number: int, parameters: dict[str, float], report: object) -> float:
        seen.append(number)
        if number == 3:
            raise TrialPruned
        return parameters["x"]

    result = sweep(tmp_path, "s", {"x": 0.5}, suggest, lives, 3, seed=1)
    assert seen == [0, 1, 2, 3]
    assert result.trials == 4  # finished, killed, finished, pruned
    assert result.finished == (0, 2)
    assert [row["number"] for row in trials_of(tmp_path, "s")] == [0, 1, 2, 3]
    again = sweep(tmp_path, "s", {"x": 0.5}, suggest, lives, 3, seed=1)
    assert again == result
    assert len(seen) == 4


def test_the_lockbox_remembers_who_read_it(tmp_path: Path) -> None:
    assert read_lockbox(tmp_path, span_ms=(100, 200), kind="forecaster", version="a") == 1
    assert read_lockbox(tmp_path, span_ms=(100, 200), kind="forecaster", version="a") == 1
    assert read_lockbox(tmp_path, span_ms=(150, 250), kind="forecaster", version="b") == 2
    assert read_lockbox(tmp_path, span_ms=(300, 400), kind="forecaster", version="c") == 1
    assert read_lockbox(tmp_path, span_ms=(100, 200), kind="crowd", version="d") == 1
    records = lockbox_ledger(tmp_path).records()
    assert [row["version"] for row in records] == ["a", "a", "b", "c", "d"], "the second reading is one, too"
    assert len({row["key"] for row in records}) == 5


def test_a_backtest_or_a_champions_comparison_is_a_reading_and_no_candidate(tmp_path: Path) -> None:
    assert read_lockbox(tmp_path, span_ms=(100, 200), kind="forecaster", version="a", reason=BACKTEST) == 1
    assert read_lockbox(tmp_path, span_ms=(150, 200), kind="forecaster", version="b", reason=COMPARISON) == 1
    assert read_lockbox(tmp_path, span_ms=(100, 200), kind="forecaster", version="c") == 1
    older = {"kind": "forecaster", "version": "d", "start_ms": 100, "end_ms": 200}  # of a version that told no reason
    lockbox_ledger(tmp_path).add("forecaster/d/100-200", older)
    assert read_lockbox(tmp_path, span_ms=(100, 200), kind="forecaster", version="c") == 2
    reasons = [row.get("reason") for row in lockbox_ledger(tmp_path).records()]
    assert reasons == [BACKTEST, COMPARISON, VALIDATION, None, VALIDATION]


def test_a_half_written_last_line_is_dropped_a_broken_one_is_corruption(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    assert journal.add("a", {"x": 1})
    assert not journal.add("a", {"x": 2})
    with journal.path.open("a") as file:
        file.write('{"key": "b", "x"')
    assert [row["x"] for row in journal.records()] == [1]
    journal.path.write_text('{"key": "b", "x"\n' + json.dumps({"key": "c"}) + "\n")
    with pytest.raises(DataCorrupt, match="line 1"):
        journal.records()


def planted(seed: int, signal: float, days: int = 40, pairs: int = 4) -> tuple[Floats, Floats, Floats]:
    """Forecast, realised return and day number on a 5m grid, overlapping like 4 h labels."""
    rng = np.random.default_rng(seed)
    rows = days * 288
    kernel = np.ones(HORIZON) / np.sqrt(HORIZON)

    def smooth() -> Floats:
        raw = rng.normal(size=(rows + HORIZON, pairs))
        return np.stack([np.convolve(raw[:, p], kernel, "valid")[:rows] for p in range(pairs)], axis=1)

    forecast = smooth()
    realised = signal * forecast + np.sqrt(1 - signal**2) * smooth()
    return forecast, realised, np.arange(rows) // 288


def test_skill_finds_what_was_planted_and_its_interval_covers() -> None:
    covered = 0
    for seed in range(20):
        forecast, realised, days = planted(seed, 0.2)
        seen = skill(forecast, realised, np.full_like(forecast, 0.01), days, HORIZON)
        covered += seen.correlation.low <= 0.2 <= seen.correlation.high
        assert seen.by_lag[12] < seen.by_lag[0] + 0.05
    assert covered >= 15
    assert seen.accuracy > 0.5
    assert seen.top_decile_bp > 0


def test_noise_stays_inside_what_its_effective_count_allows() -> None:
    forecast, realised, days = planted(99, 0.0)
    seen = skill(forecast, realised, np.full_like(forecast, 0.01), days, HORIZON)
    assert seen.effective_count == pytest.approx(40 * 288 / HORIZON * 4, rel=0.15)
    assert abs(seen.accuracy - 0.5) <= 3 * 0.5 / np.sqrt(seen.effective_count)
    assert seen.correlation.low < 0 < seen.correlation.high


def test_copies_of_one_pair_count_once() -> None:
    one = np.random.default_rng(0).normal(size=(4_800, 1))
    assert effective_count(np.repeat(one, 8, axis=1), HORIZON) == pytest.approx(100)


@pytest.mark.parametrize(("honest", "low", "high"), [(True, -0.05, 0.05), (False, 0.12, 0.28)])
def test_reliability_sees_overconfidence(honest: bool, low: float, high: float) -> None:
    rng = np.random.default_rng(5)
    said = rng.uniform(0.4, 0.8, (6_000, 3))
    won = rng.random(said.shape) < (said if honest else said - 0.2)
    forecast = Forecast(np.full_like(said, 0.01), said, np.full_like(said, 0.01), np.full_like(said, 0.01))
    seen = reliability(forecast, np.where(won, 0.01, -0.01), 0.0014, np.arange(6_000) // 288, 0.6)
    assert seen.excess is not None
    assert low < seen.excess.value < high
    assert list(seen.confidence) == sorted(seen.confidence)


def good(**changes: object) -> ForecasterEvidence:
    ic = Skill(Interval(0.28, 0.2, 0.33), 0.27, 0.58, 700, 60.0, 0.5, {0: 0.28, 1: 0.27})
    sure = Reliability((0.5, 0.65), (0.5, 0.64), (100, 100), Interval(0.01, -0.02, 0.04))
    facts: dict[str, object] = {
        "trades": 900, "independent_trades": 450.0, "sharpe": 8.0, "psr": 0.999, "dsr": 0.99, "trials": 4,
        "pbo": 0.0, "spa": 0.001, "good_periods": 0.9, "stressed": 0.002, "drawdown": 0.04, "drawdown_limit": 0.1, "skill": ic,
        "reliability": sure, "mean_daily": 0.004, "baselines": {"momentum": -0.001, "buy and hold": 0.001},
        "ridge_correlation": 0.28, "champion_daily": None, "causal": (True, ""), "leaks": (),
        "caps": Caps(0.33, 0.61), "complete": True,
    }  # fmt: skip
    return ForecasterEvidence(**{**facts, **changes})  # type: ignore[arg-type]


LEAKY = Skill(Interval(0.6, 0.5, 0.7), 0.6, 0.7, 700, 90.0, 0.5, {0: 0.6, 1: 0.2})


@pytest.mark.parametrize(
    ("changes", "refusing"),
    [
        ({}, set()),
        ({"independent_trades": 199}, {"trades"}),
        ({"caps": Caps(0.33, 0.52)}, {"plausible_accuracy"}),
        ({"caps": Caps(0.33, 0.61, 5.0)}, {"plausible_sharpe"}),
        ({"leaks": None}, {"leak_suite"}),
        ({"leaks": ("L6 skill",)}, {"leak_suite"}),
        ({"sharpe": 0.9}, {"sharpe"}),
        ({"psr": 0.94}, {"psr"}),
        ({"dsr": 0.94}, {"dsr"}),
        ({"pbo": None}, {"pbo"}),
        ({"pbo": 0.2}, {"pbo"}),
        ({"spa": 0.05}, {"spa"}),
        ({"good_periods": 0.5}, {"good_periods"}),
        ({"stressed": 0.0}, {"costs_x1.5"}),
        ({"drawdown": 0.1}, {"drawdown"}),
        ({"skill": None}, {"correlation"}),
        ({"skill": LEAKY}, {"lag_decay", "plausible", "plausible_accuracy"}),
        ({"reliability": None}, {"calibration"}),
        ({"baselines": {"momentum": 0.005}}, {"baselines"}),
        ({"ridge_correlation": 0.32}, {"ridge"}),
        ({"champion_daily": (0.004, 0.005)}, {"champion"}),
        ({"champion_daily": (0.005, 0.004)}, set()),
        ({"causal": (False, "row 7")}, {"causal"}),
        ({"complete": False}, {"complete"}),
        ({"sharpe": float("nan")}, {"sharpe"}),
    ],
)
def test_forecaster_gates_table(changes: dict[str, object], refusing: set[str]) -> None:
    gates = forecaster_gates(good(**changes))
    assert {gate.name for gate in gates if not gate.passed} == refusing
    assert passed(gates) == (not refusing)
    assert all(name in why_refused(gates) for name in refusing)


def test_nothing_judged_is_not_passed() -> None:
    assert not passed([])


def test_policy_and_committee_gates() -> None:
    assert passed(policy_gates(PolicyEvidence(0.002, 0.001, 0.02, 500, 40)))
    for changed in (PolicyEvidence(0.002, -0.001, 0.02, 500, 40), PolicyEvidence(0.002, 0.001, -0.02, 500, 40),
                    PolicyEvidence(0.002, 0.001, 0.02, 3, 40)):  # fmt: skip
        assert not passed(policy_gates(changed))
    assert passed(committee_gates(CommitteeEvidence(90, 5.0, 0.99, 6, 0.001, True)))
    assert not passed(committee_gates(CommitteeEvidence(90, 5.0, 0.99, 6, -0.001, True)))


@pytest.mark.parametrize(
    ("market", "cap"),
    [("synthetic-7-0.3", 0.33), ("synthetic-1-0", 0.0), ("binanceusdm", 0.1), ("recorded-ab12cd34", 0.1)],
)
def test_plausible_correlation_follows_the_market(market: str, cap: float) -> None:
    assert plausible_correlation(market) == pytest.approx(cap)


def test_caps_on_a_real_market_hold_accuracy_at_short_horizons_and_sharpe() -> None:
    assert plausible_caps("binanceusdm", 3_600_000) == Caps(0.1, 0.56, 5.0)
    assert plausible_caps("binanceusdm", 4 * 3_600_000) == Caps(0.1, np.inf, 5.0)
    known = plausible_caps("synthetic-7-0.3", 4 * 3_600_000)
    assert known.accuracy == pytest.approx(0.5 + np.arcsin(0.33) / np.pi)
    assert known.sharpe == np.inf


def test_trades_of_one_horizon_count_as_what_moves_apart() -> None:
    hour = 3_600_000
    at_once = np.zeros(8, np.int64)
    assert independent_trades(at_once, hour, 0.0) == 8
    assert independent_trades(at_once, hour, 1.0) == pytest.approx(1)
    assert independent_trades(np.arange(8) * hour, hour, 1.0) == 8
    assert independent_trades(at_once, hour, 0.5) == pytest.approx(8 / 4.5)


def test_correlation_of_what_never_moves_is_nothing() -> None:
    assert correlation(np.zeros(10), np.arange(10.0)) == 0.0
