"""Markets of known optimum are what they say; the rows of ``hydra bench truth`` are judged, kept and resumed."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hydra_core.domain.errors import UsageError
from hydra_core.research.truth import bench, histories, measures, optimum, planted, rows
from hydra_core.research.truth.measures import Reading

ROWS = 60_000


def ic(a, b):
    return float(np.corrcoef(a, b)[0, 1])


@pytest.mark.parametrize(("rho", "accuracy"), [(0.03, 0.5096), (0.05, 0.5159), (0.10, 0.5319)])
def test_the_best_accuracy_is_the_notes(rho: float, accuracy: float) -> None:
    assert optimum.best_accuracy(rho) == pytest.approx(accuracy, abs=5e-5)
    assert optimum.correlation_of_accuracy(optimum.best_accuracy(rho)) == pytest.approx(rho)


def test_claims_refute_themselves() -> None:
    """92 % right signs are a correlation of .97, an annual Sharpe ratio of 251 on 5m bars with the sign bet."""
    claimed = optimum.correlation_of_accuracy(0.92)
    assert claimed == pytest.approx(0.97, abs=0.005)
    by_sign = math.sqrt(2 / math.pi) * claimed
    assert by_sign / math.sqrt(1 - by_sign**2) * math.sqrt(365 * 288) == pytest.approx(395, rel=0.05)


def test_log_scores_are_those_of_the_true_probability() -> None:
    rng = np.random.default_rng(1)
    signal = rng.standard_normal(400_000)
    chance = optimum.rise_probability(signal, 0.3)
    loss = -(chance * np.log(chance) + (1 - chance) * np.log(1 - chance)).mean()
    assert optimum.best_log_loss(0.3) == pytest.approx(loss, abs=2e-4)
    assert optimum.LN2 - optimum.best_log_loss(0.03) == pytest.approx(0.03**2 / math.pi, rel=0.01)
    assert optimum.information(0.05) == pytest.approx(0.05**2 / 2, rel=0.01)
    assert optimum.log_share(optimum.best_log_loss(0.1), optimum.best_log_loss(0.1)) == pytest.approx(1)
    assert optimum.log_share(optimum.LN2, optimum.best_log_loss(0.1)) == 0


@pytest.mark.parametrize(("rho", "share"), [(0.05, 0.975), (0.03, 0.934)])
def test_what_least_squares_keeps(rho: float, share: float) -> None:
    assert optimum.expected_share(rho, 20, 150_000) == pytest.approx(share, abs=0.002)


# Mean |s| of all of a normal signal, of its largest tenth, of its largest hundredth.
ALL, TENTH, HUNDREDTH = math.sqrt(2 / math.pi), 2.0627, 2.8919
BREAKEVEN = {
    13.9: {(10, ALL): 0.90, (4, ALL): 0.36, (10, TENTH): 0.35, (10, HUNDREDTH): 0.25},
    48.0: {(10, ALL): 0.26, (4, ALL): 0.10, (10, TENTH): 0.10, (10, HUNDREDTH): 0.072},
    96.0: {(10, ALL): 0.13, (4, ALL): 0.052, (10, TENTH): 0.050, (10, HUNDREDTH): 0.036},
    235.0: {(10, ALL): 0.053, (4, ALL): 0.021, (10, TENTH): 0.021, (10, HUNDREDTH): 0.015},
}


@pytest.mark.parametrize("sigma", BREAKEVEN)
def test_breakeven_correlations(sigma: float) -> None:
    """The whole table from 5 minutes to a day, as far as its two digits go."""
    for (cost, size), needed in BREAKEVEN[sigma].items():
        assert optimum.breakeven_correlation(cost, sigma, size) == pytest.approx(needed, abs=max(6e-4, 0.046 * needed))


@pytest.mark.parametrize(("accuracy", "sharpe"), [(0.92, 251), (0.75, 183), (0.88, 241)])
def test_what_a_claimed_accuracy_would_earn(accuracy: float, sharpe: float) -> None:
    """Annual Sharpe ratio of betting on 5m signs at first order, sqrt(2 / pi) times the correlation a bar."""
    a_bar = math.sqrt(2 / math.pi) * optimum.correlation_of_accuracy(accuracy)
    assert a_bar * math.sqrt(365 * 288) == pytest.approx(sharpe, abs=0.6)


def test_bets_on_a_signal_earn_its_correlation_a_bar() -> None:
    """Of 400,000 bars: a bet as large as the signal .1 standard deviations a bar, a bet on its sign .0798; three errors."""
    rng = np.random.default_rng(5)
    signal = rng.standard_normal(400_000)
    came = 0.1 * signal + math.sqrt(0.99) * rng.standard_normal(signal.size)
    for bet, known in ((signal * came, 0.1), (np.sign(signal) * came, 0.1 * ALL)):
        assert bet.mean() / bet.std() == pytest.approx(known, abs=3 / math.sqrt(signal.size) + 0.001)


@pytest.mark.parametrize("kind", [kind for kind in planted.KINDS if kind != "null"])
def test_the_planted_signal_is_worth_what_it_says(kind: str) -> None:
    found = [planted.plant(kind, 0.2, ROWS, seed) for seed in range(3)]
    assert np.mean([ic(one.signal, one.scaled) for one in found]) == pytest.approx(
        np.mean([one.rho for one in found]), abs=0.02
    )
    assert np.mean([one.signal.var() for one in found]) == pytest.approx(1, abs=0.15)
    assert np.mean([one.scaled.var() for one in found]) == pytest.approx(1, abs=0.06)
    one = found[0]
    assert one.observables.shape == (ROWS, 19)
    assert np.isfinite(one.observables).all()
    np.testing.assert_allclose(one.returns, one.sigma * one.scaled)
    if kind in ("linear", "interaction", "rare"):
        residual = one.scaled - one.rho * one.signal
        assert abs(ic(residual, one.signal)) < 4 / math.sqrt(ROWS)
        assert residual.var() == pytest.approx(1 - one.rho**2, abs=0.03)


def test_mechanisms_are_functions_of_the_observables() -> None:
    columns = {name: k for k, name in enumerate(planted.OBSERVABLES)}
    linear = planted.plant("linear", 0.2, 5_000, 1)
    three = sum(linear.observables[:, columns[f"return_{k}"]] for k in (1, 2, 3))
    assert ic(-three, linear.signal) > 0.999
    crossed = planted.plant("interaction", 0.2, 5_000, 1)
    product = crossed.observables[:, columns["funding"]] * crossed.observables[:, columns["open_interest"]]
    np.testing.assert_allclose(-product, crossed.signal, atol=1e-4)
    rare = planted.plant("rare", 0.2, 200_000, 1)
    assert (rare.signal != 0).mean() == pytest.approx(planted.rare_share(), abs=0.01)


def test_the_signal_turns_with_the_regime_and_with_time() -> None:
    columns = {name: k for k, name in enumerate(planted.OBSERVABLES)}

    def three(one: planted.Planted):
        return sum(one.observables[:, columns[f"return_{k}"]] for k in (1, 2, 3))

    drift = planted.plant("drift", 0.2, ROWS, 2)
    half = ROWS // 2
    assert ic(three(drift)[:half], drift.scaled[:half]) < -0.1
    assert ic(three(drift)[half:], drift.scaled[half:]) > 0.1
    regime = planted.plant("regime", 0.2, ROWS, 2)
    rising = np.sign(three(regime) * regime.signal) > 0
    assert regime.sigma[rising].mean() > 1.6 * regime.sigma[~rising].mean()


def test_the_null_market_tells_nothing_and_draws_repeat() -> None:
    null = planted.plant("null", 0.1, ROWS, 3)
    assert null.rho == 0
    found = [abs(ic(column, null.scaled)) for column in null.observables.T]
    assert max(found) < 4.5 / math.sqrt(ROWS)
    again = planted.plant("null", 0.1, ROWS, 3)
    assert np.array_equal(null.observables, again.observables)
    assert not np.array_equal(null.scaled, planted.plant("null", 0.1, ROWS, 4).scaled)
    for kind, rho in (("nothing", 0.1), ("linear", 1.0)):
        with pytest.raises(UsageError):
            planted.plant(kind, rho, 100, 1)


@pytest.mark.parametrize("kind", histories.NULLS)
def test_null_histories_have_candles_and_no_direction(kind: str) -> None:
    recorded = 0.01 * np.random.default_rng(0).standard_t(3, (9_000, 3)) if kind == "signs" else None
    made = histories.history(kind, 12_000, 5, pairs=3, recorded=recorded)
    panel = made.panel
    assert (panel.high >= np.maximum(panel.open, panel.close)).all()
    assert (panel.low <= np.minimum(panel.open, panel.close)).all()
    np.testing.assert_allclose(panel.open[1:], panel.close[:-1])
    moves = np.diff(np.log(panel.close), axis=0)
    assert abs(ic(moves[1:, 0], moves[:-1, 0])) < 5 / math.sqrt(len(moves))
    for column in range(made.features.shape[2]):
        assert abs(ic(made.features[:-1, 0, column], moves[:, 0])) < 5 / math.sqrt(len(moves))
    if kind != "gaussian":
        assert ic(np.abs(moves[1:, 0]), np.abs(moves[:-1, 0])) > 0.02 or kind == "signs"
    assert (made.best == 0).all()


def test_random_signs_keep_sizes_and_need_a_record() -> None:
    recorded = 0.01 * np.random.default_rng(1).standard_t(3, (4_000, 2))
    made = histories.history("signs", 4_000, 2, pairs=2, recorded=recorded)
    moves = np.diff(np.log(made.panel.close), axis=0)
    assert set(np.round(np.abs(moves).ravel(), 10)) <= set(np.round(np.abs(recorded).ravel(), 10))
    with pytest.raises(UsageError, match="recorded"):
        histories.history("signs", 4_000, 2)


def test_the_planted_history_has_the_correlation_asked_for() -> None:
    rho, horizon = 0.2, 12
    found = []
    for seed in range(4):
        made = histories.history(histories.PLANTED, 20_000, seed, rho=rho, horizon=horizon)
        path = np.log(made.panel.open)
        ahead = path[1 + horizon :] - path[1:-horizon]
        found += [ic(made.best[: len(ahead), pair], ahead[:, pair]) for pair in range(4)]
    assert np.mean(found) == pytest.approx(rho, abs=0.02)


SPEC = replace(rows.ROWS[0], key="test", name="a row", seeds=3, quick=2, size=10, quick_size=5)


def test_a_full_run_judges_the_mean_a_quick_one_what_is_not_excluded() -> None:
    readings = [Reading(0.9, 1.0, 0.94, 0.02), Reading(0.9, 1.0, 0.94, 0.02)]
    assert not rows.combine(SPEC, readings, quick=False).holds
    assert rows.combine(SPEC, readings, quick=True).holds
    far = [Reading(0.5, 1.0, 0.5, 0.02)] * 2
    assert not rows.combine(SPEC, far, quick=True).holds
    most = replace(SPEC, sense="most", goal=0.8)
    assert rows.combine(most, [Reading(1, 1, 0.79)] * 3, quick=False).holds
    assert not rows.combine(most, [Reading(1, 1, 0.81)] * 3, quick=False).holds


def test_what_a_row_is_shown_beside_is_the_mean_of_its_notes() -> None:
    readings = [Reading(0.5, 0.6, 0.9, 0.02, {"oracle": value, "other": 1}) for value in (0.7, 0.8)]
    made = rows.combine(replace(SPEC, beside=("oracle",)), readings, quick=True)
    assert made.to_json()["beside"] == {"oracle": pytest.approx(0.75)}
    assert rows.combine(SPEC, readings, quick=True).beside == {}


def test_successes_have_an_exact_interval() -> None:
    assert rows.binomial_interval(0, 10) == pytest.approx((0, 0.3085), abs=1e-4)
    assert rows.binomial_interval(10, 10) == pytest.approx((0.6915, 1), abs=1e-4)
    assert rows.binomial_interval(5, 10) == pytest.approx((0.1871, 0.8129), abs=1e-4)
    counted = replace(SPEC, count=True, sense="most", goal=0.01)
    one = [Reading(1, 1, 1.0), *[Reading(0, 1, 0.0)] * 9]
    assert rows.combine(counted, one, quick=True).holds  # one of ten does not exclude one of a hundred
    assert not rows.combine(counted, one, quick=False).holds


def test_readings_are_kept_and_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def measure(seed: int, size: int) -> Reading:
        asked.append((seed, size))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return Reading(float(seed), 1.0, 0.96, notes={"kind": "x"})

    monkeypatch.setattr(bench, "ROWS", (replace(SPEC, measure=measure),))
    plan = bench.Plan.of(seeds=(5,))
    with pytest.raises(KeyboardInterrupt):
        bench.measure(plan, tmp_path, jobs=1)
    told: list[tuple[int, int]] = []
    made = bench.measure(plan, tmp_path, jobs=1, progress=lambda what, done, total: told.append((done, total)))
    assert asked == [(5, 10), (6, 10), (6, 10), (7, 10)]
    assert told[0] == (1, 3)
    assert told[-1] == (3, 3)
    assert [row.ours for row in made.rows] == [6.0]
    assert made.rows[0].to_json().keys() >= {"name", "ours", "reference", "ratio", "goal", "holds"}
    bench.measure(plan, tmp_path, jobs=1, fresh=True)
    assert len(asked) == 7


def test_a_plan_knows_its_seeds_and_sizes() -> None:
    plan = bench.Plan.of(quick=True, seeds=(9, 11, 20), only=("linear",))
    assert [spec.key for spec in plan.rows] == ["linear"]
    assert plan.seeds_of(SPEC) == (9, 11)
    assert plan.size_of(SPEC) == 5
    assert bench.Plan.of(seeds=(9,)).seeds_of(SPEC) == (9, 10, 11)
    with pytest.raises(UsageError, match="no row named nonsense"):
        bench.Plan.of(only=("nonsense",))
    assert len({spec.key for spec in rows.ROWS}) == len(rows.ROWS)


def test_reversed_time_and_the_embargo_tell_honest_from_planted() -> None:
    assert measures.reversed_share(1, 4_000).value == 1.0
    assert measures.embargo_flat(1, 6_000).value == 1.0


def test_the_error_of_a_share_is_the_spread_over_draws() -> None:
    rng = np.random.default_rng(6)

    def draw(seed: int) -> tuple[float, float]:
        own = np.random.default_rng(seed)
        best = own.standard_normal(40_000)
        said = best + own.standard_normal(40_000)
        came = 0.1 * best + own.standard_normal(40_000)
        value = ic(said, came) / ic(best, came)
        return value, measures._quotient_error(said, best, came, seed)

    found = [draw(int(seed)) for seed in rng.integers(0, 10**6, 30)]
    assert np.mean([error for _, error in found]) == pytest.approx(np.std([value for value, _ in found]), rel=0.35)
