"""What regimes gain over one regime: densities in one unit, nothing from the future, and markets where the answer is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import integrate, stats
from study_panel import DAY, SIGMA, panel_of

from hydra_core.domain.errors import InputMissing
from hydra_core.domain.intervals import HOUR_MS
from hydra_core.domain.pairs import Pair
from hydra_core.research.study.contests import LIVE, NAMES, RAW, SAME, STANDARDISED, Contest
from hydra_core.research.study.one_pair import PairBars
from hydra_core.research.study.regime_gain import (
    CAP,
    MOST_LOSS,
    PER,
    capped_variance,
    grid_of,
    judged_of,
    raw_log_density,
    regime_gains_of,
    told_by_garch,
    told_by_regimes,
    told_of,
)
from hydra_core.research.study.study import study_market
from hydra_core.research.study.tables import tables_of
from hydra_core.statistics.garch import Garch
from hydra_core.statistics.processes import switching_returns
from hydra_core.statistics.regimes import RegimeModel, sticky

CHAIN = RegimeModel((0.6, 1.0, 2.5), sticky((60.0, 40.0, 10.0)), 5.5)
GARCH = Garch(mean=1e-5, omega=0.05, alpha=0.1, gamma=0.0, beta=0.85, degrees=6.0, log_likelihood=0.0)
BTC = Pair("BTCUSDT")


def bars_of(log_return: np.ndarray) -> PairBars:
    return PairBars.of(panel_of(log_return[:, None]), 0)


def switching(seed: int, days: int) -> np.ndarray:
    """Regimes of an hour or two upon a level of volatility that wanders over days."""
    rng = np.random.default_rng(seed)
    dwell = np.array([[1 - 1 / 24, 1 / 24], [1 / 12, 1 - 1 / 12]])
    _, r = switching_returns(seed, days * DAY, SIGMA * np.array([0.5, 2.5]), dwell, 8.0)
    keep = math.exp(-1.0 / (5 * DAY))
    noise = rng.normal(0.0, 0.6 * math.sqrt(1 - keep**2), r.size)
    level = np.empty(r.size)
    level[0] = 0.0
    for t in range(1, r.size):
        level[t] = keep * level[t - 1] + noise[t]
    return np.asarray(r * np.exp(level))


def single(seed: int, days: int) -> np.ndarray:
    """A t-GARCH: one regime, whose variance fades."""
    rng = np.random.default_rng(seed)
    shocks = rng.standard_t(6, days * DAY) / math.sqrt(6 / 4)
    r, v = np.empty(shocks.size), SIGMA**2
    for t in range(r.size):
        r[t] = math.sqrt(v) * shocks[t]
        v = 0.02 * SIGMA**2 + 0.07 * r[t] ** 2 + 0.91 * v
    return r


def contest(log_return: np.ndarray) -> tuple[Contest, Contest]:
    """Of 5m and of 15m bars."""
    five, quarter = regime_gains_of({BTC: bars_of(log_return)}).pairs[BTC]
    return five, quarter


@pytest.mark.parametrize(("model", "start"), [(CHAIN, None), (GARCH, 1.0)])
def test_the_density_of_the_raw_return_integrates_to_one_and_so_does_its_every_scale(
    model: RegimeModel | Garch, start: float | None
) -> None:
    """Without the division by the scale the integral would be the scale: 0.0004 or 0.02."""
    rng = np.random.default_rng(3)
    before = SIGMA * np.exp(0.5 * rng.normal(size=40))
    past = before[:-1] * rng.standard_t(5, 39)
    for last in (0.0004, 0.02):
        scale = np.append(before[:-1], last)

        def density(x: float, scale: np.ndarray = scale) -> float:
            return math.exp(raw_log_density(model, np.append(past, x), scale, start)[-1])

        near, _ = integrate.quad(density, -20 * last, 20 * last, limit=200, epsabs=1e-10)
        far, _ = integrate.quad(density, 20 * last, 1e4 * last, limit=200, epsabs=1e-10)
        low, _ = integrate.quad(density, -1e4 * last, -20 * last, limit=200, epsabs=1e-10)
        assert near + far + low == pytest.approx(1.0, abs=1e-7)


def test_the_density_of_one_state_is_students_and_the_unit_of_the_scale_does_not_matter() -> None:
    rng = np.random.default_rng(5)
    before = SIGMA * np.exp(0.5 * rng.normal(size=200))
    r = before * rng.standard_t(5, 200)
    one = RegimeModel((1.3,), ((1.0,),), 5.0)
    reference = stats.t.logpdf(r, 5.0, scale=1.3 * before)
    np.testing.assert_allclose(raw_log_density(one, r, before), reference, rtol=1e-12)
    wider = replace(CHAIN, scales=tuple(scale / 50.0 for scale in CHAIN.scales))
    np.testing.assert_allclose(raw_log_density(CHAIN, r, before), raw_log_density(wider, r, 50.0 * before), rtol=1e-10)
    # A chain on raw returns is that on standardised ones whose scale never moves.
    raw = replace(CHAIN, scales=tuple(scale * SIGMA for scale in CHAIN.scales))
    np.testing.assert_allclose(
        raw_log_density(raw, r, np.ones(200)), raw_log_density(CHAIN, r, np.full(200, SIGMA)), rtol=1e-10
    )


def test_the_moving_average_counts_a_crash_with_four_deviations_and_a_gap_not_at_all() -> None:
    square = np.array([1.0, 3.0, 2.0, 1e6, np.nan, 4.0])
    found = capped_variance(square, 0.9, CAP**2, 2, 1e-12)
    assert math.isnan(found[0])
    third = 0.9 * 2.0 + 0.1 * 2.0
    fourth = 0.9 * third + 0.1 * CAP**2 * third
    np.testing.assert_allclose(found[1:], [2.0, third, fourth, fourth, 0.9 * fourth + 0.4], rtol=1e-12)
    woken = capped_variance(np.array([0.0, 0.0, 0.0, 5.0]), 0.9, CAP**2, 2, 1e-12)
    assert woken[-1] == pytest.approx(0.5)


def test_no_density_forecast_or_parameter_knows_what_comes_after() -> None:
    """Bars from the middle of the judged part on are replaced: every row before says the same to the last bit."""
    r = switching(4, 50)
    at = r.size - 6 * DAY
    other = r.copy()
    other[at:] = 3.0 * np.random.default_rng(9).standard_t(3, r.size - at) * SIGMA
    for per in PER:
        grids = [grid_of(bars_of(one), per) for one in (r, other)]
        # The bar that the first replaced return falls into closes at or after it.
        same = grids[0].close_ms <= bars_of(r).close_ms[at - 1]
        assert grids[0].cut < same.sum() < same.size
        (garch, mine, hours), (his_garch, his, his_hours) = (told_of(grid) for grid in grids)
        assert hours == his_hours
        for name in (*mine, ""):
            one, two = (garch, his_garch) if not name else (mine[name], his[name])
            np.testing.assert_array_equal(one.log_density[same], two.log_density[same], err_msg=name)
            np.testing.assert_array_equal(one.hour[same], two.hour[same], err_msg=name)
            assert not np.array_equal(one.log_density[~same], two.log_density[~same])
            assert one.dwell_h == two.dwell_h


def test_the_scale_of_a_bar_is_that_of_the_bars_before_it() -> None:
    r = single(2, 45)
    five, quarter = (grid_of(bars_of(r), per) for per in PER)
    wild = r.copy()
    wild[-1] = 0.2
    again = grid_of(bars_of(wild), 1)
    for hours in five.after:
        assert again.after[hours][-2] == five.after[hours][-2]
        assert again.after[hours][-1] > five.after[hours][-1]
        assert five.after[hours].size == five.log_return.size + 1
    for told, before in (
        (
            told_by_regimes(CHAIN, again, again.after[6.0]),
            raw_log_density(CHAIN, again.log_return, five.after[6.0][:-1]),
        ),
        (told_by_regimes(CHAIN, again, again.base), raw_log_density(CHAIN, again.log_return, five.base[:-1])),
    ):
        assert told.log_density[-1] == before[-1]
    garch = told_by_garch(again, again.after[6.0])
    same = told_by_garch(replace(again, after=five.after), five.after[6.0])
    assert garch.log_density[-1] == same.log_density[-1]
    assert garch.hour[-1] > same.hour[-1]
    # A quarter of an hour takes its scale from the 5m bars up to its open, times root three.
    rows = np.searchsorted(five.close_ms, quarter.close_ms[1:])
    np.testing.assert_allclose(quarter.after[6.0][2:], math.sqrt(3) * five.after[6.0][1:][rows], rtol=1e-12)
    np.testing.assert_allclose(
        quarter.log_return[-1], five.log_return[rows[-1] - 2 : rows[-1] + 1].sum(), rtol=1e-6, atol=1e-12
    )


def test_the_hour_ahead_is_the_mean_over_the_chains_next_steps() -> None:
    grid = grid_of(bars_of(single(2, 45)), 3)
    scale = grid.after[6.0]
    found = told_by_regimes(CHAIN, grid, scale)
    seen = CHAIN.filtered(grid.log_return / scale[:-1])
    spread = np.array(CHAIN.scales) ** 2 * 5.5 / 3.5
    for row in (100, 2000):
        now, total = seen[row], 0.0
        for _ in range(4):
            now = now @ np.array(CHAIN.transition)
            total += float(now @ spread) / 4
        assert found.hour[row] == pytest.approx(total * scale[row + 1] ** 2 / 3, rel=1e-12)
    assert found.dwell_h == pytest.approx((15.0, 10.0, 2.5))
    outcome = np.flatnonzero(np.isfinite(grid.outcome))
    assert (grid.close_ms[outcome] % HOUR_MS == 0).all()


def test_losses_are_judged_after_the_cut_and_no_hour_decides_alone() -> None:
    r = single(3, 45)
    r[-100] = 0.4
    grid = grid_of(bars_of(r), 1)
    ones = np.ones(grid.close_ms.size + 1)
    garch = told_by_garch(grid, ones)
    judged = judged_of(grid, garch, {RAW: garch})
    assert judged.close_ms[0] == grid.close_ms[grid.cut]
    assert np.nanmax(judged.loss[""]) == MOST_LOSS
    assert np.nanmax(np.abs(judged.gain[RAW])) == 0.0
    # The level of the fitted hours is divided out: their mean ratio is one, whatever a forecast's unit.
    doubled = judged_of(grid, garch, {RAW: replace(garch, hour=2.0 * garch.hour)})
    np.testing.assert_allclose(doubled.loss[RAW], judged.loss[""], rtol=1e-9)


def test_standardised_regimes_beat_one_regime_where_there_are_regimes() -> None:
    """Upon a level that wanders, raw returns' scales are those of the fitted days."""
    five, _ = contest(switching(1, 60))
    gain = {name: found.over_garch for name, found in five.contenders.items()}
    assert set(gain) == set(NAMES)
    assert gain[STANDARDISED].low is not None
    assert gain[STANDARDISED].low > 0.01
    assert gain[STANDARDISED].value > gain[RAW].value + 0.01
    assert gain[STANDARDISED].value > gain[SAME].value + 0.01
    assert five.contenders[STANDARDISED].hour.gain > 0
    assert five.contenders[STANDARDISED].hour.p_value < 0.05
    assert five.judged_rows == pytest.approx(0.3 * (five.judged_rows + five.fitted_rows), abs=1)


def assert_nothing_gained(found: Contest) -> None:
    for name in (RAW, STANDARDISED, SAME):
        gain = found.contenders[name].over_garch
        assert gain.low is not None
        assert gain.low <= 0.0, name
        assert gain.value < 0.002, name


def test_nothing_beats_a_t_garch_where_the_market_is_one() -> None:
    five, _ = contest(single(1, 60))
    assert_nothing_gained(five)
    assert five.contenders[LIVE].over_garch.value < 0.0


def test_what_5m_bars_tell_of_a_quarter_of_an_hour_is_no_gain_of_regimes() -> None:
    """The average of 5m returns knows more than a t-GARCH of 15m ones, where there is one regime and everywhere."""
    _, quarter = contest(single(5, 104))
    assert quarter.contenders[STANDARDISED].over_garch.value > 0.005
    assert quarter.regimes_own.error is not None
    assert abs(quarter.regimes_own.value) < 2.5 * quarter.regimes_own.error
    alone = quarter.contenders[STANDARDISED].over_garch.value - quarter.contenders[SAME].over_garch.value
    assert quarter.regimes_own.value == pytest.approx(alone, abs=1e-12)


# Not 4: the t-GARCH of its bars does not converge, and a pair without one is left out.
@pytest.mark.long
@pytest.mark.parametrize("seed", [2, 3, 5, 6, 7, 8, 9])
def test_over_seeds_the_standardised_gain_where_there_are_regimes_and_not_where_there_are_none(seed: int) -> None:
    for one in contest(switching(seed, 104)):
        gain = {name: found.over_garch for name, found in one.contenders.items()}
        assert gain[STANDARDISED].value > gain[RAW].value
        assert gain[STANDARDISED].low is not None
        assert gain[STANDARDISED].low > 0.0
        assert one.regimes_own.low is not None
        assert one.regimes_own.low > 0.0
    five, quarter = contest(single(seed, 104))
    assert_nothing_gained(five)
    assert quarter.regimes_own.low is not None
    assert quarter.regimes_own.low <= 0.0


def test_pairs_without_the_days_are_named_and_the_tables_show_the_others() -> None:
    panel = panel_of(np.stack([single(1, 48), single(2, 48), single(3, 48)], axis=1))
    for values in (panel.open, panel.high, panel.low, panel.close):
        values[: 20 * DAY, 1] = np.nan
        values[-3 * DAY : -3 * DAY + 60, 2] = np.nan
    first, late, gapped = panel.pairs
    found = regime_gains_of({pair: PairBars.of(panel, column) for column, pair in enumerate(panel.pairs)})
    assert list(found.left_out) == [late]
    assert "bars with a known scale" in found.left_out[late]
    assert "At least 40 days" in found.left_out[late]
    assert [one.minutes for one in found.together] == [5, 15]
    for place, every in enumerate(found.together):
        one, other = (found.pairs[pair][place] for pair in (first, gapped))
        # Five hours without candles are not judged; the moments of all pairs are those of either.
        gap = 60 // PER[place]
        assert gap <= one.judged_rows - other.judged_rows <= gap + 1
        assert every.judged_rows == one.judged_rows
        gains = [each.contenders[STANDARDISED].over_garch.value for each in (one, other)]
        assert min(gains) <= every.contenders[STANDARDISED].over_garch.value <= max(gains)
    with pytest.raises(InputMissing, match="no pair has candles"):
        regime_gains_of({})


def test_the_study_shows_the_gains_as_two_tables_or_says_why_not() -> None:
    study = study_market(panel_of(single(1, 8)[:, None]))
    assert "bars with a known scale" in study.unknown["regime_gains"]
    assert not any(title.startswith("regimes against") for title in tables_of(study))
    found = regime_gains_of({BTC: bars_of(single(1, 46))})
    shown = replace(study, regime_gains=replace(found, left_out={"XRPUSDT": "too few bars"}))
    tables = tables_of(shown)
    assert {"what": "XRPUSDT: regime_gains", "why": "too few bars"} in tables["could not be estimated"]
    densities = tables["regimes against one t-GARCH, nats a bar"]
    hours = tables["regimes against one t-GARCH, an hour ahead"]
    assert [(row["pair"], row["bars"]) for row in densities] == [
        (pair, bars) for bars in ("5m", "15m") for pair in ("all", BTC)
    ]
    contenders = found.pairs[BTC][0].contenders
    for name in NAMES:
        assert densities[1][name].startswith(f"{contenders[name].over_garch.value:.4f} (")
        assert hours[1][f"{name}: QLIKE gained"] == f"{contenders[name].hour.gain:.4f}"
        assert hours[1][f"{name}: p"] == f"{contenders[name].hour.p_value:.2g}"
    assert densities[3][LIVE] == hours[3][f"{LIVE}: p"] == ""
    assert densities[1]["its regimes' dwell, h"].count(",") == 2
    for rows in (densities, hours):
        assert len({tuple(row) for row in rows}) == 1
