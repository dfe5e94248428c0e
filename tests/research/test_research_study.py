"""The market study on simulated markets of known truth, and what it says where there is nothing to estimate."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from study_panel import DAY, SIGMA, START_MS, daily_cycle, panel_of

import hydra_core
from hydra_core.domain.errors import InputMissing
from hydra_core.domain.intervals import DAY_MS, HOUR_MS
from hydra_core.domain.market import FIELD_NAMES, Panel
from hydra_core.research.study.events import (
    BAR_S,
    NEWEST_FORCED,
    ForcedOrders,
    clustering_of,
    cross_of,
    liquidations_of,
    moves_of,
)
from hydra_core.research.study.levels import changes_of, regimes_of
from hydra_core.research.study.market import forecasts_of, spikes_of
from hydra_core.research.study.one_pair import (
    PairBars,
    diffusion_of,
    diurnal_of,
    garch_of,
    jumps_of,
    share_of,
    volatility_of,
)
from hydra_core.research.study.plots import branching_picture, volatility_picture
from hydra_core.research.study.records import Duel, Estimate, Forecasts, Held, MarketStudy, PairStudy, Unknown
from hydra_core.research.study.study import study_market
from hydra_core.research.study.tables import markdown, tables_of
from hydra_core.statistics.processes import (
    cascading_events,
    hawkes_times,
    jump_returns,
    multi_hawkes,
    switching_returns,
    volatile_returns,
    walked_bars,
)

YEAR = math.sqrt(365 * DAY)


def bars_of(log_return: np.ndarray) -> PairBars:
    return PairBars.of(panel_of(log_return[:, None]), 0)


def inside(estimate: Estimate, truth: float, wide: float = 1.5) -> bool:
    """Whether the truth lies within the interval, widened a little: one seed is one draw."""
    assert estimate.error is not None
    return abs(estimate.value - truth) < 1.96 * wide * estimate.error


def test_every_estimator_of_volatility_finds_a_walk_of_known_volatility() -> None:
    """Fewer ticks a bar hide part of the range: the correction for them brings it back."""
    o, h, low, c = walked_bars(5, 40 * DAY, 60, SIGMA)
    bars = PairBars(START_MS + 300_000 * np.arange(o.size), o, h, low, c)
    found = volatility_of(bars, 60.0, "planted")
    assert found.days == 40
    assert inside(found.estimates["close to close"], SIGMA * YEAR)
    assert inside(found.estimates["Garman-Klass, ticks corrected"], SIGMA * YEAR, 2.0)
    for name in ("Parkinson", "Garman-Klass", "Rogers-Satchell", "Yang-Zhang"):
        assert 0.85 * SIGMA * YEAR < found.estimates[name].value < SIGMA * YEAR, name
    assert "Garman-Klass, ticks corrected" not in volatility_of(bars, None, "none").estimates
    assert inside(found.drift, 0.0)


def test_a_planted_time_of_day_is_found_and_takes_its_false_jumps_with_it() -> None:
    cycle = daily_cycle(60 * DAY, 0.75)
    bars = bars_of(cycle * np.random.default_rng(2).normal(0.0, SIGMA, cycle.size))
    found = diurnal_of(bars)
    truth = np.sqrt((cycle[:DAY].reshape(24, 12) ** 2).mean(axis=1))
    assert np.abs(np.array(found.hours) / (truth / np.sqrt((truth**2).mean())) - 1).max() < 0.12
    assert 13 <= found.peak_hour <= 16
    assert 1 <= found.quiet_hour <= 4
    jumps = jumps_of(bars)
    assert jumps.factored
    assert jumps.raw_flags_a_day > 5 * max(jumps.flags_a_day.value, 0.02)
    assert jumps.flags_a_day.value < 0.06
    assert jumps.share_5.low is not None
    assert jumps.share_5.low < 0.06 < (jumps.share_5.high or 0)


def test_planted_jumps_are_counted_and_described_within_their_errors() -> None:
    r, count = jump_returns(4, 60 * DAY, SIGMA, rate=2 / DAY, jump_mean=-0.004, jump_sigma=0.008)
    bars = bars_of(r)
    found = diffusion_of(bars)
    assert found.best in ("Merton", "Kou")
    assert found.bic["Merton"] < found.bic["none"] - 100
    assert inside(found.parameters["volatility"], SIGMA * YEAR, 2.0)
    if found.best == "Merton":
        assert inside(found.parameters["jumps a day"], 2.0, 2.0)
        assert inside(found.parameters["jump mean"], -0.004, 2.0)
        assert inside(found.parameters["jump deviation"], 0.008, 2.0)
    jumps = jumps_of(bars)
    large = (np.abs(r) > 7 * SIGMA) & (count > 0)
    assert jumps.flags_a_day.value == pytest.approx(large.sum() / 59.0, rel=0.25)
    assert jumps.share_1.value > 0.4
    assert all(abs(jump.log_return) > 4 * SIGMA for jump in jumps.newest)
    plain = diffusion_of(bars_of(np.random.default_rng(1).normal(0.0, SIGMA, 30 * DAY)))
    assert plain.best == "none"


def test_the_parameters_of_a_planted_garch_lie_in_their_intervals() -> None:
    rng, v, r = np.random.default_rng(8), SIGMA**2, np.empty(40 * DAY)
    shocks = rng.standard_t(6, r.size) / math.sqrt(6 / 4)
    for t in range(r.size):
        r[t] = math.sqrt(v) * shocks[t]
        v = 0.02 * SIGMA**2 + 0.08 * r[t] ** 2 + 0.90 * v
    found = garch_of(bars_of(r))
    assert inside(found.alpha, 0.08, 2.0)
    assert inside(found.beta, 0.90, 2.0)
    assert inside(found.degrees, 6.0, 2.0)
    assert found.half_life_h == pytest.approx(math.log(0.5) / math.log(0.98) / 12, rel=0.5)


@pytest.mark.parametrize("seed", [1, 2, 6])
def test_a_planted_change_of_volatility_is_dated_and_a_quiet_history_has_none(seed: int) -> None:
    rng = np.random.default_rng(seed)
    r = rng.normal(0.0, SIGMA, 40 * DAY)
    r[25 * DAY :] *= 1.8
    r[10 * DAY] = 0.03  # a single wild bar is no change of level
    found = changes_of(bars_of(r))
    (point,) = found.points
    assert abs(point.at_ms - (START_MS + 25 * DAY_MS)) <= 6 * HOUR_MS
    assert point.sure > 0.9
    assert point.after == pytest.approx(1.8 * SIGMA * YEAR, rel=0.1)
    assert found.fresh < 0.1
    assert changes_of(bars_of(rng.normal(0.0, SIGMA, 40 * DAY))).points == ()


def test_two_planted_changes_are_both_found_newest_first() -> None:
    r = np.random.default_rng(16).normal(0.0, SIGMA, 40 * DAY)
    r[12 * DAY : 26 * DAY] *= 2.0
    newest, older = changes_of(bars_of(r)).points
    assert abs(newest.at_ms - (START_MS + 26 * DAY_MS)) <= 6 * HOUR_MS
    assert abs(older.at_ms - (START_MS + 12 * DAY_MS)) <= 6 * HOUR_MS
    assert (newest.before, newest.after) == pytest.approx((2 * SIGMA * YEAR, SIGMA * YEAR), rel=0.1)
    assert newest.before == pytest.approx(older.after, rel=0.1)


def test_planted_regimes_are_found_and_beat_a_single_regime_garch_out_of_sample() -> None:
    """Scales in units of the base, which lies between them; the t-GARCH must fade where the chain switches."""
    dwell = np.array([[1 - 1 / 200, 1 / 200], [1 / 100, 1 - 1 / 100]])
    _, r = switching_returns(3, 60 * DAY, SIGMA * np.array([0.7, 2.8]), dwell, 6.0)
    panel = panel_of(r[:, None])
    half = 0.5 * np.abs(r[:, None])
    panel = replace(
        panel, high=np.maximum(panel.open, panel.close) * np.exp(half), low=np.minimum(panel.open, panel.close)
    )
    found, model = regimes_of(PairBars.of(panel, 0))
    assert found.scales == model.scales
    assert max(found.scales) / min(found.scales) > 2.5
    assert found.gain_over_garch.low is not None
    assert found.gain_over_garch.low > 0.0
    assert found.gain_over_live.value > 0.0
    assert sum(found.now) == pytest.approx(1.0)


def test_a_hawkes_process_of_known_branching_lies_in_the_interval_and_passes_its_residual_test() -> None:
    end = 4000.0
    times = hawkes_times(5, 0.1, 0.6, 0.5, end)
    found = clustering_of(times, end, 60.0, 1.0, "")
    assert found.branching.low is not None
    assert found.branching.high is not None
    assert found.branching.low < 0.6 < found.branching.high
    assert found.branching.high - found.branching.low < 0.4
    assert found.half_life_s == pytest.approx(60 * math.log(2) / 0.5, rel=0.5)
    assert found.over_poisson < 1e-6
    assert found.residual_p > 0.01
    poisson = np.sort(np.random.default_rng(4).uniform(0, end, 400))
    none = clustering_of(poisson, end, 60.0, 1.0, "")
    assert (none.branching.low, none.half_life_s) == (0.0, None)
    assert "no clustering beyond chance" in none.note
    regular = np.arange(1.0, 400.0) * 10.0
    assert clustering_of(regular, end, 60.0, 1.0, "").residual_p < 1e-6


def clustered_moves(seed: int, days: int, mu: float, branching: float, beta: float) -> np.ndarray:
    """Gaussian returns with a move of eight deviations in every bar that holds an event of a Hawkes process."""
    rng = np.random.default_rng(seed)
    r = rng.normal(0.0, SIGMA, days * DAY)
    rows = np.unique(hawkes_times(seed, mu, branching, beta, r.size).astype(int))
    r[rows] = 12 * SIGMA * rng.choice([-1.0, 1.0], rows.size)
    return r


def test_the_branching_of_planted_clusters_of_moves_is_seen_in_the_bars() -> None:
    """Several events of one bar are one move, so a little branching is lost; half of it must be there."""
    r = clustered_moves(7, 60, 0.005, 0.6, 0.1)
    found = moves_of(bars_of(r))
    assert found.branching.low is not None
    assert found.branching.low > 0.25
    assert found.branching.high is not None
    assert found.branching.high > 0.55
    assert found.half_life_s == pytest.approx(math.log(2) / 0.1 * BAR_S, rel=0.6)


def test_whose_moves_cause_whose_is_told_by_the_matrix() -> None:
    """One pair's moves cause the other's, never the other way round."""
    rng = np.random.default_rng(9)
    times, kinds, _ = multi_hawkes(9, np.array([0.012, 0.003]), np.array([[0.0, 0.0], [0.7, 0.0]]), 0.2, 60.0 * DAY)
    r = rng.normal(0.0, SIGMA, (60 * DAY, 2))
    r[times.astype(int), kinds] = 12 * SIGMA
    panel = panel_of(r)
    found = cross_of({pair: PairBars.of(panel, k) for k, pair in enumerate(panel.pairs)})
    first, second = (found.kinds.index(pair) for pair in panel.pairs)
    assert found.matrix[second][first] > 0.4
    assert found.matrix[first][second] < 0.2
    assert found.radius.value < 0.6
    assert sum(found.events.values()) < times.size
    with pytest.raises(InputMissing, match="1 pairs"):
        cross_of({panel.pairs[0]: PairBars.of(panel, 0)})


def test_liquidations_tell_their_sides_their_sizes_and_their_cascades() -> None:
    times, sizes, starts = cascading_events(11, 4.0, 12, mu=0.05, burst_s=30.0)
    rng = np.random.default_rng(1)
    forced = ForcedOrders((START_MS + 1000 * times).astype(np.int64), 1e4 * sizes, rng.random(times.size) < 0.5)
    found = liquidations_of("BTCUSDT", forced)
    assert found.clustering.events == NEWEST_FORCED < times.size
    assert found.clustering.over_poisson < 1e-6
    assert 0.45 < found.clustering.branching.value < 0.7
    assert found.matrix is not None
    assert found.radius is not None
    assert found.radius.value == pytest.approx(found.clustering.branching.value, abs=0.1)
    assert found.size_power == pytest.approx(0.3, abs=0.1)
    planted = starts[starts > times[-NEWEST_FORCED]]
    assert 0.6 * planted.size <= found.cascades <= planted.size
    begun = (np.array(found.newest_ms) - START_MS) / 1000
    assert all(((planted - 1 <= at) & (at < planted + 60)).any() for at in begun)
    with pytest.raises(InputMissing, match="no liquidations of BTCUSDT were recorded"):
        liquidations_of("BTCUSDT", None)
    with pytest.raises(InputMissing, match="20 liquidations of BTCUSDT"):
        liquidations_of("BTCUSDT", ForcedOrders(forced.times_ms[:20], forced.notional[:20], forced.long_side[:20]))


def test_the_league_ranks_models_on_a_market_of_two_volatility_factors() -> None:
    r = np.stack([volatile_returns(seed, 60)[0] for seed in (1, 2)], axis=1)
    panel = panel_of(r)
    found = forecasts_of(panel, {})
    assert found.rows == pytest.approx(0.3 * 60 * 24, abs=26)
    assert next(iter(found.losses)) in found.best_set
    assert found.losses["random walk"] > found.losses["log-HAR"]
    assert set(found.pairs) == set(panel.pairs)
    assert all(0 <= duel.p_value <= 1 for duel in found.logs_over_levels.values())
    assert set(found.intervals) == set(found.losses)
    assert set(found.pair_intervals) == set(panel.pairs)
    for held in (*found.intervals.values(), *found.pair_intervals.values()):
        assert held.share.low is not None
        assert held.share.high is not None
        assert held.share.low <= held.share.value <= held.share.high
        assert held.share.value == pytest.approx(0.9, abs=0.03)
        assert held.low < 1 < held.high
    # An hour after the first nineteen are known each of both pairs has one.
    assert found.intervals["log-HAR"].outcomes == 2 * (found.rows - 19)
    assert found.pair_intervals[panel.pairs[0]].outcomes == found.rows - 19
    wide, narrow = found.intervals["random walk"], found.intervals["log-HAR"]
    assert wide.high / wide.low > narrow.high / narrow.low
    with pytest.raises(InputMissing, match="too few to compare forecasts"):
        forecasts_of(panel.last(20 * DAY), {})


def test_a_planted_rise_of_correlation_is_one_spike_at_its_time() -> None:
    rng = np.random.default_rng(12)
    r = rng.normal(0.0, SIGMA, (14 * DAY, 4))
    at = 11 * DAY
    r[at : at + 36] = 0.15 * r[at : at + 36] + rng.normal(0.0, SIGMA, (36, 1))
    found = spikes_of(panel_of(r), {})
    (spike,) = found.newest
    assert found.count == 1
    first = START_MS + at * 300_000
    assert first <= spike.from_ms <= first + 3 * HOUR_MS
    with pytest.raises(InputMissing, match="1 pairs"):
        spikes_of(panel_of(r[:, :1]), {})


def parts(one: PairStudy) -> dict[str, object]:
    return {each.name: getattr(one, each.name) for each in fields(one) if each.name not in ("pair", "rows")}


@pytest.fixture(scope="module")
def lacking() -> MarketStudy:
    """Ten days: a pair that trades, one whose price never moves, one without a single candle."""
    r = np.random.default_rng(20).standard_t(5, (10 * DAY, 3)) * SIGMA
    r[:, 1] = 0.0
    panel = panel_of(r)
    gone = {name: getattr(panel, name).copy() for name in FIELD_NAMES}
    for values in gone.values():
        values[:, 2] = np.nan
    seen: list[tuple[int, int]] = []
    made = study_market(replace(panel, **gone), progress=lambda what, done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1] == (7, 7)
    return made


def test_a_market_that_stands_still_and_one_without_candles_are_told_so_in_every_part(lacking: MarketStudy) -> None:
    _, still, gone = lacking.pairs
    for part in parts(still).values():
        assert isinstance(part, Unknown)
        assert f"100% of the bars of {still.pair} did not move the price" in part.why
    for part in parts(gone).values():
        assert isinstance(part, Unknown)
        assert f"no candles of {gone.pair} in the span" in part.why


def test_a_short_history_says_part_by_part_what_it_lacks(lacking: MarketStudy) -> None:
    live = parts(lacking.pairs[0])
    known = {name for name, part in live.items() if not isinstance(part, Unknown)}
    assert known >= {"volatility", "diurnal", "jumps", "diffusion", "garch", "changes", "course"}
    why = lacking.unknown
    assert "no liquidations" in why[f"{lacking.pairs[0].pair}: liquidations"]
    assert "too few to compare forecasts" in why["forecasts"]
    assert "1 pairs" in why["cross"]
    assert "1 pairs" in why["spikes"]
    hours = study_market(panel_of(np.random.default_rng(1).normal(0.0, SIGMA, (100, 1))))
    assert "has 99 returns" in hours.unknown[f"{hours.pairs[0].pair}: volatility"]
    with pytest.raises(InputMissing, match="a panel of 0 bars"):
        study_market(panel_of(np.random.default_rng(1).normal(0.0, SIGMA, (100, 1))).last(0))


def test_what_is_written_down_is_plain_finite_and_the_same_each_time(lacking: MarketStudy) -> None:
    text = json.dumps(lacking.to_json(), allow_nan=False)
    told = json.loads(text)
    assert told["trading_rules_reading_this"] == 0
    assert told["pairs"][2]["volatility"]["unknown"].startswith("no candles")
    assert "course" not in text

    def panel() -> Panel:
        return panel_of(np.random.default_rng(5).standard_t(4, (8 * DAY, 2)) * SIGMA)

    assert study_market(panel()).to_json() == study_market(panel()).to_json()
    newest = study_market(panel(), rows=5 * DAY)
    assert (newest.rows, newest.until_ms) == (5 * DAY, START_MS + 8 * DAY_MS)


def test_tables_tell_what_intervals_held_beside_the_losses(lacking: MarketStudy) -> None:
    """The market that lacks a league is given one, and its tables tell the figures of it."""
    held = Held(Estimate.of(0.891, 0.004), 0.875, 0.55, 1.62, 1_000)
    losses, duel = dict.fromkeys(("HAR in levels", "log-HAR", "pooled log-HAR"), 0.25), {"BTCUSDT": Duel(0.1, 0.01)}
    league = Forecasts(
        rows=500,
        losses=losses,
        best_set=("log-HAR",),
        intervals=dict.fromkeys(losses, held),
        pairs={"BTCUSDT": losses},
        pair_intervals={"BTCUSDT": held},
        logs_over_levels=duel,
        pooled_over_logs=duel,
        left_out={},
    )
    study = replace(lacking, forecasts=league)
    tables = tables_of(study)
    model, pair = tables["models of the league"][1], tables["forecasts an hour ahead"][0]
    assert (model["model"], model["among the best"], model["in the wildest tenth"]) == ("log-HAR", "yes", "87.5%")
    for row in (model, pair):
        assert row["90 % interval holds"] == "89.1% (88.3% to 89.9%)"
        assert row["typical interval"] == "0.55 to 1.62 times the forecast volatility"
    told = json.loads(json.dumps(study.to_json(), allow_nan=False))["forecasts"]
    assert (
        told["intervals"]["log-HAR"]["share"]["value"] == told["pair_intervals"]["BTCUSDT"]["share"]["value"] == 0.891
    )


def test_tables_hold_every_part_with_the_same_columns_in_every_row(lacking: MarketStudy) -> None:
    tables = tables_of(lacking)
    assert {"volatility a year", "jumps", "diffusion", "GARCH(1,1)-t", "could not be estimated"} <= set(tables)
    for rows in tables.values():
        assert len({tuple(row) for row in rows}) == 1
        lines = markdown(rows).splitlines()
        assert len(lines) == len(rows) + 2
        assert len({line.replace("\\|", "").count("|") for line in lines}) == 1


def test_pictures_of_eight_pairs_stay_within_what_an_event_may_hold() -> None:
    """Eight pairs of lively courses, each in a regime and with changes, in a PNG below 50 kB."""
    panel = panel_of(np.random.default_rng(5).standard_t(3, (12 * DAY, 2)) * SIGMA)
    study = study_market(panel)
    wide = replace(study, pairs=study.pairs * 4)
    for draw in (volatility_picture, branching_picture):
        png = draw(wide)
        assert png is not None
        assert png.startswith(b"\x89PNG")
        assert 3_000 < len(png) < 50_000
    assert volatility_picture(replace(study, pairs=())) is None


def test_the_interval_of_a_share_is_wilsons() -> None:
    none = share_of(0, 50)
    assert (none.value, none.low) == (0.0, 0.0)
    assert none.high == pytest.approx(0.0713, abs=1e-3)
    assert share_of(50, 50).high == 1.0


def test_only_what_is_for_people_reads_the_study() -> None:
    """No seat, gate, risk rule or order: the commands, the orchestration and the report are all that import it."""
    root = Path(hydra_core.__file__).parent
    readers = {
        path.relative_to(root).parts[0]
        for path in root.rglob("*.py")
        if "research/study" not in path.as_posix() and "research.study" in path.read_text()
    }
    assert readers <= {"cli", "report"}
