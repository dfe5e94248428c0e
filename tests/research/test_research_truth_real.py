"""Recorded history beside plain rivals: what is known is causal, costs are paid, what is too good raises the audit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from real_history import FOLDER, needs

from hydra_core.domain.errors import InputMissing, UsageError
from hydra_core.domain.intervals import DAY_MS, HOUR_MS, Interval
from hydra_core.domain.market import Panel
from hydra_core.research.audit.causality import prefix_invariant
from hydra_core.research.evaluation import implied_chance
from hydra_core.research.trials import lockbox_ledger
from hydra_core.research.truth import bench, measures, realdata, recorded, rivals, rows
from hydra_core.research.truth.histories import candles
from hydra_core.research.truth.measures import Reading
from hydra_core.research.truth.recorded import LONGEST, Recorded
from hydra_core.statistics.league import OURS, League

HOURS = 14_000


def panel_of(hours: int, seed: int, pull: float = 0.0) -> Panel:
    """Three pairs of hourly candles; with ``pull`` each move takes back that share of the one before."""
    rng = np.random.default_rng(seed)
    noise = 0.006 * (0.7 * rng.standard_normal((hours, 3)) + 0.7 * rng.standard_normal((hours, 1)))
    moves = noise.copy()
    for row in range(1, hours):
        moves[row] -= pull * moves[row - 1]
    made = candles(moves, rng)
    return replace(made, funding_rate=np.full(made.close.shape, 1e-4))


def history_of(panel: Panel, sealed_from: int | None = None) -> Recorded:
    features, names, sigma = recorded.describe(panel)
    return Recorded(panel, names, features, sigma, len(panel) if sealed_from is None else sealed_from)


@pytest.fixture(scope="module")
def turning() -> Recorded:
    return history_of(panel_of(HOURS, 4, pull=0.15))


def test_every_hourly_feature_is_causal_and_known_after_its_look_back() -> None:
    panel = panel_of(4_200, 3)

    def features(part: Panel) -> dict[str, np.ndarray]:
        made, names, _ = recorded.describe(part)
        return {name: made[:, :, k] for k, name in enumerate(names)}

    lines = prefix_invariant(features, panel, LONGEST + 700, rows=1, seed=1)
    assert len(lines) > 40
    assert [line for line in lines if not line.clean] == []
    made, _, sigma = recorded.describe(panel)
    assert np.isfinite(made[LONGEST:]).all()
    assert np.isfinite(sigma[LONGEST:]).all()


def test_the_finest_candles_of_a_folder_are_read_from_their_first_on(tmp_path: Path) -> None:
    """What a venue would keep of them is less: it begins with the days before paper trading."""
    count = 40 * 288
    rng = np.random.default_rng(9)
    stamps = pl.Series("ts", DAY_MS * 20_000 + 300_000 * np.arange(count)).cast(pl.Datetime("ms", "UTC"))
    (tmp_path / "candles" / "5m").mkdir(parents=True)
    for pair in ("BTCUSDT", "ETHUSDT"):
        close = np.round(1e3 * np.exp(np.cumsum(rng.normal(0, 1e-3, count))), 1)
        prices = dict.fromkeys(("open", "high", "low", "close"), close)
        frame = pl.DataFrame({"ts": stamps, **prices, "volume": np.ones(count)})
        frame.write_parquet(tmp_path / "candles" / "5m" / f"{pair}.parquet")
    panel = recorded.hours(tmp_path, Interval.M5)
    assert (len(panel), int(panel.ts[0])) == (count, DAY_MS * 20_000)


def test_a_later_history_goes_on_where_the_first_one_ends() -> None:
    panel = panel_of(3_000, 3)
    first, after = panel.rows(slice(0, 2_000)), panel.rows(slice(1_900, 3_000))
    np.testing.assert_array_equal(recorded.joined(first, after).close, panel.close)
    with pytest.raises(InputMissing, match="nothing that is later"):
        recorded.joined(first, panel.rows(slice(0, 1_500)))


def test_what_takes_back_is_found_by_those_who_learn(turning: Recorded) -> None:
    train, test = np.arange(8_500, 11_000), np.arange(11_100, HOURS - 3)
    label = turning.label(1)[test]
    for name in ("ridge", "logistic", "LightGBM C"):
        said = rivals.rivals()[name](turning, 1, train, test)
        known = np.isfinite(said) & np.isfinite(label)
        assert np.corrcoef(said[known], label[known])[0, 1] > 0.05, name
    known = np.isfinite(label)
    assert np.corrcoef(rivals.momentum(turning, 1, test)[known], label[known])[0, 1] < -0.05


def test_the_rule_enters_beyond_the_round_trip_and_leaves_where_the_sign_turns() -> None:
    history = history_of(panel_of(3_000, 5))
    at = np.arange(2_500, 2_506)
    sigma = history.sigma[at]
    wanted = np.array([0.5, 2.0, 0.3, -0.3, -2.0, 0.1])  # in round trips
    said = np.repeat(wanted[:, None], 3, axis=1) * rivals.ROUND_TRIP / sigma
    held = 3 * rivals.by_forecast(history, at, said, 1)
    np.testing.assert_array_equal(held[:, 0], [0, 1, 1, 0, -1, 0])


def test_a_trade_pays_for_every_change_and_for_funding() -> None:
    """Bought once and held for three days: one change of position, and every settlement."""
    history = history_of(panel_of(3_000, 6))
    panel = history.panel
    start = int(np.flatnonzero((panel.close_ms % DAY_MS == HOUR_MS) & (np.arange(3_000) > 2_500))[0])
    at = np.arange(start, start + 72)
    shares = np.ones((72, 3)) / 3
    made = rivals.trade(history, at, shares)
    moves = (panel.open[at + 2] / panel.open[at + 1] - 1).mean(axis=1).sum()
    settled = int((panel.ts[at + 2] % (8 * HOUR_MS) == 0).sum())
    assert made.bp_a_day * 3 == pytest.approx(1e4 * (moves - rivals.SIDE_COST - settled * 1e-4), abs=1e-6)
    assert made.turnover == pytest.approx(1 / 3)
    idle = rivals.trade(history, at, np.zeros((72, 3)))
    assert (idle.sharpe, idle.error) == (0.0, 0.0)


def test_quarters_begin_with_months_and_leave_a_year_to_learn_from(turning: Recorded) -> None:
    starts = realdata.quarter_starts(turning, 2)
    stamps = turning.panel.ts[starts].astype("datetime64[ms]")
    assert (stamps == stamps.astype("datetime64[M]")).all()
    assert starts.size == 2
    sealed = realdata.quarter_starts(replace(turning, sealed_from=10_000), 1)
    assert sealed[0] == 10_000
    assert (np.diff(sealed) > 24 * 60).all()
    with pytest.raises(InputMissing, match="before the first test"):
        realdata.quarter_starts(turning, 9)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, turning: Recorded) -> Recorded:
    monkeypatch.setattr(recorded, "read", lambda folder, later: turning)
    all_of_them = rivals.rivals()
    two = {"ridge": all_of_them["ridge"], "LightGBM A": all_of_them["logistic"]}  # a forest would take its time
    monkeypatch.setattr(rivals, "rivals", lambda: two)
    return turning


Told = tuple[np.ndarray, np.ndarray]


def as_ridge(history: Recorded, horizon: int, train: np.ndarray, test: np.ndarray, seed: int) -> Told:
    said = rivals.rivals()["ridge"](history, horizon, train, test)
    return said, implied_chance(2 * said)


def test_a_reading_holds_everybody_on_the_same_rows(quick: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(realdata, "hydra_forecast", as_ridge)
    made = realdata.real_row(Path("x"), None)(1, 1)
    assert made.ours == pytest.approx(made.notes["skill"]["1h"]["ridge"]["correlation"][0])
    assert made.value <= 0 or made.notes["best"]["IC"] == "LightGBM A"
    assert set(made.notes["parts"]) == {"loss", "sharpe", "leaks"}
    hour = made.notes["skill"]["1h"]
    assert made.notes["parts"]["loss"]["ours"] == hour[realdata.OURS]["log_loss_skill"][0]
    assert hour[realdata.OURS]["log_loss_skill"] != hour["ridge"]["log_loss_skill"]  # of the chance, not of the mean
    assert {"buy and hold", "carry 7d", realdata.OURS} <= set(made.notes["traded"])
    assert made.notes["traded"]["buy and hold"]["error"] > 0
    assert all(abs(value) <= 1 for value in made.notes["by month"].values())


def test_a_figure_too_good_to_be_true_raises_the_audit(quick: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    def knows(history: Recorded, horizon: int, train: np.ndarray, test: np.ndarray, seed: int) -> Told:
        noise = np.random.default_rng(seed).standard_normal((test.size, 3))
        said = np.nan_to_num(history.label(horizon)[test]) * 0.3 + noise
        return said, implied_chance(said)

    monkeypatch.setattr(realdata, "hydra_forecast", knows)
    found = realdata.real_row(Path("x"), None)(1, 1).notes
    assert found["parts"]["leaks"]["value"] >= 2
    assert any("above" in line for line in found["leaks"])
    assert any("later" in line or "lag" in line.lower() or "L6" in line for line in found["leaks"])


SPEC = replace(rows.ROWS[0], key="real", name="real data: a", measure=None, seeds=1, quick=1, size=3)


def test_rows_on_history_share_one_reading_and_are_absent_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Path, Path | None]] = []
    parts = {"b": {"ours": 2.0, "reference": 1.0, "value": -0.5, "error": 0.4}}

    def on(data: Path, later: Path | None):
        asked.append((data, later))
        return lambda seed, size: Reading(1.0, 2.0, 0.5, 0.1, {"parts": parts})

    whole = replace(SPEC, recorded=on, goal=0.0)
    part = replace(whole, key="real/b", name="real data: b", part="b")
    monkeypatch.setattr(bench, "ROWS", (whole, part))
    bare = bench.measure(bench.Plan.of(), tmp_path, jobs=1)
    assert bare.rows == ()
    assert set(bare.absent) == {whole.name, part.name}
    assert "--data" in bare.absent[part.name]
    made = bench.measure(bench.Plan.of(data=tmp_path, only=("real/b",)), tmp_path, jobs=1)
    assert [(row.name, row.ours, row.holds) for row in made.rows] == [(part.name, 2.0, True)]
    both = bench.measure(bench.Plan.of(data=tmp_path), tmp_path, jobs=1)
    assert [row.ratio for row in both.rows] == [0.5, -0.5]
    assert len(asked) == 1  # one reading serves both
    parts["c"] = {"ours": 3.0, "reference": 1.0, "value": 2.0, "error": 0.1}
    monkeypatch.setattr(bench, "ROWS", (whole, part, replace(whole, key="real/c", name="real data: c", part="c")))
    more = bench.measure(bench.Plan.of(data=tmp_path), tmp_path, jobs=1)
    assert [row.ratio for row in more.rows] == [0.5, -0.5, 2.0]
    assert len(asked) == 2  # the reading kept before that row was there says nothing of it


def test_what_intervals_of_volatility_held_is_a_row_of_the_reading() -> None:
    """Of two models that err alike, one of them ever more: the row is HYDRA's, the others stand beside it."""
    rng = np.random.default_rng(6)
    rows_of = 12 * np.arange(3_000)
    forecast = np.exp(rng.normal(size=(3_000, 2)))
    outcome = forecast * np.exp(rng.normal(0.0, 0.5, (3_000, 2)) * np.linspace(1.0, 2.0, 3_000)[:, None])
    league = League(rows_of, outcome, {OURS: forecast, "doubled": 2.0 * forecast}, 12, 12)
    part, told = realdata._within(league, OURS, rows_of // 288)
    held = league.intervals(OURS).held(outcome)
    assert part["ours"] == told[OURS]["share"] == np.nanmean(held)
    assert part["value"] == abs(part["ours"] - 0.9) < 0.015
    assert 0.001 < part["error"] < 0.01
    assert told["doubled"]["share"] == part["ours"]
    assert told["doubled"]["high"] == pytest.approx(told[OURS]["high"] / np.sqrt(2.0))
    Reading(**part)


def test_the_row_of_intervals_on_the_reference_market_is_their_distance_from_nine_in_ten() -> None:
    made = measures.intervals_held(3, 300)
    assert made.ours == made.notes["day"]["share"]
    assert made.value == abs(made.ours - 0.9) < 0.05
    assert made.notes["hour"]["count"] > 4_500


def test_each_reading_of_a_later_period_is_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "ROWS", (replace(SPEC, recorded=lambda *_: lambda *_: Reading(1.0, 2.0, 0.5)),))
    monkeypatch.setattr(bench, "span_of", lambda folder: (5, 9))
    plan = bench.Plan.of(data=tmp_path, later=tmp_path / "later")
    for _ in range(2):
        bench.measure(plan, tmp_path, jobs=1)
    (reading,) = lockbox_ledger(tmp_path).records()
    assert (reading["start_ms"], reading["end_ms"]) == (5, 9)
    with pytest.raises(UsageError, match="--later without --data"):
        bench.Plan.of(later=tmp_path)


@needs(FOLDER / "candles" / "1h")
def test_real_history_is_read_hour_by_hour() -> None:
    history = recorded.read(FOLDER)
    assert len(history.panel.pairs) == 8
    assert np.isfinite(history.features[LONGEST:]).all()
    assert realdata.quarter_starts(history, 9).size == 9


@pytest.mark.long
@pytest.mark.timeout(3_600)
@needs(FOLDER / "candles" / "1h")
def test_on_real_history_nothing_is_too_good_and_the_edge_is_that_of_the_baseline() -> None:
    made = realdata.real_row(FOLDER, None)(1, 2)
    assert made.notes["leaks"] == []
    assert -0.02 < made.ours < 0.06
    assert made.value + 1.96 * made.error > 0
