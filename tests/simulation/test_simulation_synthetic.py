"""The synthetic market: the same whatever is asked first, candles that fit together, and exactly the planted optimum."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from hydra_core.domain.errors import UsageError
from hydra_core.domain.intervals import DAY_MS, MINUTE_MS, Interval
from hydra_core.domain.market import INPUTS, Floats
from hydra_core.domain.pairs import DEFAULT_PAIRS, Pair
from hydra_core.simulation import cascades, optimum
from hydra_core.simulation.base import Market
from hydra_core.simulation.columns import aggregate
from hydra_core.simulation.synthetic import ORIGIN_MS, STAMP_MS, SyntheticMarket, synthetic_named

BTC, DOGE = Pair("BTCUSDT"), Pair("DOGEUSDT")
DAYS = 90
END_MS = ORIGIN_MS + DAYS * DAY_MS
H = 48
WARM = 1_200


@pytest.fixture(scope="module")
def planted() -> SyntheticMarket:
    return SyntheticMarket(seed=11, signal=0.3)


@pytest.fixture(scope="module")
def null() -> SyntheticMarket:
    return SyntheticMarket(seed=11, signal=0.0)


def answers(market: Market, pair: Pair, start_ms: int) -> list[object]:
    """One of everything that a market can be asked about a span."""
    end_ms = start_ms + 3 * 3_600_000
    at = start_ms + 12_345
    bars = [market.candles(pair, interval, start_ms, end_ms) for interval in Interval]
    series = [
        ask(pair, start_ms, end_ms) for ask in (market.open_interest, market.long_short, market.funding, market.path)
    ]
    depth = market.depth(pair, at, 5)
    return [
        *(tuple(getattr(b, name).tobytes() for name in ("ts", "open", "high", "low", "close", "volume")) for b in bars),
        *((s.ts.tobytes(), s.value.tobytes()) for s in series),
        market.liquidations(pair, start_ms, end_ms),
        market.trades(pair, start_ms, end_ms).quantity.tobytes(),
        (market.price(pair, at), market.quote(pair, at), market.mark(pair, at)),
        (depth.bids.tobytes(), depth.asks.tobytes()),
    ]


def test_answers_depend_neither_on_the_order_of_questions_nor_on_how_far_the_market_was_run() -> None:
    spans = [
        (BTC, ORIGIN_MS),
        (DOGE, ORIGIN_MS + 2 * DAY_MS),
        (BTC, ORIGIN_MS + 9 * DAY_MS),
        (DOGE, ORIGIN_MS + 22 * 3_600_000),
    ]
    one, two = SyntheticMarket(3, 0.3), SyntheticMarket(3, 0.3)
    forward = [answers(one, *span) for span in spans]
    two.candles(BTC, Interval.M1, ORIGIN_MS, ORIGIN_MS + 25 * DAY_MS)
    backward = [answers(two, *span) for span in reversed(spans)]
    assert forward == backward[::-1]
    assert [answers(one, *span) for span in spans] == forward
    assert answers(SyntheticMarket(4, 0.3), *spans[0]) != forward[0]


def test_longer_candles_are_exactly_those_of_the_minutes(planted: SyntheticMarket) -> None:
    start, end = ORIGIN_MS + 3 * DAY_MS, ORIGIN_MS + 5 * DAY_MS
    for pair in (BTC, DOGE):
        minutes = planted.candles(pair, Interval.M1, start, end)
        assert len(minutes) == 2 * 1440
        assert (minutes.open[1:] == minutes.close[:-1]).all()
        assert (minutes.low <= np.minimum(minutes.open, minutes.close)).all()
        assert (minutes.high >= np.maximum(minutes.open, minutes.close)).all()
        assert (minutes.volume > 0).all()
        for interval in Interval:
            told, made = planted.candles(pair, interval, start, end), aggregate(minutes, interval)
            for name in ("ts", "open", "high", "low", "close"):
                assert (getattr(told, name) == getattr(made, name)).all()
            np.testing.assert_allclose(told.volume, made.volume, rtol=1e-12)


def test_trades_quotes_and_the_running_candle_stay_inside_the_minute(planted: SyntheticMarket) -> None:
    pair, start = DOGE, ORIGIN_MS + 8 * DAY_MS
    rules = planted.rules(pair)
    bars = planted.candles(pair, Interval.M1, start, start + 30 * MINUTE_MS)
    for row, opened in enumerate(bars.ts):
        at = int(opened)
        trades = planted.trades(pair, at, at + MINUTE_MS)
        assert trades.price.max() <= bars.high[row]
        assert trades.price.min() >= bars.low[row]
        assert trades.quantity.sum() == pytest.approx(bars.volume[row], rel=1e-9)
        assert (np.diff(trades.trade_id) > 0).all()
        assert (np.diff(trades.ts) > 0).all()
        closing = planted.running(pair, Interval.M1, at + MINUTE_MS - 1)
        assert closing is not None
        told = [closing.open[0], closing.high[0], closing.low[0], closing.close[0]]
        assert told == [bars.open[row], bars.high[row], bars.low[row], bars.close[row]]
        for moment in range(at, at + MINUTE_MS, 7_001):
            quote = planted.quote(pair, moment)
            assert quote.bid < quote.ask
            assert planted.price(pair, moment) in (quote.bid, quote.ask)
            assert quote.bid / float(rules.tick_size) == pytest.approx(
                round(quote.bid / float(rules.tick_size)), abs=1e-6
            )
            depth = planted.depth(pair, moment, 10)
            assert tuple(depth.bids[0]) == (quote.bid, quote.bid_size)
            assert tuple(depth.asks[0]) == (quote.ask, quote.ask_size)
            assert (np.diff(depth.bids[:, 0]) < 0).all()
            assert (np.diff(depth.asks[:, 0]) > 0).all()
            assert bars.low[row] * 0.999 < planted.mark(pair, moment).mark < bars.high[row] * 1.001


def test_a_running_hour_joins_its_closed_minutes_with_the_open_one(planted: SyntheticMarket) -> None:
    start = ORIGIN_MS + 8 * DAY_MS
    now = start + 10 * MINUTE_MS + 30_000
    running = planted.running(BTC, Interval.H1, now)
    minutes = planted.candles(BTC, Interval.M1, start, start + 10 * MINUTE_MS)
    assert running is not None
    assert running.ts[0] == start
    assert running.open[0] == minutes.open[0]
    assert running.close[0] == planted.price(BTC, now)
    assert (
        minutes.volume.sum()
        < running.volume[0]
        < minutes.volume.sum()
        + planted.candles(BTC, Interval.M1, start + 10 * MINUTE_MS, start + 11 * MINUTE_MS).volume.sum()
    )


def test_it_declares_itself() -> None:
    market = synthetic_named("synthetic-5-0.25", days=30)
    assert market.name == "synthetic-5-0.25"
    assert SyntheticMarket(7, 0).name == "synthetic-7-0"
    assert market.pairs == DEFAULT_PAIRS
    assert market.inputs == frozenset(INPUTS)
    assert market.start_ms == ORIGIN_MS + 30 * DAY_MS
    for words in ("recorded-1a2b3c4d", "synthetic-7", "synthetic-7-9"):
        with pytest.raises(UsageError):
            synthetic_named(words)
    with pytest.raises(UsageError, match="out of range"):
        SyntheticMarket(1, -0.1)


class Columns:
    """What a study of one market needs, arrays (rows, pairs) on 5m bar closes."""

    def __init__(self, market: SyntheticMarket) -> None:
        bars = [market.candles(pair, Interval.M5, ORIGIN_MS, END_MS) for pair in market.pairs]
        self.rows = np.arange(WARM, len(bars[0]) - H - 2)
        self.ts = bars[0].ts[self.rows] + Interval.M5.ms
        self.log_open = np.log(np.stack([b.open for b in bars], 1))
        self.log_close = np.log(np.stack([b.close for b in bars], 1))
        self.forecast = np.stack([market.optimal_forecast(pair, self.ts) for pair in market.pairs], 1)
        self.scale = np.stack([market.horizon_volatility(pair, self.ts) for pair in market.pairs], 1)
        self.cascades = [np.stack(market.expected_cascades(pair, self.ts), 1) for pair in market.pairs]
        self.ahead = self.log_open[self.rows + 1 + H] - self.log_open[self.rows + 1]
        ratio = np.log(np.stack([market.long_short(pair, ORIGIN_MS, END_MS).value for pair in market.pairs], 1))
        self.log_oi = np.log(
            np.stack([market.open_interest(pair, ORIGIN_MS, END_MS).value for pair in market.pairs], 1)
        )
        total = np.cumsum(self.log_oi, axis=0)
        mean = (total[864:] - total[:-864]) / 864
        funding = np.stack([market.funding(pair, ORIGIN_MS, END_MS).value for pair in market.pairs], 1)
        self.features = {
            "long/short": ratio[self.rows],
            "open interest": self.log_oi[self.rows] - mean[self.rows - 864],
            "reversal": (self.log_close[self.rows] - self.log_close[self.rows - 3]) / self.scale,
            "momentum": (self.log_close[self.rows] - self.log_close[self.rows - H]) / self.scale,
            "open interest change": self.log_oi[self.rows] - self.log_oi[self.rows - 12],
            "funding": funding[(self.ts - ORIGIN_MS) // (480 * MINUTE_MS)],
        }

    @property
    def scaled(self) -> Floats:
        """4 h log return in standard deviations."""
        return np.asarray(self.ahead / self.scale)

    def t_value(self, feature: Floats) -> float:
        """t of the scaled return's slope on a feature, one observation per 4 h: the pairs move together."""
        x = (feature - feature.mean(0)) / feature.std(0)
        product = (x * self.scaled).mean(1)[::H]
        return float(product.mean() / product.std() * np.sqrt(product.size))


@pytest.fixture(scope="module")
def study(planted: SyntheticMarket) -> Columns:
    return Columns(planted)


@pytest.fixture(scope="module")
def null_study(null: SyntheticMarket) -> Columns:
    return Columns(null)


def test_the_best_forecast_correlates_with_the_return_as_asked(study: Columns) -> None:
    found = np.corrcoef(study.forecast.ravel(), study.scaled.ravel())[0, 1]
    independent = study.scaled.size / H
    assert abs(found - 0.3) < 3 / np.sqrt(independent)
    slope = np.cov(study.forecast.ravel(), study.scaled.ravel())[0, 1] / study.forecast.var()
    assert slope == pytest.approx(1.0, abs=0.25)
    assert study.scaled.std() == pytest.approx(1.05, abs=0.12)


def test_simple_observables_reach_most_of_the_optimum(study: Columns) -> None:
    names = ("long/short", "open interest", "reversal")
    x = np.stack([study.features[name] for name in names], -1)
    x = (x - x.mean((0, 1))) / x.std((0, 1))
    train, test = slice(0, int(len(x) * 0.6)), slice(int(len(x) * 0.6) + H, None)
    a, y = x[train].reshape(-1, 3), study.scaled[train].ravel()
    weights = np.linalg.solve(a.T @ a + 300 * np.eye(3), a.T @ y)
    made = (x[test] @ weights).ravel()
    # A forecast's share of the best possible is its correlation with it: free of the noise in returns.
    assert np.corrcoef(made, study.forecast[test].ravel())[0, 1] > 0.85
    assert np.corrcoef(made, study.scaled[test].ravel())[0, 1] > 0.18


def test_nothing_observable_predicts_returns_at_signal_zero(null_study: Columns, study: Columns) -> None:
    for name, values in null_study.features.items():
        assert abs(null_study.t_value(values)) < 3.5, name
    assert abs(study.t_value(study.features["long/short"])) > 5
    assert not null_study.forecast.any()


def test_crowding_tells_the_danger_and_not_the_direction(study: Columns, planted: SyntheticMarket) -> None:
    lean = np.stack([np.log(c[:, 0] / c[:, 1]) for c in study.cascades], 1)
    assert abs(study.t_value(lean)) < 3.5
    assert lean.std() > 1.0


def cascade_onsets(study: Columns) -> tuple[Floats, Floats]:
    """Where open interest begins to fall by over 4 % in 15 minutes while the price falls (rises), two arrays (rows, 8)."""
    rows = study.rows
    fell = study.log_oi[rows + 3] - study.log_oi[rows] < -0.04
    onset = fell & ~np.vstack([np.zeros((1, 8), bool), fell[:-1]])
    move = study.log_close[rows + 2] - study.log_close[rows - 1]
    return onset & (move < 0), onset & (move > 0)


@pytest.mark.parametrize(("which", "steep"), [("study", True), ("null_study", False)])
def test_forced_exits_follow_crowding_only_where_it_is_planted(
    which: str, steep: bool, request: pytest.FixtureRequest, planted: SyntheticMarket, null: SyntheticMarket
) -> None:
    study: Columns = request.getfixturevalue(which)
    market = planted if steep else null
    crowding = np.stack([market._state(pair, study.ts)[2] for pair in market.pairs], 1)
    for sign, onset in zip((1, -1), cascade_onsets(study), strict=True):
        count = onset.sum()
        per_day = count / (len(study.rows) / 288) / 8
        assert 0.12 < per_day < 0.5
        mean = float(crowding[onset].mean()) * sign
        if steep:
            assert mean > 0.7
        else:
            assert abs(mean) < 4 / np.sqrt(count)


@pytest.mark.parametrize("signal", [0.0, 0.3])
def test_the_hazard_itself(signal: float) -> None:
    given = optimum.plant(signal)
    shape = (8, 400_000)
    rng = np.random.default_rng(1)

    def rates(crowding: float, relative: float) -> tuple[float, float]:
        struck = cascades.strike(rng, given, np.full(shape, crowding), np.full(shape, relative))
        assert abs(struck.size[struck.drop > 0]).min() >= optimum.CASCADE_FLOOR
        # The mean of what strikes is what was taken out of the drift.
        error = struck.size.std() / np.sqrt(struck.size.size)
        assert abs((struck.size - struck.expected).mean()) < 4 * error
        return float(struck.long.mean()), float(struck.short.mean())

    calm, wild = rates(0.0, 1.0), rates(0.0, 2.0)
    assert calm[0] == pytest.approx(calm[1], rel=0.15)
    assert wild[0] / calm[0] == pytest.approx(2**optimum.HAZARD_VOL_POWER, rel=0.15)
    crowded = rates(1.5, 1.0)
    if signal:
        assert crowded[0] > 6 * calm[0]
        assert crowded[1] < 0.3 * calm[1]
    else:
        assert crowded == pytest.approx(calm, rel=0.15)


def patience_bp(study: Columns) -> tuple[float, float]:
    """Saving by waiting at most an hour for a price below (above) its last 45 minutes' mean, and its error, bp."""
    close, opens = study.log_close, study.log_open
    step = np.diff(close, axis=0).std(0)
    total = np.cumsum(close, axis=0)
    away = np.zeros_like(close)
    away[9:] = (close[9:] - (total[9:] - total[:-9]) / 9) / step
    rng = np.random.default_rng(5)
    saved = []
    for row in range(WARM, len(close) - 20, 12):
        side = rng.choice([-1, 1], 8)
        waited = np.full(8, 12)
        for later in range(11, -1, -1):
            waited[side * away[row + later] < -1.0] = later
        saved.append(side * (opens[row + 1] - opens[row + 1 + waited, np.arange(8)]))
    found = np.array(saved) * 1e4
    return float(found.mean()), float(found.mean(1).std() / np.sqrt(len(found)))


def test_patience_pays_only_where_it_is_planted(study: Columns, null_study: Columns) -> None:
    gain, error = patience_bp(study)
    nothing, null_error = patience_bp(null_study)
    print(f"patience: {gain:.2f} +- {error:.2f} bp at 0.3, {nothing:.2f} +- {null_error:.2f} bp at 0")
    assert gain > 3 * error
    assert gain > 1.5
    assert abs(nothing) < 3.5 * null_error


def test_an_oracle_earns_well_beyond_costs(study: Columns) -> None:
    cost = 14e-4
    mean = study.forecast * study.scale
    chance = norm.cdf((np.abs(mean) - cost) / (study.scale * np.sqrt(1 - 0.3**2)))
    traded = (chance >= 0.6)[::H]
    net = np.where(traded, np.sign(mean[::H]) * study.ahead[::H] - cost, 0.0)
    daily = net[: len(net) // 6 * 6].mean(1).reshape(-1, 6).sum(1)
    sharpe = daily.mean() / daily.std() * np.sqrt(365)
    per_day = traded.sum() / (len(net) / 6)
    print(f"oracle: {per_day:.1f} trades/day, net {net[traded].mean() * 1e4:.0f} bp a trade, Sharpe {sharpe:.1f}")
    assert sharpe > 5
    assert net[traded].mean() > 20e-4
    assert (net[traded] > 0).mean() > 0.58
    assert 3 < per_day < 25


def test_levels_are_those_of_the_real_market(study: Columns, planted: SyntheticMarket) -> None:
    steps = np.diff(study.log_close, axis=0)
    yearly = steps.std(0) * np.sqrt(288 * 365)
    assert ((yearly > 0.4) & (yearly < 1.6)).all()
    hourly = np.diff(study.log_close[::12], axis=0)
    correlation = np.corrcoef(hourly.T)[np.triu_indices(8, 1)].mean()
    assert 0.4 < correlation < 0.85
    first = planted.candles(BTC, Interval.M1, ORIGIN_MS, ORIGIN_MS + MINUTE_MS)
    assert first.open[0] == 60_000.0
    funding = planted.funding(BTC, ORIGIN_MS, END_MS)
    assert len(funding) == 3 * DAYS
    assert np.abs(funding.value).max() <= 3e-3
    assert abs(funding.value.mean() - 1e-4) < 1e-4


def test_liquidations_are_on_the_path_and_on_the_losing_side(planted: SyntheticMarket) -> None:
    start = ORIGIN_MS + 20 * DAY_MS
    events = planted.liquidations(BTC, start, start + 6 * DAY_MS)
    assert len(events) > 50
    assert [event.event_ms for event in events] == sorted(event.event_ms for event in events)
    for event in events[:40]:
        minute = planted.candles(BTC, Interval.M1, event.event_ms // MINUTE_MS * MINUTE_MS, event.event_ms + 1)
        assert minute.low[0] <= event.price <= minute.high[0]
        assert event.quantity > 0
    with_long = [e for e in events if e.long_side]
    assert 0.2 < len(with_long) / len(events) < 0.8


def test_stamps_and_bounds(planted: SyntheticMarket) -> None:
    start = ORIGIN_MS + DAY_MS
    series = planted.open_interest(BTC, start + 1, start + 2 * STAMP_MS + 1)
    assert series.ts.tolist() == [start + STAMP_MS, start + 2 * STAMP_MS]
    assert len(planted.candles(BTC, Interval.M1, 0, ORIGIN_MS)) == 0
    assert len(planted.candles(BTC, Interval.H1, ORIGIN_MS - DAY_MS, ORIGIN_MS + 1)) == 1
    with pytest.raises(ValueError, match="read-only"):
        planted.candles(BTC, Interval.M1, start, start + DAY_MS).close[0] = 1.0
    assert planted.mark(BTC, start + 1).next_funding_ms == start + 480 * MINUTE_MS
